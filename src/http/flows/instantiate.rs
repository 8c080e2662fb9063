//! `POST /api/v1/flows/{id}/instantiate`: a new flow from a template, with a value for each of its parameters.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::FlowDraft;
use core314_domain::document::FlowDocument;
use core314_domain::document::parameters;
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FlowView, etag};
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};
use crate::http::{Shared, State};

/// What becomes of the template.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Instantiation")]
pub struct Input {
    /// The name of the new flow.
    flow_name: String,
    /// A value for each parameter that has no default.
    #[serde(default)]
    parameters: Map<String, Value>,
}

pub fn doc() -> Doc {
    Doc::role("Makes a new flow of a template.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer::<FlowView>(StatusCode::CREATED, "The new flow, as version 1.")
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
    if !stored.document.is_template {
        let message = format!("flow '{}' is no template: clone it instead", stored.document.flow_name);
        return Err(Problem::Conflict(message));
    }
    make(&state, asked, &stored.document).await
}

/// Saves the flow that a template becomes.
pub async fn make(state: &State, asked: Asked<Input>, template: &FlowDocument) -> Result<HttpResponse, Problem> {
    let Input { flow_name, parameters } = asked.input;
    let document = parameters::instantiate(template, flow_name, &parameters).map_err(|problems| {
        let each = problems.into_iter().map(|problem| FieldError::at(&problem.pointer, problem.message));
        Problem::InvalidRequest(each.collect())
    })?;
    // Numbered anew: it is a flow of its own.
    let document = FlowDocument { flow_version: None, is_active: true, ..document };
    let draft = FlowDraft { owner: asked.owner, document, by: asked.caller.by };
    let flow = state.engine.create_flow(draft).await?;
    let (id, version) = (flow.id, flow.version);
    let view = FlowView::warned(state, asked.owner.tenant, flow).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/flows/{id}")))
        .insert_header(etag(version))
        .json(view))
}
