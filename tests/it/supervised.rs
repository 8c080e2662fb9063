//! Panics injected into each kind of actor, under load: nothing is lost, the restart is seen, the others go on; and a
//! message that kills its actor again and again ends as a dead letter.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::sink::Sink;
use super::support::{Installation, Server, StoreKind};

const TRIGGERS: usize = 200;

fn flow(name: &str, url: &str) -> Value {
    let step = |id: &str| {
        json!({"id": id, "config": {"action_type": "api_call", "action_target": "sink",
            "action_payload": {"method": "POST", "url": format!("{url}/{id}"), "json": {"n": "{{ trigger.n }}"}}}})
    };
    json!({"flow_name": name, "trigger_type": "webhook", "flow_steps": [step("a"), step("b")],
           "retry_policy": {"max_attempts": 10, "backoff_seconds": 0.01}})
}

/// Sends triggers from eight senders; gives the runs that were accepted.
async fn load(server: &Server, hook: &str) -> Vec<String> {
    let senders = (0..8).map(|sender| {
        let (http, url) = (server.http.clone(), format!("{}{hook}", server.url));
        tokio::spawn(async move {
            let mut accepted = Vec::new();
            for n in 0..TRIGGERS / 8 {
                let response = http.post(&url).json(&json!({"n": sender * 1_000 + n})).send().await.expect("an answer");
                let (status, body) = (response.status(), response.json::<Value>().await.expect("JSON"));
                if status == StatusCode::ACCEPTED {
                    accepted.push(body["run_ids"][0].as_str().expect("a run").to_owned());
                } else {
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                }
            }
            accepted
        })
    });
    let mut all = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        all.extend(sender.await.expect("a sender does not panic"));
    }
    all
}

async fn until_ended(server: &Server) -> Vec<Value> {
    let started = std::time::Instant::now();
    loop {
        assert!(started.elapsed().as_secs() < 60, "runs do not end");
        let live = server.get("/api/v1/runs?run_status=running&limit=1").await;
        if live["items"].as_array().is_some_and(Vec::is_empty) {
            return server.all("/api/v1/runs").await;
        }
    }
}

async fn a_panic_is_survived(kind: StoreKind, actor: &str, nth: u32) {
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    let point = format!("actor.{actor}=panic@{nth}");
    let server = Server::start_with(&installation, &[("CORE314_FAILPOINTS", point)]).expect("it becomes ready");
    let hook = server.flow_with_webhook(flow("panic", &sink.url)).await;
    let accepted = load(&server, &hook).await;
    assert!(accepted.len() > TRIGGERS / 2, "{actor}: only {} of {TRIGGERS} were accepted", accepted.len());
    let runs: BTreeMap<String, Value> = until_ended(&server)
        .await
        .into_iter()
        .map(|run| (run["id"].as_str().expect("an id").to_owned(), run["run_status"].clone()))
        .collect();
    for id in &accepted {
        assert_eq!(runs.get(id), Some(&json!("completed")), "{actor}: run {id}");
    }
    assert_eq!(runs.len() * 2, server.all("/api/v1/execution-log?success=true").await.len(), "{actor}");
    restart_is_seen(&server, &installation, actor).await;
}

/// A restart shows on the live tree (a flow run's actor is gone by then) and in the audit log, once.
async fn restart_is_seen(server: &Server, installation: &Installation, actor: &str) {
    if actor != "flow_run" {
        let actors = server.get_platform("/api/v1/actors?limit=500").await;
        let items = actors["items"].as_array().expect("a list").clone();
        let restarted: Vec<&Value> = items.iter().filter(|a| a["restarts"].as_u64() > Some(0)).collect();
        assert_eq!(restarted.len(), 1, "{actor}: one was restarted, the others were not: {restarted:?}");
        assert_eq!(restarted[0]["kind"], actor);
        assert!(restarted[0]["last_failure"].as_str().is_some_and(|f| f.contains("failpoint")), "{restarted:?}");
    }
    let remembered = installation.rows("SELECT event_type FROM audit WHERE event_type = 'actor_restarted'").await;
    assert_eq!(remembered.len(), 1, "{actor}: the audit log remembers one restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_any_actor_loses_nothing_on_sqlite() {
    for (actor, nth) in [("queue_partition", 400), ("flow_run", 120), ("commit_writer", 60)] {
        a_panic_is_survived(StoreKind::Sqlite, actor, nth).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_any_actor_loses_nothing_on_postgres() {
    for (actor, nth) in [("queue_partition", 400), ("flow_run", 120), ("commit_writer", 60)] {
        a_panic_is_survived(StoreKind::Postgres, actor, nth).await;
    }
}

async fn poison_is_set_aside(kind: StoreKind) {
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    // The first message (begin) is handled; every later one of this flow's runs kills its actor.
    let point = ("CORE314_FAILPOINTS", "flow_run.poison=panic@2+".to_owned());
    let server = Server::start_with(&installation, &[point]).expect("it becomes ready");
    let poison = server.flow_with_webhook(flow("poison", &sink.url)).await;
    let healthy = json!({"n": 1});
    let answer = server.http.post(format!("{}{poison}", server.url)).json(&healthy).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let runs = until_ended(&server).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["run_status"], "failed", "{runs:?}");
    assert!(runs[0]["error"].as_str().is_some_and(|e| e.contains("failpoint flow_run.poison")), "{runs:?}");
    let letters = installation.rows("SELECT failure FROM dead_letters").await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].contains("failpoint flow_run.poison"), "{letters:?}");
    drop(server);
    assert_eq!(installation.run(&["log", "verify"]).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_poison_message_becomes_a_dead_letter_on_sqlite() {
    poison_is_set_aside(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_poison_message_becomes_a_dead_letter_on_postgres() {
    poison_is_set_aside(StoreKind::Postgres).await;
}
