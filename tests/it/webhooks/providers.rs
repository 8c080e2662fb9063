//! Providers as their documentation shows them: what they send, and how they sign it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core314_domain::hex::hex;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Names and values.
pub type Headers = Vec<(&'static str, String)>;

/// A provider: how its webhook is made, what it sends and how it signs.
pub struct Provider {
    pub name: &'static str,
    pub webhook: Value,
    pub secret: &'static str,
    pub body: Value,
    /// Headers of a delivery: body, id and time of sending, secret.
    pub headers: fn(&str, &str, i64, &str) -> Headers,
    pub has_window: bool,
}

pub const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub fn providers() -> Vec<Provider> {
    vec![
        Provider {
            name: "github",
            webhook: json!({"verification": "github"}),
            secret: "It's a Secret to Everybody",
            body: json!({"action": "opened", "issue": {"number": 1347}, "repository": {"full_name": "octocat/Hello-World"}}),
            headers: |body, id, _, secret| {
                vec![
                    ("X-GitHub-Event", "issues".to_owned()),
                    ("X-GitHub-Delivery", id.to_owned()),
                    ("X-Hub-Signature-256", format!("sha256={}", hex(&mac(secret.as_bytes(), body)))),
                ]
            },
            has_window: false,
        },
        Provider {
            name: "slack",
            webhook: json!({"verification": "slack"}),
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            body: json!({
                "token": "XXYYZZ", "team_id": "TXXXXXXXX", "api_app_id": "AXXXXXXXXX", "type": "event_callback",
                "event": {"type": "name_of_event", "event_ts": "1234567890.123456", "user": "UXXXXXXX1"},
                "event_id": "Ev08MFMKH6", "event_time": 1_234_567_890,
            }),
            headers: |body, _, at_s, secret| {
                let signature = hex(&mac(secret.as_bytes(), &format!("v0:{at_s}:{body}")));
                vec![("X-Slack-Request-Timestamp", at_s.to_string()), ("X-Slack-Signature", format!("v0={signature}"))]
            },
            has_window: true,
        },
        Provider {
            name: "stripe",
            webhook: json!({"verification": "hmac", "hmac": {"preset": "stripe"}}),
            secret: "whsec_stripes_own_endpoint_secret",
            body: json!({"id": "evt_1NG8Du2eZvKYlo2C", "object": "event", "type": "setup_intent.created",
                "api_version": "2023-10-16", "data": {"object": {"id": "seti_1NG8Du2eZvKYlo2C"}}}),
            headers: |body, _, at_s, secret| {
                let signature = hex(&mac(secret.as_bytes(), &format!("{at_s}.{body}")));
                vec![("Stripe-Signature", format!("t={at_s},v1={signature},v0={}", "0".repeat(64)))]
            },
            has_window: true,
        },
        Provider {
            name: "standard",
            webhook: json!({"verification": "standard_webhooks"}),
            secret: STANDARD_SECRET,
            body: json!({"type": "user.created", "timestamp": "2022-11-03T20:26:10.344522Z", "data": {"id": "1f81eb52"}}),
            headers: |body, id, at_s, secret| {
                let encoded = secret.strip_prefix("whsec_").expect("its prefix");
                let key = STANDARD.decode(encoded).expect("base64");
                let signature = STANDARD.encode(mac(&key, &format!("{id}.{at_s}.{body}")));
                vec![
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", at_s.to_string()),
                    ("webhook-signature", format!("v1,bm90IGl0 v1,{signature}")),
                ]
            },
            has_window: true,
        },
    ]
}
