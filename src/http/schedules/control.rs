//! `POST /api/v1/flows/{id}/schedule/pause|resume`: a paused schedule fires nothing; its flow can be started all the same.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::FlowId;

use super::missing;
use super::show::{View, view};
use crate::http::Shared;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

fn doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Admin)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .ok::<View>("The schedule as it stands now.")
}

pub fn pause_doc() -> Doc {
    doc("Pauses a schedule: it fires nothing until it is resumed. Its flow can be started by hand.")
}

pub async fn pause(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    set(req, payload, id, state, true).await
}

pub fn resume_doc() -> Doc {
    doc("Lets a paused schedule fire again, from now on. What has passed is counted, and can be filled in.")
}

pub async fn resume(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    set(req, payload, id, state, false).await
}

async fn set(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
    is_paused: bool,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Admin).await?;
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let by = asked.caller.by.clone();
    if is_paused {
        state.engine.pause_schedule(asked.owner, id, by).await?;
    } else {
        state.engine.resume_schedule(asked.owner, id, by).await?;
    }
    Ok(HttpResponse::Ok().json(view(&state, asked.caller.scope, id).await?))
}
