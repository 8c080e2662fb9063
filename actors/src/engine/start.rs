//! Starting and stopping the engine: the supervision tree and what it is made of.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{Owner, RowId};
use serde::Serialize;
use serde_json::json;

use tokio::sync::{Semaphore, watch};

use super::threads::Threads;
use super::webhooks::MAX_PENDING_DELIVERIES;
use super::{Engine, Inner};
use crate::clock::{Clock, rfc3339};
use crate::collector::Collector;
use crate::commit_writer::Writer;
use crate::ends::Ends;
use crate::failpoint;
use crate::feed::{Feed, Topic};
use crate::gates::{Gates, Tell};
use crate::ingress::Ingress;
use crate::integrations::Integrations;
use crate::known_keys::KnownKeys;
use crate::membership::{NodeEnd, OnEnd, Seat};
use crate::meters::Meters;
use crate::phase_figures::{self, PhaseFigures};
use crate::plans::Plans;
use crate::ports::catalog::Catalog;
use crate::ports::executor::Executor;
use crate::ports::integration::Vault;
use crate::ports::notifications::Inbox;
use crate::ports::store::{Store, Write};
use crate::ports::{Scope, StoreError};
use crate::queue_partition::{PartitionArgs, PartitionMsg, PartitionShared, QueuePartition};
use crate::relay::{Bursts, Relay, Starter};
use crate::rollouts::{Rollouts, RolloutsArgs};
use crate::runtime::{Counters, Runtime};
use crate::schedules::{Schedules, SchedulesArgs};
use crate::settings::EngineSettings;
use crate::sub_runs::{self, SubRuns};
use crate::supervision::{
    ActorRestarted, ArbiterPool, ChildSpec, Exit, Hooks, Patience, Placement, Ref, Strategy, SupervisorSpec, Tree,
};
use crate::unwritten::Unwritten;
use crate::waiting_check::{WaitingCheck, WaitingCheckArgs};

/// What an engine is made of.
pub struct Parts {
    pub settings: EngineSettings,
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn Store>,
    pub catalog: Arc<dyn Catalog>,
    pub executors: Vec<Arc<dyn Executor>>,
    /// What seals and opens secrets.
    pub vault: Arc<dyn Vault>,
    /// Where committed changes are told.
    pub feed: Feed,
    /// Where people are told that they are to decide; absent where nobody keeps inboxes.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// Where stores and executors run.
    pub io: tokio::runtime::Handle,
    pub place: Place,
    /// Called when the node has to end: the process should, with a non-zero status.
    pub on_end: OnEnd,
}

/// Under which an engine has the partitions.
pub enum Place {
    /// It takes them: this process has the store to itself.
    Alone(RowId),
    /// It has taken them, as one of several nodes.
    Taken(Seat),
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the partitions could not be taken: {0}")]
    Store(#[from] StoreError),
    #[error("the actors could not be started: {0}")]
    Actors(String),
    #[error("two executors are called '{0}'")]
    TwoExecutors(&'static str),
}

impl Engine {
    /// Takes the partitions, unless that was done, and starts the actors. Work that was left is taken up at once.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        Self::start_with(parts, None).await
    }

    /// The same with actors on these threads, whatever the settings say of arbiters: those of a simulation are one.
    pub async fn start_on(parts: Parts, threads: Arc<ArbiterPool>) -> Result<Self, StartError> {
        Self::start_with(parts, Some(threads)).await
    }

    async fn start_with(parts: Parts, pool: Option<Arc<ArbiterPool>>) -> Result<Self, StartError> {
        let mut executors = BTreeMap::new();
        for executor in &parts.executors {
            if executors.insert(executor.action_type(), executor.clone()).is_some() {
                return Err(StartError::TwoExecutors(executor.action_type()));
            }
        }
        let settings = parts.settings;
        let seat = match parts.place {
            Place::Taken(seat) => seat,
            Place::Alone(node) => {
                let (store, now_ms) = (parts.store.as_ref(), parts.clock.now_ms());
                Seat::alone(store, node, settings.partitions, &settings.environment, now_ms).await?
            }
        };
        let Seat { node, epoch, lease } = seat;
        let (sub_runs, requests) = SubRuns::new();
        let (phases, values) = PhaseFigures::new();
        let runtime = Arc::new(Runtime {
            sub_runs,
            phases,
            node,
            epoch,
            lease,
            environment: settings.environment.as_str().into(),
            known_keys: KnownKeys::default(),
            integrations: Integrations::new(parts.vault),
            gates: Arc::new(Gates::with_limits(settings.action_limits.clone(), parts.clock.clone())),
            plans: Plans::new(parts.executors, settings.plan_limits(), settings.cached_plans),
            settings,
            clock: parts.clock,
            store: parts.store,
            catalog: parts.catalog,
            meters: Meters::new(executors.keys().copied()),
            executors,
            feed: parts.feed,
            inbox: parts.inbox,
            io: parts.io,
            counters: Counters::default(),
            unwritten: Unwritten::default(),
            ends: Ends::default(),
            on_end: parts.on_end,
            relay: OnceLock::new(),
            escalation: OnceLock::new(),
        });
        put_gates(&runtime).await?;
        let engine = Self::grow(runtime, pool)?;
        let worker = sub_runs::work(Arc::downgrade(&engine.inner), requests);
        engine.inner.runtime.io.spawn(worker);
        let writer = phase_figures::work(Arc::downgrade(&engine.inner), values);
        engine.inner.runtime.io.spawn(writer);
        engine.remember(AuditEvent::NodeStarted, "node started", json!({"epoch": epoch})).await?;
        Ok(engine)
    }

    fn grow(runtime: Arc<Runtime>, pool: Option<Arc<ArbiterPool>>) -> Result<Self, StartError> {
        let actors = |e: &dyn std::fmt::Display| StartError::Actors(e.to_string());
        let workers = match runtime.settings.arbiters {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            n => n,
        };
        let (store, partitions) = (&runtime.store, runtime.settings.partitions);
        let threads = Threads::new(workers, store.lanes(), store.answers_from_its_own_thread(), partitions);
        let pool = pool.map_or_else(|| ArbiterPool::open(threads.count()), Ok).map_err(|e| actors(&e))?;
        let hooks = hooks(&runtime);
        // Writers go first and stop last: a partition that stops still commits.
        let root =
            Tree::start("core314", SupervisorSpec::new(Strategy::OneForOne), pool, hooks).map_err(|e| actors(&e))?;
        let writers = threads
            .writers()
            .map(|worker| {
                let spec = ChildSpec::new(format!("commit-writer-{worker}")).placement(Placement::Worker(worker));
                Writer::start(root.root(), spec.mailbox(65_536), &runtime, threads.is_writer_alone)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| actors(&e))?;
        let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(20, Duration::from_secs(10));
        let group = root.root().start_supervisor("partitions", spec).map_err(|e| actors(&e))?;
        let (mut shared, mut partitions) = (Vec::new(), Vec::new());
        for number in 0..runtime.settings.partitions {
            let own = Arc::new(PartitionShared::default());
            let (worker, writer) = threads.of(number);
            let writer = writers[writer].clone();
            let args = PartitionArgs { number, runtime: runtime.clone(), writer, shared: own.clone() };
            let spec = ChildSpec::new(format!("partition-{number:02}"))
                .placement(Placement::Worker(worker))
                .mailbox(runtime.settings.max_pending_accepts as u32)
                .poison_limit(runtime.settings.poison_limit)
                .shutdown_timeout(Some(Duration::from_millis(runtime.settings.drain_ms)));
            partitions.push(group.start_child::<QueuePartition>(spec, args).map_err(|e| actors(&e))?);
            shared.push(own);
        }
        keep_house(&runtime, &root, &writers[0]).map_err(|e| actors(&e))?;
        let watchdog = root.watch(patience(&runtime.settings)).map_err(|e| actors(&e))?;
        runtime.gates.tell_by(tell_partitions(partitions.clone()));
        let ingress = Arc::new(Ingress::new(runtime.clone(), partitions, shared.clone()));
        let writer = writers.into_iter().next().expect("there is at least one worker");
        let bursts = Bursts::new(runtime.settings.approval_window_ms);
        let (noted, asked) = (runtime.clone(), ingress.clone());
        let starter = Arc::new(Starter { runtime: noted, ingress: asked, writer: writer.clone(), bursts });
        let relay =
            root.root().start_child::<Relay>(ChildSpec::new("relay"), starter.clone()).map_err(|e| actors(&e))?;
        assert!(runtime.relay.set(relay).is_ok(), "a runtime has one engine");
        let args = SchedulesArgs::new(runtime.clone(), ingress.clone(), writer.clone());
        let spec = ChildSpec::new("schedules").placement(Placement::Worker(0));
        let schedules = root.root().start_child::<Schedules>(spec, args).map_err(|e| actors(&e))?;
        let inner = Inner {
            runtime,
            tree: root,
            _watchdog: watchdog,
            writer,
            ingress,
            starter,
            schedules,
            partitions: shared,
            delivery_credits: Arc::new(Semaphore::new(MAX_PENDING_DELIVERIES)),
            stopping: watch::Sender::new(false),
            replay_credits: Arc::new(Semaphore::new(super::replay::MOST_AT_ONCE)),
            bulk: OnceLock::new(),
            escalation: OnceLock::new(),
            people: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes nothing new, lets attempts under way end within the grace, commits what they did, and stops. What is left
    /// then is cut off: its outcome is unknown, and the next start treats it so.
    pub async fn stop(&self) -> Exit {
        self.inner.ingress.close();
        // Streams would hold up the HTTP server's end, and those who wait would be cut off by it.
        self.inner.runtime.feed.close();
        self.inner.stopping.send_replace(true);
        let remembered = self.remember(AuditEvent::NodeStopped, "node stopped", json!({})).await;
        if let Err(error) = remembered {
            tracing::warn!(%error, "the node's end could not be written to the audit log");
        }
        let exit = self.inner.tree.stop().await;
        self.inner.partitions.iter().for_each(|p| p.attempts.abort_all());
        exit
    }

    async fn remember(&self, event: AuditEvent, summary: &str, details: serde_json::Value) -> Result<(), StoreError> {
        let entry = node_entry(&self.inner.runtime, event, summary.to_owned(), details);
        self.commit(Write::Audit(Box::new(entry))).await.map(drop)
    }
}

/// Starts what keeps the house: roll-outs, the collector, and the check that no run waits in vain.
fn keep_house(runtime: &Arc<Runtime>, root: &Tree, writer: &Writer) -> Result<(), crate::supervision::StartError> {
    let own = |name: &str| ChildSpec::new(name.to_owned()).placement(Placement::Worker(0)).mailbox(16);
    let args = RolloutsArgs { runtime: runtime.clone(), writer: writer.clone() };
    root.root().start_child::<Rollouts>(own("rollouts"), args)?;
    root.root().start_child::<Collector>(own("collector"), runtime.clone())?;
    let args = WaitingCheckArgs { runtime: runtime.clone(), writer: writer.clone() };
    root.root().start_child::<WaitingCheck>(own("waiting-check"), args)?;
    Ok(())
}

/// Tells partitions of gates that may let them pass again.
fn tell_partitions(partitions: Vec<Ref<QueuePartition>>) -> Tell {
    Box::new(move |partition, (tenant, name)| {
        if let Some(partition) = partitions.get(usize::from(partition)) {
            // A partition that is restarting asks again by itself.
            let _ = partition.tell_urgent(PartitionMsg::GateOpened { tenant: *tenant, name: name.clone() });
        }
    })
}

/// Gates for all integrations there are, before anything starts that one of them would hold back.
async fn put_gates(runtime: &Runtime) -> Result<(), StoreError> {
    let page = runtime.settings.page_size;
    let mut after = None;
    loop {
        let found = runtime.catalog.integrations(after, page).await?;
        let is_last = found.len() < page;
        for (integration, kept) in found {
            after = Some(integration.id);
            runtime.gates.put(&integration, kept);
        }
        if is_last {
            return Ok(());
        }
    }
}

fn node_entry(runtime: &Runtime, event: AuditEvent, summary: String, details: serde_json::Value) -> AuditEntry {
    AuditEntry {
        owner: Owner::platform(),
        partition: 0,
        event,
        actor: format!("node:{}", runtime.node),
        subject_type: "node",
        subject_id: Some(runtime.node.0),
        decision_event_id: None,
        summary,
        details,
        at_ms: runtime.now_ms(),
    }
}

/// What the rest of the runtime hears of the tree: every restart is remembered.
fn hooks(runtime: &Arc<Runtime>) -> Hooks {
    // The runtime has addresses of actors, which lead to the tree and to its hooks.
    let (for_restart, for_exit) = (Arc::downgrade(runtime), Arc::downgrade(runtime));
    let on_end = runtime.on_end.clone();
    Hooks {
        on_restart: Some(Box::new(move |event| {
            if let Some(runtime) = for_restart.upgrade() {
                tell_restart(&runtime, event);
                remember_restart(&runtime, event);
            }
        })),
        on_exit: Some(Box::new(move |exit| {
            if let Some(runtime) = for_exit.upgrade()
                && exit.reason.is_abnormal()
            {
                Counters::add(&runtime.counters.actor_deaths, 1);
            }
        })),
        on_finding: Some(Box::new(|finding| tracing::error!(?finding, "an actor makes no progress"))),
        on_root_failure: Some(Box::new(move |exit: &Exit| on_end(NodeEnd::GaveUp(exit.to_string())))),
        before_handle: cfg!(feature = "failpoints").then_some(before_handle as fn(&'static str, &str)),
    }
}

fn before_handle(kind: &'static str, path: &str) {
    failpoint::hit(&format!("actor.{kind}"));
    failpoint::hit(&format!("actor_at.{path}"));
}

/// How long an actor may make no progress.
fn patience(settings: &EngineSettings) -> Patience {
    Patience {
        stuck_after: Duration::from_millis(settings.stuck_after_ms),
        stalled_after: Duration::from_millis(settings.stalled_after_ms),
        ..Patience::default()
    }
}

/// A restart, on the feed.
#[derive(Serialize)]
struct RestartChange<'a> {
    /// The actor's path.
    id: &'a str,
    kind: &'static str,
    reason: String,
    /// How often it has been restarted since the process began.
    restarts: u32,
    /// RFC 3339.
    at: String,
}

fn tell_restart(runtime: &Runtime, event: &ActorRestarted) {
    runtime.feed.publish(Scope::Platform, Topic::Actors, &event.path, || RestartChange {
        id: &event.path,
        kind: event.kind,
        reason: event.reason.to_string(),
        restarts: event.nth,
        at: rfc3339(runtime.now_ms()),
    });
}

/// Writes a restart to the audit log, past the commit writer: that may be the one that was restarted.
fn remember_restart(runtime: &Arc<Runtime>, event: &ActorRestarted) {
    let details = json!({"kind": event.kind, "reason": event.reason.to_string(), "nth": event.nth});
    let entry = node_entry(runtime, AuditEvent::ActorRestarted, format!("actor restarted: {}", event.path), details);
    let entry = AuditEntry { actor: event.path.to_string(), subject_type: "actor", subject_id: None, ..entry };
    let store = runtime.store.clone();
    runtime.io.spawn(async move {
        if let Err(error) = store.commit(vec![Write::Audit(Box::new(entry))]).await {
            tracing::error!(%error, "a restart could not be written to the audit log");
        }
    });
}
