//! Slack's Web API, as far as `chat.postMessage` and `auth.test` go.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const TOKEN: &str = "xoxb-planted-0001";
/// The channels that the bot may post to, and a member whom it may write to.
const CHANNELS: [&str; 3] = ["C0123456789", "#incidents", MEMBER];
pub const MEMBER: &str = "U012AB3CD";

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

pub fn rate_limited(seconds: &'static str) -> Reply {
    Reply::json(429, &json!({"ok": false, "error": "ratelimited"})).retry_after(seconds)
}

pub fn refused(error: &str) -> Reply {
    Reply::json(200, &json!({"ok": false, "error": error}))
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    if !["/api/chat.postMessage", "/api/auth.test"].contains(&posted.path.as_str()) || posted.method != "POST" {
        return Err(refused("unknown_method"));
    }
    if posted.header("authorization") != format!("Bearer {TOKEN}") {
        return Err(refused("invalid_auth"));
    }
    // Nobody sees it.
    if posted.path == "/api/auth.test" {
        let answer = json!({"ok": true, "url": "https://octo.slack.com/", "team": "Octo", "user": "robot",
            "team_id": "T12345678", "user_id": "W12345678"});
        return Err(Reply::json(200, &answer));
    }
    let body = posted.json().ok_or_else(|| refused("invalid_json"))?;
    let channel = body["channel"].as_str().unwrap_or_default();
    if !CHANNELS.contains(&channel) {
        return Err(refused("channel_not_found"));
    }
    let has = |key: &str| body.get(key).is_some_and(|value| !value.is_null());
    if !["text", "blocks", "attachments"].iter().any(|key| has(key)) {
        return Err(refused("no_text"));
    }
    let is_block = |block: &Value| block["type"].is_string();
    if has("blocks") && !body["blocks"].as_array().is_some_and(|list| list.len() <= 50 && list.iter().all(is_block)) {
        return Err(refused("invalid_blocks"));
    }
    let answer =
        json!({"ok": true, "channel": CHANNELS[0], "ts": "1503435956.000247", "message": {"text": body["text"]}});
    Ok((body, Reply::json(200, &answer)))
}
