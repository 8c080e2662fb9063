//! `POST /api/v1/runs/{id}/restart`: a new run from the start, with what started this one.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::Restart;
use core314_actors::ingress::{TriggerError, Triggered};

use super::{AcceptedView, answer, id_of, wait_of};
use crate::http::Shared;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Starts a new run of the same flow, with what started this one.", Role::Operator)
        .optional_body::<Nothing>()
        .idempotent()
        .waits()
        .answer::<AcceptedView>(StatusCode::ACCEPTED, "The new run is durable, and goes on.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let run = id_of(&id)?;
    let again = Restart { by: asked.caller.by, idempotency: asked.idempotency };
    match state.engine.restart(asked.caller.scope, run, again).await {
        Ok(Triggered::Accepted(new) | Triggered::Repeated(new)) => {
            answer(&state, asked.caller.scope, new, wait_of(&req, None)?).await
        }
        Ok(Triggered::NoMatch(why_not)) => Err(Problem::NoMatchingFlow(why_not)),
        Err(TriggerError::NoSuchFlow) => Err(Problem::no_row("run, or its flow is gone")),
        Err(error) => Err(error.into()),
    }
}
