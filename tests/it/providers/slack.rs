//! Slack's incoming webhooks.

use std::sync::Arc;

use serde_json::Value;

use super::{Posted, Provider, Reply};

/// The webhook of a channel that takes messages.
pub const GOOD: &str = "/services/T00000000/B00000000/planted-slack-token-0001";
/// Webhooks of other channels, and what each answers.
pub const OTHERS: [(&str, u16, &str); 6] = [
    ("/services/T00000000/B0000ARCH/planted-slack-token-0002", 410, "channel_is_archived"),
    ("/services/T00000000/B0000GONE/planted-slack-token-0003", 404, "channel_not_found"),
    ("/services/T00000000/B000LOCKD/planted-slack-token-0004", 403, "action_prohibited"),
    ("/services/T00000000/B0000USER/planted-slack-token-0005", 400, "user_not_found"),
    ("/services/T00000000/B0000ROLL/planted-slack-token-0006", 500, "rollup_error"),
    ("/services/T00000000/B00000000/planted-slack-token-0000", 404, "no_service"),
];
/// Blocks that messages may have.
const BLOCKS: [&str; 14] = [
    "actions",
    "context",
    "context_actions",
    "divider",
    "file",
    "header",
    "image",
    "input",
    "markdown",
    "plan",
    "rich_text",
    "section",
    "table",
    "video",
];

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

/// As Slack refuses a webhook that posts too fast.
pub fn rate_limited(seconds: &'static str) -> Reply {
    Reply::text(429, "rate_limited").retry_after(seconds)
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    let invalid = || Reply::text(400, "invalid_payload");
    if let Some((_, status, words)) = OTHERS.iter().find(|(path, ..)| *path == posted.path) {
        return Err(Reply::text(*status, words));
    }
    if posted.path != GOOD {
        return Err(Reply::text(404, "no_service"));
    }
    if posted.method != "POST" || posted.content_type != "application/json" {
        return Err(invalid());
    }
    let message: Value = serde_json::from_slice(&posted.body).map_err(|_| invalid())?;
    let fields = message.as_object().ok_or_else(invalid)?;
    // Whoever sent the address along has told a secret.
    if fields.contains_key("url") {
        return Err(invalid());
    }
    let list = |key: &str| fields.get(key).map(|value| value.as_array().ok_or_else(invalid)).transpose();
    let (blocks, attachments) = (list("blocks")?, list("attachments")?);
    let text = fields.get("text").map(|text| text.as_str().ok_or_else(invalid)).transpose()?;
    if text.unwrap_or_default().is_empty() && blocks.is_none() && attachments.is_none() {
        return Err(Reply::text(400, "no_text"));
    }
    if attachments.is_some_and(|list| list.len() > 100) {
        return Err(Reply::text(400, "too_many_attachments"));
    }
    if blocks.is_some_and(|list| list.len() > 50 || !list.iter().all(is_block)) {
        return Err(Reply::text(400, "invalid_blocks"));
    }
    for flag in ["mrkdwn", "unfurl_links", "unfurl_media", "link_names"] {
        if fields.get(flag).is_some_and(|value| !value.is_boolean()) {
            return Err(invalid());
        }
    }
    Ok((message.clone(), Reply::text(200, "ok")))
}

fn is_block(block: &Value) -> bool {
    let is_text = |text: &Value| {
        let kind = text["type"].as_str().unwrap_or_default();
        ["mrkdwn", "plain_text"].contains(&kind)
            && text["text"].as_str().is_some_and(|t| (1..=3_000).contains(&t.len()))
    };
    let kind = block["type"].as_str().unwrap_or_default();
    BLOCKS.contains(&kind)
        && match kind {
            "section" => block.get("text").map_or(block["fields"].is_array(), is_text),
            "header" => is_text(&block["text"]) && block["text"]["type"] == "plain_text",
            _ => true,
        }
}
