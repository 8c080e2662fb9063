//! Twilio's messages, version 2010-04-01.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub const TOKEN: &str = "planted-twilio-token-0001";
/// A standard API key, which may not read the account, and its secret.
pub const API_KEY: &str = "SK0123456789abcdef0123456789abcdef";
pub const API_SECRET: &str = "planted-twilio-secret-0001";
/// A number that Twilio knows to be none.
pub const NOBODY: &str = "+15005550001";

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

pub fn too_fast() -> Reply {
    refusal(429, 20_429, "Too Many Requests")
}

fn refusal(status: u16, code: u32, message: &str) -> Reply {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    Reply::json(status, &json!({"code": code, "message": message, "more_info": more, "status": status}))
}

fn basic(user: &str, word: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{word}")))
}

/// What can be read: the account by its own token, its messages by both.
fn read(posted: &Posted, is_key: bool) -> Reply {
    let account = format!("/2010-04-01/Accounts/{ACCOUNT}");
    match posted.path.strip_prefix(&account) {
        Some(".json") if is_key => refusal(401, 20_003, "Authenticate"),
        Some(".json") => {
            Reply::json(200, &json!({"sid": ACCOUNT, "friendly_name": "Octo", "status": "active", "type": "Full"}))
        }
        Some("/Messages.json") if posted.query == "PageSize=1" => {
            Reply::json(200, &json!({"messages": [{"sid": "SM1", "body": "a message of somebody"}], "page_size": 1}))
        }
        _ => refusal(404, 20_404, "The requested resource was not found"),
    }
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    let is_by = |user: &str, word: &str| posted.header("authorization") == basic(user, word);
    let is_key = is_by(API_KEY, API_SECRET);
    if !is_key && !is_by(ACCOUNT, TOKEN) {
        return Err(refusal(401, 20_003, "Authenticate"));
    }
    if posted.method == "GET" {
        return Err(read(posted, is_key));
    }
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    if posted.method != "POST" || posted.path != path || posted.content_type != "application/x-www-form-urlencoded" {
        return Err(refusal(404, 20_404, "The requested resource was not found"));
    }
    let text = String::from_utf8_lossy(&posted.body);
    let url = reqwest::Url::parse(&format!("http://form/?{text}")).expect("a form");
    let fields: Vec<(String, String)> = url.query_pairs().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
    let said = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (to, body) = (said("To"), said("Body"));
    if to == NOBODY || !to.starts_with('+') {
        return Err(refusal(400, 21_211, &format!("The 'To' number {to} is not a valid phone number.")));
    }
    if said("From").is_empty() && said("MessagingServiceSid").is_empty() {
        return Err(refusal(400, 21_603, "A 'From' phone number is required."));
    }
    if body.is_empty() || body.chars().count() > 1_600 {
        return Err(refusal(400, 21_617, "The concatenated message body exceeds the 1600 character limit"));
    }
    let message = json!({"to": to, "from": said("From"), "body": body});
    let answer = json!({"sid": "SM0123456789abcdef0123456789abcdef", "status": "queued", "to": to, "error_code": null});
    Ok((message, Reply::json(201, &answer)))
}
