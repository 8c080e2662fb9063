//! The composition root: the only place that names concrete adapters.
//!
//! ```text
//! main thread: actix System ── arbiters (actors) · HTTP workers · signals
//! I/O threads: one tokio runtime ── store, executors
//! ```
//! Start: the listener is bound first, so that a taken port costs nothing; then the store is opened, a paused installation
//! waits for a person, a node waits for its turn, the engine takes up its work, and the HTTP API answers. Only then is the
//! server ready. End: a signal closes the way in, attempts under way get their grace, what they did is committed, the
//! partitions are handed over, and the process ends with 0; when the root of the supervision tree gives up, or another node
//! has taken over, the process ends at once with a status of its own, so that whoever supervises it starts it again.

mod development;
mod export;
mod home;
mod installation;
mod local_socket;
mod node;
mod paused;
mod reload;
mod safety;
mod standby;
mod throwaway;

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use core314_actors::engine::{Engine, Place};
use core314_actors::membership::{Member, NodeEnd, OnEnd};
use core314_actors::ports::ledger::{Ledger, LedgerReport};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{Config, LogFormat, local, rights};
use crate::http::Certificate;
use crate::store::{Claim, SqlStore};
pub use crate::store::{GoesOn, Paused, SchemaState, TransferReport};
use crate::telemetry::{self, LogFilter, Telemetry, TraceSettings};
pub use development::Development;
pub use export::export_tenant;
pub use installation::{
    StoreCopy, StoreReport, check_store, copy_store, pause_store, resume_store, run_retention, store_pause,
};
use local_socket::LocalSocket;
use node::{Front, Node};
use reload::Reloader;
pub use safety::{FilesError, check_files, check_safety};
use standby::Standby;
pub use throwaway::{BenchStore, bench};

/// Supervision catches panics; a build that aborts on them cannot heal anything.
const _: () = assert!(cfg!(panic = "unwind"), "build with panic = \"unwind\"");

/// How a server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and has.
    Drained,
    /// Its supervision tree has given up.
    GaveUp,
    /// Another node has taken over.
    Replaced,
}

/// Runs a server until its end.
pub fn run(config: &Config, development: Option<Development>) -> anyhow::Result<Ended> {
    let Telemetry { log_filter, traces } = start_telemetry(config)?;
    for note in config.notes() {
        tracing::warn!("{note}");
    }
    if development.is_none() && rights::is_root() {
        tracing::warn!("{}: {}", rights::AS_ROOT, rights::MEND);
    }
    let io = prepare()?;
    let dropped = traces.as_ref().map(|traces| traces.dropped.clone());
    let flusher = traces.map(|traces| traces.start(io.handle()));
    let instruments = Instruments { log_filter, dropped };
    let ended = actix::System::new().block_on(live(config, development, io.handle(), instruments));
    if let Some(flusher) = flusher {
        io.block_on(flusher.flush());
    }
    // Whatever still runs there has been cut off by the engine.
    io.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Proves the append-only tables of the configured store, beside a server that has it open.
pub fn verify_log(config: &Config) -> anyhow::Result<LedgerReport> {
    prepare()?.block_on(async { Ok(store_to_look_at(config).await?.verify().await?) })
}

/// Which schema the configured store has, read beside a server that may have it open.
pub fn store_schema(config: &Config) -> anyhow::Result<SchemaState> {
    prepare()?.block_on(async { Ok(store_to_look_at(config).await?.schema().await?) })
}

/// The configured store, opened so that nothing can be changed.
async fn store_to_look_at(config: &Config) -> anyhow::Result<SqlStore> {
    let mut options = node::store_options(config)?;
    options.read_only = true;
    SqlStore::open(&config.database_url(), options).await.context("the store cannot be opened")
}

/// The threads for I/O.
fn prepare() -> anyhow::Result<Runtime> {
    let io = tokio::runtime::Builder::new_multi_thread().thread_name("core314-io").enable_all().build();
    io.context("the threads for I/O cannot be started")
}

/// What a server has in hand of its own telemetry.
struct Instruments {
    log_filter: LogFilter,
    /// Spans that no collector got; present where there is one.
    dropped: Option<Arc<AtomicU64>>,
}

fn start_telemetry(config: &Config) -> anyhow::Result<Telemetry> {
    let lines = match config.log_format() {
        LogFormat::Text => telemetry::Lines::Text,
        LogFormat::Json => telemetry::Lines::Json,
    };
    let traces = config.secret("telemetry.otlp_endpoint").map(|endpoint| TraceSettings {
        endpoint: endpoint.to_owned(),
        queue_spans: config.number("telemetry.queue_spans") as usize,
        environment: config.text("engine.environment").to_owned(),
    });
    telemetry::start(config.text("log.filter"), lines, traces.as_ref())
}

async fn live(
    config: &Config,
    development: Option<Development>,
    io: &Handle,
    instruments: Instruments,
) -> anyhow::Result<Ended> {
    let mut signals = Signals::listen()?;
    let hangup = signal(SignalKind::hangup()).context("signals cannot be listened to")?;
    let certificate = node::certificate(config)?;
    let listener = bind(config)?;
    local::make_dir(&config.data_dir())?;
    let (on_end, mut ends) = ends();
    let store = node::open_store(config, &config.database_url(), Claim::Shared, io).await?;
    let standby = Standby {
        config,
        store: &store,
        listener: &listener,
        certificate: certificate.clone(),
        io,
        on_end: on_end.clone(),
    };
    let (place, member) = match standby.enter(&mut signals, &mut ends).await? {
        Ok(entered) => entered,
        Err(ended) => return Ok(ended),
    };
    let begun = Begun { config, io, store, listener, certificate, hangup, place, on_end, instruments, development };
    let worked = begun.work(member.as_deref(), &mut signals, &mut ends).await;
    // Whatever keeps this one from working must not keep another one.
    if let Some(member) = member.filter(|_| !matches!(worked, Ok(Ended::Drained))) {
        standby::release(&member).await;
    }
    worked
}

/// A server that may work.
struct Begun<'a> {
    config: &'a Config,
    io: &'a Handle,
    store: Arc<SqlStore>,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    hangup: Signal,
    place: Place,
    on_end: OnEnd,
    instruments: Instruments,
    development: Option<Development>,
}

impl Begun<'_> {
    /// Works until the end. Handed over are the partitions only where it was told to stop, and has.
    async fn work(
        self,
        member: Option<&Member>,
        signals: &mut Signals,
        ends: &mut mpsc::UnboundedReceiver<NodeEnd>,
    ) -> anyhow::Result<Ended> {
        let Self { config, io, store, listener, certificate, hangup, place, on_end, instruments, development } = self;
        let address = listener.local_addr()?;
        let node = Node::start(config, store, io, node::Extras::default(), place, on_end).await?;
        let front = Front { certificate: certificate.clone(), dropped_spans: instruments.dropped, ..Front::default() };
        let (socket, _local_socket) = LocalSocket::listen(&config.data_dir());
        let server = node.serve(config, listener, Front { socket, ..front })?;
        let handle = server.handle();
        let mut answering = actix::spawn(server);
        let scheme = if certificate.is_some() { "https" } else { "http" };
        actix::spawn(
            Reloader { config: config.clone(), certificate, log_filter: instruments.log_filter, hangup }.run(),
        );
        let receiver = match development {
            Some(development) => development.set_up(config, &node.engine, scheme, address).await,
            None => Ok(None),
        };
        if receiver.is_ok() {
            tracing::info!(%address, "ready");
        }
        let told = if receiver.is_err() {
            Ok(())
        } else {
            tokio::select! {
                name = signals.next() => {
                    tracing::info!(signal = name, grace_seconds = config.grace().as_secs(), "draining");
                    Ok(())
                }
                Some(end) = ends.recv() => return Ok(ended(&end)),
                outcome = &mut answering => Err(stopped_answering(outcome)),
            }
        };
        let ended = wind_up(config, &node.engine, &handle, member, signals, ends).await?;
        receiver.and(told)?;
        Ok(ended)
    }
}

/// Ends what is under way, and hands the partitions over; or ends at once, where another node has them by now.
async fn wind_up(
    config: &Config,
    engine: &Engine,
    handle: &ServerHandle,
    member: Option<&Member>,
    signals: &mut Signals,
    ends: &mut mpsc::UnboundedReceiver<NodeEnd>,
) -> anyhow::Result<Ended> {
    let drain = async {
        tokio::join!(handle.stop(true), drain(engine));
        if let Some(member) = member {
            member.leave().await;
        }
    };
    // Some send the same signal to a process and to its group: an echo is no second wish.
    let insisted = async {
        tokio::time::sleep(ECHO).await;
        signals.forget().await;
        signals.next().await
    };
    tokio::select! {
        () = drain => tracing::info!("drained"),
        Some(end) = ends.recv() => return Ok(ended(&end)),
        () = tokio::time::sleep(config.grace() + config.store_patience()) => anyhow::bail!(
            "the drain came to no end: the store may be away; the next start takes up what was under way"
        ),
        name = insisted => anyhow::bail!("{name} again: stopped before the drain was over"),
    }
    Ok(Ended::Drained)
}

/// Where it is said that the node has to end, and where it is heard.
fn ends() -> (OnEnd, mpsc::UnboundedReceiver<NodeEnd>) {
    let (told, ends) = mpsc::unbounded_channel();
    let on_end: OnEnd = Arc::new(move |end| {
        // The receiver is gone only when the process is about to end anyway.
        let _ = told.send(end);
    });
    (on_end, ends)
}

fn ended(end: &NodeEnd) -> Ended {
    tracing::error!(reason = %end, "the node ends");
    // Where nobody reads it, the exit code says it all the same.
    let _ = writeln!(std::io::stderr(), "error: {end}");
    match end {
        NodeEnd::GaveUp(_) => Ended::GaveUp,
        NodeEnd::Replaced => Ended::Replaced,
    }
}

fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let listen = config.listen();
    TcpListener::bind(listen).map_err(|error| {
        let next = match error.kind() {
            ErrorKind::AddrInUse => "another program has this port, perhaps another server: stop it, or name another",
            ErrorKind::AddrNotAvailable => "this machine has no such address: name one of its own",
            ErrorKind::PermissionDenied => "ports below 1024 need a right (CAP_NET_BIND_SERVICE): give it, or name another",
            _ => "name another",
        };
        anyhow::anyhow!(
            "server.listen: {listen} cannot be listened on: {error}\n{next} with --listen ADDRESS:PORT or CORE314_LISTEN; port \
             0 is any free one"
        )
    })
}

/// A signal that comes this soon after the first is its echo.
const ECHO: Duration = Duration::from_millis(500);

/// Lets attempts under way end within their grace, and stops the engine.
async fn drain(engine: &Engine) {
    let exit = engine.stop().await;
    if exit.is_abnormal() {
        tracing::warn!(%exit, "the engine did not stop in order");
    }
}

fn stopped_answering(outcome: Result<std::io::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match outcome {
        Ok(Ok(())) => anyhow::anyhow!("the HTTP server has stopped by itself"),
        Ok(Err(error)) => anyhow::Error::from(error).context("the HTTP server has failed"),
        Err(error) => anyhow::Error::from(error).context("the HTTP server has died"),
    }
}

/// What asks a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Forgets what has come so far.
    async fn forget(&mut self) {
        let now = std::future::ready(());
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = now => {}
        }
    }

    /// Waits for the next one and gives its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, Setting};

    #[test]
    fn a_port_that_is_taken_is_said_with_what_to_do() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let flags = vec![Setting::new("server.listen", &*address, "test")];
        let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap();
        let said = bind(&config).expect_err("it is taken").to_string();
        for words in [&*address, "another program has this port", "--listen ADDRESS:PORT"] {
            assert!(said.contains(words), "'{words}' is missing in: {said}");
        }
    }
}
