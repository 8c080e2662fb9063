//! `DELETE /api/v1/syncs/{name}`: forgets how far a sync has come. The next one begins from the start; one under way stops at
//! its next portion.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Forgets how far a sync has come, so that it begins from the start.", Role::Operator)
        .empty(StatusCode::NO_CONTENT, "It is forgotten.")
}

pub async fn handle(req: HttpRequest, name: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let caller = credential.act(req.headers(), None)?;
    let tenant = caller.owner()?.tenant;
    if !state.syncs.forget(tenant, &name).await? {
        return Err(Problem::no_row("sync"));
    }
    tracing::info!(tenant = %tenant, sync = %*name, by = %caller.by, "a sync was reset");
    Ok(HttpResponse::NoContent().finish())
}
