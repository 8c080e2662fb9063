//! `trigger_webhook` over the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::server::{Heard, Server};
use super::{AMPLE, assert_failed, attempt, executor, output};

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Verifies a delivery as a receiver does.
fn is_signed(heard: &Heard) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(SECRET).expect("base64")).expect("any length");
    for part in [heard.header("webhook-id"), Some("."), heard.header("webhook-timestamp"), Some(".")] {
        mac.update(part.expect("the header is there").as_bytes());
    }
    mac.update(&heard.body);
    let signature = heard.header("webhook-signature").and_then(|value| value.strip_prefix("v1,")).expect("version 1");
    mac.verify_slice(&STANDARD.decode(signature).expect("base64")).is_ok()
}

#[tokio::test]
async fn a_delivery_is_signed_and_its_id_is_the_same_in_all_attempts() {
    let mut server = Server::start().await;
    server.answer("500 No", "", "").answer("200 OK", "Content-Type: application/json\r\n", r#"{"ok":true}"#);
    let webhook = executor("trigger_webhook");
    let payload = json!({
        "url": format!("{}/hook", server.url), "secret": format!("whsec_{SECRET}"), "type": "task.created",
        "headers": {"X-Source": "core"}, "title": "Follow ü", "n": [1],
    });
    let attempt = attempt(payload, AMPLE);
    assert_failed(&webhook.execute(attempt.clone()).await, "http_status", true);
    let performed = webhook.execute(attempt.clone()).await;
    assert_eq!(output(&performed)["body"], json!({"ok": true}));
    assert_eq!(performed.logged_payload["secret"], json!("[redacted]"));
    for _ in 0..2 {
        let heard = server.next().await;
        assert_eq!(heard.line, "POST /hook HTTP/1.1");
        let body: Value = serde_json::from_slice(&heard.body).expect("JSON");
        assert_eq!(body, json!({"type": "task.created", "title": "Follow ü", "n": [1]}));
        assert!(is_signed(&heard), "{heard:?}");
        assert_eq!(heard.header("webhook-id"), Some(format!("msg_{}", attempt.execution).as_str()));
        assert_eq!(heard.header("idempotency-key"), Some(attempt.execution.to_string().as_str()));
        assert_eq!(heard.header("content-type"), Some("application/json"));
        assert_eq!(heard.header("x-source"), Some("core"));
        let at: i64 = heard.header("webhook-timestamp").and_then(|text| text.parse().ok()).expect("seconds");
        assert!((chrono::Utc::now().timestamp() - at).abs() < 300, "{at}");
    }
}

#[tokio::test]
async fn without_a_secret_there_is_no_signature() {
    let mut server = Server::start().await;
    server.answer("204 No Content", "", "");
    let performed = executor("trigger_webhook").execute(attempt(json!({"url": server.url, "title": "x"}), AMPLE)).await;
    assert_eq!(output(&performed)["status"], json!(204));
    let heard = server.next().await;
    assert_eq!(heard.header("webhook-signature"), None);
    assert!(heard.header("webhook-id").is_some() && heard.header("webhook-timestamp").is_some());
}

#[tokio::test]
async fn a_redirect_is_a_failure() {
    let mut server = Server::start().await;
    server.answer("302 Found", "Location: /other\r\n", "");
    let performed = executor("trigger_webhook").execute(attempt(json!({"url": server.url}), AMPLE)).await;
    assert_failed(&performed, "http_status", false);
    server.next().await;
    assert!(server.is_quiet());
}

#[tokio::test]
async fn a_secret_that_cannot_sign_fails_before_anything_is_sent() {
    let mut server = Server::start().await;
    let payload = json!({"url": server.url, "secret": "planted, and no base64"});
    let performed = executor("trigger_webhook").execute(attempt(payload, AMPLE)).await;
    assert_failed(&performed, "invalid_payload", false);
    assert!(!format!("{performed:?}").contains("planted"));
    assert!(server.is_quiet());
}
