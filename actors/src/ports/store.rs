//! The engine's side of the store: one verb that writes, and what a partition reads to take up its work.

use std::sync::Arc;

use core314_domain::Json;
use core314_domain::audit::AuditEntry;
use core314_domain::document::FlowDocument;
use core314_domain::escalation::EscalationReason;
use core314_domain::ids::{ExecutionId, FlowId, LogId, Owner, RowId, RunId, StepNo, TenantId, UserId};
use core314_domain::limits::Brought;
use core314_domain::log::LogEntry;
use core314_domain::rollout::RolloutStatus;
use core314_domain::run::{CacheKey, Cached, LastAttempt, PhaseMove, Reuse, RunHeader, SavedState, Timing};
use core314_domain::stats::{Stat, StatKey};
use core314_domain::words::RunStatus;
use serde_json::Value;

use super::catalog::{Rollout, ServiceKey, StoredFlow};
use super::escalation::EscalationWrite;
use super::event::{DeliveryPlace, EventDelivery};
use super::integration::ConnectionWrite;
pub use super::limits::{GatherWrite, LimitStage, LimitWrite, LimitedRun, StoredBucket, StoredLimits};
use super::people::PeopleWrite;
use super::schedule::{ScheduleMove, SchedulePlan, ScheduleWrite, StoredSchedule};
use super::signal::{self, Occurrence, SignalWrite};
pub use super::webhook::{Delivery, Webhook, WebhookRemoval, WebhookTarget};
use super::{BoxFuture, Scope, StoreError};

/// What the engine needs of a database.
pub trait Store:
    super::aging::Aging + super::answers::Answers + super::membership::Membership + super::run_states::RunStates
{
    /// How many batches may be in flight at once. Writes of one partition always take the same lane.
    fn lanes(&self) -> usize;

    /// Whether a thread of its own answers each statement of a commit: then it is best waited for on a thread without other work.
    fn answers_from_its_own_thread(&self) -> bool;

    /// Commits a batch in one durable transaction and says of each write, in order, what became of it.
    ///
    /// First the versions of all aggregates are locked and checked; only the survivors' rows follow. A row that the database refuses
    /// is found by halving the batch, and fails its own write alone. An `Err`: the outcome of all is not known, or nothing was written.
    fn commit(&self, batch: Vec<Write>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>>;

    /// Runs with something under way or ready, in the order of their queue keys, after the given one.
    fn queue_page(
        &self,
        partition: u16,
        after: Option<(i64, RunId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>>;

    /// Runs whose wake-up is due before `until_ms`, soonest first, after the given one.
    fn wake_page(
        &self,
        partition: u16,
        until_ms: i64,
        after: Option<(i64, RunId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>>;

    /// Runs as they are stored; those that do not exist are left out.
    fn load_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<StoredRun>, StoreError>>;

    /// The results of steps of a run that have ended, wherever they are kept. One that the log does not have is
    /// [`StoreError::Corrupt`].
    fn results(&self, run: RunId, steps: Vec<StepNo>) -> BoxFuture<'_, Result<Vec<(StepNo, Json)>, StoreError>>;

    /// Results of a flow's steps that may be used again and have not expired, by their keys.
    fn cached(
        &self,
        tenant: TenantId,
        flow: FlowId,
        keys: Vec<CacheKey>,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(CacheKey, Cached)>, StoreError>>;

    /// Drops at most so many of those that have expired; says how many.
    fn collect_cached(&self, now_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Drops large results that nothing refers to any more, of a stretch of at most so many, by their ids after the given
    /// one. Gives the end of the stretch; `None` when there is none.
    fn collect_blobs(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Option<RowId>, StoreError>>;

    /// The position of a partition's log up to which its attempts are counted in the statistics.
    fn statistics_position(&self, partition: u16) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// What the log holds of a partition behind a position: for each attempt its number and what statistics need.
    fn log_tail(&self, partition: u16, after_seq: i64, limit: usize)
    -> BoxFuture<'_, Result<Vec<TailRow>, StoreError>>;

    /// What has happened and has not yet started what it starts, the oldest first, after the given one. A run's end is
    /// among them where its tenant then had an active flow that waits for ends.
    fn occurrences(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Vec<Occurrence>, StoreError>>;

    /// What an occurrence is about, as answers show it: the run, the decision or the recommendation. `None` when it is
    /// gone. Of a request for approval it also has `approvals_wanted`: how many decisions its run waits for, and
    /// `own_waits`: whether the one that was requested is among them.
    fn subject<'a>(&'a self, of: &'a Occurrence) -> BoxFuture<'a, Result<Option<Value>, StoreError>>;

    /// Events that waiting steps are to be told of, in the order in which they came, after the given place.
    fn event_deliveries(
        &self,
        after: Option<DeliveryPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<EventDelivery>, StoreError>>;

    /// Live runs of a partition that are subject to limits, in the order of their ids, after the given one.
    fn limited_runs(
        &self,
        partition: u16,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LimitedRun>, StoreError>>;

    /// Runs that have not ended, stand in no queue and wait for no time, in the order of their ids, after the given one,
    /// without their attempts.
    fn idle_runs(&self, after: Option<RunId>, limit: usize) -> BoxFuture<'_, Result<Vec<IdleRun>, StoreError>>;

    /// What further triggers have brought to runs that gather, run by run, in the order in which they came.
    fn gathered(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<(RunId, Brought)>, StoreError>>;

    /// The buckets of a partition's rates that are not full again at this time, in microseconds.
    fn limit_buckets(&self, partition: u16, now_us: i64) -> BoxFuture<'_, Result<Vec<StoredBucket>, StoreError>>;

    /// Schedules with something to do before `until_ms`, soonest first, after the given one.
    fn due_schedules(
        &self,
        until_ms: i64,
        after: Option<(i64, FlowId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredSchedule>, StoreError>>;

    /// The schedule of a flow.
    fn schedule(&self, scope: Scope, flow: FlowId) -> BoxFuture<'_, Result<Option<StoredSchedule>, StoreError>>;

    /// Flows whose trigger is `schedule` and that have no row: saved by a release that had none.
    fn flows_without_schedule(&self, limit: usize) -> BoxFuture<'_, Result<Vec<StoredFlow>, StoreError>>;

    /// Whether the store answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A change to commit.
#[derive(Debug, Clone)]
pub enum Write {
    /// Shared: what waits for the outcome keeps it too.
    Run(Arc<RunWrite>),
    Gather(Arc<GatherWrite>),
    Flow(Box<FlowWrite>),
    Webhook(Box<Webhook>, AuditEntry),
    WebhookRemoval(Box<WebhookRemoval>),
    Delivery(Box<Delivery>),
    ServiceKey(Box<KeyWrite>, AuditEntry),
    Connection(Box<ConnectionWrite>),
    Audit(Box<AuditEntry>),
    DeadLetter(Box<DeadLetter>),
    Statistics(Box<StatisticsWrite>),
    DeleteFlow(Box<FlowDeletion>),
    Rollout(Box<RolloutWrite>),
    Review(Box<Review>),
    SettleDeadLetter(Box<Settlement>),
    Signal(Box<SignalWrite>),
    Schedule(Box<ScheduleWrite>),
    Escalation(Arc<EscalationWrite>),
    People(Box<PeopleWrite>),
}

/// The new state of one run and the rows that come with it.
#[derive(Debug, Clone)]
pub struct RunWrite {
    pub id: RunId,
    pub tenant: TenantId,
    pub partition: u16,
    /// The epoch under which the writer owns the partition; a stale one is fenced.
    pub epoch: i64,
    /// The version that the state replaces; 0 for a new run. The stored version becomes one more.
    pub expected_version: i64,
    /// Present for a new run.
    pub accept: Option<Box<Accept>>,
    pub state: SavedState,
    pub timing: Timing,
    pub log: Vec<LogEntry>,
    pub audit: Vec<AuditEntry>,
    pub approvals: Vec<ApprovalWrite>,
    pub waits: Vec<WaitWrite>,
    /// Transitions of the run's phases.
    pub phases: Vec<PhaseWrite>,
    /// Results that may be used again.
    pub cached: Vec<CachedWrite>,
    /// About the bytes of JSON in it; not stored.
    pub bytes: usize,
    /// Present when the run has ended: what its flow's counters add.
    pub ended: Option<RunEnd>,
    /// Present when the run was taken up again: the end that its flow's counters take back. Its name is taken again.
    pub reopened: Option<RunEnd>,
    /// Present when its claim on the limits of its flow changes.
    pub limit: Option<Box<LimitWrite>>,
    /// What of it has failed for good: written down for the tenant's escalation rules, where it has any.
    pub failures: Vec<FailureNote>,
}

/// Something of a run has failed for good.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureNote {
    pub id: RowId,
    pub owner: Owner,
    pub reason: EscalationReason,
    /// What conditions of rules see, apart from what the run itself says.
    pub context: Value,
    pub at_ms: i64,
}

/// A result that may be used again.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedWrite {
    pub flow: FlowId,
    pub key: CacheKey,
    /// Which execution gave it.
    pub execution: ExecutionId,
    pub result: Json,
    pub at_ms: i64,
    pub expires_at_ms: i64,
    /// How many keys a flow has at most; a further one is not taken.
    pub most: u32,
}

/// A run that only others can move.
#[derive(Debug, Clone)]
pub struct IdleRun {
    pub id: RunId,
    /// Or why it cannot be read.
    pub run: Result<StoredRun, String>,
    /// A limit of its flow keeps it in line.
    pub is_held: bool,
}

/// What accepting a run writes beside its state.
#[derive(Debug, Clone)]
pub struct Accept {
    pub header: Arc<RunHeader>,
    pub idempotency: Option<Idempotency>,
    /// The definition of a single action, which no flow has.
    pub definition: Option<Arc<FlowDocument>>,
    /// Present where a schedule starts the run: it goes on in the same commit, or the run is not accepted.
    pub schedule: Option<Box<ScheduleMove>>,
    /// What it takes over from the run that it repeats: kept with it, whatever becomes of that one.
    pub reuse: Option<Arc<Reuse>>,
}

/// A caller's own name for a request, unique in its tenant, with the answer that a repetition gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of method, path and body.
    pub body_hash: [u8; 32],
    pub answer: Value,
    pub expires_at_ms: i64,
}

/// A transition of a phase, with what its row needs beside.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseWrite {
    pub id: RowId,
    pub owner: Owner,
    pub flow: FlowId,
    pub name: Arc<str>,
    pub sla_ms: Option<i64>,
    /// Whether somebody is told of it, by an occurrence in the same commit.
    pub is_told: bool,
    pub moved: PhaseMove,
}

/// An event that a step waits for, by its type and key, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitWrite {
    Opened {
        step: StepNo,
        kind: Arc<str>,
        key: String,
        /// Events that are kept since then count.
        since_ms: i64,
        /// The name of the event that started the run: it is not waited for.
        but: Option<String>,
    },
    Closed {
        step: StepNo,
        /// What it was told of and took.
        taken: Option<RowId>,
    },
    /// The run has ended.
    Over,
}

/// An approval that is wanted, or was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalWrite {
    Requested {
        id: RowId,
        step: Option<StepNo>,
        at_ms: i64,
        expires_at_ms: Option<i64>,
        /// What tells whoever may decide, written in the same commit.
        told: Option<Box<signal::Occurrence>>,
    },
    Decided {
        step: Option<StepNo>,
        approved: bool,
        by: UserId,
        notes: Option<Arc<str>>,
        /// What the person filled in; null: nothing.
        form: core314_domain::Json,
        at_ms: i64,
    },
    /// Nobody has to decide any more: what waited has expired or was cancelled. Nothing happens where nothing waited.
    Lapsed { step: Option<StepNo>, at_ms: i64 },
}

/// A run's end, as its flow counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Absent for a single action: no flow counts it.
    pub flow: Option<FlowId>,
    /// The version of the flow that the run had.
    pub flow_version: i64,
    /// The run's name, with the flow among whose live runs it was unique: it is free again.
    pub key: Option<(FlowId, Arc<str>)>,
    pub status: RunStatus,
    pub duration_ms: i64,
    pub at_ms: i64,
    /// Whose run it was.
    pub owner: Owner,
    /// The flow that takes over from it.
    pub fallback: Option<FlowId>,
    /// It ended badly, and its flow names somebody to tell.
    pub is_told: bool,
    /// What is written back to the decision or recommendation that the run stems from.
    pub outcome: Option<Box<signal::Outcome>>,
}

/// A flow, new or changed. Each write makes a version.
#[derive(Debug, Clone)]
pub struct FlowWrite {
    pub id: FlowId,
    pub owner: Owner,
    /// The version that this one replaces; 0 for a new flow.
    pub expected_version: i64,
    pub document: FlowDocument,
    /// Present where its trigger is `schedule`.
    pub schedule: Option<SchedulePlan>,
    pub by: UserId,
    pub at_ms: i64,
    /// The roll-out that begins or ends with this version.
    pub rollout: Option<RolloutChange>,
    pub audit: AuditEntry,
}

/// A change of a roll-out without a new version of its flow.
#[derive(Debug, Clone)]
pub struct RolloutWrite {
    pub tenant: TenantId,
    pub change: RolloutChange,
    pub audit: AuditEntry,
}

/// What happens to a roll-out. Each is a conflict where the flow's running roll-out is another one than it takes for granted.
#[derive(Debug, Clone)]
pub enum RolloutChange {
    /// None is running.
    Begin(Box<Rollout>),
    /// This one is.
    End { id: RowId, flow: FlowId, status: RolloutStatus, reason: String, at_ms: i64 },
}

/// A flow that is to go. Its versions stay for the runs that have them.
#[derive(Debug, Clone)]
pub struct FlowDeletion {
    pub id: FlowId,
    pub tenant: TenantId,
    pub audit: AuditEntry,
}

/// A person's verdict on an attempt of the log.
#[derive(Debug, Clone)]
pub struct Review {
    /// For the row, where the attempt had none.
    pub id: RowId,
    pub tenant: TenantId,
    pub log: LogId,
    pub reviewer: UserId,
    pub verdict: String,
    pub notes: Option<String>,
    pub audit: AuditEntry,
    pub at_ms: i64,
}

/// How a dead letter was settled.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub id: RowId,
    pub tenant: TenantId,
    /// `retried` or `discarded`.
    pub how: &'static str,
    pub audit: AuditEntry,
    pub at_ms: i64,
}

/// A change of a service key.
#[derive(Debug, Clone)]
pub enum KeyWrite {
    /// A new key. A tenant that has `limit` live ones already gets [`RejectCode::LimitReached`].
    Create {
        key: ServiceKey,
        /// SHA-256 of the key; the key itself is never stored.
        key_hash: [u8; 32],
        limit: usize,
    },
    /// A key that does not exist, or is revoked, is a conflict.
    Rename { tenant: TenantId, id: RowId, name: String, at_ms: i64 },
    /// A key that does not exist, or is revoked already, is a conflict.
    Revoke { tenant: TenantId, id: RowId, at_ms: i64 },
}

/// Work that was set aside because it kills whoever handles it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: RowId,
    pub owner: Owner,
    pub run: Option<RunId>,
    pub actor_path: String,
    pub message: String,
    pub failure: String,
    pub at_ms: i64,
}

/// What statistics gain from one partition's log, up to a position of it: the gain and the position are one commit, so
/// that no attempt counts twice.
#[derive(Debug, Clone)]
pub struct StatisticsWrite {
    pub partition: u16,
    pub epoch: i64,
    /// What is added.
    pub rows: Vec<(StatKey, Stat)>,
    pub covered_seq: i64,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Durable. For a run, `log_seq` is the number of its last log row in its partition's chain, if it wrote one.
    Committed { log_seq: Option<i64> },
    /// The version was another: reload and decide again.
    Conflict,
    /// The idempotency key was used before: this was the answer, and whether the request was the same.
    Duplicate { answer: Value, same_request: bool },
    /// Another live run of the flow has this name.
    RunKeyTaken { run: RunId },
    /// The schedule has moved on since this was planned: read it again.
    Stale,
    /// What was to be changed does not exist in the tenant.
    NotFound,
    /// The database refused this write for good.
    Rejected { code: RejectCode, message: String },
    /// The partition belongs to somebody else now: stop.
    Fenced,
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectCode {
    /// The tenant has one of this name.
    NameTaken,
    /// The tenant has as many of these as it may have.
    LimitReached,
    /// Any other constraint.
    Constraint,
}

/// A run as stored.
#[derive(Debug, Clone)]
pub struct StoredRun {
    pub header: RunHeader,
    pub version: i64,
    pub state: SavedState,
    pub timing: Timing,
    /// The final attempts of its ended steps, and what it took over.
    pub attempts: Vec<LastAttempt>,
}

/// A row of the log's tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailRow {
    pub seq: i64,
    pub tenant: TenantId,
    pub action_type: String,
    pub is_final: bool,
    pub success: bool,
    pub duration_ms: Option<i64>,
    pub completed_at_ms: i64,
}
