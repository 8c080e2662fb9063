//! Errors as clients see them: RFC 9457, `application/problem+json`.
//!
//! A handler returns a [`Problem`]; the envelope around all handlers writes it out, because only there the request's id
//! is at hand. What stands in a problem is for the caller: no trace, no SQL, nothing of another tenant.

mod field;
mod from_engine;
mod kind;

use std::sync::Arc;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use core314_actors::ingress::WhyNot;
use core314_domain::plan::Problem as DocumentProblem;
use serde_json::{Map, Value, json};

pub use field::{FieldError, Place};
pub use kind::Kind;

/// Why a request was not done. The text of a variant is the `detail`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    MalformedBody(String),
    #[error("{0}")]
    MalformedRequest(String),
    /// `invalid`: credentials were given, and are no good.
    #[error("{detail}")]
    Unauthenticated { detail: String, invalid: bool },
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("no active flow's trigger and conditions match{}", reasons(.0))]
    NoMatchingFlow(Vec<WhyNot>),
    #[error("{method} is not possible here; possible are: {allow}")]
    MethodNotAllowed { method: String, allow: Arc<str> },
    #[error("the request's body did not arrive within {timeout_ms} ms")]
    RequestTimeout { timeout_ms: u64 },
    #[error("there is another one of this name: choose a different name, or change the other one")]
    NameTaken,
    #[error("flow '{0}' is not active: activate it, then send the trigger again")]
    FlowInactive(String),
    #[error("this idempotency key was used for another request: use a new key")]
    IdempotencyKeyReused,
    #[error("{0}")]
    LimitReached(String),
    #[error("{0}")]
    Conflict(String),
    #[error("it was changed by somebody else: read it again and repeat your change")]
    PreconditionFailed,
    #[error("the body has more than {limit_bytes} bytes")]
    PayloadTooLarge { limit_bytes: usize },
    #[error("the body must be {expected}, not {found}")]
    UnsupportedMediaType { expected: &'static str, found: String },
    #[error("{}", field::summary(.0))]
    InvalidRequest(Vec<FieldError>),
    #[error("{}", document_summary(.0))]
    InvalidFlow(Vec<DocumentProblem>),
    #[error("the conditions of flow '{flow}' cannot be evaluated on this trigger: {message}")]
    ConditionError { flow: String, message: String },
    #[error("there were too many requests: come back in {retry_after_seconds} s")]
    RateLimited { retry_after_seconds: u64 },
    #[error("the server could not do this; its log says why, under the request's id")]
    Internal,
    #[error("the runtime cannot take more work just now: come back in {retry_after_seconds} s")]
    Busy { retry_after_seconds: u64 },
    #[error("the keys that verify user tokens cannot be read just now: come back in {retry_after_seconds} s")]
    KeysUnavailable { retry_after_seconds: u64 },
    #[error("the tenant has as many streams open as it may: close one, or come back in {retry_after_seconds} s")]
    TooManyStreams { retry_after_seconds: u64 },
    #[error("the store cannot be reached just now: come back in {retry_after_seconds} s")]
    StoreUnavailable { retry_after_seconds: u64 },
    #[error("the installation is paused: nothing goes on until a person runs `core314 store resume` on its machine")]
    Paused { retry_after_seconds: u64 },
    #[error(
        "this node is on standby: another node has the partitions; ask that one, or come back in {retry_after_seconds} s"
    )]
    Standby { retry_after_seconds: u64 },
}

impl Problem {
    /// One field of the body is wrong.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        Self::InvalidRequest(vec![FieldError::body(name, message)])
    }

    /// One header is wrong.
    pub fn header(name: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidRequest(vec![FieldError { place: Place::Header(name), message: message.into() }])
    }

    /// There is no such row, or it belongs to somebody else: the same answer.
    pub fn no_row(what: &str) -> Self {
        Self::NotFound(format!("there is no such {what}"))
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::MalformedBody(_) => Kind::MalformedBody,
            Self::MalformedRequest(_) => Kind::MalformedRequest,
            Self::Unauthenticated { .. } => Kind::Unauthenticated,
            Self::Forbidden(_) => Kind::Forbidden,
            Self::NotFound(_) => Kind::NotFound,
            Self::NoMatchingFlow(_) => Kind::NoMatchingFlow,
            Self::MethodNotAllowed { .. } => Kind::MethodNotAllowed,
            Self::RequestTimeout { .. } => Kind::RequestTimeout,
            Self::NameTaken => Kind::NameTaken,
            Self::FlowInactive(_) => Kind::FlowInactive,
            Self::IdempotencyKeyReused => Kind::IdempotencyKeyReused,
            Self::LimitReached(_) => Kind::LimitReached,
            Self::Conflict(_) => Kind::Conflict,
            Self::PreconditionFailed => Kind::PreconditionFailed,
            Self::PayloadTooLarge { .. } => Kind::PayloadTooLarge,
            Self::UnsupportedMediaType { .. } => Kind::UnsupportedMediaType,
            Self::InvalidRequest(_) => Kind::InvalidRequest,
            Self::InvalidFlow(_) => Kind::InvalidFlow,
            Self::ConditionError { .. } => Kind::ConditionError,
            Self::RateLimited { .. } => Kind::RateLimited,
            Self::Internal => Kind::Internal,
            Self::Busy { .. } => Kind::Busy,
            Self::KeysUnavailable { .. } => Kind::KeysUnavailable,
            Self::TooManyStreams { .. } => Kind::TooManyStreams,
            Self::StoreUnavailable { .. } => Kind::StoreUnavailable,
            Self::Paused { .. } => Kind::Paused,
            Self::Standby { .. } => Kind::Standby,
        }
    }

    /// The body, as the request at `instance` gets it.
    pub fn body(&self, instance: &str, request_id: &str) -> Map<String, Value> {
        let kind = self.kind();
        let mut body = Map::new();
        body.insert("type".to_owned(), kind.address().into());
        body.insert("title".to_owned(), kind.title().into());
        body.insert("status".to_owned(), kind.status().as_u16().into());
        body.insert("detail".to_owned(), self.to_string().into());
        body.insert("instance".to_owned(), instance.into());
        body.insert("code".to_owned(), kind.code().into());
        body.insert("request_id".to_owned(), request_id.into());
        match self {
            Self::InvalidRequest(errors) => drop(body.insert("errors".to_owned(), json!(errors))),
            Self::InvalidFlow(problems) => drop(body.insert("errors".to_owned(), json!(problems))),
            Self::NoMatchingFlow(why_not) => drop(body.insert("why_not".to_owned(), json!(why_not))),
            _ => {}
        }
        body
    }

    /// The header that HTTP itself wants beside the status.
    pub fn extra_header(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            Self::Unauthenticated { invalid: false, .. } => {
                (header::WWW_AUTHENTICATE, r#"Bearer realm="core314""#.to_owned())
            }
            Self::Unauthenticated { invalid: true, .. } => {
                (header::WWW_AUTHENTICATE, r#"Bearer realm="core314", error="invalid_token""#.to_owned())
            }
            Self::MethodNotAllowed { allow, .. } => (header::ALLOW, allow.to_string()),
            Self::RateLimited { retry_after_seconds }
            | Self::Busy { retry_after_seconds }
            | Self::KeysUnavailable { retry_after_seconds }
            | Self::TooManyStreams { retry_after_seconds }
            | Self::StoreUnavailable { retry_after_seconds }
            | Self::Paused { retry_after_seconds }
            | Self::Standby { retry_after_seconds } => (header::RETRY_AFTER, retry_after_seconds.to_string()),
            _ => return None,
        };
        HeaderValue::from_str(&value).ok().map(|value| (name, value))
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind().status()
    }

    /// A bare answer: the envelope writes the body.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

fn reasons(why_not: &[WhyNot]) -> String {
    let each = why_not.iter().map(|w| format!("; flow '{}' asks for {}", w.flow_name, w.clause));
    let text: String = each.collect();
    field::shortened(&text)
}

fn document_summary(problems: &[DocumentProblem]) -> String {
    match problems {
        [] => "the document cannot be used".to_owned(),
        [only] => format!("at '{}': {}", only.pointer, only.message),
        [first, rest @ ..] => format!("at '{}': {} (and {} more)", first.pointer, first.message, rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_the_contract() {
        let body = Value::Object(Problem::field("hours", "must be a number").body("/api/v1/x", "r-1"));
        assert_eq!(
            body,
            json!({
                "type": "/problems/invalid-request", "title": "The request does not make sense", "status": 422,
                "detail": "/hours: must be a number", "instance": "/api/v1/x", "code": "invalid_request",
                "request_id": "r-1", "errors": [{"pointer": "/hours", "message": "must be a number"}],
            })
        );
    }

    #[test]
    fn statuses_that_need_a_header_have_it() {
        let header = |problem: Problem| problem.extra_header().map(|(name, value)| format!("{name}: {value:?}"));
        let unauthenticated = |invalid| Problem::Unauthenticated { detail: String::new(), invalid };
        assert_eq!(header(unauthenticated(false)).expect("present"), r#"www-authenticate: "Bearer realm=\"core314\"""#);
        assert!(header(unauthenticated(true)).expect("present").contains("invalid_token"));
        assert_eq!(header(Problem::Busy { retry_after_seconds: 3 }).expect("present"), r#"retry-after: "3""#);
        let allow = Problem::MethodNotAllowed { method: "PUT".to_owned(), allow: "GET, HEAD".into() };
        assert_eq!(header(allow).expect("present"), r#"allow: "GET, HEAD""#);
        assert_eq!(header(Problem::RateLimited { retry_after_seconds: 1 }).expect("present"), r#"retry-after: "1""#);
        assert_eq!(header(Problem::Internal), None);
    }
}
