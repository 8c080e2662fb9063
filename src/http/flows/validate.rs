//! `POST /api/v1/flows/validate`: checks a document without saving it. A document with problems is no failed request.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_domain::document::short::Places;
use core314_domain::document::{FlowDocument, warnings};
use core314_domain::plan::Problem as DocumentProblem;
use schemars::JsonSchema;
use serde::Serialize;

use super::FindingView;
use super::create::read_document;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{Place, Problem};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Validation")]
struct View {
    valid: bool,
    /// Everything that is wrong, each with its place.
    errors: Vec<FindingView>,
    /// What is legal and surely not meant.
    warnings: Vec<FindingView>,
}

pub fn doc() -> Doc {
    Doc::role("Checks a flow document without saving it.", Role::Viewer)
        .body_in::<FlowDocument>(&["application/json", "application/yaml"])
        .ok::<View>("Whether it could be saved, and if not, why.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut warnings = Vec::new();
    let errors: Vec<FindingView> = match read_document(&req, payload, &state).await {
        Ok((document, places)) => {
            let found = match scope {
                Scope::Tenant(tenant) => {
                    let named = state.engine.runtime().catalog.flow_by_name(tenant, document.flow_name.clone()).await?;
                    state.engine.warnings(tenant, named.map(|flow| flow.id), &document).await?
                }
                Scope::Platform => warnings::warnings(&document),
            };
            warnings = found.into_iter().map(|problem| finding(problem, &places)).collect();
            let problems = state.engine.check_flow(&document).err().unwrap_or_default();
            problems.into_iter().map(|problem| finding(problem, &places)).collect()
        }
        Err(Problem::InvalidRequest(errors)) => errors
            .into_iter()
            .map(|error| {
                let pointer = match error.place {
                    Place::Body(pointer) => pointer,
                    Place::Query(_) | Place::Header(_) => String::new(),
                };
                FindingView { pointer, message: error.message }
            })
            .collect(),
        Err(problem) => return Err(problem),
    };
    Ok(HttpResponse::Ok().json(View { valid: errors.is_empty(), errors, warnings }))
}

/// A finding, at its place in the text that was sent.
fn finding(problem: DocumentProblem, places: &Places) -> FindingView {
    FindingView { pointer: places.in_text(&problem.pointer), message: problem.message }
}
