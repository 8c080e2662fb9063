//! Slack, by the method `chat.postMessage` of its Web API (<https://docs.slack.dev/reference/methods/chat.postMessage>).
//!
//! Every answer that is understood has status 200 and says `ok`; a refusal has a word in `error`. Rate limits come as 429
//! with `Retry-After`. The API has no version.

use core314_actors::ports::executor::Connection;
use core314_domain::log::Failure;
use core314_domain::people::ButtonVerb;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::slack::{judge_message, without_nulls};
use super::{Api, Performing, text, unexpected};
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, cut};
use crate::executors::service::{Ask, Service};

/// The credential that opens it.
pub const TOKEN: &str = "bot_token";
/// The member of a payload that says which buttons a message has.
pub const BUTTONS: &str = "buttons";
const MAX_BUTTONS: usize = 5;
/// Of a text in a block (<https://docs.slack.dev/reference/block-kit/blocks/section-block>).
pub const MAX_BLOCK_CHARS: usize = 3_000;

pub const API: Api = Api { read, send };

const KEYS: [&str; 16] = [
    "channel",
    "text",
    "blocks",
    "attachments",
    "thread_ts",
    "reply_broadcast",
    "mrkdwn",
    "link_names",
    "unfurl_links",
    "unfurl_media",
    "metadata",
    "parse",
    "username",
    "icon_emoji",
    "icon_url",
    BUTTONS,
];
const TEXTS: [&str; 6] = ["channel", "thread_ts", "parse", "username", "icon_emoji", "icon_url"];
const FLAGS: [&str; 5] = ["reply_broadcast", "mrkdwn", "link_names", "unfurl_links", "unfurl_media"];
/// Words of refusals that another attempt may not get.
const PASSING: [&str; 6] =
    ["ratelimited", "rate_limited", "message_limit_exceeded", "fatal_error", "internal_error", "service_unavailable"];

fn read(reader: &mut Reader<'_>, settings: &Map<String, Value>) {
    reader.only(&KEYS);
    if !reader.has("channel") && !settings.contains_key("channel") {
        reader.problem(&["channel"], "is required, unless the integration has a setting 'channel'");
    }
    judge_message(reader, &TEXTS, &FLAGS);
    for (place, button) in reader.list(BUTTONS, MAX_BUTTONS) {
        let is_open = button.as_object().is_some_and(|members| members.values().any(|value| reader.is_open(value)));
        if !is_open && let Err(problem) = Button::of(button) {
            reader.problem(&[BUTTONS, &place], problem);
        }
    }
}

/// A button under a message.
struct Button {
    verb: ButtonVerb,
    id: Uuid,
}

impl Button {
    fn of(value: &Value) -> Result<Self, String> {
        let form =
            || "must be {action, id}: acknowledge with an escalation's id, approve or reject with an execution's";
        let members = value.as_object().filter(|members| members.len() == 2).ok_or_else(form)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).ok_or_else(form);
        let verb = text("action")?.parse::<ButtonVerb>().map_err(|error| error.to_string())?;
        let id = text("id")?.parse().map_err(|_| format!("'{}' is no id", text("id").unwrap_or_default()))?;
        Ok(Self { verb, id })
    }

    /// As Block Kit has it (<https://docs.slack.dev/reference/block-kit/block-elements/button-element>).
    fn element(&self) -> Value {
        let (label, style) = match self.verb {
            ButtonVerb::Acknowledge => ("Acknowledge", "primary"),
            ButtonVerb::Approve => ("Approve", "primary"),
            ButtonVerb::Reject => ("Reject", "danger"),
        };
        json!({"type": "button", "action_id": self.verb.action_id(), "value": self.id, "style": style,
            "text": {"type": "plain_text", "text": label}})
    }
}

/// A message with its buttons as a block: where it has none yet, its text is one.
fn with_buttons(mut body: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(buttons)) = body.remove(BUTTONS) else { return body };
    let elements: Vec<Value> = buttons.iter().filter_map(|it| Button::of(it).ok()).map(|it| it.element()).collect();
    if elements.is_empty() {
        return body;
    }
    let text = body.get("text").and_then(Value::as_str).map(|text| cut(text, MAX_BLOCK_CHARS));
    let blocks = body.entry("blocks").or_insert_with(|| {
        text.map(|text| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})).into_iter().collect()
    });
    if let Value::Array(blocks) = blocks {
        blocks.push(json!({"type": "actions", "elements": elements}));
    }
    body
}

fn send<'a>(
    service: &'a mut Service<'_>,
    connection: &'a Connection,
    message: &'a Map<String, Value>,
    _: &'a str,
) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let members = message.iter().map(|(key, value)| (key.clone(), without_nulls(value)));
        let mut body: Map<String, Value> = with_buttons(members.collect());
        body.insert("channel".to_owned(), text(message, connection, "channel").unwrap_or_default().into());
        let answer = service.ask(Ask::send(Method::POST, &["chat.postMessage"], &Value::Object(body))).await?;
        judge(&answer)
    })
}

/// Asks whose token it is (<https://docs.slack.dev/reference/methods/auth.test>); nobody sees it.
pub fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let answer = service.ask(Ask::send(Method::POST, &["auth.test"], &json!({}))).await?;
        let body = &answer["body"];
        if body["ok"] == true && body["user_id"].is_string() {
            return Ok(json!({"team": body["team"], "user": body["user"]}));
        }
        Err(refusal(&answer))
    })
}

fn sign_in(service: &mut Service<'_>, connection: &Connection) -> Result<(), Failure> {
    let token = connection.credential(TOKEN).unwrap_or_default().trim();
    service.header(AUTHORIZATION, &format!("Bearer {token}"))
}

fn judge(answer: &Value) -> Result<Value, Failure> {
    let body = &answer["body"];
    if body["ok"] == true && body["ts"].is_string() {
        return Ok(json!({"channel": body["channel"], "ts": body["ts"]}));
    }
    Err(refusal(answer))
}

/// What an answer means that is no success.
fn refusal(answer: &Value) -> Failure {
    let body = &answer["body"];
    let Some(error) = body["error"].as_str().filter(|_| body["ok"] == false) else { return unexpected(answer) };
    let more = body["response_metadata"]["messages"].as_array();
    let more: Vec<&str> = more.into_iter().flatten().filter_map(Value::as_str).collect();
    let message = [&[error][..], &more].concat().join("; ");
    match error {
        "ratelimited" | "rate_limited" => Code::RateLimited.failure(message),
        error if PASSING.contains(&error) => Failure::retryable(Code::Refused.word(), message),
        _ => Failure::fatal(Code::Refused.word(), message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_are_a_block_under_what_a_message_says() {
        let of = |body: Value| Value::Object(with_buttons(body.as_object().expect("an object").clone()));
        let id = Uuid::from_u128(1);
        let body =
            of(json!({"text": "disk", BUTTONS: [{"action": "approve", "id": id}, {"action": "reject", "id": id}]}));
        assert_eq!(body["blocks"][0]["text"]["text"], "disk");
        let elements = &body["blocks"][1]["elements"];
        assert_eq!((&elements[0]["action_id"], &elements[1]["style"]), (&json!("core314_approve"), &json!("danger")));
        assert_eq!(elements[0]["value"], json!(id));
        let own =
            of(json!({"text": "x", "blocks": [{"type": "divider"}], BUTTONS: [{"action": "acknowledge", "id": id}]}));
        assert_eq!((&own["blocks"][0]["type"], own["blocks"].as_array().map(Vec::len)), (&json!("divider"), Some(2)));
        assert_eq!(of(json!({"text": "x"})), json!({"text": "x"}));
        for wrong in
            [json!({}), json!("x"), json!({"action": "dance", "id": id}), json!({"action": "approve", "id": "1"})]
        {
            assert!(Button::of(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_says_whether_it_is_one() {
        let of = |body: Value| judge(&json!({"status": 200, "body": body}));
        let good = json!({"ok": true, "channel": "C1", "ts": "1.2", "message": {}});
        assert_eq!(of(good), Ok(json!({"channel": "C1", "ts": "1.2"})));
        for (error, code, retryable) in [
            ("channel_not_found", "refused", false),
            ("invalid_auth", "refused", false),
            ("ratelimited", "rate_limited", true),
            ("internal_error", "refused", true),
        ] {
            let failure = of(json!({"ok": false, "error": error})).expect_err(error);
            assert_eq!((failure.code.as_str(), failure.retryable, failure.message.as_str()), (code, retryable, error));
        }
        let blocks = json!({"ok": false, "error": "invalid_blocks", "response_metadata": {"messages": ["[ERROR] no"]}});
        assert_eq!(of(blocks).expect_err("a refusal").message, "invalid_blocks; [ERROR] no");
        for odd in [json!(null), json!("ok"), json!({"ok": true}), json!({"ok": false})] {
            assert_eq!(of(odd).expect_err("no success").code, "unexpected_answer");
        }
    }
}
