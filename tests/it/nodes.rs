//! Several servers over one PostgreSQL: one has the work, and the other takes over when the first was killed, was stopped, or
//! leaves. Nothing is lost or doubled by it.

#[path = "nodes/chaos.rs"]
mod chaos;
#[path = "nodes/cluster.rs"]
mod cluster;
#[path = "nodes/rounds.rs"]
mod rounds;
#[path = "nodes/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::sink::Sink;
use super::support::{Installation, Server, fresh_database, tail};
use wire::Wire;

/// Longer than any takeover, also on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(2);
/// From the end of a server to the first commit of the next one, with the lease that servers have. A start of an engine belongs
/// to it, which takes longer on a busy machine: as long as starting servers has taken in the same test is allowed beside.
const TAKEOVER: Duration = Duration::from_secs(15);
/// Triggers that are under way when something happens to their node.
const TRIGGERS: u64 = 24;

/// Longer than a test may take: who waits for it fails.
fn long_lease() -> [(&'static str, String); 1] {
    [("CORE314__CLUSTER__LEASE_MS", "600000".to_owned())]
}

/// Machines with one database.
struct Site {
    machines: Vec<Installation>,
}

impl Site {
    async fn new(machines: usize) -> Self {
        Self::over(&fresh_database().await, machines)
    }

    /// So many over this database.
    fn over(database_url: &str, machines: usize) -> Self {
        let machine = |_| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            Installation { dir, database_url: Some(database_url.to_owned()) }
        };
        Self { machines: (0..machines).map(machine).collect() }
    }

    /// Starts a server, which works or stands by.
    fn start(&self, at: usize) -> Server {
        self.start_with(at, &[])
    }

    fn start_with(&self, at: usize, more: &[(&str, String)]) -> Server {
        // What a stopped process holds is freed after the time that servers have, and not that of patient tests.
        let mut environment = vec![("CORE314__STORE__IDLE_LIMIT_MS", "2000".to_owned())];
        environment.extend_from_slice(more);
        Server::start_with(&self.machines[at], &environment).expect("the server starts")
    }

    /// A server that works, and one that stands by.
    fn start_both(&self) -> (Server, Server) {
        (self.start(0), self.start(1))
    }

    /// The same, with a lease that outlasts the test: nobody takes over because it has run out.
    fn start_both_for_long(&self) -> (Server, Server) {
        (self.start_with(0, &long_lease()), self.start_with(1, &long_lease()))
    }

    fn logs(&self) -> String {
        let of = |(at, machine): (usize, &Installation)| {
            format!("server {at}:\n{}", tail(&machine.dir.path().join("server.log")))
        };
        self.machines.iter().enumerate().map(of).collect::<Vec<_>>().join("\n")
    }

    /// The last machine sees the database past whatever a test does to the others' way there.
    fn observer(&self) -> &Installation {
        self.machines.last().expect("there is one")
    }

    /// Waits until a server is ready.
    async fn ready(&self, server: &Server) {
        let began = Instant::now();
        while !is_ready(server).await {
            assert!(began.elapsed() < PATIENCE, "it is not ready\n{}", self.logs());
        }
        println!("ready after {} ms", began.elapsed().as_millis());
    }

    /// Waits until another server than this one is ready, and says which.
    async fn another_is_ready(&self, servers: &[Server], than: usize) -> usize {
        let began = Instant::now();
        loop {
            for (at, server) in servers.iter().enumerate().filter(|(at, _)| *at != than) {
                if is_ready(server).await {
                    println!("server {at} is ready after {} ms", began.elapsed().as_millis());
                    return at;
                }
            }
            assert!(began.elapsed() < PATIENCE, "none takes over\n{}", self.logs());
        }
    }

    /// How many rows the log and the audit log have.
    async fn history(&self) -> Vec<String> {
        self.observer().rows("SELECT (SELECT count(*) FROM log) || ' ' || (SELECT count(*) FROM audit)").await
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
        let (code, printed) = self.observer().run(&["log", "verify"]);
        assert_eq!(code, 0, "log verify: {printed}");
    }
}

async fn is_ready(server: &Server) -> bool {
    let answer = server.http.get(format!("{}/readyz", server.url)).send().await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
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
    let site = Site::new(2).await;
    let (first, mut second) = site.start_both_for_long();
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
    let (site, sink) = (Site::new(2).await, Sink::start());
    let starting = Instant::now();
    let (mut first, second) = site.start_both();
    let to_start = starting.elapsed();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    let killed = Instant::now();
    first.kill();
    site.ready(&second).await;
    // What is answered is committed, under the new epoch.
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 1).await;
    let took = killed.elapsed();
    assert!(
        took < TAKEOVER + to_start,
        "taken over after {took:?}, where two starts took {to_start:?}\n{}",
        site.logs()
    );
    site.all_is_done_once(&second, TRIGGERS as usize + 1).await;
    assert_eq!(nodes(&second).await, ["active 64"]);
    // The killed one comes back as one that stands by.
    let back = site.start(0);
    assert_eq!(nodes(&second).await, ["active 64", "standby 0"]);
    drop(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopped_server_that_wakes_commits_nothing_and_leaves() {
    let (site, sink) = (Site::new(2).await, Sink::start());
    let (mut first, second) = site.start_both();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    first.signal(Signal::SIGSTOP);
    site.ready(&second).await;
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 4).await;
    site.all_is_done_once(&second, TRIGGERS as usize + 4).await;
    let before = site.history().await;
    first.signal(Signal::SIGCONT);
    assert_eq!(first.wait(), Some(75), "{}", site.logs());
    assert!(
        tail(&site.machines[0].dir.path().join("server.log")).contains("another node has taken"),
        "{}",
        site.logs()
    );
    assert_eq!(site.history().await, before, "the woken server has committed something");
    site.all_is_done_once(&second, TRIGGERS as usize + 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_ends_hands_its_work_over_at_once() {
    let (site, sink) = (Site::new(2).await, Sink::start());
    let (mut first, second) = site.start_both_for_long();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    assert_eq!(first.terminate(), Some(0), "{}", site.logs());
    let left = "SELECT count(*)::text FROM partition_leases l JOIN nodes n ON n.id = l.node_id \
        WHERE n.left_at_ms IS NULL AND n.started_at_ms = (SELECT min(started_at_ms) FROM nodes)";
    assert_eq!(site.observer().rows(left).await, ["0"], "what it had is free when it has ended");
    site.ready(&second).await;
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 1).await;
    site.all_is_done_once(&second, TRIGGERS as usize + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_was_killed_takes_up_its_own_work_without_waiting_for_its_lease() {
    let (site, sink) = (Site::new(1).await, Sink::start());
    let lease = long_lease();
    let mut first = site.start_with(0, &lease);
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    first.kill();
    let again = site.start_with(0, &lease);
    site.ready(&again).await;
    site.all_is_done_once(&again, TRIGGERS as usize).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_is_cut_off_from_the_database_is_replaced_and_ends() {
    let (mut site, sink) = (Site::new(2).await, Sink::start());
    let wire = Wire::to(site.observer().database_url.as_deref().expect("PostgreSQL")).await;
    site.machines[0].database_url = Some(wire.url.clone());
    let (mut first, second) = site.start_both();
    let hook = saved(&first, &sink).await;
    trigger(&first, &hook, 0..TRIGGERS).await;
    wire.cut();
    site.ready(&second).await;
    trigger(&second, &hook, TRIGGERS..TRIGGERS + 4).await;
    site.all_is_done_once(&second, TRIGGERS as usize + 4).await;
    let before = site.history().await;
    // What it had sent when it was cut off arrives late, too.
    wire.mend();
    assert_eq!(first.wait(), Some(75), "{}", site.logs());
    assert_eq!(site.history().await, before, "the server that was cut off has committed something");
    site.all_is_done_once(&second, TRIGGERS as usize + 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lone_server_goes_on_when_its_database_is_back_after_its_lease() {
    let (mut site, sink) = (Site::new(2).await, Sink::start());
    let wire = Wire::to(site.observer().database_url.as_deref().expect("PostgreSQL")).await;
    site.machines[0].database_url = Some(wire.url.clone());
    let mut lone = site.start_with(0, &[("CORE314__CLUSTER__LEASE_MS", "3000".to_owned())]);
    let hook = saved(&lone, &sink).await;
    trigger(&lone, &hook, 0..TRIGGERS).await;
    wire.cut();
    let live = "SELECT count(*)::text FROM nodes WHERE left_at_ms IS NULL \
        AND expires_at_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let began = Instant::now();
    while site.observer().rows(live).await != ["0"] {
        assert!(began.elapsed() < PATIENCE, "its lease does not run out\n{}", site.logs());
    }
    wire.mend();
    site.ready(&lone).await;
    trigger(&lone, &hook, TRIGGERS..TRIGGERS + 1).await;
    site.all_is_done_once(&lone, TRIGGERS as usize + 1).await;
    assert_eq!(lone.terminate(), Some(0), "{}", site.logs());
}
