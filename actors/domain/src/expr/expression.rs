//! A CEL text that computes a value: loop collections, keys of limits, `transform` and `set`.

use std::sync::Arc;

use serde_json::Value;

use super::Suspect;
use super::error::ExprError;
use super::program::{Demand, Program};
use super::scope::{Names, Scope};

/// A compiled CEL expression with a JSON result. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Expression(Arc<Program>);

impl Expression {
    /// Parses and checks a CEL text.
    pub fn parse(source: &str, names: &Names) -> Result<Self, ExprError> {
        Program::parse(source, names, Demand::Any).map(|program| Self(Arc::new(program)))
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
