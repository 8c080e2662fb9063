//! Lists and single rows of every view of the contract: one handler each, for all of them.
//!
//! A list is filtered by any of its columns; those that an index answers are published (`docs/data.md`). Which rows there
//! are is the scope's business.

use std::pin::Pin;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use core314_actors::ports::resource::{Column, Kind, Resource};
use core314_actors::ports::views::Filter;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::auth::Role;
use super::openapi::{Doc, SchemaOf};
use super::problem::Problem;
use super::query::Query;
use super::{Shared, page};

/// What a handler gives: an answer, in a while.
type Answering = Pin<Box<dyn Future<Output = Result<HttpResponse, Problem>>>>;

/// The handler of a list.
pub fn list(resource: Resource) -> impl Fn(HttpRequest, Shared) -> Answering + Clone {
    move |req, state| Box::pin(answer_list(resource, req, state))
}

/// The handler of a single row.
pub fn show(resource: Resource) -> impl Fn(HttpRequest, web::Path<String>, Shared) -> Answering + Clone {
    move |req, id, state| Box::pin(answer_one(resource, req, id, state))
}

async fn answer_list(resource: Resource, req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let filter = filter(&mut query, resource);
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    Ok(page::answer(state.views.list(scope, resource, filter, page).await?))
}

async fn answer_one(
    resource: Resource,
    req: HttpRequest,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let missing = || Problem::no_row(resource.noun());
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let row = state.views.one(scope, resource, id).await?.ok_or_else(missing)?;
    Ok(versioned(HttpResponse::Ok(), resource, &row))
}

/// An answer that shows the row under its version: what a change of it may name in `If-Match`.
pub fn versioned(mut answer: HttpResponseBuilder, resource: Resource, row: &Value) -> HttpResponse {
    let version = match resource {
        Resource::Flows => row.get("flow_version"),
        Resource::Webhooks
        | Resource::EscalationRules
        | Resource::OnCall
        | Resource::Silences
        | Resource::Organizations
        | Resource::Preferences => row.get("version"),
        _ => None,
    };
    if let Some(version) = version.and_then(Value::as_i64) {
        answer.insert_header(super::flows::etag(version));
    }
    answer.json(row)
}

/// Takes the columns of a resource out of a query.
pub fn filter(query: &mut Query, resource: Resource) -> Filter {
    let mut filter = Filter::default();
    for column in resource.columns().iter().filter(|column| can_filter(column)) {
        if let Some(text) = query.optional::<String>(column.name) {
            match value_of(column, &text) {
                Ok(value) => filter.and(column.name, value),
                Err(expected) => query.wrong(column.name, format!("must be {expected}")),
            }
        }
    }
    filter
}

/// A column and what it must equal, from texts; an error says what is expected.
pub fn wanted(resource: Resource, name: &str, text: &str) -> Result<(&'static str, Value), String> {
    let column =
        resource.column(name).filter(|column| can_filter(column)).ok_or("is not a column that can be compared")?;
    Ok((column.name, value_of(column, text)?))
}

/// Whether a column has one value that can be compared.
fn can_filter(column: &Column) -> bool {
    !matches!(column.kind, Kind::Json | Kind::Ids | Kind::Texts)
}

/// A parameter as the column's rows show it; an error says what is expected.
fn value_of(column: &Column, text: &str) -> Result<Value, String> {
    let expected = |expected: &str| expected.to_owned();
    match column.kind {
        Kind::Id => text.parse::<Uuid>().map(|id| json!(id)).map_err(|_| expected("a UUID")),
        Kind::Integer => text.parse::<i64>().map(Value::from).map_err(|_| expected("a whole number")),
        Kind::Real => {
            let number =
                text.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| expected("a number"))?;
            // As rows show it: 2, not 2.0.
            let whole = number.fract() == 0.0 && number.abs() < 9e15;
            Ok(if whole { json!(number as i64) } else { json!(number) })
        }
        Kind::Boolean => text.parse::<bool>().map(Value::from).map_err(|_| expected("true or false")),
        Kind::Time => {
            let time =
                chrono::DateTime::parse_from_rfc3339(text).map_err(|_| expected("a time as RFC 3339 writes it"))?;
            Ok(json!(super::flows::rfc3339(time.timestamp_millis())))
        }
        Kind::Text => Ok(json!(text)),
        Kind::Word(words) if words.contains(&text) => Ok(json!(text)),
        Kind::Word(words) => Err(format!("one of: {}", words.join(", "))),
        Kind::Json | Kind::Ids | Kind::Texts => Err(expected("left out: this column cannot be compared")),
    }
}

/// What a list says of itself.
pub fn list_doc(resource: Resource, summary: &'static str) -> Doc {
    let mut doc = Doc::role(summary, Role::Viewer).page();
    for column in resource.columns().iter().filter(|column| can_filter(column)) {
        let indexed = resource.indexed().iter().any(|filters| filters.split(' ').any(|name| name == column.name));
        let description = if indexed { "Answered by an index." } else { "Looked for row by row." };
        let schema = scalar(column.kind);
        doc = doc.param("query", column.name, description, Arc::new(move |_| value_schema(&schema)));
    }
    doc.ok_as("A page, newest first.", page_schema(resource))
}

/// What a single row says of itself.
pub fn show_doc(resource: Resource, summary: &'static str) -> Doc {
    Doc::role(summary, Role::Viewer).ok_as("The row.", row_schema(resource))
}

/// The schema of a row, shared by whatever answers with one.
pub fn row_schema(resource: Resource) -> SchemaOf {
    Arc::new(move |generator| {
        let name = resource.view();
        if !generator.definitions().contains_key(name) {
            generator.definitions_mut().insert(name.to_owned(), row(resource));
        }
        json_schema!({"$ref": format!("#/components/schemas/{name}")})
    })
}

/// The schema of a row with one more member, which it has where it was just written.
pub fn row_schema_with<T: JsonSchema>(resource: Resource, member: &'static str) -> SchemaOf {
    Arc::new(move |generator| {
        let mut schema = row(resource);
        schema["properties"][member] = generator.subschema_for::<T>().to_value();
        if let Some(required) = schema["required"].as_array_mut() {
            required.push(member.into());
        }
        value_schema(&schema)
    })
}

/// A schema that was written as JSON.
fn value_schema(schema: &Value) -> Schema {
    schema.clone().try_into().expect("a schema is an object")
}

/// The schema of a page of rows.
pub fn page_schema(resource: Resource) -> SchemaOf {
    Arc::new(move |generator| {
        json_schema!({
            "type": "object",
            "required": ["items", "next_cursor"],
            "properties": {
                "items": {"type": "array", "items": row_schema(resource)(generator)},
                "next_cursor": {"type": ["string", "null"]},
            },
        })
    })
}

fn row(resource: Resource) -> Value {
    let properties: Map<String, Value> = resource
        .columns()
        .iter()
        .map(|column| {
            let mut schema = scalar(column.kind);
            if column.nullable
                && let Some(word) = schema.get("type").cloned()
            {
                schema["type"] = json!([word, "null"]);
                if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
            (column.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = resource.columns().iter().map(|column| column.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The schema of a column's values.
fn scalar(kind: Kind) -> Value {
    match kind {
        Kind::Id => json!({"type": "string", "format": "uuid"}),
        Kind::Text => json!({"type": "string"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Real => json!({"type": "number"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Json => json!({}),
        Kind::Ids => json!({"type": "array", "items": {"type": "string", "format": "uuid"}}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn of(text: &str) -> Result<Filter, Problem> {
        let req = TestRequest::with_uri(&format!("/x?{text}")).to_http_request();
        let mut query = Query::of(&req)?;
        let filter = filter(&mut query, Resource::Log);
        query.finish().map(|()| filter)
    }

    #[test]
    fn every_column_with_one_value_is_a_filter() {
        let found = of("success=false&http_status_code=503&created_at=2026-01-01T02:00:00%2B02:00").expect("valid");
        assert_eq!(found.get("success"), Some(&json!(false)));
        assert_eq!(found.get("http_status_code"), Some(&json!(503)));
        assert_eq!(found.get("created_at"), Some(&json!("2026-01-01T00:00:00.000Z")));
        for (text, words) in [
            ("success=1", "parameter success: must be true or false"),
            ("flow_run_id=7", "parameter flow_run_id: must be a UUID"),
            ("created_at=today", "parameter created_at: must be a time"),
            ("metadata=x", "parameter metadata: is not known here"),
        ] {
            let problem = of(text).expect_err(text);
            assert!(problem.to_string().starts_with(words), "{problem}");
        }
    }
}
