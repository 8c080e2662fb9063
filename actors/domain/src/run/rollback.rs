//! Taking back what a run did: the undo of every step that completed, or may have, in reverse.
//!
//! Each undo is an execution of its own, with its own retries, approval and rows in the log, one after the other. One that fails
//! for good, that a person refuses or that nobody agrees to in time, leaves the run `failed` with `compensation_failed`, for a person to settle: to try it again, to leave the step
//! as it is, or to have taken it back by hand.

use serde::{Deserialize, Serialize};

use super::decide::{Decider, Grant};
use super::place::Place;
use super::step::StepStatus;
use super::{Change, Decision, Refusal, Run, UndoWay};
use crate::ids::StepNo;
use crate::plan::RollbackTo;
use crate::words::{RollbackThen, RunStatus};

/// A rollback that is under way, stands still, or is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackState {
    /// The first number of its executions.
    #[serde(rename = "b")]
    pub base: StepNo,
    /// The phase that failed; 0: none.
    #[serde(rename = "f")]
    pub from_phase: u32,
    /// The phase to whose end it goes back; 0: the start.
    #[serde(rename = "t")]
    pub to_phase: u32,
    /// How many of its executions are settled.
    #[serde(rename = "d")]
    pub settled: u32,
    /// Whether the present one has failed for good.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stuck: bool,
    /// Whether all is taken back.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_over: bool,
    /// Why it began.
    #[serde(rename = "e")]
    pub error: String,
    /// Whether somebody asked for it after the run's end: the run is not tried again after it, and no rule is asked about it.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_asked: bool,
    /// How many times the run has rolled back before.
    #[serde(rename = "n", default, skip_serializing_if = "super::step::is_zero")]
    pub before: u32,
}

impl Run {
    /// To the end of which phase the run would go back if it failed now; 0: the start.
    pub fn would_go_back_to(&self) -> u32 {
        let phase = self.state.phase.current;
        let to = match self.plan.rollback.to {
            RollbackTo::Off | RollbackTo::Previous => phase.saturating_sub(1),
            RollbackTo::Phase(to) => to.min(phase.saturating_sub(1)),
        };
        to.max(self.first_phase().unwrap_or(1) - 1)
    }

    /// The first phase with something that the run itself does; `None` where its flow has none, or all was taken over.
    pub(super) fn first_phase(&self) -> Option<u32> {
        let own = self.outer().filter(|no| !self.state.reused.contains(*no));
        own.filter_map(|no| self.plan.steps[no as usize].phase).min()
    }

    /// What would be taken back if the run rolled back to the end of a phase now, in that order.
    pub fn undo_plan(&self, to_phase: u32) -> Vec<StepNo> {
        if let Some(rollback) = &self.state.rollback
            && (!rollback.is_over || self.state.status == RunStatus::RolledBack)
        {
            // What is settled is taken back; what remains goes on from there.
            let targets = self.state.frames.get(&rollback.base).map(|frame| frame.targets.as_slice());
            return targets.and_then(|targets| targets.get(rollback.settled as usize..)).unwrap_or_default().to_vec();
        }
        let mut targets = Vec::new();
        // What it took over is not this run's to take back.
        for no in self.outer().filter(|no| !self.state.reused.contains(*no)) {
            if self.came_after(no, to_phase) {
                self.undoable(no, &mut targets);
            }
        }
        targets.sort_by_key(|no| self.depth_key(*no));
        targets.reverse();
        targets
    }

    /// Whether a step of the flow came after the end of a phase; 0: the start. One that belongs to no phase and has not done
    /// what it should is done again with what did, whenever it began: what there may be of it goes first.
    fn came_after(&self, no: StepNo, to_phase: u32) -> bool {
        let is_open = || self.plan.steps[no as usize].phase.is_none() && self.is_to_do_again(no);
        to_phase == 0 || self.phase_of(no).is_some_and(|phase| phase > to_phase) || is_open()
    }

    /// A step, and what stands in it, as far as it can be taken back and there is something to take back.
    fn undoable(&self, no: StepNo, found: &mut Vec<StepNo>) {
        let plan = self.step_plan(no);
        for child in self.all_beside(no, &plan.children) {
            self.undoable(child, found);
        }
        if plan.kind.body().is_some() {
            // Its own frames, and those of loops in its rounds.
            let is_within = |owner| std::iter::successors(Some(owner), |at| self.container(*at)).any(|at| at == no);
            for (base, frame) in &self.state.frames {
                // What a loop did before it began anew is still there.
                if frame.owner.is_some_and(is_within) {
                    found.extend(frame.undoable.iter());
                    let end = base + self.body(*base).len() as u32 * frame.rounds;
                    let live = self.state.loose.range(*base..end).map(|(no, _)| *no);
                    found.extend(live.filter(|no| self.is_undoable(*no)));
                }
            }
        }
        if self.is_undoable(no) {
            found.push(no);
        }
    }

    fn is_undoable(&self, no: StepNo) -> bool {
        let is_completed = self.state.get(no).is_some_and(|step| step.status == StepStatus::Completed);
        let completed = is_completed && !self.state.reused.contains(no);
        self.step_plan(no).undo.is_some() && (completed || self.state.unknown.contains(&no))
    }

    /// Later steps have a larger key. Within the flow that is the order of the graph and of its phases; rounds follow their
    /// numbers, and whatever others stand in is over after them.
    pub(super) fn depth_key(&self, no: StepNo) -> (Vec<u32>, StepNo) {
        let mut key = Vec::new();
        let mut at = Some(no);
        while let Some(no) = at {
            let plan = self.state.plan_no(&self.plan, no).unwrap_or_default();
            key.push(self.plan.rank(plan));
            if let Place::Round { base, round, .. } = self.place(no) {
                // A loop that began anew has larger numbers than before.
                key.extend([round, base]);
            }
            at = self.container(no);
        }
        key.reverse();
        key.push(u32::MAX);
        (key, no)
    }

    /// Takes back all that a run did which has ended badly, because somebody asks for it.
    pub(super) fn roll_back(&self, grant: Grant<'_>, now_ms: i64) -> Result<Decision, Refusal> {
        let status = self.state.status;
        let refused = |why| Err(Refusal::RunNotNow(status, why));
        if !matches!(status, RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut) {
            return refused("only a run that failed, was cancelled or timed out is rolled back");
        }
        if self.state.rollback.as_ref().is_some_and(|rollback| rollback.is_stuck) {
            return refused("an undo has failed: settle that first");
        }
        if self.undo_plan(0).is_empty() {
            return refused("nothing of it can be taken back: no step that completed has an undo");
        }
        let error = self.state.error.clone().unwrap_or_else(|| format!("the run was {status}"));
        let mut decider = Decider::new(self, grant, now_ms);
        decider.take_back(0, &error, true);
        Ok(decider.decided(self))
    }

    /// A person says what becomes of an undo that has failed.
    pub(super) fn settle_undo(&self, way: &UndoWay, grant: Grant<'_>, now_ms: i64) -> Result<Decision, Refusal> {
        let Some(rollback) = self.state.rollback.as_ref().filter(|rollback| rollback.is_stuck) else {
            return Err(Refusal::NoFailedUndo);
        };
        let step = rollback.base + rollback.settled;
        let mut decider = Decider::new(self, grant, now_ms);
        decider.emit(Change::UndoSettled { step, way: way.clone() });
        match way {
            UndoWay::Retry => decider.release(step),
            UndoWay::Skip { .. } | UndoWay::Done => decider.next_undo(),
        }
        Ok(decider.decided(self))
    }
}

impl Decider<'_> {
    /// Begins to take back. False where the run has gone as far back as it may.
    pub(super) fn begin_rollback(&mut self, to_phase: u32, error: &str) -> bool {
        if self.state().status == RunStatus::Compensating {
            return false;
        }
        self.take_back(to_phase, error, false);
        true
    }

    fn take_back(&mut self, to_phase: u32, error: &str, is_asked: bool) {
        let targets = self.draft.undo_plan(to_phase);
        let base = self.state().next_number(&self.draft.plan);
        self.emit(Change::RollbackBegan { base, targets, to_phase, error: error.to_owned(), is_asked });
        self.next_undo();
    }

    /// An undo has ended.
    pub(super) fn undone(&mut self, base: StepNo, no: StepNo) {
        let is_present = self.state().rollback.as_ref().is_some_and(|r| r.base == base && r.base + r.settled == no);
        if is_present && self.status(no) == StepStatus::Completed {
            self.emit(Change::UndoSettled { step: no, way: UndoWay::Done });
            self.next_undo();
        }
        // One that did not complete is dealt with when the run finds that nothing is under way.
    }

    fn next_undo(&mut self) {
        // Whoever cancels a run that takes back decides later what becomes of the rest.
        if self.state().closing.is_some() {
            return;
        }
        let Some(rollback) = &self.state().rollback else { return };
        let (next, end) = (rollback.base + rollback.settled, self.end_of(rollback.base));
        if next < end {
            self.emit(Change::UndoOpened { step: next });
            self.release(next);
        }
    }

    fn end_of(&self, base: StepNo) -> StepNo {
        base + self.state().frames.get(&base).map_or(0, |frame| frame.targets.len() as u32)
    }

    /// Nothing of a rollback is under way: it is over, or stands still.
    pub(super) fn rollback_goes_on(&mut self) {
        let Some(rollback) = self.state().rollback.clone() else { return };
        if rollback.base + rollback.settled < self.end_of(rollback.base) {
            let no = rollback.base + rollback.settled;
            let id = self.plan(no).id.clone();
            let became = match self.state().get(no).map(|step| step.status) {
                Some(StepStatus::Rejected) => "was refused by a person",
                Some(status) => status.execution_status().as_str(),
                None => "was not begun",
            };
            let error = Some(format!(
                "compensation_failed: the undo of step '{id}' {became}; retry it, skip it or mark it done ({})",
                rollback.error
            ));
            return self.emit(Change::RunEnded { status: RunStatus::Failed, error, at_ms: self.now_ms });
        }
        self.phase_rolled_back(rollback.from_phase, rollback.to_phase);
        let settings = self.draft.plan.rollback;
        let goes_on = settings.then == RollbackThen::Retry && self.state().closing.is_none() && !rollback.is_asked;
        let retries = goes_on && rollback.before < settings.retries;
        self.emit(Change::RollbackEnded { to_phase: rollback.to_phase, retries });
        if !retries {
            let error = Some(rollback.error);
            return self.emit(Change::RunEnded { status: RunStatus::RolledBack, error, at_ms: self.now_ms });
        }
        self.again_from(rollback.to_phase);
        // What fails at once has failed again.
        self.finish();
    }

    /// Does again what was taken back, and what never came.
    fn again_from(&mut self, phase: u32) {
        let again: Vec<StepNo> = self
            .draft
            .outer()
            .filter(|no| !self.state().reused.contains(*no))
            .filter(|no| self.draft.came_after(*no, phase) || self.never_came(*no))
            .collect();
        again.iter().for_each(|no| self.reset(*no, true));
        self.enter_phase(phase + 1);
        again.into_iter().for_each(|no| self.release_if_ready(no));
        self.settle();
    }

    fn never_came(&self, no: StepNo) -> bool {
        matches!(self.status(no), StepStatus::Cancelled | StepStatus::SkippedUpstream)
    }
}
