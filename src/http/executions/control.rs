//! What people tell an execution: `POST /api/v1/executions/{id}/approve|reject|cancel|retry`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::TellError;
use core314_actors::flow_run::Remark;
use core314_actors::ports::resource::Resource;
use core314_domain::run::{Command, Refusal};

use super::{absent, parts_of};
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::runs::control::{Decision, decided, voter};
use crate::http::{Shared, State, resources};

fn doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Operator)
        .problem(StatusCode::CONFLICT)
        .ok_as("The execution as it is now.", resources::row_schema(Resource::Executions))
}

pub fn approve_doc() -> Doc {
    doc("Approves an execution that waits for a person.").optional_body::<Decision>()
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
    tell(&state, &id, &asked, remark, |step| Command::Approve { step: Some(step), by }).await
}

pub fn reject_doc() -> Doc {
    doc("Refuses an execution that waits for a person.").optional_body::<Decision>()
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
    tell(&state, &id, &asked, remark, |step| Command::Reject { step: Some(step), by }).await
}

pub fn cancel_doc() -> Doc {
    doc("Cancels an execution; those that depend on it are skipped.").optional_body::<Nothing>()
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
    doc("Takes its run up again from an execution that failed or was cancelled.").optional_body::<Nothing>()
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

/// Tells the run of the execution, and shows the execution as it is then.
async fn tell<T>(
    state: &State,
    id: &str,
    asked: &Asked<T>,
    remark: Remark,
    command: impl FnOnce(u32) -> Command,
) -> Result<HttpResponse, Problem> {
    let (id, run, step) = parts_of(id)?;
    let scope = asked.caller.scope;
    match state.engine.tell(scope, run, command(step), remark).await {
        Ok(()) => {}
        Err(TellError::NotFound | TellError::Refused(Refusal::NoSuchStep(_))) => {
            return Err(absent(state, scope, id).await?);
        }
        Err(error) => return Err(error.into()),
    }
    match state.views.one(scope, Resource::Executions, id.0).await? {
        Some(row) => Ok(HttpResponse::Ok().json(row)),
        // It has ended by this, and its round with it.
        None => Err(absent(state, scope, id).await?),
    }
}
