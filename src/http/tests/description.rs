//! The API's description: committed, whole, and OpenAPI 3.1 in its shape.
//!
//! `CORE314_UPDATE=1 cargo test -p core314 --lib the_committed_description` writes `docs/openapi.json` anew.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::http::pages::openapi::DESCRIPTION;
use crate::http::routes;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

fn description() -> Value {
    serde_json::from_str(&DESCRIPTION).expect("the description is JSON")
}

#[test]
fn the_committed_description_is_the_served_one() {
    if std::env::var("CORE314_UPDATE").is_ok_and(|update| update == "1") {
        std::fs::write(COMMITTED, &*DESCRIPTION).expect("docs/openapi.json can be written");
    }
    let committed = std::fs::read_to_string(COMMITTED).expect("docs/openapi.json is committed");
    let line = committed.lines().zip(DESCRIPTION.lines()).position(|(old, new)| old != new);
    assert!(committed == *DESCRIPTION, "docs/openapi.json is stale from line {line:?} on: see the head of this file");
}

#[test]
fn every_endpoint_is_described_and_nothing_else() {
    let description = description();
    let described: BTreeSet<String> =
        operations(&description).map(|(method, path, _)| format!("{method} {path}")).collect();
    let served: BTreeSet<String> = routes()
        .endpoints()
        .iter()
        .flat_map(|endpoint| {
            let (methods, path) = endpoint.split_once(" /").expect("methods and a path");
            let path = format!("/{}", path.replace(":.+", ""));
            let methods: Vec<String> = methods.split(", ").map(str::to_ascii_lowercase).collect();
            methods.into_iter().filter(|method| method != "head").map(move |method| format!("{method} {path}"))
        })
        .collect();
    assert!(served.len() > 50, "{served:?}");
    assert_eq!(described, served);
}

#[test]
fn the_description_has_the_shape_of_openapi_3_1() {
    let description = description();
    assert_eq!(description["openapi"], "3.1.0");
    for member in ["title", "version"] {
        assert!(description["info"][member].is_string(), "info.{member}");
    }
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&description) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{place} has an id"));
        assert!(ids.insert(id.to_owned()), "{place}: the id {id} is another's too");
        assert!(operation["summary"].is_string(), "{place} has a summary");
        check_parameters(&place, path, &operation["parameters"]);
        if let Some(body) = operation.get("requestBody") {
            check_content(&place, &body["content"]);
        }
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{place} can succeed");
        for (status, response) in responses {
            assert!(status.parse::<u16>().is_ok_and(|status| (100..600).contains(&status)), "{place}: {status}");
            assert!(response["description"].is_string(), "{place}: {status} is described");
            if let Some(content) = response.get("content") {
                check_content(&format!("{place} {status}"), content);
            }
        }
        for requirement in operation["security"].as_array().expect("security is said") {
            for scheme in requirement.as_object().expect("a requirement is an object").keys() {
                assert!(description["components"]["securitySchemes"].get(scheme).is_some(), "{place}: {scheme}");
            }
        }
    }
}

/// Each may be refused for how things stand, which no part of the request tells.
const REFUSED: [(&str, &str, &str); 8] = [
    ("delete", "/api/v1/escalation-rules/{id}", "412"),
    ("post", "/api/v1/verify/{token}", "412"),
    ("get", "/api/v1/oauth/callback", "409"),
    ("get", "/api/v1/on-call/{id}/now", "409"),
    ("patch", "/api/v1/preferences", "409"),
    ("post", "/api/v1/events", "409"),
    ("post", "/api/v1/integrations/{name}/test", "409"),
    ("post", "/api/v1/organizations", "409"),
];

#[test]
fn what_may_be_refused_for_how_things_stand_says_so() {
    let description = description();
    for (method, path, status) in REFUSED {
        let operation = &description["paths"][path][method];
        assert!(operation["responses"].get(status).is_some(), "{method} {path}: {status}");
    }
    for (method, path, operation) in operations(&description) {
        let parameters = operation["parameters"].as_array().expect("parameters");
        for (header, status) in [("If-Match", "412"), ("Idempotency-Key", "409")] {
            let takes = parameters.iter().any(|parameter| parameter["name"] == header);
            assert!(!takes || operation["responses"].get(status).is_some(), "{method} {path}: {header}, {status}");
        }
    }
    for path in ["/api/v1/contact-methods", "/api/v1/contact-methods/{id}/verify"] {
        let said = description["paths"][path]["post"]["description"].as_str().unwrap_or_default();
        assert!(said.contains("service key") && said.contains("`admin`"), "{path}: {said}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_left_over() {
    let description = description();
    let mut referred = BTreeSet::new();
    walk(&description, &mut |value| {
        let Some(reference) = value.get("$ref") else { return };
        let path = reference.as_str().expect("a reference is a text");
        let pointer = path.strip_prefix('#').unwrap_or_else(|| panic!("{path} leads out of the document"));
        assert!(description.pointer(pointer).is_some(), "{path} leads nowhere");
        referred.insert(pointer.rsplit('/').next().expect("a last part").to_owned());
    });
    let known: BTreeSet<String> =
        description["components"]["schemas"].as_object().expect("schemas").keys().cloned().collect();
    assert_eq!(known, referred);
}

fn operations(description: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = description["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().expect("operations");
        operations.iter().map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

/// Every parameter of the path is there, each parameter once, and all are whole.
fn check_parameters(place: &str, path: &str, parameters: &Value) {
    let mut seen = BTreeSet::new();
    for parameter in parameters.as_array().expect("parameters") {
        let name = parameter["name"].as_str().unwrap_or_else(|| panic!("{place}: a name"));
        let within = parameter["in"].as_str().unwrap_or_default();
        assert!(["path", "query", "header"].contains(&within), "{place}: {name} is in '{within}'");
        assert!(parameter["schema"].is_object(), "{place}: {name} has a schema");
        assert_eq!(within == "path", parameter["required"] == true, "{place}: {name}");
        assert!(seen.insert((within, name.to_ascii_lowercase())), "{place}: {name} twice");
    }
    let named = path.split(['{', '}']).skip(1).step_by(2).map(str::to_owned);
    let in_path = seen.iter().filter(|(within, _)| *within == "path").map(|(_, name)| name.clone());
    assert_eq!(named.collect::<BTreeSet<_>>(), in_path.collect(), "{place}");
}

fn check_content(place: &str, content: &Value) {
    let content = content.as_object().unwrap_or_else(|| panic!("{place}: content is an object"));
    assert!(!content.is_empty(), "{place}: in no media type");
    for (media_type, media) in content {
        assert!(media_type.contains('/'), "{place}: {media_type}");
        let schema = &media["schema"];
        assert!(schema.is_object() || schema.is_boolean(), "{place}: {media_type} has a schema");
    }
}

fn walk(value: &Value, see: &mut impl FnMut(&Value)) {
    see(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| walk(member, see)),
        Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
