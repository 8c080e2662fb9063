//! An answer, as an output for later steps or as a failure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use core314_domain::json;
use core314_domain::log::Failure;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};

use super::retry_after;
use crate::executors::failure::Code;
use crate::executors::redact::{REDACTED, is_secret_name};

/// Longer messages are cut: a log row is no place for a page of HTML.
pub const MAX_MESSAGE_CHARS: usize = 500;

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// `{status, headers, body}`, and `encoding` where the body is not text.
    pub fn output(self) -> Value {
        let mut output = Map::new();
        output.insert("status".to_owned(), self.status.as_u16().into());
        output.insert("headers".to_owned(), headers(&self.headers));
        let (body, encoding) = body(&self.headers, self.body);
        output.insert("body".to_owned(), body);
        if let Some(encoding) = encoding {
            output.insert("encoding".to_owned(), encoding.into());
        }
        Value::Object(output)
    }

    /// What an unexpected status means. The message is the other side's own words, yet to be redacted.
    pub fn failure(&self, now: DateTime<Utc>, max_retry_after_ms: i64) -> Failure {
        // As many bytes as redaction may look at.
        let head = &self.body[..self.body.len().min(MAX_MESSAGE_CHARS * 8)];
        let message = format!("{}: {}", self.status, String::from_utf8_lossy(head));
        let status = self.status.as_u16();
        let is_patience = status == 403 && retry_after::asks_for_patience(&self.headers);
        let retry_after_ms = match status {
            429 | 503 => retry_after::wish_ms(&self.headers, now, max_retry_after_ms),
            _ if is_patience => retry_after::wish_ms(&self.headers, now, max_retry_after_ms),
            _ => None,
        };
        let failure = Code::of_status(status, message);
        if is_patience {
            return Failure { retryable: true, code: Code::RateLimited.word().to_owned(), retry_after_ms, ..failure };
        }
        Failure { retry_after_ms, ..failure }
    }
}

/// Names in lower case; several headers of one name in one text, as HTTP joins them; secrets redacted.
fn headers(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for name in headers.keys() {
        let text = if is_secret_name(name.as_str()) {
            REDACTED.to_owned()
        } else {
            let values: Vec<_> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
            values.join(", ")
        };
        map.insert(name.as_str().to_owned(), Value::String(text));
    }
    Value::Object(map)
}

/// JSON where the content type says so and the body is; else text; else base64, with the word for it.
fn body(headers: &HeaderMap, bytes: Vec<u8>) -> (Value, Option<&'static str>) {
    if bytes.is_empty() {
        return (Value::Null, None);
    }
    if is_json(headers)
        && let Ok(value) = serde_json::from_slice::<Value>(&bytes)
        && !json::too_deep(&value)
    {
        return (json::without_nul(value), None);
    }
    match String::from_utf8(bytes) {
        Ok(text) => (json::without_nul(Value::String(text)), None),
        Err(error) => (Value::String(STANDARD.encode(error.as_bytes())), Some("base64")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        Answer { status: StatusCode::from_u16(status).expect("a status"), headers: map, body: body.to_vec() }
    }

    #[test]
    fn a_body_is_json_where_its_type_says_so_and_it_is() {
        for (content_type, bytes, expected) in [
            ("application/json; charset=utf-8", &b"{\"a\":1}"[..], json!({"a": 1})),
            ("Application/Problem+JSON", b"[1]", json!([1])),
            ("application/json", b"{broken", json!("{broken")),
            ("text/plain", b"{\"a\":1}", json!("{\"a\":1}")),
            ("application/json", b"", json!(null)),
            ("application/json", b"{\"a\":\"\\u0000\"}", json!({"a": "\u{fffd}"})),
        ] {
            let output = answer(200, &[("content-type", content_type)], bytes).output();
            assert_eq!(output["body"], expected, "{content_type}");
            assert_eq!(output.get("encoding"), None);
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let output = answer(200, &[("content-type", "application/json")], deep.as_bytes()).output();
        assert_eq!(output["body"], json!(deep));
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let output = answer(200, &[], b"\xff\xfe").output();
        assert_eq!((&output["body"], &output["encoding"]), (&json!("//4="), &json!("base64")));
    }

    #[test]
    fn headers_are_joined_and_redacted() {
        let output = answer(200, &[("vary", "a"), ("Vary", "b"), ("set-cookie", "id=1")], b"").output();
        assert_eq!(output["headers"], json!({"vary": "a, b", "set-cookie": "[redacted]"}));
    }

    #[test]
    fn statuses_are_judged() {
        let now = Utc::now();
        for (status, code, retryable) in [
            (400, "http_status", false),
            (401, "http_status", false),
            (404, "http_status", false),
            (302, "http_status", false),
            (408, "http_status", true),
            (425, "http_status", true),
            (429, "rate_limited", true),
            (500, "http_status", true),
            (503, "http_status", true),
        ] {
            let failure = answer(status, &[("retry-after", "7")], b"why").failure(now, 60_000);
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{status}");
            assert_eq!(failure.retry_after_ms, matches!(status, 429 | 503).then_some(7_000), "{status}");
            assert!(failure.message.ends_with(": why"), "{}", failure.message);
            assert_eq!(failure.details, Some(json!({"status": status})));
        }
    }
}
