//! What people tell a run: `POST /api/v1/runs/{id}/cancel|pause|resume|retry|approve|reject`.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::flow_run::Remark;
use core314_actors::ports::resource::Resource;
use core314_domain::run::{Command, Voter};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::id_of;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, resources};

/// Why a run is cancelled.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cancellation")]
pub struct Cancellation {
    /// Shown as the run's error.
    reason: Option<String>,
}

/// What a person says when they decide.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Decision")]
pub struct Decision {
    pub notes: Option<String>,
    /// What was filled in, by the form of the step that asks.
    pub form: Option<Value>,
}

const MAX_TEXT_CHARS: usize = 2_000;
/// What is filled in stands in the run's row until enough people have agreed.
const MAX_FORM_BYTES: usize = 16 * 1024;

fn doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Operator).problem(StatusCode::CONFLICT)
}

pub fn shows_the_run(doc: Doc) -> Doc {
    doc.ok_as("The run as it is now.", resources::row_schema(Resource::Runs))
}

pub fn cancel_doc() -> Doc {
    shows_the_run(doc("Cancels a run: attempts under way are told to end.").optional_body::<Cancellation>())
}

pub async fn cancel(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Cancellation> = ask::read(&req, payload, &state, Role::Operator).await?;
    let reason = match &asked.input.reason {
        Some(reason) => bounded("reason", reason)?.to_owned(),
        None => format!("cancelled by {}", asked.caller.by),
    };
    tell(&state, &id, &asked, Command::Cancel { reason }, asked.remark()).await
}

pub fn pause_doc() -> Doc {
    shows_the_run(doc("Pauses a run: attempts under way end, nothing more starts.").optional_body::<Nothing>())
}

pub async fn pause(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let by: Arc<str> = asked.caller.by.as_str().into();
    tell(&state, &id, &asked, Command::Pause { by }, asked.remark()).await
}

pub fn resume_doc() -> Doc {
    shows_the_run(doc("Lets a paused run go on.").optional_body::<Nothing>())
}

pub async fn resume(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    tell(&state, &id, &asked, Command::Resume, asked.remark()).await
}

pub fn retry_doc() -> Doc {
    shows_the_run(doc("Takes a run up again that failed or was cancelled.").optional_body::<Nothing>())
}

pub async fn retry(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    tell(&state, &id, &asked, Command::Retry { step: None }, asked.remark()).await
}

pub fn approve_doc() -> Doc {
    shows_the_run(doc("Approves a run that waits for a person before it begins.").optional_body::<Decision>())
}

pub async fn approve(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Decision> = ask::read(&req, payload, &state, Role::Operator).await?;
    let remark = decided(&asked)?;
    let command = Command::Approve { step: None, by: voter(&asked, &remark) };
    tell(&state, &id, &asked, command, remark).await
}

pub fn reject_doc() -> Doc {
    shows_the_run(doc("Refuses a run that waits for a person before it begins.").optional_body::<Decision>())
}

pub async fn reject(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Decision> = ask::read(&req, payload, &state, Role::Operator).await?;
    let remark = decided(&asked)?;
    let command = Command::Reject { step: None, by: voter(&asked, &remark) };
    tell(&state, &id, &asked, command, remark).await
}

/// Tells the run, and shows it as it is then.
pub async fn tell<T>(
    state: &State,
    id: &str,
    asked: &Asked<T>,
    command: Command,
    remark: Remark,
) -> Result<HttpResponse, Problem> {
    let run = id_of(id)?;
    state.engine.tell(asked.caller.scope, run, command, remark).await?;
    let row = state.views.one(asked.caller.scope, Resource::Runs, run.0).await?;
    Ok(HttpResponse::Ok().json(row.ok_or_else(|| Problem::no_row("run"))?))
}

/// What a person said with a decision.
pub fn decided(asked: &Asked<Decision>) -> Result<Remark, Problem> {
    let notes = asked.input.notes.as_deref().map(|notes| bounded("notes", notes)).transpose()?;
    let bytes = asked.input.form.as_ref().map_or(0, |form| form.to_string().len());
    if bytes > MAX_FORM_BYTES {
        return Err(Problem::field("form", format!("has {bytes} bytes; at most {MAX_FORM_BYTES} are kept")));
    }
    Ok(Remark { notes: notes.map(Into::into), ..asked.remark() })
}

/// Whoever decides an approval.
pub fn voter(asked: &Asked<Decision>, remark: &Remark) -> Voter {
    let (user, role) = (asked.owner.user, asked.caller.role);
    let form = Arc::new(asked.input.form.clone().unwrap_or_default());
    // The engine knows who is on call.
    Voter { user, role, notes: remark.notes.clone(), form, on_duty: Arc::default() }
}

/// A text that people write.
pub fn bounded<'t>(field: &'static str, text: &'t str) -> Result<&'t str, Problem> {
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(Problem::field(field, format!("must have at most {MAX_TEXT_CHARS} characters")));
    }
    Ok(text)
}
