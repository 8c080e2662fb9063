//! What a delivery says: its body in any of the forms that are taken, as flows see it in `trigger`.
//!
//! JSON, forms, plain text, and [CloudEvents 1.0](https://github.com/cloudevents/spec) in the structured and the binary
//! mode of its HTTP binding. A form that has nothing but `payload` is the JSON in it, as GitHub and Slack send it, so
//! that a flow need not know in which form the provider was told to send.

use actix_web::http::header::HeaderMap;
use actix_web::web;
use base64::Engine as _;
use core314_domain::json::without_nul;
use serde_json::{Map, Value};

use super::scheme::LENIENT_BASE64;
use crate::http::body;
use crate::http::problem::Problem;

const EXPECTED: &str = "application/json, application/x-www-form-urlencoded, text/plain or a CloudEvent";
const FORM: &str = "application/x-www-form-urlencoded";
const CLOUD_EVENT: &str = "application/cloudevents+json";
/// Begins the headers that hold a cloud event's attributes.
const CE_PREFIX: &str = "ce-";
/// The fields of a form, and the attributes of an event, at most.
const MAX_FIELDS: usize = 1_000;

/// A delivery, read.
#[derive(Debug, PartialEq)]
pub struct Content {
    /// What flows see as `trigger`.
    pub trigger: Value,
    /// The attributes of a cloud event: what flows see as `webhook.event`.
    pub event: Option<Map<String, Value>>,
}

/// Reads a delivery's body as its headers declare it.
pub fn read(headers: &HeaderMap, bytes: &[u8], max_depth: usize) -> Result<Content, Problem> {
    let media_type = body::media_type_of(headers)?;
    let media_type = media_type.as_deref();
    if media_type == Some(CLOUD_EVENT) {
        return structured(body::json(bytes, max_depth)?, max_depth);
    }
    if media_type.is_some_and(|found| found.starts_with("application/cloudevents")) {
        return Err(body::unsupported(EXPECTED, media_type.unwrap_or_default()));
    }
    if !headers.contains_key("ce-specversion") {
        return Ok(Content { trigger: data(media_type, bytes, max_depth)?, event: None });
    }
    let mut event = attributes(headers)?;
    check_event(&event)?;
    if let Some(media_type) = media_type {
        event.insert("datacontenttype".to_owned(), media_type.into());
    }
    let trigger = if bytes.is_empty() { Value::Null } else { data(media_type, bytes, max_depth)? };
    Ok(Content { trigger, event: Some(event) })
}

fn data(media_type: Option<&str>, bytes: &[u8], max_depth: usize) -> Result<Value, Problem> {
    match media_type {
        None | Some("application/json" | "text/json") => body::json(bytes, max_depth),
        Some(other) if other.starts_with("application/") && other.ends_with("+json") => body::json(bytes, max_depth),
        Some(FORM) => form(text(bytes)?, max_depth),
        Some("text/plain") => Ok(without_nul(text(bytes)?.into())),
        Some(other) => Err(body::unsupported(EXPECTED, other)),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes)
        .map_err(|error| Problem::MalformedBody(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))
}

/// An object of texts; a name that is given more than once has a list of them.
fn form(text: &str, max_depth: usize) -> Result<Value, Problem> {
    let fields = web::Query::<Vec<(String, String)>>::from_query(text)
        .map_err(|error| Problem::MalformedBody(format!("the form cannot be read: {error}")))?
        .into_inner();
    if fields.len() > MAX_FIELDS {
        return Err(Problem::MalformedBody(format!("the form has more than {MAX_FIELDS} fields")));
    }
    if let [(name, payload)] = fields.as_slice()
        && name == "payload"
        && payload.trim_start().starts_with('{')
    {
        return body::json(payload.as_bytes(), max_depth);
    }
    let mut object = Map::new();
    for (name, value) in fields {
        match object.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = Value::Array(vec![first.take(), value.into()]),
            None => drop(object.insert(name, value.into())),
        }
    }
    Ok(without_nul(Value::Object(object)))
}

/// An event whose attributes and data are members of one object.
pub fn structured(event: Value, max_depth: usize) -> Result<Content, Problem> {
    let Value::Object(mut event) = event else {
        return Err(Problem::MalformedBody("a CloudEvent must be a JSON object".to_owned()));
    };
    check_event(&event)?;
    let trigger = match (event.remove("data"), event.remove("data_base64")) {
        (Some(_), Some(_)) => {
            return Err(Problem::MalformedBody("a CloudEvent has data or data_base64, not both".to_owned()));
        }
        (Some(data), None) => data,
        (None, Some(encoded)) => from_base64(&event, &encoded, max_depth)?,
        (None, None) => Value::Null,
    };
    Ok(Content { trigger, event: Some(event) })
}

/// Data in base64: read as its type says; of a type that is not read here it stays as it is.
fn from_base64(event: &Map<String, Value>, encoded: &Value, max_depth: usize) -> Result<Value, Problem> {
    let bytes = encoded.as_str().and_then(|text| LENIENT_BASE64.decode(text).ok());
    let bytes = bytes.ok_or_else(|| Problem::MalformedBody("data_base64 is not base64".to_owned()))?;
    let declared = event.get("datacontenttype").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let media_type = declared.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
    match data(media_type, &bytes, max_depth) {
        Err(Problem::UnsupportedMediaType { .. }) => Ok(encoded.clone()),
        read => read,
    }
}

/// The attributes of the binary mode. Their values are percent-encoded.
fn attributes(headers: &HeaderMap) -> Result<Map<String, Value>, Problem> {
    let mut event = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(CE_PREFIX) else { continue };
        let value = value.to_str().map_err(|_| Problem::MalformedRequest(format!("header {name} is not readable")))?;
        let value = without_nul(percent_decoded(value).into());
        if event.insert(attribute.to_owned(), value).is_some() {
            return Err(Problem::MalformedRequest(format!("header {name} is given twice")));
        }
    }
    Ok(event)
}

/// What the specification asks of every event.
fn check_event(event: &Map<String, Value>) -> Result<(), Problem> {
    let attribute = |name: &str| event.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if attribute("specversion") != Some("1.0") {
        return Err(Problem::MalformedBody("a CloudEvent must have specversion 1.0".to_owned()));
    }
    match ["id", "source", "type"].into_iter().find(|name| attribute(name).is_none()) {
        Some(missing) => Err(Problem::MalformedBody(format!("the CloudEvent has no attribute '{missing}'"))),
        None if event.len() > MAX_FIELDS => {
            Err(Problem::MalformedBody(format!("the CloudEvent has more than {MAX_FIELDS} attributes")))
        }
        None => Ok(()),
    }
}

/// A sign that begins no code stands for itself; what is no UTF-8 afterwards is replaced.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = code.filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;

    fn content(headers: &[(&str, &str)], body: &str) -> Result<Content, Problem> {
        let request = headers.iter().fold(TestRequest::post(), |request, header| request.append_header(*header));
        read(request.to_http_request().headers(), body.as_bytes(), 64)
    }

    fn trigger(media_type: &str, body: &str) -> Result<Value, Problem> {
        content(&[("content-type", media_type)], body).map(|content| content.trigger)
    }

    #[test]
    fn bodies_are_read_as_they_are_declared() {
        assert_eq!(trigger("application/json", "[1]"), Ok(json!([1])));
        assert_eq!(content(&[], r#"{"a": 1}"#).map(|content| content.trigger), Ok(json!({"a": 1})));
        assert_eq!(trigger("application/vnd.x+json; charset=utf-8", "null"), Ok(Value::Null));
        assert_eq!(trigger("text/plain", "hi\0"), Ok(json!("hi\u{fffd}")));
        assert_eq!(trigger(FORM, "a=1&b=%C3%A9&a=2+3&a="), Ok(json!({"a": ["1", "2 3", ""], "b": "é"})));
        assert_eq!(trigger(FORM, ""), Ok(json!({})));
    }

    #[test]
    fn the_payload_of_a_form_is_its_json() {
        let payload = "payload=%7B%22action%22%3A%22opened%22%7D";
        assert_eq!(trigger(FORM, payload), Ok(json!({"action": "opened"})));
        assert_eq!(
            trigger(FORM, &format!("{payload}&b=1")),
            Ok(json!({"payload": "{\"action\":\"opened\"}", "b": "1"}))
        );
        assert_eq!(trigger(FORM, "payload=text"), Ok(json!({"payload": "text"})));
        for bad in ["payload=%7B", "payload=%7B%22a%22%3A1%2C%22a%22%3A2%7D"] {
            assert!(matches!(trigger(FORM, bad), Err(Problem::MalformedBody(_))), "{bad}");
        }
    }

    #[test]
    fn cloud_events_are_read_in_both_modes() {
        let attributes = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "a b"});
        let mut event = attributes.clone();
        event["data"] = json!({"n": 1});
        let expected = |trigger, event: &Value| Ok(Content { trigger, event: event.as_object().cloned() });
        let structured = |event: &Value| content(&[("content-type", CLOUD_EVENT)], &event.to_string());
        assert_eq!(structured(&event), expected(json!({"n": 1}), &attributes));
        let mut encoded = attributes.clone();
        encoded["data_base64"] = json!("eyJuIjoxfQ==");
        assert_eq!(structured(&encoded), expected(json!({"n": 1}), &attributes));
        encoded["datacontenttype"] = json!("image/png");
        assert_eq!(structured(&encoded).map(|content| content.trigger), Ok(json!("eyJuIjoxfQ==")));
        let headers =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-subject", "a%20b")];
        assert_eq!(content(&headers, "").map(|content| content.trigger), Ok(Value::Null));
        let with_type = [&headers[..], &[("content-type", "application/json")]].concat();
        let mut typed = attributes;
        typed["datacontenttype"] = json!("application/json");
        assert_eq!(content(&with_type, r#"{"n":1}"#), expected(json!({"n": 1}), &typed));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let detail = |headers: &[(&str, &str)], body: &str| content(headers, body).expect_err(body).to_string();
        let event = [("content-type", CLOUD_EVENT)];
        assert!(detail(&event, "[]").contains("JSON object"));
        assert!(detail(&event, r#"{"specversion": "0.3"}"#).contains("specversion 1.0"));
        assert!(detail(&event, r#"{"specversion": "1.0", "id": "1", "source": "s"}"#).contains("'type'"));
        let both = r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1, "data_base64": "MQ=="}"#;
        assert!(detail(&event, both).contains("not both"));
        assert!(detail(&[("ce-specversion", "1.0"), ("ce-id", "a"), ("ce-id", "b")], "{}").contains("twice"));
        for media_type in ["application/xml", "application/cloudevents-batch+json", "application/octet-stream"] {
            let problem = trigger(media_type, "x").expect_err(media_type);
            assert!(matches!(problem, Problem::UnsupportedMediaType { .. }), "{problem}");
        }
        assert!(matches!(trigger("text/plain; charset=latin1", "x"), Err(Problem::UnsupportedMediaType { .. })));
        let fields: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("f{n}=1")).collect();
        assert!(trigger(FORM, &fields.join("&")).is_err());
        assert!(
            read(TestRequest::post().append_header(("content-type", FORM)).to_http_request().headers(), b"\xff", 64)
                .is_err()
        );
    }

    #[test]
    fn percent_codes_are_decoded_and_lone_signs_stay() {
        assert_eq!(percent_decoded("Euro%20%E2%82%AC 100%"), "Euro € 100%");
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
    }
}
