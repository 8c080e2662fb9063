//! The promise that nothing waits in vain, looked at by the running server: what is planted by hand is found and told.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Installation, Server, StoreKind};

/// A value of `/metrics`.
async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get_text("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A server that looks every second, after it has looked at all runs at least once.
async fn looking(installation: &Installation) -> Server {
    let often = [("CORE314__ENGINE__WAITING_CHECK_INTERVAL_MS", "1000".to_owned())];
    let server = Server::start_with(installation, &often).expect("the server becomes ready");
    while metric(&server, "core314_waiting_passes_total").await == 0 {}
    server
}

async fn started(server: &Server, name: &str, config: Value) -> String {
    let step = json!({"id": "w", "type": "wait", "config": config});
    let flow = json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [step]});
    let flow = server.create("/api/v1/flows", flow).await;
    let path = format!("/api/v1/flows/{}/trigger", flow["id"].as_str().expect("an id"));
    let (status, run) = server.request(Method::POST, &path, Some(json!({}))).await.expect("an answer");
    assert_eq!(status.as_u16(), 202, "{run}");
    run["run_id"].as_str().or_else(|| run["id"].as_str()).expect("an id").to_owned()
}

/// What the server says of itself at `/readyz`.
async fn promises(server: &Server) -> (bool, Value) {
    let readiness = server.get("/readyz").await;
    let parts = readiness["parts"].as_array().expect("parts");
    let part = parts.iter().find(|part| part["name"] == "promises").expect("the part");
    (readiness["ready"] == true, part.clone())
}

async fn a_run_that_waits_for_nothing_is_found(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = looking(&installation).await;
    let lost = started(&server, "lost", json!({"seconds": 86_400})).await;
    let kept = started(&server, "kept", json!({"signal": "go"})).await;
    let before = metric(&server, "core314_waiting_passes_total").await;
    while metric(&server, "core314_waiting_passes_total").await < before + 2 {}
    assert!(metric(&server, "core314_waiting_checked_total").await > 0, "the run that waits for a signal is looked at");
    assert_eq!(metric(&server, "core314_waiting_violations").await, 0);
    assert_eq!(promises(&server).await.1["ready"], json!(true));
    assert_eq!(server.terminate(), Some(0));

    // A defect would leave it so: the timer's row is gone.
    if kind == StoreKind::Postgres {
        installation.meddle("ALTER TABLE run_state NO FORCE ROW LEVEL SECURITY").await;
    }
    installation.meddle("UPDATE run_state SET wake_at_ms = NULL WHERE wake_at_ms IS NOT NULL").await;
    let server = looking(&installation).await;
    assert_eq!(metric(&server, "core314_waiting_violations").await, 1);
    let (ready, part) = promises(&server).await;
    assert!(ready, "other runs go on");
    assert_eq!(part["ready"], json!(false));
    assert!(part["detail"].as_str().is_some_and(|text| text.contains("1 run waits for nothing")), "{part}");

    let told = async || {
        let audit = server.all("/api/v1/audit-log").await;
        audit.into_iter().filter(|entry| entry["event_type"] == "invariant_violated").collect::<Vec<_>>()
    };
    let mut found = told().await;
    while found.is_empty() {
        found = told().await;
    }
    let before = metric(&server, "core314_waiting_passes_total").await;
    while metric(&server, "core314_waiting_passes_total").await < before + 2 {}
    assert_eq!(told().await.len(), 1, "it is told once");
    assert_eq!((&found[0]["subject_id"], &found[0]["details"]["invariant"]), (&json!(lost), &json!(8)), "{found:?}");
    assert!(found.iter().all(|entry| entry["subject_id"] != json!(kept)));
    let log = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("the log");
    assert!(log.contains("a promise is broken") && log.contains(&lost), "the log names the run");
    let (code, printed) = installation.run(&["doctor", "--server", &server.url]);
    assert_eq!(code, 1);
    assert!(printed.lines().any(|line| line.starts_with("problem  promises: 1 run waits for nothing")), "{printed}");
}

#[tokio::test]
async fn a_run_that_waits_for_nothing_is_found_on_sqlite() {
    a_run_that_waits_for_nothing_is_found(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_run_that_waits_for_nothing_is_found_on_postgres() {
    a_run_that_waits_for_nothing_is_found(StoreKind::Postgres).await;
}
