//! `POST /hooks/slack/{tenant}/{integration}`: what Slack sends when somebody presses a button of ours
//! (<https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>).
//!
//! ```text
//! signed by the app ── who pressed: a verified contact method of the kind slack ── what they may: the directory's role ──> done
//! ```
//! The integration's `signing_secret` proves that it is Slack who sends. Slack's own id of the member is the person, if and only
//! if that person has verified it; nothing else in the payload is believed. Slack waits three seconds and shows nothing of the
//! answer, so what came of it goes to the member by the payload's `response_url`, as a durable action like any other.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::TellError;
use core314_actors::escalations::EscalationError;
use core314_actors::flow_run::Remark;
use core314_actors::ports::Scope;
use core314_actors::ports::integration::Integration;
use core314_domain::Json;
use core314_domain::escalation::Command as EscalationCommand;
use core314_domain::ids::{ExecutionId, Owner, RowId, TenantId, UserId};
use core314_domain::people::{ButtonVerb, ContactKind, SIGNING_SECRET};
use core314_domain::run::{Command, Voter};
use core314_domain::webhook::Verification;
use core314_domain::words::Role;
use serde_json::Value;

use super::body;
use super::hooks::scheme::Scheme;
use super::hooks::{content, signature};
use super::openapi::{Access, Doc};
use super::operations::HttpMetrics;
use super::people::{below_operator, standing};
use super::problem::Problem;
use super::{Shared, State};

pub fn doc() -> Doc {
    Doc::new("Takes what Slack sends when somebody presses a button.", Access::Open)
        .body_in::<Value>(&["application/x-www-form-urlencoded"])
        .problem(actix_web::http::StatusCode::UNAUTHORIZED)
        .empty(actix_web::http::StatusCode::OK, "It was taken; what came of it goes to the member in Slack.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    path: web::Path<(String, String)>,
    state: Shared,
    metrics: web::Data<HttpMetrics>,
) -> Result<HttpResponse, Problem> {
    let bytes = body::read(&req, payload, &state.settings).await?;
    let Some(integration) = signed(&state, &path, &req, &bytes).await? else {
        metrics.webhook_refused();
        return Err(super::hooks::sender::refusal());
    };
    let owner = integration.owner;
    state.limit.take(owner.tenant)?;
    let sent = content::read(req.headers(), &bytes, state.settings.max_json_depth)?.trigger;
    let Some(press) = Press::of(&sent) else {
        // A link button tells too, and has been followed.
        return Ok(HttpResponse::Ok().finish());
    };
    let said = match person(&state, owner, &press.member).await? {
        Err(why) => why.to_owned(),
        Ok((user, role)) => pressed(&state, owner, (user, role), &press).await?,
    };
    if let Some(url) = press.response_url {
        let key = format!("{} {}", press.trigger_id, press.id);
        let sent = state.engine.answer_press(owner, &url, &key, &said).await;
        sent.map_err(|error| super::people::refused(error, "button"))?;
    }
    Ok(HttpResponse::Ok().finish())
}

/// The integration whose app signed this; `None` where there is none, or nobody signed.
async fn signed(
    state: &State,
    (tenant, id): &(String, String),
    req: &HttpRequest,
    bytes: &[u8],
) -> Result<Option<Integration>, Problem> {
    let (Ok(tenant), Ok(id)) = (tenant.parse::<TenantId>(), id.parse::<RowId>()) else {
        signature::pretend(bytes);
        return Ok(None);
    };
    let (found, secrets) = state.engine.credential_values(tenant, id, SIGNING_SECRET).await?;
    let secrets: Vec<Vec<u8>> = secrets.into_iter().map(String::into_bytes).collect();
    let scheme = Scheme::of(Verification::Slack, &Value::Null).expect("Slack signs");
    let now_s = state.engine.now_ms() / 1_000;
    if secrets.is_empty() {
        signature::pretend(bytes);
        return Ok(None);
    }
    Ok(signature::check(&scheme, &secrets, req.headers(), bytes, now_s).and(found))
}

/// A button that was pressed.
struct Press {
    /// Slack's id of the member.
    member: String,
    /// What the button does, where this version knows it.
    verb: Option<ButtonVerb>,
    id: String,
    /// Slack's own name of what was pressed, once.
    trigger_id: String,
    response_url: Option<String>,
}

impl Press {
    fn of(sent: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let action = sent["actions"].as_array()?.first()?;
        let verb = ButtonVerb::of_action_id(action["action_id"].as_str()?)?;
        if sent["type"] != "block_actions" {
            return None;
        }
        Some(Self {
            member: text(&sent["user"]["id"])?,
            verb: verb.ok(),
            id: text(&action["value"])?,
            trigger_id: text(&sent["trigger_id"])?,
            response_url: text(&sent["response_url"]),
        })
    }
}

/// Who a Slack member is here, and what they may do; or why they are nobody.
async fn person(state: &State, owner: Owner, member: &str) -> Result<Result<(UserId, Role), &'static str>, Problem> {
    let people = state.engine.people()?;
    let users = people.by_address(owner.tenant, ContactKind::Slack, member.to_owned()).await?;
    let user = match users.as_slice() {
        [user] => *user,
        [] => {
            return Ok(Err(
                "Core314 does not know who you are: add your Slack member id as a contact method and verify it",
            ));
        }
        _ => return Ok(Err("several users of Core314 have your Slack member id: whose button is it?")),
    };
    Ok(standing(state, owner, user).await?.map(|role| (user, role)))
}

/// Does what the button says, and says what came of it.
async fn pressed(state: &State, owner: Owner, (user, role): (UserId, Role), press: &Press) -> Result<String, Problem> {
    if let Some(why) = below_operator(role) {
        return Ok(why);
    }
    let (scope, by) = (Scope::Tenant(owner.tenant), format!("user:{user}"));
    match press.verb {
        Some(verb @ (ButtonVerb::Acknowledge | ButtonVerb::Resolve)) => {
            let Ok(id) = press.id.parse::<RowId>() else { return Ok("there is no such escalation".to_owned()) };
            let (command, said) = if verb == ButtonVerb::Acknowledge {
                let command = EscalationCommand::Acknowledge { by: by.clone() };
                (command, "Acknowledged: nobody else is told any more.")
            } else {
                let command = EscalationCommand::Resolve { by: by.clone(), notes: None, failed: false };
                (command, "Resolved: the escalation has ended.")
            };
            match state.engine.escalations()?.tell(scope, id, command, by).await {
                Ok(_) => Ok(said.to_owned()),
                Err(error @ (EscalationError::NotFound | EscalationError::Refused(_))) => Ok(error.to_string()),
                Err(EscalationError::Busy) => Err(Problem::Busy { retry_after_seconds: 1 }),
                Err(EscalationError::Store(error)) => Err(error.into()),
            }
        }
        Some(verb @ (ButtonVerb::Approve | ButtonVerb::Reject)) => {
            let parts = press.id.parse::<ExecutionId>().ok().and_then(ExecutionId::parts);
            let Some((run, step)) = parts else { return Ok("there is no such execution".to_owned()) };
            let by_voter = Voter { user, role, notes: None, form: Json::default(), on_duty: std::sync::Arc::default() };
            let step = Some(step);
            let (command, said) = if verb == ButtonVerb::Approve {
                (Command::Approve { step, by: by_voter }, "Approved.")
            } else {
                (Command::Reject { step, by: by_voter }, "Rejected.")
            };
            let remark = Remark { by: Some(by.as_str().into()), ..Remark::default() };
            match state.engine.tell(scope, run, command, remark).await {
                Ok(()) => Ok(said.to_owned()),
                Err(error @ (TellError::Busy | TellError::Store(_))) => Err(error.into()),
                Err(error) => Ok(error.to_string()),
            }
        }
        None => Ok("this button is none of this version's".to_owned()),
    }
}
