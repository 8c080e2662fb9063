//! Single actions: one execution, durably, without a flow.

use serde_json::{Value, json};

use super::bed::{Bed, Started, pick};
use super::on_both_stores;
use crate::support::StoreKind;

const PATH: &str = "/api/v1/executions";

async fn an_action_runs_without_a_flow(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut action = bed.call("call")["config"].clone();
        action["context_data"] = json!({"host": "db-1"});
        action["wait_seconds"] = json!(60);
        action["priority"] = json!(1);
        let before = bed.sink.received().len();
        let run = client.post(PATH, action.clone(), 200).await;
        assert_eq!(pick(&run, "run_status flow_name trigger_type"), json!(["completed", "", "manual"]));
        assert_eq!(bed.sink.received()[before].body, json!({"host": "db-1"}), "templates see the context");
        let id = run["id"].as_str().expect("an id");
        let entries = client.items(&format!("{PATH}?flow_run_id={id}")).await;
        assert_eq!(
            pick(&entries[0], "execution_status action_type priority step_id"),
            json!(["completed", "api_call", 1, "action"])
        );
        let figures = client.until("/api/v1/execution-log/statistics", |f| f["total_executions"] == 1).await;
        assert_eq!(figures["total_actions_by_type"], json!({"api_call": 1}));
        assert_eq!(client.items("/api/v1/flows").await, Vec::<Value>::new(), "there is no flow");

        let again = client
            .ask(reqwest::Method::POST, &format!("/api/v1/runs/{id}/restart"), None, &[("Prefer", "wait=60")])
            .await;
        assert_eq!((again.status.as_u16(), &again.body["parent_run_id"]), (200, &json!(id)), "{}", again.body);
        action.as_object_mut().expect("an object").remove("wait_seconds");
        action["requires_approval"] = json!(true);
        action["user_id"] = json!(client.user);
        let asks = Started(client.post(PATH, action, 202).await);
        client.execution(asks.execution(0), "awaiting_approval").await;
        client.post(&format!("{PATH}/{}/reject", asks.execution(0)), json!({}), 200).await;
        client.run(asks.id(), "failed").await;
        client.post(&format!("{PATH}/{}/retry", asks.execution(0)), json!({}), 200).await;
        client.execution(asks.execution(0), "awaiting_approval").await;
        client.post(&format!("{PATH}/{}/approve", asks.execution(0)), json!({}), 200).await;
        client.run(asks.id(), "completed").await;
    }
}

async fn a_bad_action_is_refused_at_its_place(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let transform = |more: Value| {
        let mut action = json!({"action_type": "transform", "action_payload": {"n": 1}});
        core314_domain::json::merge_patch(&mut action, &more);
        action
    };
    for client in bed.clients() {
        for (wrong, pointer) in [
            (json!({}), ""),
            (transform(json!({"action_type": "teleport"})), "/action_type"),
            (transform(json!({"priority": 11})), "/priority"),
            (transform(json!({"urgency": "now"})), "/urgency"),
            (transform(json!({"scheduled_for": "tomorrow"})), "/scheduled_for"),
            (transform(json!({"expires_in_seconds": 0})), "/expires_in_seconds"),
            (transform(json!({"timeout_seconds": -1})), "/timeout_seconds"),
            (transform(json!({"retry_policy": {"max_attempts": 0}})), "/retry_policy/max_attempts"),
            (transform(json!({"action_payload": {"n": "{{ broken"}})), "/action_payload/n"),
            (transform(json!({"action_payload": {"n": "{{ steps.before.output }}"}})), "/action_payload/n"),
            (transform(json!({"speed": 1})), "/speed"),
            (transform(json!({"context_data": []})), "/context_data"),
            (json!({"action_type": "api_call", "action_payload": {"method": "POST"}}), "/action_payload"),
            (json!({"action_type": "api_call", "action_payload": {"url": 7}}), "/action_payload/url"),
        ] {
            let answer = client.post(PATH, wrong.clone(), 422).await;
            let found = answer["errors"][0]["pointer"].as_str().unwrap_or_default();
            assert!(found.starts_with(pointer), "{wrong}: {answer}");
        }
        // What only shows when it runs is a failure of the execution, in the log like any other.
        let late = transform(json!({"action_payload": {"n": "{{ trigger.nowhere }}"}, "wait_seconds": 60}));
        let failed = client.post(PATH, late, 200).await;
        assert_eq!(failed["run_status"], "failed");
        let log =
            client.items(&format!("/api/v1/execution-log?flow_run_id={}", failed["id"].as_str().expect("an id"))).await;
        assert_eq!(pick(&log[0], "execution_error_code is_final"), json!(["template_error", true]));
    }
    assert_eq!(bed.installation.rows("SELECT run_status FROM run_state").await, ["failed", "failed"]);
}

async fn literal_secrets_are_never_shown(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("secretive", &["asks", "waits"]);
        for step in flow["flow_steps"].as_array_mut().expect("steps") {
            step["config"]["action_payload"]["headers"] = json!({"Authorization": "Bearer planted-secret"});
        }
        flow["flow_steps"][0]["requires_approval"] = json!(true);
        let flow = client.save(&flow).await;
        let run = client.start(&flow).await;
        let entry = client.execution(run.execution(0), "awaiting_approval").await;
        assert_eq!(entry["action_payload"]["headers"], json!({"Authorization": "[redacted]"}), "{entry:#}");
        for path in ["/api/v1/executions", "/api/v1/executions/pending-approvals"] {
            let rows = client.items(path).await;
            assert!(!rows.is_empty() && !json!(rows).to_string().contains("planted"), "{path}: {rows:#?}");
        }
        let dry = client.post(&format!("/api/v1/flows/{flow}/dry-run"), json!({}), 200).await;
        assert!(dry["steps"][1].is_object() && !dry.to_string().contains("planted"), "{dry:#}");
        let approved = client.post(&format!("/api/v1/executions/{}/approve", run.execution(0)), json!({}), 200).await;
        assert!(!approved.to_string().contains("planted"), "{approved:#}");
        client.run(run.id(), "completed").await;
        assert_eq!(bed.sink.received().last().expect("a call").authorization, "Bearer planted-secret");
        let action = json!({"action_type": "api_call", "context_data": {"host": "web-1"}, "scheduled_for": "2999-01-01T00:00:00Z",
            "action_payload": {"url": bed.sink.url, "headers": {"X-Api-Key": "planted-key"}}});
        let single = client.post("/api/v1/executions", action, 202).await;
        let entry = client.execution(Started(single).execution(0), "pending").await;
        assert_eq!(entry["action_payload"]["headers"], json!({"X-Api-Key": "[redacted]"}), "{entry:#}");
    }
}

on_both_stores!(an_action_runs_without_a_flow, a_bad_action_is_refused_at_its_place, literal_secrets_are_never_shown,);
