//! Several servers over one PostgreSQL: one has the work, and the other takes over when the first was killed, was stopped, or
//! leaves. Nothing is lost or doubled by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::sink::Sink;
use super::support::{Installation, Server, StoreKind, tail};

/// Longer than any takeover, also on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(2);
/// From the end of a server to the first commit of the next one, with the lease that servers have. A start of an engine belongs
/// to it, which takes longer on a busy machine: as long as starting servers has taken in the same test is allowed beside.
const TAKEOVER: Duration = Duration::from_secs(15);
/// Triggers that are under way when something happens to their node.
const TRIGGERS: u64 = 24;

/// Longer than a test may take: who waits for it fails.
fn long_lease() -> (&'static str, String) {
    ("CORE314__CLUSTER__LEASE_MS", "600000".to_owned())
}

/// Two machines with one database.
struct Pair {
    first: Installation,
    second: Installation,
}

impl Pair {
    async fn new() -> Self {
        let first = Installation::new(StoreKind::Postgres).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let second = Installation { dir, database_url: first.database_url.clone() };
        Self { first, second }
    }

    /// A server that has the work, and one that stands by, with the lease that servers have.
    fn start(&self) -> (Server, Server) {
        // What a stopped process holds is freed after the time that servers have, and not that of patient tests.
        self.start_with(&[("CORE314__STORE__IDLE_LIMIT_MS", "2000".to_owned())])
    }

    /// The same, with a lease that outlasts the test: nobody takes over because it has run out.
    fn start_for_long(&self) -> (Server, Server) {
        self.start_with(&[long_lease()])
    }

    fn start_with(&self, environment: &[(&'static str, String)]) -> (Server, Server) {
        let start = |at| Server::start_with(at, environment).expect("the server starts");
        (start(&self.first), start(&self.second))
    }

    fn logs(&self) -> String {
        let of = |at: &Installation| tail(&at.dir.path().join("server.log"));
        format!("first:\n{}\nsecond:\n{}", of(&self.first), of(&self.second))
    }

    /// Waits until a server is ready.
    async fn ready(&self, server: &Server) {
        let began = Instant::now();
        let ask = || server.http.get(format!("{}/readyz", server.url)).send();
        while !ask().await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            assert!(began.elapsed() < PATIENCE, "it is not ready\n{}", self.logs());
        }
        println!("ready after {} ms", began.elapsed().as_millis());
    }

    /// Waits until all runs have ended, and checks that each of them was done once.
    async fn all_is_done_once(&self, server: &Server, expected: usize) {
        let began = Instant::now();
        loop {
            let live = server.get("/api/v1/runs?run_status=running&limit=1").await;
            if live["items"].as_array().is_some_and(Vec::is_empty) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "runs do not end: {live}\n{}", self.logs());
        }
        let runs = server.all("/api/v1/runs").await;
        let unfinished: Vec<&Value> = runs.iter().filter(|run| run["run_status"] != "completed").collect();
        assert!(unfinished.is_empty(), "not completed: {unfinished:?}\n{}", self.logs());
        assert_eq!(runs.len(), expected, "every accepted trigger has its run, and no other");
        let mut attempts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for row in server.all("/api/v1/execution-log").await {
            let execution = row["execution_queue_id"].as_str().expect("a row names its execution").to_owned();
            attempts.entry(execution).or_default().push(row);
        }
        assert_eq!(attempts.len(), expected * 2, "every execution has been logged");
        for (execution, mut rows) in attempts {
            rows.sort_by_key(|row| row["retry_attempt"].as_i64());
            let numbers: Vec<i64> = rows.iter().filter_map(|row| row["retry_attempt"].as_i64()).collect();
            assert_eq!(numbers, (0..rows.len() as i64).collect::<Vec<_>>(), "attempts of {execution}");
            let completed = rows.iter().filter(|row| row["success"] == true).count();
            assert_eq!(completed, 1, "{execution} completed {completed} times");
        }
        let (code, printed) = self.second.run(&["log", "verify"]);
        assert_eq!(code, 0, "log verify: {printed}");
    }
}

/// Saves a flow of two calls, and gives its webhook's path.
async fn saved(server: &Server, sink: &Sink) -> String {
    let step = |id: &str| {
        json!({"id": id, "config": {"action_type": "api_call", "action_target": "sink", "action_payload": {
            "method": "POST", "url": format!("{}/{id}", sink.url), "json": {"n": "{{ trigger.n }}"}}}})
    };
    let flow = json!({
        "flow_name": "shared", "trigger_type": "webhook", "execution_mode": "sequential",
        "retry_policy": {"max_attempts": 100, "backoff_seconds": 0.01}, "flow_steps": [step("a"), step("b")],
    });
    server.flow_with_webhook(flow).await
}

async fn trigger(server: &Server, hook: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let (status, body) = server.request(Method::POST, hook, Some(json!({"n": n}))).await.expect("an answer");
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    }
}

/// The nodes that live, as `state partitions`.
async fn nodes(server: &Server) -> Vec<String> {
    let listed = server.get_platform("/api/v1/nodes").await;
    let shown = |node: &Value| format!("{} {}", node["state"].as_str().unwrap_or_default(), node["partitions"]);
    listed["items"].as_array().expect("a list").iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_server_stands_by_and_says_so() {
    let pair = Pair::new().await;
    let (first, mut second) = pair.start_for_long();
    let get = async |path: &str| second.http.get(format!("{}{path}", second.url)).send().await.expect("an answer");
    assert_eq!(get("/healthz").await.status(), StatusCode::OK);
    let ready = get("/readyz").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let ready: Value = ready.json().await.expect("JSON");
    assert_eq!((&ready["ready"], &ready["parts"][0]["name"]), (&json!(false), &json!("lease")), "{ready}");
    let refused = get("/api/v1/flows").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!((&problem["code"], &problem["type"]), (&json!("standby"), &json!("/problems/standby")), "{problem}");
    assert_eq!(nodes(&first).await, ["active 64", "standby 0"]);
    let held = first.get_platform("/api/v1/partitions").await;
    let held = held["items"].as_array().expect("a list");
    assert_eq!(held.len(), 64);
    assert!(held.iter().all(|lease| lease["expires_at"].is_string() && lease["ready"].is_number()), "{held:?}");
    assert_eq!(second.terminate(), Some(0));
    assert_eq!(nodes(&first).await, ["active 64"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_server_s_work_is_taken_over_and_finished() {
    let (pair, sink) = (Pair::new().await, Sink::start());
    let starting = Instant::now();
    let (mut first, second) = pair.start();
    let to_start = starting.elapsed();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    let killed = Instant::now();
    first.kill();
    pair.ready(&second).await;
    // What is answered is committed, under the new epoch.
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 1).await;
    let took = killed.elapsed();
    assert!(
        took < TAKEOVER + to_start,
        "taken over after {took:?}, where two starts took {to_start:?}\n{}",
        pair.logs()
    );
    pair.all_is_done_once(&second, TRIGGERS as usize + 1).await;
    assert_eq!(nodes(&second).await, ["active 64"]);
    // The killed one comes back as one that stands by.
    let back = Server::start(&pair.first);
    assert_eq!(nodes(&second).await, ["active 64", "standby 0"]);
    drop(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopped_server_that_wakes_commits_nothing_and_leaves() {
    let (pair, sink) = (Pair::new().await, Sink::start());
    let (mut first, second) = pair.start();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    first.signal(Signal::SIGSTOP);
    pair.ready(&second).await;
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 4).await;
    pair.all_is_done_once(&second, TRIGGERS as usize + 4).await;
    let counted = "SELECT (SELECT count(*) FROM log) || ' ' || (SELECT count(*) FROM audit)";
    let before = pair.second.rows(counted).await;
    first.signal(Signal::SIGCONT);
    assert_eq!(first.wait(), Some(75), "{}", pair.logs());
    assert!(tail(&pair.first.dir.path().join("server.log")).contains("another node has taken"), "{}", pair.logs());
    assert_eq!(pair.second.rows(counted).await, before, "the woken server has committed something");
    pair.all_is_done_once(&second, TRIGGERS as usize + 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_ends_hands_its_work_over_at_once() {
    let (pair, sink) = (Pair::new().await, Sink::start());
    let (mut first, second) = pair.start_for_long();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    assert_eq!(first.terminate(), Some(0), "{}", pair.logs());
    let left = "SELECT count(*)::text FROM partition_leases l JOIN nodes n ON n.id = l.node_id \
        WHERE n.left_at_ms IS NULL AND n.started_at_ms = (SELECT min(started_at_ms) FROM nodes)";
    assert_eq!(pair.second.rows(left).await, ["0"], "what it had is free when it has ended");
    pair.ready(&second).await;
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 1).await;
    pair.all_is_done_once(&second, TRIGGERS as usize + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_was_killed_takes_up_its_own_work_without_waiting_for_its_lease() {
    let (pair, sink) = (Pair::new().await, Sink::start());
    let environment = [long_lease()];
    let mut first = Server::start_with(&pair.first, &environment).expect("the server starts");
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    first.kill();
    let again = Server::start_with(&pair.first, &environment).expect("the server starts again");
    pair.ready(&again).await;
    pair.all_is_done_once(&again, TRIGGERS as usize).await;
}
