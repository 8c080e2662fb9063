//! `POST /api/v1/flows/{id or flow_name}/trigger`: starts a run of this flow, whatever its conditions say; `/bulk` starts many
//! in one commit.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{IdempotencyRequest, OnConflict, RunKey, Target, Trigger, TriggerError, Triggered};
use core314_domain::ids::{FlowId, RowId, TenantId};
use core314_domain::words::TriggerType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::idempotency::{self, First};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::runs::{self, AcceptedView};
use crate::http::{Shared, State};

/// How many triggers one request may hold.
const MOST_TRIGGERS: usize = 1_000;
const MAX_KEY_CHARS: usize = 255;

/// What starts a run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Trigger")]
pub struct Input {
    /// What the flow's expressions see as `trigger`.
    trigger_context: Option<Map<String, Value>>,
    decision_event_id: Option<RowId>,
    recommendation_id: Option<RowId>,
    /// The caller's own name for the run, unique among the flow's live runs; 1 to 255 characters.
    #[schemars(length(min = 1, max = 255))]
    run_key: Option<String>,
    /// What becomes of the trigger when a live run has its name: that run is answered (`return`, the default), 409
    /// (`reject`), or the live run is cancelled first (`cancel_running`).
    on_conflict: Option<OnConflict>,
    /// Wait up to so many seconds for the end of the run.
    wait_seconds: Option<u64>,
}

/// Many triggers of one flow.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Triggers")]
pub struct Bulk {
    #[schemars(length(min = 1, max = 1_000))]
    triggers: Vec<Input>,
}

/// One answer for each trigger, in their order.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkAnswer")]
struct BulkView {
    accepted: usize,
    results: Vec<BulkResult>,
}

/// What became of one of many triggers.
#[derive(Serialize, JsonSchema)]
struct BulkResult {
    run: Option<AcceptedView>,
    /// Why there is no run.
    error: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Starts a run of a flow, named by its id or name, whatever its conditions say.", Role::Operator)
        .optional_body::<Input>()
        .idempotent()
        .waits()
        .answer::<AcceptedView>(StatusCode::ACCEPTED, "The run is durable, and goes on.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    flow: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let mut asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let wait = runs::wait_of(&req, asked.input.wait_seconds)?;
    let flow = flow_id(&state, asked.owner.tenant, flow.into_inner()).await?;
    let input = std::mem::take(&mut asked.input);
    let idempotency = asked.idempotency.take();
    let trigger = trigger(&asked.caller.by, asked.owner, flow, input, idempotency)?;
    match state.engine.trigger(trigger).await? {
        Triggered::Accepted(run) | Triggered::Repeated(run) => {
            runs::answer(&state, asked.caller.scope, run, wait).await
        }
        Triggered::NoMatch(why_not) => Err(Problem::NoMatchingFlow(why_not)),
    }
}

fn trigger(
    by: &str,
    owner: core314_domain::ids::Owner,
    flow: FlowId,
    input: Input,
    idempotency: Option<IdempotencyRequest>,
) -> Result<Trigger, Problem> {
    Ok(Trigger {
        owner,
        target: Target::Flow(flow),
        trigger_type: TriggerType::Manual,
        source: TriggerType::Manual.as_str().into(),
        context: Arc::new(Value::Object(input.trigger_context.unwrap_or_default())),
        webhook: Arc::new(Value::Null),
        triggered_by: by.into(),
        decision_event_id: input.decision_event_id,
        recommendation_id: input.recommendation_id,
        parent_run_id: None,
        run_key: run_key(input.run_key, input.on_conflict)?,
        idempotency,
    })
}

/// The name that a caller gives a run.
pub fn run_key(key: Option<String>, on_conflict: Option<OnConflict>) -> Result<Option<RunKey>, Problem> {
    match (key, on_conflict) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Problem::field("on_conflict", "needs a run_key")),
        (Some(key), _) if key.trim().is_empty() || key.chars().count() > MAX_KEY_CHARS => {
            Err(Problem::field("run_key", format!("must have 1 to {MAX_KEY_CHARS} characters")))
        }
        (Some(key), on_conflict) => {
            Ok(Some(RunKey { key: key.into(), on_conflict: on_conflict.unwrap_or(OnConflict::Return) }))
        }
    }
}

pub fn bulk_doc() -> Doc {
    Doc::role("Starts up to 1,000 runs of a flow in one commit.", Role::Operator)
        .body::<Bulk>()
        .idempotent()
        .answer::<BulkView>(StatusCode::ACCEPTED, "The runs are durable, and go on.")
}

pub async fn bulk(
    req: HttpRequest,
    payload: web::Payload,
    flow: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Bulk> = ask::read(&req, payload, &state, Role::Operator).await?;
    let inputs = asked.input.triggers;
    if inputs.is_empty() || inputs.len() > MOST_TRIGGERS {
        return Err(Problem::field("triggers", format!("must have 1 to {MOST_TRIGGERS} items")));
    }
    let flow = flow_id(&state, asked.owner.tenant, flow.into_inner()).await?;
    let mut triggers = Vec::with_capacity(inputs.len());
    for (no, input) in inputs.into_iter().enumerate() {
        if input.wait_seconds.is_some() || input.on_conflict == Some(OnConflict::CancelRunning) {
            return Err(Problem::field("triggers", "wait_seconds and cancel_running are for single triggers"));
        }
        // Each has the name of the whole request, with its own number.
        let idempotency = asked
            .idempotency
            .as_ref()
            .map(|request| IdempotencyRequest { key: format!("{} {no}", request.key), body_hash: request.body_hash });
        triggers.push(trigger(&asked.caller.by, asked.owner, flow, input, idempotency)?);
    }
    // The whole request takes its name before any of its runs does. After a crash half-way a repetition finds the runs that
    // there are by their own names, and starts the others.
    let (tenant, request) = (asked.owner.tenant, asked.idempotency.as_ref());
    let First { made, answer } = idempotency::first(&state, tenant, request, Value::Null).await?;
    if let Some(answer) = answer {
        return Ok(HttpResponse::Accepted().json(answer));
    }
    let answers = state.engine.trigger_all(triggers).await?;
    let is_kept = must_be_kept(&answers);
    let results: Vec<BulkResult> = answers.into_iter().map(result).collect();
    let accepted = results.iter().filter(|result| result.run.is_some()).count();
    let answer = json!(BulkView { accepted, results });
    if is_kept {
        idempotency::answered(&state, tenant, request, &made, &answer).await?;
    }
    Ok(HttpResponse::Accepted().json(answer))
}

/// Whether a repetition would be answered otherwise, because a trigger was refused or has found a live run. What only came
/// at a bad time is tried again.
fn must_be_kept(answers: &[Result<Triggered, TriggerError>]) -> bool {
    let is_passing = |answer: &Result<_, _>| {
        matches!(answer, Err(TriggerError::Busy { .. } | TriggerError::Failed(_) | TriggerError::Store(_)))
    };
    !answers.iter().any(is_passing) && !answers.iter().all(|answer| matches!(answer, Ok(Triggered::Accepted(_))))
}

fn result(answer: Result<Triggered, TriggerError>) -> BulkResult {
    match answer {
        Ok(Triggered::Accepted(run) | Triggered::Repeated(run)) => {
            BulkResult { run: Some(AcceptedView::of(run)), error: None }
        }
        Ok(Triggered::NoMatch(_)) => BulkResult { run: None, error: Some("no flow matches".to_owned()) },
        Err(error) => BulkResult { run: None, error: Some(Problem::from(error).to_string()) },
    }
}

/// The flow's id: the path has it, or the flow's name.
pub async fn flow_id(state: &State, tenant: TenantId, named: String) -> Result<FlowId, Problem> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    if named.contains('\0') {
        return Err(Problem::no_row("flow"));
    }
    let found = state.engine.runtime().catalog.flow_by_name(tenant, named).await?;
    found.map(|flow| flow.id).ok_or_else(|| Problem::no_row("flow"))
}
