//! Triggers with names of their own. Each is sent under its name until some server has accepted it, whatever happens to the
//! servers meanwhile, so that all of them have a run in the end, and each one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{PATIENCE, looks};
use crate::sink::Sink;
use crate::support::Server;

/// Triggers that are sent at once.
const SENDERS: u64 = 4;
/// A server that was stopped takes connections and says nothing.
const ANSWER: Duration = Duration::from_secs(3);

/// Where triggers are sent, and what became of them.
pub struct Load {
    http: Client,
    /// Path of the webhook.
    hook: String,
    /// Apart from other loads of the same installation.
    name: u64,
    /// Addresses of the servers, which change as these are started anew.
    servers: Mutex<Vec<String>>,
    sent: AtomicU64,
    /// The runs of those that were accepted.
    accepted: Mutex<BTreeMap<u64, String>>,
    /// How often each status refused one.
    refused: Mutex<BTreeMap<u16, u64>>,
}

/// Triggers under way.
pub struct Burst {
    accepted: watch::Receiver<u64>,
    senders: Vec<JoinHandle<()>>,
}

impl Load {
    /// Saves a flow of two calls with a webhook. Attempts do not run out before the faults do.
    pub async fn new(server: &Server, sink: &Sink) -> Arc<Self> {
        let step = |id: &str| {
            json!({"id": id, "config": {"action_type": "api_call", "action_target": "sink", "action_payload": {
                "method": "POST", "url": format!("{}/{id}", sink.url), "json": {"n": "{{ trigger.n }}"}}}})
        };
        let flow = json!({
            "flow_name": "load", "trigger_type": "webhook", "execution_mode": "sequential",
            "retry_policy": {"max_attempts": 100, "backoff_seconds": 0.01}, "flow_steps": [step("a"), step("b")],
        });
        Arc::new(Self {
            http: server.http.clone(),
            hook: server.flow_with_webhook(flow).await,
            name: rand::random(),
            servers: Mutex::new(vec![server.url.clone()]),
            sent: AtomicU64::new(0),
            accepted: Mutex::default(),
            refused: Mutex::default(),
        })
    }

    /// Names the servers that may be asked.
    pub fn send_to(&self, servers: Vec<String>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// How many triggers there are: all of them are accepted, once their bursts have ended.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// The runs of those that were accepted.
    pub fn runs(&self) -> Vec<String> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How often each status refused one.
    pub fn refused(&self) -> BTreeMap<u16, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins to send so many.
    pub fn burst(self: &Arc<Self>, count: u64) -> Burst {
        let (count_accepted, accepted) = watch::channel(0);
        let count_accepted = Arc::new(count_accepted);
        let from = self.sent.fetch_add(count, Ordering::SeqCst);
        let senders = (0..SENDERS).map(|sender| {
            let (load, counted) = (self.clone(), count_accepted.clone());
            tokio::spawn(async move {
                for n in (from..from + count).filter(|n| n % SENDERS == sender) {
                    load.send(n).await;
                    counted.send_modify(|accepted| *accepted += 1);
                }
            })
        });
        Burst { accepted, senders: senders.collect() }
    }

    /// Sends one that nobody has got yet, and returns when it is accepted.
    pub async fn send_one(&self) {
        self.send(self.sent.fetch_add(1, Ordering::SeqCst)).await;
    }

    /// Asks one server after the other until the trigger is accepted.
    async fn send(&self, n: u64) {
        let (began, mut looks) = (Instant::now(), looks());
        for turn in 0_usize.. {
            looks.tick().await;
            assert!(began.elapsed() < PATIENCE, "trigger {n} is not accepted, but refused: {:?}", self.refused());
            let url = {
                let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
                servers.get(turn % servers.len().max(1)).cloned()
            };
            let Some(url) = url else { continue };
            if let Some(run) = self.send_to_one(&url, n).await {
                self.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(n, run);
                return;
            }
        }
    }

    /// Sends a trigger once, and gives its run where it was accepted.
    async fn send_to_one(&self, url: &str, n: u64) -> Option<String> {
        let request = self.http.post(format!("{url}{}", self.hook)).timeout(ANSWER).json(&json!({"n": n}));
        let answer = request.header("Idempotency-Key", format!("{:x}-{n}", self.name)).send().await.ok()?;
        let (status, says_when) = (answer.status().as_u16(), answer.headers().contains_key(RETRY_AFTER));
        let text = answer.text().await.ok()?;
        if status != 202 {
            assert!(
                [429, 503].contains(&status) && says_when,
                "refused with {status}, Retry-After {says_when}: {text}"
            );
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
            return None;
        }
        let body: Value = serde_json::from_str(&text).expect("an answer is JSON");
        Some(body["run_ids"][0].as_str().expect("an accepted trigger names its run").to_owned())
    }
}

impl Burst {
    /// Waits until so many of it are accepted.
    pub async fn until_accepted(&mut self, count: u64) {
        self.accepted.wait_for(|accepted| *accepted >= count).await.expect("its senders live");
    }

    /// Waits until all of it are accepted.
    pub async fn end(self) {
        for sender in self.senders {
            sender.await.expect("a sender does not panic");
        }
    }
}
