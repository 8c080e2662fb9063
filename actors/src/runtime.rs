//! What every actor of a node shares: ports, settings, and the threads for I/O.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::breaker::{BreakerState, Health};
use core314_domain::ids::{RowId, RunId, StepNo};
use core314_domain::log::Failure;
use core314_domain::run::{AttemptReport, Outcome};
use core314_domain::schedule::NotFired;
use core314_domain::secret::Marked;
use futures_util::FutureExt;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::attempts::Attempts;
use crate::clock::Clock;
use crate::ends::Ends;
use crate::escalations::Desk;
use crate::failpoint;
use crate::feed::Feed;
use crate::gates::{CallPass, Gates, Share, Turned};
use crate::integrations::{Integrations, Wanted, cleared};
use crate::known_keys::KnownKeys;
use crate::membership::{Lease, OnEnd};
use crate::meters::Meters;
use crate::phase_figures::PhaseFigures;
use crate::plans::Plans;
use crate::ports::catalog::Catalog;
use crate::ports::executor::{Attempt, Executor, Performed};
use crate::ports::integration::ConnectionWrite;
use crate::ports::notifications::Inbox;
use crate::ports::store::{Store, Write};
use crate::random::random;
use crate::relay::Relay;
use crate::settings::EngineSettings;
use crate::sub_runs::SubRuns;
use crate::supervision::Ref;
use crate::unwritten::Unwritten;

/// Shared by the actors of a node.
pub struct Runtime {
    pub node: RowId,
    /// The epoch of this start: greater than that of every earlier owner of the partitions.
    pub epoch: i64,
    /// Whether something may be sent.
    pub lease: Arc<Lease>,
    pub settings: EngineSettings,
    /// Shown in the log.
    pub environment: Arc<str>,
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn Store>,
    pub catalog: Arc<dyn Catalog>,
    pub plans: Plans,
    pub known_keys: KnownKeys,
    pub integrations: Integrations,
    pub gates: Arc<Gates>,
    pub executors: BTreeMap<&'static str, Arc<dyn Executor>>,
    /// Where stores, executors and timers of I/O run.
    pub io: tokio::runtime::Handle,
    pub counters: Counters,
    /// What the store does not take just now.
    pub unwritten: Unwritten,
    pub ends: Ends,
    pub meters: Meters,
    /// What phases of runs come to.
    pub phases: PhaseFigures,
    /// Where runs that steps start are asked for.
    pub sub_runs: SubRuns,
    /// Where committed changes are told.
    pub feed: Feed,
    /// Ends the process.
    pub on_end: OnEnd,
    /// Starts what was written down to be started; there once the actors are.
    pub relay: OnceLock<Ref<Relay>>,
    /// Where people are told that they are to decide; absent where nobody keeps inboxes.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// Asks escalation rules about what has failed; there where somebody keeps rules.
    pub escalation: OnceLock<Weak<Desk>>,
}

/// What has happened since the start; read by metrics.
#[derive(Debug, Default)]
pub struct Counters {
    pub runs_accepted: AtomicU64,
    pub runs_ended: AtomicU64,
    pub attempts_started: AtomicU64,
    pub attempts_failed: AtomicU64,
    pub batches: AtomicU64,
    pub writes: AtomicU64,
    pub commit_retries: AtomicU64,
    pub refused_busy: AtomicU64,
    pub actor_deaths: AtomicU64,
    /// Webhook deliveries that started nothing and were not kept either, because too many waited.
    pub deliveries_left_out: AtomicU64,
    /// Runs whose waiting was looked at, whole passes over them, and those found in the last pass that wait for nothing.
    pub waiting_checked: AtomicU64,
    pub waiting_passes: AtomicU64,
    pub waiting_violations: AtomicU64,
    /// Runs that schedules have started.
    pub schedules_fired: AtomicU64,
    /// Instants of schedules that have no run, by reason, in the order of [`NotFired::ALL`].
    pub schedules_not_fired: [AtomicU64; NotFired::ALL.len()],
    /// Failures that escalation rules took: opened an event, joined one, were held back.
    pub failures_taken: [AtomicU64; 3],
    /// What escalations wanted done, by how it ended: sent, failed, cancelled.
    pub escalation_sends: [AtomicU64; 3],
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl Runtime {
    /// The time of day.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// A fresh id.
    pub fn run_id(&self) -> RunId {
        RunId::new(self.now_ms(), random())
    }

    /// A fresh id of any other row.
    pub fn row_id(&self) -> RowId {
        RowId::new(self.now_ms(), random())
    }

    /// The words for which there is an executor.
    pub fn action_types(&self) -> Vec<&str> {
        self.executors.keys().copied().collect()
    }
}

/// An attempt to be made, and its payload with marks for secrets, where it names any.
pub struct Order {
    pub attempt: Attempt,
    pub marked: Option<Marked>,
    /// The right to call its integration, where it had to ask for it.
    pub pass: Option<CallPass>,
    /// Its share of what its tenant and all together may do, where that is bounded: given back when it has ended.
    pub share: Option<Share>,
    /// Whether the service is asked what changes nothing ([`Executor::probe`]), instead of the action.
    pub is_probe: bool,
}

/// Performs an attempt on the I/O threads; its report goes into `attempts`, and `done` is called when it is there.
///
/// A panic of the executor is a failure of the attempt. An attempt that is cut off has no report, unless it was told to
/// end: then [`Outcome::Cancelled`] is reported by whoever cut it off.
pub fn perform(
    runtime: &Arc<Runtime>,
    attempts: &Arc<Attempts>,
    executor: Arc<dyn Executor>,
    order: Order,
    done: impl FnOnce() + Send + 'static,
) {
    let attempt = &order.attempt;
    let (run, step, number) = (attempt.run, attempt.step, attempt.attempt);
    let span = attempt_span(attempt, executor.action_type());
    let recorded = span.clone();
    let clock = runtime.clock.clone();
    let table = attempts.clone();
    let for_meters = runtime.clone();
    let task = async move {
        let meter = for_meters.meters.action(executor.action_type());
        let _under_way = meter.begin();
        failpoint::hit("attempt.before");
        for_meters.lease.to_send().await;
        let started_at_ms = clock.now_ms();
        let started = Instant::now();
        let performed = prepare_and_act(&for_meters, executor.as_ref(), order).await;
        meter.performed(started.elapsed().as_micros() as u64);
        record_outcome(&recorded, &performed.outcome);
        failpoint::hit("attempt.after");
        let report = AttemptReport {
            outcome: performed.outcome,
            payload: performed.logged_payload,
            started_at_ms,
            completed_at_ms: clock.now_ms(),
            duration_ms: started.elapsed().as_millis() as i64,
            http: performed.http,
        };
        if table.end(run, step, number, report) {
            done();
        }
    };
    let task = runtime.io.spawn(task.instrument(span));
    attempts.abortable(run, step, number, task.abort_handle());
}

/// Gives the attempt its integration and its secrets, where it wants any, and takes them out of what comes back.
pub(crate) async fn prepare_and_act(runtime: &Runtime, executor: &dyn Executor, order: Order) -> Performed {
    let Order { attempt, marked, pass, share: _share, is_probe } = order;
    if !Integrations::concern(executor, &attempt, marked.as_ref()) {
        return act(executor, attempt, is_probe).await;
    }
    let shown = attempt.payload.clone();
    let name = (attempt.owner.tenant, attempt.action_target.clone());
    let pass = pass.or_else(|| runtime.gates.enter_now(&name, runtime.now_ms()));
    let uses_backup = pass.as_ref().is_some_and(|pass| pass.is_backup);
    let wanted = Wanted { marked: marked.as_ref(), uses_backup, now_ms: runtime.now_ms() };
    let prepared = runtime.integrations.prepare(runtime.catalog.as_ref(), executor, attempt, wanted).await;
    let attempt = match prepared {
        Ok(attempt) => attempt,
        Err(failure) => return failed(&executor.logged(&shown), failure),
    };
    let (secrets, calls) = (attempt.secrets.clone(), attempt.connection.is_some());
    // Once more: preparing may have taken longer than the rest of the lease. The wait is no slowness of the service.
    runtime.lease.to_send().await;
    let started = Instant::now();
    let performed = act(executor, attempt, is_probe).await;
    if let Some(pass) = pass.filter(|_| calls) {
        let took_ms = started.elapsed().as_millis() as u64;
        if let Some(for_ms) = wished_patience(&performed) {
            pass.ask_patience(for_ms, runtime.now_ms());
        }
        if let Some(turned) = pass.leave(health(&performed), took_ms, runtime.now_ms()) {
            remember_breaker(runtime, &turned).await;
        }
    }
    if secrets.is_empty() { performed } else { cleared(performed, executor.logged(&shown), &secrets) }
}

/// For how long the service wants to hear nothing: what 429 and `Retry-After` say holds for all calls to it.
fn wished_patience(performed: &Performed) -> Option<i64> {
    let Outcome::Failed(failure) = &performed.outcome else { return None };
    failure.retry_after_ms.filter(|_| failure.code == "rate_limited")
}

/// What an attempt tells of the service's health: whatever another attempt may mend is the service's illness, an answer of
/// whatever status its health, and what did not come to a call says nothing. A wish for patience is no illness.
fn health(performed: &Performed) -> Health {
    let failure = match &performed.outcome {
        Outcome::Completed(_) => return Health::Good,
        Outcome::Cancelled => return Health::Unknown,
        Outcome::Failed(failure) => failure,
    };
    let has_answer = performed.http.as_ref().is_some_and(|http| http.status_code.is_some());
    if ["rate_limited", "store_unavailable", "executor_panicked"].contains(&failure.code.as_str()) {
        Health::Unknown
    } else if failure.retryable || failure.code == "certificate" {
        Health::Ill
    } else if has_answer {
        Health::Good
    } else {
        Health::Unknown
    }
}

/// Stores that a breaker has turned. It has, whether that can be stored or not: a restart then finds it as it was before.
pub async fn remember_breaker(runtime: &Runtime, turned: &Turned) {
    let event = match (turned.kept.held, turned.kept.state) {
        (Some(_), _) => AuditEvent::BreakerHeld,
        (None, BreakerState::Closed) => AuditEvent::BreakerClosed,
        (None, BreakerState::Open | BreakerState::HalfOpen) => AuditEvent::BreakerOpened,
    };
    let endpoint = if turned.is_backup { "backup" } else { "primary" };
    let audit = AuditEntry {
        owner: turned.owner,
        partition: 0,
        event,
        actor: format!("node:{}", runtime.node),
        subject_type: "integration",
        subject_id: Some(turned.integration.0),
        decision_event_id: None,
        summary: format!("{} of '{}': {}", event.as_str().replace('_', " "), turned.name, turned.kept.reason),
        details: serde_json::json!({"endpoint": endpoint, "breaker": turned.kept}),
        at_ms: turned.kept.since_ms,
    };
    let (tenant, id, kept) = (turned.owner.tenant, turned.integration, turned.both.clone());
    let write = Write::Connection(Box::new(ConnectionWrite::Breakers { tenant, id, kept, audit }));
    if let Err(error) = runtime.store.commit(vec![write]).await {
        tracing::warn!(integration = %id, %error, "the state of a breaker could not be stored");
    }
}

/// Makes the attempt within its time.
async fn act(executor: &dyn Executor, attempt: Attempt, is_probe: bool) -> Performed {
    // An executor that keeps its own deadline can say more about it; this one is for those that do not.
    let (timeout, payload) = (attempt.timeout + GRACE, attempt.payload.clone());
    let acting = if is_probe { executor.probe(attempt) } else { executor.execute(attempt) };
    let acted = std::panic::AssertUnwindSafe(acting).catch_unwind();
    match tokio::time::timeout(timeout, acted).await {
        Ok(Ok(performed)) => performed,
        Ok(Err(panic)) => failed(&payload, Failure::retryable("executor_panicked", panic_text(panic.as_ref()))),
        Err(_) => failed(&payload, timed_out(timeout)),
    }
}

/// For traces. On the level of debugging, so that it costs nothing where nobody collects them.
fn attempt_span(attempt: &Attempt, action_type: &'static str) -> Span {
    let trace = attempt.trace();
    tracing::debug_span!(
        "attempt",
        trace_id = %format_args!("{:032x}", trace.trace),
        span_id = %format_args!("{:016x}", trace.span),
        run_id = %attempt.run,
        execution_id = %attempt.execution,
        step = attempt.step,
        attempt = attempt.attempt,
        action_type,
        outcome = Empty,
        error = Empty,
    )
}

fn record_outcome(span: &Span, outcome: &Outcome) {
    match outcome {
        Outcome::Completed(_) => span.record("outcome", "completed"),
        Outcome::Failed(failure) => span.record("outcome", "failed").record("error", &*failure.code),
        Outcome::Cancelled => span.record("outcome", "cancelled"),
    };
}

/// How much longer than its deadline an attempt may take before it is cut off from outside.
const GRACE: Duration = Duration::from_secs(1);

fn failed(payload: &core314_domain::Json, failure: Failure) -> Performed {
    Performed { outcome: Outcome::Failed(failure), logged_payload: payload.clone(), http: None }
}

fn timed_out(timeout: Duration) -> Failure {
    Failure::retryable("timeout", format!("no answer within {} ms", timeout.as_millis()))
}

/// The words of a panic.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without a message".to_owned())
}

/// A report that this node itself makes of an attempt, at once.
pub fn report_now(runtime: &Runtime, outcome: Outcome, payload: core314_domain::Json) -> AttemptReport {
    let now_ms = runtime.now_ms();
    AttemptReport { outcome, payload, started_at_ms: now_ms, completed_at_ms: now_ms, duration_ms: 0, http: None }
}

/// The name of a run's actor.
pub fn run_name(run: RunId) -> String {
    format!("run-{run}")
}

/// A step of a run: what an attempt is filed under.
pub type AttemptKey = (RunId, StepNo);
