//! SendGrid's mail, version 3 of its API.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const KEY: &str = "SG.planted-sendgrid-key-0001";
/// A key that may read statistics alone.
pub const READER: &str = "SG.planted-sendgrid-key-0002";

pub fn start() -> Arc<Provider> {
    Provider::start(judge)
}

fn refusal(status: u16, message: &str, field: Option<&str>) -> Reply {
    Reply::json(status, &json!({"errors": [{"message": message, "field": field, "help": null}]}))
}

fn judge(posted: &Posted) -> Result<(Value, Reply), Reply> {
    let is_reader = posted.header("authorization") == format!("Bearer {READER}");
    if !is_reader && posted.header("authorization") != format!("Bearer {KEY}") {
        return Err(refusal(401, "The provided authorization grant is invalid, expired, or revoked", None));
    }
    if (posted.method.as_str(), posted.path.as_str()) == ("GET", "/v3/scopes") {
        let scopes = if is_reader { json!(["stats.read"]) } else { json!(["mail.send", "stats.read"]) };
        return Err(Reply::json(200, &json!({"scopes": scopes})));
    }
    if is_reader {
        return Err(refusal(403, "access forbidden", None));
    }
    if (posted.method.as_str(), posted.path.as_str()) != ("POST", "/v3/mail/send") {
        return Err(refusal(404, "The requested resource does not exist", None));
    }
    let mail = posted.json().ok_or_else(|| refusal(400, "Bad Request", None))?;
    let is_address = |value: &Value| value["email"].as_str().is_some_and(|email| email.contains('@'));
    let are = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_address));
    let people = mail["personalizations"].as_array().filter(|list| !list.is_empty());
    let people =
        people.ok_or_else(|| refusal(400, "The personalizations field is required", Some("personalizations")))?;
    for one in people {
        let others = ["cc", "bcc"].iter().all(|key| one.get(*key).is_none_or(are));
        if !are(&one["to"]) || !others {
            return Err(refusal(400, "Does not contain a valid address.", Some("personalizations.0.to.0.email")));
        }
    }
    if mail["from"]["email"] != "ops@example.com" {
        let words = "The from address does not match a verified Sender Identity.";
        return Err(refusal(403, words, Some("from")));
    }
    if mail["subject"].as_str().is_none_or(str::is_empty) {
        return Err(refusal(400, "The subject is required.", Some("subject")));
    }
    let kinds: Vec<&str> =
        mail["content"].as_array().into_iter().flatten().filter_map(|c| c["type"].as_str()).collect();
    if !matches!(kinds.as_slice(), ["text/plain" | "text/html"] | ["text/plain", "text/html"]) {
        return Err(refusal(400, "The text/plain content must come first", Some("content")));
    }
    Ok((mail, Reply { body: String::new(), ..Reply::text(202, "") }))
}
