//! What is too much for an event: a context of any size pages all the same, and of what it wants done its row shows the newest.

use serde_json::{Value, json};

use super::{all_sent, event, report};
use crate::orchestration::bed::{Bed, pick};
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

async fn a_large_context_is_cut_and_pages_all_the_same(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let rule = json!({"rule_name": "big", "trigger_conditions": {"subject": "disk"},
            "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]});
        client.post("/api/v1/escalation-rules", rule, 201).await;
        let context = json!({"subject": "disk", "error": "full", "dump": {"rows": vec!["x".repeat(1_000); 200]}});
        let taken = report(&client, context.clone()).await;
        assert_eq!(taken["admission"], "opened", "{taken}");
        let told = event(&client, |event| event["escalation_level"] == 1 && all_sent(event)).await;
        let kept = pick(&told["context_data"], "subject error is_cut dump");
        assert_eq!(kept, json!(["disk", "full", true, null]), "the largest member is left out");
        assert_eq!(told["notifications_sent"].as_array().map(Vec::len), Some(1));
        let asked = json!({"escalation_reason": "again", "trigger_context": context});
        let answer = client.post("/functions/v1/escalation-handler", asked, 200).await;
        assert_eq!(answer["escalation_event_id"], told["id"], "it joins: {answer}");
    }
}

async fn an_event_shows_its_newest_hundred_and_says_how_many_more(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let call = |no: usize| {
        json!({"action": "api_call", "target": "hook",
            "payload": {"method": "POST", "url": format!("{}/{no}", bed.sink.url), "json": {}}})
    };
    let level =
        |no: usize| json!({"level": no, "actions": (0..40).map(|n| call(no * 100 + n)).collect::<Vec<Value>>()});
    let rule = json!({"rule_name": "much", "trigger_conditions": {"subject": "much"},
        "escalation_levels": (1..=3).map(level).collect::<Vec<Value>>()});
    client.post("/api/v1/escalation-rules", rule, 201).await;
    report(&client, json!({"subject": "much"})).await;
    let is_done = |event: &Value| event["actions_left_out"] == 20 && all_sent(event);
    let shown = event(&client, is_done).await;
    let actions = shown["actions_performed"].as_array().expect("a list");
    assert_eq!((actions.len(), &shown["notifications_left_out"]), (100, &json!(0)));
    let levels: Vec<i64> = actions.iter().filter_map(|action| action["level"].as_i64()).collect();
    assert!(levels.is_sorted() && levels[19] == 1 && levels[20] == 2 && levels[99] == 3, "{levels:?}");
    bed.sink.until(120).await;
    let rows = client.items("/api/v1/escalation-outbox?limit=500").await;
    assert_eq!(rows.len(), 120, "the list of what is sent has them all");
}

on_both_stores!(
    a_large_context_is_cut_and_pages_all_the_same,
    an_event_shows_its_newest_hundred_and_says_how_many_more,
);
