//! Which pages of other origins may use the API from a browser (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! None by default. Origins are configured exactly; a wildcard is not possible. Credentials that a browser adds by itself
//! are never allowed: this API is opened by the Authorization header, which a page must hold and send on purpose.

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// The word for every page that this machine serves, on whatever port.
pub const LOCALHOST: &str = "localhost";

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// What clients of the API send.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, \
                               Prefer, X-Organization-Id, X-Request-Id, X-User-Id, traceparent, tracestate";
/// What clients of the API read.
const EXPOSED_HEADERS: &str = "ETag, Location, Preference-Applied, Retry-After, X-Request-Id";
/// How long a browser may remember the answer to a preflight.
const MAX_AGE_SECONDS: &str = "600";

/// The page's origin, if it may use the API.
pub fn allowed<'a>(origins: &[String], headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let value = headers.get(header::ORIGIN)?;
    let origin = value.to_str().ok()?;
    let is_allowed = |entry: &String| entry == origin || (entry == LOCALHOST && is_localhost(origin));
    origins.iter().any(is_allowed).then_some(value)
}

/// Whether a browser asks what it may send.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of an allowed origin, but for what every answer says.
pub fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS))
        .finish()
}

/// What every answer says where origins are configured: who may read it, and that it depends on who asks.
pub fn write(headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}

/// What is wrong with a configured origin.
pub fn problem(entry: &str) -> Option<String> {
    let host = entry.strip_prefix("https://").or_else(|| entry.strip_prefix("http://")).unwrap_or_default();
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(&byte);
    let is_origin = !host.is_empty() && host.bytes().all(is_host);
    (entry != LOCALHOST && !is_origin).then(|| {
        format!(
            "has '{entry}': an origin is https://HOST or https://HOST:PORT in lower case, without a \
             path and without *; `{LOCALHOST}` stands for all pages of this machine"
        )
    })
}

fn is_localhost(origin: &str) -> bool {
    let Some(rest) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .filter_map(|host| rest.strip_prefix(host))
        .any(|port| port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(origins: &[&str], origin: &str) -> bool {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        allowed(&origins, &headers).is_some()
    }

    #[test]
    fn an_origin_is_allowed_exactly_or_not_at_all() {
        let origins = ["https://app.example", "http://app.example:8080"];
        assert!(is_allowed(&origins, "https://app.example") && is_allowed(&origins, "http://app.example:8080"));
        for stranger in [
            "http://app.example",
            "https://app.example:443",
            "https://app.example.evil",
            "https://evil.app.example",
            "null",
            "*",
            "",
            "http://localhost",
        ] {
            assert!(!is_allowed(&origins, stranger), "{stranger}");
        }
        assert!(!is_allowed(&[], "https://app.example"));
    }

    #[test]
    fn localhost_is_every_port_of_this_machine_and_nothing_else() {
        for page in ["http://localhost", "http://localhost:5173", "https://127.0.0.1:1", "http://[::1]:3000"] {
            assert!(is_allowed(&[LOCALHOST], page), "{page}");
        }
        for stranger in ["http://localhost.evil", "http://localhost:5173.evil", "http://localhost:", "ftp://localhost"]
        {
            assert!(!is_allowed(&[LOCALHOST], stranger), "{stranger}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for good in ["https://app.example", "http://[::1]:80", "localhost"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["*", "https://*.example", "https://app.example/", "app.example", "https://", "https://App.example"]
        {
            assert!(problem(bad).is_some_and(|message| message.contains(bad)), "{bad}");
        }
    }
}
