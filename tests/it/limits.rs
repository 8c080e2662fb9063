//! Limits under SIGKILL: the real binary is killed again and again while runs wait for their places, on both stores.
//!
//! The receiver counts what really overlaps: a request counts from when it is read until its answer is about to be written, or
//! until its connection is gone, as those of a killed server are. There must never be a fourth of one key at once, and in
//! the end every run is done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::support::{Installation, SERVICE_KEY, Server, StoreKind, USER, long, seed, tail};

const KEYS: usize = 5;
const MAX: usize = 3;
/// How long the receiver keeps a request at most, so that others have the time to overlap with it.
const HOLD: Duration = Duration::from_millis(100);

/// What the receiver has seen.
#[derive(Default)]
struct Seen {
    /// Of each key: how many are open, and the most there ever were.
    open: Mutex<BTreeMap<String, (usize, usize)>>,
    /// How often each execution arrived.
    keys: Mutex<BTreeMap<String, usize>>,
    count: AtomicUsize,
    /// Told of each that arrives.
    arrived: Notify,
    /// Requests that were cut off.
    cut: AtomicUsize,
}

impl Seen {
    fn opened(&self, key: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, most) = open.entry(key.to_owned()).or_default();
        *now += 1;
        *most = (*now).max(*most);
    }

    fn is_full(&self, key: &str) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(key).is_some_and(|(now, _)| *now >= MAX)
    }

    /// Until as many are open as may be.
    async fn full(&self, key: &str) {
        loop {
            let arrived = self.arrived.notified();
            if self.is_full(key) {
                return;
            }
            arrived.await;
        }
    }

    /// Until so many have arrived in all.
    async fn counted(&self, until: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.count.load(Ordering::SeqCst) >= until {
                return;
            }
            arrived.await;
        }
    }

    fn closed(&self, key: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get_mut(key).expect("it was opened").0 -= 1;
    }
}

/// A request as it was read: its key, and its execution.
struct Request {
    key: String,
    execution: String,
}

/// Starts the receiver on a thread of its own, which ends with the process; gives its address.
fn receiver(seen: Arc<Seen>) -> String {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            send.send(listener.local_addr().expect("it has an address")).expect("the test waits");
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                tokio::spawn(serve(stream, seen.clone()));
            }
        });
    });
    format!("http://{}", receive.recv().expect("the receiver starts"))
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        seen.count.fetch_add(1, Ordering::SeqCst);
        *seen.keys.lock().unwrap_or_else(PoisonError::into_inner).entry(request.execution).or_default() += 1;
        seen.opened(&request.key);
        seen.arrived.notify_waiters();
        let is_cut = tokio::select! {
            () = cut(&stream) => true,
            _ = tokio::time::timeout(HOLD, seen.full(&request.key)) => false,
        };
        seen.closed(&request.key);
        if is_cut {
            seen.cut.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Until the connection's end. Nothing is to be read before the answer, but the end of one whose server was killed.
async fn cut(stream: &TcpStream) {
    loop {
        let _ = stream.readable().await;
        let read = stream.try_read(&mut [0; 1]);
        if !matches!(read, Err(ref error) if error.kind() == std::io::ErrorKind::WouldBlock) {
            return;
        }
    }
}

/// The next request of a connection; `None` at its end.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let header = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
            };
            let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let key = head.split(' ').nth(1).expect("a path").to_owned();
                let execution = header("idempotency-key").expect("every execution has a key");
                buffer.drain(..end + 4 + length);
                return Some(Request { key, execution });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Queues all the runs: each is sent under its own key until it is taken.
async fn queue(server: &Server, runs: usize) {
    for first in (0..runs).step_by(500) {
        let triggers: Vec<Value> =
            (first..runs.min(first + 500)).map(|n| json!({"trigger_context": {"key": n % KEYS}})).collect();
        let body = json!({"triggers": triggers});
        let started = Instant::now();
        loop {
            let request = server
                .http
                .post(format!("{}/api/v1/flows/limited/trigger/bulk", server.url))
                .bearer_auth(SERVICE_KEY)
                .header("X-User-Id", USER)
                .header("Idempotency-Key", format!("from-{first}"))
                .json(&body);
            let answer: Value = request.send().await.expect("answers").json().await.expect("JSON");
            if answer["accepted"] == triggers.len() {
                break;
            }
            // A busy machine takes some of them later: those that it has taken are not taken twice.
            assert!(started.elapsed() < Duration::from_mins(2), "not taken: {answer}");
        }
    }
}

async fn killed_again_and_again(kind: StoreKind) {
    let mut random = StdRng::seed_from_u64(seed());
    let (runs, kills) = if long() { (10_000, 12) } else { (300, 4) };
    let seen = Arc::new(Seen::default());
    let url = receiver(seen.clone());
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    let flow = json!({
        "flow_name": "limited", "trigger_type": "manual",
        "limits": {"concurrency": {"key": "trigger.key", "max": MAX}},
        "retry_policy": {"max_attempts": 100, "backoff_seconds": 0.01},
        "flow_steps": [{"id": "call", "config": {"action_type": "api_call", "action_target": "receiver",
            "action_payload": {"method": "POST", "url": format!("{url}/{{{{ trigger.key }}}}"), "json": {}}}}],
    });
    server.create("/api/v1/flows", flow).await;
    queue(&server, runs).await;
    for _ in 0..kills {
        // It dies in the middle of its work, each time somewhere else.
        let until = seen.count.load(Ordering::SeqCst) + random.random_range(1..runs / (kills + 1));
        let some = tokio::time::timeout(Duration::from_mins(2), seen.counted(until)).await;
        assert!(some.is_ok(), "nothing is sent any more: {}", log(&installation));
        server.kill();
        server = Server::start(&installation);
    }
    let started = Instant::now();
    let patience = Duration::from_secs(if long() { 1_800 } else { 120 });
    while installation.rows("SELECT CAST(count(*) AS text) FROM run_limits").await != ["0"] {
        assert!(started.elapsed() < patience, "runs are stuck: {}", log(&installation));
    }
    let all = server.all("/api/v1/runs").await;
    assert_eq!(all.len(), runs);
    let unfinished: Vec<&Value> = all.iter().filter(|run| run["run_status"] != "completed").collect();
    assert!(unfinished.is_empty(), "not done: {unfinished:?}");
    let most: Vec<usize> =
        seen.open.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(_, most)| *most).collect();
    assert_eq!(most.len(), KEYS);
    assert!(most.iter().all(|most| *most <= MAX), "never a fourth: {most:?}");
    assert!(most.contains(&MAX), "the limit is what held them back: {most:?}");
    let executions = seen.keys.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert_eq!(executions, runs, "every execution has arrived");
    while !server.get_text("/metrics").await.contains("core314_limit_holding 0\n") {
        assert!(started.elapsed() < patience, "a place is held by nobody: {}", log(&installation));
    }
    println!(
        "{kind:?}: {kills} kills, {runs} runs, {} requests, {} of them cut off, {:.1} s after the last kill",
        seen.count.load(Ordering::SeqCst),
        seen.cut.load(Ordering::SeqCst),
        started.elapsed().as_secs_f64()
    );
}

fn log(installation: &Installation) -> String {
    tail(&installation.dir.path().join("server.log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fourth_of_one_key_never_overlaps_and_none_is_stuck_on_sqlite() {
    killed_again_and_again(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fourth_of_one_key_never_overlaps_and_none_is_stuck_on_postgres() {
    killed_again_and_again(StoreKind::Postgres).await;
}
