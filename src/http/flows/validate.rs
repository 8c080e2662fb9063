//! `POST /api/v1/flows/validate`: checks a document without saving it. A document with problems is no failed request.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::document::FlowDocument;
use core314_domain::plan::Problem as DocumentProblem;
use schemars::JsonSchema;
use serde::Serialize;

use super::create::{Written, read_document};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Place, Problem};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Validation")]
struct View {
    valid: bool,
    /// Everything that is wrong, each with its place.
    errors: Vec<ErrorView>,
    /// What is legal, and surely not meant.
    warnings: Vec<ErrorView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
struct ErrorView {
    /// RFC 6901, into the document.
    pointer: String,
    message: String,
    /// Of an expression: its line, and below it a mark at the character that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    excerpt: Option<String>,
    /// Where it stands in the document's text; both count from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

pub fn doc() -> Doc {
    Doc::role("Checks a flow document without saving it.", Role::Viewer)
        .body_in::<FlowDocument>(&["application/json", "application/yaml"])
        .ok::<View>("Whether it could be saved, and if not, why.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    let (errors, warnings) = match read_document(&req, payload, &state).await {
        Ok(Written { document, text }) => match state.engine.check_flow(&document) {
            Ok(warnings) => (Vec::new(), shown(warnings, &text)),
            Err(problems) => (shown(problems, &text), Vec::new()),
        },
        Err(Problem::InvalidRequest(errors)) => (errors.into_iter().map(ErrorView::from).collect(), Vec::new()),
        Err(problem) => return Err(problem),
    };
    Ok(HttpResponse::Ok().json(View { valid: errors.is_empty(), errors, warnings }))
}

fn shown(mut problems: Vec<DocumentProblem>, text: &str) -> Vec<ErrorView> {
    DocumentProblem::locate(&mut problems, text);
    problems.into_iter().map(ErrorView::from).collect()
}

impl From<FieldError> for ErrorView {
    fn from(error: FieldError) -> Self {
        let pointer = match error.place {
            Place::Body(pointer) => pointer,
            Place::Query(_) | Place::Header(_) => String::new(),
        };
        DocumentProblem::new(pointer, error.message).into()
    }
}

impl From<DocumentProblem> for ErrorView {
    fn from(problem: DocumentProblem) -> Self {
        let DocumentProblem { pointer, message, excerpt, line, column } = problem;
        Self { pointer, message, excerpt, line, column }
    }
}
