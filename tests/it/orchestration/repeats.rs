//! Requests under a name of the caller's own (`Idempotency-Key`), told again: what they started is started once.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Answer, Bed, Client, pick};
use super::events::quiet;
use super::on_both_stores;
use crate::support::StoreKind;

const EVENTS: &str = "/api/v1/escalation-events?limit=100";

/// Asks under a name.
async fn named(client: &Client<'_>, path: &str, name: &str, body: &Value) -> Answer {
    client.ask(Method::POST, path, Some(body), &[("Idempotency-Key", name)]).await
}

/// Asks twice under one name: both are answered, with the same in these columns. Other bytes under it are refused.
async fn twice(client: &Client<'_>, path: &str, body: &Value, columns: &str) -> Value {
    // A path is a name that no other request here has.
    let first = named(client, path, path, body).await;
    assert!(first.status.is_success(), "{path}: {} {}", first.status, first.body);
    let again = named(client, path, path, body).await;
    let answers = [&first, &again].map(|answer| (answer.status, pick(&answer.body, columns)));
    assert_eq!(answers[0], answers[1], "{path}");
    let headers = [("Idempotency-Key", path), ("Content-Type", "application/json")];
    let reused = client.post_raw(path, &headers, format!("{body} ")).await;
    let answer = (reused.status, &reused.body["code"]);
    assert_eq!(answer, (StatusCode::CONFLICT, &json!("idempotency_key_reused")), "{path}: {}", reused.body);
    first.body
}

async fn failures_are_reported_once(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let rule = json!({"rule_name": "reported", "trigger_conditions": "trigger.reason == 'reported'",
            "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]});
        client.post("/api/v1/escalation-rules", rule, 201).await;
        let path = "/api/v1/escalation-events";
        let report = json!({"context": {"subject": "db"}});
        let opened = twice(&client, path, &report, "taken").await;
        assert_eq!(opened["taken"][0]["admission"], "opened", "{opened}");
        let id = opened["taken"][0]["escalation_event_id"].as_str().expect("an event");
        let joined = named(&client, path, "joins", &report).await;
        assert_eq!(joined.body["taken"][0]["admission"], "joined", "{}", joined.body);
        let event = client.get(&format!("{path}/{id}")).await;
        assert_eq!(event["failure_count"], 2, "one for each name");
        // What its failures have come to is over: told again, they open nothing new.
        client.post(&format!("{path}/{id}/resolve"), json!({}), 200).await;
        for (name, first) in [(path, &opened), ("joins", &joined.body)] {
            let again = named(&client, path, name, &report).await;
            assert_eq!((again.status, &again.body), (StatusCode::OK, first));
        }
        assert_eq!(client.items(EVENTS).await.len(), 1);

        let asked = json!({"escalation_reason": "reported", "trigger_context": {"subject": "cache"}});
        twice(&client, "/functions/v1/escalation-handler", &asked, "escalation_event_id success").await;
        let events = client.items(EVENTS).await;
        assert_eq!((events.len(), &events[0]["failure_count"]), (2, &json!(1)), "{events:#?}");
    }
}

async fn a_signal_is_heard_once(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let wait = |id: &str| json!({"id": id, "type": "wait", "config": {"signal": "go"}});
    let flow = json!({"flow_name": "gates", "trigger_type": "manual", "flow_steps": [wait("a"), wait("b")]});
    let user = bed.clients()[0].user;
    let signal = {
        let [client, _] = bed.clients();
        client.save(&flow).await;
        let run = client.start("gates").await;
        client.run(run.id(), "running").await;
        let path = format!("/api/v1/runs/{}/signal/go", run.id());
        twice(&client, &path, &json!({"n": 1}), "id").await;
        path
    };
    // The run remembers it, whoever drives it.
    bed.restart();
    let client = Client::of(&bed.server, user);
    let run = signal.trim_end_matches("/signal/go").to_owned();
    assert_eq!(named(&client, &signal, &signal, &json!({"n": 1})).await.status, StatusCode::OK);
    assert_eq!(client.get(&run).await["run_status"], "running", "the second step waits on");
    assert_eq!(named(&client, &signal, "second", &json!({"n": 2})).await.status, StatusCode::OK);
    client.until(&run, |run| run["run_status"] == "completed").await;
    assert_eq!(named(&client, &signal, "second", &json!({"n": 2})).await.status, StatusCode::OK, "as before");
    assert_eq!(named(&client, &signal, "third", &json!({"n": 3})).await.status, StatusCode::CONFLICT, "it is over");
}

async fn many_runs_are_told_once(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&quiet("orders", "manual", json!({}))).await;
        let run = client.start("orders").await;
        client.run(run.id(), "completed").await;
        let runs = format!("/api/v1/runs?orchestration_flow_id={flow}");
        let filter = json!({"filter": {"orchestration_flow_id": flow}});
        // The second time its filter would find what it has begun itself.
        let told = twice(&client, "/api/v1/runs/bulk/restart", &filter, "run_ids done refused").await;
        assert_eq!(pick(&told, "run_ids done"), json!([[run.id()], 1]));
        assert_eq!(client.items(&runs).await.len(), 2);

        let restart = json!({"verb": "restart", "filter": {"orchestration_flow_id": flow}});
        let job = twice(&client, "/api/v1/bulk", &restart, "id total").await;
        let path = format!("/api/v1/bulk/{}", job["id"].as_str().expect("an id"));
        client.until(&path, |job| job["status"] == "finished").await;
        assert_eq!(client.get("/api/v1/bulk").await["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(client.items(&runs).await.len(), 4);
    }
}

on_both_stores!(failures_are_reported_once, a_signal_is_heard_once, many_runs_are_told_once);
