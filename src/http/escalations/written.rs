//! A document in a request's body, as JSON or YAML, and the text that it came as: only that knows the lines of what is wrong.

use actix_web::{HttpRequest, web};
use core314_actors::engine::RuleError;
use core314_domain::json::parse_yaml;
use core314_domain::plan::Problem as DocumentProblem;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{field, refused};
use crate::http::problem::Problem;
use crate::http::{State, body};

/// The media types of a document.
pub const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml"];

/// A value and its text.
pub struct Written {
    pub value: Value,
    text: String,
}

impl Written {
    /// Reads a body strictly.
    pub async fn of(req: &HttpRequest, payload: web::Payload, state: &State) -> Result<Self, Problem> {
        let is_yaml = body::is_yaml(req)?;
        let bytes = body::read(req, payload, &state.settings).await?;
        let depth = state.settings.max_json_depth;
        if !is_yaml {
            let value = body::json(&bytes, depth)?;
            return Ok(Self { value, text: String::from_utf8_lossy(&bytes).into_owned() });
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            Problem::MalformedBody(format!("the body is not UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        let value = parse_yaml(text).map_err(|e| Problem::MalformedBody(format!("the body is not YAML: {e}")))?;
        body::refuse_deep(&value, depth)?;
        Ok(Self { value, text: text.to_owned() })
    }

    /// The document as its type says.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.value.is_object() {
            return Err(self.located(vec![DocumentProblem::new("", "must be an object")]));
        }
        core314_domain::document::read(self.value.clone())
            .map_err(|error| self.located(vec![DocumentProblem::new(error.pointer, error.message)]))
    }

    /// What is wrong, with lines.
    pub fn located(&self, mut problems: Vec<DocumentProblem>) -> Problem {
        DocumentProblem::locate(&mut problems, &self.text);
        Problem::InvalidRequest(problems.iter().map(field).collect())
    }

    /// Why it was not saved, with lines.
    pub fn refused(&self, error: RuleError, noun: &str) -> Problem {
        match error {
            RuleError::Invalid(problems) => self.located(problems),
            error => refused(error, noun),
        }
    }
}
