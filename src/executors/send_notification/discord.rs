//! Discord, by a webhook of its API of version 10 (<https://docs.discord.com/developers/resources/webhook>).
//!
//! With `wait` the answer is the message that was made, so that a message that Discord did not keep is no success. 429
//! brings `Retry-After`, in seconds. Unless the payload says otherwise nobody is pinged: the text may come from outside.

use core314_domain::integration::{Field, Kind};
use core314_domain::log::Failure;
use serde_json::{Map, Value, json};

use super::{Message, Provider, WEBHOOK_URL, unexpected};
use crate::executors::payload::{Reader, kind};

pub const PROVIDER: Provider = Provider { read, judge };

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "discord",
    about: "Discord, by a channel's webhook.",
    endpoint: None,
    credentials: &[Field::required(WEBHOOK_URL, "the address that Discord shows for the webhook")],
    settings: &[],
    check: |_| Vec::new(),
};

const KEYS: [&str; 8] = ["url", "text", "embeds", "username", "avatar_url", "tts", "allowed_mentions", "thread_id"];
const MAX_TEXT_CHARS: usize = 2_000;
const MAX_NAME_CHARS: usize = 80;
const MAX_EMBEDS: usize = 10;

fn read(reader: &mut Reader<'_>) -> Message {
    reader.only(&KEYS);
    if !reader.has("text") && !reader.has("embeds") {
        reader.problem(&["text"], "is required, unless embeds are given");
    }
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("content", reader.cut("text", MAX_TEXT_CHARS).map(Value::from));
    put("username", reader.said("username", MAX_NAME_CHARS).map(Value::from));
    put("avatar_url", reader.text("avatar_url").map(Value::from));
    put("tts", reader.flag("tts").map(Value::from));
    let mut embeds = Vec::new();
    for (place, embed) in reader.list("embeds", MAX_EMBEDS) {
        if embed.is_object() {
            embeds.push(embed.clone());
        } else {
            reader.problem(&["embeds", &place], format!("must be an object, is {}", kind(embed)));
        }
    }
    put("embeds", (!embeds.is_empty()).then(|| embeds.into()));
    let mentions = reader.object("allowed_mentions").cloned().map(Value::Object);
    put("allowed_mentions", Some(mentions.unwrap_or_else(|| json!({"parse": []}))));
    let mut query = vec![("wait", "true".to_owned())];
    query.extend(reader.text("thread_id").map(|id| ("thread_id", id.to_owned())));
    Message { body: Value::Object(body), query, ..Message::default() }
}

/// The message that was made.
#[expect(clippy::needless_pass_by_value, reason = "as every provider judges")]
fn judge(output: Value) -> Result<Value, Failure> {
    let message = &output["body"];
    match message["id"].as_str() {
        Some(id) => Ok(json!({"message_id": id, "channel_id": message["channel_id"]})),
        None => Err(unexpected(&output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::connect::Address;
    use crate::executors::payload::Reading;

    const URL: &str = "https://discord.com/api/webhooks/1/planted";

    #[test]
    fn nobody_is_pinged_unless_the_payload_says_so() {
        let body = |payload: &Value| {
            let call = PROVIDER.call(payload, Reading::Rendered, Address::InPayload).expect("good").expect("a call");
            (call.url.query().map(str::to_owned), serde_json::from_slice::<Value>(&call.body).expect("JSON"))
        };
        let (query, plain) = body(&json!({"url": URL, "text": "@everyone look", "thread_id": "7"}));
        assert_eq!(plain, json!({"content": "@everyone look", "allowed_mentions": {"parse": []}}));
        assert_eq!(query.as_deref(), Some("wait=true&thread_id=7"));
        let (_, loud) = body(&json!({"url": URL, "text": "x", "allowed_mentions": {"parse": ["everyone"]}}));
        assert_eq!(loud["allowed_mentions"], json!({"parse": ["everyone"]}));
    }

    #[test]
    fn a_success_is_a_message() {
        let good = json!({"status": 200, "body": {"id": "5", "channel_id": "6", "content": "x"}});
        assert_eq!(judge(good), Ok(json!({"message_id": "5", "channel_id": "6"})));
        assert!(judge(json!({"status": 204, "body": null})).is_err());
    }
}
