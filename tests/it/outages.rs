//! A store that cannot be written or is gone for a time, under load: the server lives and says what is the matter, what it has
//! accepted is done, and it goes on by itself when the store is back. No restart, no person.

#[path = "outages/disk.rs"]
mod disk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use super::faults::checks::all_holds;
use super::faults::database::PostgresServer;
use super::faults::figures::Figures;
use super::faults::load::Load;
use super::faults::{PATIENCE, looks};
use super::sink::Sink;
use super::support::{Installation, Server, StoreKind, fresh_database_on, long, tail};
use disk::{FileLimit, Filled};

/// From the end of an outage to a server that works as before.
const RECOVERY: Duration = Duration::from_secs(10);
/// More than a store takes that has a little room left.
const TRIGGERS: u64 = 400;
const AROUND: u64 = 20;

/// Limits of time as servers have them, and not those of patient tests: what a server says of its store depends on them.
fn as_shipped() -> Vec<(&'static str, String)> {
    let limits = [
        ("CORE314__HTTP__READY_TIMEOUT_MS", 2_000),
        ("CORE314__STORE__READ_LIMIT_MS", 1_000),
        ("CORE314__STORE__IDLE_LIMIT_MS", 2_000),
        // A trigger is refused before its sender gives up.
        ("CORE314__ENGINE__ACCEPT_TIMEOUT_MS", 2_000),
    ];
    limits.map(|(key, ms)| (key, ms.to_string())).to_vec()
}

/// A server under load whose store is about to fail.
struct Bed {
    installation: Installation,
    server: Server,
    load: Arc<Load>,
    sink: Arc<Sink>,
}

impl Bed {
    async fn over(installation: Installation, server: Server) -> Self {
        let sink = Sink::start();
        let load = Load::new(&server, &sink).await;
        Self { installation, server, load, sink }
    }

    /// What `/readyz` says is missing: nothing where it says that the server is ready.
    async fn lacks(&self) -> Option<String> {
        let answer = self.server.http.get(format!("{}/readyz", self.server.url)).send().await.expect("an answer");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        if status == StatusCode::OK {
            return None;
        }
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        let parts = body["parts"].as_array().expect("it has parts").iter().filter(|part| part["ready"] == false);
        Some(parts.map(|part| format!("{}: {}", part["name"], part["detail"])).collect::<Vec<_>>().join("; "))
    }

    /// Waits until `/readyz` says that the server is ready, or that it is not; gives what is missing.
    async fn until_ready(&self, is_ready: bool) -> Option<String> {
        let (began, mut looks) = (Instant::now(), looks());
        loop {
            let lacks = self.lacks().await;
            if lacks.is_none() == is_ready {
                return lacks;
            }
            assert!(began.elapsed() < PATIENCE, "ready: {}, {lacks:?}\n{}", !is_ready, self.log());
            looks.tick().await;
        }
    }

    /// What the server is asked while its store is away, again and again: it lives, is not ready, and accepts nothing.
    async fn holds_out(&self, time: Duration) {
        let (began, mut looks) = (Instant::now(), looks());
        while began.elapsed() < time {
            looks.tick().await;
            let alive = self.server.http.get(format!("{}/healthz", self.server.url)).send().await;
            assert_eq!(alive.expect("an answer").status(), StatusCode::OK);
            assert!(self.lacks().await.is_some(), "it says that it is ready\n{}", self.log());
        }
    }

    fn log(&self) -> String {
        tail(&self.installation.dir.path().join("server.log"))
    }
}

/// Has the store fail under load and come back. `what` must be part of what `/readyz` says meanwhile.
async fn outage(mut figures: Figures, bed: &mut Bed, what: &str, fail: impl FnOnce(), mend: impl FnOnce()) {
    let process = bed.server.pid();
    let lasting = Duration::from_secs(if long() { 60 } else { 3 });
    bed.load.burst(AROUND).end().await;
    let mut burst = bed.load.burst(TRIGGERS);
    burst.until_accepted(AROUND).await;
    let failed = Instant::now();
    fail();
    let lacks = bed.until_ready(false).await.expect("it is not ready");
    figures.took("until `/readyz` says so", failed.elapsed());
    assert!(lacks.contains(what), "{what:?} is missing in {lacks:?}");
    bed.holds_out(lasting).await;
    assert!(!bed.server.has_died(), "it has ended\n{}", bed.log());
    let mended = Instant::now();
    mend();
    let back = Instant::now();
    bed.until_ready(true).await;
    figures.took("from the end of the outage until `/readyz` says ready", back.elapsed());
    bed.load.send_one().await;
    figures.took("from the end of the outage to the first trigger that is accepted", back.elapsed());
    assert!(back.elapsed() < RECOVERY, "it has recovered after {:?}\n{}", back.elapsed(), bed.log());
    burst.end().await;
    bed.load.burst(AROUND).end().await;
    all_holds(&bed.installation, &bed.load, &bed.sink).await;
    assert!(!bed.server.has_died() && bed.server.pid() == process, "the same process goes on");
    assert_eq!(bed.server.terminate(), Some(0), "{}", bed.log());
    figures.say(format!("the store was away for {} s; `/readyz` said: {lacks}", (mended - failed).as_secs()));
    figures.say(format!("{} triggers, all accepted, each with one run that completed", bed.load.sent()));
    figures.say(format!("refused meanwhile, with `Retry-After`, by status: {:?}", bed.load.refused()));
    figures.close();
}

/// A file system of its own for the data directory, which is filled. It takes root to mount one: where that cannot be, the
/// limit on the size of files stands for it, below.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_disk_is_said_loses_nothing_and_is_recovered_from_on_sqlite() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let disk = match Filled::mount(&installation.data_dir()) {
        Ok(disk) => disk,
        Err(error) => {
            println!("no file system can be mounted here, so that this is proven by a limit on files alone: {error}");
            return;
        }
    };
    let server = Server::start_with(&installation, &as_shipped()).expect("it becomes ready");
    let mut bed = Bed::over(installation, server).await;
    let figures = Figures::new("30-disk", "The disk is full (SQLite)");
    outage(figures, &mut bed, "the disk is full", || disk.fill(), || disk.free()).await;
    // What is mounted goes before the directory that it is mounted on.
    drop(disk);
}

/// Files may grow no more (`RLIMIT_FSIZE`): what the kernel refuses then is what it refuses on a full disk, and anybody may say so
/// of their own process.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn files_that_cannot_grow_lose_nothing_and_are_recovered_from_on_sqlite() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    // A process that does not ignore the signal is ended by it.
    let server = Server::start_after(&installation, "trap '' XFSZ", &as_shipped()).expect("it becomes ready");
    let mut bed = Bed::over(installation, server).await;
    let limit = FileLimit::of(&bed.server, bed.installation.data_dir().join("core314.db-wal"));
    let figures = Figures::new("31-files", "Files may not grow (`RLIMIT_FSIZE`, SQLite)");
    outage(figures, &mut bed, "what is to be written waits", || limit.set(), || limit.lift()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_is_gone_for_a_while_is_said_loses_nothing_and_is_recovered_from() {
    let database = PostgresServer::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let installation = Installation { dir, database_url: Some(fresh_database_on(&database.url).await) };
    let server = Server::start_with(&installation, &as_shipped()).expect("it becomes ready");
    let mut bed = Bed::over(installation, server).await;
    let figures = Figures::new("32-away", "The database is gone (PostgreSQL is stopped)");
    outage(figures, &mut bed, "the store does not answer", || database.stop(), || database.start_again()).await;
}
