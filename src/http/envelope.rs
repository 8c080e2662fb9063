//! What every request and every answer has in common, around all handlers: the request's id, the security headers, the
//! problem document of an error, and the count.
//!
//! - A request is part of the trace that its `traceparent` names, else of a new one; its log lines say which.
//! - An answer always carries `X-Request-Id`: the client's own where it sent a usable one.
//! - Secrets in paths, of webhooks and of links that acknowledge or verify, reach neither log nor answer.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use core314_domain::trace::TraceContext;
use serde_json::Value;
use tracing::Instrument;
use tracing::field::Empty;

use super::client::Client;
use super::operations::HttpMetrics;
use super::problem::Problem;
use super::{Shared, State, cors};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const MAX_REQUEST_ID_BYTES: usize = 128;
/// When somebody who found too many here may come back.
const BUSY_SECONDS: u64 = 1;

/// Nothing here is ever shown inside another page, run as a script, or kept by a cache.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Wraps every handler.
pub async fn envelope(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let metrics = req.app_data::<web::Data<HttpMetrics>>().cloned();
    let state = req.app_data::<Shared>().expect("every server is configured with one").clone();
    let client = Client::find(&req, &state.settings.trusted_proxies, state.settings.forwarded_by);
    let origin = cors::allowed(&state.settings.cors_origins, req.headers()).cloned();
    let address = client.address.map(tracing::field::display);
    let parent = traceparent(req.headers());
    let trace = parent.map_or_else(|| rand::random::<u128>().max(1), |parent| parent.trace);
    let fresh = || if parent.is_some() { rand::random() } else { trace };
    let request_id = request_id(req.headers()).unwrap_or_else(|| format!("{:032x}", fresh()));
    let instance = masked(req.path());
    let is_function = req.path().starts_with("/functions/");
    let span = tracing::info_span!(
        "request",
        %request_id,
        trace_id = %format_args!("{trace:032x}"),
        parent_id = parent.map(|parent| tracing::field::display(format!("{:016x}", parent.span))),
        sampled = parent.filter(|parent| !parent.is_sampled).map(|_| false),
        client = address,
        method = %req.method(),
        path = %instance,
        run_id = Empty,
        route = Empty,
        status = Empty,
    );
    let answered = answer(req, next, &state, origin.is_some()).instrument(span.clone()).await?;
    let mut answered = match problem_of(&answered) {
        Some(problem) => {
            let response = write(&problem, &instance, &request_id, is_function);
            ServiceResponse::new(answered.into_parts().0, response)
        }
        None => answered,
    };
    for (name, value) in SECURITY_HEADERS {
        answered.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(value) = strict_transport_security(&client, state.settings.tls.hsts_seconds) {
        answered.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    if !state.settings.cors_origins.is_empty() {
        cors::write(answered.headers_mut(), origin);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        answered.headers_mut().insert(REQUEST_ID, value);
    }
    let status = answered.status();
    let route = answered.request().match_pattern();
    if let Some(metrics) = metrics {
        metrics.count(route.as_deref(), answered.request().method(), status, started.elapsed());
    }
    span.record("route", route.as_deref()).record("status", status.as_u16());
    span.in_scope(|| tracing::debug!("answered"));
    Ok(answered)
}

/// Answers what needs no handler: a page that asks what it may send, and whoever comes while too many are here. Those who
/// run the process are always let in, because then they want to know why.
async fn answer(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    state: &State,
    is_allowed_origin: bool,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if is_allowed_origin && cors::is_preflight(req.method(), req.headers()) {
        return Ok(req.into_response(cors::preflight()));
    }
    let _permit = match state.in_flight.try_acquire() {
        Ok(permit) => Some(permit),
        Err(_) if ["/healthz", "/readyz", "/metrics"].contains(&req.path()) => None,
        Err(_) => return Ok(req.error_response(Problem::Busy { retry_after_seconds: BUSY_SECONDS })),
    };
    Ok(next.call(req).await?.map_into_boxed_body())
}

/// The problem that a handler returned. What the framework itself refuses becomes one of ours.
fn problem_of(answered: &ServiceResponse) -> Option<Problem> {
    let error = answered.response().error()?;
    if let Some(problem) = error.as_error::<Problem>() {
        return Some(problem.clone());
    }
    if error.as_response_error().status_code().is_client_error() {
        return Some(Problem::MalformedRequest(error.to_string()));
    }
    tracing::error!(%error, "a request failed for an unforeseen reason");
    Some(Problem::Internal)
}

fn write(problem: &Problem, instance: &str, request_id: &str, is_function: bool) -> HttpResponse {
    let mut body = problem.body(instance, request_id);
    if is_function {
        body.insert("success".to_owned(), Value::Bool(false));
        body.insert("error".to_owned(), problem.to_string().into());
    }
    let mut response = HttpResponse::build(problem.kind().status());
    if let Some(header) = problem.extra_header() {
        response.insert_header(header);
    }
    response.content_type("application/problem+json").body(Value::Object(body).to_string())
}

/// Where in somebody else's trace the request stands. What is not to the letter, or given twice, is passed over.
fn traceparent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT);
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceContext::parse(value.to_str().ok()?)
}

/// The client's own, if it is usable.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(REQUEST_ID).map(HeaderValue::as_bytes);
    let usable = given
        .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic))
        .and_then(|id| std::str::from_utf8(id).ok());
    usable.map(str::to_owned)
}

/// Only over TLS: in the clear the header could be anybody's, and browsers pass over it (RFC 6797, section 7.2).
fn strict_transport_security(client: &Client, seconds: u64) -> Option<HeaderValue> {
    let is_wanted = seconds > 0 && client.is_secure;
    is_wanted.then(|| HeaderValue::from_str(&format!("max-age={seconds}")).ok()).flatten()
}

/// The path, without the secret that a webhook's path ends with, or the token of a link that acknowledges or verifies.
fn masked(path: &str) -> String {
    let token = ["/api/v1/ack/", "/api/v1/verify/"].into_iter().find(|before| path.starts_with(before));
    let shown = match path.strip_prefix("/hooks/").and_then(|rest| rest.split_once('/')) {
        Some((webhook, _)) => format!("/hooks/{webhook}/***"),
        None => token.map_or_else(|| path.to_owned(), |before| format!("{before}***")),
    };
    shown.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: Option<&[u8]>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(bytes) = given {
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(bytes).unwrap());
        }
        request_id(&headers)
    }

    #[test]
    fn a_usable_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(id_for(Some(b"abc-123")).expect("usable"), "abc-123");
        assert_eq!(id_for(Some(&[b'x'; 128])).expect("usable").len(), 128);
        for bad in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(id_for(Some(bad)), None, "{bad:?}");
        }
        assert_eq!(id_for(None), None);
    }

    #[test]
    fn the_secret_of_a_webhook_is_masked() {
        assert_eq!(masked("/hooks/0192/hush"), "/hooks/0192/***");
        assert_eq!(masked("/hooks/0192/hush/"), "/hooks/0192/***");
        assert_eq!(masked("/api/v1/ack/hush"), "/api/v1/ack/***");
        assert_eq!(masked("/api/v1/verify/hush"), "/api/v1/verify/***");
        assert_eq!(masked("/api/v1/flows"), "/api/v1/flows");
    }
}
