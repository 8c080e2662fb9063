//! What people tell a run, and what it tells them: pause, resume, cancel, restart, why, timeline.

use serde_json::{Value, json};

use super::bed::{Bed, pick};
use super::on_both_stores;
use crate::support::StoreKind;

async fn a_paused_run_lets_attempts_end_and_goes_on_when_resumed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&bed.flow("paused", &["first", "second"])).await;
        bed.sink.hold(true);
        let run = client.start(&flow).await;
        client.execution(run.execution(0), "in_progress").await;
        let path = |verb: &str| format!("/api/v1/runs/{}/{verb}", run.id());
        let why = client.get(&path("why")).await;
        let codes: Vec<&Value> = why["reasons"].as_array().expect("a list").iter().map(|r| &r["code"]).collect();
        assert_eq!(codes, ["attempt", "dependency"]);
        assert_eq!(why["reasons"][1]["held_by"], json!([run.execution(0)]));
        let paused = client.post(&path("pause"), json!({}), 200).await;
        assert_eq!(paused["run_status"], "paused");
        client.post(&path("pause"), json!({}), 409).await;
        bed.sink.hold(false);
        client.execution(run.execution(0), "completed").await;
        client.execution(run.execution(1), "pending").await;
        let why = client.get(&path("why")).await;
        assert_eq!(pick(&why["reasons"][0], "code execution_id"), json!(["paused", null]));
        client.post(&path("resume"), json!({}), 200).await;
        client.run(run.id(), "completed").await;
        assert_eq!(client.get(&path("why")).await["reasons"], json!([]));
        for verb in ["pause", "resume", "cancel", "retry"] {
            client.post(&path(verb), json!({}), 409).await;
        }
        let timeline = client.get(&path("timeline")).await;
        let events: Vec<&Value> = timeline["items"].as_array().expect("a list").iter().map(|i| &i["event"]).collect();
        let [first, second] =
            [["attempt_started", "run_paused", "attempt_ended"], ["run_resumed", "attempt_started", "attempt_ended"]];
        assert_eq!(events, [&["accepted", "started"][..], &first, &second, &["ended"]].concat());
        assert_eq!(
            pick(&timeline["items"][7], "step_id execution_id detail"),
            json!(["second", run.execution(1), "completed"])
        );
        let audit = client.items(&format!("/api/v1/audit-log?subject_id={}", run.id())).await;
        let events: Vec<&Value> = audit.iter().rev().map(|row| &row["event_type"]).collect();
        assert_eq!(events, ["orchestration_started", "run_paused", "run_resumed"]);
    }
}

async fn a_cancelled_run_ends_and_can_be_restarted(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&bed.flow("cancelled", &["first", "second"])).await;
        bed.sink.hold(true);
        let run = client.start(&flow).await;
        client.execution(run.execution(0), "in_progress").await;
        let too_long = json!({"reason": "x".repeat(2_001)});
        client.post(&format!("/api/v1/runs/{}/cancel", run.id()), too_long, 422).await;
        client.post(&format!("/api/v1/runs/{}/cancel", run.id()), json!({"reason": "wrong host"}), 200).await;
        let ended = client.run(run.id(), "cancelled").await;
        assert_eq!(ended["error"], "wrong host");
        bed.sink.hold(false);
        for place in [0, 1] {
            client.execution(run.execution(place), "cancelled").await;
        }
        let flow_row = client.get(&format!("/api/v1/flows/{flow}")).await;
        assert_eq!(pick(&flow_row, "total_executions successful_executions failed_executions"), json!([1, 0, 0]));
        let new = client.post(&format!("/api/v1/runs/{}/restart", run.id()), json!({}), 202).await;
        assert_ne!(new["id"], run.id());
        let again = client.run(new["id"].as_str().expect("an id"), "completed").await;
        assert_eq!(pick(&again, "parent_run_id trigger_context"), json!([run.id(), {"host": "web-1"}]));
        let waited = [("Prefer", "wait=60"), ("Idempotency-Key", "again")];
        let path = format!("/api/v1/runs/{}/restart", run.id());
        let third = client.ask(reqwest::Method::POST, &path, None, &waited).await;
        assert_eq!((third.status.as_u16(), &third.body["run_status"]), (200, &json!("completed")), "{}", third.body);
        let same = client.ask(reqwest::Method::POST, &path, None, &waited).await;
        assert_eq!(same.body["id"], third.body["id"]);
    }
}

async fn one_execution_is_cancelled(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("two", &["left", "right"]);
        flow["execution_mode"] = json!("parallel");
        flow["flow_steps"][1]["config"]["scheduled_for"] = json!("2999-01-01T00:00:00Z");
        let flow = client.save(&flow).await;
        bed.sink.hold(true);
        let run = client.start(&flow).await;
        client.execution(run.execution(0), "in_progress").await;
        let path = |place: usize, verb: &str| format!("/api/v1/executions/{}/{verb}", run.execution(place));
        client.post(&path(0, "cancel"), json!({}), 200).await;
        client.execution(run.execution(0), "cancelled").await;
        bed.sink.hold(false);
        let why = client.get(&format!("/api/v1/runs/{}/why", run.id())).await;
        assert_eq!(
            pick(&why["reasons"][0], "code step_id wakes_at"),
            json!(["schedule", "right", "2999-01-01T00:00:00.000Z"])
        );
        client.post(&path(1, "cancel"), json!({}), 200).await;
        let ended = client.run(run.id(), "cancelled").await;
        assert!(ended["error"].as_str().is_some_and(|error| error.contains("left")), "{ended:#}");
        client.post(&path(1, "cancel"), json!({}), 409).await;
        let audit = client.items("/api/v1/audit-log?event_type=execution_cancelled").await;
        assert_eq!(audit.len(), 2, "{audit:#?}");
        client.post(&path(0, "retry"), json!({}), 200).await;
        client.execution(run.execution(0), "completed").await;
    }
}

/// The run that a step has started ends with it; `why` names that run while it goes on.
async fn a_cancel_reaches_the_run_that_a_step_waits_for(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut called = bed.flow("called", &["first"]);
        called["flow_steps"] = json!([{"id": "go", "type": "wait", "config": {"signal": "go"}}]);
        client.save(&called).await;
        let mut calling = bed.flow("calling", &["call"]);
        calling["flow_steps"] = json!([{"id": "call", "type": "sub_flow", "config": {"flow_name": "called"}}]);
        let run = client.start(&client.save(&calling).await).await;
        let path = format!("/api/v1/runs/{}/why", run.id());
        let why = client.until(&path, |why| why["reasons"][0]["held_by"][0].is_string()).await;
        assert_eq!(why["reasons"][0]["code"], "sub_flow");
        let child = why["reasons"][0]["held_by"][0].as_str().expect("a run").to_owned();
        client.run(&child, "running").await;
        client.post(&format!("/api/v1/runs/{}/cancel", run.id()), json!({"reason": "enough"}), 200).await;
        let ended = client.run(run.id(), "cancelled").await;
        assert_eq!(ended["error"], "enough");
        let ended = client.run(&child, "cancelled").await;
        assert!(ended["error"].as_str().is_some_and(|error| error.contains(run.id())), "{ended:#}");
        client.execution(run.execution(0), "cancelled").await;
    }
}

on_both_stores!(
    a_cancel_reaches_the_run_that_a_step_waits_for,
    a_paused_run_lets_attempts_end_and_goes_on_when_resumed,
    a_cancelled_run_ends_and_can_be_restarted,
    one_execution_is_cancelled,
);
