//! From the table of endpoints to the description.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::doc::{Access, Answer, Body, Doc, Param};

/// An endpoint as the description lists it: method in lower case, path as in the table, what it says of itself.
pub type Listed<'a> = (&'a str, &'a str, &'a Doc);

/// The description of these endpoints.
pub fn document<'a>(endpoints: impl Iterator<Item = Listed<'a>>) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (method, path, doc) in endpoints {
        let (path, names) = plain(path);
        let operation = operation(&mut generator, method, &path, &names, doc);
        paths.entry(path).or_default().insert(method.to_owned(), operation);
    }
    let mut schemas = generator.take_definitions(false);
    schemas.insert("Problem".to_owned(), problem_schema());
    let paths = json!(paths);
    let schemas = referred(&paths, &schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Core314",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A self-hosted automation runtime that heals itself.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A user token (JWT) or a service key."},
            },
        },
    })
}

/// The path without the patterns of its parameters, and their names.
fn plain(path: &str) -> (String, Vec<String>) {
    let mut names = Vec::new();
    let segments = path.split('/').map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(inner) => {
            let name = inner.split(':').next().unwrap_or(inner);
            names.push(name.to_owned());
            format!("{{{name}}}")
        }
        None => segment.to_owned(),
    });
    (segments.collect::<Vec<_>>().join("/"), names)
}

fn operation(generator: &mut SchemaGenerator, method: &str, path: &str, names: &[String], doc: &Doc) -> Value {
    let in_path = names.iter().map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}),
    );
    let given = doc.params.iter().map(|param| parameter(generator, param));
    let acting = if doc.access == Access::Open { Vec::new() } else { acting_for() };
    let parameters: Vec<Value> = in_path.chain(given).chain(acting).collect();
    let mut operation = json!({
        "operationId": operation_id(method, path),
        "summary": doc.summary,
        "tags": [tag(path)],
        "parameters": parameters,
        "responses": responses(generator, names, doc),
    });
    if let Some(body) = &doc.body {
        operation["requestBody"] = request_body(generator, body, doc.access);
    }
    match doc.access {
        Access::Open => operation["security"] = json!([]),
        Access::Role(role) => {
            operation["security"] = json!([{"bearer": []}]);
            let needed = format!("Needs the role `{}`. {}", role.as_str(), doc.condition);
            operation["description"] = needed.trim_end().into();
        }
        Access::Platform => {
            operation["security"] = json!([{"bearer": []}]);
            operation["description"] = "Needs a platform key that names no user.".into();
        }
    }
    operation
}

/// Every method and path once.
fn operation_id(method: &str, path: &str) -> String {
    let words =
        path.split(['/', '{', '}', '-', '_']).filter(|word| !word.is_empty() && *word != "api" && *word != "v1");
    let name = words.collect::<Vec<_>>().join("_");
    match (name.as_str(), path) {
        ("", "/") => format!("{method}_front"),
        ("", _) => format!("{method}_index"),
        (name, _) => format!("{method}_{name}"),
    }
}

/// The resource that the endpoint belongs to.
fn tag(path: &str) -> &str {
    let path = path.strip_prefix("/api/v1").unwrap_or(path).trim_start_matches('/');
    match path.split('/').next() {
        None | Some("" | "api") => "description",
        Some(first) => first,
    }
}

fn parameter(generator: &mut SchemaGenerator, param: &Param) -> Value {
    let schema = (param.schema)(generator);
    json!({"name": param.name, "in": param.place, "description": param.description, "schema": schema})
}

/// For whom a service key acts.
fn acting_for() -> Vec<Value> {
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "description": description, "schema": {"type": "string", "format": "uuid"}});
    vec![
        header("X-User-Id", "The user for whom a service key acts."),
        header("X-Organization-Id", "The organization in which a service key acts for the user."),
    ]
}

fn request_body(generator: &mut SchemaGenerator, body: &Body, access: Access) -> Value {
    let mut schema = (body.schema)(generator);
    if body.names_user && access != Access::Open {
        schema = with_user(generator, schema);
    }
    let content: Map<String, Value> =
        body.media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({"schema": schema}))).collect();
    json!({"required": body.required, "content": content})
}

/// The schema of a body that may also name the user for whom a service key acts. It stands in its place, because what it
/// refers to may be part of another body, where nobody is named.
fn with_user(generator: &SchemaGenerator, schema: Schema) -> Schema {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    let Some(definition) = name.as_ref().and_then(|name| generator.definitions().get(name)) else {
        return schema;
    };
    let mut whole = definition.clone();
    let user =
        json!({"type": ["string", "null"], "format": "uuid", "description": "The user for whom a service key acts."});
    whole["title"] = json!(name);
    if whole.get("properties").is_none() {
        whole["properties"] = json!({});
    }
    whole["properties"]["user_id"] = user;
    Schema::try_from(whole).expect("a definition is an object")
}

/// The schemas that something refers to, from the paths on.
fn referred(paths: &Value, all: &Map<String, Value>) -> Map<String, Value> {
    let mut kept = Map::new();
    let mut left = vec![paths.clone()];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
                if let Some((name, schema)) = name.and_then(|name| all.get_key_value(name))
                    && kept.insert(name.clone(), schema.clone()).is_none()
                {
                    left.push(schema.clone());
                }
                left.extend(members.into_iter().map(|(_, member)| member));
            }
            Value::Array(items) => left.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    kept
}

fn responses(generator: &mut SchemaGenerator, names: &[String], doc: &Doc) -> Value {
    let mut responses = Map::new();
    for Answer { status, description, media_type, schema } in &doc.answers {
        let mut response = json!({"description": description});
        if let Some(schema) = schema {
            let schema: Schema = schema(generator);
            response["content"] = json!({*media_type: {"schema": schema}});
        }
        // An answer may come in more than one media type.
        match responses.get_mut(status.as_str()) {
            Some(known) => known["content"][*media_type] = response["content"][*media_type].take(),
            None => drop(responses.insert(status.as_str().to_owned(), response)),
        }
    }
    for status in problems(names, doc) {
        let reference = json!({"$ref": "#/components/schemas/Problem"});
        let problem = json!({
            "description": status.canonical_reason().unwrap_or("A problem"),
            "content": {"application/problem+json": {"schema": reference}},
        });
        responses.entry(status.as_str()).or_insert(problem);
    }
    Value::Object(responses)
}

/// Which statuses follow from what the endpoint takes and who may call it, and those that it names itself.
fn problems(names: &[String], doc: &Doc) -> Vec<StatusCode> {
    let mut problems = vec![StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE];
    if doc.access != Access::Open {
        problems.extend([
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::TOO_MANY_REQUESTS,
        ]);
    }
    if !names.is_empty() {
        problems.push(StatusCode::NOT_FOUND);
    }
    if doc.body.is_some() {
        problems.extend([
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ]);
    }
    problems.extend(&doc.problems);
    problems
}

/// RFC 9457, with the members that are ours.
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "Why a request was not done (RFC 9457).",
        "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "description": "The address of a page on causes and remedies."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "code": {"type": "string", "description": "A stable word for programs."},
            "request_id": {"type": "string"},
            "errors": {
                "type": "array",
                "description": "What is wrong with the request: a JSON pointer, parameter or header, and a message.",
                "items": {"type": "object", "required": ["message"], "properties": {
                    "pointer": {"type": "string"}, "parameter": {"type": "string"}, "header": {"type": "string"},
                    "message": {"type": "string"},
                    "excerpt": {"type": "string", "description": "Of an expression: its line, and a mark below the character."},
                    "line": {"type": "integer", "description": "Of a document's text, from 1."},
                    "column": {"type": "integer", "description": "In characters, from 1."},
                }},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_loses_its_patterns_and_gives_its_names() {
        assert_eq!(plain("/a/{path:.+}/restart"), ("/a/{path}/restart".to_owned(), vec!["path".to_owned()]));
        assert_eq!(operation_id("get", "/api/v1/flows/{id}"), "get_flows_id");
        assert_eq!([operation_id("get", "/"), operation_id("get", "/api/v1")], ["get_front", "get_index"]);
        assert_eq!(tag("/api/v1/flows/{id}"), "flows");
    }
}
