//! Twice what a server takes, for a while: its memory stays bounded, it refuses with 429 or 503 and says when to come back, what it
//! has accepted completes, and soon after it answers as quickly as before.
//!
//! What it takes is measured first, by callers who wait for their answers. Then twice as many triggers come a second, whether
//! the earlier ones were answered or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::faults::checks::{all_have_completed, all_have_ended, id_as_text, store_holds};
use super::faults::figures::{Figures, percentile};
use super::faults::{PATIENCE, looks};
use super::sink::Sink;
use super::support::{Installation, Server, StoreKind, long, tail};

/// Callers who wait for their answers.
const CALLERS: usize = 32;
/// Triggers that may wait for their commit: fewer than by default, so that a short run comes to the limit, too.
const PENDING: usize = 64;
const MOST_RESIDENT: u64 = 512 << 20;
/// From the last trigger to answers that are as quick as before.
const CALM: Duration = Duration::from_secs(10);
/// Triggers, one after the other, by which that is judged.
const WINDOW: usize = 20;

/// What became of the triggers.
#[derive(Default)]
struct Answers {
    accepted: BTreeSet<String>,
    /// By status.
    refused: BTreeMap<u16, u64>,
}

/// Who sends them.
#[derive(Clone)]
struct Sender {
    http: reqwest::Client,
    url: String,
    answers: Arc<Mutex<Answers>>,
}

impl Sender {
    async fn to(server: &Server, sink: &Sink) -> Self {
        let call = json!({"method": "POST", "url": sink.url, "json": {"n": "{{ trigger.n }}"}});
        let step = json!({"id": "tell",
            "config": {"action_type": "api_call", "action_target": "sink", "action_payload": call}});
        let flow = json!({"flow_name": "overload", "trigger_type": "webhook", "flow_steps": [step]});
        let url = format!("{}{}", server.url, server.flow_with_webhook(flow).await);
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { http, url, answers: Arc::default() }
    }

    /// Sends one. False where it was refused.
    async fn send(&self) -> bool {
        let answer = self.http.post(&self.url).json(&json!({"n": 1})).send().await.expect("every trigger is answered");
        let (status, says_when) = (answer.status().as_u16(), answer.headers().contains_key(RETRY_AFTER));
        let body: Value = answer.json().await.expect("an answer is JSON");
        let mut answers = self.answers();
        if status == 202 {
            answers.accepted.insert(body["run_ids"][0].as_str().expect("its run").to_owned());
            return true;
        }
        assert!([429, 503].contains(&status) && says_when, "refused with {status}, Retry-After {says_when}: {body}");
        *answers.refused.entry(status).or_default() += 1;
        false
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one after the other until so many are accepted in a row, and gives how long each took.
    async fn one_by_one(&self) -> Vec<Duration> {
        let mut times = Vec::with_capacity(WINDOW);
        while times.len() < WINDOW {
            let began = Instant::now();
            if self.send().await {
                times.push(began.elapsed());
            } else {
                times.clear();
            }
        }
        times
    }

    /// How many triggers a second are accepted from callers who wait for their answers.
    async fn capacity(&self, time: Duration) -> f64 {
        let (before, began) = (self.answers().accepted.len(), Instant::now());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let sender = self.clone();
            callers.spawn(async move {
                while began.elapsed() < time {
                    sender.send().await;
                }
            });
        }
        callers.join_all().await;
        (self.answers().accepted.len() - before) as f64 / began.elapsed().as_secs_f64()
    }

    /// Sends so many a second, whatever becomes of them.
    async fn flood(&self, server: &Server, rate: f64, time: Duration) -> Flood {
        let (began, mut looks) = (Instant::now(), looks());
        let mut flood = Flood::default();
        while began.elapsed() < time {
            looks.tick().await;
            for _ in flood.sent..(began.elapsed().as_secs_f64() * rate) as u64 {
                let sender = self.clone();
                flood.under_way.spawn(async move { sender.send().await });
                flood.sent += 1;
            }
            while let Some(ended) = flood.under_way.try_join_next() {
                flood.accepted += u64::from(ended.expect("it was answered as it should be"));
            }
            flood.most_resident = flood.most_resident.max(server.resident_bytes());
        }
        flood
    }
}

/// Triggers that did not wait for each other.
#[derive(Default)]
struct Flood {
    sent: u64,
    accepted: u64,
    /// Of the server's memory, in bytes.
    most_resident: Option<u64>,
    /// Those that are not answered yet.
    under_way: JoinSet<bool>,
}

impl Flood {
    /// Waits for all answers, and says how many were accepted.
    async fn ended(self) -> u64 {
        self.accepted + self.under_way.join_all().await.into_iter().map(u64::from).sum::<u64>()
    }
}

async fn twice_the_capacity(kind: StoreKind, name: &str) {
    let (measure, time): (u64, u32) = if long() { (10, 60) } else { (2, 5) };
    let (installation, sink) = (Installation::new(kind).await, Sink::start());
    let pending = [("CORE314__ENGINE__MAX_PENDING_ACCEPTS", PENDING.to_string())];
    let mut server = Server::start_with(&installation, &pending).expect("it becomes ready");
    let sender = Sender::to(&server, &sink).await;
    sender.one_by_one().await;
    let quiet = percentile(&sender.one_by_one().await, 90);
    let capacity = sender.capacity(Duration::from_secs(measure)).await;
    all_have_ended(&installation).await;
    let rest = server.resident_bytes();

    // A slow machine gets more than twice as many: what is too much must fill the places of those that wait, several times.
    let rate = f64::max(2.0 * capacity, capacity + (4 * PENDING) as f64 / f64::from(time));
    let flood = sender.flood(&server, rate, Duration::from_secs(time.into())).await;
    let ended = Instant::now();
    let calm = async {
        loop {
            let since = ended.elapsed();
            if percentile(&sender.one_by_one().await, 90) <= quiet * 3 + Duration::from_millis(50) {
                return since;
            }
        }
    };
    let calm = tokio::time::timeout(PATIENCE, calm).await.expect("answers become quick again");
    let (sent, most) = (flood.sent, flood.most_resident);
    let accepted = flood.ended().await;
    all_have_ended(&installation).await;
    let drained = ended.elapsed();
    let refused = sender.answers().refused.clone();

    let mib = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), |bytes| (bytes >> 20).to_string());
    let mut figures = Figures::new(name, format!("Twice the capacity ({kind:?})"));
    figures.say(format!(
        "{CALLERS} callers who wait get {capacity:.0} triggers a second accepted; {sent} came in {time} s"
    ));
    figures.say(format!(
        "{accepted} of them were accepted and completed; refused, with `Retry-After`, by status: {refused:?}"
    ));
    figures.say(format!("resident memory: {} MiB before, {} MiB at most", mib(rest), mib(most)));
    figures.took("a trigger's answer before (p90)", quiet);
    figures.took("from the last trigger of the flood until answers are as quick as before", calm);
    figures.took("until all that was accepted had completed", drained);
    figures.close();

    assert!(refused.values().sum::<u64>() > 0, "nothing was refused: it was no overload");
    assert!(most.is_none_or(|most| most < MOST_RESIDENT), "{} MiB are resident", mib(most));
    assert!(calm < CALM, "answers are slow for {calm:?} (quiet: {quiet:?})");
    nothing_is_lost(&installation, &sender).await;
    assert_eq!(server.terminate(), Some(0), "{}", tail(&installation.dir.path().join("server.log")));
}

/// Every accepted trigger has its run, and every run has completed: also those of triggers that were refused while they waited.
async fn nothing_is_lost(installation: &Installation, sender: &Sender) {
    all_have_completed(installation).await;
    let ids = format!("SELECT {} FROM runs", id_as_text(installation, "id"));
    let stored: BTreeSet<String> = installation.rows(&ids).await.into_iter().collect();
    let accepted: Vec<String> = sender.answers().accepted.iter().map(|run| run.replace('-', "")).collect();
    let lost: Vec<&String> = accepted.iter().filter(|run| !stored.contains(*run)).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    store_holds(installation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice_what_a_server_takes_is_refused_in_part_and_passes_on_sqlite() {
    twice_the_capacity(StoreKind::Sqlite, "20-overload-sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice_what_a_server_takes_is_refused_in_part_and_passes_on_postgres() {
    twice_the_capacity(StoreKind::Postgres, "21-overload-postgres").await;
}
