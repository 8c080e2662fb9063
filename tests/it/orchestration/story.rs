//! A flow from its making to the immutable row of its attempt, and that nobody else sees any of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::StoreKind;

/// The columns of the contract (data.md, `execution_queue`).
const QUEUE: &str = "id tenant_id user_id organization_id created_at updated_at orchestration_flow_id flow_run_id \
    decision_event_id recommendation_id parent_execution_id action_type action_target action_payload action_config \
    execution_status priority urgency scheduled_for execute_after expires_at requires_approval approval_status \
    approved_by approved_at approval_notes max_retry_attempts current_retry_attempt retry_backoff_seconds \
    last_retry_at next_retry_at started_at completed_at execution_duration_ms execution_result execution_error \
    execution_error_code depends_on dependency_mode context_data tags metadata";
/// The columns of the contract (data.md, `execution_log`).
const LOG: &str = "id tenant_id user_id organization_id created_at execution_queue_id orchestration_flow_id flow_run_id \
    decision_event_id recommendation_id action_type action_target action_payload action_config execution_status \
    execution_result execution_error execution_error_code execution_error_details started_at completed_at \
    execution_duration_ms queue_wait_time_ms retry_attempt http_status_code http_response_time_ms \
    http_request_size_bytes http_response_size_bytes integration_name integration_endpoint integration_method \
    context_data environment triggered_by success partial_success requires_review review_notes compliance_flags \
    security_level data_classification tags metadata";

const DECISION: &str = "0190a000-0000-7000-8000-0000000000d1";
const RECOMMENDATION: &str = "0190a000-0000-7000-8000-0000000000d2";

fn has_columns(row: &Value, columns: &str) {
    let missing: Vec<&str> = columns.split_whitespace().filter(|column| row.get(column).is_none()).collect();
    assert_eq!(missing, Vec::<&str>::new(), "{row:#}");
}

fn flow(bed: &Bed) -> Value {
    let mut first = bed.call("first");
    first["config"]["priority"] = json!(2);
    first["config"]["urgency"] = json!("high");
    first["config"]["expires_in_seconds"] = json!(600);
    first["requires_approval"] = json!(true);
    let mut flow = bed.flow("story", &[]);
    flow["flow_steps"] = json!([first, bed.call("second")]);
    flow["tags"] = json!(["ops"]);
    flow["metadata"] =
        json!({"compliance_flags": ["gdpr"], "security_level": "high", "data_classification": "internal"});
    flow
}

async fn start(client: &Client<'_>, flow: &str) -> Started {
    let body = json!({"trigger_context": {"host": "web-1"}, "decision_event_id": DECISION, "recommendation_id": RECOMMENDATION});
    let answer = client.ask(Method::POST, &format!("/api/v1/flows/{flow}/trigger"), Some(&body), &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let started = Started(answer.body.clone());
    assert_eq!(answer.header("location"), format!("/api/v1/runs/{}", started.id()));
    let told = pick(&answer.body, "run_status orchestration_flow_id flow_name flow_version execution_mode");
    assert_eq!(told, json!(["running", flow, "story", 1, "sequential"]));
    started
}

async fn queue_entries(client: &Client<'_>, flow: &str, run: &Started) {
    let waits = client.execution(run.execution(0), "awaiting_approval").await;
    has_columns(&waits, QUEUE);
    let user = client.user.to_string();
    assert_eq!(pick(&waits, "tenant_id user_id organization_id"), json!([user, user, null]));
    let of = pick(&waits, "orchestration_flow_id flow_run_id decision_event_id recommendation_id parent_execution_id");
    assert_eq!(of, json!([flow, run.id(), DECISION, RECOMMENDATION, null]));
    let action = pick(&waits, "action_type action_target priority urgency requires_approval approval_status");
    assert_eq!(action, json!(["api_call", "receiver", 2, "high", true, "pending"]));
    assert_eq!(waits["action_payload"]["json"], json!({"host": "{{ trigger.host }}"}), "not rendered before it starts");
    assert!(waits["action_config"].get("action_payload").is_none(), "{waits:#}");
    let retry =
        pick(&waits, "max_retry_attempts current_retry_attempt retry_backoff_seconds last_retry_at next_retry_at");
    assert_eq!(retry, json!([2, 0, 0.05, null, null]));
    let nothing_yet = pick(
        &waits,
        "scheduled_for approved_by approved_at approval_notes started_at completed_at \
        execution_duration_ms execution_result execution_error execution_error_code",
    );
    assert!(nothing_yet.as_array().expect("a list").iter().all(Value::is_null), "{waits:#}");
    assert!(waits["execute_after"].is_string() && waits["expires_at"].is_string(), "{waits:#}");
    assert_eq!(pick(&waits, "depends_on dependency_mode tags"), json!([[], "all", ["ops"]]));
    assert_eq!(pick(&waits["context_data"], "flow_run_id step_id trigger_type"), json!([run.id(), "first", "manual"]));
    let blocked = client.get(&format!("/api/v1/executions/{}", run.execution(1))).await;
    let waits_for = pick(&blocked, "execution_status depends_on parent_execution_id approval_status expires_at");
    assert_eq!(waits_for, json!(["blocked", [run.execution(0)], run.execution(0), "not_required", null]));
}

async fn it_executes(bed: &Bed, client: &Client<'_>, run: &Started) {
    let before = bed.sink.received().len();
    client.post(&format!("/api/v1/executions/{}/approve", run.execution(0)), json!({}), 200).await;
    let ended = client.run(run.id(), "completed").await;
    assert_eq!(ended["output"]["status"], 200);
    let received = bed.sink.received().split_off(before);
    let paths: Vec<&str> = received.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/first", "/second"]);
    assert_eq!(received[0].body, json!({"host": "web-1"}));
    assert_ne!(received[0].key, received[1].key, "each execution has a key of its own");
    assert!(received.iter().all(|request| !request.key.is_empty()));
    let done = client.get(&format!("/api/v1/executions/{}", run.execution(0))).await;
    let approved = pick(&done, "execution_status approval_status approved_by execution_error");
    assert_eq!(approved, json!(["completed", "approved", client.user.to_string(), null]));
    assert_eq!(done["execution_result"]["body"], json!({"ok": true}));
    assert!(done["started_at"].is_string() && done["completed_at"].is_string(), "{done:#}");
}

async fn log_rows(client: &Client<'_>, flow: &str, run: &Started) -> Vec<Value> {
    let rows = client.items(&format!("/api/v1/execution-log?flow_run_id={}", run.id())).await;
    assert_eq!(rows.len(), 2);
    let row = &rows[1];
    has_columns(row, LOG);
    assert!(row.get("updated_at").is_none(), "the log never changes");
    let of = pick(row, "execution_queue_id orchestration_flow_id flow_run_id decision_event_id recommendation_id");
    assert_eq!(of, json!([run.execution(0), flow, run.id(), DECISION, RECOMMENDATION]));
    let told = pick(
        row,
        "execution_status success partial_success requires_review retry_attempt http_status_code \
        integration_name integration_method execution_error",
    );
    assert_eq!(told, json!(["completed", true, false, false, 0, 200, "receiver", "POST", null]));
    assert_eq!(row["action_payload"]["json"], json!({"host": "web-1"}), "as it was sent");
    assert!(row["integration_endpoint"].as_str().is_some_and(|url| url.ends_with("/first")), "{row:#}");
    for figure in ["http_response_time_ms", "execution_duration_ms", "queue_wait_time_ms"] {
        assert!(row[figure].as_i64() >= Some(0), "{figure}: {row:#}");
    }
    // {"host":"web-1"} and {"ok":true}.
    assert_eq!(pick(row, "http_request_size_bytes http_response_size_bytes"), json!([16, 11]));
    let labels = pick(row, "compliance_flags security_level data_classification tags");
    assert_eq!(labels, json!([["gdpr"], "high", "internal", ["ops"]]));
    let by = row["triggered_by"].as_str().expect("somebody");
    assert!(by.starts_with("service:") || by == format!("user:{}", client.user), "{by}");
    assert_eq!(client.get(&format!("/api/v1/execution-log/{}", row["id"].as_str().expect("an id"))).await, *row);
    rows
}

async fn nobody_else_sees_it(bed: &Bed, owner: &Client<'_>, flow: &str, run: &Started, log: &Value) {
    let log = log["id"].as_str().expect("an id");
    for stranger in bed.strangers() {
        for list in [
            "flows",
            "runs",
            "executions",
            "execution-log",
            "executions/pending-approvals",
            "execution-log/failed",
            "execution-log/slowest",
            "dead-letters",
            "audit-log",
        ] {
            assert_eq!(stranger.items(&format!("/api/v1/{list}")).await, Vec::<Value>::new(), "{list}");
        }
        let filtered = format!("/api/v1/executions?flow_run_id={}", run.id());
        assert_eq!(stranger.items(&filtered).await, Vec::<Value>::new());
        let figures = stranger.get("/api/v1/execution-log/statistics").await;
        assert_eq!(pick(&figures, "total_executions total_actions_by_type p99_duration_ms"), json!([0, {}, null]));
        assert_eq!(stranger.get("/api/v1/execution-log/timeline").await["items"], json!([]));
        let (run, execution) = (run.id(), run.execution(0));
        for path in [
            format!("flows/{flow}"),
            format!("flows/{flow}/versions"),
            format!("flows/{flow}/export"),
            format!("runs/{run}"),
            format!("runs/{run}/why"),
            format!("runs/{run}/timeline"),
            format!("executions/{execution}"),
            format!("execution-log/{log}"),
        ] {
            let answer = stranger.ask(Method::GET, &format!("/api/v1/{path}"), None, &[]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.body);
        }
        for path in [
            format!("flows/{flow}/trigger"),
            "flows/story/trigger".to_owned(),
            format!("flows/{flow}/pause"),
            format!("flows/{flow}/resume"),
            format!("flows/{flow}/dry-run"),
            format!("runs/{run}/cancel"),
            format!("runs/{run}/pause"),
            format!("runs/{run}/retry"),
            format!("runs/{run}/restart"),
            format!("executions/{execution}/approve"),
            format!("executions/{execution}/cancel"),
            format!("executions/{execution}/retry"),
        ] {
            let answer = stranger.ask(Method::POST, &format!("/api/v1/{path}"), Some(&json!({})), &[]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.body);
        }
        let review = json!({"verdict": "ok"});
        stranger.post(&format!("/api/v1/execution-log/{log}/review"), review, 404).await;
        stranger.post("/functions/v1/execute-action", json!({"execution_queue_id": execution}), 404).await;
        let gone = stranger.ask(Method::DELETE, &format!("/api/v1/flows/{flow}"), None, &[]).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(owner.items("/api/v1/flows").await.len(), 1);
}

async fn a_flow_runs_and_leaves_its_rows(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&flow(&bed)).await;
        let run = start(&client, &flow).await;
        queue_entries(&client, &flow, &run).await;
        it_executes(&bed, &client, &run).await;
        let log = log_rows(&client, &flow, &run).await;
        nobody_else_sees_it(&bed, &client, &flow, &run, &log[0]).await;
    }
    for statement in ["UPDATE log SET success = NOT success", "DELETE FROM log"] {
        for refusal in bed.installation.refusals(statement).await {
            let is_refused = refusal.contains("append-only") || refusal.contains("permission denied");
            assert!(is_refused, "{statement}: {refusal}");
        }
    }
    assert_eq!(bed.installation.rows("SELECT action_type FROM log").await.len(), 4);
}

on_both_stores!(a_flow_runs_and_leaves_its_rows);
