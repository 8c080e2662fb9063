//! What values are known to be before there are any: the types that the checker reasons with.
//!
//! Most of what flows talk about is data from outside, of which nothing is known: [`Type::Dyn`]. The rest (the time, a
//! run's fields, a step's status, what a schema promises) is known exactly, and a mistake about it is certain.
//!
//! Invariant: a type is never narrower than the values it stands for. What is not sure is `Dyn`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::suggest::meant_or_known;
use crate::words::ExecutionStatus;

/// Levels of a schema that are looked at; what is deeper is not known.
const SCHEMA_DEPTH: usize = 16;

/// A type of CEL, with what more is known of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Anything: known only when it is there.
    #[default]
    Dyn,
    /// The element of an empty list: no value at all.
    Never,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    /// A number of JSON: one of the three above, nobody knows which.
    Number,
    Text,
    /// A text that is one of these words.
    Word(&'static [&'static str]),
    Bytes,
    Time,
    Duration,
    /// What `type(x)` gives.
    TypeName,
    List(Arc<Type>),
    /// An object whose keys are data: the type of its values.
    Map(Arc<Type>),
    /// An object whose fields are known.
    Object(Arc<Fields>),
    /// The type, or null.
    Optional(Arc<Type>),
    /// The root `steps`: known by the steps that stand before.
    Steps,
}

/// The fields of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    known: BTreeMap<Box<str>, Type>,
    /// Whether it has no others.
    is_closed: bool,
}

/// What is known of the roots of a scope.
#[derive(Clone, Debug)]
pub struct Types {
    pub trigger: Type,
    pub webhook: Type,
    pub input: Type,
    pub flow: Type,
    pub run: Type,
    pub tenant: Type,
    pub secrets: Type,
    pub vars: Type,
    pub event: Type,
    /// `loop`: one pass of a loop's body.
    pub round: Type,
    /// `steps.ID.output` by ID; what is missing is not known.
    pub outputs: BTreeMap<String, Type>,
    /// The steps that have one execution in each run: `steps.ID.execution_id`.
    pub executions: BTreeSet<String>,
}

impl Default for Types {
    fn default() -> Self {
        Self {
            trigger: Type::Dyn,
            webhook: Type::Dyn,
            input: Type::Dyn,
            flow: Type::Dyn,
            run: Type::Dyn,
            tenant: Type::Dyn,
            secrets: Type::Dyn,
            vars: Type::Dyn,
            event: Type::Dyn,
            round: Type::object([("index", Type::Int), ("item", Type::Dyn)]),
            outputs: BTreeMap::new(),
            executions: BTreeSet::new(),
        }
    }
}

/// Types of which only the fixed parts are known.
pub static UNTYPED: LazyLock<Types> = LazyLock::new(Types::default);

impl Types {
    /// The type of a root; of one that does not exist, nothing is known.
    pub(super) fn root(&self, name: &str) -> Type {
        match name {
            "trigger" => self.trigger.clone(),
            "webhook" => self.webhook.clone(),
            "input" => self.input.clone(),
            "flow" => self.flow.clone(),
            "run" => self.run.clone(),
            "tenant" => self.tenant.clone(),
            "secrets" => self.secrets.clone(),
            "vars" => self.vars.clone(),
            "event" => self.event.clone(),
            "loop" => self.round.clone(),
            "steps" => Type::Steps,
            "now" => Type::Time,
            _ => Type::Dyn,
        }
    }

    /// The member `name` of a value of this type. The error is a sentence; `shown` is how the value is written.
    pub(super) fn member(&self, of: &Type, name: &str, shown: &str) -> Result<Type, String> {
        match of {
            Type::Dyn | Type::Never => Ok(Type::Dyn),
            Type::Map(value) => Ok((**value).clone()),
            Type::Optional(inner) => self.member(inner, name, shown),
            Type::Steps => Ok(step(self.outputs.get(name).cloned().unwrap_or_default())),
            Type::Object(fields) => match fields.known.get(name) {
                Some(field) => Ok(field.clone()),
                None if fields.is_closed => Err(fields.missing(name, shown)),
                None => Ok(Type::Dyn),
            },
            scalar => Err(format!("`{shown}` is a {scalar} and has no member `{name}`")),
        }
    }
}

impl Type {
    /// An element of a value of this type.
    pub(super) fn element(&self, shown: &str) -> Result<Self, String> {
        match self {
            Self::List(element) => Ok((**element).clone()),
            Self::Optional(inner) => inner.element(shown),
            Self::Dyn | Self::Never => Ok(Self::Dyn),
            other => Err(format!("`{shown}` is a {other} and has no elements")),
        }
    }
}

impl Fields {
    fn missing(&self, name: &str, shown: &str) -> String {
        let known: Vec<&str> = self.known.keys().map(|key| &**key).collect();
        format!("`{shown}` has no member `{name}`{}", meant_or_known(name, &known, "it has"))
    }
}

/// A step as a whole, as expressions see it. Its execution is known by the path that ends there, and is no part of it.
fn step(output: Type) -> Type {
    Type::object([
        ("status", Type::Word(ExecutionStatus::WORDS)),
        ("output", output),
        ("error", Type::Optional(Arc::new(Type::Text))),
    ])
}

impl Type {
    /// An object with these fields and no others.
    pub fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::closed(fields)
    }

    /// The same of fields that a document names.
    pub fn closed<'a>(fields: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let known = fields.into_iter().map(|(name, field)| (name.into(), field)).collect();
        Self::Object(Arc::new(Fields { known, is_closed: true }))
    }

    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    pub fn optional(inner: Self) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// What a JSON Schema says of the values that satisfy it. Keywords that combine schemas say nothing here.
    pub fn of_schema(schema: &Value) -> Self {
        of_schema(schema, SCHEMA_DEPTH)
    }

    /// Whether it is one of CEL's three kinds of numbers, or an unknown one.
    pub(super) const fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double | Self::Number)
    }

    pub(super) const fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Word(_))
    }

    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self, Self::Dyn | Self::Never)
    }

    /// Whether a value of it may be `true`.
    pub(super) fn may_be_true(&self) -> bool {
        match self {
            Self::Optional(inner) => inner.may_be_true(),
            other => other.is_unknown() || *other == Self::Bool,
        }
    }

    /// Whether a value of it may be a text or a whole number.
    pub(super) fn may_be_key(&self) -> bool {
        match self {
            Self::Optional(inner) => inner.may_be_key(),
            Self::Int | Self::Uint | Self::Number => true,
            other => other.is_unknown() || other.is_text(),
        }
    }

    /// Whether a value of it may be a list.
    pub(super) fn may_be_list(&self) -> bool {
        match self {
            Self::Optional(inner) => inner.may_be_list(),
            other => other.is_unknown() || matches!(other, Self::List(_)),
        }
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Object(_) | Self::Steps)
    }

    /// The type that values of either have.
    pub(super) fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a.clone(),
            (Self::Never, other) | (other, Self::Never) => other.clone(),
            (a, b) if a.is_number() && b.is_number() => Self::Number,
            (a, b) if a.is_text() && b.is_text() => Self::Text,
            (Self::List(a), Self::List(b)) => Self::list(a.join(b)),
            (Self::Null, Self::Optional(inner)) | (Self::Optional(inner), Self::Null) => Self::Optional(inner.clone()),
            (Self::Null, other) | (other, Self::Null) if !other.is_unknown() => Self::optional(other.clone()),
            (Self::Optional(a), Self::Optional(b)) => a.join(b).or_null(),
            (Self::Optional(a), b) | (b, Self::Optional(a)) => a.join(b).or_null(),
            (a, b) if a.is_map() && b.is_map() => Self::Map(Arc::new(Self::Dyn)),
            _ => Self::Dyn,
        }
    }

    fn or_null(self) -> Self {
        if self.is_unknown() { Self::Dyn } else { Self::optional(self) }
    }

    /// Whether a value of one may equal a value of the other.
    pub(super) fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (a, b) if a.is_unknown() || b.is_unknown() => true,
            // Both may be null, or empty.
            (Self::Optional(_), Self::Optional(_)) | (Self::List(_), Self::List(_)) => true,
            (Self::Optional(inner), other) | (other, Self::Optional(inner)) => {
                *other == Self::Null || inner.may_equal(other)
            }
            (Self::Word(a), Self::Word(b)) => a.iter().any(|word| b.contains(word)),
            (a, b) if a.is_map() && b.is_map() => true,
            (a, b) => a == b || (a.is_number() && b.is_number()) || (a.is_text() && b.is_text()),
        }
    }
}

fn of_schema(schema: &Value, depth: usize) -> Type {
    const COMBINING: [&str; 8] = ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "const"];
    let Value::Object(schema) = schema else { return Type::Dyn };
    if depth == 0 || COMBINING.iter().any(|key| schema.contains_key(*key)) {
        return Type::Dyn;
    }
    let of_word = |word: &str| match word {
        "null" => Type::Null,
        "boolean" => Type::Bool,
        "integer" | "number" => Type::Number,
        "string" => Type::Text,
        "array" => {
            let tuple = schema.contains_key("prefixItems");
            Type::list(schema.get("items").filter(|_| !tuple).map_or(Type::Dyn, |items| of_schema(items, depth - 1)))
        }
        "object" => of_object(schema, depth),
        _ => Type::Dyn,
    };
    match schema.get("type") {
        Some(Value::String(word)) => of_word(word),
        Some(Value::Array(words)) => {
            let types = words.iter().map(|word| word.as_str().map_or(Type::Dyn, of_word));
            types.reduce(|a, b| a.join(&b)).unwrap_or_default()
        }
        _ => Type::Dyn,
    }
}

fn of_object(schema: &serde_json::Map<String, Value>, depth: usize) -> Type {
    // A name that only a pattern allows is allowed.
    let has_patterns = schema.contains_key("patternProperties");
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false)) && !has_patterns;
    match schema.get("properties") {
        Some(Value::Object(properties)) => {
            let known = properties.iter().map(|(name, of)| (name.as_str().into(), of_schema(of, depth - 1))).collect();
            Type::Object(Arc::new(Fields { known, is_closed }))
        }
        _ => Type::Map(Arc::new(Type::Dyn)),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Dyn | Self::Never => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Number => "number",
            Self::Text | Self::Word(_) => "string",
            Self::Bytes => "bytes",
            Self::Time => "timestamp",
            Self::Duration => "duration",
            Self::TypeName => "type",
            Self::List(element) if element.is_unknown() => "list",
            Self::List(element) => return write!(f, "list<{element}>"),
            Self::Map(_) | Self::Object(_) | Self::Steps => "map",
            Self::Optional(inner) => return write!(f, "{inner} or null"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_say_what_values_are() {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "host": {"type": "string"}, "count": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}},
                "note": {"type": ["string", "null"]}, "any": {"anyOf": [{"type": "string"}]}, "x": true,
            },
        });
        let types = Types::default();
        let of = |name: &str| types.member(&Type::of_schema(&schema), name, "input");
        assert_eq!(of("host"), Ok(Type::Text));
        assert_eq!(of("count"), Ok(Type::Number));
        assert_eq!(of("tags"), Ok(Type::list(Type::Text)));
        assert_eq!(of("note"), Ok(Type::optional(Type::Text)));
        assert_eq!((of("any"), of("x")), (Ok(Type::Dyn), Ok(Type::Dyn)));
        let missing = of("hots").unwrap_err();
        assert_eq!(missing, "`input` has no member `hots`; did you mean `host`?");
        let open = Type::of_schema(&json!({"type": "object", "properties": {"a": {"type": "string"}}}));
        assert_eq!(types.member(&open, "b", "input"), Ok(Type::Dyn));
        let deep = (0..100).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}));
        assert!(matches!(Type::of_schema(&deep), Type::List(_)));
    }

    #[test]
    fn a_join_is_never_narrower_than_its_parts() {
        let list = Type::list(Type::Never);
        assert_eq!(list.join(&Type::list(Type::Int)), Type::list(Type::Int));
        assert_eq!(Type::Int.join(&Type::Double), Type::Number);
        assert_eq!(Type::Int.join(&Type::Text), Type::Dyn);
        assert_eq!(Type::Null.join(&Type::Text), Type::optional(Type::Text));
        assert_eq!(Type::Null.join(&Type::Dyn), Type::Dyn);
        assert_eq!(Type::Word(&["a"]).join(&Type::Text), Type::Text);
    }

    #[test]
    fn equality_is_impossible_only_between_what_cannot_meet() {
        assert!(Type::Int.may_equal(&Type::Double));
        assert!(!Type::Int.may_equal(&Type::Text));
        assert!(!Type::Time.may_equal(&Type::Text));
        assert!(Type::optional(Type::Text).may_equal(&Type::Null));
        assert!(!Type::optional(Type::Text).may_equal(&Type::Int));
        assert!(Type::list(Type::Int).may_equal(&Type::list(Type::Text)), "both may be empty");
        assert!(Type::list(Type::Never).may_equal(&Type::list(Type::Text)));
        assert!(!Type::Word(&["a"]).may_equal(&Type::Word(&["b"])));
    }
}
