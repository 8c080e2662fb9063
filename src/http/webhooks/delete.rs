//! `DELETE /api/v1/webhooks/{id}`: removes an endpoint and what was kept of its deliveries. Runs that it started stay.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{find, missing};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Removes a webhook. Runs that it started stay.", Role::Admin)
        .empty(StatusCode::NO_CONTENT, "It is gone: deliveries to it are refused.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    caller.owner()?;
    let webhook = find(&state, caller.scope, &id).await?;
    let is_gone_by_us = state.engine.remove_webhook(&webhook, caller.by).await?;
    if is_gone_by_us { Ok(HttpResponse::NoContent().finish()) } else { Err(missing()) }
}
