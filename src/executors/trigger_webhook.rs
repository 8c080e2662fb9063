//! `trigger_webhook`: tells a URL that something happened, signed as Standard Webhooks asks.
//!
//! The payload's keys are the message, except for `url`, `headers` and `secret`. A redirect is not followed: the
//! standard counts it as a failure, because whoever registered the URL should mend it.

mod signature;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_domain::Json;
use core314_domain::integration::{Endpoint, Field, Kind};
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::api_call::{IDEMPOTENCY_KEY, TRACEPARENT, read_headers};
use super::client::{Call, HttpClient, Statuses};
use super::connect::{Address, http};
use super::payload::{Reader, Reading};
use super::redact::Redactor;
use signature::Key;

/// Keys of the payload that are not part of the message.
const OWN_KEYS: [&str; 3] = ["url", "headers", "secret"];
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// A receiver of signed messages.
const KIND: Kind = Kind {
    word: "webhook",
    about: "A receiver of messages as Standard Webhooks defines them.",
    endpoint: Some(Endpoint::HTTP),
    credentials: &[Field::optional("signing_secret", "signs the messages: 24 to 64 bytes in base64")],
    settings: &[],
    check: |definition| http::endpoint_problem(definition).into_iter().collect(),
};

/// Sends messages to webhooks.
#[derive(Debug)]
pub struct TriggerWebhook {
    http: Arc<HttpClient>,
}

impl TriggerWebhook {
    /// An executor that shares a client.
    pub fn new(http: Arc<HttpClient>) -> Self {
        Self { http }
    }
}

impl Executor for TriggerWebhook {
    fn action_type(&self) -> &'static str {
        "trigger_webhook"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &[&KIND]
    }

    fn trial(&self, integration: &Integration) -> Option<Trial> {
        (integration.kind == KIND.word).then(|| Trial::Action(json!({"type": "core314.test"})))
    }

    fn check(&self, target: &Target<'_>, payload: &Value) -> Vec<Problem> {
        read(payload, Reading::Document, Address::of_target(target), None).err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let http = self.http.clone();
        Box::pin(async move {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let connection = attempt.connection.as_deref();
            let secret = connection.and_then(|connection| connection.credential("signing_secret"));
            let call = read(&attempt.payload, Reading::Rendered, Address::of_endpoint(connection), secret);
            let call = call.map(|delivery| {
                let delivery = delivery.expect("a rendered payload without problems has a URL");
                Delivery { previous: previous_key(&attempt), ..delivery }.call(&attempt, now_s)
            });
            http.perform(&attempt, call).await
        })
    }
}

/// A message and where it goes.
struct Delivery {
    url: reqwest::Url,
    headers: HeaderMap,
    key: Option<Key>,
    /// The key before it, as long as receivers may still know that one.
    previous: Option<Key>,
    body: Vec<u8>,
}

/// The key that was replaced and is still good; it has no say where the payload brings a key of its own.
fn previous_key(attempt: &Attempt) -> Option<Key> {
    let is_own = attempt.payload.get("secret").is_some_and(|secret| !secret.is_null());
    let secret = attempt.connection.as_ref()?.previous("signing_secret").filter(|_| !is_own)?;
    // What never was a key has signed nothing that a receiver would know.
    Key::parse(secret).ok()
}

impl Delivery {
    /// The request of one attempt: the id is the same in all of them, the time is the attempt's.
    fn call(self, attempt: &Attempt, now_s: u64) -> Call {
        let key = attempt.idempotency_key();
        let id = format!("msg_{key}");
        let Self { url, mut headers, key: signing_key, previous, body } = self;
        // The standard takes a list: a receiver needs to know one of the keys.
        let keys = [signing_key, previous].into_iter().flatten();
        let signatures: Vec<String> = keys.map(|key| key.sign(&id, now_s, &body)).collect();
        let mut insert = |name: &'static str, value: &str| {
            headers.insert(name, HeaderValue::from_str(value).expect("ids, numbers and base64 are visible ASCII"));
        };
        insert(ID, &id);
        insert(TIMESTAMP, &now_s.to_string());
        insert(IDEMPOTENCY_KEY, &key);
        if !signatures.is_empty() {
            insert(SIGNATURE, &signatures.join(" "));
        }
        let trace = HeaderValue::from_str(&attempt.trace().to_string()).expect("digits are visible ASCII");
        headers.entry(TRACEPARENT).or_insert(trace);
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let expected = vec![Statuses::SUCCESS];
        Call { method: Method::POST, url, headers, body, expected, follow_redirects: false }
    }
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
fn read(
    payload: &Value,
    reading: Reading,
    address: Address<'_>,
    secret: Option<&str>,
) -> Result<Option<Delivery>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    let url = address.read(&mut reader, reading);
    let headers = read_headers(&mut reader, &[ID, TIMESTAMP, SIGNATURE, IDEMPOTENCY_KEY]);
    let key = match reader.text("secret").or(secret).map(Key::parse) {
        Some(Ok(key)) => Some(key),
        Some(Err(error)) => {
            reader.problem(&["secret"], error.to_string());
            None
        }
        None => None,
    };
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let message: Map<String, Value> = payload
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let body = Value::Object(message).to_string().into_bytes();
    Ok(url.map(|url| Delivery { url, headers, key, previous: None, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(payload: &Value) -> Vec<String> {
        let problems = read(payload, Reading::Document, Address::InPayload, None).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn every_other_key_is_the_message() {
        let payload = json!({"url": "http://127.0.0.1:9/hook", "title": "Follow up", "secret": null, "body": {"a": 1}});
        let delivery =
            read(&payload, Reading::Rendered, Address::InPayload, None).ok().flatten().expect("a good payload");
        assert_eq!(delivery.body, br#"{"body":{"a":1},"title":"Follow up"}"#);
        assert!(delivery.key.is_none());
    }

    #[test]
    fn an_integration_brings_address_and_secret() {
        let address = Address::At("http://127.0.0.1:9/hook");
        let secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let delivery = read(&json!({"a": 1}), Reading::Rendered, address, secret).expect("sound").expect("a delivery");
        assert_eq!(delivery.url.as_str(), "http://127.0.0.1:9/hook");
        assert!(delivery.key.is_some());
        let own = json!({"a": 1, "url": "http://127.0.0.1:9/other"});
        let problems = read(&own, Reading::Document, Address::Elsewhere, None).err().expect("refused");
        assert_eq!(problems[0].message, "is the integration's: leave it out");
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        assert_eq!(problems(&json!({"title": "x"})), ["/url: is required"]);
        assert_eq!(
            problems(&json!({"url": "{{ trigger.url }}", "secret": "c2hvcnQ=", "headers": {"Webhook-Id": "1"}})),
            [
                "/headers/Webhook-Id: is set by the delivery itself",
                "/secret: must hold 24 to 64 bytes in base64, after 'whsec_' or alone; holds 5",
            ]
        );
        assert_eq!(problems(&json!("{{ trigger }}")), Vec::<String>::new());
        assert_eq!(
            problems(&json!({"url": "{{ a }}", "secret": "{{ b }}", "headers": "{{ c }}"})),
            Vec::<String>::new()
        );
    }
}
