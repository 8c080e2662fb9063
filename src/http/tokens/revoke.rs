//! `DELETE /api/v1/tokens/{id}`: revokes a key. The row stays, so that the audit log's names lead somewhere.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::RowId;

use super::owner_for;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Revokes a service key: at once on this node, within a second on every other.", Role::Admin)
        .empty(StatusCode::NO_CONTENT, "The key opens nothing any more.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let id: RowId = id.parse().map_err(|_| Problem::no_row("service key"))?;
    let owner = owner_for(&state, &caller, id).await?;
    state.engine.revoke_service_key(owner, id, caller.by).await?;
    Ok(HttpResponse::NoContent().finish())
}
