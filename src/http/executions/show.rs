//! `GET /api/v1/executions/{id}`: one entry of the queue.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::Shared;
use crate::http::problem::Problem;

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let id = id.parse().map_err(|_| Problem::no_row("execution"))?;
    let row = state.views.execution(scope, id).await?.ok_or_else(|| Problem::no_row("execution"))?;
    Ok(HttpResponse::Ok().json(row))
}
