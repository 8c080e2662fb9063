//! When a run next needs attention, and where it stands in its partition's queue: two indexed numbers of its row.

use super::step::StepStatus;
use super::{Closing, Run};
use crate::dispatch::Credits;
use crate::words::RunStatus;

/// The indexed numbers of a run's row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Present while something of the run is under way or may start: the dispatch order it came with.
    pub queue_key: Option<i64>,
    /// Present while the run waits for a time.
    pub wake_at_ms: Option<i64>,
}

impl Run {
    /// The indexed numbers of the run's row, as of `now_ms`.
    ///
    /// The queue key is set when the run gets something to do, and then stays as it was (`previous_key`) until nothing
    /// is left to do: a key that changes from step to step would cost every step two index entries (ADR 002).
    pub fn timing(&self, credits: &Credits, previous_key: Option<i64>, now_ms: i64) -> Timing {
        let key = self.queue_key(credits, now_ms);
        Timing { queue_key: key.map(|key| previous_key.unwrap_or(key)), wake_at_ms: self.wake_at_ms(now_ms) }
    }

    /// The next time at which [`super::Command::Wake`] has something to do.
    fn wake_at_ms(&self, now_ms: i64) -> Option<i64> {
        if self.state.status.is_terminal() {
            return None;
        }
        let open =
            matches!(self.state.closing, None | Some(Closing::Failed)) && self.state.status != RunStatus::Compensating;
        let deadline = open.then_some(self.header.deadline_at_ms).flatten();
        let runs = matches!(self.state.status, RunStatus::Running | RunStatus::Compensating);
        let steps = self.state.all().filter_map(|(_, step)| {
            let live = step.live.as_deref()?;
            let due = live.due_at_ms.filter(|at| *at > now_ms);
            match step.status {
                StepStatus::Pending | StepStatus::Retrying => [due, live.expires_at_ms].into_iter().flatten().min(),
                StepStatus::AwaitingApproval => live.expires_at_ms,
                // A loop that has more to open than one decision may is due at once. While the run is paused nothing is: its
                // resume looks at what has come due.
                StepStatus::Waiting if runs || self.state.closing.is_some() => {
                    [live.due_at_ms, live.expires_at_ms].into_iter().flatten().min()
                }
                _ => None,
            }
        });
        steps.chain(deadline).chain(self.phase_late_at_ms()).min()
    }
}

impl Run {
    /// The dispatch order of the first thing that the run has under way or could start.
    fn queue_key(&self, credits: &Credits, now_ms: i64) -> Option<i64> {
        let state = &self.state;
        if state.status.is_terminal() {
            return None;
        }
        let runs = matches!(state.status, RunStatus::Running | RunStatus::Compensating);
        let ready = runs && state.closing.is_none();
        let keys = state.all().filter_map(|(no, step)| {
            let due_at_ms = step.live.as_deref()?.due_at_ms.unwrap_or(now_ms);
            let counts = match step.status {
                StepStatus::InProgress => true,
                StepStatus::Pending | StepStatus::Retrying => ready && due_at_ms <= now_ms,
                _ => false,
            };
            let plan = counts.then(|| self.step_plan(no))?;
            Some(credits.order(due_at_ms, plan.urgency, plan.priority))
        });
        keys.min()
    }
}
