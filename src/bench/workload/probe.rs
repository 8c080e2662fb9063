//! What tells a workload that something arrived: an executor, and an HTTP receiver.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use serde_json::Value;
use tokio::sync::Notify;

/// Notes when it is started.
pub struct Probe {
    started: tokio::sync::mpsc::UnboundedSender<Instant>,
    seen: tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Instant>>,
}

impl Default for Probe {
    fn default() -> Self {
        let (started, seen) = tokio::sync::mpsc::unbounded_channel();
        Self { started, seen: tokio::sync::Mutex::new(seen) }
    }
}

impl Probe {
    /// When the next action was started.
    pub async fn next(&self) -> Instant {
        self.seen.lock().await.recv().await.expect("the probe holds the other end")
    }
}

impl Executor for Probe {
    fn action_type(&self) -> &'static str {
        "bench_probe"
    }

    fn check(&self, _: &Target<'_>, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        self.started.send(Instant::now()).expect("the probe holds the other end");
        let performed =
            Performed { outcome: Outcome::Completed(Arc::default()), logged_payload: attempt.payload, http: None };
        Box::pin(std::future::ready(performed))
    }
}

/// Counts the calls that reach it, and notes when the last one came.
#[derive(Default)]
pub struct Receiver {
    calls: Mutex<(u64, Option<Instant>)>,
    arrived: Notify,
    pub url: String,
}

impl Receiver {
    /// Starts on a free port of the loopback, on a thread that ends with the process.
    pub async fn start() -> anyhow::Result<Arc<Self>> {
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
                let url = format!("http://{}/", listener.local_addr()?);
                let receiver = Arc::new(Self { url, ..Self::default() });
                let data = web::Data::from(receiver.clone());
                let server =
                    HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(count_call)))
                        .workers(1)
                        .disable_signals()
                        .listen(listener)?
                        .run();
                // Nobody waits when the workload has been given up.
                drop(send.send(receiver));
                server.await
            })
        });
        receive.await.context("the receiver did not start")
    }

    fn count(&self) -> (u64, Option<Instant>) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until that many calls have come.
    pub async fn until(&self, calls: u64) -> anyhow::Result<()> {
        self.arrival(calls).await.map(drop)
    }

    /// When the last call came, once that many have.
    pub async fn arrival(&self, calls: u64) -> anyhow::Result<Instant> {
        loop {
            let arrived = self.arrived.notified();
            match self.count() {
                (count, at) if count >= calls => return at.context("no call was awaited"),
                (count, _) => {
                    let patience = Duration::from_mins(1);
                    let waited = tokio::time::timeout(patience, arrived).await;
                    waited.with_context(|| format!("{calls} calls were awaited, {count} came"))?;
                }
            }
        }
    }
}

async fn count_call(receiver: web::Data<Receiver>, _body: web::Bytes) -> HttpResponse {
    let mut calls = receiver.calls.lock().unwrap_or_else(PoisonError::into_inner);
    *calls = (calls.0 + 1, Some(Instant::now()));
    drop(calls);
    receiver.arrived.notify_waiters();
    HttpResponse::Ok().finish()
}
