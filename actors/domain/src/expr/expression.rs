//! A CEL text that computes a value: loop collections, keys of limits, `transform` and `set`.

use std::sync::Arc;

use serde_json::Value;

use super::Suspect;
use super::error::ExprError;
use super::limits::KEY_BYTES;
use super::program::{Demand, NO_KEY, Program};
use super::scope::{Names, Scope};

/// A compiled CEL expression with a JSON result. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Expression(Arc<Program>);

impl Expression {
    /// Parses and checks a CEL text.
    pub fn parse(source: &str, names: &Names) -> Result<Self, ExprError> {
        Program::parse(source, names, Demand::Any).map(|program| Self(Arc::new(program)))
    }

    /// The same of a text that computes a key: what is known to give neither a text nor a whole number is refused.
    pub fn parse_key(source: &str, names: &Names) -> Result<Self, ExprError> {
        Program::parse(source, names, Demand::Key).map(|program| Self(Arc::new(program)))
    }

    /// The same of a text that computes what a loop goes over: what is known to give no list is refused.
    pub fn parse_list(source: &str, names: &Names) -> Result<Self, ExprError> {
        Program::parse(source, names, Demand::List).map(|program| Self(Arc::new(program)))
    }

    /// The value of a key, as a text.
    pub fn key(&self, scope: &Scope) -> Result<String, ExprError> {
        let found = match self.evaluate(scope)? {
            Value::String(text) if text.len() <= KEY_BYTES => return Ok(text),
            Value::Number(number) if !number.is_f64() => return Ok(number.to_string()),
            Value::String(text) => format!("a key has at most {KEY_BYTES} bytes, and this has {}", text.len()),
            Value::Number(number) => format!("{NO_KEY}, and this is {number}"),
            Value::Null => format!("{NO_KEY}, and this is null"),
            Value::Bool(_) => format!("{NO_KEY}, and this is a bool"),
            Value::Array(_) => format!("{NO_KEY}, and this is a list"),
            Value::Object(_) => format!("{NO_KEY}, and this is a map"),
        };
        Err(ExprError::new(self.source(), found))
    }

    /// The value of the expression. Times become RFC 3339 texts, bytes base64; a number that is not
    /// finite is an error.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExprError> {
        self.0.value(scope)
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        self.0.source()
    }
}

impl Suspect for Expression {
    fn warnings(&self) -> Vec<ExprError> {
        self.0.warnings()
    }
}
