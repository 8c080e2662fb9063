//! Escalation: who is told of what has failed, in which order, until somebody takes it or it is mended.
//!
//! ```text
//! failure ─ ask(rules) ─► verdicts, one acts ─ admit ─► opened, joined or held back
//!                                                │
//!        levels by delay, repeats, fix first ◄───┘  Event::decide(command, now) ─► (event, tasks)
//!        acknowledge, resolve, service clocks
//! ```
//!
//! Invariants:
//! - A level is reached once, whatever restarts lie between: what was reached is in the event, and every task has a key
//!   that depends on the event, the level and the round alone.
//! - After an acknowledgement nothing climbs, unless the level says that it waits for the resolution; after the end
//!   nothing happens at all, and what was in flight is stopped.
//! - What is held back is counted and never dropped: the next message carries the count.
//! - A service clock is breached once, and paused time is never lost.

mod admit;
mod calendar;
mod check;
mod clock;
mod context;
mod document;
mod effect;
mod event;
mod matching;
mod on_call;
mod rule;
mod silence;
mod tasks;
mod trial;

#[cfg(test)]
mod tests;

pub use admit::{Admission, HeldBack, Recent, Windows};
pub use calendar::{CalendarDocument, WorkingCalendar};
pub(crate) use calendar::{day, local, minute, wall_instant, weekday, zone};
pub use clock::{Pause, ServiceClock};
pub use context::{MOST_CONTEXT_BYTES, about_run, bounded_to};
pub use document::{
    ActionDocument, ChannelDocument, HeartbeatDocument, LevelDocument, RemediationDocument, RepeatDocument,
    RuleDocument, ServiceTimes, ThrottleDocument, Until,
};
pub use effect::without_effect;
pub use event::{Command, Decision, Deed, Event, Hold, Refused, Surroundings};
pub use matching::{Asked, RuleSet, Verdict, acting, ask};
pub use on_call::{Layer, OnCall, OnCallDocument, Override, Shift};
pub use rule::{Failure, Recipient, Rule, RuleId};
pub use silence::{Silence, SilenceDocument};
pub use tasks::{Purpose, Task, What};
pub use trial::{Case, CaseReport, Suite};

use crate::words::words;

words! {
    /// What has become of an escalation, as `escalation_events.status` shows it. `triggered` and `escalated` climb.
    EscalationStatus {
        Triggered = "triggered", Acknowledged = "acknowledged", Escalated = "escalated", Resolved = "resolved",
        Failed = "failed", Suppressed = "suppressed",
    }
    /// Why the rules are asked, as `escalation_events.escalation_reason` shows it.
    EscalationReason {
        ExecutionFailed = "execution_failed", ExecutionExpired = "execution_expired", SlaExceeded = "sla_exceeded",
        ApprovalOverdue = "approval_overdue", RunFailed = "run_failed", RunRolledBack = "run_rolled_back",
        HeartbeatMissed = "heartbeat_missed", AnomalyOpened = "anomaly_opened", RecoveryFailed = "recovery_failed",
        Reported = "reported",
    }
    /// What a level can do by a short name. Any other name is an action type.
    LevelAction {
        NotifyUser = "notify_user", NotifyAdmin = "notify_admin", CreateTicket = "create_ticket",
        PageOncall = "page_oncall", HaltFlow = "halt_flow", ResumeFlow = "resume_flow", RunFlow = "run_flow",
        Retry = "retry", RetryWithFallback = "retry_with_fallback", RollbackChanges = "rollback_changes",
        SwitchToBackup = "switch_to_backup", Recover = "recover",
    }
}

impl EscalationStatus {
    /// Whether nothing happens any more.
    pub const fn is_closed(self) -> bool {
        match self {
            Self::Resolved | Self::Failed | Self::Suppressed => true,
            Self::Triggered | Self::Acknowledged | Self::Escalated => false,
        }
    }
}

impl LevelAction {
    /// Whether its success as a remediation shows that what had failed is mended.
    pub const fn mends(self) -> bool {
        match self {
            Self::RunFlow => true,
            _ => self.is_remedy(),
        }
    }

    /// Whether it is made to mend, wherever it stands: as an action of a level, too, its success resolves the event.
    pub const fn is_remedy(self) -> bool {
        match self {
            Self::Retry | Self::RetryWithFallback | Self::RollbackChanges | Self::SwitchToBackup | Self::Recover => {
                true
            }
            Self::NotifyUser
            | Self::NotifyAdmin
            | Self::CreateTicket
            | Self::PageOncall
            | Self::HaltFlow
            | Self::ResumeFlow
            | Self::RunFlow => false,
        }
    }

    /// Whether an action by this name tells somebody: however well it is delivered, nothing is mended by it.
    pub fn names_message(action: &str) -> bool {
        action == SEND || action.parse().is_ok_and(Self::is_notice)
    }

    /// Whether it is a notice, which its channel delivers.
    const fn is_notice(self) -> bool {
        matches!(self, Self::NotifyUser | Self::NotifyAdmin | Self::PageOncall)
    }

    /// Whether an action by this name is made to mend.
    pub fn names_remedy(action: &str) -> bool {
        action.parse().is_ok_and(Self::is_remedy)
    }
}

/// The action type that is a message.
const SEND: &str = "send_notification";

/// A number of minutes, whole or not, in ms.
fn minutes_ms(minutes: f64) -> i64 {
    (minutes * 60_000.0).round() as i64
}
