//! `POST /api/v1/flows`: saves a new flow from its document, JSON or YAML.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::FlowDraft;
use core314_domain::document::short::Places;
use core314_domain::document::{FlowDocument, ShapeError};
use core314_domain::json::parse_yaml;
use core314_domain::plan::Problem as DocumentProblem;

use super::{FlowView, etag};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};
use crate::http::{Shared, State, body};

pub fn doc() -> Doc {
    Doc::role("Saves a new flow from its document.", Role::Admin)
        .body_in::<FlowDocument>(&["application/json", "application/yaml"])
        .problem(StatusCode::CONFLICT)
        .answer::<FlowView>(StatusCode::CREATED, "The flow, as version 1.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let Written { document, text, places } = read_document(&req, payload, &state).await?;
    let saved = state.engine.create_flow(FlowDraft { owner, document, by: caller.by }).await;
    let flow = saved.map_err(|error| located(error.into(), &text, &places))?;
    let (id, version) = (flow.id, flow.version);
    let view = FlowView::warned(&state, owner.tenant, flow).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/flows/{id}")))
        .insert_header(etag(version))
        .json(view))
}

/// A document, and the text that it came as: only that knows the lines of what is wrong with it.
pub struct Written {
    pub document: FlowDocument,
    pub text: String,
    /// Where the document's parts stand in a text of the short form.
    pub places: Places,
}

/// The document in a request's body, in either form.
pub async fn read_document(req: &HttpRequest, payload: web::Payload, state: &State) -> Result<Written, Problem> {
    let is_yaml = body::is_yaml(req)?;
    let text = body::read(req, payload, &state.settings).await?;
    let (document, places) = document(&text, is_yaml, state.settings.max_json_depth)?;
    Ok(Written { document, places, text: String::from_utf8_lossy(&text).into_owned() })
}

/// Names the places, in the text that was sent, of what is wrong with a document.
fn located(problem: Problem, text: &str, places: &Places) -> Problem {
    let Problem::InvalidFlow(problems) = problem else { return problem };
    Problem::InvalidFlow(in_text(problems, text, places))
}

/// Findings at their places in the text that was sent.
pub fn in_text(mut found: Vec<DocumentProblem>, text: &str, places: &Places) -> Vec<DocumentProblem> {
    for problem in &mut found {
        problem.pointer = places.in_text(&problem.pointer);
    }
    DocumentProblem::locate(&mut found, text);
    found
}

/// Reads the text strictly first, so that what is no JSON or YAML is told from what is no flow.
fn document(text: &[u8], is_yaml: bool, max_depth: usize) -> Result<(FlowDocument, Places), Problem> {
    let text = std::str::from_utf8(text).map_err(|error| {
        Problem::MalformedBody(format!("the body is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    if is_yaml {
        let value = parse_yaml(text).map_err(|e| Problem::MalformedBody(format!("the body is not YAML: {e}")))?;
        body::refuse_deep(&value, max_depth)?;
    } else {
        body::json(text.as_bytes(), max_depth)?;
    }
    // The text, not the value: only the text still knows the lines that errors name.
    FlowDocument::from_text_with_places(text).map_err(misshapen)
}

/// The document has the wrong shape, at a place that is known.
pub fn misshapen(error: ShapeError) -> Problem {
    Problem::InvalidRequest(vec![FieldError::at(&error.pointer, error.message)])
}

/// The document has the wrong shape.
pub(super) fn not_a_flow(message: String) -> Problem {
    Problem::InvalidRequest(vec![FieldError::whole_body(message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML_FLOW: &str =
        "flow_name: a\ntrigger_type: manual\nflow_steps:\n  - id: x\n    config: {action_type: transform}\n";

    #[test]
    fn a_document_is_read_as_what_it_is_declared_to_be() {
        assert_eq!(document(YAML_FLOW.as_bytes(), true, 64).expect("valid").0.flow_name, "a");
        assert!(matches!(document(YAML_FLOW.as_bytes(), false, 64), Err(Problem::MalformedBody(_))));
        assert!(matches!(document(b"\xff", true, 64), Err(Problem::MalformedBody(_))));
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let text = YAML_FLOW.replace("trigger_type", "triger_type");
        let problem = document(text.as_bytes(), true, 64).expect_err("unknown key");
        assert!(problem.to_string().contains("triger_type") && problem.to_string().contains("line 2"), "{problem}");
        let twice = document(format!("{YAML_FLOW}flow_name: b\n").as_bytes(), true, 64).expect_err("twice");
        assert!(twice.to_string().contains("flow_name"), "{twice}");
    }

    #[test]
    fn a_deep_or_multiplying_document_is_refused() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(document(deep.as_bytes(), true, 64).is_err());
        let mut bomb = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
        for level in 1..12 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push(format!("a{level}: &a{level} [{refs}]"));
        }
        let bomb = bomb.join("\n");
        assert!(matches!(document(bomb.as_bytes(), true, 64), Err(Problem::MalformedBody(_))));
    }
}
