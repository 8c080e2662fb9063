//! Discord's webhooks, version 10 of its API.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const GOOD: &str = "/api/webhooks/223704706495545344/planted-discord-token-0001";

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

pub fn rate_limited(seconds: &'static str) -> Reply {
    let body = json!({"message": "You are being rate limited.", "retry_after": 0.6, "global": false});
    Reply::json(429, &body).retry_after(seconds)
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    let error = |status, code: u32, message: &str| Reply::json(status, &json!({"message": message, "code": code}));
    if posted.path != GOOD {
        return Err(error(404, 10_015, "Unknown Webhook"));
    }
    let body = posted.json().ok_or_else(|| error(400, 50_109, "The request body contains invalid JSON."))?;
    let content = body["content"].as_str().unwrap_or_default();
    let embeds = body["embeds"].as_array().map_or(0, Vec::len);
    if content.is_empty() && embeds == 0 {
        return Err(error(400, 50_006, "Cannot send an empty message"));
    }
    let known = ["content", "username", "avatar_url", "tts", "embeds", "allowed_mentions"];
    let is_known = body.as_object().is_some_and(|members| members.keys().all(|key| known.contains(&key.as_str())));
    if content.chars().count() > 2_000 || embeds > 10 || !is_known || posted.method != "POST" {
        return Err(error(400, 50_035, "Invalid Form Body"));
    }
    if !posted.query().contains(&("wait".to_owned(), "true".to_owned())) {
        return Ok((body, Reply { body: String::new(), ..Reply::text(204, "") }));
    }
    let made = json!({"id": "1100", "channel_id": "2200", "content": content, "type": 0});
    Ok((body, Reply::json(200, &made)))
}
