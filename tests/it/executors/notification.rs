//! `send_notification` against providers that judge what they get.

use std::sync::Arc;

use core314_actors::ports::executor::Performed;
use core314_actors::testkit::memory_inbox::MemoryInbox;
use core314_domain::ids::UserId;
use core314_domain::words::{NotificationType, Severity};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AMPLE, assert_failed, attempt, executor, executor_delivering, failure, output, settings};
use crate::providers::{slack, teams};

async fn send(target: &str, payload: Value) -> Performed {
    let mut attempt = attempt(payload, AMPLE);
    attempt.action_target = target.into();
    executor("send_notification").execute(attempt).await
}

/// Nothing that is kept of an attempt tells the address.
#[track_caller]
fn assert_secret(performed: &Performed) {
    let kept = format!("{performed:?}");
    assert!(!kept.contains("planted"), "{kept}");
}

#[tokio::test]
async fn slack_shows_what_was_sent_and_says_ok() {
    let slack = slack::start();
    let url = format!("{}{}", slack.url, slack::GOOD);
    let blocks =
        json!([{"type": "section", "text": {"type": "mrkdwn", "text": "*db-1* is full"}}, {"type": "divider"}]);
    let performed = send("slack", json!({"url": url, "text": "db-1 is full", "blocks": blocks})).await;
    assert_eq!(*output(&performed), json!({"status": 200, "body": "ok"}));
    assert_eq!(slack.shown(), [json!({"text": "db-1 is full", "blocks": blocks})]);
    assert_eq!(slack.keys(), [attempt(json!({}), AMPLE).execution.to_string()]);
    assert_secret(&performed);
    assert_eq!(performed.logged_payload["url"], json!(format!("{}/[redacted]", slack.url)));
    let http = performed.http.expect("figures");
    assert_eq!((http.endpoint, http.status_code), (format!("{}/[redacted]", slack.url), Some(200)));
}

#[tokio::test]
async fn slacks_own_words_say_why_there_is_no_message() {
    let slack = slack::start();
    for (path, status, words) in slack::OTHERS {
        let performed = send("slack", json!({"url": format!("{}{path}", slack.url), "text": "x"})).await;
        assert_failed(&performed, "http_status", status == 500);
        assert!(failure(&performed).message.ends_with(&format!(": {words}")), "{:?}", failure(&performed));
        assert_eq!(failure(&performed).details, Some(json!({"status": status})));
        assert_secret(&performed);
    }
    let bad = json!({"url": format!("{}{}", slack.url, slack::GOOD), "blocks": [{"type": "heading"}]});
    let performed = send("slack", bad).await;
    assert_failed(&performed, "http_status", false);
    assert_eq!(failure(&performed).message, "400 Bad Request: invalid_blocks");
    assert_eq!(slack.shown(), [] as [Value; 0]);
}

#[tokio::test]
async fn slacks_wish_for_patience_is_heard() {
    let slack = slack::start();
    slack.refuse(slack::rate_limited("30"));
    let payload = json!({"url": format!("{}{}", slack.url, slack::GOOD), "text": "x"});
    let performed = send("slack", payload.clone()).await;
    assert_failed(&performed, "rate_limited", true);
    assert_eq!(failure(&performed).retry_after_ms, Some(30_000));
    assert_secret(&performed);
    output(&send("slack", payload).await);
    assert_eq!(slack.keys()[0], slack.keys()[1], "the key is the same in all attempts");
}

#[tokio::test]
async fn a_page_that_is_not_slacks_is_no_success() {
    let slack = slack::start();
    slack.refuse(super::super::providers::Reply::text(200, "<html>Please sign in to planted-slack-token-0001</html>"));
    let performed = send("slack", json!({"url": format!("{}{}", slack.url, slack::GOOD), "text": "x"})).await;
    assert_failed(&performed, "unexpected_answer", false);
    assert_eq!(failure(&performed).message, "200: <html>Please sign in to [redacted]</html>");
    assert_secret(&performed);
}

#[tokio::test]
async fn teams_accepts_cards_built_and_given() {
    let teams = teams::start();
    let url = format!("{}{}", teams.url, teams::GOOD);
    let performed = send(
        "teams",
        json!({"url": url, "title": "Disk full", "text": "on **db-1**", "action_url": "https://runbooks.example/7",
            "facts": [{"title": "Used", "value": 97}]}),
    )
    .await;
    assert_eq!(*output(&performed), json!({"status": 202, "body": null}));
    assert_secret(&performed);
    assert_eq!(performed.logged_payload["url"], json!(format!("{}/[redacted]", teams.url)));
    assert_eq!(performed.http.expect("figures").endpoint, format!("{}/[redacted]", teams.url));
    let given = json!({"type": "AdaptiveCard", "version": "1.2", "body": [{"type": "TextBlock", "text": "hi"}]});
    output(&send("teams", json!({"url": url, "card": given})).await);
    let shown = teams.shown();
    assert_eq!(shown[1], given);
    let kinds: Vec<&Value> = shown[0]["body"].as_array().expect("a body").iter().map(|e| &e["type"]).collect();
    assert_eq!(kinds, ["TextBlock", "TextBlock", "FactSet"]);
    assert_eq!(shown[0]["actions"][0]["url"], json!("https://runbooks.example/7"));
}

#[tokio::test]
async fn teams_errors_are_final_or_not_as_documented() {
    let teams = teams::start();
    let to = |path: &str| json!({"url": format!("{}{path}", teams.url), "text": "x"});
    let performed = send("teams", to(teams::FORGED)).await;
    assert_failed(&performed, "http_status", false);
    assert!(failure(&performed).message.contains("AuthorizationFailed"), "{:?}", failure(&performed));
    assert_secret(&performed);
    assert_failed(&send("teams", to("/workflows/none/planted-teams-workflow")).await, "http_status", false);

    teams.refuse(teams::throttled("17"));
    let performed = send("teams", to(teams::GOOD)).await;
    assert_failed(&performed, "rate_limited", true);
    assert_eq!(failure(&performed).retry_after_ms, Some(17_000));

    let unknown = json!({"url": format!("{}{}", teams.url, teams::GOOD),
        "card": {"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "Blink"}]}});
    let performed = send("teams", unknown).await;
    assert_failed(&performed, "http_status", false);
    assert!(failure(&performed).message.contains("TriggerInputSchemaMismatch"), "{:?}", failure(&performed));
    assert_eq!(teams.shown(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_connectors_error_behind_a_success_is_a_failure() {
    let teams = teams::start();
    let payload = json!({"url": format!("{}{}", teams.url, teams::CONNECTOR), "text": "x"});
    for (status, code, retryable) in
        [(429, "rate_limited", true), (502, "http_status", true), (403, "http_status", false)]
    {
        teams.refuse(teams::refused_behind(status));
        let performed = send("teams", payload.clone()).await;
        assert_failed(&performed, code, retryable);
        assert!(
            failure(&performed).message.starts_with("Webhook message delivery failed"),
            "{:?}",
            failure(&performed)
        );
        assert_eq!(failure(&performed).details, Some(json!({"status": status})));
        assert_secret(&performed);
    }
    assert_eq!(*output(&send("teams", payload).await), json!({"status": 200, "body": "1"}));
}

#[tokio::test]
async fn what_no_provider_takes_is_not_sent() {
    let (slack, teams) = (slack::start(), teams::start());
    let mut roomy = settings();
    roomy.http.max_request_bytes = 100_000;
    let executor = executor_delivering(&roomy, "send_notification", Arc::new(MemoryInbox::default()));
    let to = |url: &str, path: &str, text: &str| json!({"url": format!("{url}{path}"), "text": text});
    for (target, payload, words) in [
        ("slack", to(&slack.url, slack::GOOD, ""), "/text: must not be empty"),
        ("teams", to(&teams.url, teams::GOOD, &"x".repeat(30_000)), "/text: has 30000 characters"),
        ("teams", to(&teams.url, teams::GOOD, &"ü".repeat(20_000)), ": the message has 40"),
        (
            "fax",
            to(&slack.url, slack::GOOD, "x"),
            ": action_target 'fax' is neither one of: slack, teams, discord, in_app,",
        ),
    ] {
        let mut attempt = attempt(payload, AMPLE);
        attempt.action_target = target.into();
        let performed = executor.execute(attempt).await;
        assert_failed(&performed, "invalid_payload", false);
        assert!(failure(&performed).message.starts_with(words), "{:?}", failure(&performed));
        assert_secret(&performed);
    }
    assert_eq!((slack.keys().len(), teams.keys().len()), (0, 0));
}

#[tokio::test]
async fn the_outbound_rules_hold_for_webhooks_too() {
    let slack = slack::start();
    let mut closed = settings();
    closed.outbound.allow_loopback = false;
    let executor = executor_delivering(&closed, "send_notification", Arc::new(MemoryInbox::default()));
    let mut attempt = attempt(json!({"url": format!("{}{}", slack.url, slack::GOOD), "text": "x"}), AMPLE);
    attempt.action_target = "slack".into();
    let performed = executor.execute(attempt).await;
    assert_failed(&performed, "forbidden_address", false);
    assert_secret(&performed);
    assert_eq!(slack.keys().len(), 0);
}

#[tokio::test]
async fn an_inbox_gets_one_notification_for_an_execution() {
    let inbox = Arc::new(MemoryInbox::default());
    let executor = executor_delivering(&settings(), "send_notification", inbox.clone());
    let payload = json!({"title": "Disk full", "message": "on db-1", "type": "alert", "action_url": "/runs/7",
        "metadata": {"host": "db-1"}});
    let mut attempt = attempt(payload, AMPLE);
    attempt.action_target = "in_app".into();
    let first = executor.execute(attempt.clone()).await;
    attempt.attempt = 1;
    let second = executor.execute(attempt.clone()).await;
    assert_eq!(output(&first), output(&second));
    let delivered = inbox.delivered();
    assert_eq!(delivered.len(), 1);
    assert_eq!(*output(&first), json!({"notification_id": delivered[0].id}));
    assert_eq!((delivered[0].owner, delivered[0].cause.execution()), (attempt.owner, Some(attempt.execution)));
    assert_eq!((delivered[0].kind, delivered[0].severity), (NotificationType::Alert, Severity::High));

    let mut elsewhere = attempt.clone();
    elsewhere.payload = Arc::new(json!({"title": "x", "message": "x", "user_id": UserId(Uuid::from_u128(8))}));
    assert_failed(&executor.execute(elsewhere).await, "invalid_payload", false);
    assert_eq!(inbox.delivered().len(), 1);
}
