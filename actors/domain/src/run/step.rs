//! The state of one step of a run, and the table of its transitions.
//!
//! ```text
//!            ┌────────────────────────► SkippedByWhen, SkippedUpstream
//!            │                          ┌─► Waiting ─┐
//! Blocked ───┼─► AwaitingApproval ─► Pending ─► InProgress ─► Completed
//!            │          │    ▲          ▲  │      │  │ │
//!            │          │    └──park────┼──┼──────┘  │ └────► Failed
//!            │          │               │  └─────────┼──────► Expired
//!            │          └─► Rejected    └─ Retrying ◄┘
//!            └──────────────► Cancelled (from any state that is not terminal)
//! ```

use serde::{Deserialize, Serialize};

use super::{CacheKey, IdempotencyKey};
use crate::ids::RunId;
use crate::words::{ApprovalStatus, ExecutionStatus};

/// Where a step stands. More words than the contract's, because its dependents must know *why* it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepStatus {
    /// Waits for its inputs.
    Blocked,
    /// Waits for a person.
    AwaitingApproval,
    /// May start, when it is due and a slot is free.
    Pending,
    /// An attempt is under way.
    InProgress,
    /// Waits for its next attempt.
    Retrying,
    /// Begun, and waits: for the steps in it, for a time, a signal, an event, or another run. No attempt is under way.
    Waiting,
    Completed,
    /// Failed for good.
    Failed,
    Cancelled,
    /// A person said no.
    Rejected,
    Expired,
    /// Its condition did not hold: its dependents go on.
    SkippedByWhen,
    /// Its inputs can no longer be satisfied: its dependents are skipped too.
    SkippedUpstream,
}

impl StepStatus {
    /// Every state with the letter that stands for it in the stored state.
    const LETTERS: [(Self, char); 13] = [
        (Self::Blocked, 'B'),
        (Self::AwaitingApproval, 'A'),
        (Self::Pending, 'P'),
        (Self::InProgress, 'I'),
        (Self::Retrying, 'R'),
        (Self::Waiting, 'W'),
        (Self::Completed, 'C'),
        (Self::Failed, 'F'),
        (Self::Cancelled, 'X'),
        (Self::Rejected, 'N'),
        (Self::Expired, 'E'),
        (Self::SkippedByWhen, 'S'),
        (Self::SkippedUpstream, 'U'),
    ];

    /// The letter in the stored state.
    pub fn letter(self) -> char {
        Self::LETTERS.iter().find(|(s, _)| *s == self).expect("every state has a letter").1
    }

    /// The state that a letter stands for.
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::LETTERS.iter().find(|(_, l)| *l == letter).map(|(s, _)| *s)
    }

    /// The contract's word.
    pub const fn execution_status(self) -> ExecutionStatus {
        match self {
            Self::Blocked => ExecutionStatus::Blocked,
            Self::AwaitingApproval => ExecutionStatus::AwaitingApproval,
            Self::Pending => ExecutionStatus::Pending,
            Self::InProgress | Self::Waiting => ExecutionStatus::InProgress,
            Self::Retrying => ExecutionStatus::Retrying,
            Self::Completed => ExecutionStatus::Completed,
            Self::Failed => ExecutionStatus::Failed,
            Self::Cancelled | Self::Rejected => ExecutionStatus::Cancelled,
            Self::Expired => ExecutionStatus::Expired,
            Self::SkippedByWhen | Self::SkippedUpstream => ExecutionStatus::Skipped,
        }
    }

    /// Whether the step has ended.
    pub const fn is_terminal(self) -> bool {
        self.execution_status().is_terminal()
    }

    /// Whether the step ended with an attempt's result or error.
    pub const fn has_outcome(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// Whether dependents count this step as done.
    pub const fn satisfies(self) -> bool {
        matches!(self, Self::Completed | Self::SkippedByWhen)
    }

    /// Whether a run with such a step cannot end well.
    pub const fn fails_the_run(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected | Self::Expired)
    }

    /// The table of transitions: whether a step in this state may go to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        use StepStatus::{
            AwaitingApproval, Blocked, Cancelled, Completed, Expired, Failed, InProgress, Pending, Rejected, Retrying,
            SkippedByWhen, SkippedUpstream, Waiting,
        };
        match self {
            Blocked => {
                matches!(next, AwaitingApproval | Pending | SkippedByWhen | SkippedUpstream | Failed | Cancelled)
            }
            AwaitingApproval => matches!(next, Pending | InProgress | Rejected | Expired | Failed | Cancelled),
            Pending => matches!(next, InProgress | Waiting | Expired | Failed | Cancelled),
            Waiting => matches!(next, InProgress | Waiting | Failed | Cancelled),
            InProgress => matches!(next, Completed | Retrying | AwaitingApproval | Failed | Cancelled),
            Retrying => matches!(next, InProgress | Expired | Cancelled),
            Completed | Failed | Cancelled | Rejected | Expired | SkippedByWhen | SkippedUpstream => false,
        }
    }
}

/// What a step that is not terminal carries.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and stands in the stored state")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The number of the present or next attempt, from 0.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// The attempts before a person took the run up again: they do not count against its policy.
    #[serde(rename = "b", default, skip_serializing_if = "is_zero")]
    pub base: u32,
    /// When its inputs were satisfied. The `now` of its templates, the same in all attempts.
    #[serde(rename = "r")]
    pub released_at_ms: i64,
    /// Not before.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<i64>,
    /// Not after.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// When the present attempt started.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// The epoch of the node that makes the present attempt.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Whether a person's approval was given.
    #[serde(rename = "y", default, skip_serializing_if = "is_false")]
    pub approved: bool,
    /// Whether a person has stopped the present attempt.
    #[serde(rename = "c", default, skip_serializing_if = "is_false")]
    pub cancelled: bool,
    /// Which of its lists of steps a branch took.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<u32>,
    /// The run that the step started.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub child: Option<RunId>,
    /// Whether the present attempt asks if the one before, whose outcome is unknown, took effect.
    #[serde(rename = "v", default, skip_serializing_if = "is_false")]
    pub verifying: bool,
    /// How many such attempts before the present one could not tell; one that was cut off itself does not count.
    #[serde(rename = "vp", default, skip_serializing_if = "is_zero")]
    pub probes: u32,
    /// Under which the result of the present attempt may be used again.
    #[serde(rename = "ck", default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheKey>,
    /// What its attempts send in place of the execution's id.
    #[serde(rename = "ik", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// Whether its partition knows that it is due. Not stored: a partition that starts asks anew.
    #[serde(skip)]
    pub queued: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(super) fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(b: &bool) -> bool {
    !*b
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub status: StepStatus,
    /// Present from the release until the end.
    pub live: Option<Box<Live>>,
}

impl Step {
    /// A step that waits for its inputs.
    pub const BLOCKED: Self = Self { status: StepStatus::Blocked, live: None };

    /// What the contract's `approval_status` shows.
    pub fn approval(&self, required: bool) -> ApprovalStatus {
        match (required, self.status) {
            // Whatever was not to be approved may still be parked.
            (_, StepStatus::AwaitingApproval) | (true, StepStatus::Blocked) => ApprovalStatus::Pending,
            (false, _) | (true, StepStatus::SkippedByWhen | StepStatus::SkippedUpstream) => ApprovalStatus::NotRequired,
            (true, StepStatus::Rejected) => ApprovalStatus::Rejected,
            (true, StepStatus::Expired) => ApprovalStatus::Expired,
            (true, _) => ApprovalStatus::Approved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_unique_and_read_back() {
        for (status, letter) in StepStatus::LETTERS {
            assert_eq!(StepStatus::from_letter(letter), Some(status));
            assert_eq!(status.letter(), letter);
        }
    }

    #[test]
    fn nothing_leaves_a_terminal_state() {
        for (from, _) in StepStatus::LETTERS {
            for (to, _) in StepStatus::LETTERS {
                assert!(!(from.is_terminal() && from.may_become(to)), "{from:?} must not become {to:?}");
            }
        }
    }
}
