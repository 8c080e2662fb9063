//! `POST /api/v1/flows/{id}/dry-run`: what a trigger would do, without doing it.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::DryRun;
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// The trigger that is tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DryTrigger")]
struct Input {
    trigger_context: Option<Map<String, Value>>,
}

pub fn doc() -> Doc {
    Doc::role(
        "Says what a trigger would do: whether the conditions hold, and what each step would send.",
        Role::Operator,
    )
    .optional_body::<Input>()
    .ok::<DryRun>("What would happen. Nothing has.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let missing = || Problem::no_row("flow");
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let flow = state.engine.flow(asked.caller.scope, id).await?.ok_or_else(missing)?;
    let context = Arc::new(Value::Object(asked.input.trigger_context.unwrap_or_default()));
    let dry = state.engine.dry_run(&flow.document, &asked.owner, context).await?.map_err(Problem::InvalidFlow)?;
    Ok(HttpResponse::Ok().json(dry))
}
