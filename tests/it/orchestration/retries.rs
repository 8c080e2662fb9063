//! Failure: attempts are numbered and spaced, end for good, and a person takes the run up again.

use serde_json::json;

use super::bed::{Bed, Client, pick};
use super::on_both_stores;
use crate::support::StoreKind;

const ATTEMPT: &str = "retry_attempt success is_final http_status_code execution_error_code";

async fn statistics(client: &Client<'_>, total: i64) -> serde_json::Value {
    client.until("/api/v1/execution-log/statistics", |found| found["total_executions"] == total).await
}

async fn a_failed_run_is_retried_after_the_receiver_is_mended(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&bed.flow("shaky", &["first", "second"])).await;
        bed.sink.answer(503);
        let run = client.start(&flow).await;
        let failed = client.run(run.id(), "failed").await;
        assert!(failed["error"].as_str().is_some_and(|error| error.starts_with("step 'first': ")), "{failed:#}");
        let flow_path = format!("/api/v1/flows/{flow}");
        let counts = "total_executions successful_executions failed_executions success_rate";
        assert_eq!(pick(&client.get(&flow_path).await, counts), json!([1, 0, 1, 0]));
        let log = format!("/api/v1/execution-log?execution_queue_id={}", run.execution(0));
        let rows = client.items(&log).await;
        let told: Vec<_> = rows.iter().rev().map(|row| pick(row, ATTEMPT)).collect();
        assert_eq!(told, [json!([0, false, false, 503, "http_status"]), json!([1, false, true, 503, "http_status"])]);
        let entry = client.get(&format!("/api/v1/executions/{}", run.execution(0))).await;
        let stands = pick(&entry, "execution_status current_retry_attempt next_retry_at execution_error_code");
        assert_eq!(stands, json!(["failed", 1, null, "http_status"]));
        assert!(entry["last_retry_at"].is_string(), "{entry:#}");
        assert_eq!(client.execution(run.execution(1), "cancelled").await["started_at"], json!(null));
        assert_eq!(pick(&statistics(&client, 1).await, "failed_executions success_rate"), json!([1, 0.0]));

        bed.sink.answer(200);
        let taken_up = client.post(&format!("/api/v1/runs/{}/retry", run.id()), json!({}), 200).await;
        assert_eq!(taken_up["id"], run.id());
        let ended = client.run(run.id(), "completed").await;
        assert_eq!(pick(&ended, "error flow_version"), json!([null, 1]));
        let told: Vec<_> = client.items(&log).await.iter().rev().map(|row| pick(row, ATTEMPT)).collect();
        assert_eq!(told[2..], [json!([2, true, true, 200, null])], "its attempts go on where they ended");
        assert_eq!(pick(&client.get(&flow_path).await, counts), json!([1, 1, 0, 1]), "the earlier end is taken back");
        let figures = statistics(&client, 3).await;
        assert_eq!(pick(&figures, "successful_executions failed_executions"), json!([2, 1]), "each ending is one");
        let refused = client.post(&format!("/api/v1/runs/{}/retry", run.id()), json!({}), 409).await;
        assert!(refused["detail"].as_str().is_some_and(|why| why.contains("completed")), "{refused}");
        let audit = client.items(&format!("/api/v1/audit-log?subject_id={}&event_type=run_retried", run.id())).await;
        assert_eq!(audit.len(), 1);
    }
    let keys = bed.sink.received();
    let first: Vec<&str> = keys.iter().filter(|r| r.path == "/first").map(|r| r.key.as_str()).collect();
    assert!(first[..3].iter().all(|key| *key == first[0]), "one key for all attempts of an execution: {first:?}");
}

async fn what_is_taken_up_again_has_not_ended(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("again", &["first", "second"]);
        flow["execution_mode"] = json!("parallel");
        flow["on_error_action"] = json!("continue");
        flow["flow_steps"][1]["requires_approval"] = json!(true);
        let flow = client.save(&flow).await;
        bed.sink.answer(404);
        let run = client.start(&flow).await;
        client.execution(run.execution(1), "awaiting_approval").await;
        client.post(&format!("/api/v1/executions/{}/approve", run.execution(1)), json!({}), 200).await;
        client.run(run.id(), "failed").await;
        let ended = "completed_at execution_duration_ms execution_result execution_error execution_error_code";
        bed.sink.hold(true);
        client.post(&format!("/api/v1/runs/{}/retry", run.id()), json!({}), 200).await;
        for (place, status) in [(0, "in_progress"), (1, "awaiting_approval")] {
            let again = client.execution(run.execution(place), status).await;
            assert_eq!(pick(&again, ended), json!([null, null, null, null, null]), "{again:#}");
            assert_eq!(again["current_retry_attempt"], 1, "its attempts go on");
        }
        bed.sink.answer(500);
        bed.sink.hold(false);
        let failed = client.execution(run.execution(0), "failed").await;
        assert!(failed["completed_at"].is_string() && failed["execution_error"].is_string(), "{failed:#}");
    }
}

async fn a_retry_is_seen_while_it_waits(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("patient", &["only"]);
        flow["retry_policy"] =
            json!({"max_attempts": 3, "backoff_seconds": 3600, "max_backoff_seconds": 3600, "jitter": "none"});
        let flow = client.save(&flow).await;
        bed.sink.answer(500);
        let run = client.start(&flow).await;
        let waits = client.execution(run.execution(0), "retrying").await;
        let stands = pick(&waits, "current_retry_attempt execution_error_code completed_at execution_result");
        assert_eq!(stands, json!([1, "http_status", null, null]));
        let (next, started) = (waits["next_retry_at"].as_str(), waits["started_at"].as_str());
        assert!(next > started, "{waits:#}");
        let why = client.get(&format!("/api/v1/runs/{}/why", run.id())).await;
        let reason = &why["reasons"][0];
        assert_eq!(pick(reason, "code wakes_at step_id"), json!(["retry", next, "only"]));
        assert_eq!(reason["message"], "attempt 1 of 3 has failed; the next one is due");
        bed.sink.answer(200);
        // The function does not wait for the hour to pass.
        let done =
            client.post("/functions/v1/execute-action", json!({"execution_queue_id": run.execution(0)}), 200).await;
        assert_eq!(pick(&done, "success error"), json!([true, null]));
        client.run(run.id(), "completed").await;
    }
}

async fn one_execution_is_retried(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("parallel", &["left", "right"]);
        flow["execution_mode"] = json!("parallel");
        flow["on_error_action"] = json!("continue");
        let flow = client.save(&flow).await;
        bed.sink.answer(404);
        let run = client.start(&flow).await;
        client.run(run.id(), "failed").await;
        bed.sink.answer(200);
        let retry = |place: usize| format!("/api/v1/executions/{}/retry", run.execution(place));
        client.post(&retry(0), json!({}), 200).await;
        let left = client.execution(run.execution(0), "completed").await;
        assert_eq!(left["current_retry_attempt"], 1, "a 404 is final at once, and the retry goes on from there");
        let failed = client.run(run.id(), "failed").await;
        assert!(failed["error"].as_str().is_some_and(|error| error.starts_with("step 'right': ")), "{failed:#}");
        client.post(&retry(0), json!({}), 409).await;
        client.post(&retry(1), json!({}), 200).await;
        client.run(run.id(), "completed").await;
        let flow = client.get(&format!("/api/v1/flows/{flow}")).await;
        assert_eq!(pick(&flow, "total_executions successful_executions failed_executions"), json!([1, 1, 0]));
        let none = format!("/api/v1/executions/{}/retry", run.id());
        client.post(&none, json!({}), 404).await;
        a_step_that_started_a_run_starts_another(&bed, &client).await;
    }
}

/// The run that it started has ended badly, and does so for good.
async fn a_step_that_started_a_run_starts_another(bed: &Bed, client: &Client<'_>) {
    let mut caller = bed.flow("caller", &["call"]);
    let config = json!({"flow_name": "parallel", "input": {"host": "{{ trigger.host }}"}});
    caller["flow_steps"] = json!([{"id": "call", "type": "sub_flow", "config": config}]);
    let caller = client.save(&caller).await;
    bed.sink.answer(404);
    let run = client.start(&caller).await;
    let failed = client.run(run.id(), "failed").await;
    bed.sink.answer(200);
    client.post(&format!("/api/v1/runs/{}/retry", run.id()), json!({}), 200).await;
    client.run(run.id(), "completed").await;
    let result = client.execution(run.execution(0), "completed").await["execution_result"].clone();
    let started = result["run_id"].as_str().expect("it names the run");
    let was = failed["error"].as_str().expect("it says why");
    assert!(was.contains("is failed") && !was.contains(started), "{was} {result}");
}

on_both_stores!(
    a_failed_run_is_retried_after_the_receiver_is_mended,
    what_is_taken_up_again_has_not_ended,
    a_retry_is_seen_while_it_waits,
    one_execution_is_retried,
);
