//! `POST /api/v1/notifications`: puts a notification into the inbox of the user who asks, or for whom a service key acts.
//!
//! It is a single action, `send_notification` to `in_app`: durable before it is answered, tried again where the store is
//! away, in the log, and sent on as its user wants to be told. The caller waits for the delivery, though not for long.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ingress::{Accepted, Triggered};
use core314_actors::ports::resource::Resource;
use core314_actors::single::Single;
use core314_domain::expr::literal;
use core314_domain::ids::{NotificationId, RowId};
use core314_domain::words::{NotificationType, Severity, Urgency};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::missing;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::flows::create::misshapen;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};
use crate::http::runs::AcceptedView;
use crate::http::{Shared, State, resources, runs};

/// How long the delivery is waited for: a function answers within two seconds.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Where the action's own fields stand in the document that it becomes.
const PAYLOAD: &str = "/flow_steps/0/config/action_payload";

/// A notification to send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NotificationToSend")]
pub struct Draft {
    #[serde(rename = "type")]
    pub kind: NotificationType,
    /// At most 200 characters.
    pub title: String,
    /// At most 10,000 characters.
    pub message: String,
    /// By default as the type says: alert and error high, warning medium, notify and info low.
    pub severity: Option<Severity>,
    /// Where it leads: `http`, `https`, or a path of this server.
    pub action_url: Option<String>,
    /// At most 16,384 bytes.
    pub metadata: Option<Map<String, Value>>,
    /// The rule in whose name it is sent.
    pub rule_id: Option<RowId>,
}

/// What has become of it while the caller waited.
pub enum Sent {
    Delivered(NotificationId),
    /// Why it never will be.
    Failed(String),
    /// It is durable, and goes on.
    Open(Accepted),
}

pub fn doc() -> Doc {
    Doc::role("Puts a notification into the inbox of the user who asks.", Role::Operator)
        .body::<Draft>()
        .idempotent()
        .answer_as(StatusCode::CREATED, "The notification.", resources::row_schema(Resource::Notifications))
        .answer::<AcceptedView>(StatusCode::ACCEPTED, "It is durable, and goes on.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Draft> = ask::read(&req, payload, &state, Role::Operator).await?;
    let scope = asked.caller.scope;
    match send(&state, asked).await? {
        Sent::Delivered(id) => {
            let row = state.views.one(scope, Resource::Notifications, id.0).await?;
            Ok(HttpResponse::Created().json(row.ok_or_else(missing)?))
        }
        Sent::Failed(why) => Err(Problem::Conflict(format!("it was not delivered: {why}"))),
        Sent::Open(run) => runs::answer(&state, scope, run, None).await,
    }
}

/// Sends it, and waits a moment for its delivery.
pub async fn send(state: &State, asked: Asked<Draft>) -> Result<Sent, Problem> {
    let scope = asked.caller.scope;
    let payload = payload(&asked.input);
    let single = Single {
        name: "notification",
        action_type: "send_notification",
        target: "in_app",
        payload: &payload,
        urgency: Urgency::Medium,
        at_ms: None,
        insists: false,
    };
    let trigger = single.asked(asked.owner, &asked.caller.by, asked.idempotency).map_err(misshapen)?;
    let run = match state.engine.trigger(trigger).await.map_err(|error| at_the_field(error.into()))? {
        Triggered::Accepted(run) | Triggered::Repeated(run) => run,
        Triggered::NoMatch(why_not) => return Err(Problem::NoMatchingFlow(why_not)),
    };
    if runs::ended(state, scope, run.run, PATIENCE).await?.is_none() {
        return Ok(Sent::Open(run));
    }
    let execution = state.views.one(scope, Resource::Executions, run.run.execution(0).0).await?;
    let execution = execution.ok_or_else(|| Problem::no_row("execution"))?;
    let id = execution["execution_result"]["notification_id"].as_str().and_then(|id| id.parse().ok());
    Ok(id.map_or_else(|| Sent::Failed(why_not(&execution)), Sent::Delivered))
}

fn why_not(execution: &Value) -> String {
    let status = || format!("the execution is {}", execution["execution_status"].as_str().unwrap_or("unknown"));
    execution["execution_error"].as_str().map_or_else(status, str::to_owned)
}

/// What the action is told. What the notification says is nobody's template.
fn payload(draft: &Draft) -> Value {
    let payload = json!({
        "type": draft.kind, "title": draft.title, "message": draft.message, "severity": draft.severity,
        "action_url": draft.action_url, "metadata": draft.metadata, "rule_id": draft.rule_id,
    });
    match as_it_is(payload) {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        said => said,
    }
}

fn as_it_is(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(literal(&text)),
        Value::Array(items) => items.into_iter().map(as_it_is).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, as_it_is(value))).collect(),
        other => other,
    }
}

/// What is wrong with the action's payload is wrong with the body that it was made from.
fn at_the_field(problem: Problem) -> Problem {
    let Problem::InvalidFlow(problems) = problem else { return problem };
    let errors = problems.into_iter().map(|problem| {
        let pointer = problem.pointer.strip_prefix(PAYLOAD).unwrap_or_default().to_owned();
        FieldError::at(&pointer, problem.message)
    });
    Problem::InvalidRequest(errors.collect())
}
