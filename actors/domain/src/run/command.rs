//! What a run can be told, by whom, and why it does not do it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Json;
use crate::ids::{RowId, RunId, StepNo, UserId};
use crate::limits::Brought;
use crate::log::{Failure, HttpFigures};
use crate::plan::Problem;
use crate::words::{Role, RunStatus};

/// A caller's own name for what it tells a run, and what it tells: digests of both, so that a run can keep many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestName {
    #[serde(rename = "k")]
    pub key: Arc<str>,
    #[serde(rename = "b")]
    pub body: Arc<str>,
}

/// What a run can be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin: the run was accepted, and no limit holds it.
    Begin,
    /// It was accepted, and a limit of its flow holds it: it begins when it is told to.
    Hold,
    /// It was accepted, and gathers further triggers of its key: it begins when it is told what they brought.
    Gather,
    /// It gathers no more: this is what came after its first trigger, in the order in which it came.
    Gathered {
        brought: Arc<Vec<Brought>>,
    },
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
        by: Voter,
    },
    /// A person refused.
    Reject {
        step: Option<StepNo>,
        by: Voter,
    },
    /// A signal for whatever waits for it, now or later.
    Signal {
        name: Arc<str>,
        payload: Json,
        /// The caller's own name for it: told again under the same one, it counts once.
        request: Option<RequestName>,
    },
    /// An event of the key that a step waits for.
    Event {
        step: StepNo,
        /// The event's own, for what is stored of it.
        id: RowId,
        event: Json,
    },
    /// The run that a step started was accepted, or has ended.
    SubRun {
        step: StepNo,
        news: SubRunNews,
    },
    /// Take back all that it did, now that it has ended badly.
    Rollback,
    /// Try again to take a step back; it is not to be taken back, or was by hand.
    Undo {
        way: UndoWay,
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

/// Somebody who decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Voter {
    pub user: UserId,
    pub role: Role,
    pub notes: Option<Arc<str>>,
    /// What they filled in; null: nothing.
    pub form: Json,
    /// Who is on call at this moment, on the schedules that the step names.
    pub on_duty: Arc<[OnDuty]>,
}

/// Who is on call on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDuty {
    /// Its name.
    pub schedule: String,
    /// Or why nobody is.
    pub who: Result<UserId, String>,
}

impl std::fmt::Display for OnDuty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.who {
            Ok(user) => write!(f, "user:{user} is on call in '{}'", self.schedule),
            Err(why) => f.write_str(why),
        }
    }
}

/// What is heard of a run that a step started.
#[derive(Debug, Clone, PartialEq)]
pub enum SubRunNews {
    Accepted {
        run: RunId,
        /// By which attempt of the step it was asked for.
        attempt: u32,
    },
    Ended {
        run: RunId,
        status: RunStatus,
        output: Json,
        error: Option<String>,
    },
    /// It could not be started, and will not be.
    Refused {
        attempt: u32,
        message: String,
    },
    /// Nothing is known of it any more.
    Gone {
        run: RunId,
    },
}

/// What to do about an undo that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoWay {
    Retry,
    /// Leave the step as it is.
    Skip {
        reason: String,
    },
    /// A person has taken it back.
    Done,
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
    /// Pointers lead into what was filled in.
    #[error("what was filled in for step {0} has {len} problem(s), the first at '{at}': {what}", len = .1.len(), at = .1[0].pointer, what = .1[0].message)]
    BadForm(StepNo, Vec<Problem>),
    #[error("step {0} waits for others to decide: {1}")]
    NotYours(StepNo, String),
    #[error("the run keeps {0} signals that nothing has waited for; it takes no more")]
    TooManySignals(usize),
    #[error("no undo of the run has failed: there is nothing to settle")]
    NoFailedUndo,
    #[error("this idempotency key was used for another request: use a new key")]
    KeyReused,
}
