//! What the process tells of itself: log lines on the standard error, so that the standard output stays for results, and
//! spans to a collector of traces, where one is configured.

mod otlp;
mod spans;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use otlp::Exporter;
use spans::{Item, Spans};

/// How long the last spans may take to leave when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// For people; in colours on a terminal.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Where spans go.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The base address of a collector that takes OTLP over HTTP.
    pub endpoint: String,
    /// How many spans may wait to be sent.
    pub queue_spans: usize,
    /// What this installation is, such as `production`.
    pub environment: String,
}

/// Which lines are written: can be changed while the process runs.
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Another filter from now on.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        self.0.reload(parse(filter)?).context("the filter of log lines cannot be changed")
    }
}

/// What was started.
pub struct Telemetry {
    pub log_filter: LogFilter,
    /// Present where spans are exported.
    pub traces: Option<Traces>,
}

/// The export of spans.
pub struct Traces {
    exporter: Exporter,
    flusher: Flusher,
    /// Spans that no collector got.
    pub dropped: Arc<AtomicU64>,
}

/// By which the last spans are sent.
pub struct Flusher(mpsc::Sender<Item>);

impl Traces {
    /// Begins to send, on the threads for I/O.
    pub fn start(self, io: &tokio::runtime::Handle) -> Flusher {
        io.spawn(self.exporter.run());
        self.flusher
    }
}

impl Flusher {
    /// Sends what is still here, within two seconds. What does not leave in that time is lost.
    pub async fn flush(self) {
        let (asked, answered) = oneshot::channel();
        let flush = async {
            if self.0.send(Item::Flush(asked)).await.is_ok() {
                // Without an answer the exporter is gone, and there is nothing more to be done.
                let _ = answered.await;
            }
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::debug!("the last spans could not be sent");
        }
    }
}

/// Starts to write log lines that pass the filter, and to collect spans. To be called once in a process.
pub fn start(filter: &str, lines: Lines, traces: Option<&TraceSettings>) -> anyhow::Result<Telemetry> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match lines {
        Lines::Text => {
            let colours =
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            layer.with_ansi(colours).boxed()
        }
        Lines::Json => layer.json().flatten_event(true).boxed(),
    };
    let (spans, traces) = traces.map(prepare).transpose()?.unzip();
    let spans = spans.map(|spans| spans.with_filter(spans::filter()));
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).with(spans).try_init();
    started.map_err(|error| anyhow::anyhow!("log lines cannot be written: {error}"))?;
    Ok(Telemetry { log_filter: LogFilter(handle), traces })
}

/// The two ends of the queue of spans.
fn prepare(settings: &TraceSettings) -> anyhow::Result<(Spans, Traces)> {
    let (queue, receiver) = mpsc::channel(settings.queue_spans);
    let dropped = Arc::new(AtomicU64::new(0));
    let exporter = Exporter::new(&settings.endpoint, &settings.environment, receiver, dropped.clone())
        .context("telemetry.otlp_endpoint: nothing can be sent there")?;
    let spans = Spans { queue: queue.clone(), dropped: dropped.clone() };
    Ok((spans, Traces { exporter, flusher: Flusher(queue), dropped }))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter)
        .with_context(|| format!("log.filter '{filter}' must be a level (error, warn, info, debug, trace), or levels by module such as info,core314_actors=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for filter in ["info", "core314_actors::ingress=debug,warn", "off"] {
            assert_eq!(parse(filter).unwrap().to_string(), filter);
        }
        let message = parse("info,core314=loud").expect_err("no level").to_string();
        assert!(message.contains("log.filter 'info,core314=loud' must be a level"), "{message}");
    }
}
