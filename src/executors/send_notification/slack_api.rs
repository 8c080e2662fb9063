//! Slack, by the method `chat.postMessage` of its Web API (<https://docs.slack.dev/reference/methods/chat.postMessage>).
//!
//! Every answer that is understood has status 200 and says `ok`; a refusal has a word in `error`. Rate limits come as 429
//! with `Retry-After`. The API has no version.

use core314_actors::ports::executor::Connection;
use core314_domain::log::Failure;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::slack::{judge_message, without_nulls};
use super::{Api, Sending, text, unexpected};
use crate::executors::failure::Code;
use crate::executors::payload::Reader;
use crate::executors::service::{Ask, Service};

/// The credential that opens it.
pub const TOKEN: &str = "bot_token";

pub const API: Api = Api { read, send };

const KEYS: [&str; 15] = [
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
}

fn send<'a>(
    service: &'a mut Service<'_>,
    connection: &'a Connection,
    message: &'a Map<String, Value>,
    _: &'a str,
) -> Sending<'a> {
    Box::pin(async move {
        let token = connection.credential(TOKEN).unwrap_or_default().trim();
        service.header(AUTHORIZATION, &format!("Bearer {token}"))?;
        let members = message.iter().map(|(key, value)| (key.clone(), without_nulls(value)));
        let mut body: Map<String, Value> = members.collect();
        body.insert("channel".to_owned(), text(message, connection, "channel").unwrap_or_default().into());
        let answer = service.ask(Ask::send(Method::POST, &["chat.postMessage"], &Value::Object(body))).await?;
        judge(&answer)
    })
}

fn judge(answer: &Value) -> Result<Value, Failure> {
    let body = &answer["body"];
    if body["ok"] == true && body["ts"].is_string() {
        return Ok(json!({"channel": body["channel"], "ts": body["ts"]}));
    }
    let Some(error) = body["error"].as_str().filter(|_| body["ok"] == false) else { return Err(unexpected(answer)) };
    let more = body["response_metadata"]["messages"].as_array();
    let more: Vec<&str> = more.into_iter().flatten().filter_map(Value::as_str).collect();
    let message = [&[error][..], &more].concat().join("; ");
    Err(match error {
        "ratelimited" | "rate_limited" => Code::RateLimited.failure(message),
        error if PASSING.contains(&error) => Failure::retryable(Code::Refused.word(), message),
        _ => Failure::fatal(Code::Refused.word(), message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
