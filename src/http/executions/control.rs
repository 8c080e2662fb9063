//! What people tell an execution: `POST /api/v1/executions/{id}/approve|reject|cancel|retry`.
//!
//! What waits for a person is one list, so a decision takes the id of whatever stands in it: a run that has yet to begin, too.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::TellError;
use core314_actors::flow_run::Remark;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use core314_domain::run::{Command, Refusal};
use serde_json::Value;

use super::{absent, is_of_run, parts_of, waiting_schema};
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::runs::control::{self as of_run, Decision, decided, voter};
use crate::http::{Shared, State, resources};

fn doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Operator).problem(StatusCode::CONFLICT)
}

fn shows_the_execution(doc: Doc) -> Doc {
    doc.ok_as("The execution as it is now.", resources::row_schema(Resource::Executions))
}

fn shows_what_waited(doc: Doc) -> Doc {
    doc.ok_as("The execution, or the run, as it is now.", waiting_schema())
}

pub fn approve_doc() -> Doc {
    let doc = doc("Approves an execution, or a run that has yet to begin, that waits for a person.");
    shows_what_waited(doc.optional_body::<Decision>())
}

pub async fn approve(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Decision> = ask::read(&req, payload, &state, Role::Operator).await?;
    let remark = decided(&asked)?;
    let by = voter(&asked, &remark);
    decide(&state, &id, &asked, remark, |step| Command::Approve { step, by }).await
}

pub fn reject_doc() -> Doc {
    let doc = doc("Refuses an execution, or a run that has yet to begin, that waits for a person.");
    shows_what_waited(doc.optional_body::<Decision>())
}

pub async fn reject(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Decision> = ask::read(&req, payload, &state, Role::Operator).await?;
    let remark = decided(&asked)?;
    let by = voter(&asked, &remark);
    decide(&state, &id, &asked, remark, |step| Command::Reject { step, by }).await
}

pub fn cancel_doc() -> Doc {
    shows_the_execution(doc("Cancels an execution; those that depend on it are skipped.").optional_body::<Nothing>())
}

pub async fn cancel(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let remark = asked.remark();
    tell(&state, &id, &asked, remark, |step| Command::CancelStep { step }).await
}

pub fn retry_doc() -> Doc {
    let doc = doc("Takes its run up again from an execution that failed or was cancelled.");
    shows_the_execution(doc.optional_body::<Nothing>())
}

pub async fn retry(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let remark = asked.remark();
    tell(&state, &id, &asked, remark, |step| Command::Retry { step: Some(step) }).await
}

/// Tells the execution what a person decided; or the run, where the id is a run's. A round of a loop may be over by that, and
/// its executions with it: then its run is shown.
async fn decide(
    state: &State,
    id: &str,
    asked: &Asked<Decision>,
    remark: Remark,
    command: impl FnOnce(Option<StepNo>) -> Command,
) -> Result<HttpResponse, Problem> {
    if is_of_run(id) {
        return of_run::tell(state, id, asked, command(None), remark).await;
    }
    let (id, run, step) = parts_of(id)?;
    let mut row = told(state, (id, run), asked, command(Some(step)), remark).await?;
    if row.is_none() {
        row = state.views.one(asked.caller.scope, Resource::Runs, run.0).await?;
    }
    Ok(HttpResponse::Ok().json(row.ok_or_else(|| Problem::no_row("run"))?))
}

/// Tells the run of the execution, and shows the execution as it is then.
async fn tell<T>(
    state: &State,
    id: &str,
    asked: &Asked<T>,
    remark: Remark,
    command: impl FnOnce(StepNo) -> Command,
) -> Result<HttpResponse, Problem> {
    let (id, run, step) = parts_of(id)?;
    match told(state, (id, run), asked, command(step), remark).await? {
        Some(row) => Ok(HttpResponse::Ok().json(row)),
        // It has ended by this, and its round with it.
        None => Err(absent(state, asked.caller.scope, id).await?),
    }
}

/// Tells the run of the execution, and gives the execution as it is then.
async fn told<T>(
    state: &State,
    (id, run): (ExecutionId, RunId),
    asked: &Asked<T>,
    command: Command,
    remark: Remark,
) -> Result<Option<Value>, Problem> {
    let scope = asked.caller.scope;
    match state.engine.tell(scope, run, command, remark).await {
        Ok(()) => Ok(state.views.one(scope, Resource::Executions, id.0).await?),
        Err(TellError::NotFound | TellError::Refused(Refusal::NoSuchStep(_))) => Err(absent(state, scope, id).await?),
        Err(error) => Err(error.into()),
    }
}
