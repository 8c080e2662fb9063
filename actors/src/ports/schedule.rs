//! Schedules as the store keeps them: one row beside each flow whose trigger is `schedule`.
//!
//! ```text
//! flow saved ─► SchedulePlan ─► row ─ due ─► ScheduleMove, with the run that it starts, in one commit ─► row
//! ```
//!
//! A row has a version, which every change makes one more, and a change names the version that it was planned on: of two
//! nodes that fire the same instant one is told that the schedule has moved on.

use core314_domain::audit::AuditEntry;
use core314_domain::ids::{FlowId, Owner, RunId, TenantId};
use core314_domain::schedule::{NotFired, Standing};
use serde_json::{Map, Value};

/// A schedule as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSchedule {
    pub flow: FlowId,
    pub owner: Owner,
    /// Each change makes it one more.
    pub version: i64,
    /// The flow's `trigger_config`.
    pub config: Map<String, Value>,
    /// Whether the flow is active.
    pub is_active: bool,
    pub standing: Standing,
    /// When something is to be done; `None`: nothing is, because it has ended, is paused, or its flow is not active.
    pub due_ms: Option<i64>,
    /// Since when it is paused by a person, and by whom.
    pub paused: Option<(i64, String)>,
    pub last_fired_ms: Option<i64>,
    pub last_run: Option<RunId>,
    /// How many instants have fired.
    pub fired: i64,
    /// How many have not, by reason, in the order of [`NotFired::ALL`].
    pub not_fired: [i64; NotFired::ALL.len()],
    /// The last that has not.
    pub last_not_fired: Option<(NotFiredNote, i64)>,
    pub updated_at_ms: i64,
}

/// What a saved flow makes of its schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePlan {
    pub config: Map<String, Value>,
    pub is_active: bool,
    pub next_ms: Option<i64>,
    pub due_ms: Option<i64>,
}

/// An instant that has no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFiredNote {
    pub reason: NotFired,
    pub instant_ms: i64,
    /// More about it, such as the clause that did not hold.
    pub detail: Option<String>,
}

/// A schedule that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleMove {
    pub flow: FlowId,
    pub tenant: TenantId,
    /// The version that this was planned on.
    pub expected_version: i64,
    pub next_ms: Option<i64>,
    pub due_ms: Option<i64>,
    pub is_waiting: bool,
    /// The instant that fires with it.
    pub fired_ms: Option<i64>,
    /// The run that it starts.
    pub run: Option<RunId>,
    /// Instants that have no run: for each reason the last one, and how many.
    pub not_fired: Vec<(NotFiredNote, i64)>,
    pub at_ms: i64,
}

/// A change of a schedule that starts no run.
#[derive(Debug, Clone)]
pub enum ScheduleWrite {
    Move(ScheduleMove),
    /// A person keeps it from firing.
    Pause {
        flow: FlowId,
        tenant: TenantId,
        expected_version: i64,
        by: String,
        at_ms: i64,
        audit: AuditEntry,
    },
    /// It goes on from now.
    Resume {
        step: ScheduleMove,
        audit: AuditEntry,
    },
    /// A flow that was saved before schedules had rows gets its own. Nothing happens where it has one.
    Adopt {
        flow: FlowId,
        owner: Owner,
        plan: SchedulePlan,
        at_ms: i64,
    },
}
