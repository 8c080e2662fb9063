//! `POST /api/v1/flows/{id}/clone`: a new flow with the same definition, under another name; under its own name a new
//! version of the same flow.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::FlowDraft;
use core314_domain::document::FlowDocument;
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{FlowView, etag};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// What the clone is called.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Clone")]
struct Input {
    flow_name: String,
}

pub fn doc() -> Doc {
    Doc::role("Makes a new flow with the definition of this one; with its own name, a new version.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::PRECONDITION_FAILED)
        .answer::<FlowView>(StatusCode::CREATED, "The new flow, or the new version.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Admin).await?;
    let missing = || Problem::no_row("flow");
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let stored = state.engine.flow(asked.caller.scope, id).await?.ok_or_else(missing)?;
    let same = stored.document.flow_name == asked.input.flow_name;
    let document = FlowDocument { flow_name: asked.input.flow_name, ..stored.document };
    let document = if same { document } else { document.apart_from_files() };
    let draft = FlowDraft { owner: asked.owner, document, by: asked.caller.by };
    let flow = if same {
        state.engine.update_flow(id, stored.version, draft).await?
    } else {
        state.engine.create_flow(draft).await?
    };
    let (id, version) = (flow.id, flow.version);
    let view = FlowView::warned(&state, asked.owner.tenant, flow).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/flows/{id}")))
        .insert_header(etag(version))
        .json(view))
}
