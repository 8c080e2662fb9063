//! What becomes of an event here becomes of its alerts at PagerDuty: acknowledged and resolved under the key of the page, also
//! where the process is killed meanwhile.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kills::{client, start, until};
use super::{EVENTS, reported};
use crate::orchestration::bed::Client;
use crate::orchestration::on_both_stores;
use crate::providers::{Provider, pagerduty};
use crate::support::{Installation, StoreKind};

/// Two rules that page: one leaves the alert's key to the execution, one says it itself.
async fn prepare(client: &Client<'_>, pager: &Provider) {
    client.post("/api/v1/secrets", json!({"name": "ROUTING", "value": pagerduty::KEY}), 201).await;
    let integration = json!({"name": "pager", "kind": "pagerduty", "endpoint": pager.url,
        "credentials": {"routing_key": "secrets.ROUTING"}});
    client.post("/api/v1/integrations", integration, 201).await;
    let own = json!({"channel": "pager", "payload": {"dedup_key": "shop-{{ trigger.subject }}"}});
    for (via, channel) in [("plain", json!("pager")), ("own", own)] {
        let rule = json!({"rule_name": via, "trigger_conditions": {"via": via},
            "escalation_levels": [{"level": 1, "notify_channels": [channel]}]});
        client.post("/api/v1/escalation-rules", rule, 201).await;
    }
}

/// Reports a failure, waits for its page, and gives the path of its event.
async fn paged(client: &Client<'_>, via: &str, subject: &str) -> String {
    let path = reported(client, json!({"via": via, "subject": subject})).await;
    client.until(&path, |event| event["notifications_sent"][0]["status"] == "sent").await;
    path
}

/// The state of each alert, in the order in which they were opened.
fn states(pager: &Provider) -> Vec<String> {
    let state = |alert: &Value| alert["state"].as_str().unwrap_or_default().to_owned();
    pager.shown().iter().map(state).collect()
}

async fn alerts_are_acknowledged_and_resolved_with_their_events(kind: StoreKind) {
    let pager = pagerduty::start();
    let installation = Installation::new(kind).await;
    let mut server = start(&installation, None);
    let path = {
        let client = client(&server);
        prepare(&client, &pager).await;
        let path = paged(&client, "plain", "db").await;
        client.post(&format!("{path}/acknowledge"), json!({}), 200).await;
        until("it is acknowledged there", || states(&pager) == ["acknowledged"]).await;
        let is_noted = |event: &Value| {
            let sent = event["notifications_sent"].as_array().cloned().unwrap_or_default();
            sent.iter().any(|sent| sent["purpose"] == "follow_up" && sent["status"] == "sent")
        };
        client.until(&path, is_noted).await;
        // It is resolved there, and the process dies before it hears so.
        pager.hold(true);
        client.post(&format!("{path}/resolve"), json!({}), 200).await;
        until("it is resolved there", || states(&pager) == ["resolved"]).await;
        path
    };
    server.kill();
    pager.hold(false);
    server = start(&installation, None);
    let client = client(&server);
    let all_sent = |event: &Value| {
        let sent = event["notifications_sent"].as_array().cloned().unwrap_or_default();
        sent.len() == 3 && sent.iter().all(|sent| sent["status"] == "sent")
    };
    client.until(&path, all_sent).await;
    let keys: BTreeSet<String> = pager.keys().into_iter().collect();
    assert_eq!((keys.len(), states(&pager)), (1, vec!["resolved".to_owned()]), "one alert, under one key: {keys:?}");

    // A key of the rule's own is the same for both; what ends as failed leaves its alert open.
    let own = paged(&client, "own", "cart").await;
    let failed = paged(&client, "plain", "mail").await;
    client.post(&format!("{failed}/resolve"), json!({"failed": true}), 200).await;
    client.post(&format!("{own}/resolve"), json!({}), 200).await;
    until("the other is resolved there", || states(&pager) == ["resolved", "resolved", "triggered"]).await;
    assert_eq!(pager.shown()[1]["dedup_key"], "shop-cart");
    assert_eq!(client.items(EVENTS).await.len(), 3);
}

/// As a crash leaves it that comes when the provider has taken the page, and before anybody has noted what sends it; and the
/// event is taken before anybody looks at it.
async fn forget_what_sends_it(installation: &Installation) {
    let service = if installation.database_url.is_some() { "SET ROLE core314_service;" } else { "" };
    let forget = "UPDATE outbox SET status = 'pending', run_id = NULL, sent_at_ms = NULL; \
        UPDATE escalations SET wake_at_ms = NULL";
    installation.meddle(&format!("{service} {forget}")).await;
}

async fn a_page_that_a_crash_has_left_without_a_note_is_followed_up(kind: StoreKind) {
    let pager = pagerduty::start();
    let installation = Installation::new(kind).await;
    let mut server = start(&installation, None);
    let path = {
        let client = client(&server);
        prepare(&client, &pager).await;
        paged(&client, "plain", "db").await
    };
    for (verb, state) in [("acknowledge", "acknowledged"), ("resolve", "resolved")] {
        server.kill();
        forget_what_sends_it(&installation).await;
        server = start(&installation, None);
        let client = client(&server);
        assert_eq!(client.get(&path).await["notifications_sent"][0]["status"], "pending", "nobody has noted it");
        client.post(&format!("{path}/{verb}"), json!({}), 200).await;
        until("the pager is told", || states(&pager) == [state]).await;
        let all_sent = |event: &Value| {
            let sent = event["notifications_sent"].as_array().cloned().unwrap_or_default();
            sent.len() >= 2 && sent.iter().all(|sent| sent["status"] == "sent")
        };
        client.until(&path, all_sent).await;
    }
    let keys: BTreeSet<String> = pager.keys().into_iter().collect();
    assert_eq!((keys.len(), pager.shown().len()), (1, 1), "one alert, under one key: {keys:?}");
}

on_both_stores!(
    alerts_are_acknowledged_and_resolved_with_their_events,
    a_page_that_a_crash_has_left_without_a_note_is_followed_up,
);
