//! Flows that start when an escalation event opens.

use serde_json::{Value, json};

use super::{EVENTS, event, fail, flow, reported};
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::support::{Server, StoreKind};

/// Conditions that hold for every event.
const ANY: &str = "trigger.subject != 'nothing'";

/// A flow that an escalation starts.
fn starting(name: &str, conditions: &str, matching: &str) -> Value {
    let step = json!({"id": "note", "config": {"action_type": "transform", "action_payload": {"seen": "{{ trigger.subject }}"}}});
    json!({"flow_name": name, "trigger_type": "escalation", "trigger_config": {"match": matching},
        "conditions": conditions, "flow_steps": [step]})
}

/// A rule that takes every failure.
fn rule() -> Value {
    json!({"rule_name": "all", "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]})
}

/// The one completed run of a flow, once it is there.
async fn one_run(client: &Client<'_>, flow: &str) -> Value {
    let path = format!("/api/v1/runs?orchestration_flow_id={flow}&run_status=completed");
    let page = client.until(&path, |page| page["items"].as_array().is_some_and(|runs| !runs.is_empty())).await;
    let runs = page["items"].as_array().expect("a list");
    assert_eq!(runs.len(), 1, "{page}");
    runs[0].clone()
}

async fn an_event_that_opens_starts_the_flows_whose_conditions_hold(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        client.post("/api/v1/escalation-rules", rule(), 201).await;
        client.save(&flow(&bed, "charge")).await;
        let looks = "trigger.escalation_reason == 'execution_failed' && trigger.context_data.flow_name == 'charge'";
        let looking = client.save(&starting("look", looks, "all")).await;
        let other = client
            .save(&starting(
                "other",
                "has(trigger.context_data.flow_name) && trigger.context_data.flow_name == 'refund'",
                "all",
            ))
            .await;
        let failed = fail(&bed, &client, "charge").await;
        let run = one_run(&client, &looking).await;
        let opened = event(&client, |_| true).await;
        assert_eq!(pick(&run, "trigger_type trigger_source"), json!(["escalation", "escalation_opened"]));
        assert_eq!(run["triggered_by"], format!("escalation:{}", opened["id"].as_str().expect("an id")));
        assert_eq!(pick(&run["trigger_context"], "id flow_run_id"), json!([opened["id"], failed]), "{run}");
        assert_eq!(run["trigger_context"]["escalation_rule_id"], opened["escalation_rule_id"], "{run}");

        // What joins an event that is open opens none.
        fail(&bed, &client, "charge").await;
        event(&client, |event| event["failure_count"].as_i64() >= Some(2)).await;
        let last = client.save(&starting("last", "trigger.subject == 'disk'", "all")).await;
        reported(&client, json!({"subject": "disk", "host": "db-1"})).await;
        one_run(&client, &last).await;
        one_run(&client, &looking).await;
        let none = client.items(&format!("/api/v1/runs?orchestration_flow_id={other}")).await;
        assert_eq!(none, [] as [Value; 0]);
    }
    for stranger in bed.strangers() {
        assert_eq!(stranger.items("/api/v1/runs").await, [] as [Value; 0]);
    }
}

async fn what_fails_of_it_starts_nothing_again(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    bed.sink.answer(500);
    for client in bed.clients() {
        client.post("/api/v1/escalation-rules", rule(), 201).await;
        let tidy = client.save(&starting("tidy", ANY, "all")).await;
        let mut broken = flow(&bed, "broken");
        broken["trigger_type"] = json!("escalation");
        broken["trigger_config"] = json!({"match": "all"});
        let broken = client.save(&broken).await;
        // It stands between: its own trigger is no escalation.
        let mut after = flow(&bed, "after");
        after["trigger_type"] = json!("flow_finished");
        after["trigger_config"] = json!({"flow": "tidy"});
        client.save(&after).await;
        reported(&client, json!({"subject": "disk", "host": "db-1"})).await;
        let refused = |page: &Value| page["items"].as_array().is_some_and(|rows| !rows.is_empty());
        let refused = client.until("/api/v1/audit-log?event_type=chain_refused", refused).await;
        let said = refused["items"][0]["summary"].as_str().unwrap_or_default();
        assert!(said.contains("comes of an escalation itself"), "{refused}");
        one_run(&client, &tidy).await;
        let runs = client
            .until(&format!("/api/v1/runs?orchestration_flow_id={broken}"), |page| {
                page["items"].as_array().is_some_and(|runs| runs.iter().all(|run| run["run_status"] == "failed"))
            })
            .await;
        assert_eq!(runs["items"].as_array().map(Vec::len), Some(1), "{runs}");
        let events = client.items(EVENTS).await;
        let subjects: Vec<&Value> = events.iter().map(|event| &event["context_data"]["flow_name"]).collect();
        assert_eq!(subjects.len(), 2, "what was reported, and the flow in between: {subjects:?}");
        assert!(subjects.contains(&&json!("after")), "{subjects:?}");
    }
}

/// The process dies when an event has opened: before anything is started, and when it is and nobody knows.
async fn a_crash_after_the_event_opened_starts_it_once(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    client.post("/api/v1/escalation-rules", rule(), 201).await;
    let flow = client.save(&starting("look", ANY, "first")).await;
    let (user, installation) = (client.user, bed.installation);
    let mut server = bed.server;
    server.terminate();
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        let mut server = Server::start_with(&installation, &environment).expect("there is nothing to start yet");
        // It dies before or after its answer.
        Client::of(&server, user).lost("/api/v1/escalation-events").await;
        server.wait();
        let mut server = Server::start(&installation);
        let client = Client::of(&server, user);
        let path = format!("/api/v1/runs?orchestration_flow_id={flow}&run_status=completed");
        let count = |page: &Value| page["items"].as_array().map_or(0, Vec::len);
        client.until(&path, |page| count(page) == no + 1).await;
        let open = event(&client, |event| event["status"] != "resolved").await;
        let path = format!("/api/v1/escalation-events/{}/resolve", open["id"].as_str().expect("an id"));
        client.post(&path, json!({}), 200).await;
        let all = client.get(&format!("/api/v1/runs?orchestration_flow_id={flow}")).await;
        assert_eq!(count(&all), no + 1, "{point}: a run for each event");
        server.terminate();
    }
}

on_both_stores!(
    an_event_that_opens_starts_the_flows_whose_conditions_hold,
    what_fails_of_it_starts_nothing_again,
    a_crash_after_the_event_opened_starts_it_once,
);
