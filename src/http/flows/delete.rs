//! `DELETE /api/v1/flows/{id}`: the flow is gone; its live runs go on with the versions that they have.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::FlowId;

use super::patch::check_version;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Deletes a flow. Its live runs go on.", Role::Admin)
        .if_match()
        .empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let missing = || Problem::no_row("flow");
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let flow = state.engine.flow(caller.scope, id).await?.ok_or_else(missing)?;
    check_version(req.headers(), flow.version)?;
    state.engine.delete_flow(owner, id, caller.by).await?;
    Ok(HttpResponse::NoContent().finish())
}
