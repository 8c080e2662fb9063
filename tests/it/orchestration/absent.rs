//! Flows whose actions name what does not exist yet: saved, inactive, and told what to do.

use reqwest::Method;
use serde_json::{Value, json};

use super::bed::{Bed, Client, pick};
use super::on_both_stores;
use crate::support::{SECRET_KEY, StoreKind};

/// A document in the form of the platform that this system continues; its first step names a chat that nobody has connected.
fn theirs(bed: &Bed) -> Value {
    let step = |id: &str, (action, target): (&str, &str), payload: Value, (inputs, outputs): (Value, Value)| {
        json!({"id": id, "type": "action", "position": {"x": 100, "y": 100},
            "config": {"action_type": action, "action_target": target, "action_payload": payload, "urgency": "high"},
            "connections": {"inputs": inputs, "outputs": outputs}})
    };
    let told = json!({"channel": "#night", "text": "It is decided"});
    let hook = json!({"url": format!("{}/hook", bed.sink.url), "title": "Do it"});
    json!({
        "flow_name": "tell-the-night-shift", "flow_category": "notifications", "flow_version": 1, "is_active": true,
        "is_template": false, "trigger_type": "decision_approved", "trigger_config": {},
        "flow_steps": [
            step("step1", ("send_notification", "slack"), told, (json!([]), json!(["step2"]))),
            step("step2", ("trigger_webhook", "tasks"), hook, (json!(["step1"]), json!([]))),
        ],
        "execution_mode": "mixed", "max_execution_time_seconds": 60, "requires_approval": false,
        "approval_threshold": 0.8, "conditions": {"severity": "high"}, "on_error_action": "stop",
        "error_notification_channels": ["email"], "tags": ["night"], "metadata": {}
    })
}

/// The messages at a place.
fn said(list: &Value, pointer: &str) -> String {
    let found = list.as_array().into_iter().flatten().filter(|found| found["pointer"] == pointer);
    found.map(|found| found["message"].as_str().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

const TARGET: &str = "/flow_steps/0/config/action_target";

async fn a_flow_that_names_what_is_not_there_is_saved_inactive(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314_SECRET_KEY", SECRET_KEY.to_owned())]).await;
    for client in bed.clients() {
        let checked = client.post("/api/v1/flows/validate", theirs(&bed), 200).await;
        assert_eq!(pick(&checked, "valid errors saved_inactive"), json!([true, [], true]), "{checked}");
        let warned = said(&checked["warnings"], TARGET);
        assert!(warned.contains("no integration 'slack' yet") && warned.contains("integration add"), "{checked}");
        let saved = client.post("/api/v1/flows", theirs(&bed), 201).await;
        assert_eq!((&saved["is_active"], said(&saved["warnings"], TARGET)), (&json!(false), warned), "{saved}");
        let flow = format!("/api/v1/flows/{}", saved["id"].as_str().expect("an id"));
        assert_eq!(client.get(&flow).await["is_active"], false);

        let trigger = json!({"trigger_source": "decision_approved", "trigger_context": {"severity": "high"}});
        client.post("/functions/v1/orchestrator-engine", trigger.clone(), 404).await;
        let mut named = trigger.clone();
        named["flow_id"] = saved["id"].clone();
        let refused = client.post("/functions/v1/orchestrator-engine", named, 409).await;
        assert_eq!(pick(&refused, "success code"), json!([false, "flow_inactive"]), "{refused}");

        still_refused(&client, &flow).await;
        client.post("/api/v1/secrets", json!({"name": "HOOK", "value": format!("{}/chat", bed.sink.url)}), 201).await;
        let slack = json!({"name": "slack", "kind": "slack", "credentials": {"webhook_url": "secrets.HOOK"}});
        client.post("/api/v1/integrations", slack, 201).await;
        let resumed = client.post(&format!("{flow}/resume"), json!({}), 200).await;
        assert_eq!((&resumed["is_active"], said(&resumed["warnings"], TARGET)), (&json!(true), String::new()));
        let started = client.post("/functions/v1/orchestrator-engine", trigger, 200).await;
        assert_eq!(started["flow_id"], saved["id"], "{started}");
    }
}

/// It cannot be made active before that; all else of it may change.
async fn still_refused(client: &Client<'_>, flow: &str) {
    let refused = client.post(&format!("{flow}/resume"), json!({}), 422).await;
    assert_eq!(refused["code"], "invalid_flow", "{refused}");
    assert!(said(&refused["errors"], TARGET).contains("no integration 'slack' yet"), "{refused}");
    let patched = client.ask(Method::PATCH, flow, Some(&json!({"is_active": true, "tags": ["x"]})), &[]).await;
    assert_eq!(patched.status.as_u16(), 422, "{}", patched.body);
    let patched = client.ask(Method::PATCH, flow, Some(&json!({"tags": ["x"]})), &[]).await;
    assert_eq!((patched.status.as_u16(), &patched.body["is_active"]), (200, &json!(false)), "{}", patched.body);
}

async fn what_else_is_wrong_is_still_refused(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = |action: &str, target: &str, payload: Value| {
            json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [{"id": "a",
                "config": {"action_type": action, "action_target": target, "action_payload": payload}}]})
        };
        for wrong in [
            flow("api_call", "lb", json!({"path": "/x", "bodi": 1})),
            flow("api_call", "", json!({"path": "/x"})),
            flow("api_call", "lb", json!({"path": "/x", "url": "http://127.0.0.1:9/"})),
            flow("send_notification", "webhook", json!({"text": "x"})),
            flow("create_task", "", json!({"title": "x"})),
        ] {
            client.post("/api/v1/flows", wrong, 422).await;
        }
        // What runs at once has to be there.
        let single = json!({"action_type": "api_call", "action_target": "lb", "action_payload": {"path": "/x"}});
        let refused = client.post("/api/v1/executions", single, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/action_target", "{refused}");
        // A flow that is running is taken out of service by a change that makes it impossible, and says so.
        let saved = client.post("/api/v1/flows", bed.flow("was-fine", &["a"]), 201).await;
        assert_eq!(saved["is_active"], true);
        let steps = flow("create_task", "tracker", json!({"title": "x"}))["flow_steps"].clone();
        let path = format!("/api/v1/flows/{}", saved["id"].as_str().expect("an id"));
        let changed = client.ask(Method::PATCH, &path, Some(&json!({"flow_steps": steps})), &[]).await;
        assert_eq!(changed.body["is_active"], false, "{}", changed.body);
        assert!(said(&changed.body["warnings"], TARGET).contains("'tracker' names no integration"), "{}", changed.body);
    }
}

async fn files_are_applied_before_and_after_it_is_there(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314_SECRET_KEY", SECRET_KEY.to_owned())]).await;
    let [client, _] = bed.clients();
    let user = client.user.to_string();
    let file = bed.installation.dir.path().join("lb.yaml");
    let text = "flow_name: lb\ntrigger: manual\nflow_steps:\n  - look: {get: lb/health}\n";
    std::fs::write(&file, text).expect("it is written");
    let path = file.to_str().expect("a path");
    let run = |verb: &str| {
        let (code, text) = bed.installation.run(&["flow", verb, path, "--server", &bed.server.url, "--user", &user]);
        assert_eq!(code, 0, "{verb}: {text}");
        text
    };
    let advice = "core314 integration add";
    for (verb, word) in [("validate", "ok"), ("plan", "+ lb"), ("apply", "created lb (version 1)")] {
        let told = run(verb);
        assert!(told.contains(word) && told.contains(advice), "{verb}: {told}");
    }
    for (verb, word) in [("plan", "1 unchanged"), ("apply", "unchanged lb (version 1)")] {
        let told = run(verb);
        assert!(told.contains(word) && told.contains(advice), "to apply it again changes nothing: {told}");
    }
    client.post("/api/v1/integrations", json!({"name": "lb", "kind": "http", "endpoint": bed.sink.url}), 201).await;
    let told = run("apply");
    assert!(told.contains("updated lb (version 2)") && !told.contains(advice), "{told}");
    let started = client.start("lb").await;
    client.run(started.id(), "completed").await;
}

on_both_stores!(
    a_flow_that_names_what_is_not_there_is_saved_inactive,
    what_else_is_wrong_is_still_refused,
    files_are_applied_before_and_after_it_is_there,
);
