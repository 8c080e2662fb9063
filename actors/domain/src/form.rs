//! A form: the part of [JSON Schema](https://json-schema.org/draft/2020-12) that says what people and programs fill in.
//!
//! A subset of our own, because a form is small and comes from a tenant: nothing in it refers to anything else, nothing is
//! tried in several ways, and checking a value takes time in proportion to the two. A keyword that is not known is
//! refused when the form is saved, so that no rule is passed over in silence. Known are:
//!
//! - `type` (a word or a list of them), `enum`, `const`, `default`
//! - `properties`, `required`, `additionalProperties` (true, false or a form), `minProperties`, `maxProperties`
//! - `items` (a form), `minItems`, `maxItems`, `uniqueItems`
//! - `minLength`, `maxLength`, `pattern`, `format` (`date-time` and `uuid` are checked, others are for the reader)
//! - `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`
//! - for the reader: `$schema`, `$id`, `$comment`, `title`, `description`, `examples`, `deprecated`, `readOnly`,
//!   `writeOnly`, and whatever begins with `x-`
//!
//! `default` fills in what a value leaves out of an object, before it is checked.

mod check;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::expr::compile_pattern;
use crate::json;
use crate::plan::Problem;

/// The largest form, in bytes of JSON.
pub const MAX_BYTES: usize = 64 << 10;
/// Compiled, each may take a quarter of a megabyte.
const MAX_PATTERNS: usize = 50;
/// Where a value has more faults, these are told.
const MAX_PROBLEMS: usize = 20;
/// Keywords that say nothing of the value.
const FOR_THE_READER: &[&str] =
    &["$schema", "$id", "$comment", "title", "description", "examples", "deprecated", "readOnly", "writeOnly"];

/// A checked form, or a part of one.
#[derive(Debug, Default)]
pub struct Form {
    types: Vec<Type>,
    allowed: Option<Vec<Value>>,
    default: Option<Value>,
    properties: BTreeMap<String, Form>,
    required: Vec<String>,
    others: Others,
    items: Option<Box<Form>>,
    unique: bool,
    pattern: Option<Regex>,
    format: Option<Format>,
    sizes: BTreeMap<&'static str, u64>,
    bounds: BTreeMap<&'static str, f64>,
}

/// What properties may have that the form does not name.
#[derive(Debug, Default)]
enum Others {
    #[default]
    Anything,
    Nothing,
    Like(Box<Form>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DateTime,
    Uuid,
}

crate::words::words! {
    /// A JSON Schema type.
    Type {
        Null = "null", Boolean = "boolean", Integer = "integer", Number = "number", Text = "string", Array = "array",
        Object = "object",
    }
}

/// Keywords whose value is a whole number, from 0.
const SIZES: &[&str] = &["minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength"];
/// Keywords whose value is a number.
const BOUNDS: &[&str] = &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];

impl Form {
    /// Checks a schema and compiles it. Pointers lead into the schema.
    pub fn compile(schema: &Value) -> Result<Self, Vec<Problem>> {
        let bytes = schema.to_string().len();
        if bytes > MAX_BYTES {
            return Err(vec![at("", format!("has {bytes} bytes, at most {MAX_BYTES} are taken"))]);
        }
        if json::too_deep(schema) {
            return Err(vec![at("", format!("nests deeper than {} levels", json::MAX_DEPTH))]);
        }
        let patterns = patterns(schema);
        if patterns > MAX_PATTERNS {
            return Err(vec![at("", format!("has {patterns} patterns, at most {MAX_PATTERNS} are taken"))]);
        }
        let mut problems = Vec::new();
        let form = Self::part(schema, "", &mut problems);
        if problems.is_empty() { Ok(form) } else { Err(problems) }
    }

    /// The value with defaults filled in; or what is wrong with it, with pointers into it.
    pub fn fill(&self, value: &Value) -> Result<Value, Vec<Problem>> {
        let mut filled = value.clone();
        self.fill_in(&mut filled);
        let mut problems = Vec::new();
        self.check(&filled, "", &mut problems);
        problems.truncate(MAX_PROBLEMS);
        if problems.is_empty() { Ok(filled) } else { Err(problems) }
    }

    fn fill_in(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, form) in &self.properties {
                    if let Some(default) = form.default.as_ref().filter(|_| !members.contains_key(name)) {
                        members.insert(name.clone(), default.clone());
                    }
                    if let Some(member) = members.get_mut(name) {
                        form.fill_in(member);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(form) = &self.items {
                    items.iter_mut().for_each(|item| form.fill_in(item));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn part(schema: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Self {
        let mut form = Self::default();
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            // The schema that takes everything.
            Value::Bool(true) => return form,
            _ => {
                problems.push(at(pointer, "must be an object: a JSON Schema"));
                return form;
            }
        };
        for (keyword, value) in keywords {
            let place = format!("{pointer}/{}", escaped(keyword));
            if let Err(message) = form.keyword(keyword, value, &place, problems) {
                problems.push(at(&place, message));
            }
        }
        for (least, most) in [("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties")]
        {
            if let (Some(low), Some(high)) = (form.sizes.get(least), form.sizes.get(most))
                && low > high
            {
                problems.push(at(&format!("{pointer}/{least}"), format!("is more than {most}")));
            }
        }
        form
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &Value,
        place: &str,
        problems: &mut Vec<Problem>,
    ) -> Result<(), String> {
        match keyword {
            "type" => self.types = types(value)?,
            "enum" => self.allowed = Some(value.as_array().filter(|v| !v.is_empty()).ok_or("must be a list")?.clone()),
            "const" => self.allowed = Some(vec![value.clone()]),
            "default" => self.default = Some(value.clone()),
            "properties" => {
                let named = value.as_object().ok_or("must be an object of forms")?;
                let part = |(name, schema): (&String, &Value), problems: &mut Vec<Problem>| {
                    (name.clone(), Self::part(schema, &format!("{place}/{}", escaped(name)), problems))
                };
                self.properties = named.iter().map(|entry| part(entry, problems)).collect();
            }
            "required" => self.required = names(value)?,
            "additionalProperties" => {
                self.others = match value {
                    Value::Bool(false) => Others::Nothing,
                    Value::Bool(true) => Others::Anything,
                    schema => Others::Like(Box::new(Self::part(schema, place, problems))),
                };
            }
            "items" => self.items = Some(Box::new(Self::part(value, place, problems))),
            "uniqueItems" => self.unique = value.as_bool().ok_or("must be true or false")?,
            "pattern" => {
                self.pattern = Some(compile_pattern(value.as_str().ok_or("must be a text")?)?);
            }
            "format" => {
                self.format = match value.as_str().ok_or("must be a text")? {
                    "date-time" => Some(Format::DateTime),
                    "uuid" => Some(Format::Uuid),
                    _ => None,
                };
            }
            keyword if FOR_THE_READER.contains(&keyword) || keyword.starts_with("x-") => {}
            keyword => self.limit(keyword, value)?,
        }
        Ok(())
    }

    fn limit(&mut self, keyword: &str, value: &Value) -> Result<(), String> {
        let known = |list: &[&'static str]| list.iter().find(|known| **known == keyword).copied();
        if let Some(keyword) = known(SIZES) {
            self.sizes.insert(keyword, value.as_u64().ok_or("must be a whole number, from 0")?);
        } else if let Some(keyword) = known(BOUNDS) {
            let bound = value.as_f64().ok_or("must be a number")?;
            if keyword == "multipleOf" && bound <= 0.0 {
                return Err("must be more than 0".to_owned());
            }
            self.bounds.insert(keyword, bound);
        } else {
            return Err("is no keyword that forms know; docs/triggers.md lists them".to_owned());
        }
        Ok(())
    }
}

/// How often the word occurs as a key: as many patterns there are at most.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => {
            members.iter().map(|(name, value)| usize::from(name == "pattern") + patterns(value)).sum()
        }
        Value::Array(items) => items.iter().map(patterns).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn types(value: &Value) -> Result<Vec<Type>, String> {
    let read = |value: &Value| {
        let word = value.as_str().ok_or("must be a type, or a list of them")?;
        word.parse::<Type>().map_err(|error| error.to_string())
    };
    match value {
        Value::Array(list) if !list.is_empty() => list.iter().map(read).collect(),
        value => Ok(vec![read(value)?]),
    }
}

fn names(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    list.ok_or_else(|| "must be a list of names".to_owned())
}

fn at(pointer: &str, message: impl Into<String>) -> Problem {
    Problem::new(pointer, message)
}

/// A name as a JSON pointer has it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form() -> Form {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Restart", "type": "object",
            "properties": {
                "host": {"type": "string", "pattern": "^web-[0-9]+$"},
                "count": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2},
                "when": {"type": ["string", "null"], "format": "date-time"},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2, "uniqueItems": true},
                "options": {"type": "object", "properties": {"force": {"type": "boolean", "default": false}}},
                "level": {"enum": ["low", "high"]},
            },
            "required": ["host"], "additionalProperties": false,
        });
        Form::compile(&schema).expect("a form")
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        let filled = form().fill(&json!({"host": "web-1", "options": {}})).expect("it is right");
        assert_eq!(filled, json!({"host": "web-1", "count": 2, "options": {"force": false}}));
        let whole = json!({"host": "web-1", "count": 5, "when": null, "tags": ["a", "b"], "level": "low"});
        assert_eq!(form().fill(&whole), Ok(whole));
    }

    #[test]
    fn each_fault_has_its_place() {
        for (value, pointer, words) in [
            (json!({}), "/host", "is required"),
            (json!({"host": "db-1"}), "/host", "pattern"),
            (json!({"host": "web-1", "count": 6}), "/count", "at most 5"),
            (json!({"host": "web-1", "count": 1.5}), "/count", "integer"),
            (json!({"host": "web-1", "when": "soon"}), "/when", "RFC 3339"),
            (json!({"host": "web-1", "tags": ["a", "long"]}), "/tags/1", "at most 3"),
            (json!({"host": "web-1", "tags": ["a", "a"]}), "/tags", "twice"),
            (json!({"host": "web-1", "tags": ["a", "b", "c"]}), "/tags", "at most 2"),
            (json!({"host": "web-1", "level": "middle"}), "/level", "one of"),
            (json!({"host": "web-1", "a/b": 1}), "/a~1b", "not known"),
            (json!({"host": "web-1", "options": 1}), "/options", "object"),
            (json!([]), "", "object"),
        ] {
            let problems = form().fill(&value).expect_err(words);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].pointer, pointer);
            assert!(problems[0].message.contains(words), "{}", problems[0].message);
        }
    }

    #[test]
    fn a_schema_that_is_none_or_goes_too_far_is_refused() {
        for (schema, pointer) in [
            (json!("text"), ""),
            (json!({"type": "text"}), "/type"),
            (json!({"$ref": "https://example.com/x"}), "/$ref"),
            (json!({"anyOf": []}), "/anyOf"),
            (json!({"properties": {"a": {"minimum": "1"}}}), "/properties/a/minimum"),
            (json!({"properties": {"a": {"pattern": "("}}}), "/properties/a/pattern"),
            (json!({"minLength": 2, "maxLength": 1}), "/minLength"),
            (json!({"items": {"multipleOf": 0}}), "/items/multipleOf"),
            (json!({"description": "x".repeat(MAX_BYTES)}), ""),
            (json!({"examples": vec![json!({"pattern": "a"}); MAX_PATTERNS + 1]}), ""),
        ] {
            let problems = Form::compile(&schema).expect_err(pointer);
            assert_eq!(problems[0].pointer, pointer, "{problems:?}");
        }
    }

    #[test]
    fn a_value_with_many_faults_tells_the_first_of_them() {
        let schema = json!({"items": {"type": "string"}});
        let value = Value::Array(vec![json!(1); 100]);
        let problems = Form::compile(&schema).expect("a form").fill(&value).expect_err("all wrong");
        assert_eq!(problems.len(), MAX_PROBLEMS);
    }
}
