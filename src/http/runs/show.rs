//! `GET /api/v1/runs/{id}`: one run.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::Shared;
use crate::http::problem::Problem;

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let id = id.parse().map_err(|_| Problem::no_row("run"))?;
    let row = state.views.run(scope, id).await?.ok_or_else(|| Problem::no_row("run"))?;
    Ok(HttpResponse::Ok().json(row))
}
