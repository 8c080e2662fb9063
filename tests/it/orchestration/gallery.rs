//! The templates that come with the program: a flow is made of each, and run against a receiver.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::on_both_stores;
use crate::scripted::{Asked, Scripted};
use crate::support::StoreKind;

/// A template, what it is asked for, what starts it, and what then reaches the receiver, each once or more.
struct Case {
    template: &'static str,
    parameters: fn(&str) -> Value,
    context: Value,
    reached: &'static [&'static str],
    approvals: usize,
}

fn case(
    template: &'static str,
    parameters: fn(&str) -> Value,
    context: Value,
    reached: &'static [&'static str],
) -> Case {
    Case { template, parameters, context, reached, approvals: 0 }
}

fn cases() -> Vec<Case> {
    let mut cases = for_operations();
    cases.extend(for_data_and_people());
    cases
}

fn for_operations() -> Vec<Case> {
    vec![
        case(
            "incident-response",
            |url| json!({"load_balancer_url": format!("{url}/lb"), "operations_url": format!("{url}/ops"), "chat_url": format!("{url}/chat")}),
            json!({"host": "web-1", "severity": "high"}),
            &["POST /chat", "POST /lb/drain/web-1", "POST /ops/restart/web-1", "POST /lb/undrain/web-1"],
        ),
        Case {
            approvals: 1,
            ..case(
                "deploy-with-approval",
                |url| json!({"build_url": format!("{url}/build"), "deploy_url": format!("{url}/deploy"), "health_url": format!("{url}/figures")}),
                json!({"version": "1.2"}),
                &["POST /build", "POST /deploy", "GET /figures"],
            )
        },
        case(
            "nightly-report",
            |url| json!({"figures_url": format!("{url}/figures"), "report_url": format!("{url}/report")}),
            json!({}),
            &["GET /figures", "POST /report"],
        ),
        case(
            "webhook-to-chat",
            |url| json!({"slack_url": format!("{url}/slack")}),
            json!({"title": "hello"}),
            &["POST /slack"],
        ),
        case(
            "retry-with-escalation",
            |url| json!({"call_url": format!("{url}/refusing"), "escalate_url": format!("{url}/person")}),
            json!({"n": 1}),
            &["POST /refusing", "POST /person"],
        ),
        case(
            "health-check-and-restart",
            |url| json!({"health_url": format!("{url}/health"), "restart_url": format!("{url}/restart"), "chat_url": format!("{url}/chat")}),
            json!({}),
            &["GET /health", "POST /restart", "POST /chat"],
        ),
    ]
}

fn for_data_and_people() -> Vec<Case> {
    vec![
        case(
            "data-sync",
            |url| json!({"source_url": format!("{url}/figures"), "target_url": format!("{url}/target"), "method": "PUT"}),
            json!({}),
            &["GET /figures", "PUT /target"],
        ),
        case(
            "on-call-handover",
            |url| json!({"rota_url": format!("{url}/rota"), "open_url": format!("{url}/old"), "chat_url": format!("{url}/chat")}),
            json!({}),
            &["GET /rota", "GET /old", "POST /chat"],
        ),
        case(
            "sla-reminder",
            |url| json!({"ticket_url": format!("{url}/tickets"), "remind_url": format!("{url}/person")}),
            json!({"ticket": "T1"}),
            &["GET /tickets/T1", "POST /person"],
        ),
        case(
            "batch-clean-up",
            |url| json!({"list_url": format!("{url}/old"), "remove_url": format!("{url}/remove")}),
            json!({}),
            &["GET /old", "DELETE /remove/4", "DELETE /remove/5", "DELETE /remove/6"],
        ),
        Case {
            approvals: 1,
            ..case(
                "seven-phase-release",
                |url| json!({"pipeline_url": format!("{url}/pipeline")}),
                json!({"version": "1.2"}),
                &["POST /pipeline/prepare", "POST /pipeline/stage", "POST /pipeline/deploy", "POST /pipeline/verify"],
            )
        },
        case(
            "backup-and-verify",
            |url| json!({"backup_url": format!("{url}/backup"), "verify_url": format!("{url}/refusing"), "alert_url": format!("{url}/person")}),
            json!({}),
            &["POST /backup", "POST /refusing/b-7", "POST /person"],
        ),
    ]
}

/// The services that the templates talk with.
fn answer(is_well: &AtomicBool, asked: &Asked) -> (u16, Value) {
    match asked.what.as_str() {
        "GET /health" if !is_well.load(Ordering::SeqCst) => (503, Value::Null),
        "POST /restart" => {
            is_well.store(true, Ordering::SeqCst);
            (200, Value::Null)
        }
        "GET /figures" => (200, json!({"rows": [1, 2]})),
        "GET /rota" => (200, json!({"name": "Ada"})),
        "GET /old" => (200, json!([4, 5, 6])),
        "GET /tickets/T1" => (200, json!({"status": "open"})),
        "POST /backup" => (200, json!({"id": "b-7"})),
        "POST /slack" => (200, json!("ok")),
        what if what.contains("/refusing") => (400, Value::Null),
        _ => (200, json!({})),
    }
}

async fn every_template_becomes_a_flow_that_works(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let is_well = AtomicBool::new(false);
    let receiver = Scripted::start(move |asked| answer(&is_well, asked));
    let [client, _] = bed.clients();
    let listed = client.items("/api/v1/templates").await;
    let cases = cases();
    assert_eq!(listed.len(), cases.len(), "every template of the gallery has a case");
    for case in &cases {
        let body = json!({"flow_name": case.template, "parameters": (case.parameters)(&receiver.url)});
        let made = client.post(&format!("/api/v1/templates/{}/instantiate", case.template), body, 201).await;
        assert_eq!((&made["is_template"], made.get("parameters")), (&json!(false), None), "{made:#}");
        let trigger = format!("/api/v1/flows/{}/trigger", made["id"].as_str().expect("an id"));
        let run = client.post(&trigger, json!({"trigger_context": case.context}), 202).await;
        for _ in 0..case.approvals {
            approve(&client, &run).await;
        }
        let ended = client
            .until(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id")), |row| {
                ["completed", "failed", "timed_out"].iter().any(|status| row["run_status"] == *status)
            })
            .await;
        assert_eq!(ended["run_status"], "completed", "{}: {ended:#}", case.template);
        let reached: Vec<String> = receiver.take().into_iter().map(|asked| asked.what).collect();
        for wanted in case.reached {
            assert!(reached.iter().any(|what| what == wanted), "{}: {wanted} is not in {reached:?}", case.template);
        }
        let others = reached.iter().find(|what| !case.reached.contains(&what.as_str()));
        assert!(others.is_none_or(|what| what.contains("/pipeline/")), "{}: {others:?}", case.template);
    }
}

/// Approves the step of a run that waits for it.
async fn approve(client: &Client<'_>, run: &Value) {
    let waiting = format!(
        "/api/v1/executions?flow_run_id={}&execution_status=awaiting_approval",
        run["id"].as_str().expect("an id")
    );
    let page = client.until(&waiting, |page| page["items"].as_array().is_some_and(|items| !items.is_empty())).await;
    let execution = page["items"][0]["id"].as_str().expect("an id");
    client.post(&format!("/api/v1/executions/{execution}/approve"), json!({}), 200).await;
}

async fn a_template_of_ones_own_asks_and_does_not_run(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let template = json!({"flow_name": "hail", "is_template": true, "trigger": "manual",
            "parameters": {"word": {"enum": ["hello", "bye"]}, "n": {"type": "integer", "default": 3}},
            "flow_steps": [{"say": {"action_type": "transform", "text": "{{ params.word }} {{ trigger.host }}", "n": "{{ params.n }}"}}]});
        let saved = client.post("/api/v1/flows", template, 201).await;
        let id = saved["id"].as_str().expect("an id");
        client.post(&format!("/api/v1/flows/{id}/trigger"), json!({}), 409).await;
        let path = format!("/api/v1/flows/{id}/instantiate");
        let refused = client.post(&path, json!({"flow_name": "x", "parameters": {"word": "no", "z": 1}}), 422).await;
        let places: Vec<&Value> = refused["errors"].as_array().expect("a list").iter().map(|e| &e["pointer"]).collect();
        assert_eq!(places, ["/parameters/z", "/parameters/word"]);
        let made = client.post(&path, json!({"flow_name": "greeter", "parameters": {"word": "hello"}}), 201).await;
        let run = client.start(made["id"].as_str().expect("an id")).await;
        let ended = client.execution(run.execution(0), "completed").await;
        assert_eq!(ended["execution_result"], json!({"text": "hello web-1", "n": 3}));
        client.post(&path, json!({"flow_name": "greeter", "parameters": {"word": "bye"}}), 409).await;
    }
}

on_both_stores! { every_template_becomes_a_flow_that_works, a_template_of_ones_own_asks_and_does_not_run }
