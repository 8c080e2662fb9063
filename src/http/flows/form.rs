//! `GET /api/v1/flows/{id}/form`: what a person fills in who starts the flow by hand.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::FlowId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// The form of a flow.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FlowForm")]
struct View {
    flow_id: FlowId,
    flow_name: String,
    flow_version: i64,
    /// JSON Schema; null where the flow takes whatever it is given.
    input_schema: Value,
}

pub fn doc() -> Doc {
    Doc::role("Shows what a person fills in who starts the flow by hand.", Role::Viewer).ok::<View>("The form.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let missing = || Problem::no_row("flow");
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let flow = state.engine.flow(scope, id).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(View {
        flow_id: flow.id,
        flow_name: flow.document.flow_name,
        flow_version: flow.version,
        input_schema: flow.document.input_schema,
    }))
}
