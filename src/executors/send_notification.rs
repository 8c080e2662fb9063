//! `send_notification`: tells people. The `action_target` says where: one file for each, one line in [`target`].
//!
//! A chat's webhook is an address that lets whoever knows it post, so it is treated as a secret: of `url` only scheme,
//! host and port reach the log, a result or an error. Such webhooks cannot tell a repetition from a second message;
//! the inbox of this server can, and so can PagerDuty. What is reached by an API needs an integration, which opens it.

mod contact;
mod discord;
mod in_app;
mod letter;
mod pagerduty;
mod sendgrid;
mod slack;
mod slack_api;
mod smtp;
mod teams;
mod trial;
mod twilio;
mod webhook;

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Connection, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_actors::ports::notifications::Inbox;
use core314_domain::Json;
use core314_domain::integration::{Definition, Kind};
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::api_call::mark;
use super::client::{Call, HttpClient, Statuses, invalid, performed};
use super::connect::Address;
use super::failure::Code;
use super::payload::{Reader, Reading};
use super::redact::Redactor;
use super::service::{Performing, Service};
pub use contact::Reach;
use letter::Letter;

/// The credential that is the address of a chat's webhook.
const WEBHOOK_URL: &str = "webhook_url";
/// The words of [`target`].
const TARGETS: [&str; 12] = [
    "slack",
    "teams",
    "discord",
    "in_app",
    "system",
    "email",
    "smtp",
    "sendgrid",
    "pagerduty",
    "sms",
    "twilio",
    "webhook",
];

/// What each target's integrations are called: as the target itself.
const KINDS: [&Kind; 7] =
    [&slack::KIND, &teams::KIND, &discord::KIND, &smtp::KIND, &sendgrid::KIND, &pagerduty::KIND, &twilio::KIND];

/// Where a message goes.
enum Place {
    /// To a provider that takes messages by a webhook.
    Webhook(Provider),
    /// To a provider's API, opened by an integration.
    Api(Api),
    /// To a mail server, opened by an integration.
    Mail,
    /// Into a user's inbox on this server.
    InApp,
}

/// A provider's API: what a message may consist of, and how it is sent. Reading knows which settings the integration has.
struct Api {
    read: fn(&mut Reader<'_>, &Map<String, Value>),
    send: for<'a> fn(&'a mut Service<'_>, &'a Connection, &'a Map<String, Value>, &'a str) -> Performing<'a>,
}

/// A provider of incoming webhooks: how its messages are read from a payload, and what its answers mean.
struct Provider {
    read: fn(&mut Reader<'_>) -> Message,
    /// Judges the output of an exchange whose status is a success.
    judge: fn(Value) -> Result<Value, Failure>,
}

/// What is posted, where below the webhook's address, and the most bytes of it that the provider takes, where it says so.
#[derive(Default)]
struct Message {
    body: Value,
    query: Vec<(&'static str, String)>,
    max_bytes: Option<usize>,
}

/// The target of this word; a problem that lists them all where there is none. Of a chat with an API and webhooks the
/// credentials tell which it is.
fn target(word: &str, has: impl Fn(&str) -> bool) -> Result<Place, Vec<Problem>> {
    match word {
        "slack" if has(slack_api::TOKEN) => Ok(Place::Api(slack_api::API)),
        "slack" => Ok(Place::Webhook(slack::PROVIDER)),
        "teams" => Ok(Place::Webhook(teams::PROVIDER)),
        "discord" => Ok(Place::Webhook(discord::PROVIDER)),
        "webhook" => Ok(Place::Webhook(webhook::PROVIDER)),
        "pagerduty" => Ok(Place::Api(pagerduty::API)),
        "twilio" | "sms" => Ok(Place::Api(twilio::API)),
        "sendgrid" => Ok(Place::Api(sendgrid::API)),
        "smtp" | "email" => Ok(Place::Mail),
        "in_app" | "system" => Ok(Place::InApp),
        _ => {
            let known = TARGETS.join(", ");
            let message = format!("action_target '{word}' is neither one of: {known}, nor an integration");
            Err(vec![Problem::new("", message).of_absence()])
        }
    }
}

fn no_integration(word: &str) -> Vec<Problem> {
    let kind = match word {
        "sms" => "twilio",
        "email" => "smtp or sendgrid",
        other => other,
    };
    let message =
        format!("action_target '{word}' names no integration: it needs one of the kind {kind}, which may be called so");
    vec![Problem::new("", message).of_absence()]
}

/// Sends notifications.
pub struct SendNotification {
    http: Arc<HttpClient>,
    inbox: Arc<dyn Inbox>,
    reach: Reach,
}

impl SendNotification {
    /// An executor that shares a client, delivers into these inboxes, and reaches these people.
    pub fn new(http: Arc<HttpClient>, inbox: Arc<dyn Inbox>, reach: Reach) -> Self {
        Self { http, inbox, reach }
    }

    /// What is wrong with a message to a person.
    fn check_person(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let definition = to.integration.map(|integration| &integration.definition);
        let has_bot = definition.is_some_and(|of| of.credentials.contains_key(slack_api::TOKEN));
        match contact::read(payload, Reading::Document) {
            Err(problems) => problems,
            Ok(None) => Vec::new(),
            Ok(Some(draft)) => {
                let unfit = draft.unfit(to.integration.map_or(to.word, |integration| &integration.kind), has_bot);
                unfit.map_or_else(|| self.check(to, &draft.sample()), |problem| vec![problem])
            }
        }
    }
}

/// Sends what an attempt's payload says.
async fn send(http: &HttpClient, inbox: &dyn Inbox, reach: &Reach, attempt: &Attempt) -> Performed {
    let redactor = Redactor::of_secret_url(attempt);
    let connection = attempt.connection.as_deref();
    let has = |credential: &str| connection.is_some_and(|of| of.credential(credential).is_some());
    let outcome = match target(connection.map_or(&attempt.action_target, |c| c.kind.word), has) {
        Ok(Place::Webhook(provider)) => {
            let address = Address::of_credential(connection, WEBHOOK_URL);
            let call = provider.call(&attempt.payload, Reading::Rendered, address).map(|call| {
                let mut call = call.expect("a rendered payload without problems has a URL");
                mark(&mut call, attempt);
                call
            });
            return http.perform_with(attempt, call, &redactor, provider.judge).await;
        }
        Ok(Place::Mail) => return mailed(http, attempt, redactor).await,
        Ok(Place::Api(api)) => return api.perform(http, attempt, redactor).await,
        Ok(Place::InApp) => in_app::deliver(inbox, reach, attempt).await,
        Err(problems) => Err(invalid(&problems)),
    };
    let outcome = outcome.map_or_else(Outcome::Failed, |output| Outcome::Completed(Arc::new(output)));
    Performed { outcome, logged_payload: redactor.logged_payload(), http: None }
}

/// Sends to a person.
async fn send_to_person(http: &HttpClient, inbox: &dyn Inbox, reach: &Reach, attempt: &Attempt) -> Performed {
    let nothing_sent =
        |outcome| Performed { outcome, logged_payload: Redactor::of(attempt).logged_payload(), http: None };
    match contact::addressed(reach, inbox, attempt).await {
        Ok(Some(addressed)) => contact::kept(send(http, inbox, reach, &addressed).await, attempt, &addressed.secrets),
        Ok(None) => nothing_sent(Outcome::Completed(Arc::new(json!({"told": 0})))),
        Err(failure) => nothing_sent(Outcome::Failed(failure)),
    }
}

impl Executor for SendNotification {
    fn action_type(&self) -> &'static str {
        "send_notification"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &KINDS
    }

    /// Messages to persons and to inboxes go so, though an integration for something else has such a name.
    fn is_own_word(&self, word: &str) -> bool {
        ["in_app", "system", "webhook"].contains(&word)
    }

    fn trial(&self, integration: &Integration) -> Option<Trial> {
        trial::of(integration)
    }

    fn probe(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let http = self.http.clone();
        Box::pin(async move { trial::probe(&http, &attempt).await })
    }

    /// A notification in an inbox is a row of this server's store.
    fn takes_secrets(&self, target: &str) -> bool {
        !["in_app", "system"].contains(&target)
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        if contact::is_named(payload) {
            return self.check_person(to, payload);
        }
        let word = to.integration.map_or(to.word, |integration| &integration.kind);
        let definition = to.integration.map(|integration| &integration.definition);
        let has = |credential: &str| definition.is_some_and(|of| of.credentials.contains_key(credential));
        let problems = target(word, has).and_then(|place| match (place, definition) {
            (Place::Webhook(provider), _) => {
                provider.call(payload, Reading::Document, Address::of_target(to)).map(drop)
            }
            (Place::Api(api), Some(of)) => api.read(payload, Reading::Document, &of.settings).map(drop),
            (Place::Mail, Some(of)) => letter::members(payload, Reading::Document, &of.settings).map(drop),
            (Place::Api(_) | Place::Mail, None) => Err(no_integration(to.word)),
            (Place::InApp, _) => in_app::read(payload, Reading::Document).map(drop),
        });
        problems.err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::with_secret_url(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, inbox, reach) = (self.http.clone(), self.inbox.clone(), self.reach.clone());
        Box::pin(async move {
            if contact::is_named(&attempt.payload) {
                return send_to_person(&http, inbox.as_ref(), &reach, &attempt).await;
            }
            send(&http, inbox.as_ref(), &reach, &attempt).await
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
        let url = url.map(|mut url| {
            if !message.query.is_empty() {
                url.query_pairs_mut().extend_pairs(message.query);
            }
            url
        });
        Ok(url.map(|url| Call { method: Method::POST, url, headers, body, expected, follow_redirects: false }))
    }
}

/// The members of a payload; `None` when it is right as far as can be seen before it is rendered.
fn members(
    payload: &Value,
    reading: Reading,
    judge: impl FnOnce(&mut Reader<'_>),
) -> Result<Option<Map<String, Value>>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    judge(&mut reader);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(payload.as_object().map(present))
}

/// Sends an attempt's e-mail by the mail server that its integration names.
async fn mailed(http: &HttpClient, attempt: &Attempt, mut redactor: Redactor) -> Performed {
    let outcome = match attempt.connection.as_deref() {
        None => Err(invalid(&no_integration(&attempt.action_target))),
        Some(connection) => {
            let members = letter::members(&attempt.payload, Reading::Rendered, &connection.settings);
            let members = members.map_err(|problems| invalid(&problems));
            match members.and_then(|members| Letter::of(&members.unwrap_or_default(), connection)) {
                Ok(letter) => smtp::deliver(http, attempt, &mut redactor, &letter).await,
                Err(failure) => Err(failure),
            }
        }
    };
    performed(outcome, &redactor, None)
}

impl Api {
    fn read(
        &self,
        payload: &Value,
        reading: Reading,
        settings: &Map<String, Value>,
    ) -> Result<Option<Map<String, Value>>, Vec<Problem>> {
        members(payload, reading, |reader| (self.read)(reader, settings))
    }

    async fn perform(&self, http: &HttpClient, attempt: &Attempt, mut redactor: Redactor) -> Performed {
        let mut figures = None;
        let outcome = self.sent(http, attempt, &mut redactor, &mut figures).await;
        performed(outcome, &redactor, figures)
    }

    async fn sent(
        &self,
        http: &HttpClient,
        attempt: &Attempt,
        redactor: &mut Redactor,
        figures: &mut Option<HttpFigures>,
    ) -> Result<Value, Failure> {
        let none = || invalid(&no_integration(&attempt.action_target));
        let connection = attempt.connection.as_deref().ok_or_else(none)?;
        let message = self.read(&attempt.payload, Reading::Rendered, &connection.settings);
        let message = message.map_err(|problems| invalid(&problems))?.expect("a rendered payload is read whole");
        let mut service = Service::new(http, attempt, connection)?;
        let outcome = (self.send)(&mut service, connection, &message, &attempt.idempotency_key()).await;
        (*redactor, *figures) = (service.redactor, service.figures);
        outcome
    }
}

/// The members that say something: a template leaves one out by making it null.
fn present(payload: &Map<String, Value>) -> Map<String, Value> {
    payload.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Texts of a message's members, and of the integration's settings where it has none.
fn text<'a>(message: &'a Map<String, Value>, connection: &'a Connection, key: &str) -> Option<&'a str> {
    message.get(key).and_then(Value::as_str).or_else(|| connection.text(key))
}

/// Settings of an integration that are no texts.
fn no_texts(definition: &Definition) -> Vec<Problem> {
    let others = definition.settings.iter().filter(|(_, value)| !value.is_string());
    others.map(|(name, _)| Problem::new(format!("/settings/{name}"), "must be a text")).collect()
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
    use core314_actors::testkit::memory_people::MemoryPeople;

    fn problems(word: &str, payload: &Value) -> Vec<String> {
        let problems = target(word, |_| false).and_then(|target| match target {
            Place::Webhook(provider) => provider.call(payload, Reading::Document, Address::InPayload).map(drop),
            Place::Api(api) => api.read(payload, Reading::Document, &Map::new()).map(drop),
            Place::Mail => letter::members(payload, Reading::Document, &Map::new()).map(drop),
            Place::InApp => in_app::read(payload, Reading::Document).map(drop),
        });
        problems.err().unwrap_or_default().into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn every_target_is_known_and_another_names_them() {
        for word in TARGETS {
            assert!(target(word, |_| false).is_ok(), "{word}");
            let problems = problems(word, &json!({}));
            assert!(!problems.is_empty(), "{word} needs something");
        }
        for word in ["slak", "", "Slack", "fax"] {
            let expected = format!(
                ": action_target '{word}' is neither one of: slack, teams, discord, in_app, system, email, smtp, sendgrid, pagerduty, sms, twilio, webhook, nor an integration"
            );
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
        let executor = SendNotification::new(
            http,
            Arc::new(MemoryInbox::default()),
            Reach::people(Arc::new(MemoryPeople::default())),
        );
        let logged = executor.logged(&Arc::new(json!({"url": "https://h.example/planted/path", "text": "x"})));
        assert_eq!(*logged, json!({"url": "https://h.example/[redacted]", "text": "x"}));
    }
}
