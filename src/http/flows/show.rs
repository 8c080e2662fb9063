//! `GET /api/v1/flows/{id}`: one flow with its statistics.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

use super::etag;
use crate::http::Shared;
use crate::http::problem::Problem;

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let id = id.parse().map_err(|_| Problem::no_row("flow"))?;
    let flow = state.views.flow(scope, id).await?.ok_or_else(|| Problem::no_row("flow"))?;
    let mut answer = HttpResponse::Ok();
    if let Some(version) = flow.get("flow_version").and_then(Value::as_i64) {
        answer.insert_header(etag(version));
    }
    Ok(answer.json(flow))
}
