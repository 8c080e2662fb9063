//! `DELETE /api/v1/secrets/{name}`: removes a secret that no integration uses. Actions that name it fail from then on.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::ConnectError;

use super::{find, missing};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Removes a secret that no integration uses.", Role::Admin)
        .problem(StatusCode::CONFLICT)
        .empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn handle(req: HttpRequest, named: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    caller.owner()?;
    let found = find(&state, caller.scope, &named).await?;
    match state.engine.remove_secret(&found, caller.by).await {
        Ok(()) => Ok(HttpResponse::NoContent().finish()),
        // Somebody else was faster.
        Err(ConnectError::Conflict) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}
