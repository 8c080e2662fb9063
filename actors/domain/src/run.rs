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
mod inner;
mod intervene;
mod people;
mod phases;
mod place;
mod release;
mod rollback;
mod rounds;
mod saved;
pub mod step;
mod timing;
mod values;
mod waits;
mod wake;
mod why;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use decide::Grant;
pub use header::{FlowRef, RunHeader, known_types, matching_scope};
pub use phases::{PhaseMove, PhaseState};
pub use place::{Frame, Place, PlanRef, Ranges};
pub use rollback::RollbackState;
pub use saved::{SavedState, StateError};
pub use timing::Timing;
pub use why::{Reason, Waiting};

use crate::Json;
use crate::expr::StepView;
use crate::ids::{RunId, StepNo, UserId};
use crate::log::{Failure, HttpFigures, LogEntry};
use crate::plan::FlowPlan;
use crate::words::{Role, RunStatus};
use step::{Step, StepStatus};

/// A run in memory: what never changes, what changes, and what its steps have given so far.
#[derive(Debug, Clone)]
pub struct Run {
    pub header: Arc<RunHeader>,
    pub plan: Arc<FlowPlan>,
    pub state: RunState,
    /// Of the steps that have ended, for expressions. Rebuilt from the log when the run is loaded.
    pub results: Arc<Results>,
    /// How many attempts the log has of each step that had one: a step that is retried goes on from there.
    pub attempts: BTreeMap<StepNo, u32>,
    /// The same of the steps of each round that is under way, by its frame and number.
    rounds: BTreeMap<(StepNo, u32), Arc<Results>>,
    /// What each loop goes over, by its frame.
    items: BTreeMap<StepNo, Arc<Vec<Json>>>,
    /// What the rounds that are over have given, by frame.
    given: BTreeMap<StepNo, rounds::Given>,
}

/// What steps have come to, by their ids.
pub type Results = BTreeMap<Arc<str>, StepView>;

/// What of a run changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunState {
    pub status: RunStatus,
    /// The steps of the flow, by their numbers.
    pub steps: Vec<Step>,
    /// Executions past the end of the plan: those of rounds under way, and those that take steps back.
    pub loose: BTreeMap<StepNo, Step>,
    /// The numbers that were given out past the end of the plan, each by its first.
    pub frames: BTreeMap<StepNo, Frame>,
    /// What `set` steps have set; null: nothing.
    pub vars: Json,
    /// Who has agreed so far, of each approval that needs several.
    pub votes: BTreeMap<StepNo, Vec<UserId>>,
    /// Signals that came before anything waited for them, oldest first.
    pub signals: Vec<(Arc<str>, Json)>,
    /// Steps that can be taken back and had an attempt whose outcome is not known.
    pub unknown: BTreeSet<StepNo>,
    pub phase: PhaseState,
    pub rollback: Option<RollbackState>,
    /// What a `stop` step has given.
    pub output: Option<Json>,
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

impl RunState {
    /// An execution; `None` where it has not begun to exist, or does not any more.
    pub fn get(&self, no: StepNo) -> Option<&Step> {
        self.steps.get(no as usize).or_else(|| self.loose.get(&no))
    }

    pub(super) fn get_mut(&mut self, no: StepNo) -> Option<&mut Step> {
        if (no as usize) < self.steps.len() { self.steps.get_mut(no as usize) } else { self.loose.get_mut(&no) }
    }

    /// Every execution that there is, by its number.
    pub fn all(&self) -> impl Iterator<Item = (StepNo, &Step)> {
        (0..).zip(&self.steps).chain(self.loose.iter().map(|(no, step)| (*no, step)))
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> Vec<StepNo> {
        self.all().map(|(no, _)| no).collect()
    }
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
    /// A `stop` step ended it well: attempts under way are told to end.
    Stopped,
    /// A `stop` step ended it badly: the same.
    StoppedFailed,
    /// A `stop` step cancelled it: the same.
    StoppedCancelled,
}

impl Closing {
    /// The state in which the run then ends.
    pub const fn run_status(self) -> RunStatus {
        match self {
            Self::Stopped => RunStatus::Completed,
            Self::Failed | Self::StoppedFailed => RunStatus::Failed,
            Self::Cancelled | Self::StoppedCancelled => RunStatus::Cancelled,
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
    },
    /// An event of the key that a step waits for.
    Event {
        step: StepNo,
        event: Json,
    },
    /// The run that a step started was accepted, or has ended.
    SubRun {
        step: StepNo,
        news: SubRunNews,
    },
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
}

/// What is heard of a run that a step started.
#[derive(Debug, Clone, PartialEq)]
pub enum SubRunNews {
    Accepted {
        run: RunId,
    },
    Ended {
        run: RunId,
        status: RunStatus,
        output: Json,
        error: Option<String>,
    },
    /// It could not be started, and will not be.
    Refused {
        message: String,
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
    /// It has begun and waits, without an attempt.
    StepWaiting {
        step: StepNo,
        live: step::Live,
    },
    /// It waits for an event of this key.
    WaitOpened {
        step: StepNo,
        kind: Arc<str>,
        key: String,
    },
    /// It waits for no event any more.
    WaitClosed {
        step: StepNo,
    },
    /// A loop has its numbers, and what it goes over.
    LoopOpened {
        base: StepNo,
        owner: StepNo,
        rounds: u32,
        released_at_ms: i64,
        items: Arc<Vec<Json>>,
    },
    /// What a loop did was taken back.
    LoopDropped {
        base: StepNo,
    },
    /// A loop that failed is to make its bad rounds again.
    LoopReopened {
        base: StepNo,
    },
    RoundOpened {
        base: StepNo,
        round: u32,
    },
    RoundClosed {
        base: StepNo,
        round: u32,
        is_bad: bool,
        output: Json,
    },
    VarsSet {
        values: Json,
    },
    Voted {
        step: StepNo,
        by: UserId,
    },
    SignalKept {
        name: Arc<str>,
        payload: Json,
    },
    SignalTaken {
        name: Arc<str>,
    },
    PhaseMoved(Box<PhaseMove>),
    /// What was done after this phase is taken back: these executions, in this order.
    RollbackBegan {
        base: StepNo,
        targets: Vec<StepNo>,
        to_phase: u32,
        error: String,
    },
    /// The next of them begins.
    UndoOpened {
        step: StepNo,
    },
    /// A person has settled an undo that had failed: the run is taken up again.
    UndoSettled {
        step: StepNo,
        way: UndoWay,
    },
    RollbackEnded {
        to_phase: u32,
        retries: bool,
    },
    OutputSet {
        output: Json,
    },
}

/// What must happen once the changes are committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    StartAttempt {
        step: StepNo,
        attempt: u32,
        payload: Json,
        /// What the attempt does.
        part: PlanRef,
    },
    /// A step starts another flow; done again, it finds the run that it started.
    StartRun {
        step: StepNo,
        /// The run, where the step has heard of it before.
        known: Option<RunId>,
        input: Json,
        part: PlanRef,
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
    #[error("step {0} waits for others to decide: {1}")]
    NotYours(StepNo, String),
    #[error("the run keeps {0} signals that nothing has waited for; it takes no more")]
    TooManySignals(usize),
    #[error("no undo of the run has failed: there is nothing to settle")]
    NoFailedUndo,
}

impl Run {
    /// A run that was accepted and has not begun.
    pub fn new(header: Arc<RunHeader>, plan: Arc<FlowPlan>) -> Self {
        let steps = vec![Step::BLOCKED; plan.fixed];
        Self::of_state(header, plan, RunState { steps, ..RunState::default() })
    }

    fn of_state(header: Arc<RunHeader>, plan: Arc<FlowPlan>, state: RunState) -> Self {
        Self {
            header,
            plan,
            state,
            results: Arc::default(),
            attempts: BTreeMap::new(),
            rounds: BTreeMap::new(),
            items: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// A run as it was stored. `log` holds the final attempts of its ended steps.
    pub fn rehydrate(header: Arc<RunHeader>, plan: Arc<FlowPlan>, state: RunState, log: &[LastAttempt]) -> Self {
        let mut run = Self::of_state(header, plan, state);
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
        run.restore_rounds(&attempts);
        run
    }

    /// What the run gives: what a `stop` step said, or what the last step that completed gave.
    pub fn output(&self) -> Json {
        let stopped = self.state.output.clone();
        let last = (0..self.plan.fixed).rev().filter(|no| self.plan.steps[*no].parent.is_none());
        let mut completed = last.filter(|no| self.state.steps[*no].status == StepStatus::Completed);
        let given = completed.next().and_then(|no| self.results.get(&self.plan.steps[no].id));
        stopped.or_else(|| given.map(|view| view.output.clone())).unwrap_or_default()
    }

    /// Keeps what an ended step gave, for the expressions of those after it.
    fn remember(&mut self, step: StepNo, output: Option<Json>, error: Option<&str>) {
        let status = self.state.get(step).map_or(StepStatus::Blocked, |s| s.status);
        let view = StepView {
            status: status.execution_status().as_str(),
            output: output.unwrap_or_else(|| Arc::new(Value::Null)),
            error: error.map(Into::into),
        };
        if let Some((results, id)) = self.results_of(step) {
            results.insert(id, view);
        }
    }

    /// Where the results of an execution are kept, and under which id. Those of undos are the log's alone.
    fn results_of(&mut self, step: StepNo) -> Option<(&mut Results, Arc<str>)> {
        match self.state.place(&self.plan, step)? {
            Place::Fixed(no) => Some((Arc::make_mut(&mut self.results), self.plan.steps[no as usize].id.clone())),
            Place::Round { base, round, plan } => {
                let results = Arc::make_mut(self.rounds.entry((base, round)).or_default());
                Some((results, self.plan.steps[plan as usize].id.clone()))
            }
            Place::Undo { .. } => None,
        }
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
