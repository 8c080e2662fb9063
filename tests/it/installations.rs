//! An installation as a whole, by the real binary: backed up beside its server, looked through, moved, and going on there;
//! restored, and waiting for a person.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::support::{Installation, Server, StoreKind, USER, fresh_database};

/// Something that runs to its end, and something that waits for a person.
async fn with_work(server: &Server) -> (String, String) {
    let flow = json!({
        "flow_name": "history", "trigger_type": "webhook",
        "flow_steps": [{"id": "a", "config": {"action_type": "transform", "action_payload": {"n": "{{ trigger.n }}"}}}],
    });
    let hook = server.flow_with_webhook(flow).await;
    for n in 0..20 {
        let sent = server.http.post(format!("{}{hook}", server.url)).json(&json!({"n": n})).send().await;
        assert_eq!(sent.expect("an answer").status().as_u16(), 202);
    }
    let asking = json!({
        "flow_name": "asking", "trigger_type": "manual",
        "flow_steps": [{"id": "ask", "requires_approval": true,
            "config": {"action_type": "transform", "action_payload": {"said": "{{ trigger.word }}"}}}],
    });
    server.create("/api/v1/flows", asking).await;
    let path = "/api/v1/flows/asking/trigger";
    let (status, run) = server
        .request(reqwest::Method::POST, path, Some(json!({"trigger_context": {"word": "hello"}})))
        .await
        .expect("an answer");
    assert!(status.is_success(), "{run}");
    (hook, run["id"].as_str().expect("an id").to_owned())
}

fn done(installation: &Installation, arguments: &[&str]) -> String {
    let (code, text) = installation.run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_installation_is_backed_up_looked_through_and_moved() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let mut server = Server::start(&installation);
    let (hook, run) = with_work(&server).await;
    // Somebody has made the file, for everybody to read.
    let copy = installation.dir.path().join("copy.db");
    std::fs::write(&copy, "").expect("an empty file");
    std::fs::set_permissions(&copy, Permissions::from_mode(0o644)).expect("its mode is changed");
    let text = done(&installation, &["store", "backup", "copy.db"]);
    assert_eq!(copy.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(text.contains("rows and ") && text.contains("the installation was written"), "{text}");
    let (code, text) = installation.run(&["store", "backup", "copy.db"]);
    assert!(code == 1 && text.contains("holds data"), "nothing is overwritten: {text}");
    let text = done(&installation, &["store", "check", "sqlite:copy.db"]);
    assert!(text.contains("runs that have not ended"), "{text}");
    let from = format!("sqlite:{}", installation.data_dir().join("core314.db").display());
    let moved = fresh_database().await;
    let migrate = ["store", "migrate", "--from", &from, "--to", &moved];
    let (code, text) = installation.run(&migrate);
    assert!(code == 1 && text.contains("stop it first"), "its server runs: {text}");
    let started = std::time::Instant::now();
    while server.all("/api/v1/runs?run_status=completed").await.len() < 20 {
        assert!(started.elapsed() < std::time::Duration::from_mins(1), "its runs do not end");
    }
    assert_eq!(server.terminate(), Some(0));

    let report: Value = serde_json::from_str(&done(&installation, &["store", "check", "-o", "json"])).expect("JSON");
    assert_eq!((&report["runs"], &report["findings"]), (&json!(1), &json!([])), "{report:#}");
    done(&installation, &["export", "--tenant", USER, "mine.jsonl"]);
    let lines = std::fs::read_to_string(installation.dir.path().join("mine.jsonl")).expect("a file");
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |table: &str| rows.iter().filter(|row| row["table"] == table).count();
    assert_eq!((of("orchestration_flows"), of("flow_runs"), of("execution_log")), (2, 21, 20), "{lines}");
    assert_eq!(of("webhook_deliveries"), 20, "{lines}");
    assert!(rows.iter().all(|row| row["row"]["tenant_id"] == USER), "{lines}");
    assert!(done(&installation, &["retention", "run"]).contains("metrics_data"));
    let nobody = "0190a000-0000-7000-8000-0000000000ff";
    assert_eq!(done(&installation, &["export", "--tenant", nobody, "-"]), "", "nobody else's");
    assert!(done(&installation, &migrate).contains("core314 store pause --database-url"), "so that it is left alone");
    let unreadable = "UPDATE run_state SET run_status = 'unheard of', wake_at_ms = 1 WHERE completed_at_ms IS NULL";
    installation.meddle(unreadable).await;
    let (code, text) = installation.run(&["store", "check", "-o", "json"]);
    assert!(code == 1 && text.contains(&run), "a run that cannot be read is named: {text}");
    let elsewhere = Installation { dir: tempfile::tempdir().expect("a directory"), database_url: Some(moved) };
    let mut server = Server::start(&elsewhere);
    let sent = server.http.post(format!("{}{hook}", server.url)).json(&json!({"n": 20})).send().await;
    assert_eq!(sent.expect("an answer").status().as_u16(), 202, "its webhook is there");
    let pending = server.all("/api/v1/executions/pending-approvals").await;
    assert_eq!(pending.len(), 1, "{pending:#?}");
    assert_eq!(pending[0]["flow_run_id"], json!(run));
    assert_eq!(server.terminate(), Some(0));
    done(&elsewhere, &["log", "verify"]);
    done(&elsewhere, &["store", "check"]);
    elsewhere.meddle("ALTER TABLE runs NO FORCE ROW LEVEL SECURITY; DELETE FROM runs").await;
    let (code, text) = elsewhere.run(&["store", "check"]);
    assert!(code == 1 && text.contains("run_state"), "{text}");
}

async fn a_restored_installation_waits_for_a_person(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    let (_, run) = with_work(&server).await;
    let nightly = json!({
        "flow_name": "often", "trigger_type": "schedule", "trigger_config": {"every": "1s"},
        "flow_steps": [{"id": "a", "config": {"action_type": "transform", "action_payload": {"n": 1}}}],
    });
    let (status, answer) =
        server.request(reqwest::Method::POST, "/api/v1/flows", Some(nightly)).await.expect("an answer");
    assert!(status.is_success(), "{answer}");
    assert_eq!(server.terminate(), Some(0));
    done(&installation, &["store", "backup", "copy.db"]);
    let copy = installation.dir.path().join("copy.db").display().to_string();

    let restored = Installation::new(kind).await;
    let text = done(&restored, &["store", "restore", &copy]);
    assert!(text.contains("is paused"), "{text}");
    let mut server = Server::start(&restored);
    let counted = "SELECT CAST(count(*) AS text) FROM runs";
    let runs = restored.rows(counted).await;
    for path in ["/api/v1/flows", "/readyz"] {
        let (status, problem) = server.request(reqwest::Method::GET, path, None).await.expect("an answer");
        assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("paused")), "{path}: {problem}");
    }
    assert_eq!(server.get("/healthz").await["status"], "alive", "nobody ends it for waiting");
    let (code, text) = restored.run(&["retention", "run"]);
    assert!(code == 1 && text.contains("is paused by core314 store restore"), "{text}");
    let (code, text) = restored.run(&["store", "resume"]);
    assert!(code == 2 && text.contains("1 runs of asking") && text.contains("schedules"), "{text}");
    // A restart changes nothing, and no schedule has fired.
    assert_eq!(server.terminate(), Some(0));
    let server = Server::start(&restored);
    assert_eq!(restored.rows(counted).await, runs);

    done(&restored, &["store", "resume", "--yes"]);
    let started = std::time::Instant::now();
    let ready = || server.http.get(format!("{}/readyz", server.url)).send();
    while !ready().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(started.elapsed() < std::time::Duration::from_mins(1), "it does not go on");
    }
    let pending = server.all("/api/v1/executions/pending-approvals").await;
    assert_eq!(pending[0]["flow_run_id"], json!(run), "{pending:#?}");
    while restored.rows(counted).await == runs {
        assert!(started.elapsed() < std::time::Duration::from_mins(2), "the schedule does not fire");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restored_installation_waits_for_a_person_on_sqlite() {
    a_restored_installation_waits_for_a_person(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restored_installation_waits_for_a_person_on_postgres() {
    a_restored_installation_waits_for_a_person(StoreKind::Postgres).await;
}
