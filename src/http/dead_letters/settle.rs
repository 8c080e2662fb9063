//! `POST /api/v1/dead-letters/{id}/retry|discard`: what a person does with work that was set aside.
//!
//! To retry takes the run up again, and only then is the letter settled: a run that cannot be taken up leaves it as it is.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::SaveError;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{RowId, RunId};
use core314_domain::run::Command;

use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, resources};

fn doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Operator)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .ok_as("The dead letter as it is now.", resources::row_schema(Resource::DeadLetters))
}

pub fn retry_doc() -> Doc {
    doc("Takes up again the run that was set aside.")
}

pub async fn retry(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let (id, letter) = open(&state, &asked, &id).await?;
    let run: Option<RunId> = letter["flow_run_id"].as_str().and_then(|run| run.parse().ok());
    let run = run.ok_or_else(|| Problem::Conflict("it belongs to no run that could be taken up again".to_owned()))?;
    state.engine.tell(asked.caller.scope, run, Command::Retry { step: None }, asked.remark()).await?;
    settle(&state, asked, id, "retried").await
}

pub fn discard_doc() -> Doc {
    doc("Notes that nothing is to be done about it.")
}

pub async fn discard(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let (id, _) = open(&state, &asked, &id).await?;
    settle(&state, asked, id, "discarded").await
}

/// The dead letter, if nobody has settled it yet.
async fn open(state: &State, asked: &Asked<Nothing>, id: &str) -> Result<(RowId, serde_json::Value), Problem> {
    let missing = || Problem::no_row("dead letter");
    let id: RowId = id.parse().map_err(|_| missing())?;
    let found = state.views.one(asked.caller.scope, Resource::DeadLetters, id.0).await?.ok_or_else(missing)?;
    match found["settlement"].as_str() {
        None => Ok((id, found)),
        Some(how) => Err(Problem::Conflict(format!("it was {how} already"))),
    }
}

async fn settle(state: &State, asked: Asked<Nothing>, id: RowId, how: &'static str) -> Result<HttpResponse, Problem> {
    let scope = asked.caller.scope;
    match state.engine.settle(asked.owner, id, how, asked.caller.by).await {
        // Somebody was faster: what is shown says so.
        Ok(()) | Err(SaveError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    let row = state.views.one(scope, Resource::DeadLetters, id.0).await?;
    Ok(HttpResponse::Ok().json(row.ok_or_else(|| Problem::no_row("dead letter"))?))
}
