//! `GET /api/v1/flows/{id}/diff`: what changed from one version of a flow to another, step by step and field by field.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::document::diff::{Difference, differences};
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Serialize;

use super::show_version::version_of;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

/// The places at which two versions differ.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowDiff")]
struct View {
    from: i64,
    to: i64,
    differences: Vec<Difference>,
}

/// Versions are counted from 1; nobody saves one a second for a lifetime.
const MOST_VERSIONS: usize = 1_000_000_000;

pub fn doc() -> Doc {
    Doc::role("Says where two versions of a flow differ.", Role::Viewer)
        .number("from", "By default the version before `to`.", 1, MOST_VERSIONS)
        .number("to", "By default the present version.", 1, MOST_VERSIONS)
        .ok::<View>("Every place with its value before and after.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let mut version = |name| query.number(name, 1, MOST_VERSIONS).map(|number| number as i64);
    let (from, to) = (version("from"), version("to"));
    query.finish()?;
    let id: FlowId = id.parse().map_err(|_| Problem::no_row("flow"))?;
    let flow = state.engine.flow(scope, id).await?.ok_or_else(|| Problem::no_row("flow"))?;
    let to = to.unwrap_or(flow.version);
    let from = from.unwrap_or((to - 1).max(1));
    let before = version_of(&state, scope, id, from).await?;
    let after = version_of(&state, scope, id, to).await?;
    let differences = differences(&before.document, &after.document);
    Ok(HttpResponse::Ok().json(View { from, to, differences }))
}
