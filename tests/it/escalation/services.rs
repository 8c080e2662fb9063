//! Service clocks by the real binary: a breach is marked in time and once, whatever dies in between, and what it wants done is
//! done once; a clock that stands still is not breached.
//!
//! Whether something is in time is told by what the server has written down, never by how long a test has waited.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{all_sent, event, reported};
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

/// A breach is marked at most so long after its deadline, or after the server is there again.
const IN_TIME_MS: i64 = 5_000;

/// A rule about one subject: a breach is told to a receiver, and to whoever made the rule.
fn rule(bed: &Bed, subject: &str, more: &Value) -> Value {
    let call = json!({"action": "api_call", "target": "receiver", "payload": {"method": "POST",
        "url": format!("{}/breach", bed.sink.url), "json": {"subject": subject}}});
    let mut rule = json!({"rule_name": subject, "trigger_conditions": {"subject": subject}, "sla_enabled": true,
        "sla_breach_actions": [call, "notify_admin"], "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]});
    rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    rule
}

fn ms(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("a time: {time}"));
    chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis()
}

/// What breaches wanted done for an event, in its order: the clock, by what, and what became of it.
async fn breaches(client: &Client<'_>, path: &str) -> Vec<(i64, String, Value)> {
    let id = path.rsplit('/').next().unwrap_or_default();
    let mut rows = client.items("/api/v1/escalation-outbox?limit=100").await;
    rows.retain(|row| row["purpose"] == "sla_breach" && row["escalation_event_id"] == id);
    let said = |row: Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (row["round"].as_i64().expect("a number"), format!("{} {}", text("channel"), text("status")), row)
    };
    let mut found: Vec<(i64, String, Value)> = rows.into_iter().map(said).collect();
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    found
}

async fn a_breach_is_marked_in_time_and_once_whatever_dies(kind: StoreKind) {
    const CLOCKS: [&str; 2] = ["sla_response", "sla_resolution"];
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let path = {
        let [client, _] = bed.clients();
        let times = json!({"sla_response_time_minutes": 0.02, "sla_resolution_time_minutes": 0.08});
        client.post("/api/v1/escalation-rules", rule(&bed, "db", &times), 201).await;
        reported(&client, json!({"subject": "db"})).await
    };
    // It dies before the first breach, or in its midst, and after each.
    let mut there_ms = Vec::new();
    for clock in CLOCKS {
        bed.restart();
        there_ms.push(chrono::Utc::now().timestamp_millis());
        let client = Client::of(&bed.server, user);
        client.until(&path, |event| event[format!("{clock}_breached")] == true).await;
    }
    bed.restart();
    let client = Client::of(&bed.server, user);
    let event = event(&client, |event| event["sla_resolution_breached"] == true && all_sent(event)).await;
    let found = breaches(&client, &path).await;
    let said: Vec<(i64, &str)> = found.iter().map(|(clock, said, _)| (*clock, said.as_str())).collect();
    assert_eq!(said, [(0, "api_call sent"), (0, "in_app sent"), (1, "api_call sent"), (1, "in_app sent")]);
    for (clock, _, row) in &found {
        let clock = usize::try_from(*clock).expect("a clock");
        let (marked_ms, deadline_ms) = (ms(&row["created_at"]), ms(&event[format!("{}_deadline", CLOCKS[clock])]));
        assert!(marked_ms >= deadline_ms, "{} was marked too early: {row:#}", CLOCKS[clock]);
        let late_ms = marked_ms - deadline_ms.max(there_ms[clock]);
        assert!(late_ms <= IN_TIME_MS, "{} was marked {late_ms} ms late: {row:#}", CLOCKS[clock]);
    }
    let keys: BTreeSet<String> = bed.sink.keys().into_keys().collect();
    assert_eq!(keys.len(), 2, "a call for each breach, told again only under its key: {:?}", bed.sink.keys());
    let rules = client.items("/api/v1/escalation-rules").await;
    assert_eq!(rules[0]["breach_count"], 2, "{:#}", rules[0]);
}

/// The other event says when the time of the first one would have been over.
async fn a_clock_that_stands_still_is_not_breached(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let time = json!({"sla_response_time_minutes": 0.08});
    for subject in ["vendor", "own"] {
        client.post("/api/v1/escalation-rules", rule(&bed, subject, &time), 201).await;
    }
    let paused = reported(&client, json!({"subject": "vendor"})).await;
    let reason = json!({"pause_reason": "the vendor's turn"});
    let answer = client.ask(Method::PATCH, &paused, Some(&reason), &[]).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    let before_ms = ms(&answer.body["sla_response_deadline"]);
    let why = client.get(&format!("{paused}/why")).await;
    let shown = pick(&why, "/response_clock/pause_reason /response_clock/paused_by resolution_clock");
    assert_eq!(shown, json!(["the vendor's turn", format!("user:{}", client.user), null]), "{why:#}");
    assert!(why["response_clock"]["paused_since"].is_string(), "{why:#}");
    let audited = client.items("/api/v1/audit-log?event_type=escalation_changed").await;
    assert_eq!(audited.len(), 1, "{audited:#?}");
    assert!(audited[0].to_string().contains("the vendor's turn"), "{audited:#?}");
    let other = reported(&client, json!({"subject": "own"})).await;
    client.until(&other, |event| event["sla_response_breached"] == true).await;
    let still = client.get(&paused).await;
    assert_eq!(still["sla_response_breached"], false, "{still:#}");
    assert!(breaches(&client, &paused).await.is_empty());

    let answer = client.ask(Method::PATCH, &paused, Some(&json!({"pause_reason": null})), &[]).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    let deadline_ms = ms(&answer.body["sla_response_deadline"]);
    assert!(deadline_ms > before_ms, "what stood still is added");
    client.until(&paused, |event| event["sla_response_breached"] == true).await;
    let found = breaches(&client, &paused).await;
    assert_eq!(found.iter().map(|(clock, ..)| *clock).collect::<Vec<_>>(), [0, 0], "once: {found:#?}");
    let late_ms = ms(&found[0].2["created_at"]) - deadline_ms;
    assert!((0..=IN_TIME_MS).contains(&late_ms), "it was marked {late_ms} ms after its deadline");
}

on_both_stores!(a_breach_is_marked_in_time_and_once_whatever_dies, a_clock_that_stands_still_is_not_breached);
