//! Putting changes into a run's state. Total: a change that was decided can always be applied.

use std::sync::Arc;

use super::rounds::Given;
use super::step::{Step, StepStatus};
use super::{Change, Decision, PlanRef, Run, UndoWay};
use crate::expr::{Output, StepView};
use crate::ids::StepNo;
use crate::log::{LogEntry, OUTCOME_UNKNOWN};
use crate::plan::StepKind;
use crate::words::{ExecutionStatus, PhaseStatus};

impl Run {
    /// Puts the changes of a decision into the run.
    pub fn apply(&mut self, decision: &Decision) {
        for change in &decision.changes {
            self.apply_change(change);
        }
        for effect in &decision.effects {
            if let super::Effect::Enqueue { step, .. } = effect
                && let Some(Step { status: StepStatus::Pending | StepStatus::Retrying, live: Some(live) }) =
                    self.state.get_mut(*step)
            {
                live.queued = true;
            }
        }
    }

    pub(super) fn apply_change(&mut self, change: &Change) {
        match change {
            Change::AttemptLogged(entry) if !entry.is_final => {
                self.attempts.put(entry.step, entry.attempt + 1);
                self.note_outcome(entry);
            }
            Change::AttemptLogged(entry) => {
                self.attempts.put(entry.step, entry.attempt + 1);
                self.note_outcome(entry);
                let error = entry.failure.as_ref().map(|f| Arc::<str>::from(f.message.as_str()));
                self.remember(entry.step, entry.result.clone().map(Output::Here), error.as_deref());
            }
            Change::StepReleased { step, .. } => {
                self.state.apply(change);
                self.join_phase(*step);
            }
            Change::StepEnded { step, status } => {
                self.state.apply(change);
                self.join_phase(*step);
                let Some((results, id)) = self.results_of(*step) else { return };
                let view = results.entry(id).or_insert_with(|| StepView {
                    status: "",
                    output: Output::default(),
                    error: None,
                });
                view.status = status.execution_status().as_str();
                if !status.has_outcome() {
                    *view = StepView { output: Output::default(), error: None, ..*view };
                }
            }
            Change::PhaseMoved(moved) if moved.status == PhaseStatus::Started => {
                self.state.apply(change);
                self.rejoin(moved.phase);
            }
            Change::RunGathered { header } => {
                self.state.apply(change);
                self.header = header.clone();
            }
            Change::StepReset { step } => {
                self.state.apply(change);
                if let Some((results, id)) = self.results_of(*step) {
                    results.remove(&id);
                }
            }
            Change::LoopOpened { base, items, .. } => {
                self.state.apply(change);
                self.items.insert(*base, items.clone());
            }
            Change::LoopDropped { base } => {
                self.leave_rounds(*base);
                self.state.apply(change);
            }
            Change::UndoSettled { step, way } => {
                self.state.apply(change);
                if *way == UndoWay::Done {
                    self.renew_keys(*step);
                }
            }
            Change::RoundOpened { base, round } => self.open_round(*base, *round),
            Change::RoundClosed { base, round, is_bad, output } => self.close_round(*base, *round, *is_bad, output),
            _ => self.state.apply(change),
        }
    }
}

impl Run {
    /// A step that can be taken back is so too where nobody knows whether it took effect. A probe that fails for good knows
    /// that it did not.
    fn note_outcome(&mut self, entry: &LogEntry) {
        let is_unknown = entry.failure.as_ref().is_some_and(|failure| failure.code == OUTCOME_UNKNOWN);
        let is_probe = matches!(self.plan_ref(entry.step), PlanRef::Verify(_));
        // One that was cut off, or was never made, has seen nothing.
        let has_answered = entry.status == ExecutionStatus::Failed && entry.duration_ms.is_some();
        let no_effect = is_probe && has_answered && entry.failure.as_ref().is_some_and(|failure| !failure.retryable);
        if is_unknown && self.step_plan(entry.step).undo.is_some() {
            self.state.unknown.insert(entry.step);
        } else if entry.result.is_some() || no_effect {
            self.state.unknown.remove(&entry.step);
        }
    }

    fn open_round(&mut self, base: StepNo, round: u32) {
        let body = self.body(base);
        let first = base + round * body.len() as u32;
        for no in first..first + body.len() as u32 {
            self.state.loose.insert(no, Step::BLOCKED);
        }
        // One that is made again has given nothing yet.
        self.rounds.remove(&(base, round));
        let is_while = matches!(self.loop_kind(base), StepKind::While(_));
        if let Some(frame) = self.state.frames.get_mut(&base) {
            if frame.again.iter().next() == Some(round) {
                frame.again.pop();
            } else {
                frame.opened = frame.opened.max(round + 1);
            }
        }
        // What the round before gave was for the loop's condition.
        if let Some(last) = round.checked_sub(1).filter(|_| is_while && !self.keeps_rounds(base)) {
            self.rounds.remove(&(base, last));
        }
    }

    fn close_round(&mut self, base: StepNo, round: u32, is_bad: bool, output: &Output) {
        let body = self.body(base);
        let first = base + round * body.len() as u32;
        (first..first + body.len() as u32).for_each(|no| self.leave(base, no));
        // A loop that stops at a failure has no more bad rounds than go at once, and makes them again when it is taken up.
        let is_made_again = is_bad && matches!(self.loop_kind(base), StepKind::ForEach(each) if each.stops_on_error);
        if !is_made_again {
            self.forget_keys(&(first..first + body.len() as u32));
        }
        if let Some(frame) = self.state.frames.get_mut(&base).filter(|_| is_bad) {
            frame.bad.insert(round);
        }
        let is_while = matches!(self.loop_kind(base), StepKind::While(_));
        let given = self.given.entry(base).or_default();
        if is_while {
            // Only what the last round gave is the loop's.
            *given = Given::default();
        }
        given.put(round, output.clone());
        if !is_while && !self.keeps_rounds(base) {
            self.rounds.remove(&(base, round));
        }
    }

    /// An execution of a round is over. What it did, or may have, can be taken back later.
    fn leave(&mut self, base: StepNo, no: StepNo) {
        let ended = self.state.loose.remove(&no);
        let body = self.body(base);
        let plan = &self.plan.steps[(body.start + (no - base) % body.len() as u32) as usize];
        let is_undoable = plan.undo.is_some()
            && (ended.is_some_and(|step| step.status == StepStatus::Completed) || self.state.unknown.contains(&no));
        if let Some(frame) = self.state.frames.get_mut(&base).filter(|_| is_undoable) {
            frame.undoable.insert(no);
        }
    }

    /// Rounds that never came to their end, because the run did first, are over.
    fn leave_rounds(&mut self, base: StepNo) {
        let end = base + self.body(base).len() as u32 * self.state.frames[&base].rounds;
        let left: Vec<StepNo> = self.state.loose.range(base..end).map(|(no, _)| *no).collect();
        left.into_iter().for_each(|no| self.leave(base, no));
        self.forget_keys(&(base..end));
    }

    fn loop_kind(&self, base: StepNo) -> &StepKind {
        let owner = self.state.frames[&base].owner.expect("only the frames of loops have rounds");
        &self.step_plan(owner).kind
    }

    /// What rounds gave is needed to take them back.
    pub(super) fn keeps_rounds(&self, base: StepNo) -> bool {
        self.has_undo(self.body(base))
    }

    fn has_undo(&self, body: std::ops::Range<StepNo>) -> bool {
        let mut steps = self.plan.steps[body.start as usize..body.end as usize].iter();
        steps.any(|step| step.undo.is_some() || step.kind.body().is_some_and(|inner| self.has_undo(inner)))
    }
}
