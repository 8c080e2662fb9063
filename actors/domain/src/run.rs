//! A flow run: a state machine around its steps.
//!
//! [`Run::decide`] takes a command and the time, and answers with the changes it makes and the effects they cause. It
//! changes nothing. [`Run::apply`] puts changes into the state and cannot fail. Whoever drives a run stores the state
//! with the changes' rows first and acts on the effects afterwards, so that nothing happens that is not remembered.
//!
//! How someone could get this wrong: to start an attempt before its commit; to let a decision read a clock; to free a
//! dependent in another commit than the result it waits for.

mod apply;
mod attempt;
mod decide;
mod header;
mod intervene;
mod saved;
pub mod step;
mod timing;
mod wake;
mod why;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use decide::Grant;
pub use header::{FlowRef, RunHeader, matching_scope};
pub use saved::{SavedState, StateError};
pub use timing::Timing;
pub use why::{Reason, Waiting};

use crate::Json;
use crate::expr::StepView;
use crate::ids::{StepNo, UserId};
use crate::log::{Failure, HttpFigures, LogEntry};
use crate::plan::FlowPlan;
use crate::words::RunStatus;
use step::{Step, StepStatus};

/// A run in memory: what never changes, what changes, and what its steps have given so far.
#[derive(Debug, Clone)]
pub struct Run {
    pub header: Arc<RunHeader>,
    pub plan: Arc<FlowPlan>,
    pub state: RunState,
    /// Of the steps that have ended, for expressions. Rebuilt from the log when the run is loaded.
    pub results: Arc<BTreeMap<Arc<str>, StepView>>,
    /// How many attempts the log has of each step that had one: a step that is retried goes on from there.
    pub attempts: BTreeMap<StepNo, u32>,
}

/// What of a run changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunState {
    pub status: RunStatus,
    pub steps: Vec<Step>,
    /// How the run will end once the attempts under way have.
    pub closing: Option<Closing>,
    /// Why it ended, or will end, badly.
    pub error: Option<String>,
    pub started_at_ms: Option<i64>,
    pub completed_at_ms: Option<i64>,
    /// Who paused it, while it is paused.
    pub paused_by: Option<Arc<str>>,
    /// How often a person took it up again after its end.
    pub reopened: u32,
}

/// An end that is decided and waits for attempts under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// A step failed for good: attempts under way may end.
    Failed,
    /// A person or a rule stopped it: attempts under way are told to end.
    Cancelled,
    /// Its deadline passed: the same.
    TimedOut,
}

impl Closing {
    /// The state in which the run then ends.
    pub const fn run_status(self) -> RunStatus {
        match self {
            Self::Failed => RunStatus::Failed,
            Self::Cancelled => RunStatus::Cancelled,
            Self::TimedOut => RunStatus::TimedOut,
        }
    }
}

/// What a run can be told.
#[expect(clippy::large_enum_variant, reason = "most of what a run is told are reports")]
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin: the run was accepted, and no limit holds it.
    Begin,
    /// It was accepted, and a limit of its flow holds it: it begins when it is told to.
    Hold,
    /// Slots are free for these entries of its partition's queue.
    Start {
        steps: Vec<StepNo>,
    },
    /// An attempt ended.
    AttemptEnded {
        step: StepNo,
        attempt: u32,
        report: AttemptReport,
    },
    /// Something is due.
    Wake,
    /// A person agreed: to the run (`step: None`) or to one step.
    Approve {
        step: Option<StepNo>,
        by: UserId,
    },
    /// A person refused.
    Reject {
        step: Option<StepNo>,
        by: UserId,
    },
    /// Stop it.
    Cancel {
        reason: String,
    },
    /// Stop one step; those that depend on it are skipped.
    CancelStep {
        step: StepNo,
    },
    /// Start nothing more until resumed.
    Pause {
        by: Arc<str>,
    },
    Resume,
    /// Take a run up again that has failed or was cancelled: all its steps that did not do what they should, or this one
    /// and what depends on it.
    Retry {
        step: Option<StepNo>,
    },
    /// The same, but a limit of its flow holds it: it goes on when it is told to begin.
    RetryHeld {
        step: Option<StepNo>,
    },
    /// Do not wait for the step's time.
    RunNow {
        step: StepNo,
    },
    /// It was loaded: of its steps these are known to be under way here; the others' attempts have an unknown outcome.
    Recover {
        under_way: Vec<StepNo>,
    },
    /// It has killed its actor again and again: end it, with the last failure's text.
    Quarantine {
        failure: String,
    },
}

/// How an attempt ended, as its executor reports.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    pub outcome: Outcome,
    /// What was sent, with secrets redacted: what the log keeps.
    pub payload: Json,
    pub started_at_ms: i64,
    pub completed_at_ms: i64,
    /// By the monotonic clock.
    pub duration_ms: i64,
    pub http: Option<HttpFigures>,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Completed(Json),
    Failed(Failure),
    /// It was told to end, and did.
    Cancelled,
}

/// A fact about a run, once committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    RunAwaitsApproval,
    RunStarted {
        at_ms: i64,
    },
    RunPaused {
        by: Arc<str>,
    },
    RunResumed,
    /// A person takes it up again after its end.
    RunReopened,
    /// A limit of its flow holds it: nothing of it starts until it begins.
    RunHeld,
    /// The step is as if it had never been released, but for the attempts that the log has of it.
    StepReset {
        step: StepNo,
    },
    RunClosing {
        closing: Closing,
        error: String,
    },
    RunEnded {
        status: RunStatus,
        error: Option<String>,
        at_ms: i64,
    },
    /// Its inputs are satisfied; it waits for its time, a slot or a person.
    StepReleased {
        step: StepNo,
        status: StepStatus,
        live: step::Live,
    },
    /// It stays where it is, with this.
    StepAdjusted {
        step: StepNo,
        live: step::Live,
    },
    StepStarted {
        step: StepNo,
        attempt: u32,
        at_ms: i64,
        epoch: i64,
    },
    StepRetrying {
        step: StepNo,
        next_attempt: u32,
        due_at_ms: i64,
    },
    /// Its outcome is unknown and a person must say what to do.
    StepParked {
        step: StepNo,
        next_attempt: u32,
    },
    StepEnded {
        step: StepNo,
        status: StepStatus,
    },
    /// An approval is wanted, or was given or refused.
    ApprovalRequested {
        step: Option<StepNo>,
    },
    ApprovalDecided {
        step: Option<StepNo>,
        approved: bool,
        by: UserId,
    },
    AttemptLogged(Box<LogEntry>),
}

/// What must happen once the changes are committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    StartAttempt {
        step: StepNo,
        attempt: u32,
        payload: Json,
    },
    CancelAttempt {
        step: StepNo,
        attempt: u32,
    },
    /// The step may start when a slot is free; smallest order first.
    Enqueue {
        step: StepNo,
        order: i64,
    },
}

/// What a command leads to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub effects: Vec<Effect>,
    /// How many of the granted slots were not used.
    pub unused_slots: usize,
}

/// Why a command does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the run has ended ({0}): nothing about it can change any more")]
    Ended(RunStatus),
    #[error("the run is {0}: {1}")]
    RunNotNow(RunStatus, &'static str),
    #[error("step {0} is {1}: {2}")]
    StepNotNow(StepNo, crate::words::ExecutionStatus, &'static str),
    #[error("step {0} is {1}: it does not wait for an approval")]
    NotAwaitingApproval(StepNo, crate::words::ExecutionStatus),
    #[error("the run has no step {0}")]
    NoSuchStep(StepNo),
}

impl Run {
    /// A run that was accepted and has not begun.
    pub fn new(header: Arc<RunHeader>, plan: Arc<FlowPlan>) -> Self {
        let steps = vec![Step::BLOCKED; plan.steps.len()];
        let state = RunState {
            status: RunStatus::Pending,
            steps,
            closing: None,
            error: None,
            started_at_ms: None,
            completed_at_ms: None,
            paused_by: None,
            reopened: 0,
        };
        Self { header, plan, state, results: Arc::default(), attempts: BTreeMap::new() }
    }

    /// A run as it was stored. `log` holds the final attempts of its ended steps.
    pub fn rehydrate(header: Arc<RunHeader>, plan: Arc<FlowPlan>, state: RunState, log: &[LastAttempt]) -> Self {
        let mut run = Self { header, plan, state, results: Arc::default(), attempts: BTreeMap::new() };
        run.attempts.extend(log.iter().map(|a| (a.step, a.attempt + 1)));
        let attempts: BTreeMap<StepNo, &LastAttempt> = log.iter().map(|a| (a.step, a)).collect();
        for no in 0..run.state.steps.len() as StepNo {
            if run.state.steps[no as usize].status.is_terminal() {
                // The last attempt of a step that ended otherwise may be one from before it was taken up again.
                let has_outcome = run.state.steps[no as usize].status.has_outcome();
                let found = attempts.get(&no).filter(|a| a.is_final && has_outcome);
                run.remember(no, found.and_then(|a| a.result.clone()), found.and_then(|a| a.error.as_deref()));
            }
        }
        run
    }

    /// Keeps what an ended step gave, for the expressions of those after it.
    fn remember(&mut self, step: StepNo, output: Option<Json>, error: Option<&str>) {
        let view = StepView {
            status: self.state.steps[step as usize].status.execution_status().as_str(),
            output: output.unwrap_or_else(|| Arc::new(Value::Null)),
            error: error.map(Into::into),
        };
        Arc::make_mut(&mut self.results).insert(self.plan.steps[step as usize].id.clone(), view);
    }
}

/// What loading a run needs of the log: the last attempt of a step that it has.
#[derive(Debug, Clone, PartialEq)]
pub struct LastAttempt {
    pub step: StepNo,
    /// Its number, from 0.
    pub attempt: u32,
    /// Whether the step ended with it; only then do result and error matter.
    pub is_final: bool,
    pub result: Option<Json>,
    pub error: Option<String>,
}
