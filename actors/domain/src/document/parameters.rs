//! Templates: documents with parameters, and what becomes of them when the parameters have values.
//!
//! A text of a template may hold `{{ params.NAME }}`. `params` is no name that a run knows, so that a placeholder is never
//! taken for a template of the run, and one that was forgotten is refused when the flow is saved. A text that is exactly
//! one placeholder becomes the value, whatever its type; inside a longer text the value is written out.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FlowDocument, ShapeError};
use crate::plan::Problem;
use crate::words::words;

/// More parameters are a mistake.
const MOST_PARAMETERS: usize = 100;

words! {
    /// What a parameter's value is, in the words of JSON Schema.
    ParameterType {
        Text = "string", Integer = "integer", Number = "number", Boolean = "boolean", List = "array", Object = "object",
    }
}

/// One parameter of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    #[serde(rename = "type", default = "text")]
    pub kind: ParameterType,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is where nothing is given.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub default: Value,
    /// Whether a value must be given; by default, where there is no `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// The values that it may have; empty: any of its type.
    #[serde(rename = "enum", default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Value>,
}

fn text() -> ParameterType {
    ParameterType::Text
}

impl Parameter {
    /// Whether a value must be given.
    pub fn is_required(&self) -> bool {
        self.required.unwrap_or(self.default.is_null())
    }

    /// What is wrong with a value.
    fn refuses(&self, value: &Value) -> Option<String> {
        let is_fit = match self.kind {
            ParameterType::Text => value.is_string(),
            ParameterType::Integer => value.is_i64() || value.is_u64(),
            ParameterType::Number => value.is_number(),
            ParameterType::Boolean => value.is_boolean(),
            ParameterType::List => value.is_array(),
            ParameterType::Object => value.is_object(),
        };
        if !is_fit {
            return Some(format!("must be of the type {}", self.kind));
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let choices: Vec<String> = self.choices.iter().map(Value::to_string).collect();
            return Some(format!("must be one of: {}", choices.join(", ")));
        }
        None
    }

    /// A value with which the rest of the template can be checked.
    fn sample(&self) -> Value {
        if !self.default.is_null() {
            return self.default.clone();
        }
        if let Some(choice) = self.choices.first() {
            return choice.clone();
        }
        match self.kind {
            // Where a URL is wanted, this is one; a name may be it too.
            ParameterType::Text => "https://example.com".into(),
            ParameterType::Integer | ParameterType::Number => 1.into(),
            ParameterType::Boolean => true.into(),
            ParameterType::List => Value::Array(Vec::new()),
            ParameterType::Object => Value::Object(Map::new()),
        }
    }
}

/// Makes a flow of a template: each placeholder gives way to its value. Problems point into `parameters`.
pub fn instantiate(
    template: &FlowDocument,
    flow_name: String,
    given: &Map<String, Value>,
) -> Result<FlowDocument, Vec<Problem>> {
    let mut problems = Vec::new();
    let problem = |name: &str, message: String| Problem::new(format!("/parameters/{}", escaped(name)), message);
    let known: Vec<&str> = template.parameters.keys().map(String::as_str).collect();
    for name in given.keys().filter(|name| !template.parameters.contains_key(*name)) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        problems.push(problem(name, format!("is no parameter of this template; it has: {known}")));
    }
    let mut values = Map::new();
    for (name, parameter) in &template.parameters {
        match given.get(name) {
            Some(value) => match parameter.refuses(value) {
                Some(why) => problems.push(problem(name, why)),
                None => drop(values.insert(name.clone(), value.clone())),
            },
            None if parameter.is_required() => {
                let about = if parameter.description.is_empty() {
                    String::new()
                } else {
                    format!(": {}", parameter.description)
                };
                problems.push(problem(name, format!("is required{about}")));
            }
            None => drop(values.insert(name.clone(), parameter.default.clone())),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    filled(template, &values)
        .map(|flow| FlowDocument { flow_name, ..flow }.apart_from_files())
        .map_err(|error| vec![Problem::new(error.pointer, error.message)])
}

/// A template with a value for each parameter, fit to be checked like a flow; any other document as it is.
pub fn sample(document: &FlowDocument) -> Result<FlowDocument, ShapeError> {
    let values = document.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.sample())).collect();
    filled(document, &values)
}

/// What is wrong with a document's parameters.
pub fn problems(document: &FlowDocument) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut problem = |pointer: String, message: &str| found.push(Problem::new(pointer, message));
    if document.parameters.is_empty() {
        return found;
    }
    if !document.is_template {
        problem("/parameters".to_owned(), "only a template has parameters: say is_template: true");
    }
    if document.parameters.len() > MOST_PARAMETERS {
        problem("/parameters".to_owned(), "must have at most 100 members");
    }
    for (name, parameter) in &document.parameters {
        let at = format!("/parameters/{}", escaped(name));
        if !is_name(name) {
            problem(at.clone(), "must be a letter or underscore, then letters, digits and underscores, at most 64");
        }
        if let Some(why) = (!parameter.default.is_null()).then(|| parameter.refuses(&parameter.default)).flatten() {
            problem(format!("{at}/default"), &why);
        }
        if parameter.required == Some(false) && parameter.default.is_null() {
            problem(format!("{at}/default"), "is needed where nothing must be given");
        }
        for (no, choice) in parameter.choices.iter().enumerate() {
            let alone = Parameter { choices: Vec::new(), ..parameter.clone() };
            if let Some(why) = alone.refuses(choice) {
                problem(format!("{at}/enum/{no}"), &why);
            }
        }
    }
    found
}

/// The parameters that a document has and none of its texts uses.
pub fn unused(document: &FlowDocument) -> Vec<&str> {
    let mut used = BTreeSet::new();
    let values = Map::new();
    // Every placeholder is asked for, and none is found.
    replace(&mut body(document), &values, "", &mut |name, _| {
        used.insert(name.to_owned());
    });
    document.parameters.keys().map(String::as_str).filter(|name| !used.contains(*name)).collect()
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= 64
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The document without its parameters, as a value.
fn body(document: &FlowDocument) -> Value {
    FlowDocument { parameters: BTreeMap::new(), ..document.clone() }.to_value()
}

fn filled(template: &FlowDocument, values: &Map<String, Value>) -> Result<FlowDocument, ShapeError> {
    if template.parameters.is_empty() {
        return Ok(FlowDocument { is_template: false, ..template.clone() });
    }
    let mut flow = body(&FlowDocument { is_template: false, ..template.clone() });
    let mut missing = None;
    replace(&mut flow, values, "", &mut |name, at| {
        missing.get_or_insert_with(|| ShapeError {
            pointer: at.to_owned(),
            message: format!("'params.{name}' is no parameter of this template"),
        });
    });
    match missing {
        Some(error) => Err(error),
        None => FlowDocument::from_value(flow),
    }
}

/// Replaces the placeholders in every text. `missing` hears of those that have no value, which stay.
fn replace(value: &mut Value, values: &Map<String, Value>, at: &str, missing: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => {
            if let Some(new) = replaced(text, values, &mut |name| missing(name, at)) {
                *value = new;
            }
        }
        Value::Array(items) => {
            for (no, item) in items.iter_mut().enumerate() {
                replace(item, values, &format!("{at}/{no}"), missing);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                replace(member, values, &format!("{at}/{}", escaped(key)), missing);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text with its placeholders replaced; `None` where it has none.
fn replaced(text: &str, values: &Map<String, Value>, missing: &mut dyn FnMut(&str)) -> Option<Value> {
    let mut out = String::new();
    let (mut rest, mut found) = (text, false);
    while let Some(start) = rest.find("{{") {
        let after = &rest[start..];
        let Some(end) = after.find("}}").map(|end| end + 2) else { break };
        out.push_str(&rest[..start]);
        match after[2..end - 2].trim().strip_prefix("params.").filter(|name| is_name(name)) {
            Some(name) => match values.get(name) {
                Some(value) if text.len() == end && start == 0 && rest.len() == text.len() => {
                    return Some(value.clone());
                }
                Some(Value::String(value)) => {
                    found = true;
                    out.push_str(value);
                }
                Some(value) => {
                    found = true;
                    out.push_str(&value.to_string());
                }
                None => {
                    missing(name);
                    out.push_str(&after[..end]);
                }
            },
            None => out.push_str(&after[..end]),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    found.then_some(Value::String(out))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEMPLATE: &str = r#"
flow_name: page
is_template: true
trigger_type: webhook
parameters:
  url: {description: where to, required: true}
  level: {enum: [high, low], default: high}
  codes: {type: array, default: [200]}
  tries: {type: integer, default: 3}
conditions: trigger.severity == "{{ params.level }}"
flow_steps:
  - id: send
    config:
      action_type: api_call
      action_payload: {url: "{{ params.url }}/{{ trigger.id }}", expected_status: "{{params.codes}}", body: "{{ params.tries }} tries"}
"#;

    fn template() -> FlowDocument {
        FlowDocument::from_text(TEMPLATE).unwrap()
    }

    fn given(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn placeholders_give_way_and_the_runs_own_templates_stay() {
        let flow =
            instantiate(&template(), "mine".to_owned(), &given(&json!({"url": "http://h", "tries": 5}))).unwrap();
        assert_eq!((flow.flow_name.as_str(), flow.is_template, flow.parameters.len()), ("mine", false, 0));
        assert_eq!(flow.conditions, "trigger.severity == \"high\"");
        let payload = &flow.to_value()["flow_steps"][0]["config"]["action_payload"];
        assert_eq!(payload, &json!({"url": "http://h/{{ trigger.id }}", "expected_status": [200], "body": "5 tries"}));
    }

    #[test]
    fn what_a_template_becomes_stands_in_no_file() {
        let mut applied = template();
        for (key, value) in [("applied_from", "page.yaml"), ("owner", "ops")] {
            applied.metadata.insert(key.to_owned(), value.into());
        }
        let flow = instantiate(&applied, "mine".to_owned(), &given(&json!({"url": "http://h"}))).unwrap();
        assert_eq!(
            flow.metadata,
            given(&json!({"owner": "ops"})),
            "nobody prunes it when the template's file is there"
        );
    }

    #[test]
    fn what_is_given_must_fit() {
        let wrong = json!({"level": "odd", "tries": 1.5, "colour": 1});
        let problems = instantiate(&template(), "x".to_owned(), &given(&wrong)).unwrap_err();
        let told: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect();
        assert_eq!(
            told,
            [
                "/parameters/colour: is no parameter of this template; it has: codes, level, tries, url",
                "/parameters/level: must be one of: \"high\", \"low\"",
                "/parameters/tries: must be of the type integer",
                "/parameters/url: is required: where to",
            ]
        );
    }

    #[test]
    fn a_placeholder_without_a_parameter_is_named() {
        let mut template = template();
        template.flow_description = "{{ params.other }}".to_owned();
        let problems = instantiate(&template, "x".to_owned(), &given(&json!({"url": "u"}))).unwrap_err();
        assert_eq!(problems[0].pointer, "/flow_description");
        assert!(problems[0].message.contains("params.other"), "{}", problems[0].message);
    }

    #[test]
    fn a_template_is_checked_with_samples() {
        let flow = sample(&template()).unwrap();
        assert_eq!(
            flow.to_value()["flow_steps"][0]["config"]["action_payload"]["url"],
            "https://example.com/{{ trigger.id }}"
        );
        assert_eq!(unused(&template()), [""; 0]);
        assert_eq!(problems(&template()), []);
    }

    #[test]
    fn parameters_themselves_are_checked() {
        let text = TEMPLATE
            .replace("is_template: true", "is_template: false")
            .replace("{enum: [high, low], default: high}", "{enum: [high, 3], default: mid}")
            .replace("tries: {type: integer, default: 3}", "\"a b\": {required: false}\n  idle: {default: x}");
        let document = FlowDocument::from_text(&text).unwrap();
        let places: Vec<String> = problems(&document).into_iter().map(|p| p.pointer).collect();
        assert_eq!(
            places,
            [
                "/parameters",
                "/parameters/a b",
                "/parameters/a b/default",
                "/parameters/level/default",
                "/parameters/level/enum/1"
            ]
        );
        assert_eq!(unused(&document), ["a b", "idle"]);
    }
}
