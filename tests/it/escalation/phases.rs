//! A phase that takes longer than it may: rules are asked while it hangs, once, whatever dies in between, and not again at its end.

use serde_json::{Value, json};

use super::EVENTS;
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

/// A flow whose first phase waits for a signal, and may take a second.
fn release() -> Value {
    json!({
        "flow_name": "release", "trigger_type": "manual",
        "phases": [{"number": 1, "name": "build", "sla_seconds": 1}, {"number": 2, "name": "ship", "sla_seconds": 3600}],
        "flow_steps": [
            {"id": "hang", "type": "wait", "phase": 1, "config": {"signal": "go"}},
            {"id": "ship", "phase": 2, "config": {"action_type": "transform", "action_payload": {"shipped": true}}},
        ],
    })
}

fn of_run<'a>(page: &'a Value, run: &str) -> Option<&'a Value> {
    page["items"].as_array()?.iter().find(|event| event["flow_run_id"] == run)
}

/// The event of a run that hangs, once it is there.
async fn told(client: &Client<'_>, run: &str) -> Value {
    let page = client.until(EVENTS, |page| of_run(page, run).is_some()).await;
    of_run(&page, run).cloned().expect("it is there")
}

async fn a_phase_that_hangs_is_told_of_once_whatever_dies(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let rule = json!({"rule_name": "late", "trigger_conditions": "trigger.reason == 'sla_exceeded'",
        "dedup_key": "trigger.run_id", "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]});
    let run = {
        let [client, _] = bed.clients();
        client.post("/api/v1/escalation-rules", rule, 201).await;
        client.save(&release()).await;
        client.start("release").await.id().to_owned()
    };
    // The timer is a row: it is kept whether the server dies before its time or just then.
    bed.restart();
    let client = Client::of(&bed.server, user);
    let event = told(&client, &run).await;
    let expected = json!(["sla_exceeded", 1]);
    assert_eq!(pick(&event, "escalation_reason failure_count"), expected);
    let context = &event["context_data"];
    assert_eq!(
        pick(context, "phase phase_name sla_ms is_under_way flow_name"),
        json!([1, "build", 1_000, true, "release"])
    );
    assert!(context["duration_ms"].as_i64().is_some_and(|ms| ms > 1_000), "{context}");
    let row = client.get(&format!("/api/v1/runs/{run}")).await;
    assert_eq!((&row["run_status"], &row["completed_at"]), (&json!("running"), &Value::Null), "it hangs still");
    assert!(client.items("/api/v1/phases/sla-violations").await.is_empty(), "no transition was late yet");

    bed.restart();
    let client = Client::of(&bed.server, user);
    client.post(&format!("/api/v1/runs/{run}/signal/go"), json!({}), 200).await;
    client.run(&run, "completed").await;
    assert_eq!(client.items("/api/v1/phases/sla-violations").await.len(), 1, "its end is late");
    // What is told after it has been told when this has.
    let second = client.start("release").await.id().to_owned();
    told(&client, &second).await;
    let page = client.get(EVENTS).await;
    let first = of_run(&page, &run).expect("it is there");
    assert_eq!(pick(first, "escalation_reason failure_count"), expected, "neither the restart nor the end tells again");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2), "{page}");
}

on_both_stores!(a_phase_that_hangs_is_told_of_once_whatever_dies);
