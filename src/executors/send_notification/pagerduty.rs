//! PagerDuty, by its Events API of version 2 (<https://developer.pagerduty.com/docs/events-api-v2/overview/>).
//!
//! An event has a key, and events of one key are one alert. The key is the execution's id unless the payload gives one, so
//! a repeated attempt opens no second alert. 202 means that the event was taken.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Endpoint, Field, Kind};
use core314_domain::log::Failure;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Api, Performing, no_texts, text, unexpected};
use crate::executors::connect::http::endpoint_problem;
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, cut};
use crate::executors::service::{Ask, Service};

pub const API: Api = Api { read, send };

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "pagerduty",
    about: "PagerDuty, by its Events API of version 2.",
    endpoint: Some(Endpoint::at("https://events.pagerduty.com")),
    credentials: &[Field::required("routing_key", "the integration key of a service or of an event orchestration")],
    settings: &[Field::optional("source", "what the events are about, where the payload does not say it")],
    check: |definition| no_texts(definition).into_iter().chain(endpoint_problem(definition)).collect(),
};

const KEYS: [&str; 14] = [
    "event_action",
    "dedup_key",
    "summary",
    "text",
    "source",
    "severity",
    "component",
    "group",
    "class",
    "custom_details",
    "timestamp",
    "links",
    "images",
    "client_url",
];
const ACTIONS: [&str; 3] = ["trigger", "acknowledge", "resolve"];
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
/// Members of an event's payload that are texts.
const PARTS: [&str; 4] = ["component", "group", "class", "timestamp"];
const MAX_SUMMARY_CHARS: usize = 1_024;
const MAX_KEY_CHARS: usize = 255;
const MAX_TEXT_CHARS: usize = 10_000;
const MAX_ITEMS: usize = 50;
/// The status of whatever was taken.
const ACCEPTED: u64 = 202;
/// What an event is about, where nobody says it.
const SOURCE: &str = "core314";
/// What the keys of rulesets and event orchestrations begin with, which take no change events
/// (<https://developer.pagerduty.com/docs/events-api-v2/overview/>).
const OF_RULES: char = 'R';

fn read(reader: &mut Reader<'_>, _: &Map<String, Value>) {
    reader.only(&KEYS);
    let action = if reader.has("event_action") { one_of(reader, "event_action", &ACTIONS) } else { Some("trigger") };
    if action == Some("trigger") && !reader.has("summary") && !reader.has("text") {
        reader.problem(&["summary"], "is required, unless text is given");
    }
    if action.is_some_and(|action| action != "trigger") && !reader.has("dedup_key") {
        reader.problem(&["dedup_key"], "is required: which alert it is");
    }
    reader.cut("summary", MAX_SUMMARY_CHARS);
    reader.said("text", MAX_TEXT_CHARS);
    reader.said("dedup_key", MAX_KEY_CHARS);
    reader.said("source", MAX_SUMMARY_CHARS);
    one_of(reader, "severity", &SEVERITIES);
    for key in PARTS.iter().chain(&["client_url"]) {
        reader.text(key);
    }
    reader.object("custom_details");
    for (key, needed) in [("links", "href"), ("images", "src")] {
        for (place, item) in reader.list(key, MAX_ITEMS) {
            if !item[needed].is_string() {
                reader.problem(&[key, &place], format!("must be an object with a text '{needed}'"));
            }
        }
    }
}

fn one_of<'a>(reader: &mut Reader<'a>, key: &str, words: &[&str]) -> Option<&'a str> {
    let text = reader.text(key)?;
    if !words.contains(&text) {
        reader.problem(&[key], format!("'{text}' is not one of: {}", words.join(", ")));
        return None;
    }
    Some(text)
}

fn send<'a>(
    service: &'a mut Service<'_>,
    connection: &'a Connection,
    message: &'a Map<String, Value>,
    key: &'a str,
) -> Performing<'a> {
    Box::pin(async move {
        let event = event(connection, message, key);
        let answer = service.ask(Ask::send(Method::POST, &["v2", "enqueue"], &event)).await?;
        judge(&answer)
    })
}

/// Tells of a change, which is the one thing that the Events API takes and never tells anybody of: it stands among the
/// recent changes of the service (<https://developer.pagerduty.com/docs/events-api-v2/send-change-events/>).
pub fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        let key = connection.credential("routing_key").unwrap_or_default().trim();
        if key.starts_with(OF_RULES) {
            let why = "a key of a ruleset or an event orchestration takes no change events, and whatever else it takes could open \
                       an incident and wake somebody: it is not tried";
            return Err(Failure::fatal(Code::Refused.word(), why));
        }
        let summary = format!("Core314 reaches this service: a test of the integration {}.", connection.name);
        let source = connection.text("source").unwrap_or(SOURCE);
        let change =
            json!({"routing_key": key, "payload": {"summary": cut(&summary, MAX_SUMMARY_CHARS), "source": source}});
        let answer = service.ask(Ask::send(Method::POST, &["v2", "change", "enqueue"], &change)).await?;
        if answer["status"] == ACCEPTED {
            Ok(json!({"message": answer["body"]["message"]}))
        } else {
            Err(unexpected(&answer))
        }
    })
}

fn event(connection: &Connection, message: &Map<String, Value>, key: &str) -> Value {
    let said = |key: &str| message.get(key).and_then(Value::as_str);
    let action = said("event_action").unwrap_or("trigger");
    let mut event = json!({
        "routing_key": connection.credential("routing_key").unwrap_or_default().trim(),
        "event_action": action,
        "dedup_key": said("dedup_key").unwrap_or(key),
    });
    if action != "trigger" {
        return event;
    }
    let long = said("text");
    let first = long.unwrap_or_default().trim().lines().next().unwrap_or_default();
    let mut payload = json!({
        "summary": cut(said("summary").unwrap_or(first), MAX_SUMMARY_CHARS),
        "source": text(message, connection, "source").unwrap_or(SOURCE),
        "severity": said("severity").unwrap_or("critical"),
    });
    for part in PARTS {
        if let Some(text) = said(part) {
            payload[part] = text.into();
        }
    }
    let mut details = message.get("custom_details").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(text) = long {
        details.entry("message").or_insert(text.into());
    }
    if !details.is_empty() {
        payload["custom_details"] = Value::Object(details);
    }
    event["payload"] = payload;
    event["client"] = "Core314".into();
    for (name, value) in message.iter().filter(|(name, _)| ["links", "images", "client_url"].contains(&name.as_str())) {
        event[name] = super::slack::without_nulls(value);
    }
    event
}

fn judge(answer: &Value) -> Result<Value, Failure> {
    let body = &answer["body"];
    if body["status"] != "success" {
        return Err(unexpected(answer));
    }
    Ok(json!({"dedup_key": body["dedup_key"], "message": body["message"]}))
}
