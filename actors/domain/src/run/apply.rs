//! Putting changes into a run's state. Total: a change that was decided can always be applied.

use std::sync::Arc;

use super::step::{Live, Step, StepStatus};
use super::{Change, Decision, Frame, PhaseState, RollbackState, Run, RunState, UndoWay};
use crate::Json;
use crate::expr::StepView;
use crate::ids::StepNo;
use crate::log::{LogEntry, OUTCOME_UNKNOWN};
use crate::plan::StepKind;
use crate::words::{PhaseStatus, RunStatus};

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
                self.attempts.insert(entry.step, entry.attempt + 1);
                self.note_outcome(entry);
            }
            Change::AttemptLogged(entry) => {
                self.attempts.insert(entry.step, entry.attempt + 1);
                self.note_outcome(entry);
                let error = entry.failure.as_ref().map(|f| Arc::<str>::from(f.message.as_str()));
                self.remember(entry.step, entry.result.clone(), error.as_deref());
            }
            Change::StepEnded { step, status } => {
                self.state.apply(change);
                let Some((results, id)) = self.results_of(*step) else { return };
                let view =
                    results.entry(id).or_insert_with(|| StepView { status: "", output: Arc::default(), error: None });
                view.status = status.execution_status().as_str();
                if !status.has_outcome() {
                    *view = StepView { output: Arc::default(), error: None, ..*view };
                }
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
            Change::RoundOpened { base, round } => self.open_round(*base, *round),
            Change::RoundClosed { base, round, is_bad, output } => self.close_round(*base, *round, *is_bad, output),
            _ => self.state.apply(change),
        }
    }
}

impl Run {
    /// A step that can be taken back is so too where nobody knows whether it took effect.
    fn note_outcome(&mut self, entry: &LogEntry) {
        let is_unknown = entry.failure.as_ref().is_some_and(|failure| failure.code == OUTCOME_UNKNOWN);
        if is_unknown && self.step_plan(entry.step).undo.is_some() {
            self.state.unknown.insert(entry.step);
        } else if entry.result.is_some() {
            self.state.unknown.remove(&entry.step);
        }
    }

    fn open_round(&mut self, base: StepNo, round: u32) {
        let body = self.body(base);
        let first = base + round * body.len() as u32;
        for no in first..first + body.len() as u32 {
            self.state.loose.insert(no, Step::BLOCKED);
        }
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

    fn close_round(&mut self, base: StepNo, round: u32, is_bad: bool, output: &Json) {
        let body = self.body(base);
        let first = base + round * body.len() as u32;
        for no in first..first + body.len() as u32 {
            let ended = self.state.loose.remove(&no);
            let plan = &self.plan.steps[(body.start + no - first) as usize];
            let is_undoable = plan.undo.is_some()
                && (ended.is_some_and(|step| step.status == StepStatus::Completed) || self.state.unknown.contains(&no));
            if let Some(frame) = self.state.frames.get_mut(&base).filter(|_| is_undoable) {
                frame.undoable.insert(no);
            }
        }
        if let Some(frame) = self.state.frames.get_mut(&base).filter(|_| is_bad) {
            frame.bad.insert(round);
        }
        self.given.entry(base).or_default().put(round, output.clone());
        let is_while = matches!(self.loop_kind(base), StepKind::While(_));
        if !is_while && !self.keeps_rounds(base) {
            self.rounds.remove(&(base, round));
        }
    }

    fn loop_kind(&self, base: StepNo) -> &StepKind {
        let owner = self.state.frames[&base].owner.expect("only the frames of loops have rounds");
        &self.step_plan(owner).kind
    }

    /// What rounds gave is needed to take them back.
    fn keeps_rounds(&self, base: StepNo) -> bool {
        let body = self.body(base);
        self.plan.steps[body.start as usize..body.end as usize].iter().any(|step| step.undo.is_some())
    }
}

impl RunState {
    /// Puts one change into the state.
    fn apply(&mut self, change: &Change) {
        match change {
            Change::RunAwaitsApproval => self.status = RunStatus::AwaitingApproval,
            Change::RunStarted { at_ms } => {
                self.status = RunStatus::Running;
                self.started_at_ms = Some(*at_ms);
            }
            Change::RunPaused { by } => {
                self.status = RunStatus::Paused;
                self.paused_by = Some(by.clone());
            }
            Change::RunReopened => {
                self.status = RunStatus::Running;
                self.reopened += 1;
                self.error = None;
                self.completed_at_ms = None;
            }
            Change::RunHeld => self.status = RunStatus::Pending,
            // Not by the table of transitions: only a person takes back what has ended.
            Change::StepReset { step } => {
                if let Some(step) = self.get_mut(*step) {
                    *step = Step::BLOCKED;
                }
                self.votes.remove(step);
            }
            Change::RunResumed => {
                self.status = RunStatus::Running;
                self.paused_by = None;
                // Entries that came up while it was paused are gone: what is due is queued anew.
                let loose = self.loose.values_mut();
                let all = self.steps.iter_mut().chain(loose);
                all.filter_map(|s| s.live.as_deref_mut()).for_each(|live| live.queued = false);
            }
            Change::RunClosing { closing, error } => {
                self.closing = Some(*closing);
                self.error = Some(error.clone());
            }
            Change::RunEnded { status, error, at_ms } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.is_stuck = !rollback.is_over && *status == RunStatus::Failed;
                }
                self.status = *status;
                self.error.clone_from(error);
                self.closing = None;
                self.paused_by = None;
                self.completed_at_ms = Some(*at_ms);
            }
            Change::StepReleased { step, status, live } => self.set(*step, *status, Some(*live)),
            Change::StepAdjusted { step, live } => self.with_live(*step, |own| *own = *live),
            Change::StepStarted { step, attempt, at_ms, epoch } => {
                self.with_live(*step, |live| {
                    live.attempt = *attempt;
                    live.started_at_ms = Some(*at_ms);
                    live.epoch = Some(*epoch);
                    live.queued = false;
                });
                self.move_to(*step, StepStatus::InProgress);
            }
            Change::StepRetrying { step, next_attempt, due_at_ms } => {
                self.attempt_over(*step, *next_attempt, Some(*due_at_ms));
                self.move_to(*step, StepStatus::Retrying);
            }
            Change::StepParked { step, next_attempt } => {
                self.attempt_over(*step, *next_attempt, None);
                self.move_to(*step, StepStatus::AwaitingApproval);
            }
            Change::StepEnded { step, status } => self.set(*step, *status, None),
            Change::StepWaiting { step, live } => self.set(*step, StepStatus::Waiting, Some(*live)),
            Change::LoopOpened { base, owner, rounds, released_at_ms, .. } => {
                let (owner, rounds, released_at_ms) = (Some(*owner), *rounds, *released_at_ms);
                self.frames.insert(*base, Frame { owner, rounds, released_at_ms, ..Frame::default() });
            }
            Change::LoopReopened { base } => {
                if let Some(frame) = self.frames.get_mut(base) {
                    frame.again = std::mem::take(&mut frame.bad);
                }
            }
            Change::LoopDropped { base } => {
                if let Some(frame) = self.frames.get_mut(base) {
                    frame.is_dropped = true;
                }
            }
            Change::VarsSet { values } => self.vars = values.clone(),
            Change::Voted { step, by } => self.votes.entry(*step).or_default().push(*by),
            Change::SignalKept { name, payload } => self.signals.push((name.clone(), payload.clone())),
            Change::SignalTaken { name } => {
                if let Some(at) = self.signals.iter().position(|(kept, _)| kept == name) {
                    self.signals.remove(at);
                }
            }
            Change::PhaseMoved(moved) => {
                let starts = moved.status == PhaseStatus::Started;
                if starts {
                    self.phase = PhaseState { current: moved.phase, started_at_ms: moved.at_ms, is_over: false };
                } else {
                    self.phase.is_over = true;
                }
            }
            Change::RollbackBegan { base, targets, to_phase, error } => {
                self.status = RunStatus::Compensating;
                self.closing = None;
                self.error = Some(error.clone());
                let before = self.rollback.as_ref().map_or(0, |rollback| rollback.before);
                let (from_phase, error) = (self.phase.current, error.clone());
                let fresh = RollbackState {
                    base: *base,
                    from_phase,
                    to_phase: *to_phase,
                    error,
                    before,
                    ..RollbackState::default()
                };
                self.rollback = Some(fresh);
                self.frames.insert(*base, Frame { targets: targets.clone(), ..Frame::default() });
            }
            Change::UndoOpened { step } => {
                self.loose.insert(*step, Step::BLOCKED);
            }
            Change::UndoSettled { step, way } => {
                self.reopened += u32::from(self.status.is_terminal());
                if let Some(rollback) = &mut self.rollback {
                    rollback.is_stuck = false;
                    rollback.settled += u32::from(*way != UndoWay::Retry);
                }
                if *way == UndoWay::Retry {
                    self.loose.insert(*step, Step::BLOCKED);
                }
                self.status = RunStatus::Compensating;
                self.completed_at_ms = None;
            }
            Change::RollbackEnded { to_phase, retries } => {
                if let Some(rollback) = &mut self.rollback {
                    rollback.is_over = true;
                    rollback.before += 1;
                }
                if *retries {
                    self.status = RunStatus::Running;
                    self.error = None;
                    self.phase = PhaseState { current: *to_phase, is_over: true, ..self.phase };
                }
            }
            Change::OutputSet { output } => self.output = Some(output.clone()),
            Change::RoundOpened { .. }
            | Change::RoundClosed { .. }
            | Change::WaitOpened { .. }
            | Change::WaitClosed { .. }
            | Change::ApprovalRequested { .. }
            | Change::ApprovalDecided { .. }
            | Change::AttemptLogged(_) => {}
        }
    }

    fn attempt_over(&mut self, step: StepNo, next_attempt: u32, due_at_ms: Option<i64>) {
        self.with_live(step, |live| {
            live.attempt = next_attempt;
            live.due_at_ms = due_at_ms;
            live.started_at_ms = None;
            live.epoch = None;
            live.queued = false;
        });
    }

    fn with_live(&mut self, step: StepNo, change: impl FnOnce(&mut Live)) {
        if let Some(live) = self.get_mut(step).and_then(|step| step.live.as_deref_mut()) {
            change(live);
        }
    }

    fn move_to(&mut self, step: StepNo, status: StepStatus) {
        let live = self.get(step).and_then(|step| step.live.as_deref()).copied();
        self.set(step, status, live);
    }

    /// The one place in which a step's state changes: the table of transitions is asserted here.
    fn set(&mut self, no: StepNo, status: StepStatus, live: Option<Live>) {
        let Some(step) = self.get_mut(no) else { return };
        assert!(step.status.may_become(status), "step {no} must not go from {:?} to {status:?}", step.status);
        *step = Step { status, live: live.map(Box::new) };
    }
}
