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
mod cache;
mod change;
mod chunks;
mod command;
mod decide;
mod fallback;
mod header;
mod inner;
mod intervene;
mod keys;
mod people;
mod phases;
mod place;
mod play;
mod release;
mod results;
mod reuse;
mod rollback;
mod rounds;
mod saved;
mod state;
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

pub use cache::{CacheKey, Cached};
pub use change::{Change, Decision, Effect};
pub use command::{AttemptReport, Command, OnDuty, Outcome, Refusal, RequestName, SubRunNews, UndoWay, Voter};
pub use decide::{GatedNames, Grant};
pub use header::{FlowRef, RunHeader, known_types, matching_scope, on_behalf, starters};
pub use keys::IdempotencyKey;
pub use phases::{PhaseMove, PhaseState};
pub use place::{Frame, Place, PlanRef, Ranges};
pub use play::Ending;
pub use results::{Bounds, Kept};
pub use reuse::{NoReuse, Reuse, Reused, ReusedOutcome};
pub use rollback::RollbackState;
pub use saved::{SavedState, StateError};
pub use timing::Timing;
pub use why::{Reason, Waiting};

use crate::Json;
use crate::expr::{Output, Shelf, StepView};
use crate::ids::{ExecutionId, StepNo, UserId};
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
    pub results: Arc<Results>,
    /// How many attempts the log has of each step that had one: a step that is retried goes on from there.
    pub attempts: chunks::Chunks<u32>,
    /// The same of the steps of each round that is under way, by its frame and number.
    rounds: BTreeMap<(StepNo, u32), Arc<Results>>,
    /// What each loop goes over, by its frame.
    items: BTreeMap<StepNo, Arc<Vec<Json>>>,
    /// What the rounds that are over have given, by frame.
    given: BTreeMap<StepNo, rounds::Given>,
    /// How much it may hold of all that.
    bounds: Bounds,
    /// The large results among them that are at hand.
    at_hand: results::AtHand,
    /// The ids of executions that expressions name, by their steps.
    executions: Option<Arc<BTreeMap<Arc<str>, Box<str>>>>,
    /// What was looked for and is not.
    shelf: Arc<Shelf>,
    cache: cache::Cache,
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
    /// What they filled in.
    pub forms: BTreeMap<StepNo, BTreeMap<UserId, Json>>,
    /// Signals that came before anything waited for them, oldest first.
    pub signals: Vec<(Arc<str>, Json)>,
    /// What was told it under a name of the caller's own, the newest last.
    pub named: Vec<RequestName>,
    /// The keys of the events that steps wait for.
    pub event_keys: BTreeMap<StepNo, String>,
    /// Steps that can be taken back and had an attempt whose outcome is not known.
    pub unknown: BTreeSet<StepNo>,
    pub phase: PhaseState,
    /// The steps that belong to no phase, by the one as of which they count: with it they are taken back and done again.
    pub joined: BTreeMap<u32, Ranges>,
    pub rollback: Option<RollbackState>,
    /// What a `stop` step has given.
    pub output: Option<Json>,
    /// What steps that have ended sent in place of their ids, should they be done again. Of rounds only what may be made again.
    pub keys: BTreeMap<StepNo, IdempotencyKey>,
    /// The steps of the plan that a rollback has taken back which may do them again, with the number of the last, from 1.
    pub taken_back: BTreeMap<StepNo, u32>,
    /// Steps whose outcomes it took over from the run that it repeats: it did not do them, and does not take them back.
    pub reused: Ranges,
    /// How the run will end once the attempts under way have.
    pub closing: Option<Closing>,
    /// Why it ended, or will end, badly.
    pub error: Option<String>,
    pub started_at_ms: Option<i64>,
    pub completed_at_ms: Option<i64>,
    /// Who paused it, while it is paused.
    pub paused_by: Option<Arc<str>>,
    /// How often a person took it up again after its end, or after a failure that paused it.
    pub reopened: u32,
    /// Before it begins: it gathers further triggers of its key.
    pub is_gathering: bool,
    /// It was paused before it began: its resume asks for its turn, as its accept did.
    pub is_aside: bool,
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

    /// How many steps stand in the queue of their partition.
    pub fn queued(&self) -> u32 {
        self.all().filter(|(_, step)| step.live.as_deref().is_some_and(|live| live.queued)).count() as u32
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

impl Run {
    /// A run that was accepted and has not begun.
    pub fn new(header: Arc<RunHeader>, plan: Arc<FlowPlan>) -> Self {
        let steps = vec![Step::BLOCKED; plan.fixed];
        Self::of_state(header, plan, RunState { steps, ..RunState::default() })
    }

    fn of_state(header: Arc<RunHeader>, plan: Arc<FlowPlan>, state: RunState) -> Self {
        let named =
            plan.executions.iter().map(|(step, no)| (step.clone(), header.id.execution(*no).to_string().into()));
        let executions = (!plan.executions.is_empty()).then(|| Arc::new(named.collect()));
        Self {
            header,
            plan,
            state,
            results: Arc::default(),
            attempts: chunks::Chunks::default(),
            rounds: BTreeMap::new(),
            items: BTreeMap::new(),
            given: BTreeMap::new(),
            bounds: Bounds::default(),
            at_hand: results::AtHand::default(),
            executions,
            shelf: Arc::default(),
            cache: cache::Cache::default(),
        }
    }

    /// A run of which nothing but its state is asked: why it waits, and whether that is as it should be.
    pub fn without_results(header: Arc<RunHeader>, plan: Arc<FlowPlan>, state: RunState) -> Self {
        Self::of_state(header, plan, state)
    }

    /// A run as it was stored. `log` holds the final attempts of its ended steps, and what it took over.
    pub fn rehydrate(header: Arc<RunHeader>, plan: Arc<FlowPlan>, state: RunState, log: &[LastAttempt]) -> Self {
        let mut run = Self::of_state(header, plan, state);
        let own = log.iter().filter(|last| last.reused_from.is_none());
        for last in own {
            run.attempts.put(last.step, last.attempt + 1);
        }
        // A step that was taken over and done again all the same has both.
        let counts = |last: &&LastAttempt| last.reused_from.is_some() == run.state.reused.contains(last.step);
        let attempts: BTreeMap<StepNo, &LastAttempt> = log.iter().filter(counts).map(|a| (a.step, a)).collect();
        for no in 0..run.state.steps.len() as StepNo {
            if run.state.steps[no as usize].status.is_terminal() {
                // The last attempt of a step that ended otherwise may be one from before it was taken up again.
                let has_outcome = run.state.steps[no as usize].status.has_outcome();
                let found = attempts.get(&no).filter(|a| a.is_final && has_outcome);
                let output = found.and_then(|a| a.result.as_ref()).map(|kept| run.output_of(no, kept));
                run.remember(no, output, found.and_then(|a| a.error.as_deref()));
            }
        }
        run.restore_rounds(&attempts);
        run
    }

    /// What the run gives: what a `stop` step said, or what the last step that completed gave.
    pub fn output(&self) -> Output {
        let stopped = self.state.output.clone().map(Output::Here);
        let last = (0..self.plan.fixed).rev().filter(|no| self.plan.steps[*no].parent.is_none());
        let mut completed = last.filter(|no| self.state.steps[*no].status == StepStatus::Completed);
        let given = completed.next().and_then(|no| self.results.get(&self.plan.steps[no].id));
        stopped.or_else(|| given.map(|view| view.output.clone())).unwrap_or_default()
    }

    /// Keeps what an ended step gave, for the expressions of those after it.
    fn remember(&mut self, step: StepNo, output: Option<Output>, error: Option<&str>) {
        let status = self.state.get(step).map_or(StepStatus::Blocked, |s| s.status);
        let output = output.unwrap_or_default();
        self.note_size(step, &output);
        let view = StepView { status: status.execution_status().as_str(), output, error: error.map(Into::into) };
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

/// What loading a run needs of a step: the last attempt that the log has, or the outcome that the run took over.
#[derive(Debug, Clone, PartialEq)]
pub struct LastAttempt {
    pub step: StepNo,
    /// Its number, from 0; of what was taken over always 0.
    pub attempt: u32,
    /// Whether the step ended with it; only then do result and error matter.
    pub is_final: bool,
    pub result: Option<Kept>,
    pub error: Option<String>,
    /// The execution of another run that did it.
    pub reused_from: Option<ExecutionId>,
}
