//! `POST /api/v1/executions`: one action, durably, without a flow. It is a run of one step.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{Target, Trigger, Triggered};
use core314_domain::document::FlowDocument;
use core314_domain::retry::RetryPolicy;
use core314_domain::words::{TriggerType, Urgency};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::flows::create::misshapen;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};
use crate::http::runs::{self, AcceptedView};

/// The one step's name.
const STEP: &str = "action";

/// A single action.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SingleAction")]
struct Input {
    action_type: String,
    #[serde(default)]
    action_target: String,
    /// Texts in it may be templates over `trigger`, which is the context.
    #[serde(default)]
    action_payload: Value,
    /// What templates see as `trigger`.
    context_data: Option<Map<String, Value>>,
    /// 1 (first) to 10.
    #[schemars(range(min = 1, max = 10))]
    priority: Option<u8>,
    urgency: Option<Urgency>,
    /// RFC 3339: not before.
    scheduled_for: Option<String>,
    expires_in_seconds: Option<u64>,
    retry_policy: Option<RetryPolicy>,
    timeout_seconds: Option<f64>,
    requires_approval: Option<bool>,
    wait_seconds: Option<u64>,
}

pub fn doc() -> Doc {
    Doc::role("Performs one action, durably, without a flow: a run of one step.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .waits()
        .answer::<AcceptedView>(StatusCode::ACCEPTED, "The action is durable, and goes on.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let mut asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let wait = runs::wait_of(&req, asked.input.wait_seconds)?;
    let context = asked.input.context_data.take().unwrap_or_default();
    let trigger = Trigger {
        owner: asked.owner,
        target: Target::Action(Arc::new(definition(&asked.input)?)),
        trigger_type: TriggerType::Manual,
        source: TriggerType::Manual.as_str().into(),
        context: Arc::new(Value::Object(context)),
        webhook: Arc::default(),
        triggered_by: asked.caller.by.as_str().into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        idempotency: asked.idempotency,
    };
    match state.engine.trigger(trigger).await.map_err(|error| at_the_action(error.into()))? {
        Triggered::Accepted(run) | Triggered::Repeated(run) => {
            runs::answer(&state, asked.caller.scope, run, wait).await
        }
        Triggered::NoMatch(why_not) => Err(Problem::NoMatchingFlow(why_not)),
    }
}

/// The action as a flow of one step.
fn definition(input: &Input) -> Result<FlowDocument, Problem> {
    let config = without_nulls(json!({
        "action_type": input.action_type, "action_target": input.action_target,
        "action_payload": input.action_payload, "priority": input.priority, "urgency": input.urgency,
        "scheduled_for": input.scheduled_for, "expires_in_seconds": input.expires_in_seconds,
    }));
    let step = without_nulls(json!({
        "id": STEP, "config": config, "retry": input.retry_policy, "timeout_seconds": input.timeout_seconds,
        "requires_approval": input.requires_approval,
    }));
    let document = json!({"flow_name": "single action", "trigger_type": "manual", "flow_steps": [step]});
    FlowDocument::from_value(document).map_err(misshapen)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        value => value,
    }
}

/// Problems of the document are problems of the body that it was made from.
fn at_the_action(problem: Problem) -> Problem {
    let Problem::InvalidFlow(problems) = problem else { return problem };
    let errors = problems.into_iter().map(|problem| {
        let within = problem.pointer.strip_prefix("/flow_steps/0").unwrap_or(&problem.pointer);
        let pointer = within.strip_prefix("/config").unwrap_or(within).replace("/retry", "/retry_policy");
        FieldError::at(&pointer, problem.message)
    });
    Problem::InvalidRequest(errors.collect())
}
