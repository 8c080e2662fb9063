//! Runs that wait for an event: told of it however it comes, whenever they begin to wait, once, and over a crash.

use reqwest::Method;
use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::on_both_stores;
use crate::support::{Installation, Server, StoreKind};

fn event(id: &str, subject: &str, total: i64) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.paid", "subject": subject,
        "data": {"total": total}})
}

fn paid(id: &str) -> Value {
    json!({"id": id, "type": "wait", "config": {"timeout_seconds": 600, "event": {
        "type": "order.paid", "key": "trigger.order", "match": "event.data.total >= 10"}}})
}

/// A flow that waits for the payment of its order, after a signal where it says so.
fn flow(name: &str, steps: &[Value]) -> Value {
    json!({"flow_name": name, "trigger_type": "manual", "execution_mode": "sequential", "flow_steps": steps})
}

async fn begun(client: &Client<'_>, flow: &str, order: &Value) -> String {
    let context = json!({"trigger_context": {"order": order}});
    let run = client.post(&format!("/api/v1/flows/{flow}/trigger"), context, 202).await;
    run["id"].as_str().expect("an id").to_owned()
}

async fn waits_for(client: &Client<'_>, run: &str, code: &str) -> Value {
    let is_so = |why: &Value| why["reasons"].as_array().is_some_and(|all| all.iter().any(|r| r["code"] == code));
    client.until(&format!("/api/v1/runs/{run}/why"), is_so).await
}

async fn an_event_wakes_the_runs_that_wait_for_its_subject(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        client.save(&flow("pay", &[paid("paid")])).await;
        let runs = [begun(&client, "pay", &json!(4711)).await, begun(&client, "pay", &json!("4711")).await];
        let other = begun(&client, "pay", &json!("4712")).await;
        for run in runs.iter().chain([&other]) {
            waits_for(&client, run, "event").await;
        }
        let why = client.get(&format!("/api/v1/runs/{}/why", runs[0])).await;
        assert_eq!(why["reasons"][0]["held_by"], json!(["event:order.paid:4711"]), "{why}");

        let cheap = client.post("/api/v1/events", event("1", "4711", 9), 202).await;
        assert_eq!((&cheap["is_kept"], &cheap["run_ids"]), (&json!(true), &json!([])), "{cheap}");
        client.post("/api/v1/events", event("2", "4711", 10), 202).await;
        for run in &runs {
            let run = client.run(run, "completed").await;
            assert_eq!(run["output"]["payload"]["id"], json!("2"), "the first that matches: {run:#}");
            assert_eq!(run["output"]["timed_out"], json!(false));
        }
        assert_eq!(client.get(&format!("/api/v1/runs/{other}")).await["run_status"], json!("running"));

        // An event of a type that nobody waits for is not kept.
        let mut sent = event("3", "4712", 10);
        sent["type"] = json!("order.sent");
        assert_eq!(client.post("/api/v1/events", sent, 200).await["is_kept"], json!(false));

        let webhook = client.post("/api/v1/webhooks", json!({"name": "in", "trigger_type": "event"}), 201).await;
        let sent = bed.server.http.post(webhook["url"].as_str().expect("a URL"));
        let sent = sent.header("content-type", "application/cloudevents+json").body(event("4", "4712", 12).to_string());
        assert!(sent.send().await.expect("answers").status().is_success());
        let run = client.run(&other, "completed").await;
        assert_eq!(run["output"]["payload"]["data"], json!({"total": 12}), "a webhook brings events too");
    }
}

async fn an_event_that_comes_before_its_wait_is_not_missed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let signal = json!({"id": "go", "type": "wait", "config": {"signal": "go"}});
        client.save(&flow("late", &[signal, paid("one"), paid("two")])).await;
        client.post("/api/v1/events", event("0", "1", 10), 202).await;
        let run = begun(&client, "late", &json!("1")).await;
        waits_for(&client, &run, "signal").await;
        for no in ["1", "2", "1"] {
            client.post("/api/v1/events", event(no, "1", 10), 202).await;
        }
        client.post(&format!("/api/v1/runs/{run}/signal/go"), json!({}), 200).await;
        client.run(&run, "completed").await;
        let log = client.items(&format!("/api/v1/execution-log?flow_run_id={run}&limit=50")).await;
        let mut taken: Vec<(i64, &str)> = log
            .iter()
            .filter_map(|row| Some((row["step_no"].as_i64()?, row["execution_result"]["payload"]["id"].as_str()?)))
            .collect();
        taken.sort_unstable();
        let taken: Vec<&str> = taken.into_iter().map(|(_, id)| id).collect();
        assert_eq!(taken, ["1", "2"], "each once, in their order, and none from before the run: {log:#?}");
    }
}

async fn a_run_does_not_wait_for_the_event_that_started_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let mut again = flow("again", &[paid("paid")]);
    again["trigger_type"] = json!("event");
    again["trigger_config"] = json!({"type": "order.paid"});
    again["flow_steps"][0]["config"]["event"]["key"] = json!("trigger.subject");
    client.save(&again).await;
    let first = client.post("/api/v1/events", event("1", "9", 10), 202).await;
    let run = first["run_ids"][0].as_str().expect("a run").to_owned();
    waits_for(&client, &run, "event").await;
    client.post("/api/v1/events", event("2", "9", 10), 202).await;
    assert_eq!(client.run(&run, "completed").await["output"]["payload"]["id"], json!("2"));
}

/// Rows of the tables of waits, all together.
async fn left(installation: &Installation) -> Vec<String> {
    let mut left = Vec::new();
    for table in ["event_waits", "event_deliveries", "event_takes"] {
        let count = installation.rows(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await;
        left.push(format!("{table}: {}", count.join("")));
    }
    left
}

/// Killed after the event was kept, before and after the run was told: the answer may be lost, the event is not.
async fn an_event_outlives_a_crash(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    server.create("/api/v1/flows", flow("pay", &[paid("paid")])).await;
    for (no, point) in ["event.kept", "event.before", "event.told"].into_iter().enumerate() {
        server.terminate();
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        server = Server::start_with(&installation, &environment).expect("it starts");
        let order = format!("o-{no}");
        let body = json!({"trigger_context": {"order": order}});
        let (status, begun) =
            server.request(Method::POST, "/api/v1/flows/pay/trigger", Some(body)).await.expect("the server answers");
        assert_eq!(status.as_u16(), 202, "{begun}");
        let path = format!("/api/v1/runs/{}", begun["id"].as_str().expect("an id"));
        while server.get(&format!("{path}/why")).await["reasons"][0]["code"] != "event" {
            tokio::task::yield_now().await;
        }
        let sent = server.request(Method::POST, "/api/v1/events", Some(event(point, &order, 10))).await;
        let is_answered = sent.is_ok_and(|(status, _)| status.is_success());
        assert!(!is_answered || point != "event.kept", "it died before it answered");
        server.wait();
        server = Server::start(&installation);
        let run = loop {
            let run = server.get(&path).await;
            if run["run_status"] == "completed" {
                break run;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(run["output"]["payload"]["id"], json!(point), "{run:#}");
    }
    server.terminate();
    assert_eq!(left(&installation).await, ["event_waits: 0", "event_deliveries: 0", "event_takes: 0"]);
    let (code, printed) = installation.run(&["log", "verify"]);
    assert_eq!(code, 0, "log verify: {printed}");
}

on_both_stores!(
    an_event_wakes_the_runs_that_wait_for_its_subject,
    an_event_that_comes_before_its_wait_is_not_missed,
    a_run_does_not_wait_for_the_event_that_started_it,
    an_event_outlives_a_crash,
);
