//! What a run gives: computed by the mapping in its `output_schema`, and checked by the schema.
//!
//! The schema is a form ([`crate::form`]). Wherever `x-value` stands in it, itself or in `properties`, its CEL gives the
//! value there; an object whose properties have such is made of them. A schema without any only checks.

use serde_json::{Map, Value};

use super::Problem;
use super::check::Checker;
use crate::expr::{Expression, Names, Output, Scope};
use crate::form::Form;

/// The CEL of a value, in a schema.
const VALUE: &str = "x-value";
/// An output is kept in the run's row.
const MAX_BYTES: usize = 64 << 10;
/// Of what is wrong with an output so much is told.
const MAX_TOLD: usize = 5;
/// The roots that a mapping may name: whatever a step after all others may.
const ROOTS: &[&str] = super::check::STEP_ROOTS;

/// What a run gives, and how it must look.
#[derive(Debug)]
pub struct OutputPlan {
    form: Form,
    mapping: Option<Mapping>,
}

/// How a value is made.
#[derive(Debug)]
enum Mapping {
    Value(Expression),
    /// Each with its name; the others are left out.
    Object(Vec<(String, Mapping)>),
}

impl OutputPlan {
    /// The output, where it is another than the run's steps gave; or why it is none. What a `stop` step `is_said` to
    /// give goes before the mapping.
    pub fn compute(&self, scope: &Scope, given: &Output, is_said: bool) -> Result<Option<Value>, String> {
        let mapping = self.mapping.as_ref().filter(|_| !is_said);
        let computed = mapping.map(|mapping| mapping.value(scope, "")).transpose()?;
        let whole = match &computed {
            Some(value) => value,
            None => given.get()?,
        };
        let filled = self.form.fill(whole).map_err(|problems| {
            let words = problems.iter().take(MAX_TOLD).map(|problem| {
                let place = if problem.pointer.is_empty() { "it" } else { &problem.pointer };
                format!("{place} {}", problem.message)
            });
            format!("the output does not fit output_schema: {}", words.collect::<Vec<_>>().join("; "))
        })?;
        if matches!(given, Output::Here(given) if filled == **given) {
            return Ok(None);
        }
        let bytes = filled.to_string().len();
        if bytes > MAX_BYTES {
            return Err(format!("the output has {bytes} bytes; at most {MAX_BYTES} are kept"));
        }
        Ok(Some(filled))
    }
}

impl Mapping {
    fn value(&self, scope: &Scope, at: &str) -> Result<Value, String> {
        match self {
            Self::Value(expression) => {
                let place = if at.is_empty() { "itself" } else { at };
                expression.evaluate(scope).map_err(|e| format!("the output cannot be computed: {place}: {e}"))
            }
            Self::Object(members) => {
                let mut object = Map::new();
                for (name, mapping) in members {
                    object.insert(name.clone(), mapping.value(scope, &format!("{at}/{name}"))?);
                }
                Ok(Value::Object(object))
            }
        }
    }
}

impl Checker<'_> {
    /// The plan of a run's output. A schema that an earlier release took without a look is passed over.
    pub(super) fn output(&mut self, schema: &Value, steps: &[&str]) -> Option<OutputPlan> {
        if schema.is_null() {
            return None;
        }
        let form = match Form::compile(schema) {
            Ok(form) => form,
            Err(_) if self.types.is_none() => return None,
            Err(found) => {
                self.problems.extend(found.into_iter().map(|problem: Problem| problem.within("/output_schema")));
                return None;
            }
        };
        let mapping = self.mapping(schema, "/output_schema", steps);
        Some(OutputPlan { form, mapping })
    }

    fn mapping(&mut self, schema: &Value, at: &str, steps: &[&str]) -> Option<Mapping> {
        if let Some(source) = schema.get(VALUE) {
            let pointer = format!("{at}/{VALUE}");
            let Some(source) = source.as_str() else {
                self.problem(pointer, "must be a CEL text");
                return None;
            };
            let names: Names<'_> = self.names(ROOTS, steps);
            return self.expression(&pointer, || Expression::parse(source, &names)).map(Mapping::Value);
        }
        let properties = schema.get("properties").and_then(Value::as_object)?;
        let mut members = Vec::new();
        for (name, part) in properties {
            let place = format!("{at}/properties/{}", name.replace('~', "~0").replace('/', "~1"));
            if let Some(mapping) = self.mapping(part, &place, steps) {
                members.push((name.clone(), mapping));
            }
        }
        (!members.is_empty()).then_some(Mapping::Object(members))
    }
}
