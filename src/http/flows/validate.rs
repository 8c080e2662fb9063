//! `POST /api/v1/flows/validate`: checks a document without saving it. A document with problems is no failed request.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::document::FlowDocument;
use core314_domain::plan::Problem as DocumentProblem;
use schemars::JsonSchema;
use serde::Serialize;

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
    errors: Vec<ErrorView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
struct ErrorView {
    /// RFC 6901, into the document.
    pointer: String,
    message: String,
}

pub fn doc() -> Doc {
    Doc::role("Checks a flow document without saving it.", Role::Viewer)
        .body_in::<FlowDocument>(&["application/json", "application/yaml"])
        .ok::<View>("Whether it could be saved, and if not, why.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    let errors = match read_document(&req, payload, &state).await {
        Ok(document) => match state.engine.check_flow(&document) {
            Ok(()) => Vec::new(),
            Err(problems) => problems.into_iter().map(ErrorView::from).collect(),
        },
        Err(Problem::InvalidRequest(errors)) => errors
            .into_iter()
            .map(|error| {
                let pointer = match error.place {
                    Place::Body(pointer) => pointer,
                    Place::Query(_) | Place::Header(_) => String::new(),
                };
                ErrorView { pointer, message: error.message }
            })
            .collect(),
        Err(problem) => return Err(problem),
    };
    Ok(HttpResponse::Ok().json(View { valid: errors.is_empty(), errors }))
}

impl From<DocumentProblem> for ErrorView {
    fn from(problem: DocumentProblem) -> Self {
        Self { pointer: problem.pointer, message: problem.message }
    }
}
