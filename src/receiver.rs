//! An HTTP receiver on this machine, for demonstrations, benchmarks and tests: something real to call.
//!
//! It records what it gets and answers at once. `GET /received?limit=` lists what was recorded, the newest first;
//! `/status/{code}?retry_after=` answers with that status; every other path answers 200. It listens on loopback alone.
//!
//! It must cost next to nothing beside what is measured: a request takes one lock and copies no header and no body, and
//! everything else is done when somebody looks. The memory is bounded: so many requests, so many bytes of each body.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::Context;
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Larger requests are refused, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// What is kept of a body, in bytes.
const KEPT_BODY_BYTES: usize = 16 << 10;
const DEFAULT_LIMIT: usize = 50;

/// A running receiver. It stops when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    log: Data<Log>,
    server: ServerHandle,
}

/// A request as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case; several headers of one name are joined.
    pub headers: Map<String, Value>,
    /// JSON where it is, else text; at most the first 16 KiB.
    pub body: Value,
    /// RFC 3339, with milliseconds.
    pub received_at: String,
    /// How many of the recorded requests have this one's `Idempotency-Key`; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_idempotency_key: Option<usize>,
}

/// What was recorded, the oldest first.
#[derive(Debug)]
struct Log {
    keep: usize,
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    /// All requests since the start.
    total: u64,
    requests: VecDeque<Raw>,
}

/// A request as it is kept: parts that are shared with the connection's buffers, and cheap to keep.
#[derive(Debug)]
struct Raw {
    method: actix_web::http::Method,
    uri: actix_web::http::Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    received_at_ms: i64,
}

/// Starts a receiver on a port of loopback (0: any free one) that keeps the last `keep` requests. It runs on the tokio
/// runtime of the caller.
pub fn start(port: u16, keep: usize) -> anyhow::Result<Receiver> {
    let recorded = Mutex::new(Recorded { total: 0, requests: VecDeque::with_capacity(keep.min(1_024)) });
    let log = Data::new(Log { keep, recorded });
    let shared = log.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .route("/received", web::get().to(list))
            .route("/status/{code}", web::to(status))
            .default_service(web::to(accept))
    })
    .workers(1)
    .disable_signals()
    .bind((Ipv4Addr::LOCALHOST, port))
    .with_context(|| format!("the receiver cannot listen on 127.0.0.1:{port}"))?;
    let address = *server.addrs().first().context("the receiver has no address")?;
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Receiver { url: format!("http://{address}"), log, server: handle })
}

impl Receiver {
    /// Where it listens, such as `http://127.0.0.1:4000`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests there were since the start.
    pub fn total(&self) -> u64 {
        self.log.lock().total
    }

    /// The last requests, the newest first.
    pub fn received(&self, limit: usize) -> Vec<Received> {
        self.log.list(limit).1
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The command is sent at once; only its outcome would have to be waited for.
        drop(self.server.stop(false));
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // What is kept is whole after every statement, so a panic elsewhere does not spoil it.
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: &HttpRequest, mut body: Bytes) {
        if body.len() > KEPT_BODY_BYTES {
            // A copy, because a part would keep the whole alive.
            body = Bytes::copy_from_slice(&body[..KEPT_BODY_BYTES]);
        }
        let raw = Raw {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body,
            received_at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
        };
        let mut recorded = self.lock();
        recorded.total += 1;
        recorded.requests.push_back(raw);
        let forgotten = (recorded.requests.len() > self.keep).then(|| recorded.requests.pop_front());
        drop(recorded);
        // Freed outside the lock.
        drop(forgotten);
    }

    /// How many there were, and the last ones.
    fn list(&self, limit: usize) -> (u64, Vec<Received>) {
        let recorded = self.lock();
        let mut keys: HashMap<&[u8], usize> = HashMap::new();
        for key in recorded.requests.iter().filter_map(Raw::idempotency_key) {
            *keys.entry(key).or_default() += 1;
        }
        let shown = recorded.requests.iter().rev().take(limit);
        let items = shown.map(|raw| raw.show(raw.idempotency_key().and_then(|key| keys.get(key)).copied())).collect();
        (recorded.total, items)
    }
}

impl Raw {
    fn idempotency_key(&self) -> Option<&[u8]> {
        self.headers.iter().find(|(name, _)| name == "idempotency-key").map(|(_, value)| value.as_bytes())
    }

    fn show(&self, same_idempotency_key: Option<usize>) -> Received {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
                Some(before) => format!("{before}, {value}"),
                None => value.into_owned(),
            };
            headers.insert(name.as_str().to_owned(), Value::String(joined));
        }
        let text = || Value::String(String::from_utf8_lossy(&self.body).into_owned());
        let at = DateTime::from_timestamp_millis(self.received_at_ms).unwrap_or_default();
        Received {
            method: self.method.to_string(),
            path: self.uri.to_string(),
            headers,
            body: serde_json::from_slice(&self.body).unwrap_or_else(|_| text()),
            received_at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
            same_idempotency_key,
        }
    }
}

async fn accept(request: HttpRequest, body: Bytes, log: Data<Log>) -> HttpResponse {
    log.record(&request, body);
    HttpResponse::Ok().content_type("application/json").body(Bytes::from_static(br#"{"received":true}"#))
}

#[derive(Debug, Deserialize)]
struct StatusQuery {
    /// Becomes the header `Retry-After`, as it is.
    retry_after: Option<String>,
}

async fn status(
    request: HttpRequest,
    code: web::Path<u16>,
    query: web::Query<StatusQuery>,
    body: Bytes,
    log: Data<Log>,
) -> HttpResponse {
    log.record(&request, body);
    let Some(status) = StatusCode::from_u16(*code).ok().filter(|status| status.as_u16() >= 200) else {
        return HttpResponse::BadRequest().json(serde_json::json!({"error": "a status is 200 to 599"}));
    };
    let mut response = HttpResponse::build(status);
    if let Some(retry_after) = &query.retry_after {
        response.insert_header((RETRY_AFTER, retry_after.as_str()));
    }
    response.json(serde_json::json!({"status": status.as_u16()}))
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    limit: Option<usize>,
}

async fn list(query: web::Query<ListQuery>, log: Data<Log>) -> HttpResponse {
    let (total, items) = log.list(query.limit.unwrap_or(DEFAULT_LIMIT));
    HttpResponse::Ok().json(serde_json::json!({"total": total, "items": items}))
}
