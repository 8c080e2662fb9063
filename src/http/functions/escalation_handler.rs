//! `POST /functions/v1/escalation-handler`: asks the escalation rules about a failure, and answers what was done at once.
//!
//! It answers within two seconds: what takes longer goes on, and shows in the event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::escalations::Taken;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_domain::escalation::{Admission, EscalationReason, Failure};
use core314_domain::ids::{ExecutionId, LogId, Owner, RowId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::http::auth::Role;
use crate::http::escalations::{cause_of, not_asked, past};
use crate::http::idempotency::{self, First};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, ask, body, input};

/// How long the first sends are waited for.
const PATIENCE: Duration = Duration::from_millis(1_200);
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// What has failed. Other fields are ignored.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "EscalationHandlerRequest")]
struct Input {
    execution_queue_id: Option<ExecutionId>,
    execution_log_id: Option<LogId>,
    escalation_reason: String,
    #[serde(default)]
    trigger_context: Map<String, Value>,
    /// False: nothing is tried to mend it. By default the rule says.
    auto_remediate: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EscalationHandlerAnswer")]
struct View {
    success: bool,
    /// Where the rule held the failure back, the `suppressed` row that counts it.
    escalation_event_id: Option<RowId>,
    escalation_rule_id: Option<RowId>,
    escalation_level: Value,
    actions_performed: Value,
    notifications_sent: Value,
    remediation_attempted: Value,
    remediation_successful: Value,
    /// Why nobody was told, where nobody was.
    error: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Asks the escalation rules about a failure.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .problem(StatusCode::NOT_FOUND)
        .ok::<View>("What the rule that acts has done so far.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let (bytes, mut value) = body::read_json(&req, payload, &state.settings).await?;
    let user = ask::take_user(&mut value)?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), user)?;
    let owner = caller.owner()?;
    let failure = failure(&state, caller.scope, input).await?;
    let desk = state.engine.escalations()?;
    let request = idempotency::of_request(&req, &bytes)?;
    let made = json!(RowId::new(state.engine.now_ms(), rand::random()));
    let First { made, answer } = idempotency::first(&state, owner.tenant, request.as_ref(), made).await?;
    if let Some(answer) = answer {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let taken = desk.ask(owner, failure, cause_of(&made)?, None).await.map_err(not_asked)?;
    let Some(first) = taken.first() else {
        return Err(Problem::NotFound("no active escalation rule's filters and conditions match".to_owned()));
    };
    let answer = json!(view(&state, (caller.scope, owner), first, started).await?);
    idempotency::answered(&state, owner.tenant, request.as_ref(), &made, &answer).await?;
    Ok(HttpResponse::Ok().json(answer))
}

/// What the first rule that acts has made of it.
async fn view(state: &State, (scope, owner): (Scope, Owner), first: &Taken, started: Instant) -> Result<View, Problem> {
    let Some(escalation) = &first.escalation else {
        let why = match &first.admission {
            Admission::HeldBack(by) => by.to_string(),
            Admission::Open | Admission::Join => String::new(),
        };
        let event = state.engine.escalations()?.event_of(owner, first).await?;
        return Ok(held_back(first.rule, event, why));
    };
    let row = look(state, scope, escalation.id, started).await?;
    Ok(View {
        success: true,
        escalation_event_id: Some(escalation.id),
        escalation_rule_id: Some(first.rule),
        escalation_level: row["escalation_level"].clone(),
        actions_performed: row["actions_performed"].clone(),
        notifications_sent: row["notifications_sent"].clone(),
        remediation_attempted: row["remediation_attempted"].clone(),
        remediation_successful: row["remediation_successful"].clone(),
        error: None,
    })
}

fn held_back(rule: RowId, event: Option<RowId>, why: String) -> View {
    View {
        success: true,
        escalation_event_id: event,
        escalation_rule_id: Some(rule),
        escalation_level: json!(0),
        actions_performed: json!([]),
        notifications_sent: json!([]),
        remediation_attempted: json!(false),
        remediation_successful: Value::Null,
        error: Some(why),
    }
}

/// What the request is about: an execution, as it stands, with what the caller says beside.
async fn failure(state: &State, scope: Scope, input: Input) -> Result<Failure, Problem> {
    let execution = match (input.execution_queue_id, input.execution_log_id) {
        (Some(id), _) => Some(id),
        (None, Some(log)) => {
            let row = state.views.one(scope, Resource::Log, log.0).await?;
            let row = row.ok_or_else(|| Problem::no_row("entry of the execution log"))?;
            row["execution_queue_id"].as_str().and_then(|id| id.parse().ok())
        }
        (None, None) => None,
    };
    let now_ms = state.engine.now_ms();
    let mut context = match execution {
        Some(id) => (*past::of_execution(state, scope, id).await?.context).clone(),
        None => json!({}),
    };
    for (name, value) in input.trigger_context {
        context[name] = value;
    }
    if let Some(log) = input.execution_log_id {
        context["execution_log_id"] = json!(log);
    }
    // A word of ours, or the caller's own.
    let reason = input.escalation_reason.parse().unwrap_or(EscalationReason::Reported);
    context["escalation_reason"] = json!(input.escalation_reason);
    if input.auto_remediate == Some(false) {
        context["auto_remediate"] = json!(false);
    }
    Ok(Failure::described(reason, Arc::new(context), now_ms))
}

/// The event once what it does at once has been done, or as it is when the time is over.
async fn look(state: &State, scope: Scope, id: RowId, started: Instant) -> Result<Value, Problem> {
    loop {
        let row = state.views.one(scope, Resource::EscalationEvents, id.0).await?;
        let row = row.ok_or_else(|| Problem::no_row("escalation event"))?;
        let lists = [&row["actions_performed"], &row["notifications_sent"]];
        let is_open = |task: &Value| matches!(task["status"].as_str(), Some("pending" | "sending" | "maybe_sent"));
        let is_busy = lists.into_iter().filter_map(Value::as_array).flatten().any(is_open);
        if !is_busy || started.elapsed() >= PATIENCE {
            return Ok(row);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
