//! `GET /api/v1/flows/{id}/export`: the document, fit for `core314 flow apply`, as YAML or JSON.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::document::FlowDocument;
use core314_domain::ids::FlowId;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

pub fn doc() -> Doc {
    Doc::role("The document of a flow, as a file would hold it.", Role::Viewer)
        .word("format", "By default `yaml`.", &["yaml", "json"])
        .text("application/yaml", "The document.")
        .ok::<FlowDocument>("The document.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let format: Option<String> = query.optional("format");
    if format.as_deref().is_some_and(|format| format != "yaml" && format != "json") {
        query.wrong("format", "must be yaml or json");
    }
    query.finish()?;
    let missing = || Problem::no_row("flow");
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let flow = state.engine.flow(scope, id).await?.ok_or_else(missing)?;
    // Counted by the server: a file has none.
    let document = FlowDocument { flow_version: None, ..flow.document };
    if format.as_deref() == Some("json") {
        return Ok(HttpResponse::Ok().json(document));
    }
    let text = serde_norway::to_string(&document).map_err(|error| {
        tracing::error!(%error, flow = %id, "a flow could not be written as YAML");
        Problem::Internal
    })?;
    Ok(HttpResponse::Ok().content_type("application/yaml").body(text))
}
