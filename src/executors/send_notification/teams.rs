//! Microsoft Teams, by the webhook of a workflow (Power Automate, "When a Teams webhook request is received").
//!
//! A message carries one Adaptive Card, given as a whole or built from a few words
//! (<https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>). Cards have
//! schema version 1.4, which every client of Teams and the workflows' own check take; a given card may say up to 1.5.
//! The answer is 202 without a body, since the workflow runs afterwards. A message of more than 28 KB is refused; too
//! many requests are answered with 429 and `Retry-After`.
//!
//! The webhooks of Office 365 connectors, which workflows replace, answer 200 with the text `1`, and 200 with an error's
//! words where the delivery failed behind them: `… Microsoft Teams endpoint returned HTTP error 429 with ContextId …`.

use core314_domain::integration::{Field, Kind};
use core314_domain::log::Failure;
use serde_json::{Value, json};

use super::{Message, Provider, WEBHOOK_URL, kept, unexpected};
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, kind, scalar};

pub const PROVIDER: Provider = Provider { read, judge };

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "teams",
    about: "Microsoft Teams, by the webhook of a workflow.",
    endpoint: None,
    credentials: &[Field::required(WEBHOOK_URL, "the address that the workflow shows")],
    settings: &[],
    check: |_| Vec::new(),
};

const KEYS: [&str; 6] = ["url", "title", "text", "facts", "action_url", "card"];
/// What a card is built from; with `card` none of these can be given.
const PARTS: [&str; 4] = ["title", "text", "facts", "action_url"];
const MAX_BYTES: usize = 28 * 1024;
const MAX_TITLE_CHARS: usize = 500;
const MAX_FACTS: usize = 50;
const MAX_URL_CHARS: usize = 2_000;
const CONTENT_TYPE: &str = "application/vnd.microsoft.card.adaptive";
const SCHEMA: &str = "http://adaptivecards.io/schemas/adaptive-card.json";
const BUILT_VERSION: &str = "1.4";
/// The versions of cards that Teams renders.
const VERSIONS: [&str; 6] = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"];

fn read(reader: &mut Reader<'_>) -> Message {
    reader.only(&KEYS);
    let card = if reader.has("card") { given(reader) } else { built(reader) };
    let attachment = json!({"contentType": CONTENT_TYPE, "contentUrl": null, "content": card});
    Message {
        body: json!({"type": "message", "attachments": [attachment]}),
        max_bytes: Some(MAX_BYTES),
        ..Message::default()
    }
}

/// A card that was written by hand: sent as it is.
fn given(reader: &mut Reader<'_>) -> Value {
    for key in PARTS.into_iter().filter(|key| reader.has(key)).collect::<Vec<_>>() {
        reader.problem(&[key], "cannot be given beside card, which is the whole message");
    }
    let Some(card) = reader.object("card") else { return Value::Null };
    let word = |key: &str| card.get(key).filter(|value| !reader.is_open(value)).map(Value::as_str);
    let (kind, version) = (word("type"), word("version"));
    if !card.contains_key("type") || kind.is_some_and(|kind| kind != Some("AdaptiveCard")) {
        reader.problem(&["card", "type"], "must be \"AdaptiveCard\"");
    }
    if !card.contains_key("version") || version.is_some_and(|v| !v.is_some_and(|v| VERSIONS.contains(&v))) {
        reader.problem(&["card", "version"], format!("must be one of: {}", VERSIONS.join(", ")));
    }
    Value::Object(card.clone())
}

fn built(reader: &mut Reader<'_>) -> Value {
    if !reader.has("text") {
        reader.problem(&["text"], "is required, unless card is given");
    }
    let block = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
    let mut body = Vec::new();
    if let Some(title) = reader.said("title", MAX_TITLE_CHARS) {
        let mut title = block(title);
        (title["size"], title["weight"]) = (json!("Medium"), json!("Bolder"));
        body.push(title);
    }
    // The whole message is bounded in bytes.
    body.extend(reader.said("text", MAX_BYTES).map(block));
    let facts = read_facts(reader);
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    let mut card = json!({"$schema": SCHEMA, "type": "AdaptiveCard", "version": BUILT_VERSION, "body": body});
    if let Some(url) = reader.said("action_url", MAX_URL_CHARS) {
        if reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            card["actions"] = json!([{"type": "Action.OpenUrl", "title": "Open", "url": url}]);
        } else {
            reader.problem(&["action_url"], "must be an http or https URL");
        }
    }
    card
}

/// Facts as the card has them, with values as text.
fn read_facts(reader: &mut Reader<'_>) -> Vec<Value> {
    let mut facts = Vec::new();
    for (place, fact) in reader.list("facts", MAX_FACTS) {
        let part = |key: &str| fact.get(key).and_then(scalar);
        match (fact.as_object().map(serde_json::Map::len), part("title"), part("value")) {
            (Some(2), Some(title), Some(value)) => facts.push(json!({"title": title, "value": value})),
            (None, ..) => reader.problem(&["facts", &place], format!("must be an object, is {}", kind(fact))),
            _ => reader.problem(&["facts", &place], "must have a title and a value, each a text, number or boolean"),
        }
    }
    facts
}

/// A text that is neither empty nor `1` is a connector's error. What is no text is a workflow's own answer.
fn judge(output: Value) -> Result<Value, Failure> {
    let text = output["body"].as_str().map(str::trim).unwrap_or_default();
    if output["status"] == 202 || matches!(text, "" | "1") {
        return Ok(kept(output));
    }
    Err(status_behind(text).map_or_else(|| unexpected(&output), |status| Code::of_status(status, text)))
}

/// The status that a connector got from Teams, where its words name one.
fn status_behind(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("HTTP error ")?;
    rest.get(..3)?.parse().ok().filter(|status| (400..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::connect::Address;
    use crate::executors::payload::Reading;

    const URL: &str = "https://prod-1.westeurope.logic.azure.com:443/workflows/ab/triggers/manual/paths/invoke?sig=xyz";

    fn problems(payload: &Value, reading: Reading) -> Vec<String> {
        let problems = PROVIDER.call(payload, reading, Address::InPayload).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    fn content(payload: &Value) -> Value {
        let call = PROVIDER.call(payload, Reading::Rendered, Address::InPayload).expect("good").expect("a call");
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        assert_eq!((&body["type"], body["attachments"].as_array().map(Vec::len)), (&json!("message"), Some(1)));
        let attachment = &body["attachments"][0];
        assert_eq!((&attachment["contentType"], &attachment["contentUrl"]), (&json!(CONTENT_TYPE), &json!(null)));
        attachment["content"].clone()
    }

    #[test]
    fn words_become_a_card() {
        let payload = json!({"url": URL, "title": "Disk full", "text": "on **db-1**", "action_url": "https://r.example/7",
            "facts": [{"title": "Used", "value": 97}, null, {"title": "Since", "value": "noon"}]});
        assert_eq!(
            content(&payload),
            json!({"$schema": SCHEMA, "type": "AdaptiveCard", "version": "1.4",
                "body": [
                    {"type": "TextBlock", "text": "Disk full", "wrap": true, "size": "Medium", "weight": "Bolder"},
                    {"type": "TextBlock", "text": "on **db-1**", "wrap": true},
                    {"type": "FactSet", "facts": [{"title": "Used", "value": "97"}, {"title": "Since", "value": "noon"}]},
                ],
                "actions": [{"type": "Action.OpenUrl", "title": "Open", "url": "https://r.example/7"}]})
        );
        let plain = content(&json!({"url": URL, "text": "hi"}));
        assert_eq!(plain["body"], json!([{"type": "TextBlock", "text": "hi", "wrap": true}]));
        assert_eq!(plain.get("actions"), None);
    }

    #[test]
    fn a_card_is_sent_as_it_is() {
        let card = json!({"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "Table"}], "msteams": {"width": "Full"}});
        assert_eq!(content(&json!({"url": URL, "card": card})), card);
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        for (payload, expected) in [
            (json!({"url": URL}), "/text: is required, unless card is given"),
            (json!({"url": URL, "text": ""}), "/text: must not be empty"),
            (json!({"url": URL, "text": "x", "facts": {"a": 1}}), "/facts: must be a list, is an object"),
            (json!({"url": URL, "text": "x", "facts": [1]}), "/facts/0: must be an object, is a number"),
            (
                json!({"url": URL, "text": "x", "facts": [{"title": "a"}]}),
                "/facts/0: must have a title and a value, each a text, number or boolean",
            ),
            (
                json!({"url": URL, "text": "x", "action_url": "javascript:x"}),
                "/action_url: must be an http or https URL",
            ),
            (json!({"url": URL, "card": "x"}), "/card: must be an object, is a text"),
            (
                json!({"url": URL, "text": "x", "card": {"type": "AdaptiveCard", "version": "1.4"}}),
                "/text: cannot be given beside card, which is the whole message",
            ),
            (json!({"url": URL, "card": {"version": "1.4"}}), "/card/type: must be \"AdaptiveCard\""),
            (
                json!({"url": URL, "card": {"type": "AdaptiveCard", "version": "1.6"}}),
                "/card/version: must be one of: 1.0, 1.1, 1.2, 1.3, 1.4, 1.5",
            ),
            (json!({"text": "x"}), "/url: is required"),
        ] {
            assert_eq!(problems(&payload, Reading::Document), [expected], "{payload}");
        }
        let open = json!({"url": URL, "card": {"type": "{{ t.kind }}", "version": "{{ t.version }}"}});
        assert_eq!(problems(&open, Reading::Document), [] as [String; 0]);
        assert_eq!(problems(&open, Reading::Rendered).len(), 2);
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        let of = |chars: usize| problems(&json!({"url": URL, "text": "x".repeat(chars)}), Reading::Rendered);
        assert_eq!(of(28_000), [] as [String; 0]);
        assert_eq!(of(28_600), [": the message has 28875 bytes as JSON, at most 28672 are taken"]);
    }

    #[test]
    fn answers_mean_what_they_say() {
        let answer = |status: u16, body: Value| judge(json!({"status": status, "headers": {}, "body": body}));
        for (status, body) in [(202, json!(null)), (200, json!("1")), (200, json!(null)), (200, json!({"id": 7}))] {
            assert_eq!(answer(status, body.clone()), Ok(json!({"status": status, "body": body})));
        }
        let behind = |code: &str| {
            let words = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
            answer(200, json!(format!("{words} {code} with ContextId tcid=0,server=x,cv=y..")))
        };
        for (code, word, retryable) in [
            ("429", "rate_limited", true),
            ("503", "http_status", true),
            ("413", "http_status", false),
            ("403", "http_status", false),
            ("4x", "unexpected_answer", false),
            ("200", "unexpected_answer", false),
        ] {
            let failure = behind(code).expect_err("no success");
            assert_eq!((failure.code.as_str(), failure.retryable), (word, retryable), "{code}");
            assert!(failure.message.contains("Webhook message delivery failed"), "{}", failure.message);
        }
        assert!(answer(200, json!("Summary or Text is required.")).is_err());
    }
}
