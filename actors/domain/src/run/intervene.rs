//! What people do to a run beside deciding approvals: stop a step, start it early, take the run up again.
//!
//! A run that is taken up again keeps its id and its log. Steps that did what they should keep their results; the others
//! are as if they had never been released, except that their attempts go on where the log ends, with a fresh budget.

use std::collections::BTreeSet;

use super::decide::{Decider, Grant};
use super::step::{Live, StepStatus};
use super::{Change, Decision, Refusal, Run};
use crate::ids::StepNo;
use crate::plan::StepKind;
use crate::words::{OnError, RunStatus};

impl Run {
    /// Takes a run up again after its end. Where a limit holds it, its steps wait until it begins.
    pub(super) fn reopen(
        &self,
        step: Option<StepNo>,
        is_held: bool,
        grant: Grant<'_>,
        now_ms: i64,
    ) -> Result<Decision, Refusal> {
        let status = self.state.status;
        if !matches!(status, RunStatus::Failed | RunStatus::Cancelled) {
            return Err(Refusal::RunNotNow(status, "only a run that failed or was cancelled can be retried"));
        }
        if self.header.deadline_at_ms.is_some_and(|at| at <= now_ms) {
            return Err(Refusal::RunNotNow(status, "its deadline has passed: restart it as a new run"));
        }
        if self.state.started_at_ms.is_none() {
            return Err(Refusal::RunNotNow(status, "it never began: restart it as a new run"));
        }
        if self.state.rollback.as_ref().is_some_and(|rollback| rollback.is_stuck) {
            return Err(Refusal::RunNotNow(status, "an undo has failed: settle that first"));
        }
        let again = self.to_do_again(step)?;
        let mut decider = Decider::new(self, grant, now_ms);
        decider.emit(Change::RunReopened { at_ms: now_ms });
        if is_held {
            decider.emit(Change::RunHeld);
        }
        decider.do_again(&again);
        Ok(decider.decided(self))
    }

    /// The steps of the flow that a retry begins anew: what stands in others follows these.
    fn to_do_again(&self, step: Option<StepNo>) -> Result<BTreeSet<StepNo>, Refusal> {
        match step {
            None => Ok(self.outer().filter(|no| self.is_to_do_again(*no)).collect()),
            Some(no) => {
                let mut outer = Some(no).filter(|no| self.state.get(*no).is_some()).ok_or(Refusal::NoSuchStep(no))?;
                while let Some(container) = self.container(outer) {
                    outer = container;
                }
                self.with_dependents(outer)
            }
        }
    }

    /// Whether the step ended without doing what it should.
    pub(super) fn did_not_do(&self, no: StepNo) -> bool {
        let Some(status) = self.state.get(no).map(|step| step.status) else { return false };
        status.fails_the_run() || matches!(status, StepStatus::Cancelled | StepStatus::SkippedUpstream)
    }

    /// Whether a step of the flow ended without doing what it should, and the run could not go on from that.
    pub(super) fn is_to_do_again(&self, no: StepNo) -> bool {
        self.did_not_do(no) && !self.was_tolerated(no)
    }

    /// Whether the step failed and its dependents went on: they have its failure for a result.
    fn was_tolerated(&self, no: StepNo) -> bool {
        let status = self.state.steps[no as usize].status;
        status.fails_the_run() && self.plan.steps[no as usize].on_error == OnError::Continue
    }

    /// A step and all that depends on it, as far as none of them did what it should.
    fn with_dependents(&self, first: StepNo) -> Result<BTreeSet<StepNo>, Refusal> {
        let found = self.state.steps.get(first as usize).ok_or(Refusal::NoSuchStep(first))?;
        let refused = |why| Err(Refusal::StepNotNow(first, found.status.execution_status(), why));
        if !self.did_not_do(first) || found.status == StepStatus::SkippedUpstream {
            return refused("only a step that failed or was cancelled can be retried");
        }
        if self.plan.steps[first as usize].phase.is_some_and(|phase| phase > self.state.phase.current) {
            return refused("its phase has not begun: retry the run, or a step of the phase that failed");
        }
        let mut dependents = self.plan.steps[first as usize].dependents.iter();
        if self.was_tolerated(first) && dependents.any(|no| !self.did_not_do(*no)) {
            return refused("steps after it have gone on from its failure");
        }
        let (mut again, mut open) = (BTreeSet::new(), vec![first]);
        while let Some(no) = open.pop() {
            if self.did_not_do(no) && again.insert(no) {
                open.extend(&self.plan.steps[no as usize].dependents);
            }
        }
        Ok(again)
    }
}

impl Decider<'_> {
    /// Begins steps anew, as far as they did not do what they should.
    fn do_again(&mut self, steps: &BTreeSet<StepNo>) {
        steps.iter().for_each(|no| self.reset(*no, false));
        let phases = steps.iter().filter_map(|no| self.plan(*no).phase);
        if let Some(phase) = phases.min().filter(|_| self.state().phase.is_over) {
            self.enter_phase(phase);
        }
        steps.iter().for_each(|no| self.release_if_ready(*no));
        self.advance_phase();
    }

    /// A step is as if it had never been released, and what stands in it likewise: all of it, or what did not do what it
    /// should.
    pub(super) fn reset(&mut self, no: StepNo, all: bool) {
        if !self.status(no).is_terminal() {
            return;
        }
        let children = self.draft.all_beside(no, &self.plan(no).children);
        for child in children {
            if all || self.draft.did_not_do(child) {
                self.reset(child, all);
            }
        }
        if let Some(base) = self.draft.frame_of(no).filter(|_| all || matches!(self.plan(no).kind, StepKind::While(_)))
        {
            self.emit(Change::LoopDropped { base });
        }
        self.emit(Change::StepReset { step: no });
    }

    /// A run that a step's failure has paused is taken up again from there.
    pub(super) fn retry_paused(&mut self, step: Option<StepNo>) -> Result<(), Refusal> {
        if self.state().closing.is_some() {
            let why = "it is ending: resume it if it is paused, and retry it once it has ended";
            return Err(Refusal::RunNotNow(self.state().status, why));
        }
        if self.state().is_aside {
            return Err(Refusal::RunNotNow(self.state().status, "it has yet to begin: resume it"));
        }
        let again = match self.state().status {
            RunStatus::Paused => self.draft.to_do_again(step)?,
            _ => BTreeSet::new(),
        };
        if again.is_empty() {
            return Err(Refusal::RunNotNow(self.state().status, "only a run that has ended badly is retried"));
        }
        self.emit(Change::RunReopened { at_ms: self.now_ms });
        self.do_again(&again);
        Ok(())
    }

    /// Stops one step. An attempt under way is told to end, and the step ends with it.
    pub(super) fn cancel_step(&mut self, no: StepNo) -> Result<(), Refusal> {
        let found = self.state().get(no).ok_or(Refusal::NoSuchStep(no))?;
        match found.status {
            status if status.is_terminal() => {
                Err(Refusal::StepNotNow(no, status.execution_status(), "it has ended already"))
            }
            StepStatus::InProgress => {
                let live = Live { cancelled: true, ..self.live(no) };
                self.emit(Change::StepAdjusted { step: no, live });
                self.cancel_attempt(no);
                Ok(())
            }
            StepStatus::Waiting => {
                self.cancel_waiting(no);
                Ok(())
            }
            _ => {
                self.end(no, StepStatus::Cancelled);
                Ok(())
            }
        }
    }

    /// Starts a step that waits for its time. One that may start anyway is left as it is.
    pub(super) fn run_now(&mut self, no: StepNo) -> Result<(), Refusal> {
        let found = self.state().get(no).ok_or(Refusal::NoSuchStep(no))?;
        match found.status {
            StepStatus::Pending | StepStatus::Retrying if self.state().status == RunStatus::Paused => {
                Err(Refusal::RunNotNow(RunStatus::Paused, "none of its steps starts before it is resumed"))
            }
            StepStatus::Pending | StepStatus::Retrying => {
                let live = self.live(no);
                if live.due_at_ms.is_none_or(|at| at > self.now_ms) {
                    let live = Live { due_at_ms: Some(self.now_ms), ..live };
                    self.emit(Change::StepAdjusted { step: no, live });
                }
                Ok(())
            }
            StepStatus::InProgress => Ok(()),
            status => Err(Refusal::StepNotNow(no, status.execution_status(), "it may not run now")),
        }
    }
}
