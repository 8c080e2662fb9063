//! Escalations as they are kept: rules, events, what is sent for them, on-call schedules and silences.
//!
//! What is written goes through the one verb of the store, in the commit that makes it so: an event, its tasks, the failure
//! that it takes and the figures of its rule are one transaction.

mod notes;

use std::collections::BTreeMap;
use std::sync::Arc;

use core314_domain::Json;
use core314_domain::audit::AuditEntry;
use core314_domain::escalation::{
    EscalationStatus, Event, OnCall, OnCallDocument, Override, RuleDocument, RuleId, Shift, SilenceDocument,
};
use core314_domain::ids::{ExecutionId, FlowId, LogId, Owner, RowId, RunId, TenantId, UserId};
use core314_domain::words::{Urgency, words};
use serde_json::Value;
use uuid::Uuid;

use super::dependency::Holder;
use super::{BoxFuture, Scope, StoreError};
pub use notes::{HeldBackNote, OutboxStep, PutOff};

words! {
    /// What has become of something that an event wants done, as `notification_outbox.status` shows it.
    OutboxStatus {
        Pending = "pending", Sending = "sending", Sent = "sent", MaybeSent = "maybe_sent", Failed = "failed",
        Cancelled = "cancelled",
    }
    /// Whether somebody is told or something is done.
    OutboxKind { Notify = "notify", Act = "act" }
}

impl OutboxStatus {
    /// Whether nothing more becomes of it.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Sent | Self::Failed | Self::Cancelled => true,
            Self::Pending | Self::Sending | Self::MaybeSent => false,
        }
    }
}

/// A rule as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRule {
    pub id: RuleId,
    pub owner: Owner,
    pub version: i64,
    pub document: RuleDocument,
    pub created_by: UserId,
    pub updated_by: UserId,
    pub heartbeat_due_ms: Option<i64>,
}

/// An event as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEscalation {
    pub id: RowId,
    pub owner: Owner,
    pub rule: RuleId,
    pub rule_version: i64,
    pub execution: Option<ExecutionId>,
    pub log: Option<LogId>,
    pub flow: Option<FlowId>,
    pub run: Option<RunId>,
    pub event: Event,
    /// What conditions saw as `trigger`.
    pub context: Json,
    /// Absent when it is read: it is long, written once, and shown by the views.
    pub verdicts: Option<Arc<Verdicts>>,
    pub tags: Vec<String>,
    /// When its service times end, as they count now.
    pub deadlines: (Option<i64>, Option<i64>),
    pub version: i64,
    pub wake_ms: Option<i64>,
}

/// Why there is an event, for those who ask.
#[derive(Debug, PartialEq)]
pub struct Verdicts {
    /// What the rules said.
    pub asked: Value,
    /// Which filters and conditions held.
    pub conditions_met: Value,
}

/// Something that an event wants done, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    pub id: RowId,
    pub escalation: RowId,
    pub level: u32,
    pub round: u32,
    /// A word of [`core314_domain::escalation::Purpose`].
    pub purpose: core314_domain::escalation::Purpose,
    pub kind: OutboxKind,
    /// The channel, or the action.
    pub channel: String,
    /// Who is told, or what the action is aimed at.
    pub target: Option<String>,
    pub payload: Value,
    /// How its person was found: the recipient, and the on-call schedule as it stood. Absent where no person was looked for.
    pub found_by: Option<Value>,
    pub key: String,
    pub status: OutboxStatus,
    /// An attempt has ended without anybody knowing what it did.
    pub is_unknown: bool,
    /// It is not wanted any more since it is under way: it is cut off.
    pub is_stopped: bool,
    /// What performs it.
    pub run: Option<RunId>,
    pub error: Option<String>,
    pub tries: u32,
    /// Not sent before: somebody's quiet hours.
    pub not_before_ms: Option<i64>,
    pub sent_ms: Option<i64>,
}

/// A schedule as stored, with those who stand in.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOnCall {
    pub id: RowId,
    pub owner: Owner,
    pub version: i64,
    pub document: OnCallDocument,
    pub overrides: Vec<(RowId, Override)>,
}

impl StoredOnCall {
    /// Who is on call at an instant, as far as those who stand in then were read; or why that cannot be said.
    pub fn at(self, at_ms: i64) -> Result<Shift, String> {
        let overrides: Vec<Override> = self.overrides.into_iter().map(|(_, over)| over).collect();
        let name = self.document.name.clone();
        let schedule = OnCall::compile(self.document);
        let schedule = schedule
            .map_err(|problems| format!("the on-call schedule '{name}' cannot be read: {}", problems[0].message))?;
        Ok(schedule.at(&overrides, at_ms))
    }
}

/// A silence as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSilence {
    pub id: RowId,
    pub owner: Owner,
    pub document: SilenceDocument,
    pub created_ms: i64,
    /// Of the row that was read; 0 for a new one.
    pub version: i64,
}

/// An event with something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waking {
    pub at_ms: i64,
    pub escalation: RowId,
    pub rule: RuleId,
    pub tenant: TenantId,
}

/// Figures of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    pub start_ms: i64,
    pub total: i64,
    pub resolved: i64,
    pub failed: i64,
    pub suppressed: i64,
    pub breached: i64,
    pub acknowledge_ms: Option<f64>,
    pub resolve_ms: Option<f64>,
}

/// What failures are about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AboutFailures {
    /// The runs, as answers show them.
    pub runs: BTreeMap<RunId, Arc<Value>>,
    /// The rows of the last attempts of executions.
    pub attempts: BTreeMap<ExecutionId, LogId>,
}

/// What is read of escalations.
pub trait EscalationBook: Send + Sync + 'static {
    /// The rules of a tenant, by priority: at most `limit`.
    fn rules(&self, tenant: TenantId, limit: usize) -> BoxFuture<'_, Result<Vec<StoredRule>, StoreError>>;

    /// A rule that the scope may see.
    fn rule(&self, scope: Scope, id: RuleId) -> BoxFuture<'_, Result<Option<StoredRule>, StoreError>>;

    /// A rule in one of its versions: events stay on theirs.
    fn rule_version(&self, id: RuleId, version: i64) -> BoxFuture<'_, Result<Option<RuleDocument>, StoreError>>;

    /// The rules as they were at a time.
    fn rules_at(
        &self,
        tenant: TenantId,
        at_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RuleId, RuleDocument)>, StoreError>>;

    /// Rules whose signal stays away at this time.
    fn missed_heartbeats(&self, now_ms: i64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredRule>, StoreError>>;

    /// When the next signal is due that a rule waits for.
    fn next_heartbeat(&self) -> BoxFuture<'_, Result<Option<i64>, StoreError>>;

    /// An event that the scope may see; none that was held back.
    fn escalation(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<StoredEscalation>, StoreError>>;

    /// The open event of a rule on a subject.
    fn open_on(&self, rule: RuleId, subject: String) -> BoxFuture<'_, Result<Option<StoredEscalation>, StoreError>>;

    /// When a rule has escalated since a time, by subject: the newest `limit`, the oldest first.
    fn recent(
        &self,
        rule: RuleId,
        since_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, String)>, StoreError>>;

    /// The event of a rule that began last.
    fn newest_of_rule(
        &self,
        tenant: TenantId,
        rule: RuleId,
    ) -> BoxFuture<'_, Result<Option<StoredEscalation>, StoreError>>;

    /// How many failures a rule has held back since its last message.
    fn held_back(&self, tenant: TenantId, rule: RuleId) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// When a row that counts what was held back is told at the latest; nothing where it has been told, or waits for a message.
    fn told_at_latest(&self, tenant: TenantId, row: RowId) -> BoxFuture<'_, Result<Option<i64>, StoreError>>;

    /// The row that counts what a rule has held back on a subject since its last message.
    fn suppressed(
        &self,
        tenant: TenantId,
        rule: RuleId,
        subject: String,
    ) -> BoxFuture<'_, Result<Option<RowId>, StoreError>>;

    /// The name of the first of these rules of a tenant that has an open event which holds.
    fn open_among(&self, tenant: TenantId, rules: Vec<Holder>) -> BoxFuture<'_, Result<Option<String>, StoreError>>;

    /// What an event wants done, as far as it is not over, and what was tried to mend it.
    fn outbox(&self, escalation: RowId) -> BoxFuture<'_, Result<Vec<OutboxRow>, StoreError>>;

    /// The messages of an event that were sent or are being sent, but those that follow up on others: the newest thousand.
    fn messages_sent(&self, tenant: TenantId, escalation: RowId) -> BoxFuture<'_, Result<Vec<OutboxRow>, StoreError>>;

    /// What an event wants done and is not known to have begun, but has: a crash came between its run and the note of it.
    fn begun(&self, tenant: TenantId, escalation: RowId) -> BoxFuture<'_, Result<Vec<(RowId, RunId)>, StoreError>>;

    /// Events with something to do before a time, soonest first, after the given one.
    fn waking(
        &self,
        until_ms: i64,
        after: Option<(i64, RowId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Waking>, StoreError>>;

    /// Open events of a tenant: silences and the ends of others concern them.
    fn open_of(&self, tenant: TenantId, limit: usize) -> BoxFuture<'_, Result<Vec<Waking>, StoreError>>;

    /// Open events of a rule.
    fn open_of_rule(&self, rule: RuleId, limit: usize) -> BoxFuture<'_, Result<Vec<Waking>, StoreError>>;

    /// Live runs of a flow.
    fn live_runs(&self, tenant: TenantId, flow: FlowId, limit: usize) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;

    /// The row of an execution's last attempt.
    fn last_attempt(&self, scope: Scope, execution: ExecutionId) -> BoxFuture<'_, Result<Option<LogId>, StoreError>>;

    /// What failures of a tenant are about, of many in one read: as [`super::store::Store::subject`] shows these runs, and the
    /// rows of the last attempts of these executions. What is not there, or not the tenant's, is left out.
    fn about_failures(
        &self,
        tenant: TenantId,
        runs: Vec<RunId>,
        executions: Vec<ExecutionId>,
    ) -> BoxFuture<'_, Result<AboutFailures, StoreError>>;

    /// Whether an attempt of a run has ended without anybody knowing what it did.
    fn has_unknown(&self, run: RunId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// A schedule of a tenant by its name, with those who stand in at or after a time.
    fn on_call(
        &self,
        tenant: TenantId,
        name: String,
        since_ms: i64,
    ) -> BoxFuture<'_, Result<Option<StoredOnCall>, StoreError>>;

    /// The same by its id.
    fn on_call_by_id(
        &self,
        scope: Scope,
        id: RowId,
        since_ms: i64,
    ) -> BoxFuture<'_, Result<Option<StoredOnCall>, StoreError>>;

    /// A silence that the scope may see.
    fn silence(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<StoredSilence>, StoreError>>;

    /// Silences of a tenant that have not ended at a time.
    fn silences(
        &self,
        tenant: TenantId,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredSilence>, StoreError>>;

    /// Figures since a time, for each interval in which there was anything.
    fn figures(
        &self,
        scope: Scope,
        rule: Option<RuleId>,
        since_ms: i64,
        interval_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<Figures>, StoreError>>;
}

/// A change.
#[derive(Debug, Clone)]
pub enum EscalationWrite {
    /// A rule, new or changed. The name may be taken; a version that is not the stored one is a conflict.
    Rule {
        rule: Box<StoredRule>,
        expected_version: i64,
        audit: AuditEntry,
        at_ms: i64,
    },
    DeleteRule {
        id: RuleId,
        tenant: TenantId,
        version: i64,
        audit: AuditEntry,
        at_ms: i64,
    },
    /// A rule's signal came, or was missed: it is due again then.
    Heartbeat {
        rule: RuleId,
        tenant: TenantId,
        expected_due_ms: Option<i64>,
        due_ms: i64,
        came_ms: Option<i64>,
    },
    Step(Box<EventStep>),
    HeldBack(Box<HeldBackNote>),
    PutOff(PutOff),
    Outbox(OutboxStep),
    OnCall {
        schedule: Box<StoredOnCall>,
        expected_version: i64,
        audit: AuditEntry,
        at_ms: i64,
    },
    DeleteOnCall {
        id: RowId,
        tenant: TenantId,
        audit: AuditEntry,
    },
    Override {
        id: RowId,
        schedule: RowId,
        owner: Owner,
        over: Override,
        reason: Option<String>,
        audit: AuditEntry,
        at_ms: i64,
    },
    DeleteOverride {
        id: RowId,
        tenant: TenantId,
        audit: AuditEntry,
    },
    /// New or changed, against the version that was read.
    Silence {
        silence: Box<StoredSilence>,
        starts_ms: i64,
        ends_ms: Option<i64>,
        audit: AuditEntry,
    },
    /// It ends now, or did not begin.
    DeleteSilence {
        id: RowId,
        tenant: TenantId,
        audit: AuditEntry,
    },
}

impl EscalationWrite {
    /// What it adds to the audit log.
    pub fn audit(&self) -> &[AuditEntry] {
        match self {
            Self::Rule { audit, .. }
            | Self::DeleteRule { audit, .. }
            | Self::OnCall { audit, .. }
            | Self::DeleteOnCall { audit, .. }
            | Self::Override { audit, .. }
            | Self::DeleteOverride { audit, .. }
            | Self::Silence { audit, .. }
            | Self::DeleteSilence { audit, .. } => std::slice::from_ref(audit),
            Self::Step(step) => &step.audit,
            Self::Heartbeat { .. } | Self::HeldBack(_) | Self::PutOff(_) | Self::Outbox(_) => &[],
        }
    }
}

/// An event's next state, and all that comes with it.
#[derive(Debug, Clone)]
pub struct EventStep {
    /// With the version that the step was decided on; 0 for a new event.
    pub escalation: StoredEscalation,
    /// Whether its messages tell what the rule has held back: the rows that count that are bundled into it.
    pub bundles: bool,
    /// The status before; absent for a new event. What the rule's figures gain depends on the two.
    pub before: Option<EventBefore>,
    pub outbox: Vec<OutboxRow>,
    /// What is in flight is stopped.
    pub stops: Option<Stop>,
    /// The failure that it takes: crossed out.
    pub settles: Option<RowId>,
    pub audit: Vec<AuditEntry>,
    pub at_ms: i64,
}

/// What the figures of a rule, and the audit log, need to know of an event as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventBefore {
    pub status: EscalationStatus,
    pub is_acknowledged: bool,
    pub breaches: u32,
    pub urgency: Urgency,
    /// Its service clocks stand still.
    pub is_paused: bool,
}

impl EventBefore {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        let is_late = |clock: &Option<core314_domain::escalation::ServiceClock>| {
            u32::from(clock.as_ref().is_some_and(|clock| clock.breached_ms.is_some()))
        };
        let breaches = is_late(&event.response) + is_late(&event.resolution);
        Self {
            status: event.status,
            is_acknowledged: event.acknowledged.is_some(),
            breaches,
            urgency: event.urgency,
            is_paused: event.pause().is_some(),
        }
    }
}

/// What is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Levels and repeats.
    Climb,
    All,
}

/// The person of `user:ID`, if it is one.
pub fn person(by: &str) -> Option<Uuid> {
    by.strip_prefix("user:").and_then(|id| id.parse().ok())
}
