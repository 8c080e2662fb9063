//! A condition of a flow document: CEL, or a JSON matcher.
//!
//! A condition is a list of clauses that must all hold. CEL is split at its outermost `&&`, so that
//! "why was this skipped?" is answered by the one clause that is false, in the author's own words.
//! The clauses together mean what the whole text means: as in CEL, a false clause decides even when
//! another one fails, and otherwise a failure is an error and never a silent false.

use std::sync::Arc;

use serde_json::Value;

use super::Suspect;
use super::error::ExprError;
use super::matcher::Matcher;
use super::program::{Demand, Program};
use super::scope::{Names, Scope};
use super::syntax::{self, Language};

/// A compiled condition. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Condition(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Always,
    /// The clauses, as they are written.
    Cel(Vec<Program>),
    Matcher(Matcher),
}

impl Condition {
    /// The condition that always holds.
    pub fn always() -> Self {
        Self(Arc::new(Kind::Always))
    }

    /// Compiles a condition: null or `true` is always, a text is CEL, an object or array a matcher.
    /// Errors carry the JSON pointer within `doc`.
    pub fn parse(doc: &Value, names: &Names) -> Result<Self, ExprError> {
        let kind = match doc {
            Value::Null | Value::Bool(true) => Kind::Always,
            Value::String(source) => Kind::Cel(parse_clauses(source, names)?),
            Value::Object(_) | Value::Array(_) => Kind::Matcher(Matcher::parse(doc, names)?),
            Value::Bool(false) | Value::Number(_) => {
                let message = "a condition is a CEL text, a matcher, or true";
                return Err(ExprError::new(&doc.to_string(), message));
            }
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Whether the condition holds.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExprError> {
        match &*self.0 {
            Kind::Always => Ok(true),
            Kind::Cel(clauses) => first_false(clauses, scope).map(|clause| clause.is_none()),
            Kind::Matcher(matcher) => Ok(matcher.holds(scope)),
        }
    }

    /// The clause that is false, in the document's own words; None when the condition holds.
    pub fn failing_clause(&self, scope: &Scope) -> Result<Option<String>, ExprError> {
        match &*self.0 {
            Kind::Always => Ok(None),
            Kind::Cel(clauses) => first_false(clauses, scope).map(|clause| clause.map(str::to_owned)),
            Kind::Matcher(matcher) => Ok(matcher.failing(scope)),
        }
    }
}

impl Suspect for Condition {
    fn warnings(&self) -> Vec<ExprError> {
        let Kind::Cel(clauses) = &*self.0 else { return Vec::new() };
        clauses.iter().flat_map(Program::warnings).collect()
    }
}

/// The first clause that is false. An error counts only if no clause is false.
fn first_false<'c>(clauses: &'c [Program], scope: &Scope) -> Result<Option<&'c str>, ExprError> {
    let mut failed = None;
    for clause in clauses {
        match clause.holds(scope) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(clause.source())),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}

fn parse_clauses(source: &str, names: &Names) -> Result<Vec<Program>, ExprError> {
    let failed = |fault: syntax::Fault| ExprError::new(source, fault.message).at_byte(fault.at);
    syntax::check_length(source).map_err(failed)?;
    let found = syntax::tokens(source, Language::Cel).map_err(failed)?;
    syntax::check(source, &found, Language::Cel).map_err(failed)?;
    let clauses = syntax::clauses(source, &found);
    let mut programs = Vec::with_capacity(clauses.len());
    for (start, text) in clauses {
        let skipped = source[..start].chars().count() + text.chars().take_while(|c| c.is_whitespace()).count();
        programs.push(Program::parse(text.trim(), names, Demand::Truth).map_err(|error| ExprError {
            expression: source.to_owned(),
            position: error.position.map(|at| at + skipped),
            ..error
        })?);
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{NAMES, scope};
    use super::*;

    fn parsed(doc: &Value) -> Condition {
        Condition::parse(doc, &NAMES).unwrap()
    }

    fn holds(source: &str) -> Result<bool, String> {
        parsed(&json!(source)).holds(&scope()).map_err(|error| error.message)
    }

    #[test]
    fn always() {
        let scope = scope();
        for condition in
            [Condition::always(), parsed(&json!(null)), parsed(&json!(true)), parsed(&json!({})), parsed(&json!([]))]
        {
            assert_eq!(condition.holds(&scope), Ok(true));
            assert_eq!(condition.failing_clause(&scope), Ok(None));
        }
        assert!(Condition::parse(&json!(1), &NAMES).is_err());
    }

    #[test]
    fn names_the_clause_that_is_false() {
        let scope = scope();
        let condition = parsed(&json!(r#"trigger.severity in ["high"] && trigger.host == "db && 1"  && true"#));
        assert_eq!(condition.holds(&scope), Ok(false));
        assert_eq!(condition.failing_clause(&scope), Ok(Some(r#"trigger.host == "db && 1""#.to_owned())));
        let condition =
            parsed(&json!({"severity": "high", "all": [{"field": "score", "operator": ">", "value": 0.95}]}));
        assert_eq!(condition.holds(&scope), Ok(false));
        let clause = condition.failing_clause(&scope).unwrap().unwrap();
        assert_eq!(clause, r#"{"field":"score","operator":">","value":0.95}"#);
    }

    #[test]
    fn an_error_is_an_error_unless_another_clause_decides() {
        assert_eq!(holds("trigger.nope == 1 && trigger.host == 'web-1'"), Err("`trigger` has no member `nope`".into()));
        assert_eq!(holds("trigger.nope == 1 && trigger.host == 'x'"), Ok(false));
        assert_eq!(holds("trigger.host == 'x' && trigger.nope == 1"), Ok(false));
        assert_eq!(holds("trigger.nope == 1 || trigger.host == 'web-1'"), Ok(true));
        assert!(holds("trigger.host").unwrap_err().contains("string"));
        assert!(holds("true && 1").unwrap_err().contains("int"));
    }

    #[test]
    fn positions_are_those_of_the_whole_text() {
        let source = "trigger.ü == 1 && trigger.host = 2";
        let error = Condition::parse(&json!("trigger.u == 1 &&  nope.x"), &NAMES).unwrap_err();
        assert_eq!((error.position, error.expression.len()), (Some(19), 25));
        assert!(Condition::parse(&json!(source), &NAMES).is_err());
        assert!(Condition::parse(&json!("a &&"), &NAMES).is_err());
        assert!(Condition::parse(&json!("  "), &NAMES).is_err());
    }
}
