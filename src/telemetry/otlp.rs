//! Spans to a collector: OTLP over HTTP in its JSON encoding (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! ```text
//! Spans ── bounded queue ── Exporter: batches ── POST {endpoint}/v1/traces
//! ```
//! A collector that is away costs nobody anything: batches are tried a few times and then dropped, spans that find the
//! queue full are dropped at once, and both are counted. An exporter of our own, because the protocol is a page of JSON
//! and the library for it brings a second HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::spans::{Attribute, Finished, Item, Kind};

/// Spans in one message at most.
const MAX_BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long one try may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// More of an answer is not read.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Sends what the queue holds, for as long as the process lives.
pub struct Exporter {
    queue: Receiver<Item>,
    client: Client,
    url: Url,
    resource: Value,
    dropped: Arc<AtomicU64>,
    /// Whether the last batch arrived; a change is worth a line.
    is_reached: bool,
}

/// What became of one try.
enum Sent {
    /// It arrived; so many of its spans were refused.
    Done(u64),
    /// Worth another try.
    Later(String),
    /// Another try would end the same way.
    Never(String),
}

impl Exporter {
    /// An exporter to a collector's base address. The process must have installed its TLS provider.
    pub fn new(
        endpoint: &str,
        environment: &str,
        queue: Receiver<Item>,
        dropped: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let mut url = Url::parse(endpoint)?;
        url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
        let client = Client::builder().timeout(SEND_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        let resource = [
            ("service.name", "core314"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("deployment.environment.name", environment),
        ];
        let resource = resource.map(|(key, text)| attribute(key, &Attribute::Text(text.to_owned())));
        Ok(Self { queue, client, url, resource: json!({"attributes": resource}), dropped, is_reached: true })
    }

    /// Runs until nobody can send spans any more.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while let Some(first) = self.queue.recv().await {
            let mut asked = take(first, &mut batch);
            let deadline = Instant::now() + LINGER;
            while batch.len() < MAX_BATCH && asked.is_none() {
                match timeout_at(deadline, self.queue.recv()).await {
                    Ok(Some(item)) => asked = take(item, &mut batch),
                    Ok(None) | Err(_) => break,
                }
            }
            self.send(&batch).await;
            batch.clear();
            if let Some(asked) = asked {
                // Whoever asked may have stopped waiting.
                let _ = asked.send(());
            }
        }
    }

    async fn send(&mut self, batch: &[Finished]) {
        if batch.is_empty() {
            return;
        }
        let body = message(&self.resource, batch).to_string();
        let mut pauses = PAUSES.into_iter();
        let outcome = loop {
            match (self.try_send(body.clone()).await, pauses.next()) {
                (Sent::Done(refused), _) => break Ok(refused),
                (Sent::Later(_), Some(pause)) => sleep(pause).await,
                (Sent::Later(why) | Sent::Never(why), _) => break Err(why),
            }
        };
        let lost = outcome.as_ref().map_or(batch.len() as u64, |refused| *refused);
        self.dropped.fetch_add(lost, Ordering::Relaxed);
        match &outcome {
            Ok(_) if !self.is_reached => tracing::info!("the collector of traces is reached again"),
            Err(why) if self.is_reached => {
                // Without the address, which may have a password in it.
                tracing::warn!(why, "traces are dropped: the collector does not take them");
            }
            Ok(_) | Err(_) => {}
        }
        self.is_reached = outcome.is_ok();
    }

    async fn try_send(&self, body: String) -> Sent {
        let request =
            self.client.post(self.url.clone()).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Sent::Later(error.without_url().to_string()),
        };
        let status = response.status();
        // The statuses that the protocol names as worth another try.
        let is_retryable = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if is_retryable {
            return Sent::Later(format!("it answers {status}"));
        }
        if !status.is_success() {
            return Sent::Never(format!("it answers {status}"));
        }
        Sent::Done(refused(&read(response).await))
    }
}

/// Puts a span with the others, or gives who asks for all of them to be sent.
fn take(item: Item, batch: &mut Vec<Finished>) -> Option<tokio::sync::oneshot::Sender<()>> {
    match item {
        Item::Span(span) => {
            batch.push(*span);
            None
        }
        Item::Flush(asked) => Some(asked),
    }
}

async fn read(mut response: reqwest::Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout(SEND_TIMEOUT, response.chunk()).await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER_BYTES {
            break;
        }
    }
    bytes
}

/// How many spans a collector says that it has refused. JSON writes 64-bit numbers as text.
fn refused(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}

/// An `ExportTraceServiceRequest`.
fn message(resource: &Value, batch: &[Finished]) -> Value {
    let spans: Vec<Value> = batch.iter().map(span).collect();
    let scope = json!({"name": "core314", "version": env!("CARGO_PKG_VERSION")});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]})
}

fn span(span: &Finished) -> Value {
    let attributes: Vec<Value> =
        span.attributes.iter().map(|(name, value)| attribute(&full_name(name), value)).collect();
    let mut out = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.span),
        "name": name(span),
        "kind": span.kind as u8,
        "startTimeUnixNano": nanoseconds(span.started),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
        "status": if has_failed(span) { json!({"code": 2}) } else { json!({}) },
    });
    if let Some(parent) = span.parent {
        out["parentSpanId"] = format!("{parent:016x}").into();
    }
    out
}

/// Few different ones, as the conventions ask: the route, never the path.
fn name(span: &Finished) -> String {
    match span.kind {
        Kind::Server => match (text(span, "method"), text(span, "route")) {
            (Some(method), Some(route)) => format!("{method} {route}"),
            (method, _) => method.unwrap_or("request").to_owned(),
        },
        Kind::Client => format!("attempt {}", text(span, "action_type").unwrap_or_default()),
    }
}

/// A server has failed where it is at fault; an attempt where it did not do what it should.
fn has_failed(span: &Finished) -> bool {
    match span.kind {
        Kind::Server => span.attributes.iter().any(|a| matches!(a, ("status", Attribute::Number(500..)))),
        Kind::Client => text(span, "outcome") == Some("failed"),
    }
}

fn text<'a>(span: &'a Finished, name: &str) -> Option<&'a str> {
    span.attributes.iter().find_map(|(key, value)| match value {
        Attribute::Text(text) if *key == name => Some(text.as_str()),
        _ => None,
    })
}

/// The name of an attribute in the semantic conventions of OpenTelemetry, or under ours.
fn full_name(field: &str) -> String {
    match field {
        "method" => "http.request.method".to_owned(),
        "route" => "http.route".to_owned(),
        "path" => "url.path".to_owned(),
        "status" => "http.response.status_code".to_owned(),
        "client" => "client.address".to_owned(),
        "error" => "error.type".to_owned(),
        ours => format!("core314.{ours}"),
    }
}

fn attribute(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({"stringValue": text}),
        Attribute::Number(number) => json!({"intValue": number.to_string()}),
        Attribute::Flag(flag) => json!({"boolValue": flag}),
    };
    json!({"key": key, "value": value})
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished() -> Finished {
        Finished {
            kind: Kind::Server,
            trace: 0xabc,
            span: 0x1f,
            parent: Some(2),
            started: UNIX_EPOCH + Duration::from_nanos(1_750_000_000_000_000_001),
            ended: UNIX_EPOCH + Duration::from_nanos(1_750_000_000_000_000_002),
            attributes: vec![
                ("method", Attribute::Text("GET".to_owned())),
                ("route", Attribute::Text("/api/v1/runs/{id}".to_owned())),
                ("status", Attribute::Number(503)),
                ("run_id", Attribute::Text("r".to_owned())),
            ],
        }
    }

    #[test]
    fn a_message_is_what_the_protocol_says() {
        let said = message(&json!({"attributes": []}), &[finished()]);
        assert_eq!(
            said["resourceSpans"][0]["scopeSpans"][0]["spans"][0],
            json!({
                "traceId": "00000000000000000000000000000abc", "spanId": "000000000000001f",
                "parentSpanId": "0000000000000002", "name": "GET /api/v1/runs/{id}", "kind": 2,
                "startTimeUnixNano": "1750000000000000001", "endTimeUnixNano": "1750000000000000002",
                "attributes": [
                    {"key": "http.request.method", "value": {"stringValue": "GET"}},
                    {"key": "http.route", "value": {"stringValue": "/api/v1/runs/{id}"}},
                    {"key": "http.response.status_code", "value": {"intValue": "503"}},
                    {"key": "core314.run_id", "value": {"stringValue": "r"}},
                ],
                "status": {"code": 2},
            })
        );
    }

    #[test]
    fn what_is_no_address_stops_the_start() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = |endpoint| {
            let queue = tokio::sync::mpsc::channel(1).1;
            Exporter::new(endpoint, "test", queue, Arc::default()).map(|exporter| exporter.url.to_string())
        };
        assert_eq!(exporter("http://127.0.0.1:4318").unwrap(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(exporter("https://collector.example/otlp/").unwrap(), "https://collector.example/otlp/v1/traces");
        assert!(exporter("http://").is_err());
    }

    #[test]
    fn a_root_has_no_parent_and_a_good_end_no_status() {
        let mut root = finished();
        root.parent = None;
        root.attributes[2].1 = Attribute::Number(404);
        let said = span(&root);
        assert!(said.get("parentSpanId").is_none());
        assert_eq!(said["status"], json!({}), "a client's mistake is no failure of the server");
    }

    #[test]
    fn what_a_collector_refuses_is_counted() {
        assert_eq!(refused(br#"{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "old"}}"#), 3);
        assert_eq!(refused(br#"{"partialSuccess": {"rejectedSpans": 2}}"#), 2);
        assert_eq!((refused(b"{}"), refused(b"no JSON"), refused(b"")), (0, 0, 0));
    }
}
