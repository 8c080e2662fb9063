//! What a node measures of its own work, for metrics. Labels are words of this program: statuses, and the types of
//! actions that it has executors for. What is read from them is never decided upon.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use core314_domain::words::{ExecutionStatus, RunStatus};

use crate::histogram::{Counted, Histogram, MICROSECONDS, MILLISECONDS, SIZES};

/// The label of executions whose action type has no executor here.
const OTHER: &str = "other";

/// Everything that is measured by status, by type, or as a distribution.
#[derive(Debug)]
pub struct Meters {
    actions: BTreeMap<&'static str, ActionMeter>,
    other: ActionMeter,
    runs_ended: [AtomicU64; RunStatus::ALL.len()],
    /// From when an execution could have started to when it did, in ms.
    pub queue_wait: Histogram,
    /// From when a schedule was due to when its run was durable, in ms.
    pub schedule_delay: Histogram,
    /// Changes in a transaction.
    pub commit_writes: Histogram,
    /// How long a try to commit took, in µs.
    pub commit_time: Histogram,
}

/// One type of action.
#[derive(Debug)]
pub struct ActionMeter {
    ended: [AtomicU64; ExecutionStatus::ALL.len()],
    under_way: AtomicU64,
    /// How long its executor took, in µs.
    performed: Histogram,
}

/// An attempt that counts as under way until it is dropped.
pub struct UnderWay<'a>(&'a ActionMeter);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was measured of one type of action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFigures {
    pub action_type: &'static str,
    /// Executions that ended, by each status that ends one.
    pub ended: Vec<(&'static str, u64)>,
    pub under_way: u64,
    pub performed: Counted,
}

impl Meters {
    /// Meters for these types of actions, all at zero.
    pub fn new(action_types: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            actions: action_types.into_iter().map(|name| (name, ActionMeter::new())).collect(),
            other: ActionMeter::new(),
            runs_ended: Default::default(),
            queue_wait: Histogram::new(MILLISECONDS),
            schedule_delay: Histogram::new(MILLISECONDS),
            commit_writes: Histogram::new(SIZES),
            commit_time: Histogram::new(MICROSECONDS),
        }
    }

    /// The meter of a type.
    pub fn action(&self, action_type: &str) -> &ActionMeter {
        self.actions.get(action_type).unwrap_or(&self.other)
    }

    /// Counts the end of a run.
    pub fn run_ended(&self, status: RunStatus) {
        self.runs_ended[status as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Runs that ended, by each status that ends one: also where there was none, so that a rate has a beginning.
    pub fn runs_ended(&self) -> Vec<(&'static str, u64)> {
        let all = RunStatus::ALL.iter().zip(&self.runs_ended);
        let ends = all.filter(|(status, _)| status.is_terminal());
        ends.map(|(status, n)| (status.as_str(), n.load(Ordering::Relaxed))).collect()
    }

    /// What was measured of each type of action; of types without an executor only where there was one.
    pub fn actions(&self) -> Vec<ActionFigures> {
        let known = self.actions.iter().map(|(name, meter)| meter.figures(name));
        let other = self.other.figures(OTHER);
        let has_other = other.ended.iter().any(|(_, n)| *n > 0);
        known.chain(has_other.then_some(other)).collect()
    }
}

impl ActionMeter {
    fn new() -> Self {
        Self { ended: Default::default(), under_way: AtomicU64::new(0), performed: Histogram::new(MICROSECONDS) }
    }

    /// Counts the end of an execution.
    pub fn ended(&self, status: ExecutionStatus) {
        self.ended[status as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt as under way.
    pub fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Counts what an executor has done, in µs.
    pub fn performed(&self, duration_us: u64) {
        self.performed.record(duration_us);
    }

    fn figures(&self, action_type: &'static str) -> ActionFigures {
        let all = ExecutionStatus::ALL.iter().zip(&self.ended);
        let ends = all.filter(|(status, _)| status.is_terminal());
        ActionFigures {
            action_type,
            ended: ends.map(|(status, n)| (status.as_str(), n.load(Ordering::Relaxed))).collect(),
            under_way: self.under_way.load(Ordering::Relaxed),
            performed: self.performed.counted(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_by_type_and_status_and_unknown_types_share_a_label() {
        let meters = Meters::new(["api_call"]);
        assert_eq!(meters.actions().len(), 1, "a known type is there from the start");
        meters.action("api_call").ended(ExecutionStatus::Completed);
        meters.action("api_call").ended(ExecutionStatus::Completed);
        meters.action("api_call").performed(700);
        ["made", "up"].iter().for_each(|name| meters.action(name).ended(ExecutionStatus::Failed));
        let under_way = meters.action("api_call").begin();
        let figures = meters.actions();
        let ends = |failed, completed| {
            [("completed", completed), ("failed", failed), ("cancelled", 0), ("expired", 0), ("skipped", 0)].to_vec()
        };
        assert_eq!((figures[0].action_type, &figures[0].ended), ("api_call", &ends(0, 2)));
        assert_eq!((figures[0].under_way, figures[0].performed.count), (1, 1));
        assert_eq!((figures[1].action_type, &figures[1].ended), ("other", &ends(2, 0)));
        drop(under_way);
        assert_eq!(meters.actions()[0].under_way, 0);
        meters.run_ended(RunStatus::TimedOut);
        let expected = [("completed", 0), ("failed", 0), ("rolled_back", 0), ("cancelled", 0), ("timed_out", 1)];
        assert_eq!(meters.runs_ended(), expected);
        for (n, status) in ExecutionStatus::ALL.iter().enumerate() {
            assert_eq!(*status as usize, n, "a status is its own place");
        }
        assert!(RunStatus::ALL.iter().enumerate().all(|(n, status)| *status as usize == n));
    }
}
