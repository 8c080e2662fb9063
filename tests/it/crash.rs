//! Crash runs: the real binary under load, killed at random and at chosen points, again and again, on both stores.
//!
//! Afterwards every accepted trigger has its run and every run has ended; no attempt is missing or double in the log;
//! the receiver saw every execution's key; nothing that was completed ran again; and the log's chain holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::sink::Sink;
use super::support::{Installation, Server, StoreKind, long, seed, tail};

/// The chosen points: after the accept, around the commit, before and after the call.
const POINTS: [&str; 5] = ["accept.after", "commit.before", "commit.after", "attempt.before", "attempt.after"];
/// Triggers that are sent at once.
const SENDERS: usize = 8;
/// No round sends more.
const PER_ROUND: u64 = 150;

/// What the senders know.
#[derive(Default)]
struct Sent {
    /// Runs whose acceptance was answered.
    accepted: Mutex<BTreeSet<String>>,
    number: AtomicU64,
}

async fn crash_runs(kind: StoreKind) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = if long() { 200 } else { 20 };
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    let sent = Arc::new(Sent::default());
    let mut first = Server::start(&installation);
    let hook = first.flow_with_webhook(flow(&sink.url)).await;
    first.terminate();
    let mut kills = 0;
    for round in 0..rounds {
        let point = (round % 2 == 0).then(|| POINTS[random.random_range(0..POINTS.len())]);
        let nth = random.random_range(1..60);
        let environment: Vec<(&str, String)> =
            point.iter().map(|p| ("CORE314_FAILPOINTS", format!("{p}=kill@{nth}"))).collect();
        let Some(mut server) = Server::start_with(&installation, &environment) else {
            kills += 1; // It died while it took up what the last one had left.
            continue;
        };
        let enough = if point.is_some() { PER_ROUND } else { random.random_range(5..PER_ROUND) };
        load(&server, &hook, &sent, enough).await;
        if !server.has_died() {
            server.kill();
        }
        kills += 1;
    }
    assert!(kills >= rounds, "{kills} kills");
    let server = Server::start(&installation);
    let ended = all_ended(&server, &installation).await;
    check(&server, &sink, &sent, &ended).await;
    let runs = ended.len();
    drop(server);
    let (code, printed) = installation.run(&["log", "verify"]);
    assert_eq!(code, 0, "log verify: {printed}");
    println!(
        "{kind:?}: {kills} kills, {runs} runs, {} accepted, seed {seed}",
        sent.accepted.lock().expect("no sender died").len()
    );
}

fn flow(url: &str) -> Value {
    let step = |id: &str| {
        json!({"id": id, "config": {"action_type": "api_call", "action_target": "sink", "action_payload": {
            "method": "POST", "url": format!("{url}/{id}"), "json": {"n": "{{ trigger.n }}"}}}})
    };
    json!({
        "flow_name": "crash", "trigger_type": "webhook", "execution_mode": "sequential",
        // A run may be hit again and again: attempts must not run out before the kills do.
        "retry_policy": {"max_attempts": 100, "backoff_seconds": 0.01},
        "flow_steps": [step("a"), step("b"), step("c")],
    })
}

/// Sends triggers until enough are accepted or the server is gone.
async fn load(server: &Server, hook: &str, sent: &Arc<Sent>, enough: u64) {
    let accepted = Arc::new(AtomicU64::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let senders = (0..SENDERS).map(|_| {
        let (http, url) = (server.http.clone(), format!("{}{hook}", server.url));
        let (sent, accepted, refused) = (sent.clone(), accepted.clone(), refused.clone());
        tokio::spawn(async move {
            while accepted.load(Ordering::Relaxed) < enough && refused.load(Ordering::Relaxed) < 100 {
                let n = sent.number.fetch_add(1, Ordering::Relaxed);
                let Ok(response) = http.post(&url).json(&json!({"n": n})).send().await else { return };
                let is_accepted = response.status().as_u16() == 202;
                let Ok(body) = response.json::<Value>().await else { return };
                if is_accepted {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let run = body["run_ids"][0].as_str().expect("an accepted trigger names its run").to_owned();
                    sent.accepted.lock().expect("no sender died").insert(run);
                } else {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("a sender does not panic");
    }
}

/// Waits until no run is live, and gives all runs.
async fn all_ended(server: &Server, installation: &Installation) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let live = server.get("/api/v1/runs?run_status=running&limit=1").await;
        if live["items"].as_array().is_some_and(Vec::is_empty) {
            return server.all("/api/v1/runs").await;
        }
        assert!(
            started.elapsed().as_secs() < 120,
            "runs do not end: {live}\n{}",
            tail(&installation.dir.path().join("server.log"))
        );
    }
}

async fn check(server: &Server, sink: &Sink, sent: &Sent, runs: &[Value]) {
    let ids: BTreeSet<&str> = runs.iter().filter_map(|r| r["id"].as_str()).collect();
    let accepted = sent.accepted.lock().expect("no sender died").clone();
    let lost: Vec<&String> = accepted.iter().filter(|id| !ids.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    let unfinished: Vec<&Value> = runs.iter().filter(|r| r["run_status"] != "completed").collect();
    assert!(unfinished.is_empty(), "not completed: {unfinished:?}");
    let mut attempts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in server.all("/api/v1/execution-log").await {
        let execution = row["execution_queue_id"].as_str().expect("a row names its execution").to_owned();
        attempts.entry(execution).or_default().push(row);
    }
    assert_eq!(attempts.len(), runs.len() * 3, "every execution has been logged");
    let keys = sink.keys();
    for (execution, mut rows) in attempts {
        rows.sort_by_key(|row| row["retry_attempt"].as_i64());
        let numbers: Vec<i64> = rows.iter().filter_map(|row| row["retry_attempt"].as_i64()).collect();
        assert_eq!(numbers, (0..rows.len() as i64).collect::<Vec<_>>(), "attempts of {execution}");
        let completed = rows.iter().filter(|row| row["success"] == true).count();
        assert_eq!(completed, 1, "{execution} completed {completed} times");
        assert_eq!(rows.last().expect("it has rows")["success"], true, "{execution} ran again after it had completed");
        let seen = keys.get(&execution).copied().unwrap_or(0);
        assert!(seen >= 1, "the receiver never saw {execution}");
        assert!(seen <= rows.len(), "{execution} was sent {seen} times and logged {} times", rows.len());
    }
    let (status, actors) = server.request(Method::GET, "/api/v1/actors", None).await.expect("the server answers");
    assert!(status.is_success() || status.as_u16() == 403, "{actors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_again_and_again_nothing_is_lost_or_doubled_on_sqlite() {
    crash_runs(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_again_and_again_nothing_is_lost_or_doubled_on_postgres() {
    crash_runs(StoreKind::Postgres).await;
}
