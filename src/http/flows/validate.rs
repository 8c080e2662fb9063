//! `POST /api/v1/flows/validate`: checks a document without saving it. A document with problems is no failed request.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::is_held;
use core314_actors::ports::Scope;
use core314_domain::document::FlowDocument;
use core314_domain::plan::Problem as DocumentProblem;
use schemars::JsonSchema;
use serde::Serialize;

use super::FindingView;
use super::create::{Written, in_text, read_document};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Place, Problem};
use crate::http::{Shared, State};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Validation")]
struct View {
    valid: bool,
    /// Everything that is wrong, each with its place.
    errors: Vec<FindingView>,
    /// What is legal, and surely not meant.
    warnings: Vec<FindingView>,
    /// Whether it would be saved inactive although it says otherwise: what an action names does not exist yet.
    saved_inactive: bool,
}

pub fn doc() -> Doc {
    Doc::role("Checks a flow document without saving it.", Role::Viewer)
        .body_in::<FlowDocument>(&["application/json", "application/yaml"])
        .ok::<View>("Whether it could be saved, and if not, why.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut saved_inactive = false;
    let (errors, warnings) = match read_document(&req, payload, &state).await {
        Ok(Written { document, text, places }) => {
            let shown = |found| in_text(found, &text, &places).into_iter().map(FindingView::from).collect();
            let tenant = match scope {
                Scope::Tenant(tenant) => Some(tenant),
                Scope::Platform => None,
            };
            match state.engine.check_flow(tenant, &document).await? {
                Ok(checked) => {
                    saved_inactive = is_held(&checked, &document);
                    (Vec::new(), shown(doubts(&state, scope, &document).await?))
                }
                Err(problems) => (shown(problems), Vec::new()),
            }
        }
        Err(Problem::InvalidRequest(errors)) => (errors.into_iter().map(FindingView::from).collect(), Vec::new()),
        Err(problem) => return Err(problem),
    };
    Ok(HttpResponse::Ok().json(View { valid: errors.is_empty(), errors, warnings, saved_inactive }))
}

/// What is legal in a document, and surely not meant where it would be saved.
async fn doubts(state: &State, scope: Scope, document: &FlowDocument) -> Result<Vec<DocumentProblem>, Problem> {
    let Scope::Tenant(tenant) = scope else { return Ok(state.engine.warnings(None, None, document).await?) };
    let named = state.engine.runtime().catalog.flow_by_name(tenant, document.flow_name.clone()).await?;
    Ok(state.engine.warnings(Some(tenant), named.map(|flow| flow.id), document).await?)
}

impl From<FieldError> for FindingView {
    fn from(error: FieldError) -> Self {
        let pointer = match error.place {
            Place::Body(pointer) => pointer,
            Place::Query(_) | Place::Header(_) => String::new(),
        };
        DocumentProblem::new(pointer, error.message).into()
    }
}
