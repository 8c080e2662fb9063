//! A record that a REST service keeps: PATCH (RFC 5789), with a JSON object or a JSON Merge Patch (RFC 7396). `if_match` is
//! the record's ETag: a service that knows it refuses with 412 once somebody else has changed the record (RFC 9110, 13.1.1).

use core314_actors::ports::executor::{Attempt, Connection};
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH};
use serde_json::{Map, Value, json};

use super::{read_object, reader};
use crate::executors::api_call::mark;
use crate::executors::client::{Call, HttpClient, Statuses, invalid};
use crate::executors::connect::{Address, auth, http};
use crate::executors::failure::Code;
use crate::executors::payload::Reading;
use crate::executors::redact::Redactor;

const KEYS: [&str; 4] = ["path", "values", "if_match", "format"];
const MERGE: &str = "merge_patch";

/// What a payload says.
#[derive(Debug)]
pub struct Patch {
    values: Map<String, Value>,
    if_match: Option<HeaderValue>,
    content_type: &'static str,
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
pub fn read(payload: &Value, reading: Reading) -> Result<Option<Patch>, Vec<Problem>> {
    let Some(mut reader) = reader(payload, reading)? else { return Ok(None) };
    reader.only(&KEYS);
    if !reader.has("path") {
        reader.problem(&["path"], "is required: where the record is, below the integration's endpoint");
    }
    reader.text("path");
    let values = read_object(&mut reader, "values", true);
    let if_match = reader.text("if_match").and_then(|tag| {
        let value = HeaderValue::from_str(tag);
        if value.is_err() {
            reader.problem(&["if_match"], "is no ETag");
        }
        value.ok()
    });
    let content_type = match reader.text("format") {
        None | Some("json") => "application/json",
        Some(MERGE) => "application/merge-patch+json",
        Some(other) => {
            reader.problem(&["format"], format!("'{other}' is not one of: json, {MERGE}"));
            ""
        }
    };
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(Some(Patch { values, if_match, content_type }))
}

/// Changes the record of an attempt.
pub async fn update(
    http: &HttpClient,
    attempt: &Attempt,
    connection: &Connection,
    redactor: &mut Redactor,
    figures: &mut Option<HttpFigures>,
) -> Result<Value, Failure> {
    let patch = read(&attempt.payload, Reading::Rendered).map_err(|problems| invalid(&problems))?;
    let patch = patch.expect("a rendered payload is read whole");
    let mut call = call(attempt, connection, patch).map_err(|problems| invalid(&problems))?;
    auth::sign(&mut call, connection, redactor).map_err(|problem| invalid(&[Problem::new("", problem)]))?;
    let answer = http.fetch(call, attempt.timeout, redactor, figures).await.map_err(changed)?;
    Ok(json!({"status": answer["status"], "etag": answer["headers"]["etag"], "body": answer["body"]}))
}

fn call(attempt: &Attempt, connection: &Connection, patch: Patch) -> Result<Call, Vec<Problem>> {
    let address = Address::of_endpoint(Some(connection));
    let mut reader = reader(&attempt.payload, Reading::Rendered)?.expect("a rendered payload is read whole");
    let Some(url) = http::read_target(address, &mut reader, Reading::Rendered) else { return Err(reader.problems) };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(patch.content_type));
    if let Some(tag) = patch.if_match {
        headers.insert(IF_MATCH, tag);
    }
    let body = Value::Object(patch.values).to_string().into_bytes();
    let expected = vec![Statuses::SUCCESS];
    let mut call = Call { method: Method::PATCH, url, headers, body, expected, follow_redirects: false };
    mark(&mut call, attempt);
    Ok(call)
}

/// 412: the record is not the one that was read.
fn changed(failure: Failure) -> Failure {
    let is_stale = failure.details.as_ref().is_some_and(|details| details["status"] == 412);
    if is_stale { Failure { code: Code::StaleRecord.word().to_owned(), ..failure } } else { failure }
}
