//! The actors of escalation panic, or the database goes away, in the middle of a climb: each level is reached once, and each
//! message sent once.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{all_sent, outbox};
use crate::faults::looks;
use crate::orchestration::bed::{Bed, Client};
use crate::orchestration::on_both_stores;
use crate::supervised::without_database;
use crate::support::StoreKind;

/// A rule of three levels, of which each tells the user, and what it is asked about.
async fn begin(client: &Client<'_>) -> String {
    let level = |level: u32, delay: f64| json!({"level": level, "delay_minutes": delay, "actions": ["notify_user"]});
    let rule = json!({"rule_name": "db", "trigger_conditions": {"subject": "db"},
        "escalation_levels": [level(1, 0.0), level(2, 0.02), level(3, 0.05)]});
    client.post("/api/v1/escalation-rules", rule, 201).await;
    let body = json!({"context": {"subject": "db"}});
    let mut looks = looks();
    loop {
        // Who hears nothing asks again, under the same name.
        let answer =
            client.ask(Method::POST, "/api/v1/escalation-events", Some(&body), &[("Idempotency-Key", "db")]).await;
        if let Some(id) = answer.body["taken"][0]["escalation_event_id"].as_str() {
            return format!("/api/v1/escalation-events/{id}");
        }
        assert_eq!(answer.status.as_u16(), 503, "{}", answer.body);
        looks.tick().await;
    }
}

async fn each_level_once(client: &Client<'_>, event: &str) {
    let is_done = |event: &Value| event["escalation_level"] == 3 && all_sent(event);
    client.until(event, is_done).await;
    assert_eq!(outbox(client).await, ["1 in_app sent", "2 in_app sent", "3 in_app sent"]);
    assert_eq!(client.items("/api/v1/notifications").await.len(), 3, "one of each level");
}

async fn a_panic_of_its_actors_loses_and_doubles_no_level(kind: StoreKind) {
    for point in ["escalations=panic@3", "escalations=panic@6", "escalation_rule=panic@1", "escalation_rule=panic@3"] {
        let bed = Bed::start_with(kind, &[("CORE314_FAILPOINTS", format!("actor.{point}"))]).await;
        let [client, _] = bed.clients();
        let event = begin(&client).await;
        each_level_once(&client, &event).await;
        let log = std::fs::read_to_string(bed.installation.dir.path().join("server.log")).expect("it has a log");
        let (name, _) = point.split_once('=').expect("it has a name");
        assert!(log.contains(&format!("failpoint actor.{name}")), "{point}: nothing panicked");
    }
}

/// The second level is due while nobody can write down that it is reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_is_gone_loses_and_doubles_no_level() {
    let bed = Bed::start(StoreKind::Postgres).await;
    let [client, _] = bed.clients();
    let event = begin(&client).await;
    without_database(&bed.server, &bed.installation, Duration::from_secs(2)).await;
    each_level_once(&client, &event).await;
}

on_both_stores!(a_panic_of_its_actors_loses_and_doubles_no_level);
