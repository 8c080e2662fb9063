//! `POST /api/v1/actors/{path}/restart`: has an actor stopped in an orderly way and started afresh.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::{Access, Doc};
use crate::http::problem::Problem;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Restarting")]
struct View {
    path: String,
    /// Whether the restart was asked for; `GET /actors` shows when it is done.
    restarting: bool,
}

pub fn doc() -> Doc {
    Doc::new("Has an actor stopped in an orderly way and started afresh.", Access::Platform)
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::ACCEPTED, "The restart was asked for.")
}

pub async fn handle(req: HttpRequest, path: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    credential.platform_only(req.headers())?;
    let path = path.into_inner();
    state.engine.restart_actor(&path)?;
    Ok(HttpResponse::Accepted().json(View { path, restarting: true }))
}
