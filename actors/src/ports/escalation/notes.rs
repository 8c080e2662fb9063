//! What is written down beside the steps of events: failures that told nobody, and what has become of messages.

use core314_domain::escalation::{EscalationReason, HeldBack, RuleId};
use core314_domain::ids::{ExecutionId, FlowId, LogId, Owner, RowId, RunId, TenantId};
use core314_domain::words::Urgency;
use serde_json::Value;

use super::OutboxRow;

/// A failure that told nobody.
#[derive(Debug, Clone)]
pub struct HeldBackNote {
    pub id: RowId,
    pub owner: Owner,
    pub rule: RuleId,
    pub rule_version: i64,
    pub execution: Option<ExecutionId>,
    pub log: Option<LogId>,
    pub flow: Option<FlowId>,
    pub run: Option<RunId>,
    pub reason: EscalationReason,
    pub subject: String,
    pub urgency: Urgency,
    pub by: HeldBack,
    pub context: Value,
    pub asked: Value,
    pub conditions_met: Value,
    pub settles: Option<RowId>,
    /// When it is told at the latest, where no message does before; absent: with the rule's next one, whenever that is.
    pub tell_ms: Option<i64>,
    pub at_ms: i64,
}

/// What a rule has held back and nothing has told yet is told at a later time: all of its rows that have a sooner one.
#[derive(Debug, Clone, Copy)]
pub struct PutOff {
    pub rule: RuleId,
    pub tenant: TenantId,
    /// Absent: with the rule's next message, whenever that is.
    pub tell_ms: Option<i64>,
}

/// What has become of what an event wanted done. The event's next time to wake goes with it, unless it has moved on.
#[derive(Debug, Clone)]
pub struct OutboxStep {
    pub escalation: RowId,
    pub tenant: TenantId,
    pub version: i64,
    pub wake_ms: Option<i64>,
    pub rows: Vec<OutboxRow>,
    pub at_ms: i64,
}
