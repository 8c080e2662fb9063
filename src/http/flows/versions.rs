//! `GET /api/v1/flows/{id}/versions`: the versions of a flow, the newest first.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::catalog::StoredFlow;
use core314_domain::document::FlowDocument;
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Serialize;

use super::rfc3339;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::page::ListView;
use crate::http::problem::Problem;
use crate::http::query::Query;

/// A version of a flow.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowVersion")]
pub struct View {
    flow_version: i64,
    created_at: Option<String>,
    document: FlowDocument,
}

impl View {
    pub fn of(found: StoredFlow) -> Self {
        let created_at = rfc3339(found.created_at_ms);
        Self { flow_version: found.version, created_at, document: found.document }
    }
}

/// How many versions are shown at once; a version may be a megabyte.
const PAGE: i64 = 50;

pub fn doc() -> Doc {
    Doc::role("Lists the versions of a flow, the newest first.", Role::Viewer)
        .number("limit", "How many items at most, by default 50; a page has no more than 50.", 1, 500)
        .cursor()
        .ok::<ListView<View>>("A page of versions.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let before = query.optional::<String>("cursor").map(|text| text.parse::<i64>().ok().filter(|before| *before > 0));
    if before == Some(None) {
        query.wrong("cursor", "is not a next_cursor of this server");
    }
    let page = query.number("limit", 1, 500).map_or(PAGE, |limit| (limit as i64).min(PAGE));
    query.finish()?;
    let missing = || Problem::no_row("flow");
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let flow = state.engine.flow(scope, id).await?.ok_or_else(missing)?;
    let newest = before.flatten().map_or(flow.version, |before| (before - 1).min(flow.version));
    let oldest = (newest - page + 1).max(1);
    let mut items = Vec::new();
    for version in (oldest..=newest).rev() {
        if let Some(found) = state.engine.runtime().catalog.flow_version(id, version).await? {
            items.push(View::of(found));
        }
    }
    let next_cursor = (oldest > 1).then(|| oldest.to_string());
    Ok(HttpResponse::Ok().json(ListView { items, next_cursor }))
}
