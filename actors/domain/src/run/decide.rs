//! Decisions: from a command to changes and effects.
//!
//! A decider works on a draft of the run, so that a decision may cascade (a step ends, its dependents are released,
//! one is skipped, its dependents follow) while the run itself stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::step::{Live, Step, StepStatus};
use super::{Change, Closing, Command, Decision, Effect, Place, Refusal, Run, RunState};
use crate::dispatch::Credits;
use crate::ids::StepNo;
use crate::limits::{Brought, Limits};
use crate::plan::{RollbackTo, StepPlan};
use crate::retry::RetryPolicy;
use crate::words::{OnError, OnErrorAction, RunStatus};

/// What a decision may use up and must know of its surroundings.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// Slots that are free: as many released steps start at once.
    pub slots: usize,
    /// The epoch of the node that decides.
    pub epoch: i64,
    pub credits: &'a Credits,
    /// The tenant's integrations, where it has any.
    pub gates: Option<&'a GatedNames>,
}

/// The names of a tenant's integrations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GatedNames {
    pub all: BTreeSet<Arc<str>>,
    /// Those that let no call start unasked: the entry waits for its pass in the queue, whatever slots are free.
    pub shut: BTreeSet<Arc<str>>,
    /// How a failed action is tried again whose document does not say, of those that do.
    pub retries: BTreeMap<Arc<str>, RetryPolicy>,
    /// Every action asks before it starts: how many of the tenant's, or of all, go at once is bounded.
    pub asks_all: bool,
}

/// How a step is tried again: as its document says, else as the integration that it names, else as the defaults say.
pub(super) fn retry_of<'a>(plan: &'a StepPlan, gates: Option<&'a GatedNames>) -> &'a RetryPolicy {
    let of_integration = gates.filter(|_| !plan.retry_is_own).and_then(|gates| gates.retries.get(&plan.action_target));
    of_integration.unwrap_or(&plan.retry)
}

/// A decision in the making.
pub(super) struct Decider<'a> {
    pub(super) draft: Run,
    pub(super) decision: Decision,
    pub(super) grant: Grant<'a>,
    pub(super) now_ms: i64,
    /// Ended steps whose dependents have not been looked at.
    pub(super) unsettled: Vec<StepNo>,
    /// The entry of the queue that has come up: it was asked for.
    pub(super) claimed: Option<StepNo>,
    /// How many rounds this decision has opened: more than a few wait for the next, so that no commit grows without
    /// bound.
    pub(super) rounds_opened: u32,
    /// Bytes that this decision has rendered.
    pub(super) rendered_bytes: usize,
}

impl Run {
    /// What the command leads to. Changes nothing. Where it names results that are not in memory, they are all that the
    /// decision says.
    pub fn decide(&self, command: &Command, grant: Grant<'_>, now_ms: i64) -> Result<Decision, Refusal> {
        let decided = self.decide_at_hand(command, grant, now_ms);
        let wanted = self.take_wanted();
        let looks_up = decided.as_ref().map(|decision| decision.looks_up.clone()).unwrap_or_default();
        if wanted.is_empty() && looks_up.is_empty() {
            return decided;
        }
        Ok(Decision { wanted, looks_up, unused_slots: grant.slots, ..Decision::default() })
    }

    fn decide_at_hand(&self, command: &Command, grant: Grant<'_>, now_ms: i64) -> Result<Decision, Refusal> {
        if self.state.status.is_terminal() {
            return match command {
                // An end that was reported twice, a timer that was too late: nothing to do.
                Command::Begin
                | Command::Hold
                | Command::Gather
                | Command::Gathered { .. }
                | Command::AttemptEnded { .. }
                | Command::Wake
                | Command::Start { .. }
                | Command::Event { .. }
                | Command::SubRun { .. }
                | Command::Recover { .. } => Ok(Decision { unused_slots: grant.slots, ..Decision::default() }),
                // It was heard before the end. What is stored again is answered once all before it is stored.
                Command::Signal { request: Some(request), .. } if self.state.has_heard(request)? => {
                    let changes = vec![Change::SignalNamed(request.clone())];
                    Ok(Decision { changes, unused_slots: grant.slots, ..Decision::default() })
                }
                Command::Retry { step } => self.reopen(*step, false, grant, now_ms),
                Command::RetryHeld { step } => self.reopen(*step, true, grant, now_ms),
                Command::Rollback => self.roll_back(grant, now_ms),
                Command::Undo { way } => self.settle_undo(way, grant, now_ms),
                _ => Err(Refusal::Ended(self.state.status)),
            };
        }
        let mut decider = Decider::new(self, grant, now_ms);
        decider.command(command)?;
        Ok(decider.decided(self))
    }
}

impl<'a> Decider<'a> {
    pub(super) fn new(run: &Run, grant: Grant<'a>, now_ms: i64) -> Self {
        let decision = Decision { unused_slots: grant.slots, ..Decision::default() };
        Self {
            draft: run.clone(),
            decision,
            grant,
            now_ms,
            unsettled: Vec::new(),
            claimed: None,
            rounds_opened: 0,
            rendered_bytes: 0,
        }
    }

    /// Follows what the command did to its end.
    pub(super) fn decided(mut self, before: &Run) -> Decision {
        self.start_due();
        self.settle();
        self.finish();
        self.decision.bytes = self.rendered_bytes;
        debug_assert!(self.agrees_with(before), "changes and effects must say all that the draft did");
        self.decision
    }
}

impl Decider<'_> {
    /// Whether whoever applies the decision arrives where the draft is.
    fn agrees_with(&self, before: &Run) -> bool {
        let mut after = before.clone();
        after.apply(&self.decision);
        after.state == self.draft.state
    }

    fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Begin => self.begin(),
            Command::Hold => {}
            Command::Gather if self.state().is_gathering => {}
            Command::Gather => self.emit(Change::RunGathers),
            Command::Gathered { brought } => self.gathered(brought),
            Command::Start { steps } => steps.iter().for_each(|no| self.claim(*no)),
            Command::AttemptEnded { step, attempt, report } => self.attempt_ended(*step, *attempt, report),
            Command::Wake => self.wake(),
            Command::Approve { step, by } => self.approval(*step, true, by)?,
            Command::Reject { step, by } => self.approval(*step, false, by)?,
            Command::Signal { name, payload, request } => self.signal(name, payload, request.as_ref())?,
            Command::Event { step, id, event } => self.event(*step, *id, event),
            Command::SubRun { step, news } => self.sub_run(*step, news),
            Command::Cancel { reason } => self.close(Closing::Cancelled, reason),
            Command::CancelStep { step } => self.cancel_step(*step)?,
            Command::Pause { by } => self.pause(by)?,
            Command::RunNow { step } => self.run_now(*step)?,
            Command::Retry { step } => self.retry_paused(*step)?,
            Command::Rollback => {
                return Err(Refusal::RunNotNow(self.state().status, "only a run that has ended badly is rolled back"));
            }
            Command::Undo { .. } => return Err(Refusal::NoFailedUndo),
            Command::RetryHeld { .. } => {
                return Err(Refusal::RunNotNow(self.state().status, "only a run that has ended badly is retried"));
            }
            Command::Resume => self.resume()?,
            Command::Recover { under_way } => self.recover(under_way),
            Command::Quarantine { failure } => self.quarantine(failure),
        }
        Ok(())
    }

    pub(super) fn state(&self) -> &RunState {
        &self.draft.state
    }

    pub(super) fn plan(&self, no: StepNo) -> &StepPlan {
        self.draft.step_plan(no)
    }

    /// Where an execution stands. One that is gone with its round has ended, one way or another.
    pub(super) fn status(&self, no: StepNo) -> StepStatus {
        self.draft.state.get(no).map_or(StepStatus::Cancelled, |step| step.status)
    }

    pub(super) fn live(&self, no: StepNo) -> Live {
        self.draft.state.get(no).and_then(|step| step.live.as_deref()).copied().unwrap_or_default()
    }

    pub(super) fn emit(&mut self, change: Change) {
        self.draft.apply_change(&change);
        self.decision.changes.push(change);
    }

    fn begin(&mut self) {
        if self.state().is_aside {
            // Its turn came while it was being paused: the place that was kept for it is another's.
            return self.emit(Change::RunStepsAside);
        }
        if self.state().status != RunStatus::Pending || self.state().is_gathering {
            return;
        }
        if self.state().started_at_ms.is_some() {
            // It was taken up again and held: its steps have been released, and waited for this.
            self.emit(Change::RunResumed);
            self.wake();
        } else if self.draft.header.needs_approval(&self.draft.plan) {
            self.emit(Change::RunAwaitsApproval);
            self.emit(Change::ApprovalRequested { step: None });
        } else {
            self.run_started();
        }
    }

    /// What came after the first trigger becomes part of the run's own.
    fn gathered(&mut self, brought: &[Brought]) {
        let terms = self.draft.plan.limits.as_ref().and_then(Limits::terms);
        if let Some(terms) = terms.filter(|_| self.state().is_gathering) {
            let (header, deadline_ms) = (&self.draft.header, self.draft.plan.deadline_ms);
            let header = Arc::new(Brought::gathered(header, terms, brought, self.now_ms, deadline_ms));
            self.emit(Change::RunGathered { header });
            if self.state().is_aside {
                // What it is now takes no place either.
                self.emit(Change::RunStepsAside);
            }
        }
    }

    pub(super) fn run_started(&mut self) {
        self.emit(Change::RunStarted { at_ms: self.now_ms });
        let takes_over = !self.state().reused.is_empty();
        if let Some(phase) = if takes_over { self.draft.first_phase() } else { Some(1) } {
            self.enter_phase(phase);
        }
        for no in 0..self.state().steps.len() as StepNo {
            // A step that fails at once may have cancelled those after it.
            let plan = &self.draft.plan.steps[no as usize];
            if plan.parent.is_none() && (plan.inputs.is_empty() || takes_over) {
                self.release_if_ready(no);
            }
        }
    }

    /// A slot is free for an entry of the queue. An entry that the run did not ask for is old news.
    fn claim(&mut self, no: StepNo) {
        let Some(step) = self.state().get(no) else { return };
        let waits = matches!(step.status, StepStatus::Pending | StepStatus::Retrying);
        // What was queued was due then, whatever a clock that was set back says now.
        let ready = |live: &Live| live.queued || live.due_at_ms.is_some_and(|at| at <= self.now_ms);
        if waits && step.live.as_deref().is_some_and(ready) {
            self.claimed = Some(no);
            self.start_or_queue(no);
            self.claimed = None;
        }
    }

    /// Looks at the dependents of every step that has ended, at theirs, and at the steps in which they stand.
    pub(super) fn settle(&mut self) {
        while let Some(no) = self.unsettled.pop() {
            if self.state().get(no).is_none() {
                continue;
            }
            if let Place::Undo { base, .. } = self.draft.place(no) {
                self.undone(base, no);
                continue;
            }
            let dependents = self.draft.all_beside(no, &self.plan(no).dependents);
            dependents.into_iter().for_each(|dependent| self.release_if_ready(dependent));
            match self.draft.container(no) {
                Some(container) => self.progress(container, no),
                None => self.advance_phase(),
            }
        }
    }

    /// Releases a blocked step whose inputs are satisfied; skips one whose inputs no longer can be.
    pub(super) fn release_if_ready(&mut self, no: StepNo) {
        if self.state().get(no).is_none_or(|step| step.status != StepStatus::Blocked) {
            return;
        }
        let (needed, inputs) = (self.plan(no).needed, self.draft.all_beside(no, &self.plan(no).inputs));
        let satisfied = inputs.iter().filter(|n| self.satisfied(**n)).count();
        let open = inputs.iter().filter(|n| !self.status(**n).is_terminal()).count();
        if satisfied >= needed {
            if self.phase_has_come(no) {
                self.release(no);
            }
        } else if satisfied + open < needed {
            self.end(no, StepStatus::SkippedUpstream);
        }
    }

    pub(super) fn satisfied(&self, no: StepNo) -> bool {
        let status = self.status(no);
        status.satisfies() || (status.fails_the_run() && self.plan(no).on_error == OnError::Continue)
    }

    /// Ends a step, and leaves its dependents for [`Self::settle`]. What stands in it and never began does not.
    pub(super) fn end(&mut self, no: StepNo, status: StepStatus) {
        self.emit(Change::StepEnded { step: no, status });
        self.skip_inner(no, None);
        self.unsettled.push(no);
    }

    /// Ends a step for good without success, and does what step and flow say then. A step that stands in another fails
    /// that one, once everything in it has ended.
    pub(super) fn end_badly(&mut self, no: StepNo, status: StepStatus, message: &str) {
        self.end(no, status);
        let fixed = matches!(self.draft.place(no), Place::Fixed(_));
        if !status.fails_the_run() || !fixed || self.draft.container(no).is_some() || self.state().closing.is_some() {
            return;
        }
        let error = format!("step '{}': {message}", self.plan(no).id);
        match self.draft.on_error(no) {
            OnErrorAction::Continue => {}
            OnErrorAction::Pause if self.state().status == RunStatus::Running => {
                self.emit(Change::RunPaused { by: error.into() });
            }
            OnErrorAction::Stop | OnErrorAction::Fallback | OnErrorAction::Rollback | OnErrorAction::Pause => {
                self.close(Closing::Failed, &error);
            }
        }
    }

    /// Decides how the run ends: nothing more starts, and attempts under way end first.
    pub(super) fn close(&mut self, closing: Closing, error: &str) {
        let decided = self.state().closing;
        let is_decided = decided.is_some_and(|d| d != Closing::Failed && closing != Closing::TimedOut);
        if decided == Some(closing) || is_decided {
            return;
        }
        self.emit(Change::RunClosing { closing, error: error.to_owned() });
        for no in self.state().numbers() {
            match self.status(no) {
                StepStatus::InProgress if closing != Closing::Failed => self.cancel_attempt(no),
                StepStatus::InProgress => {}
                // As an attempt that is told to end, or was before.
                StepStatus::Waiting if self.waits_for_run(no) && self.live(no).cancelled => {}
                StepStatus::Waiting if self.waits_for_run(no) && closing != Closing::Failed => self.stop_run(no),
                status if status.is_terminal() => {}
                _ => self.emit(Change::StepEnded { step: no, status: StepStatus::Cancelled }),
            }
        }
        // What this very decision was about to start or queue does not happen.
        let state = &self.draft.state;
        self.decision.effects.retain(|effect| match effect {
            Effect::Enqueue { step, .. } | Effect::StartRun { step, .. } => {
                let is_cancelled = |step: &Step| step.live.as_deref().is_some_and(|live| live.cancelled);
                state.get(*step).is_some_and(|step| !step.status.is_terminal() && !is_cancelled(step))
            }
            Effect::StartAttempt { .. } | Effect::CancelAttempt { .. } | Effect::StopRun { .. } => true,
        });
        self.unsettled.clear();
    }

    /// Ends the run when nothing of it is left to do, or takes back what it did.
    pub(super) fn finish(&mut self) {
        let state = self.state();
        let begun =
            !matches!(state.status, RunStatus::Pending | RunStatus::AwaitingApproval) || state.closing.is_some();
        let is_held = state.status == RunStatus::Paused && state.closing.is_none();
        if !begun || is_held || state.status.is_terminal() || state.all().any(|(_, s)| !s.status.is_terminal()) {
            return;
        }
        if state.status == RunStatus::Compensating {
            return self.rollback_goes_on();
        }
        let failed = self.draft.outer().find(|no| self.status(*no).fails_the_run() && !self.draft.tolerates(*no));
        let status = match (state.closing, failed) {
            (Some(closing), _) => closing.run_status(),
            (None, Some(_)) => RunStatus::Failed,
            (None, None) if self.cancelled_step().is_some() => RunStatus::Cancelled,
            (None, None) => RunStatus::Completed,
        };
        if status == RunStatus::Completed {
            self.phase_completed();
            // All that was to be done is done: nothing is taken back for what only its output lacks.
            let error = self.give().err();
            let status = if error.is_some() { RunStatus::Failed } else { status };
            return self.emit(Change::RunEnded { status, error, at_ms: self.now_ms });
        }
        let blamed = failed.or_else(|| self.cancelled_step());
        let error = self.state().error.clone().or_else(|| blamed.map(|no| self.step_error(no)));
        self.phase_cut_off(status, error.as_deref());
        if status == RunStatus::Failed {
            let action = failed.map_or(self.draft.plan.on_error_action, |no| self.draft.on_error(no));
            if let Some(to_phase) = self.rolls_back(action)
                && self.begin_rollback(to_phase, error.as_deref().unwrap_or_default())
            {
                // Whether anything can be taken back or not, the run now stands elsewhere.
                self.settle();
                return self.finish();
            }
        }
        self.emit(Change::RunEnded { status, error, at_ms: self.now_ms });
    }

    /// Computes and checks what the run gives.
    fn give(&mut self) -> Result<(), String> {
        let plan = self.draft.plan.clone();
        let Some(output) = &plan.output else { return Ok(()) };
        let scope = self.draft.scope(0, self.now_ms);
        let is_said = self.state().output.is_some();
        if let Some(output) = output.compute(&scope, &self.draft.output(), is_said)? {
            self.emit(Change::OutputSet { output: output.into() });
        }
        Ok(())
    }

    /// To the end of which phase a failed run goes back; `None`: it stays as it is.
    fn rolls_back(&self, action: OnErrorAction) -> Option<u32> {
        let (rollback, phase) = (self.draft.plan.rollback, self.state().phase.current);
        if !matches!(self.state().closing, None | Some(Closing::Failed)) || action == OnErrorAction::Continue {
            return None;
        }
        if rollback.to == RollbackTo::Off {
            return None;
        }
        let back = self.draft.would_go_back_to();
        if action == OnErrorAction::Rollback {
            return Some(if phase == 0 { 0 } else { back });
        }
        // Phase 1 has nothing to go back to.
        (phase > 1).then_some(back)
    }

    /// A step that a person stopped.
    fn cancelled_step(&self) -> Option<StepNo> {
        self.draft.outer().find(|no| self.status(*no) == StepStatus::Cancelled)
    }

    fn step_error(&self, no: StepNo) -> String {
        let id = &self.plan(no).id;
        let view = self.draft.results.get(id);
        match view.and_then(|v| v.error.as_deref()) {
            Some(error) => format!("step '{id}': {error}"),
            None => format!("step '{id}' is {}", self.status(no).execution_status()),
        }
    }
}

impl Run {
    /// The steps that stand in no other.
    pub(super) fn outer(&self) -> impl Iterator<Item = StepNo> + '_ {
        (0..self.plan.fixed as StepNo).filter(|no| self.plan.steps[*no as usize].parent.is_none())
    }

    /// Whether the run goes on over a step's failure.
    pub(super) fn tolerates(&self, no: StepNo) -> bool {
        self.step_plan(no).on_error == OnError::Continue
    }
}
