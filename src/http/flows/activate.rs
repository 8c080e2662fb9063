//! `POST /api/v1/flows/{id}/pause|resume`: a paused flow starts no runs; those that it has go on.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::FlowId;
use serde_json::json;

use super::FlowView;
use super::patch::change;
use crate::http::Shared;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

fn doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Admin)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::PRECONDITION_FAILED)
        .ok::<FlowView>("The flow as it is now.")
}

pub fn pause_doc() -> Doc {
    doc("Pauses a flow: it starts no runs until it is resumed.")
}

pub async fn pause(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    set(req, payload, id, state, false).await
}

pub fn resume_doc() -> Doc {
    doc("Lets a paused flow start runs again.")
}

pub async fn resume(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    set(req, payload, id, state, true).await
}

async fn set(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
    is_active: bool,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Admin).await?;
    let id: FlowId = id.parse().map_err(|_| Problem::no_row("flow"))?;
    change(&state, id, &asked.caller, asked.owner, &req, &json!({"is_active": is_active})).await
}
