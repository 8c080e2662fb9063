//! A conversation with a service's API during one attempt: several exchanges below one endpoint, within the attempt's time.
//!
//! Parts of paths that come from payloads are encoded, so that none leads elsewhere than it says. The figures in the log
//! are those of the last exchange.
//!
//! Each request says where it stands in the trace of its run. What changes something has an idempotency key, the same in all
//! attempts; what only asks has none, since an answer that was given before would be no answer.

use std::time::Instant;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Connection, Performed};
use core314_domain::log::{Failure, HttpFigures};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use super::api_call::{IDEMPOTENCY_KEY, TRACEPARENT, trace_of};
use super::client::{Call, HttpClient, Statuses, performed};
use super::failure::Code;
use super::redact::Redactor;

/// What a service is asked for, in a while.
pub type Performing<'a> = BoxFuture<'a, Result<Value, Failure>>;

/// A question that changes nothing with the service: what its integrations are tested by.
pub type Inquiry = for<'a> fn(&'a mut Service<'_>, &'a Connection) -> Performing<'a>;

/// Asks the service of an attempt's integration its kind's question, or says why there is none.
pub async fn probe(http: &HttpClient, attempt: &Attempt, found: Result<(&Connection, Inquiry), Failure>) -> Performed {
    let (mut redactor, mut figures) = (Redactor::of(attempt), None);
    let service = found.and_then(|(connection, question)| {
        let service = Service::new(http, attempt, connection)?;
        Ok((service, connection, question))
    });
    let outcome = match service {
        Ok((mut service, connection, question)) => {
            let outcome = question(&mut service, connection).await;
            (redactor, figures) = (service.redactor, service.figures);
            outcome
        }
        Err(failure) => Err(failure),
    };
    performed(outcome, &redactor, figures)
}

/// Exchanges of one attempt with one service.
pub struct Service<'a> {
    http: &'a HttpClient,
    pub redactor: Redactor,
    endpoint: Url,
    headers: HeaderMap,
    keys: Keys,
    until: Instant,
    pub figures: Option<HttpFigures>,
}

/// A request to a service.
pub struct Ask<'a> {
    pub method: Method,
    /// Below the endpoint, part by part, each as it is.
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub body: Body<'a>,
    /// Whether it changes something with the service.
    pub is_deed: bool,
}

/// What a request brings.
pub enum Body<'a> {
    None,
    Json(&'a Value),
    Form(&'a [(&'a str, &'a str)]),
}

impl<'a> Ask<'a> {
    pub const fn get(path: &'a [&'a str], query: &'a [(&'a str, &'a str)]) -> Self {
        Self { method: Method::GET, path, query, body: Body::None, is_deed: false }
    }

    pub const fn send(method: Method, path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method, path, query: &[], body: Body::Json(body), is_deed: true }
    }

    /// A question that is too long for an address: a POST that changes nothing.
    pub const fn question(path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method: Method::POST, path, query: &[], body: Body::Json(body), is_deed: false }
    }
}

/// The idempotency keys of an attempt's requests: the first that changes something has the key of the execution, each further
/// one has that with its number, because it is another deed. Attempts do them in the same order.
struct Keys {
    key: String,
    deeds: u32,
}

impl Keys {
    fn next(&mut self, ask: &Ask<'_>) -> Option<HeaderValue> {
        if !ask.is_deed {
            return None;
        }
        self.deeds += 1;
        let key = if self.deeds == 1 { self.key.clone() } else { format!("{}-{}", self.key, self.deeds) };
        Some(HeaderValue::from_str(&key).expect("an id is visible ASCII"))
    }
}

/// What every request of an attempt begins with.
fn head(attempt: &Attempt) -> HeaderMap {
    HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/json")),
        (HeaderName::from_static(TRACEPARENT), trace_of(attempt)),
    ])
}

impl<'a> Service<'a> {
    /// A conversation with the service that an attempt's integration names.
    pub fn new(http: &'a HttpClient, attempt: &Attempt, connection: &Connection) -> Result<Self, Failure> {
        let unusable = |why: String| Code::InvalidPayload.failure(why);
        let text = connection.endpoint.as_deref();
        let text = text.ok_or_else(|| unusable(format!("the integration '{}' has no endpoint", connection.name)))?;
        let endpoint = Url::parse(text).ok().filter(|url| url.has_host() && !url.cannot_be_a_base());
        let endpoint = endpoint.ok_or_else(|| unusable(format!("the endpoint '{text}' is no URL")))?;
        let keys = Keys { key: attempt.idempotency_key(), deeds: 0 };
        let (headers, until) = (head(attempt), Instant::now() + attempt.timeout);
        Ok(Self { http, redactor: Redactor::of(attempt), endpoint, headers, keys, until, figures: None })
    }

    /// A header of every request. A value that is secret is marked so by the caller's redactor already.
    pub fn header(&mut self, name: HeaderName, value: &str) -> Result<(), Failure> {
        let value = HeaderValue::from_str(value.trim());
        // The value may be a secret, so it is not repeated.
        let message = || format!("what the header {name} needs has a character that no header can have");
        let mut value = value.map_err(|_| Code::InvalidPayload.failure(message()))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// What the service answers: `{status, headers, body}`. A status outside 2xx is a failure.
    pub async fn ask(&mut self, ask: Ask<'_>) -> Result<Value, Failure> {
        self.ask_expecting(ask, &[Statuses::SUCCESS]).await
    }

    /// The same where other statuses are answers too.
    pub async fn ask_expecting(&mut self, ask: Ask<'_>, expected: &[Statuses]) -> Result<Value, Failure> {
        let mut url = self.endpoint.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let mut headers = self.headers.clone();
        if let Some(key) = self.keys.next(&ask) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        let (body, content_type) = match ask.body {
            Body::None => (Vec::new(), None),
            Body::Json(value) => (value.to_string().into_bytes(), Some("application/json")),
            Body::Form(pairs) => (form(pairs.iter().copied()), Some("application/x-www-form-urlencoded")),
        };
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let expected = expected.to_vec();
        let call = Call { method: ask.method, url, headers, body, expected, follow_redirects: false };
        let left = self.until.saturating_duration_since(Instant::now());
        self.http.fetch(call, left, &self.redactor, &mut self.figures).await
    }
}

/// Pairs as a form has them: the encoding of query strings is that of forms.
pub fn form<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    let mut scratch = Url::parse("http://form/").expect("a constant URL");
    scratch.query_pairs_mut().extend_pairs(pairs);
    scratch.query().unwrap_or_default().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use core314_domain::ids::{Owner, RunId, UserId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_changes_something_has_a_key_that_all_attempts_share() {
        let run = RunId(Uuid::from_u128(7 << 20));
        let attempt = |no: u32| Attempt {
            owner: Owner::new(UserId(Uuid::from_u128(1)), None),
            run,
            step: 0,
            execution: run.execution(0),
            key: None,
            attempt: no,
            action_target: "jira".into(),
            connection: None,
            source: None,
            payload: Arc::default(),
            secrets: Arc::default(),
            timeout: Duration::from_secs(1),
        };
        let keys = |no: u32| {
            let nothing = Value::Null;
            let mut keys = Keys { key: attempt(no).idempotency_key(), deeds: 0 };
            let asks = [
                Ask::question(&["search"], &nothing),
                Ask::send(Method::PUT, &["issue"], &nothing),
                Ask::get(&["issue"], &[]),
                Ask::send(Method::POST, &["transitions"], &nothing),
            ];
            asks.map(|ask| keys.next(&ask).map(|key| key.to_str().expect("a text").to_owned()))
        };
        let id = run.execution(0).to_string();
        assert_eq!(keys(0), [None, Some(id.clone()), None, Some(format!("{id}-2"))]);
        assert_eq!(keys(0), keys(3));
        let trace = |no: u32| head(&attempt(no))[TRACEPARENT].clone();
        assert_eq!(trace(0).to_str().expect("a text"), attempt(0).trace().to_string());
        assert_ne!(trace(0), trace(1), "each attempt has a span of its own");
    }
}
