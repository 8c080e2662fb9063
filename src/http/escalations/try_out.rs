//! `POST /api/v1/escalation-rules/test`: replays a failure, past or made up, against rules as they are or were, or performs
//! the cases of a set of rules. Nothing is sent.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::escalation::{Asked as Said, EscalationReason, Failure, Suite, acting};
use core314_domain::ids::{ExecutionId, RowId, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::past;
use super::written::{MEDIA_TYPES, Written};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// What is to be tried: a failure, or a set of rules with its cases.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RulesTest")]
struct Input {
    /// An execution of the past: what it was is what the rules are asked about.
    execution_id: Option<ExecutionId>,
    /// Or a run that has ended badly.
    run_id: Option<RunId>,
    /// Or an escalation event, also one that was held back: what the rules were asked about then.
    escalation_event_id: Option<RowId>,
    /// Or a failure that is made up: why.
    escalation_reason: Option<EscalationReason>,
    /// And what conditions see.
    context: Option<Map<String, Value>>,
    /// RFC 3339: the rules as they were then; absent: as they are.
    at: Option<String>,
    /// Rules with cases, as a file of `core314 escalation test`.
    suite: Option<Value>,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RulesTested")]
struct View {
    /// What each rule says; empty where a suite was performed.
    asked: Vec<Value>,
    /// The names of the rules that act.
    acting: Vec<String>,
    /// What came of each case.
    cases: Vec<Value>,
    /// Whether every case passed.
    passed: bool,
}

pub fn doc() -> Doc {
    Doc::role("Tries escalation rules out, without sending anything.", Role::Viewer)
        .body_in::<Input>(MEDIA_TYPES)
        .problem(StatusCode::NOT_FOUND)
        .ok::<View>("What each rule says, or what came of each case.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let caller = state.keys.identify(&req).await?.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let written = Written::of(&req, payload, &state).await?;
    let input: Input = written.read()?;
    if let Some(suite) = input.suite {
        return perform(suite, &written).await;
    }
    let at_ms = input.at.as_deref().map(chrono::DateTime::parse_from_rfc3339).transpose();
    let at_ms = at_ms.map_err(|e| Problem::field("at", format!("is not an RFC 3339 time: {e}")))?;
    let at_ms = at_ms.map(|time| time.timestamp_millis());
    let scope = caller.scope;
    let failure = match (input.execution_id, input.run_id, input.escalation_event_id, input.context) {
        (Some(id), None, None, None) => past::of_execution(&state, scope, id).await?,
        (None, Some(id), None, None) => past::of_run(&state, scope, id).await?,
        (None, None, Some(id), None) => past::of_event(&state, scope, id).await?,
        (None, None, None, context) => {
            let context = Value::Object(context.unwrap_or_default());
            let reason = input.escalation_reason.unwrap_or(EscalationReason::Reported);
            Failure::described(reason, Arc::new(context), at_ms.unwrap_or_else(|| state.engine.now_ms()))
        }
        _ => {
            let message = "give one of execution_id, run_id, escalation_event_id and context";
            return Err(Problem::field("context", message));
        }
    };
    let (asked, rules) = state.engine.escalations()?.replay(owner, &failure, at_ms).await?;
    let acting = acting(&rules, &asked).iter().map(|rule| rule.document.rule_name.clone()).collect();
    let asked = asked.iter().map(|said: &Said| json!(said)).collect();
    Ok(HttpResponse::Ok().json(View { asked, acting, cases: Vec::new(), passed: true }))
}

/// Beside the workers that answer requests: a suite may take a while, and this request keeps its place until it is over.
async fn perform(suite: Value, written: &Written) -> Result<HttpResponse, Problem> {
    let within = |pointer: String| format!("/suite{pointer}");
    let suite: Suite = core314_domain::document::read(suite).map_err(|error| {
        written.located(vec![core314_domain::plan::Problem::new(within(error.pointer), error.message)])
    })?;
    let performed = tokio::task::spawn_blocking(move || suite.perform()).await;
    // Nothing cuts it off; one that panicked says so in the log.
    let performed = performed.map_err(|_| Problem::Internal)?;
    let reports = performed.map_err(|problems| {
        let problems =
            problems.into_iter().map(|p| core314_domain::plan::Problem { pointer: within(p.pointer.clone()), ..p });
        written.located(problems.collect())
    })?;
    let passed = reports.iter().all(|report| report.failures.is_empty());
    let cases = reports.iter().map(|report| json!(report)).collect();
    Ok(HttpResponse::Ok().json(View { asked: Vec::new(), acting: Vec::new(), cases, passed }))
}
