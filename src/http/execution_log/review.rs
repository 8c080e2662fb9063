//! `POST /api/v1/execution-log/{id}/review`: a person's verdict on an attempt. The log itself never changes.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{SaveError, Verdict};
use core314_actors::ports::resource::Resource;
use core314_domain::ids::LogId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::runs::control::bounded;
use crate::http::{Shared, resources};

core314_domain::words! {
    /// What a person found.
    Found { Ok = "ok", Problem = "problem", FalseAlarm = "false_alarm" }
}

/// A verdict.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Review")]
struct Input {
    verdict: Found,
    notes: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Notes a person's verdict on an attempt; a later one replaces it.", Role::Operator)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .ok_as("The attempt, with the notes.", resources::row_schema(Resource::Log))
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let missing = || Problem::no_row(Resource::Log.noun());
    let id: LogId = id.parse().map_err(|_| missing())?;
    let notes = asked.input.notes.as_deref().map(|notes| bounded("notes", notes)).transpose()?;
    let verdict = Verdict {
        reviewer: asked.owner.user,
        verdict: asked.input.verdict.to_string(),
        notes: notes.map(str::to_owned),
    };
    match state.engine.review(asked.owner, id, verdict, asked.caller.by).await {
        Ok(()) => {}
        Err(SaveError::NotFound) => return Err(missing()),
        Err(error) => return Err(error.into()),
    }
    let row = state.views.one(asked.caller.scope, Resource::Log, id.0).await?;
    Ok(HttpResponse::Ok().json(row.ok_or_else(missing)?))
}
