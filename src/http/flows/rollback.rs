//! `POST /api/v1/flows/{id}/rollback`: the content of an earlier version becomes the next one. Nothing is lost: the versions
//! in between stay, and rolling back can be rolled back.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::FlowDraft;
use core314_actors::ports::Scope;
use core314_actors::ports::catalog::StoredFlow;
use core314_domain::document::FlowDocument;
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::patch::check_version;
use super::show_version::version_of;
use super::{FlowView, etag};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// Where to go back to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowRollback")]
struct Input {
    /// The version whose content is wanted.
    #[schemars(range(min = 1))]
    version: i64,
}

pub fn doc() -> Doc {
    Doc::role("Makes the content of an earlier version the next one.", Role::Admin)
        .body::<Input>()
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok::<FlowView>("The flow in its new version, or as it was where nothing changes.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Admin).await?;
    let id: FlowId = id.parse().map_err(|_| Problem::no_row("flow"))?;
    let stored = state.engine.flow(asked.caller.scope, id).await?.ok_or_else(|| Problem::no_row("flow"))?;
    check_version(req.headers(), stored.version)?;
    let tenant = asked.owner.tenant;
    let wanted = version_of(&state, Scope::Tenant(tenant), id, asked.input.version).await?;
    let document = FlowDocument { flow_version: None, ..wanted.document };
    if document == (FlowDocument { flow_version: None, ..stored.document.clone() }) {
        return Ok(HttpResponse::Ok().insert_header(etag(stored.version)).json(FlowView::of(stored)));
    }
    let draft = FlowDraft { owner: asked.owner, document, by: asked.caller.by };
    let saved = state.engine.update_flow(id, stored.version, draft).await?;
    let flow = StoredFlow { owner: stored.owner, created_at_ms: stored.created_at_ms, ..saved };
    let view = FlowView::warned(&state, tenant, flow).await?;
    Ok(HttpResponse::Ok().insert_header(etag(stored.version + 1)).json(view))
}
