//! Reading a request's body: bounded in size, in time and in depth, and strict.
//!
//! Whatever a client sends, the answer names what is wrong with it: 413 for size, 408 for slowness, 415 for the type,
//! 400 for what is no JSON. A body is read only after its sender is known.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, BytesMut, Payload};
use core314_domain::json::parse_json;
use futures_util::StreamExt;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::settings::HttpSettings;

const JSON: &str = "application/json";
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

/// The whole body.
pub async fn read(req: &HttpRequest, payload: Payload, settings: &HttpSettings) -> Result<Bytes, Problem> {
    refuse_encoded(req)?;
    let limit_bytes = settings.max_body_bytes;
    let declared = req.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit_bytes as u64) {
        return Err(Problem::PayloadTooLarge { limit_bytes });
    }
    let timeout_ms = settings.body_timeout_ms;
    let read = collect(payload, limit_bytes);
    tokio::time::timeout(Duration::from_millis(timeout_ms), read)
        .await
        .map_err(|_| Problem::RequestTimeout { timeout_ms })?
}

async fn collect(mut payload: Payload, limit_bytes: usize) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::MalformedRequest(format!("the body broke off: {error}")))?;
        if body.len() + chunk.len() > limit_bytes {
            return Err(Problem::PayloadTooLarge { limit_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Reads the body as JSON.
pub async fn read_json(
    req: &HttpRequest,
    payload: Payload,
    settings: &HttpSettings,
) -> Result<(Bytes, Value), Problem> {
    expect_json(req)?;
    let body = read(req, payload, settings).await?;
    let value = json(&body, settings.max_json_depth)?;
    Ok((body, value))
}

/// Reads the body as JSON; an empty one is an empty object.
pub async fn read_json_or_nothing(
    req: &HttpRequest,
    payload: Payload,
    settings: &HttpSettings,
) -> Result<(Bytes, Value), Problem> {
    expect_json(req)?;
    let body = read(req, payload, settings).await?;
    let value = if body.is_empty() { Value::Object(Map::new()) } else { json(&body, settings.max_json_depth)? };
    Ok((body, value))
}

/// Refuses what does not say that it is JSON. Saying nothing is taken for JSON.
fn expect_json(req: &HttpRequest) -> Result<(), Problem> {
    match media_type(req)?.as_deref() {
        None | Some(JSON) => Ok(()),
        Some(other) if other.starts_with("application/") && other.ends_with("+json") => Ok(()),
        Some(other) => Err(unsupported(JSON, other)),
    }
}

/// The media type in lower case, without its parameters; text in another charset than UTF-8 is refused.
pub fn media_type(req: &HttpRequest) -> Result<Option<String>, Problem> {
    media_type_of(req.headers())
}

/// The same of these headers.
pub fn media_type_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Problem::MalformedRequest("Content-Type is not readable".to_owned()))?;
    let text = text.to_ascii_lowercase();
    let (essence, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let charset = parameters.split(';').find_map(|p| p.trim().strip_prefix("charset="));
    match charset.map(|charset| charset.trim_matches('"')) {
        None | Some("utf-8" | "utf8") => Ok(Some(essence.trim().to_owned())),
        Some(charset) => Err(unsupported("in UTF-8", charset)),
    }
}

/// Whether a document is written in YAML, by its media type; else it is JSON.
pub fn is_yaml(req: &HttpRequest) -> Result<bool, Problem> {
    match media_type(req)?.as_deref() {
        None | Some(JSON) => Ok(false),
        Some(found) if YAML.contains(&found) => Ok(true),
        Some(found) => Err(unsupported("application/json or application/yaml", found)),
    }
}

/// The type is not read here.
pub fn unsupported(expected: &'static str, found: &str) -> Problem {
    Problem::UnsupportedMediaType { expected, found: found.chars().take(100).collect() }
}

fn refuse_encoded(req: &HttpRequest) -> Result<(), Problem> {
    let encoding = req.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("unreadable"));
    match encoding {
        None | Some("identity") => Ok(()),
        Some(other) => Err(unsupported("without Content-Encoding", other)),
    }
}

/// Reads JSON text: no duplicate keys, no NUL characters, not too deep.
pub fn json(text: &[u8], max_depth: usize) -> Result<Value, Problem> {
    let value = parse_json(text).map_err(|error| Problem::MalformedBody(format!("the body is not JSON: {error}")))?;
    refuse_deep(&value, max_depth)?;
    Ok(value)
}

/// Refuses a value that nests deeper than is read here.
pub fn refuse_deep(value: &Value, max_depth: usize) -> Result<(), Problem> {
    if is_deeper(value, max_depth) {
        return Err(Problem::MalformedBody(format!("the body nests deeper than {max_depth} levels")));
    }
    Ok(())
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| is_deeper(item, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::FromRequest as _;
    use actix_web::dev::Payload as RawPayload;
    use actix_web::error::PayloadError;
    use actix_web::test::TestRequest;
    use futures_util::stream;

    use super::*;

    const SETTINGS: fn() -> HttpSettings =
        || HttpSettings { max_body_bytes: 1_024, body_timeout_ms: 20, ..HttpSettings::default() };

    async fn read_chunks(chunks: Vec<Result<Bytes, PayloadError>>, then_hang: bool) -> Result<Bytes, Problem> {
        let req = TestRequest::post().to_http_request();
        let mut stream = stream::iter(chunks).boxed_local();
        if then_hang {
            stream = stream.chain(stream::pending()).boxed_local();
        }
        let mut raw = RawPayload::Stream { payload: stream };
        let payload = Payload::from_request(&req, &mut raw).await.unwrap();
        read(&req, payload, &SETTINGS()).await
    }

    #[actix_web::test]
    async fn a_body_is_bounded_by_what_arrives_not_by_what_was_declared() {
        let chunk = || Ok(Bytes::from(vec![b'x'; 512]));
        assert_eq!(read_chunks(vec![chunk(), chunk()], false).await.unwrap().len(), 1_024);
        let too_large = read_chunks(vec![chunk(), chunk(), Ok(Bytes::from_static(b"x"))], true).await;
        assert_eq!(too_large, Err(Problem::PayloadTooLarge { limit_bytes: 1_024 }));
    }

    #[actix_web::test]
    async fn a_body_that_does_not_come_to_its_end_is_given_up() {
        let outcome = read_chunks(vec![Ok(Bytes::from_static(b"{"))], true).await;
        assert_eq!(outcome, Err(Problem::RequestTimeout { timeout_ms: 20 }));
        let broken = read_chunks(vec![Err(PayloadError::Incomplete(None))], false).await;
        assert!(matches!(broken, Err(Problem::MalformedRequest(_))), "{broken:?}");
    }

    #[test]
    fn only_json_in_utf_8_is_taken_for_json() {
        let check =
            |value: &str| expect_json(&TestRequest::post().insert_header(("content-type", value)).to_http_request());
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in
            ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin1", "text/a+json"]
        {
            assert!(matches!(check(bad), Err(Problem::UnsupportedMediaType { .. })), "{bad}");
        }
        assert_eq!(expect_json(&TestRequest::post().to_http_request()), Ok(()));
        let zipped = TestRequest::post().insert_header(("content-encoding", "gzip")).to_http_request();
        assert!(refuse_encoded(&zipped).is_err());
    }

    #[test]
    fn what_is_no_json_is_said_with_its_place() {
        let detail = |text: &[u8]| json(text, 64).expect_err("refused").to_string();
        assert!(detail(b"{\"a\": 1,\n oops}").contains("line 2 column 2"));
        assert!(detail(b"{\"a\": 1, \"a\": 2}").contains("duplicate key 'a' at line 1"));
        assert!(detail(b"\"\xff\"").contains("line 1"));
        assert!(detail(b"").contains("EOF"));
        assert!(detail(b"1e999").contains("out of range"));
        assert!(detail("[".repeat(100_000).as_bytes()).contains("recursion limit"));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(json(nested(64).as_bytes(), 64).is_ok());
        assert!(detail(nested(65).as_bytes()).contains("64 levels"));
    }
}
