//! A real HTTP server that remembers what reached it, and answers as a test wants it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;
use tokio::sync::{Notify, watch};

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// By the receiver's own clock.
    pub at: Instant,
    pub path: String,
    pub key: String,
    pub authorization: String,
    pub traceparent: String,
    pub content_type: String,
    pub body: Value,
}

/// What reached the server.
pub struct Sink {
    received: Mutex<Vec<Received>>,
    arrived: Notify,
    status: AtomicU16,
    /// What `Retry-After` says with a 429, in seconds; 0: there is none.
    patience: AtomicU16,
    /// From which request on another status is answered.
    later: Mutex<Option<(usize, u16)>>,
    is_held: watch::Sender<bool>,
    pub url: String,
}

impl Sink {
    /// Starts on a free port of the loopback, on a thread of its own that ends with the process.
    pub fn start() -> Arc<Self> {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let port = super::support::free_port();
                let sink = Arc::new(Self {
                    received: Mutex::default(),
                    arrived: Notify::new(),
                    status: AtomicU16::new(200),
                    patience: AtomicU16::new(0),
                    later: Mutex::default(),
                    is_held: watch::Sender::new(false),
                    url: format!("http://127.0.0.1:{port}"),
                });
                let data = web::Data::from(sink.clone());
                let server =
                    HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(receive_one)))
                        .workers(1)
                        .disable_signals()
                        .bind(("127.0.0.1", port))
                        .expect("the port is free")
                        .run();
                send.send(sink).expect("the test waits");
                server.await.expect("the sink serves");
            });
        });
        receive.recv().expect("the sink starts")
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        *self.later.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.status.store(status, Ordering::SeqCst);
    }

    /// Answers 429 from now on, and wishes to be left alone for so many seconds.
    pub fn ask_patience(&self, seconds: u16) {
        self.patience.store(seconds, Ordering::SeqCst);
        self.answer(429);
    }

    /// What it answers once so many more requests have arrived.
    pub fn answer_after(&self, more: usize, status: u16) {
        *self.later.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.count() + more, status));
    }

    /// How many requests have arrived.
    pub fn count(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether answers are held back.
    pub fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    /// Everything so far, in order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each idempotency key arrived.
    pub fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for request in self.received() {
            *keys.entry(request.key).or_default() += 1;
        }
        keys
    }

    /// Waits until that many requests have arrived.
    pub async fn until(&self, count: usize) -> Vec<Received> {
        loop {
            let arrived = self.arrived.notified();
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            tokio::time::timeout(std::time::Duration::from_mins(1), arrived)
                .await
                .unwrap_or_else(|_| panic!("{count} requests were awaited, {} came", received.len()));
        }
    }
}

async fn receive_one(sink: web::Data<Sink>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let received = Received {
        at: Instant::now(),
        path: request.path().to_owned(),
        key: header("Idempotency-Key"),
        authorization: header("Authorization"),
        traceparent: header("traceparent"),
        content_type: header("Content-Type"),
        body,
    };
    let number = {
        let mut all = sink.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(received);
        all.len()
    };
    sink.arrived.notify_waiters();
    let mut held = sink.is_held.subscribe();
    held.wait_for(|is_held| !is_held).await.expect("the sink lives as long as its requests");
    let later = *sink.later.lock().unwrap_or_else(PoisonError::into_inner);
    let later = later.filter(|(from, _)| number > *from).map(|(_, status)| status);
    let status = later.unwrap_or_else(|| sink.status.load(Ordering::SeqCst));
    let status = actix_web::http::StatusCode::from_u16(status).expect("a status");
    let mut response = HttpResponse::build(status);
    let patience = sink.patience.load(Ordering::SeqCst);
    if status.as_u16() == 429 && patience > 0 {
        response.insert_header(("Retry-After", patience.to_string()));
    }
    response.json(serde_json::json!({"ok": status.is_success()}))
}
