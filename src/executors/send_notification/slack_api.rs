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
        if let Err(problem) = Button::judge(button, |value| reader.is_open(value)) {
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
        let [verb, id] = Self::members(value)?;
        Ok(Self { verb: Self::verb(verb)?, id: Self::id(id)? })
    }

    /// What is wrong with each member that can be read already: an id is often a template, what the button does seldom.
    fn judge(value: &Value, is_open: impl Fn(&Value) -> bool) -> Result<(), String> {
        let [verb, id] = Self::members(value)?;
        if !is_open(verb) {
            Self::verb(verb)?;
        }
        if !is_open(id) {
            Self::id(id)?;
        }
        Ok(())
    }

    fn members(value: &Value) -> Result<[&Value; 2], String> {
        let members = value.as_object().filter(|members| members.len() == 2);
        let found = members.and_then(|members| Some([members.get("action")?, members.get("id")?]));
        let form = "must be {action, id}: acknowledge or resolve with an escalation's id, approve or reject with an \
                    execution's";
        found.filter(|members| members.iter().all(|value| value.is_string())).ok_or_else(|| form.to_owned())
    }

    fn verb(value: &Value) -> Result<ButtonVerb, String> {
        value.as_str().unwrap_or_default().parse::<ButtonVerb>().map_err(|error| error.to_string())
    }

    fn id(value: &Value) -> Result<Uuid, String> {
        let text = value.as_str().unwrap_or_default();
        text.parse().map_err(|_| format!("'{text}' is no id"))
    }

    /// As Block Kit has it (<https://docs.slack.dev/reference/block-kit/block-elements/button-element>).
    fn element(&self) -> Value {
        let (label, style) = match self.verb {
            ButtonVerb::Acknowledge => ("Acknowledge", Some("primary")),
            ButtonVerb::Resolve => ("Resolve", None),
            ButtonVerb::Approve => ("Approve", Some("primary")),
            ButtonVerb::Reject => ("Reject", Some("danger")),
        };
        let mut element = json!({"type": "button", "action_id": self.verb.action_id(), "value": self.id,
            "text": {"type": "plain_text", "text": label}});
        if let Some(style) = style {
            element["style"] = json!(style);
        }
        element
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
        let answer = service.ask(Ask::question(&["auth.test"], &json!({}))).await?;
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
    use crate::executors::payload::Reading;

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
        let ends = of(json!({"text": "x", BUTTONS: [{"action": "resolve", "id": id}]}));
        let element = &ends["blocks"][1]["elements"][0];
        assert_eq!((&element["action_id"], element.get("style")), (&json!("core314_resolve"), None), "{element}");
        for wrong in
            [json!({}), json!("x"), json!({"action": "dance", "id": id}), json!({"action": "approve", "id": "1"})]
        {
            assert!(Button::of(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_button_does_is_judged_also_where_its_id_is_a_template() {
        let problems = |payload: Value| {
            let mut reader = Reader::new(&payload, Reading::Document).expect("an object");
            read(&mut reader, &Map::new());
            reader.problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect::<Vec<_>>()
        };
        let of = |button: Value| problems(json!({"channel": "#x", "text": "t", BUTTONS: [button]}));
        let id = "{{ trigger.escalation_event_id }}";
        for good in [json!({"action": "resolve", "id": id}), json!({"action": "{{ trigger.verb }}", "id": id})] {
            assert_eq!(of(good), [] as [String; 0]);
        }
        let dance = of(json!({"action": "dance", "id": id}));
        assert!(dance[0].starts_with("/buttons/0: 'dance' is not one of: acknowledge, resolve, approve"), "{dance:?}");
        assert!(of(json!({"action": "{{ trigger.verb }}", "id": "1"}))[0].contains("'1' is no id"));
        assert!(of(json!({"action": "resolve", "id": id, "text": "Done"}))[0].contains("must be {action, id}"));
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
