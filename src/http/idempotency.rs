//! `Idempotency-Key`: the caller's own name for a request, so that a repetition starts nothing twice.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use core314_actors::ingress::IdempotencyRequest;
use core314_domain::ids::TenantId;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::State;
use super::problem::Problem;
use super::signals::refused;

const HEADER: &str = "Idempotency-Key";
const MAX_KEY_BYTES: usize = 255;

/// The request's name and digest, if it has a name.
pub fn of_request(req: &HttpRequest, body: &[u8]) -> Result<Option<IdempotencyRequest>, Problem> {
    let key = header(req, HEADER)?;
    Ok(key.map(|key| IdempotencyRequest { key, body_hash: digest(req.method().as_str(), req.path(), body) }))
}

/// A header that names something: 1 to 255 visible ASCII characters.
pub fn header(req: &HttpRequest, name: &'static str) -> Result<Option<String>, Problem> {
    header_of(req.headers(), name)
}

/// The same of these headers.
pub fn header_of(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::header(name, "is given twice"));
    }
    let bytes = value.as_bytes();
    let is_visible = bytes.iter().all(u8::is_ascii_graphic);
    if bytes.is_empty() || bytes.len() > MAX_KEY_BYTES || !is_visible {
        return Err(Problem::header(name, format!("must have 1 to {MAX_KEY_BYTES} visible ASCII characters")));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// A request that may have come before: what it was made from the first time, and what it was answered with, where it was.
pub struct First {
    pub made: Value,
    pub answer: Option<Value>,
}

/// Takes the request's own name with what its work is made from. One without a name is always the first.
pub async fn first(
    state: &State,
    tenant: TenantId,
    request: Option<&IdempotencyRequest>,
    made: Value,
) -> Result<First, Problem> {
    let Some(request) = request else { return Ok(First { made, answer: None }) };
    let taken = state.engine.take_name(tenant, request, json!({"made": made})).await;
    let Some(mut known) = taken.map_err(|error| refused(error, "request"))? else {
        return Ok(First { made, answer: None });
    };
    // Without it, it is another endpoint's.
    let made = known.get_mut("made").map(Value::take).ok_or(Problem::IdempotencyKeyReused)?;
    Ok(First { made, answer: known.get_mut("answer").map(Value::take) })
}

/// Keeps what a named request was answered with.
pub async fn answered(
    state: &State,
    tenant: TenantId,
    request: Option<&IdempotencyRequest>,
    made: &Value,
    answer: &Value,
) -> Result<(), Problem> {
    let Some(request) = request else { return Ok(()) };
    Ok(state.engine.keep_with_name(tenant, request, json!({"made": made, "answer": answer})).await?)
}

/// SHA-256 of method, path and body. None of the first two can contain the NUL that ends them.
pub fn digest(method: &str, path: &str, body: &[u8]) -> [u8; 32] {
    let parts: [&[u8]; 5] = [method.as_bytes(), b"\0", path.as_bytes(), b"\0", body];
    parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize().into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(uri: &str, keys: &[&str], body: &[u8]) -> Result<Option<IdempotencyRequest>, Problem> {
        let mut req = TestRequest::post().uri(uri);
        for key in keys {
            req = req.append_header((HEADER, *key));
        }
        of_request(&req.to_http_request(), body)
    }

    #[test]
    fn the_digest_tells_requests_apart() {
        let hash = |uri, body: &[u8]| request(uri, &["k"], body).expect("valid").expect("named").body_hash;
        assert_eq!(hash("/a", b"1"), hash("/a", b"1"));
        assert_ne!(hash("/a", b"1"), hash("/a", b"2"));
        assert_ne!(hash("/a", b"1"), hash("/b", b"1"));
    }

    #[test]
    fn a_key_is_bounded_and_visible() {
        assert!(request("/a", &[], b"").expect("valid").is_none());
        assert!(request("/a", &[&"k".repeat(255)], b"").is_ok());
        for bad in [&["a b"][..], &[""], &["é"], &["a", "a"], &[&"k".repeat(256)]] {
            let problem = request("/a", bad, b"").expect_err("refused");
            assert!(problem.to_string().starts_with("header Idempotency-Key: "), "{problem}");
        }
    }
}
