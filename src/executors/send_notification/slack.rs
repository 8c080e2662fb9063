//! Slack, by an incoming webhook.
//!
//! A message is posted as JSON; the answer is the text `ok`. An error is a status and a word, such as `400
//! invalid_payload` or `410 channel_is_archived` (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>);
//! 429 brings `Retry-After`, in seconds. Webhooks have no version.

use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::people::SIGNING_SECRET;
use core314_domain::plan::Problem;
use serde_json::{Map, Value};

use super::{Message, Provider, WEBHOOK_URL, kept, no_texts, slack_api, unexpected};
use crate::executors::connect::http::endpoint_problem;
use crate::executors::payload::{Reader, kind};

pub const PROVIDER: Provider = Provider { read, judge };

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "slack",
    about: "Slack, by an incoming webhook, or by its Web API with a bot's token.",
    endpoint: Some(Endpoint::at("https://slack.com/api")),
    credentials: &[
        Field::optional(WEBHOOK_URL, "the address that Slack shows for the incoming webhook"),
        Field::optional(slack_api::TOKEN, "instead: the token of a bot that may chat:write"),
        Field::optional(SIGNING_SECRET, "beside bot_token: proves what Slack sends when a button is pressed"),
    ],
    settings: &[Field::optional("channel", "with a bot's token: the channel, where the payload names none")],
    check,
};

/// One way or the other.
fn check(definition: &Definition) -> Vec<Problem> {
    let has = |credential: &str| definition.credentials.contains_key(credential);
    let mut found = no_texts(definition);
    found.extend(endpoint_problem(definition));
    match (has(WEBHOOK_URL), has(slack_api::TOKEN)) {
        (true, true) => {
            found.push(Problem::new("/credentials/bot_token", "only one of webhook_url, bot_token can be given"));
        }
        (false, false) => {
            found.push(Problem::new("/credentials/webhook_url", "is required, unless bot_token is given"));
        }
        (true, false) if has(SIGNING_SECRET) => {
            let message = "has no meaning with webhook_url: buttons need a bot";
            found.push(Problem::new("/credentials/signing_secret", message));
        }
        (true, false) if definition.endpoint.is_some() => {
            found.push(Problem::new("/endpoint", "has no meaning with webhook_url, which is an address itself"));
        }
        (true, false) if !definition.settings.is_empty() => {
            found.push(Problem::new("/settings", "have no meaning with webhook_url, which belongs to one channel"));
        }
        _ => {}
    }
    found
}

/// What a message may consist of. The last four are heard by legacy webhooks alone.
const KEYS: [&str; 14] = [
    "url",
    "text",
    "blocks",
    "attachments",
    "thread_ts",
    "mrkdwn",
    "link_names",
    "unfurl_links",
    "unfurl_media",
    "metadata",
    "channel",
    "username",
    "icon_emoji",
    "icon_url",
];
const TEXTS: [&str; 5] = ["thread_ts", "channel", "username", "icon_emoji", "icon_url"];
const FLAGS: [&str; 4] = ["mrkdwn", "link_names", "unfurl_links", "unfurl_media"];
/// Slack cuts longer texts off.
const MAX_TEXT_CHARS: usize = 40_000;
const MAX_BLOCKS: usize = 50;
/// More are refused with `too_many_attachments`.
const MAX_ATTACHMENTS: usize = 100;

fn read(reader: &mut Reader<'_>) -> Message {
    reader.only(&KEYS);
    judge_message(reader, &TEXTS, &FLAGS);
    let message = KEYS[1..].iter().filter_map(|key| Some(((*key).to_owned(), without_nulls(reader.get(key)?))));
    Message { body: Value::Object(message.collect::<Map<_, _>>()), ..Message::default() }
}

/// What a message consists of, whichever way it goes.
pub fn judge_message(reader: &mut Reader<'_>, texts: &[&str], flags: &[&str]) {
    if !["text", "blocks", "attachments"].iter().any(|key| reader.has(key)) {
        reader.problem(&["text"], "is required, unless blocks or attachments are given");
    }
    reader.said("text", MAX_TEXT_CHARS);
    for key in texts {
        reader.text(key);
    }
    for key in flags {
        reader.flag(key);
    }
    reader.object("metadata");
    for (place, block) in reader.list("blocks", MAX_BLOCKS) {
        if block.get("type").and_then(Value::as_str).is_none() {
            reader.problem(&["blocks", &place], "must be a block: an object with a type");
        }
    }
    for (place, attachment) in reader.list("attachments", MAX_ATTACHMENTS) {
        if !attachment.is_object() {
            reader.problem(&["attachments", &place], format!("must be an object, is {}", kind(attachment)));
        }
    }
}

/// A list without the items that a template has left out.
pub fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().filter(|item| !item.is_null()).cloned().collect(),
        other => other.clone(),
    }
}

/// The text `ok` and nothing else is a success.
fn judge(output: Value) -> Result<Value, Failure> {
    if output["body"].as_str().map(str::trim) == Some("ok") { Ok(kept(output)) } else { Err(unexpected(&output)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::connect::Address;
    use crate::executors::payload::Reading;
    use serde_json::json;

    const URL: &str = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";

    fn problems(payload: &Value, reading: Reading) -> Vec<String> {
        let problems = PROVIDER.call(payload, reading, Address::InPayload).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn the_message_is_the_payload_without_its_address_and_without_nulls() {
        let payload = json!({"url": URL, "text": "hi", "blocks": [null, {"type": "divider"}], "thread_ts": null, "mrkdwn": false});
        let call = PROVIDER.call(&payload, Reading::Rendered, Address::InPayload).expect("good").expect("a call");
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        assert_eq!(body, json!({"text": "hi", "blocks": [{"type": "divider"}], "mrkdwn": false}));
        assert_eq!(call.url.as_str(), URL);
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        for (payload, expected) in [
            (json!({"text": "hi"}), "/url: is required"),
            (json!({"url": "hooks", "text": "hi"}), "/url: is no URL: relative URL without a base"),
            (json!({"url": URL}), "/text: is required, unless blocks or attachments are given"),
            (json!({"url": URL, "text": null}), "/text: is required, unless blocks or attachments are given"),
            (json!({"url": URL, "text": "  "}), "/text: must not be empty"),
            (json!({"url": URL, "text": {"a": 1}}), "/text: must be a text, is an object"),
            (
                json!({"url": URL, "text": "x".repeat(40_001)}),
                "/text: has 40001 characters, at most 40000 are possible",
            ),
            (json!({"url": URL, "blocks": {}}), "/blocks: must be a list, is an object"),
            (json!({"url": URL, "blocks": ["x"]}), "/blocks/0: must be a block: an object with a type"),
            (
                json!({"url": URL, "blocks": vec![json!({"type": "divider"}); 51]}),
                "/blocks: has 51 items, at most 50 are possible",
            ),
            (json!({"url": URL, "attachments": [{}, 1]}), "/attachments/1: must be an object, is a number"),
            (json!({"url": URL, "text": "x", "mrkdwn": "yes"}), "/mrkdwn: must be a boolean, is a text"),
            (json!({"url": URL, "text": "x", "metadata": []}), "/metadata: must be an object, is a list"),
        ] {
            assert_eq!(problems(&payload, Reading::Document), [expected], "{payload}");
        }
        let unknown = problems(&json!({"url": URL, "text": "x", "blcks": []}), Reading::Document);
        assert!(unknown[0].starts_with("/blcks: unknown key 'blcks'; known: url, text, blocks"), "{unknown:?}");
    }

    #[test]
    fn a_template_may_stand_anywhere_until_it_is_rendered() {
        let open = json!({"url": "{{ trigger.url }}", "text": "{{ trigger.text }}", "blocks": "{{ trigger.blocks }}",
            "attachments": ["{{ trigger.attachment }}"], "mrkdwn": "{{ trigger.mrkdwn }}"});
        assert_eq!(problems(&open, Reading::Document), [] as [String; 0]);
        assert_eq!(problems(&open, Reading::Rendered).len(), 4);
    }

    #[test]
    fn a_success_says_ok() {
        let answer = |body: Value| judge(json!({"status": 200, "headers": {"a": "b"}, "body": body}));
        assert_eq!(answer(json!("ok")), Ok(json!({"status": 200, "body": "ok"})));
        for other in [json!(""), json!(null), json!("<html>sign in</html>"), json!({"ok": false})] {
            let failure = answer(other.clone()).expect_err("no success");
            assert_eq!((failure.code.as_str(), failure.retryable), ("unexpected_answer", false), "{other}");
        }
    }
}
