//! `GET /api/v1/flows/{id}/versions/{version}`: one version of a flow.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_actors::ports::catalog::StoredFlow;
use core314_domain::ids::FlowId;

use super::versions::View;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State};

pub fn doc() -> Doc {
    Doc::role("Shows one version of a flow.", Role::Viewer).ok::<View>("The version.")
}

pub async fn handle(
    req: HttpRequest,
    path: web::Path<(String, String)>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let (id, version) = path.into_inner();
    let id: FlowId = id.parse().map_err(|_| Problem::no_row("flow"))?;
    let version = version.parse::<i64>().map_err(|_| Problem::no_row("version"))?;
    state.engine.flow(scope, id).await?.ok_or_else(|| Problem::no_row("flow"))?;
    let found = version_of(&state, scope, id, version).await?;
    Ok(HttpResponse::Ok().json(View::of(found)))
}

/// A version of a flow that the caller may see.
pub async fn version_of(state: &State, scope: Scope, id: FlowId, version: i64) -> Result<StoredFlow, Problem> {
    let found = state.engine.runtime().catalog.flow_version(id, version).await?;
    let is_own = |flow: &StoredFlow| scope == Scope::Platform || scope == Scope::Tenant(flow.owner.tenant);
    found.filter(is_own).ok_or_else(|| Problem::no_row("version"))
}
