//! `send_notification`: tells people. The `action_target` says where: one file for each, one line in [`target`].
//!
//! A chat's webhook is an address that lets whoever knows it post, so it is treated as a secret: of `url` only scheme,
//! host and port reach the log, a result or an error. Such webhooks cannot tell a repetition from a second message;
//! the inbox of this server can.

mod in_app;
mod slack;
mod teams;

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_actors::ports::integration::Integration;
use core314_actors::ports::notifications::Inbox;
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::api_call::IDEMPOTENCY_KEY;
use super::client::{Call, HttpClient, Statuses, invalid};
use super::connect::Address;
use super::failure::Code;
use super::payload::{Reader, Reading};
use super::redact::Redactor;

/// The credential that is the address of a chat's webhook.
const WEBHOOK_URL: &str = "webhook_url";
/// The words of [`target`].
const TARGETS: [&str; 3] = ["slack", "teams", "in_app"];

/// What each target's integrations are called: as the target itself.
const KINDS: [&Kind; 2] = [&slack::KIND, &teams::KIND];

/// Where a message goes.
enum Place {
    /// To a provider that takes messages by a webhook.
    Webhook(Provider),
    /// Into a user's inbox on this server.
    InApp,
}

/// A provider of incoming webhooks: how its messages are read from a payload, and what its answers mean.
struct Provider {
    read: fn(&mut Reader<'_>) -> Message,
    /// Judges the output of an exchange whose status is a success.
    judge: fn(Value) -> Result<Value, Failure>,
}

/// What is posted, and the most bytes of it that the provider takes, where it says so.
struct Message {
    body: Value,
    max_bytes: Option<usize>,
}

/// The target of this word; a problem that lists them all where there is none.
fn target(word: &str) -> Result<Place, Vec<Problem>> {
    match word {
        "slack" => Ok(Place::Webhook(slack::PROVIDER)),
        "teams" => Ok(Place::Webhook(teams::PROVIDER)),
        "in_app" => Ok(Place::InApp),
        _ => {
            let known = TARGETS.join(", ");
            let message = format!("action_target '{word}' is neither one of: {known}, nor an integration");
            Err(vec![Problem::new("", message)])
        }
    }
}

/// Sends notifications.
pub struct SendNotification {
    http: Arc<HttpClient>,
    inbox: Arc<dyn Inbox>,
}

impl SendNotification {
    /// An executor that shares a client, and delivers into these inboxes.
    pub fn new(http: Arc<HttpClient>, inbox: Arc<dyn Inbox>) -> Self {
        Self { http, inbox }
    }
}

impl Executor for SendNotification {
    fn action_type(&self) -> &'static str {
        "send_notification"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &KINDS
    }

    /// Those who read the channel see that it was tried.
    fn test_payload(&self, integration: &Integration) -> Option<Value> {
        let text = format!("Core314 reaches this channel: a test of the integration {}.", integration.name);
        KINDS.iter().any(|kind| kind.word == integration.kind).then(|| json!({"text": text}))
    }

    /// A notification in an inbox is a row of this server's store.
    fn takes_secrets(&self, target: &str) -> bool {
        target != "in_app"
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let word = to.integration.map_or(to.word, |integration| &integration.kind);
        let problems = target(word).and_then(|place| match place {
            Place::Webhook(provider) => provider.call(payload, Reading::Document, Address::of_target(to)).map(drop),
            Place::InApp => in_app::read(payload, Reading::Document).map(drop),
        });
        problems.err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::with_secret_url(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, inbox) = (self.http.clone(), self.inbox.clone());
        Box::pin(async move {
            let redactor = Redactor::of_secret_url(&attempt);
            let connection = attempt.connection.as_deref();
            let outcome = match target(connection.map_or(&attempt.action_target, |c| c.kind.word)) {
                Ok(Place::Webhook(provider)) => {
                    let address = Address::of_credential(connection, WEBHOOK_URL);
                    let call = provider.call(&attempt.payload, Reading::Rendered, address).map(|call| {
                        let mut call = call.expect("a rendered payload without problems has a URL");
                        let key = HeaderValue::from_str(&attempt.idempotency_key()).expect("an id is visible ASCII");
                        call.headers.insert(IDEMPOTENCY_KEY, key);
                        call
                    });
                    return http.perform_with(&attempt, call, &redactor, provider.judge).await;
                }
                Ok(Place::InApp) => in_app::deliver(inbox.as_ref(), &attempt).await,
                Err(problems) => Err(invalid(&problems)),
            };
            let outcome = outcome.map_or_else(Outcome::Failed, |output| Outcome::Completed(Arc::new(output)));
            Performed { outcome, logged_payload: redactor.logged_payload(), http: None }
        })
    }
}

impl Provider {
    /// The request of a payload; `None` when it is right as far as can be seen before it is rendered.
    fn call(&self, payload: &Value, reading: Reading, address: Address<'_>) -> Result<Option<Call>, Vec<Problem>> {
        let mut reader = match Reader::new(payload, reading) {
            Ok(reader) => reader,
            Err(problems) if problems.is_empty() => return Ok(None),
            Err(problems) => return Err(problems),
        };
        let url = address.read(&mut reader, reading);
        let message = (self.read)(&mut reader);
        let body = message.body.to_string().into_bytes();
        // Templates may become longer or shorter.
        let bytes = body.len();
        if let Some(most) = message.max_bytes.filter(|most| reading == Reading::Rendered && bytes > *most) {
            reader.problem(&[], format!("the message has {bytes} bytes as JSON, at most {most} are taken"));
        }
        if !reader.problems.is_empty() {
            return Err(reader.problems);
        }
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let expected = vec![Statuses::SUCCESS];
        Ok(url.map(|url| Call { method: Method::POST, url, headers, body, expected, follow_redirects: false }))
    }
}

/// What is kept of a provider's answer: its headers tell nothing that a later step could use.
fn kept(mut output: Value) -> Value {
    json!({"status": output["status"].take(), "body": output["body"].take()})
}

/// An answer that is none of those which the provider documents.
fn unexpected(output: &Value) -> Failure {
    let body = output["body"].as_str().map_or_else(|| output["body"].to_string(), str::to_owned);
    Code::UnexpectedAnswer.failure(format!("{}: {body}", output["status"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_actors::testkit::memory_inbox::MemoryInbox;

    fn problems(word: &str, payload: &Value) -> Vec<String> {
        let problems = target(word).and_then(|target| match target {
            Place::Webhook(provider) => provider.call(payload, Reading::Document, Address::InPayload).map(drop),
            Place::InApp => in_app::read(payload, Reading::Document).map(drop),
        });
        problems.err().unwrap_or_default().into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn every_target_is_known_and_another_names_them() {
        for word in TARGETS {
            assert!(target(word).is_ok(), "{word}");
            let problems = problems(word, &json!({}));
            assert!(!problems.is_empty(), "{word} needs something");
        }
        for word in ["slak", "", "Slack", "fax"] {
            let expected =
                format!(": action_target '{word}' is neither one of: slack, teams, in_app, nor an integration");
            assert_eq!(problems(word, &json!({"text": "x"})), [expected]);
        }
    }

    #[test]
    fn templates_can_become_anything() {
        for word in TARGETS {
            assert_eq!(problems(word, &json!("{{ trigger.message }}")), [] as [String; 0], "{word}");
        }
    }

    #[tokio::test]
    async fn the_address_of_a_webhook_is_not_logged() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let config: crate::config::Config =
            crate::config::Config::load(&crate::config::Inputs::default()).expect("the defaults hold");
        let settings: crate::executors::ExecutorSettings = config.section("executors").expect("a section");
        let http = Arc::new(HttpClient::new(settings.http, settings.outbound).expect("a client"));
        let executor = SendNotification::new(http, Arc::new(MemoryInbox::default()));
        let logged = executor.logged(&Arc::new(json!({"url": "https://h.example/planted/path", "text": "x"})));
        assert_eq!(*logged, json!({"url": "https://h.example/[redacted]", "text": "x"}));
    }
}
