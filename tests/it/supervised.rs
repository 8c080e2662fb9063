//! Panics injected into each kind of actor, under load: nothing is lost, the restart is seen, the others go on; a root
//! that panics ends the process, and the next one takes up its work; a message that kills its actor again and again
//! ends as a dead letter.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;

use super::faults::looks;
use super::sink::Sink;
use super::support::{Installation, SERVICE_KEY, Server, StoreKind, tail};

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
    let started = Instant::now();
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

/// A handler that never returns keeps its thread: that is given up, and what lived there begins again on another one.
async fn a_handler_that_hangs_is_replaced(kind: StoreKind) {
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    let environment = [
        ("CORE314_FAILPOINTS", "actor.queue_partition=hang@400".to_owned()),
        ("CORE314__ENGINE__STUCK_AFTER_MS", "1000".to_owned()),
    ];
    let server = Server::start_with(&installation, &environment).expect("it becomes ready");
    let hook = server.flow_with_webhook(flow("hang", &sink.url)).await;
    // How many are refused meanwhile depends on when it hangs, and on what waits for it.
    let mut accepted = load(&server, &hook).await;
    let log = installation.dir.path().join("server.log");
    let is_found = async {
        while !std::fs::read_to_string(&log).expect("it has a log").contains("an actor makes no progress") {
            server.get("/api/v1/runs?limit=1").await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), is_found).await.expect("it is found");
    let mut again = load(&server, &hook).await;
    assert!(again.len() > TRIGGERS / 2, "only {} of {TRIGGERS} were accepted once it was replaced", again.len());
    accepted.append(&mut again);
    all_completed(&server, &accepted).await;
    drop(server);
    assert_eq!(installation.run(&["store", "check"]).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_handler_that_hangs_loses_nothing_on_sqlite() {
    a_handler_that_hangs_is_replaced(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_handler_that_hangs_loses_nothing_on_postgres() {
    a_handler_that_hangs_is_replaced(StoreKind::Postgres).await;
}

/// Whether a database takes connections; those that it has are ended.
async fn takes_connections(url: &str, does: bool) {
    let (base, name) = (std::env::var("CORE314_TEST_POSTGRES_URL").expect("a PostgreSQL"), url.rsplit('/').next());
    let name = name.expect("a database");
    let mut connection = sqlx::PgConnection::connect(&base).await.expect("the test's PostgreSQL answers");
    for statement in [
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {does}"),
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement holds");
    }
}

/// Takes a database away for so long, and returns when its server works again.
pub async fn without_database(server: &Server, installation: &Installation, time: Duration) {
    let url = installation.database_url.as_deref().expect("PostgreSQL");
    takes_connections(url, false).await;
    let (gone, mut looks) = (Instant::now(), looks());
    while gone.elapsed() < time {
        looks.tick().await;
    }
    takes_connections(url, true).await;
    // Each of the readers' connections is found to be dead once.
    let (back, mut in_a_row) = (Instant::now(), 0);
    while in_a_row < 8 {
        assert!(back.elapsed().as_secs() < 60, "it is not ready again");
        let (status, _) = server.request(Method::GET, "/readyz", None).await.expect("an answer");
        in_a_row = if status.is_success() { in_a_row + 1 } else { 0 };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_is_gone_does_not_keep_a_process() {
    let sink = Sink::start();
    let installation = Installation::new(StoreKind::Postgres).await;
    let url = installation.database_url.clone().expect("a URL");
    let impatient = ["GRACE", "STORE"].map(|name| (format!("CORE314__SHUTDOWN__{name}_SECONDS"), "1".to_owned()));
    let impatient: Vec<(&str, String)> = impatient.iter().map(|(key, value)| (&**key, value.clone())).collect();
    let mut server = Server::start_with(&installation, &impatient).expect("it becomes ready");
    let hook = server.flow_with_webhook(flow("gone", &sink.url)).await;
    sink.hold(true);
    let accepted = server.http.post(format!("{}{hook}", server.url)).json(&json!({"n": 1})).send().await;
    assert_eq!(accepted.expect("an answer").status(), StatusCode::ACCEPTED);
    sink.until(1).await;
    takes_connections(&url, false).await;
    // What came back meanwhile cannot be written.
    sink.hold(false);
    let code = server.terminate();
    let log = tail(&installation.dir.path().join("server.log"));
    assert!(code == Some(1) && log.contains("the store may be away"), "{code:?} {log}");

    takes_connections(&url, true).await;
    let server = Server::start(&installation);
    let runs = until_ended(&server).await;
    assert_eq!(runs.iter().map(|run| &run["run_status"]).collect::<Vec<_>>(), ["completed"], "{runs:?}");
}

/// What a supervisor hears while its children start: of each that it is to be adopted, and that it has started.
const PER_CHILD: usize = 2;
const PARTITIONS: usize = 64;

/// Runs the load, and as soon as some of it is accepted has an actor restarted: its supervisor panics upon hearing it.
async fn load_and_restart(server: &Server, hook: &str, actor: &str) -> Vec<String> {
    let restart = async {
        while server.get("/api/v1/runs?limit=1").await["items"].as_array().is_none_or(Vec::is_empty) {}
        let url = format!("{}/api/v1/actors/{actor}/restart", server.url);
        let answer = server.http.post(url).bearer_auth(SERVICE_KEY).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    };
    tokio::join!(load(server, hook), restart).0
}

async fn all_completed(server: &Server, accepted: &[String]) {
    let runs = until_ended(server).await;
    for id in accepted {
        let run = runs.iter().find(|run| run["id"] == **id);
        assert_eq!(run.map(|run| &run["run_status"]), Some(&json!("completed")), "{id}: {run:?}");
    }
}

async fn a_panic_of_a_supervisor_is_survived(kind: StoreKind) {
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    let point = format!("actor_at.core314/partitions=panic@{}", PER_CHILD * PARTITIONS + 1);
    let server = Server::start_with(&installation, &[("CORE314_FAILPOINTS", point)]).expect("it becomes ready");
    let hook = server.flow_with_webhook(flow("supervisor", &sink.url)).await;
    let accepted = load_and_restart(&server, &hook, "core314/partitions/partition-05").await;
    assert!(accepted.len() > TRIGGERS / 2, "only {} of {TRIGGERS} were accepted", accepted.len());
    all_completed(&server, &accepted).await;
    let actors = server.get_platform("/api/v1/actors?limit=500").await;
    let actors = actors["items"].as_array().expect("a list");
    assert_eq!(actors.iter().filter(|a| a["kind"] == "queue_partition").count(), PARTITIONS);
    let restarted: Vec<&Value> = actors.iter().filter(|a| !a["last_failure"].is_null()).collect();
    assert_eq!(restarted.len(), 1, "only the supervisor failed: {restarted:?}");
    assert_eq!(restarted[0]["path"], "core314/partitions");
    assert_eq!(restarted[0]["restarts"], 1);
    let remembered = installation.rows("SELECT actor FROM audit WHERE event_type = 'actor_restarted'").await;
    assert!(remembered.contains(&"core314/partitions".to_owned()), "{remembered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_a_supervisor_loses_nothing_on_sqlite() {
    a_panic_of_a_supervisor_is_survived(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_a_supervisor_loses_nothing_on_postgres() {
    a_panic_of_a_supervisor_is_survived(StoreKind::Postgres).await;
}

async fn a_panic_of_the_root_ends_the_process(kind: StoreKind) {
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    // The first message after the start has the root panic: nobody is left above it to decide.
    let children = children_of_the_root(&installation).await;
    let point = format!("actor_at.core314=panic@{}", PER_CHILD * children.len() + 1);
    let mut server = Server::start_with(&installation, &[("CORE314_FAILPOINTS", point)]).expect("it becomes ready");
    let hook = server.flow_with_webhook(flow("root", &sink.url)).await;
    let (accepted, broken) = load_until_it_breaks(&server, &hook, &children[0]).await;
    assert!(broken, "the process has ended under its callers");
    assert_eq!(server.wait(), Some(70), "{}", tail(&installation.dir.path().join("server.log")));
    let next = Server::start(&installation);
    all_completed(&next, &accepted).await;
    drop(next);
    assert_eq!(installation.run(&["log", "verify"]).0, 0);
}

/// The paths of the root's children.
async fn children_of_the_root(installation: &Installation) -> Vec<String> {
    let server = Server::start(installation);
    let actors = server.get_platform("/api/v1/actors?limit=500").await;
    let paths = actors["items"].as_array().expect("a list").iter().filter_map(|a| a["path"].as_str());
    paths.filter(|path| path.matches('/').count() == 1).map(str::to_owned).collect()
}

/// Triggers until nobody answers; in the middle this child of the root is to be restarted. Gives what was accepted.
async fn load_until_it_breaks(server: &Server, hook: &str, child: &str) -> (Vec<String>, bool) {
    let mut accepted = Vec::new();
    for n in 0..10_000 {
        let request = server.http.post(format!("{}{hook}", server.url)).json(&json!({"n": n}));
        let Ok(answer) = request.send().await else { return (accepted, true) };
        let status = answer.status();
        let Ok(body) = answer.json::<Value>().await else { return (accepted, true) };
        if status == StatusCode::ACCEPTED {
            accepted.push(body["run_ids"][0].as_str().expect("a run").to_owned());
        }
        if n == 50 {
            let url = format!("{}/api/v1/actors/{child}/restart", server.url);
            // The process may be gone before it answers.
            drop(server.http.post(url).bearer_auth(SERVICE_KEY).send().await);
        }
    }
    (accepted, false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_the_root_ends_the_process_and_the_next_goes_on_on_sqlite() {
    a_panic_of_the_root_ends_the_process(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_the_root_ends_the_process_and_the_next_goes_on_on_postgres() {
    a_panic_of_the_root_ends_the_process(StoreKind::Postgres).await;
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
