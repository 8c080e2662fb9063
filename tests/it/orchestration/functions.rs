//! The function endpoints, in the shapes of the platform that this system continues, and its flow documents.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::StoreKind;

/// A document as that platform's builder writes it, with columns of its table, nulls, and what we do not know.
fn theirs(bed: &Bed) -> Value {
    let step = |id: &str, inputs: Value, outputs: Value| {
        let payload = json!({"url": format!("{}/{id}", bed.sink.url), "title": "Follow up"});
        let config = json!({"action_type": "trigger_webhook", "action_target": "tasks", "action_payload": payload,
            "priority": 3, "urgency": "high", "icon": "bell"});
        json!({"id": id, "type": "action", "config": config, "label": id, "position": {"x": 100, "y": 100},
            "connections": {"inputs": inputs, "outputs": outputs}})
    };
    json!({
        "id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "created_at": "2025-01-01T00:00:00Z", "total_executions": 7,
        "flow_name": "tell-on-approved-decision", "flow_description": "Tell the team", "flow_category": "notifications",
        "flow_version": 3, "is_active": true, "is_template": false,
        "trigger_type": "decision_approved", "trigger_config": {},
        "flow_steps": [step("step1", json!([]), json!(["step2"])), step("step2", json!(["step1"]), json!([]))],
        "execution_mode": "mixed", "max_execution_time_seconds": 300,
        "retry_policy": {"max_attempts": 3, "backoff_seconds": 60, "backoff_strategy": "linear"},
        "requires_approval": false, "approval_threshold": 0.8, "conditions": {"severity": "high"},
        "input_schema": null, "output_schema": null, "fallback_flow_id": null,
        "on_error_action": "stop", "error_notification_channels": ["email"], "tags": ["ops"], "metadata": {"team": "sre"}
    })
}

async fn a_document_of_that_platform_is_taken_as_it_is(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let checked = client.post("/api/v1/flows/validate", theirs(&bed), 200).await;
        assert_eq!(pick(&checked, "valid errors"), json!([true, []]));
        let warnings = checked["warnings"].as_array().expect("a list");
        assert!(
            warnings.iter().all(|w| w["pointer"] == "/error_notification_channels/0"),
            "it knows no address: {checked}"
        );
        let flow = client.save(&theirs(&bed)).await;
        let saved = client.get(&format!("/api/v1/flows/{flow}")).await;
        assert_eq!(pick(&saved, "flow_version execution_mode tags total_executions"), json!([1, "mixed", ["ops"], 0]));
        let kept = &saved["metadata"]["unknown_keys"];
        assert_eq!(
            pick(
                kept,
                "/id /total_executions /retry_policy/backoff_strategy /flow_steps/1/label /flow_steps/0/config/icon"
            ),
            json!(["6f9619ff-8b86-4d01-b42d-00cf4fc964ff", 7, "linear", "step2", "bell"])
        );
        assert_eq!(saved["metadata"]["team"], "sre");
        let ours = client.get(&format!("/api/v1/flows/{flow}/export?format=json")).await;
        let checked = client.post("/api/v1/flows/validate", ours.clone(), 200).await;
        assert_eq!(checked["valid"], true, "{checked}");
        let mut strict = ours;
        strict["icon"] = json!("bell");
        let checked = client.post("/api/v1/flows/validate", strict, 200).await;
        assert!(checked["errors"][0]["message"].as_str().is_some_and(|m| m.contains("icon")), "{checked}");
    }
}

/// Their document with actions that the runtime performs by itself, which write nothing down outside.
fn theirs_inside() -> Value {
    let step = |id: &str, action_type: &str, payload: Value, inputs: Value, outputs: Value| {
        let config = json!({"action_type": action_type, "action_target": "runtime", "action_payload": payload,
            "priority": 5, "urgency": "medium", "icon": "clock"});
        json!({"id": id, "type": "action", "config": config, "position": {"x": 1, "y": 1},
            "connections": {"inputs": inputs, "outputs": outputs}})
    };
    json!({
        "flow_name": "inside", "trigger_type": "manual", "execution_mode": "mixed", "fallback_flow_id": null,
        "retry_policy": {"max_attempts": 3, "backoff_seconds": 60}, "flow_steps": [
            step("name", "set_variable", json!({"name": "host", "value": "{{ trigger.host }}"}), json!([]), json!(["rest"])),
            step("rest", "delay", json!({"seconds": 0.01}), json!(["name"]), json!(["tell"])),
            step("tell", "transform", json!({"values": {"of": "{{ vars.host }}"}}), json!(["rest"]), json!([])),
        ],
    })
}

async fn what_the_runtime_does_by_itself_is_an_action(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&theirs_inside()).await;
        let run = client.start(&flow).await;
        assert_eq!(client.run(run.id(), "completed").await["output"], json!({"of": "web-1"}));
        let mut log = client.items(&format!("/api/v1/execution-log?flow_run_id={}", run.id())).await;
        log.sort_by_key(|row| row["step_no"].as_i64());
        let types: Vec<_> = log.iter().map(|row| pick(row, "action_type execution_status")).collect();
        assert_eq!(types, ["set_variable", "delay", "transform"].map(|word| json!([word, "completed"])));

        // One alone is durable, and a timer is all that it takes.
        let path = "/api/v1/executions";
        let set = json!({"action_type": "set_variable", "action_payload": {"name": "n", "value": "{{ trigger.n }}"},
            "context_data": {"n": 7}, "wait_seconds": 60});
        let set = client.post(path, set, 200).await;
        assert_eq!(pick(&set, "run_status output"), json!(["completed", {"n": 7}]));
        let brief = json!({"action_type": "delay", "action_payload": {"seconds": 0.01}, "wait_seconds": 60});
        assert_eq!(client.post(path, brief, 200).await["run_status"], "completed");
        let for_ever = json!({"action_type": "delay", "action_payload": {"until": "2999-01-01T00:00:00Z"}});
        let waits = Started(client.post(path, for_ever, 202).await);
        client.execution(waits.execution(0), "in_progress").await;
        let why = client.get(&format!("/api/v1/runs/{}/why", waits.id())).await;
        assert_eq!(
            pick(&why["reasons"][0], "code step_id wakes_at"),
            json!(["timer", "action", "2999-01-01T00:00:00.000Z"])
        );
        client.post(&format!("/api/v1/runs/{}/cancel", waits.id()), json!({}), 200).await;
        client.run(waits.id(), "cancelled").await;
        let wrong = json!({"action_type": "delay", "action_payload": {"minutes": 1}});
        let refused = client.post(path, wrong, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/action_payload/minutes", "{refused}");
    }
}

async fn orchestrate(client: &Client<'_>, more: Value, status: u16) -> Value {
    let mut request = json!({"trigger_type": "decision_approved", "trigger_source": "decision_approved",
        "trigger_context": {"severity": "high", "host": "web-1"}, "user_email": "ignored@example.org"});
    core314_domain::json::merge_patch(&mut request, &more);
    client.post("/functions/v1/orchestrator-engine", request, status).await
}

const ORCHESTRATED: &str = "success flow_id flow_name execution_mode steps_created error";

async fn the_orchestrator_starts_the_flow_that_matches(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let nothing = orchestrate(&client, json!({}), 404).await;
        assert_eq!(pick(&nothing, "success code"), json!([false, "no_matching_flow"]));
        assert!(nothing["error"].is_string(), "{nothing}");
        let flow = client.save(&theirs(&bed)).await;
        let user = json!({"user_id": client.user});
        let told = orchestrate(&client, user, 200).await;
        assert_eq!(pick(&told, ORCHESTRATED), json!([true, flow, "tell-on-approved-decision", "mixed", 2, null]));
        assert_eq!(told["estimated_duration_ms"], 0);
        let run = client.run(told["orchestration_id"].as_str().expect("a run"), "completed").await;
        assert_eq!(pick(&run, "trigger_type trigger_source"), json!(["decision_approved", "decision_approved"]));
        for (place, id) in told["execution_queue_ids"].as_array().expect("a list").iter().enumerate() {
            let entry = client.execution(id.as_str().expect("an id"), "completed").await;
            assert_eq!(entry["step_no"], place);
        }
        let low = orchestrate(&client, json!({"trigger_context": {"severity": "low"}}), 404).await;
        assert!(low["success"] == false && low.to_string().contains("severity"), "it says why not: {low}");
        let named = orchestrate(&client, json!({"flow_id": flow, "trigger_context": {"severity": "low"}}), 200).await;
        assert_eq!(named["flow_id"], flow, "a named flow starts whatever its conditions say");
        let wrong = orchestrate(&client, json!({"trigger_type": "telepathy"}), 422).await;
        assert_eq!(pick(&wrong, "success status"), json!([false, 422]));
        assert!(wrong["error"].is_string() && wrong["errors"][0]["pointer"] == "/trigger_type", "{wrong}");
        let foreign = json!({"flow_id": "0190a000-0000-7000-8000-0000000000ff"});
        assert_eq!(orchestrate(&client, foreign, 404).await["success"], false);
    }
}

const EXECUTED: &str = "success execution_queue_id action_type action_target error";

async fn an_entry_is_executed_and_its_result_awaited(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let far = "2999-01-01T00:00:00Z";
    for client in bed.clients() {
        let act =
            async |request: Value, status: u16| client.post("/functions/v1/execute-action", request, status).await;
        let nothing_due = act(json!({"auto_execute": true}), 404).await;
        assert_eq!(pick(&nothing_due, "success error"), json!([false, "nothing is due"]));
        let mut flow = bed.flow("tonight", &["later", "asks"]);
        flow["execution_mode"] = json!("parallel");
        flow["flow_steps"][0]["config"]["scheduled_for"] = json!(far);
        flow["flow_steps"][1]["requires_approval"] = json!(true);
        let flow = client.save(&flow).await;
        bed.sink.answer(200);
        let run = client.start(&flow).await;
        let waits = client.execution(run.execution(0), "pending").await;
        assert_eq!(waits["scheduled_for"], "2999-01-01T00:00:00.000Z");
        act(json!({"auto_execute": true}), 404).await;
        let unapproved = act(json!({"execution_queue_id": run.execution(1)}), 409).await;
        assert_eq!(pick(&unapproved, "success code"), json!([false, "conflict"]));

        let done = act(json!({"execution_queue_id": run.execution(0), "user_id": client.user, "extra": 1}), 200).await;
        assert_eq!(pick(&done, EXECUTED), json!([true, run.execution(0), "api_call", "receiver", null]));
        assert_eq!(done["execution_result"]["body"], json!({"ok": true}));
        assert!(done["execution_duration_ms"].is_u64(), "{done}");
        let log = client.items(&format!("/api/v1/execution-log?execution_queue_id={}", run.execution(0))).await;
        assert_eq!(done["execution_log_id"], log[0]["id"]);
        assert_eq!(act(json!({"execution_queue_id": run.execution(0)}), 200).await, done, "it runs once");

        bed.sink.answer(400);
        let failing = client.start(&flow).await;
        client.execution(failing.execution(0), "pending").await;
        let failed = act(json!({"execution_queue_id": failing.execution(0)}), 200).await;
        assert_eq!(pick(&failed, "success execution_result"), json!([false, null]));
        assert!(failed["error"].is_string() && failed["execution_log_id"].is_string(), "{failed}");
        for (wrong, status) in [
            (json!({}), 422),
            (json!({"execution_queue_id": "x"}), 422),
            (json!([]), 422),
            (json!({"execution_queue_id": "0190a000-0000-7000-8000-0000000000ff"}), 404),
        ] {
            let answer = act(wrong.clone(), status).await;
            assert!(answer["success"] == false && answer["error"].is_string(), "{wrong}: {answer}");
        }
    }
}

async fn whoever_waits_for_an_execution_hears_of_its_cancellation(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&tonight(&bed)).await;
        bed.sink.hold(true);
        let run = client.start(&flow).await;
        let waits = client.post("/functions/v1/execute-action", json!({"execution_queue_id": run.execution(0)}), 200);
        let cancels = async {
            client.execution(run.execution(0), "in_progress").await;
            client.post(&format!("/api/v1/executions/{}/cancel", run.execution(0)), json!({}), 200).await;
        };
        let (told, ()) = tokio::join!(waits, cancels);
        bed.sink.hold(false);
        assert_eq!(pick(&told, "success error"), json!([false, "the attempt was told to end"]));
        let unstarted = client.start(&flow).await;
        client.post(&format!("/api/v1/executions/{}/cancel", unstarted.execution(0)), json!({}), 200).await;
        let told =
            client.post("/functions/v1/execute-action", json!({"execution_queue_id": unstarted.execution(0)}), 200);
        let told = told.await;
        assert_eq!(pick(&told, "success execution_log_id error"), json!([false, null, "the execution is cancelled"]));
    }
}

/// A flow of one step that is due in a thousand years.
fn tonight(bed: &Bed) -> Value {
    let mut flow = bed.flow("tonight", &["later"]);
    flow["flow_steps"][0]["config"]["scheduled_for"] = json!("2999-01-01T00:00:00Z");
    flow
}

async fn an_entry_of_a_paused_run_is_refused_at_once(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let act =
            async |request: Value, status: u16| client.post("/functions/v1/execute-action", request, status).await;
        let flow = client.save(&bed.flow("paused", &["first", "second"])).await;
        bed.sink.hold(true);
        let run = client.start(&flow).await;
        client.execution(run.execution(0), "in_progress").await;
        client.post(&format!("/api/v1/runs/{}/pause", run.id()), json!({}), 200).await;
        bed.sink.hold(false);
        client.execution(run.execution(1), "pending").await;
        for request in [json!({"execution_queue_id": run.execution(1)}), json!({"auto_execute": true})] {
            let refused = act(request.clone(), 409).await;
            let detail = refused["detail"].as_str().expect("a reason");
            assert!(detail.starts_with("the run was paused by ") && detail.contains(run.id()), "{request}: {detail}");
            assert_eq!((&refused["success"], &refused["error"]), (&json!(false), &refused["detail"]));
        }
        client.post(&format!("/api/v1/runs/{}/resume", run.id()), json!({}), 200).await;
        client.run(run.id(), "completed").await;
    }
}

const GATEWAY: &str = "/functions/v1/core_notifications_gateway";
/// In whose name something is told.
const RULE: &str = "0190a000-0000-7000-8000-0000000000d1";

async fn the_gateway_tells_somebody_in_the_name_of_a_rule(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let request = |more: Value| {
            let mut request = json!({"user_id": client.user, "rule_id": RULE, "type": "alert", "title": "{{ 1 }} of 2",
                "message": "web-1 is down", "action_url": "/runs", "metadata": {"hosts": ["{% web %}"]}, "icon": "bell"});
            core314_domain::json::merge_patch(&mut request, &more);
            request
        };
        let told = client.post(GATEWAY, request(json!({})), 200).await;
        assert_eq!(told, json!({"success": true, "notification_id": told["notification_id"]}));
        let inbox = client.items("/api/v1/notifications").await;
        assert_eq!(inbox.len(), 1);
        let columns = "id rule_id user_id type severity title message action_url metadata status";
        let expected = json!([told["notification_id"], RULE, client.user, "alert", "high", "{{ 1 }} of 2",
            "web-1 is down", "/runs", {"hosts": ["{% web %}"]}, "unread"]);
        assert_eq!(pick(&inbox[0], columns), expected, "nothing that is told is a template");

        let key = [("content-type", "application/json"), ("idempotency-key", "told-once")];
        let body = request(json!({"severity": "low"})).to_string();
        let first = client.post_raw(GATEWAY, &key, body.clone()).await;
        assert_eq!((first.status, &first.body["success"]), (StatusCode::OK, &json!(true)), "{}", first.body);
        let again = client.post_raw(GATEWAY, &key, body).await;
        assert_eq!(again.body, first.body);
        assert_eq!(client.items("/api/v1/notifications").await.len(), 2, "a repetition tells nothing twice");
        for (wrong, pointer) in [
            (json!({"type": "fyi"}), "/type"),
            (json!({"title": " "}), "/title"),
            (json!({"action_url": "javascript:alert(1)"}), "/action_url"),
            (json!({"rule_id": "mine"}), "/rule_id"),
        ] {
            let refused = client.post(GATEWAY, request(wrong), 422).await;
            assert_eq!((&refused["success"], &refused["errors"][0]["pointer"]), (&json!(false), &json!(pointer)));
        }
    }
}

async fn a_notification_is_made_marked_and_deleted(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let list = "/api/v1/notifications";
    for (client, stranger) in bed.clients().into_iter().zip(bed.strangers()) {
        let note = json!({"type": "info", "title": "Done", "message": "All of it."});
        let made = client.post(list, note.clone(), 201).await;
        assert_eq!(
            pick(&made, "user_id type severity rule_id status"),
            json!([client.user, "info", "low", null, "unread"])
        );
        let mut strange = note;
        strange["icon"] = json!("bell");
        client.post(list, strange, 422).await;
        let path = format!("{list}/{}", made["id"].as_str().expect("an id"));
        let mark = async |by: &Client<'_>, status: &str| {
            by.ask(Method::PATCH, &path, Some(&json!({"status": status})), &[]).await
        };
        let delete = async |by: &Client<'_>| by.ask(Method::DELETE, &path, None, &[]).await.status;
        assert_eq!(mark(&stranger, "read").await.status, StatusCode::NOT_FOUND);
        assert_eq!(delete(&stranger).await, StatusCode::NOT_FOUND);
        assert_eq!(mark(&client, "read").await.body["status"], "read");
        let refused = mark(&client, "unread").await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["pointer"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("/status"))
        );
        let archived = mark(&client, "archived").await.body;
        assert_eq!((&archived["status"], archived["read_at"].is_string()), (&json!("archived"), true));
        assert_eq!(delete(&client).await, StatusCode::NO_CONTENT);
        assert_eq!(client.items(list).await, [] as [Value; 0]);
        assert_eq!(delete(&client).await, StatusCode::NOT_FOUND);
    }
}

on_both_stores!(
    a_document_of_that_platform_is_taken_as_it_is,
    what_the_runtime_does_by_itself_is_an_action,
    the_orchestrator_starts_the_flow_that_matches,
    an_entry_is_executed_and_its_result_awaited,
    an_entry_of_a_paused_run_is_refused_at_once,
    whoever_waits_for_an_execution_hears_of_its_cancellation,
    the_gateway_tells_somebody_in_the_name_of_a_rule,
    a_notification_is_made_marked_and_deleted,
);
