//! Many failed runs retried at once, at a receiver that takes fifty calls a second: the flow's own rate holds, whatever the
//! pace of the job, and a job stops by itself when it goes badly.
//!
//! What is counted is counted at the receiver, by its clock. A call may arrive late, and so may several at once, however
//! evenly they were sent; none arrives before it was sent. So the bound is on all calls since the job was asked for: at no
//! time may there have been more of them than fifty a second allow. That holds on the busiest machine.
//!
//! `CORE314_LONG=1` does it with 15,000 runs, for which fifty a second need five minutes each time.

#[path = "bulk/faults.rs"]
mod faults;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::orchestration::bed::{Bed, Client};
use super::support::{StoreKind, long};

/// What the receiver takes.
const PER_SECOND: u32 = 50;
/// Triggers of one request.
const AT_ONCE: usize = 1_000;

struct Size {
    runs: usize,
    /// So many calls are answered well before the receiver fails again.
    well: usize,
    patience: Duration,
}

impl Size {
    fn wanted() -> Self {
        if long() {
            Self { runs: 15_000, well: 500, patience: Duration::from_mins(20) }
        } else {
            Self { runs: 150, well: 50, patience: Duration::from_mins(2) }
        }
    }
}

/// Asks until something is so; between two looks at thousands of runs the server has time for them.
async fn until(client: &Client<'_>, path: &str, patience: Duration, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let found = client.get(path).await;
        if is_so(&found) {
            return found;
        }
        assert!(began.elapsed() < patience, "{path} stays {found:#}");
    }
}

/// Runs that have all failed, because the receiver was down.
async fn failed(bed: &Bed, client: &Client<'_>, size: &Size) -> String {
    let mut flow = bed.flow("restock", &["order"]);
    flow["retry_policy"] = json!({"max_attempts": 1});
    flow["limits"] = json!({"rate": {"max": PER_SECOND}});
    let flow = client.save(&flow).await;
    bed.sink.answer(503);
    let mut left = size.runs;
    while left > 0 {
        let count = left.min(AT_ONCE);
        let triggers = vec![json!({"trigger_context": {"host": "web-1"}}); count];
        let path = format!("/api/v1/flows/{flow}/trigger/bulk");
        let answer = client.post(&path, json!({"triggers": triggers}), 202).await;
        assert_eq!(answer["accepted"], count);
        left -= count;
    }
    let path = format!("/api/v1/flows/{flow}");
    until(client, &path, size.patience, |flow| flow["failed_executions"] == size.runs).await;
    let errors = bed.installation.rows("SELECT DISTINCT error FROM log").await;
    assert_eq!(bed.sink.count(), size.runs, "{errors:?}");
    flow
}

/// A job over the flow's failed runs; when it was asked for, and how it ended.
async fn retried(client: &Client<'_>, flow: &str, size: &Size, more: Value) -> (Instant, Value) {
    let mut job = json!({"verb": "retry", "limit": 100_000,
        "filter": {"orchestration_flow_id": flow, "run_status": "failed"}});
    for (name, value) in more.as_object().expect("an object") {
        job[name] = value.clone();
    }
    let asked_at = Instant::now();
    let job = client.post("/api/v1/bulk", job, 202).await;
    let path = format!("/api/v1/bulk/{}", job["id"].as_str().expect("an id"));
    let is_over = |job: &Value| ["finished", "stopped"].iter().any(|status| job["status"] == *status);
    (asked_at, until(client, &path, size.patience, is_over).await)
}

/// Waits until no run of the flow is under way.
async fn at_rest(client: &Client<'_>, flow: &str, size: &Size) {
    for status in ["pending", "running"] {
        let path = format!("/api/v1/runs?orchestration_flow_id={flow}&run_status={status}&limit=1");
        until(client, &path, size.patience, |runs| runs["items"].as_array().is_some_and(Vec::is_empty)).await;
    }
}

/// At no time since then have more calls arrived than the rate allows: the n-th not before n intervals have passed. One
/// interval is for the first, and for clocks that count milliseconds. Answers with the most in one second.
fn within_the_rate(bed: &Bed, from: usize, asked_at: Instant) -> usize {
    let arrived: Vec<Instant> = bed.sink.received().split_off(from).into_iter().map(|call| call.at).collect();
    let interval = Duration::from_secs(1) / PER_SECOND;
    for (no, at) in (0..).zip(&arrived) {
        let since = at.duration_since(asked_at) + interval;
        assert!(since >= interval * no, "call {no} arrived after {since:?}: more than {PER_SECOND} a second");
    }
    let in_second =
        |first: &Instant| arrived.iter().filter(|at| (*first..*first + Duration::from_secs(1)).contains(*at)).count();
    // The busiest second says how calls bunched up on their way; every hundredth is looked at.
    arrived.iter().step_by(1 + arrived.len() / 500).map(in_second).max().unwrap_or(0)
}

async fn many_failed_runs_are_retried(kind: StoreKind) {
    let size = Size::wanted();
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let flow = failed(&bed, &client, &size).await;

    // It answers again, and fails before they are done: the job notices, and leaves the others alone.
    bed.sink.answer(200);
    bed.sink.answer_after(size.well, 503);
    let pace = json!({"canary": 20, "ramp": {"per_second": 20}, "stop_above_error_rate": 0.2});
    let (asked_at, stopped) = retried(&client, &flow, &size, pace).await;
    assert_eq!(stopped["status"], "stopped", "{stopped:#}");
    assert!(stopped["reason"].as_str().is_some_and(|reason| reason.contains("more than 0.2")), "{stopped:#}");
    at_rest(&client, &flow, &size).await;
    let called = bed.sink.count() - size.runs;
    assert_eq!(stopped["done"], called, "whom it told was called once, and nobody else");
    assert!(called > size.well && called < size.runs, "{called} of {} were told", size.runs);
    within_the_rate(&bed, size.runs, asked_at);

    // It is mended. The job would go four times as fast; the flow's rate does not let it.
    bed.sink.answer(200);
    let before = bed.sink.count();
    let pace = json!({"ramp": {"per_second": 4 * PER_SECOND}});
    let (asked_at, finished) = retried(&client, &flow, &size, pace).await;
    let left = size.runs - size.well;
    let counts = ["status", "total", "done", "refused", "succeeded", "failed"].map(|name| finished[name].clone());
    assert_eq!(json!(counts), json!(["finished", left, left, 0, left, 0]), "{finished:#}");
    assert_eq!(bed.sink.count() - before, left, "each once");
    let busiest = within_the_rate(&bed, before, asked_at);
    let took = asked_at.elapsed();
    assert!(took >= Duration::from_secs(1) / PER_SECOND * (left as u32 - 1), "{left} in {took:?}");
    println!(
        "{kind:?}: {} runs failed; a job stopped by itself after {called} calls; the other {left} took {:.1} s, {:.1} a second, {busiest} in the busiest second",
        size.runs,
        took.as_secs_f64(),
        left as f64 / took.as_secs_f64(),
    );
    let flow = client.get(&format!("/api/v1/flows/{flow}")).await;
    assert_eq!([&flow["successful_executions"], &flow["failed_executions"]], [size.runs, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_failed_runs_are_retried_within_their_rate_on_sqlite() {
    many_failed_runs_are_retried(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_failed_runs_are_retried_within_their_rate_on_postgres() {
    many_failed_runs_are_retried(StoreKind::Postgres).await;
}
