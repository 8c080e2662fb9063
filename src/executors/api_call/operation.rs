//! Operations of an integration that a tenant has declared: the kind `custom`.
//!
//! An operation is a request of `api_call` whose places are filled from `input`, the parameters that a flow gives; a form
//! (`parameters`) says what those may be. It is checked when the integration is saved, so that a flow which names it says no more
//! than the operation and its parameters.
//!
//! Invariants: what stands in a path is a part of it, whatever a parameter holds; a request stays within the endpoint, as any
//! request of an integration does.

use std::sync::Arc;

use chrono::Utc;
use core314_domain::expr::{Names, Scope, StepViews, Template};
use core314_domain::form::Form;
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::plan::Problem;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::{KEYS, read};
use crate::executors::connect::auth::OPERATIONS;
use crate::executors::connect::{Address, auth, http};
use crate::executors::payload::{Reader, Reading, kind};

/// Keys of an operation beside those of its request.
const OWN: [&str; 2] = ["about", "parameters"];
const MAX_OPERATIONS: usize = 200;
const MAX_NAME_CHARS: usize = 64;
/// What an operation may name.
const NAMES: Names<'static> = Names::new(&["input", "now"], &[]);

/// The kind.
pub const KIND: Kind = Kind {
    word: "custom",
    about: "A service whose operations you declare: what each takes, what it asks the service, and what of the answer it gives.",
    endpoint: Some(Endpoint::HTTP),
    credentials: auth::CREDENTIALS,
    settings: &SETTINGS,
    check,
};

const SETTINGS: [Field; auth::SETTINGS.len() + 1] = {
    let mut all = [Field::required(OPERATIONS, "by name what can be asked of the service"); auth::SETTINGS.len() + 1];
    let mut at = 0;
    while at < auth::SETTINGS.len() {
        all[at + 1] = auth::SETTINGS[at];
        at += 1;
    }
    all
};

fn check(definition: &Definition) -> Vec<Problem> {
    let mut found = auth::problems(definition);
    found.extend(http::endpoint_problem(definition));
    let pointer = format!("/settings/{OPERATIONS}");
    match definition.settings.get(OPERATIONS) {
        Some(Value::Object(operations)) if !operations.is_empty() && operations.len() <= MAX_OPERATIONS => {
            for (name, operation) in operations {
                let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                let wrong = name_problem(name).map(|message| Problem::new("", message));
                let problems = wrong.into_iter().chain(problems(operation));
                found.extend(problems.map(|it| Problem { pointer: format!("{at}{}", it.pointer), ..it }));
            }
        }
        Some(Value::Object(_)) => {
            found.push(Problem::new(pointer, format!("must have 1 to {MAX_OPERATIONS} operations")));
        }
        other => {
            let found_kind = other.map_or("nothing", kind);
            found.push(Problem::new(
                pointer,
                format!("must be an object of operations by their names, is {found_kind}"),
            ));
        }
    }
    found
}

fn name_problem(name: &str) -> Option<String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let is_sound = is_plain && !name.is_empty() && name.len() <= MAX_NAME_CHARS;
    (!is_sound)
        .then(|| format!("is no name of an operation: letters, digits, `_`, `-` and `.`; at most {MAX_NAME_CHARS}"))
}

/// What is wrong with an operation. Pointers lead into it.
fn problems(operation: &Value) -> Vec<Problem> {
    let Some(members) = operation.as_object() else {
        return vec![Problem::new("", format!("must be an object, is {}", kind(operation)))];
    };
    let mut found = Vec::new();
    if members.get("about").is_some_and(|about| !about.is_string()) {
        found.push(Problem::new("/about", "must be a text"));
    }
    if members.contains_key("url") {
        found.push(Problem::new("/url", "is the integration's endpoint: give a path below it"));
    }
    if members.get("path").is_none() {
        found.push(Problem::new("/path", "is required: where the request goes, below the endpoint"));
    }
    if let Some(Err(problems)) = members.get("parameters").map(Form::compile) {
        found.extend(problems.into_iter().map(|it| Problem { pointer: format!("/parameters{}", it.pointer), ..it }));
    }
    let request = request(members);
    match Template::parse(&request, &NAMES) {
        Err(error) => found.push(Problem::new(error.pointer.clone(), error.to_string())),
        Ok(template) if !template.secrets().is_empty() => {
            found.push(Problem::new("", "must name no secret: credentials are the integration's"));
        }
        Ok(_) => {}
    }
    let known: Vec<&str> = OWN
        .into_iter()
        .chain(KEYS.into_iter().filter(|key| !["url", "operation", "parameters"].contains(key)))
        .collect();
    for key in members.keys().filter(|key| !known.contains(&key.as_str()) && *key != "url") {
        found.push(Problem::new(format!("/{key}"), format!("unknown key '{key}'; known: {}", known.join(", "))));
    }
    if found.is_empty() {
        found.extend(read(&request, Reading::Document, Address::Elsewhere, None).err().unwrap_or_default());
    }
    found
}

/// What of an operation is a request.
fn request(operation: &Map<String, Value>) -> Value {
    Value::Object(
        operation.iter().filter(|(key, _)| !OWN.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}

/// The payload of an operation that a payload names, or what is wrong with that; `None` where it names none, or where it
/// is not known yet. `settings` are those of an integration of this kind, if that is what the action goes to.
pub fn expand(
    payload: &Value,
    reading: Reading,
    settings: Option<&Map<String, Value>>,
) -> Result<Option<Value>, Vec<Problem>> {
    let Some(Value::Object(_)) = payload.get("operation").map(|_| payload) else { return Ok(None) };
    let mut reader = Reader::new(payload, reading)?;
    reader.only(&["operation", "parameters"]);
    let Some(operations) = settings.and_then(|settings| settings.get(OPERATIONS)).and_then(Value::as_object) else {
        reader.problem(&["operation"], "needs an integration of the kind custom in action_target");
        return Err(reader.problems);
    };
    let Some(name) = reader.text("operation") else {
        return if reader.problems.is_empty() { Ok(None) } else { Err(reader.problems) };
    };
    let Some(operation) = operations.get(name).and_then(Value::as_object) else {
        let known: Vec<&str> = operations.keys().map(String::as_str).collect();
        reader.problem(&["operation"], format!("'{name}' is no operation of this integration: {}", known.join(", ")));
        return Err(reader.problems);
    };
    let given = reader.get("parameters").cloned().unwrap_or_else(|| json!({}));
    if !given.is_object() {
        reader.problem(&["parameters"], format!("must be an object, is {}", kind(&given)));
    }
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    if reading == Reading::Document
        && (reader.has("parameters") && reader.get("parameters").is_none() || has_open(&reader, &given))
    {
        return Ok(None);
    }
    let filled = filled(operation, &given)?;
    rendered(operation, filled).map(Some)
}

/// Whether anything in a value will only be known once it is rendered.
fn has_open(reader: &Reader<'_>, value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(|member| has_open(reader, member)),
        Value::Array(items) => items.iter().any(|item| has_open(reader, item)),
        other => reader.is_open(other),
    }
}

/// The parameters as the operation's form has them.
fn filled(operation: &Map<String, Value>, given: &Value) -> Result<Value, Vec<Problem>> {
    let below = |problems: Vec<Problem>, root: &str| {
        problems.into_iter().map(|it| Problem { pointer: format!("{root}{}", it.pointer), ..it }).collect::<Vec<_>>()
    };
    let Some(schema) = operation.get("parameters") else {
        let none = given.as_object().is_none_or(Map::is_empty);
        let told = || vec![Problem::new("/parameters", "the operation has none")];
        return if none { Ok(given.clone()) } else { Err(told()) };
    };
    let form = Form::compile(schema).map_err(|problems| below(problems, "/operation/parameters"))?;
    form.fill(given).map_err(|problems| below(problems, "/parameters"))
}

fn rendered(operation: &Map<String, Value>, input: Value) -> Result<Value, Vec<Problem>> {
    let wrong = |error: &dyn std::fmt::Display| vec![Problem::new("/operation", error.to_string())];
    let render = |part: &Value, input: Value| {
        let template = Template::parse(part, &NAMES).map_err(|error| wrong(&error))?;
        template.render(&scope(input)).map_err(|error| wrong(&error))
    };
    let mut request = request(operation);
    let path = request.get_mut("path").map(Value::take).unwrap_or_default();
    let path = render(&path, encoded(input.clone()))?;
    let mut payload = render(&request, input)?;
    let is_dots = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.as_str().unwrap_or_default().split('/').any(is_dots) {
        return Err(wrong(&"a parameter makes a path that leads elsewhere"));
    }
    payload["path"] = path;
    Ok(payload)
}

fn scope(input: Value) -> Scope {
    let nothing = Arc::new(Value::Null);
    Scope {
        trigger: nothing.clone(),
        webhook: nothing.clone(),
        input: Arc::new(input),
        steps: StepViews::default(),
        vars: nothing.clone(),
        round: nothing.clone(),
        event: nothing.clone(),
        flow: nothing.clone(),
        run: nothing.clone(),
        tenant: nothing.clone(),
        now: Utc::now(),
        secrets: nothing,
    }
}

/// Texts as parts of a path: what ends a part, or the path, is encoded.
fn encoded(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let mut scratch = Url::parse("http://path/").expect("a constant URL");
            // A push encodes all that would end a part; dots alone it leaves out, and so they are kept to be refused.
            if !matches!(text.as_str(), "." | "..") {
                scratch.path_segments_mut().expect("http has a path").clear().push(&text);
                return Value::String(scratch.path().trim_start_matches('/').to_owned());
            }
            Value::String(text)
        }
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, encoded(member))).collect(),
        Value::Array(items) => items.into_iter().map(encoded).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Map<String, Value> {
        let schema = json!({"type": "object", "required": ["id"], "additionalProperties": false,
            "properties": {"id": {"type": "string"}, "limit": {"type": "integer", "default": 10}}});
        let user = json!({"about": "One user.", "parameters": schema, "path": "/users/{{ input.id }}",
            "query": {"limit": "{{ input.limit }}"}, "extract": {"name": "/data/name"}});
        let all = json!({"path": "/users", "paging": {"by": "page"}});
        Map::from_iter([(OPERATIONS.to_owned(), json!({"get_user": user, "all": all}))])
    }

    fn problems_of(operations: &Value) -> Vec<String> {
        let definition: Definition =
            serde_json::from_value(json!({"endpoint": "https://h/v1", "settings": {"operations": operations}}))
                .expect("a definition");
        definition.problems(&KIND).into_iter().map(|it| format!("{}: {}", it.pointer, it.message)).collect()
    }

    #[test]
    fn an_operation_is_checked_when_it_is_saved() {
        assert_eq!(problems_of(&Value::Object(settings())[OPERATIONS]), [] as [String; 0]);
        for (operation, expected) in [
            (json!([]), "/settings/operations/a: must be an object, is a list"),
            (json!({}), "/settings/operations/a/path: is required: where the request goes, below the endpoint"),
            (
                json!({"url": "https://evil/", "path": "x"}),
                "/settings/operations/a/url: is the integration's endpoint: give a path below it",
            ),
            (
                json!({"path": "x", "methd": "GET"}),
                "/settings/operations/a/methd: unknown key 'methd'; known: about, parameters, method, path, headers, query, json, form, multipart, body, expected_status, paging, extract",
            ),
            (json!({"path": "x", "method": "GE T"}), "/settings/operations/a/method: 'GE T' is no HTTP method"),
            (
                json!({"path": "x", "extract": {"id": "id"}}),
                "/settings/operations/a/extract/id: must be a JSON pointer, such as /data/0/id",
            ),
            (
                json!({"path": "x", "paging": {"by": "x"}}),
                "/settings/operations/a/paging/by: 'x' is not one of: link_header, next_url, cursor, page, offset",
            ),
        ] {
            assert_eq!(problems_of(&json!({"a": operation})), [expected]);
        }
        for (operation, place, words) in [
            (json!({"path": "/x/{{ trigger.id }}"}), "/settings/operations/a/path", "unknown name `trigger`"),
            (json!({"path": "x", "json": {"k": "{{ secrets.K }}"}}), "/settings/operations/a/json/k", "secret"),
            (
                json!({"path": "x", "parameters": {"type": "objekt"}}),
                "/settings/operations/a/parameters/type",
                "objekt",
            ),
        ] {
            let found = problems_of(&json!({"a": operation}));
            assert!(found[0].starts_with(place) && found[0].contains(words), "{found:?}");
        }
        assert!(problems_of(&json!({"a b": {"path": "x"}}))[0].contains("is no name of an operation"));
        assert!(problems_of(&json!({}))[0].contains("must have 1 to 200"));
    }

    #[test]
    fn parameters_fill_an_operation() {
        let settings = settings();
        let expand = |payload: Value| expand(&payload, Reading::Rendered, Some(&settings));
        let payload = json!({"operation": "get_user", "parameters": {"id": "a/b?c#d e"}});
        let expected =
            json!({"path": "/users/a%2Fb%3Fc%23d%20e", "query": {"limit": 10}, "extract": {"name": "/data/name"}});
        assert_eq!(expand(payload), Ok(Some(expected)));
        for (payload, expected) in [
            (json!({"operation": "gone"}), "/operation: 'gone' is no operation of this integration: all, get_user"),
            (
                json!({"operation": "get_user", "parameters": {"id": ".."}}),
                "/operation: a parameter makes a path that leads elsewhere",
            ),
            (json!({"operation": "all", "parameters": {"id": "x"}}), "/parameters: the operation has none"),
            (
                json!({"operation": "all", "url": "https://evil/"}),
                "/url: unknown key 'url'; known: operation, parameters",
            ),
        ] {
            let found = expand(payload).expect_err("it is wrong");
            assert_eq!(format!("{}: {}", found[0].pointer, found[0].message), expected);
        }
        let found = expand(json!({"operation": "get_user", "parameters": {"id": 1}})).expect_err("it is wrong");
        assert_eq!(found[0].pointer, "/parameters/id", "{found:?}");
        assert_eq!(expand(json!({"path": "/x"})), Ok(None));
    }

    #[test]
    fn what_is_open_in_a_document_is_checked_later() {
        let settings = settings();
        let check = |payload: Value, settings| super::expand(&payload, Reading::Document, settings);
        let open = json!({"operation": "get_user", "parameters": {"id": "{{ trigger.id }}"}});
        assert_eq!(check(open.clone(), Some(&settings)), Ok(None));
        assert!(
            check(open, None).is_err_and(|found| found[0].message.contains("needs an integration of the kind custom"))
        );
        assert!(check(json!({"operation": "get_user", "parameters": {}}), Some(&settings)).is_err());
    }
}
