//! `api_call`: any HTTP request.
//!
//! The same reading of the payload serves the check of a document and the attempt, so that what was accepted can be
//! sent, except for what only rendering brings to light.

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::client::{Call, HttpClient, Statuses};
use super::connect::{Address, auth, http};
use super::payload::{Reader, Reading, kind};
use super::redact::Redactor;
use super::service::form;

const KEYS: [&str; 9] = ["method", "url", "path", "headers", "query", "json", "form", "body", "expected_status"];
/// Ways to give a body, of which a payload uses one.
const BODIES: [&str; 3] = ["json", "form", "body"];
/// The header by which the other side can tell a repetition (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header by which the other side can put its own part into the run's trace (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";
/// Headers that belong to the connection. `Host` is among them because the outbound rules judge the host of the URL.
const CONNECTION_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sends HTTP requests.
#[derive(Debug)]
pub struct ApiCall {
    http: Arc<HttpClient>,
}

impl ApiCall {
    /// An executor that shares a client.
    pub fn new(http: Arc<HttpClient>) -> Self {
        Self { http }
    }
}

impl Executor for ApiCall {
    fn action_type(&self) -> &'static str {
        "api_call"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &[&http::KIND]
    }

    fn check(&self, target: &Target<'_>, payload: &Value) -> Vec<Problem> {
        read(payload, Reading::Document, Address::of_target(target)).err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let http = self.http.clone();
        Box::pin(async move {
            let connection = attempt.connection.as_deref();
            let mut redactor = Redactor::of(&attempt);
            let call = read(&attempt.payload, Reading::Rendered, Address::of_endpoint(connection)).and_then(|call| {
                let mut call = call.expect("a rendered payload without problems has a URL");
                let key = HeaderValue::from_str(&attempt.idempotency_key()).expect("an id is visible ASCII");
                call.headers.entry(IDEMPOTENCY_KEY).or_insert(key);
                let trace = HeaderValue::from_str(&attempt.trace().to_string()).expect("digits are visible ASCII");
                call.headers.entry(TRACEPARENT).or_insert(trace);
                let signed = connection.map_or(Ok(()), |connection| auth::sign(&mut call, connection, &mut redactor));
                signed.map(|()| call).map_err(|message| vec![Problem::new("", message)])
            });
            http.perform_with(&attempt, call, &redactor, Ok).await
        })
    }
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
fn read(payload: &Value, reading: Reading, address: Address<'_>) -> Result<Option<Call>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    let method = read_method(&mut reader);
    let mut url = http::read_target(address, &mut reader, reading);
    let query = reader.pairs("query");
    if let Some(url) = url.as_mut().filter(|_| !query.is_empty()) {
        url.query_pairs_mut().extend_pairs(query);
    }
    let mut headers = read_headers(&mut reader, &[]);
    let (body, content_type) = read_body(&mut reader);
    if let Some(content_type) = content_type {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    }
    let expected = read_expected(&mut reader);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(url.map(|url| Call { method, url, headers, body, expected, follow_redirects: true }))
}

fn read_method(reader: &mut Reader<'_>) -> Method {
    let Some(text) = reader.text("method") else {
        return Method::GET;
    };
    match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
        Ok(Method::CONNECT) => reader.problem(&["method"], "CONNECT opens a tunnel, which is no action"),
        Ok(method) => return method,
        Err(_) => reader.problem(&["method"], format!("'{text}' is no HTTP method")),
    }
    Method::GET
}

/// Headers that can be sent; each that cannot, or that the executor sets itself, is a problem.
pub fn read_headers(reader: &mut Reader<'_>, own: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in reader.pairs("headers") {
        let problem = match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())) {
            (Ok(name), _) if CONNECTION_HEADERS.contains(&name.as_str()) => "is set by the connection itself",
            (Ok(name), _) if own.contains(&name.as_str()) => "is set by the delivery itself",
            (Ok(name), Ok(value)) => match headers.try_append(name, value) {
                Ok(_) => continue,
                Err(_) => "is one header too many",
            },
            (Err(_), _) => "is no name of a header",
            // The value may be a secret, so it is not repeated.
            (_, Err(_)) => "has a value that no header can have: a line break or another control character",
        };
        reader.problem(&["headers", name], problem);
    }
    headers
}

/// The body, and the content type that goes with it unless the headers say another.
fn read_body(reader: &mut Reader<'_>) -> (Vec<u8>, Option<&'static str>) {
    let given: Vec<&str> = BODIES.into_iter().filter(|key| reader.has(key)).collect();
    if let [_, second, ..] = given.as_slice() {
        reader.problem(&[second], format!("only one of {} can be given", BODIES.join(", ")));
    }
    match given.first() {
        Some(&"json") => {
            let body = reader.get("json").map(|value| value.to_string().into_bytes());
            (body.unwrap_or_default(), Some("application/json"))
        }
        Some(&"form") => (form(reader.pairs("form")), Some("application/x-www-form-urlencoded")),
        Some(_) => (reader.text("body").unwrap_or_default().as_bytes().to_vec(), Some("text/plain; charset=utf-8")),
        None => (Vec::new(), None),
    }
}

/// Statuses that mean success: one or a list of `204`, `"204"`, `"2xx"`.
fn read_expected(reader: &mut Reader<'_>) -> Vec<Statuses> {
    let Some(value) = reader.get("expected_status") else {
        return vec![Statuses::SUCCESS];
    };
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if items.is_empty() {
        reader.problem(&["expected_status"], "must name at least one status");
    }
    let mut expected = Vec::new();
    for item in items.iter().filter(|item| !reader.is_open(item)).collect::<Vec<_>>() {
        if let Some(statuses) = statuses(item) {
            expected.push(statuses);
        } else {
            let message = format!("must be a status from 200 to 599 or a class such as \"2xx\", is {}", shown(item));
            reader.problem(&["expected_status"], message);
        }
    }
    expected
}

/// Statuses below 200 are never final answers.
fn statuses(item: &Value) -> Option<Statuses> {
    let text = match item {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        other => other.as_u64()?.to_string(),
    };
    match text.strip_suffix("xx") {
        Some(digit) => digit.parse().ok().filter(|digit| (2..=5).contains(digit)).map(Statuses::Class),
        None => text.parse().ok().filter(|code| (200..=599).contains(code)).map(Statuses::One),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::String(_) => value.to_string(),
        other => kind(other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(payload: &Value) -> Vec<String> {
        let problems = read(payload, Reading::Document, Address::InPayload).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    fn call(payload: &Value) -> Call {
        match read(payload, Reading::Rendered, Address::InPayload) {
            Ok(Some(call)) => call,
            other => panic!("{payload}: {other:?}"),
        }
    }

    #[test]
    fn a_minimal_payload_is_a_get() {
        let call = call(&json!({"url": "https://example.com/a?b=1", "query": {"c": "x y", "d": [1, 2]}}));
        assert_eq!((call.method, call.url.as_str()), (Method::GET, "https://example.com/a?b=1&c=x+y&d=1&d=2"));
        assert_eq!((call.body, call.expected, call.headers.len()), (vec![], vec![Statuses::SUCCESS], 0));
    }

    #[test]
    fn bodies_bring_their_content_type_unless_it_is_given() {
        let url = "https://example.com/";
        for (payload, body, content_type) in [
            (json!({"url": url, "json": {"b": [1], "a": "ä"}}), r#"{"a":"ä","b":[1]}"#, "application/json"),
            (json!({"url": url, "json": false}), "false", "application/json"),
            (
                json!({"url": url, "form": {"a": "x y&", "b": [1, true]}}),
                "a=x+y%26&b=1&b=true",
                "application/x-www-form-urlencoded",
            ),
            (json!({"url": url, "body": "hello"}), "hello", "text/plain; charset=utf-8"),
            (json!({"url": url, "body": "<a/>", "headers": {"content-type": "text/xml"}}), "<a/>", "text/xml"),
        ] {
            let call = call(&payload);
            assert_eq!(String::from_utf8(call.body).expect("utf-8"), body);
            assert_eq!(call.headers[CONTENT_TYPE], content_type);
        }
    }

    #[test]
    fn expected_statuses_are_codes_and_classes() {
        let expected = |value: Value| call(&json!({"url": "http://h/", "expected_status": value})).expected;
        assert_eq!(expected(json!(204)), [Statuses::One(204)]);
        assert_eq!(expected(json!("3XX")), [Statuses::Class(3)]);
        assert_eq!(expected(json!(["2xx", 404, "410"])), [Statuses::SUCCESS, Statuses::One(404), Statuses::One(410)]);
        for wrong in [json!([]), json!([true]), json!("6xx"), json!(42), json!("2x"), json!(-1), json!([100])] {
            assert_eq!(problems(&json!({"url": "http://h/", "expected_status": wrong})).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        for (payload, expected) in [
            (json!({}), "/url: is required"),
            (json!([]), ": must be an object, is a list"),
            (
                json!({"ulr": "x", "url": "http://h/"}),
                "/ulr: unknown key 'ulr'; known: method, url, path, headers, query, json, form, body, expected_status",
            ),
            (json!({"url": "ftp://h/"}), "/url: scheme 'ftp' is not one of: http, https"),
            (json!({"url": "h/x"}), "/url: is no URL: relative URL without a base"),
            (json!({"url": "http://"}), "/url: is no URL: empty host"),
            (json!({"url": 1}), "/url: must be a text, is a number"),
            (json!({"url": "http://h/", "method": "GE T"}), "/method: 'GE T' is no HTTP method"),
            (json!({"url": "http://h/", "method": "connect"}), "/method: CONNECT opens a tunnel, which is no action"),
            (json!({"url": "http://h/", "headers": {"a b": "c"}}), "/headers/a b: is no name of a header"),
            (
                json!({"url": "http://h/", "headers": {"X-A": "b\r\nc"}}),
                "/headers/X-A: has a value that no header can have: a line break or another control character",
            ),
            (json!({"url": "http://h/", "headers": {"Host": "x"}}), "/headers/Host: is set by the connection itself"),
            (json!({"url": "http://h/", "json": 1, "body": "x"}), "/body: only one of json, form, body can be given"),
            (json!({"url": "http://h/", "body": {"a": 1}}), "/body: must be a text, is an object"),
        ] {
            assert_eq!(problems(&payload), [expected], "{payload}");
        }
    }

    #[test]
    fn a_path_needs_an_integration_and_stays_in_it() {
        let path = json!({"path": "/users", "query": {"a": 1}});
        let refused = problems(&path);
        assert!(refused[0].starts_with("/path: needs an integration"), "{refused:?}");
        assert!(read(&path, Reading::Document, Address::Elsewhere).is_ok_and(|call| call.is_none()));
        let address = Address::At("https://api.example/v1");
        let call = read(&path, Reading::Rendered, address).expect("sound").expect("a call");
        assert_eq!(call.url.as_str(), "https://api.example/v1/users?a=1");
        for payload in
            [json!({"url": "https://evil.example/"}), json!({"path": "../x"}), json!({"path": "a", "url": "b"})]
        {
            assert!(read(&payload, Reading::Rendered, address).is_err(), "{payload}");
        }
    }

    #[test]
    fn templates_can_become_anything() {
        let open = json!({
            "method": "{{ trigger.method }}", "url": "https://{{ trigger.host }}/", "headers": {"X-A": "{{ a }}"},
            "query": "{{ trigger.query }}", "form": "{% if a %}b{% endif %}", "expected_status": ["{{ a }}", 200],
        });
        assert_eq!(problems(&open), Vec::<String>::new());
        let rendered =
            read(&open, Reading::Rendered, Address::InPayload).expect_err("as text it is wrong in every member");
        let pointers: Vec<&str> = rendered.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/method", "/url", "/query", "/form", "/expected_status"]);
    }
}
