//! Breakers, backup endpoints and limits of integrations, by the real binary on both stores.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, refused, run_flow, start, start_with};
use crate::orchestration::on_both_stores;
use crate::sink::Sink;
use crate::support::{SECRET_KEY, Server, StoreKind, USER};

/// One partition with few slots, so that a wait that held one would be seen.
fn narrow() -> [(&'static str, String); 2] {
    [("CORE314__ENGINE__PARTITIONS", "1".to_owned()), ("CORE314__ENGINE__SLOTS_PER_PARTITION", "3".to_owned())]
}

async fn integration(server: &Server, name: &str, more: Value) {
    let mut body = json!({"name": name, "kind": "http"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    done(server, Method::POST, "/api/v1/integrations", body).await;
}

/// Starts one action, and gives its run.
async fn begin(server: &Server, target: &str) -> String {
    let body = json!({"action_type": "api_call", "action_target": target, "action_payload": {"path": "x"},
        "retry_policy": {"max_attempts": 1}});
    let answer = done(server, Method::POST, "/api/v1/executions", body).await;
    answer["id"].as_str().unwrap_or_else(|| panic!("a run: {answer}")).to_owned()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed().as_secs() < 60, "{what}");
        tokio::task::yield_now().await;
    }
}

async fn ended(server: &Server, run: &str) -> String {
    let path = format!("/api/v1/runs/{run}");
    until("the run ends", async || !server.get(&path).await["completed_at"].is_null()).await;
    server.get(&path).await["run_status"].as_str().expect("a word").to_owned()
}

async fn why(server: &Server, run: &str) -> (String, String) {
    let why = server.get(&format!("/api/v1/runs/{run}/why")).await;
    let first = &why["reasons"][0];
    let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

async fn breaker(server: &Server, name: &str) -> Value {
    server.get(&format!("/api/v1/integrations/{name}/breaker")).await
}

async fn an_ill_service_is_left_alone(kind: StoreKind) {
    let (installation, mut server) = start_with(kind, &narrow()).await;
    let shop = Sink::start();
    let policy = json!({"min_calls": 4, "open_seconds": 3600, "half_open_calls": 1});
    integration(&server, "shop", json!({"endpoint": shop.url, "breaker": policy})).await;
    shop.answer(500);
    for _ in 0..4 {
        let run = begin(&server, "shop").await;
        assert_eq!(ended(&server, &run).await, "failed");
    }
    let seen = breaker(&server, "shop").await;
    assert_eq!(
        (&seen["primary"]["state"], &seen["primary"]["reason"]),
        (&json!("open"), &json!("4 of 4 calls failed"))
    );
    let run = begin(&server, "shop").await;
    until("it says why", async || why(&server, &run).await.0 == "breaker_open").await;
    let message = why(&server, &run).await.1;
    assert!(
        message.contains("of integration 'shop' is open: 4 of 4 calls failed; it is asked again at 20"),
        "{message}"
    );
    let log = server.all(&format!("/api/v1/execution-log?flow_run_id={run}")).await;
    assert!(log.is_empty(), "no attempt is used up: {log:?}");
    let page = server.get_text("/metrics").await;
    assert!(page.contains("core314_breakers{state=\"open\"} 1"), "{page}");
    assert_eq!(shop.received().len(), 4, "nothing passes");

    // It holds through a restart, and so does what waits.
    until("it is stored", async || {
        let found =
            installation.rows("SELECT CAST(breakers AS text) FROM connections WHERE breakers IS NOT NULL").await;
        found.iter().any(|text| text.contains("open"))
    })
    .await;
    server.kill();
    let mut environment = vec![("CORE314_SECRET_KEY", SECRET_KEY.to_owned())];
    environment.extend(narrow());
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    assert_eq!(breaker(&server, "shop").await["primary"]["state"], "open");
    until("it says why again", async || why(&server, &run).await.0 == "breaker_open").await;
    assert_eq!(shop.received().len(), 4, "nothing passes");

    // A hand closes it, and what waited goes.
    shop.answer(200);
    done(&server, Method::POST, "/api/v1/integrations/shop/breaker", json!({"state": "auto"})).await;
    assert_eq!(ended(&server, &run).await, "completed");
    assert_eq!(breaker(&server, "shop").await["primary"]["state"], "closed");

    // Asked again with care, it closes by itself.
    let patch = json!({"breaker": {"min_calls": 4, "open_seconds": 1, "half_open_calls": 1}});
    done(&server, Method::PATCH, "/api/v1/integrations/shop", patch).await;
    shop.answer(500);
    for _ in 0..4 {
        let run = begin(&server, "shop").await;
        ended(&server, &run).await;
    }
    assert_eq!(breaker(&server, "shop").await["primary"]["state"], "open");
    shop.answer(200);
    let run = begin(&server, "shop").await;
    assert_eq!(ended(&server, &run).await, "completed");
    assert_eq!(breaker(&server, "shop").await["primary"]["state"], "closed");
    until("it is remembered", async || {
        let events: Vec<Value> =
            server.all("/api/v1/audit-log").await.into_iter().map(|row| row["event_type"].clone()).collect();
        ["breaker_opened", "breaker_closed"].iter().all(|event| events.contains(&json!(event)))
    })
    .await;
}

async fn a_backup_takes_over(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let (first, second) = (Sink::start(), Sink::start());
    let policy = json!({"min_calls": 2, "open_seconds": 1, "half_open_calls": 1});
    let more = json!({"endpoint": first.url, "backup_endpoint": second.url, "breaker": policy});
    integration(&server, "pair", more).await;
    first.answer(503);
    for _ in 0..2 {
        let run = begin(&server, "pair").await;
        ended(&server, &run).await;
    }
    let run = begin(&server, "pair").await;
    assert_eq!(ended(&server, &run).await, "completed");
    assert_eq!((first.received().len(), second.received().len()), (2, 1));
    first.answer(200);
    until("the primary takes over again", async || {
        let run = begin(&server, "pair").await;
        assert_eq!(ended(&server, &run).await, "completed", "no call is lost while they change");
        first.received().len() > 2
    })
    .await;
    assert_eq!(breaker(&server, "pair").await["uses_backup"], false);
}

async fn a_full_limit_delays_and_holds_no_slot(kind: StoreKind) {
    let (_installation, server) = start_with(kind, &narrow()).await;
    let (slow, other) = (Sink::start(), Sink::start());
    integration(&server, "slow", json!({"endpoint": slow.url, "limits": {"concurrency": 1}})).await;
    integration(&server, "other", json!({"endpoint": other.url})).await;
    slow.hold(true);
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(begin(&server, "slow").await);
    }
    slow.until(1).await;
    // Three slots, five that wait, and still there is room.
    let free = begin(&server, "other").await;
    assert_eq!(ended(&server, &free).await, "completed");
    assert_eq!(slow.received().len(), 1);
    let mut codes = Vec::new();
    for run in &runs {
        codes.push(why(&server, run).await.0);
    }
    codes.sort();
    assert_eq!(
        codes,
        [
            "attempt",
            "integration_limit",
            "integration_limit",
            "integration_limit",
            "integration_limit",
            "integration_limit"
        ]
    );
    let page = server.get_text("/metrics").await;
    assert!(page.contains("core314_integration_waiting 5") && page.contains("core314_integration_calls 1"), "{page}");
    slow.hold(false);
    for run in &runs {
        assert_eq!(ended(&server, run).await, "completed");
    }
    assert_eq!(slow.keys().len(), 6, "each was made once: {:?}", slow.keys());
    let seen = breaker(&server, "slow").await;
    assert_eq!(seen["under_way"], 0);
}

async fn one_wish_for_patience_holds_for_all(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let shop = Sink::start();
    integration(&server, "shop", json!({"endpoint": shop.url})).await;
    shop.ask_patience(3_600);
    let refused = begin(&server, "shop").await;
    assert_eq!(ended(&server, &refused).await, "failed");
    let runs = [begin(&server, "shop").await, begin(&server, "shop").await];
    for run in &runs {
        until("it says why", async || why(&server, run).await.0 == "integration_limit").await;
        let message = why(&server, run).await.1;
        assert!(message.contains("'shop' has asked for patience (429) until 20"), "{message}");
    }
    assert_eq!(shop.received().len(), 1, "nobody else has asked");
    assert_eq!(breaker(&server, "shop").await["primary"]["state"], "closed", "a wish for patience is no illness");
    assert!(breaker(&server, "shop").await["patience_until"].is_string());
}

/// An action that says nothing of its own is tried again as its integration says; what the document says goes before.
async fn an_integration_says_how_it_is_tried_again(kind: StoreKind) {
    let (installation, mut server) = start(kind).await;
    let shop = Sink::start();
    shop.answer(500);
    let at_once = json!({"max_attempts": 2, "backoff_seconds": 0.0});
    let more = json!({"endpoint": shop.url, "retry": at_once, "breaker": {"min_calls": 1_000}});
    integration(&server, "shop", more).await;
    let row = server.get("/api/v1/integrations/shop").await;
    assert_eq!((&row["retry"]["max_attempts"], &row["retry"]["jitter"]), (&json!(2), &json!("full")), "{row}");
    let wrong = json!({"retry": {"max_attempts": 0}});
    let path = "/api/v1/integrations/shop";
    let says = refused(&server, Method::PATCH, path, wrong, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(says.contains("/retry/max_attempts"), "{says}");

    let single = async |server: &Server| {
        let body = json!({"action_type": "api_call", "action_target": "shop", "action_payload": {"path": "x"}});
        let answer = done(server, Method::POST, "/api/v1/executions", body).await;
        answer["id"].as_str().expect("a run").to_owned()
    };
    let run = single(&server).await;
    assert_eq!((ended(&server, &run).await.as_str(), shop.count()), ("failed", 2), "as the integration says");
    let run = begin(&server, "shop").await;
    assert_eq!((ended(&server, &run).await.as_str(), shop.count()), ("failed", 3), "as the execution itself says");
    let config = json!({"action_type": "api_call", "action_target": "shop", "action_payload": {"path": "x"}});
    let flow = |name: &str, policy: Value| {
        json!({"flow_name": name, "trigger_type": "manual", "retry_policy": policy,
            "flow_steps": [{"id": "a", "config": config}]})
    };
    let log = run_flow(&server, flow("silent", json!({})), json!({})).await;
    assert_eq!((log.len(), shop.count()), (2, 5), "a flow that says nothing leaves it to the integration");
    let log = run_flow(&server, flow("own", json!({"max_attempts": 3, "backoff_seconds": 0.0})), json!({})).await;
    assert_eq!((log.len(), shop.count()), (3, 8), "as the flow says");

    // It counts at once, and after a restart.
    let slowly =
        json!({"retry": {"max_attempts": 7, "backoff_seconds": 3600, "max_backoff_seconds": 3600, "jitter": "none"}});
    done(&server, Method::PATCH, path, slowly).await;
    let run = single(&server).await;
    let words = "attempt 1 of 7 has failed; the next one is due";
    until("it waits as the integration says", async || {
        why(&server, &run).await == ("retry".to_owned(), words.to_owned())
    })
    .await;
    server.kill();
    let server = Server::start_with(&installation, &[("CORE314_SECRET_KEY", SECRET_KEY.to_owned())]).expect("ready");
    assert_eq!(why(&server, &run).await, ("retry".to_owned(), words.to_owned()));
    done(&server, Method::PATCH, path, json!({"retry": at_once})).await;
    let (before, run) = (shop.count(), single(&server).await);
    assert_eq!((ended(&server, &run).await.as_str(), shop.count() - before), ("failed", 2));
    let row = done(&server, Method::PATCH, path, json!({"retry": null})).await;
    assert_eq!(row["retry"], json!({}), "nothing is said any more");
    let words = ["integration", "add", "patient", "--kind", "http", "--endpoint", &shop.url, "--max-attempts", "9"];
    let (status, printed) = installation.run(&[&words[..], &["--server", &server.url, "--user", USER]].concat());
    assert_eq!(status, 0, "{printed}");
    assert_eq!(server.get("/api/v1/integrations/patient").await["retry"]["max_attempts"], 9);
}

/// Runs that wait at a shut gate do not fill the memory in which others are read, and come back in their order.
async fn a_crowd_at_a_gate_is_in_nobodys_way(kind: StoreKind) {
    const CROWD: usize = 60;
    let mut settings = narrow().to_vec();
    settings.push(("CORE314__ENGINE__RESIDENT_RUNS_PER_PARTITION", "16".to_owned()));
    settings.push(("CORE314__ENGINE__PAGE_SIZE", "16".to_owned()));
    let (installation, mut server) = start_with(kind, &settings).await;
    let (shut, late) = (Sink::start(), Sink::start());
    for (name, sink) in [("shut", &shut), ("late", &late)] {
        integration(&server, name, json!({"endpoint": sink.url})).await;
        done(&server, Method::POST, &format!("/api/v1/integrations/{name}/breaker"), json!({"state": "open"})).await;
    }
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(begin(&server, "shut").await);
    }
    let behind = [begin(&server, "late").await, begin(&server, "late").await];
    until("the crowd leaves memory", async || {
        let page = server.get_text("/metrics").await;
        let resident = page.lines().find_map(|line| line.strip_prefix("core314_resident_runs "));
        resident.is_some_and(|count| count.parse::<f64>().is_ok_and(|count| count <= 16.0))
    })
    .await;
    server.kill();
    settings.push(("CORE314_SECRET_KEY", SECRET_KEY.to_owned()));
    let server = Server::start_with(&installation, &settings).expect("the server becomes ready");
    done(&server, Method::POST, "/api/v1/integrations/late/breaker", json!({"state": "auto"})).await;
    for run in &behind {
        assert_eq!(ended(&server, run).await, "completed");
    }
    assert_eq!((shut.received().len(), late.received().len()), (0, 2));
    done(&server, Method::POST, "/api/v1/integrations/shut/breaker", json!({"state": "auto"})).await;
    for run in &crowd {
        assert_eq!(ended(&server, run).await, "completed");
    }
    let keys = shut.keys();
    assert!(keys.len() == CROWD && keys.values().all(|times| *times == 1), "each was made once: {keys:?}");
}

on_both_stores!(
    an_ill_service_is_left_alone,
    a_backup_takes_over,
    a_full_limit_delays_and_holds_no_slot,
    one_wish_for_patience_holds_for_all,
    an_integration_says_how_it_is_tried_again,
    a_crowd_at_a_gate_is_in_nobodys_way,
);
