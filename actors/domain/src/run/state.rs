//! Putting changes into what of a run changes.

use super::step::{Live, Step, StepStatus};
use super::{Change, Frame, PhaseState, Refusal, RequestName, RollbackState, RunState, UndoWay};
use crate::ids::StepNo;
use crate::words::{PhaseStatus, RunStatus};

/// Names of signals that a run remembers; the oldest is forgotten first.
const MOST_NAMED: usize = 100;

impl RunState {
    /// Whether this was told it before, under the same name.
    pub(super) fn has_heard(&self, request: &RequestName) -> Result<bool, Refusal> {
        match self.named.iter().find(|known| known.key == request.key) {
            None => Ok(false),
            Some(known) if known.body == request.body => Ok(true),
            Some(_) => Err(Refusal::KeyReused),
        }
    }

    /// Puts one change into the state.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::RunAwaitsApproval
            | Change::RunStarted { .. }
            | Change::RunPaused { .. }
            | Change::RunReopened { .. }
            | Change::RunHeld
            | Change::RunStepsAside
            | Change::RunLinesUp
            | Change::RunGathers
            | Change::RunGathered { .. }
            | Change::RunResumed
            | Change::RunClosing { .. }
            | Change::RunEnded { .. } => self.apply_to_run(change),
            Change::StepReset { .. }
            | Change::StepReleased { .. }
            | Change::StepAdjusted { .. }
            | Change::ApprovalOverdue { .. }
            | Change::StepStarted { .. }
            | Change::StepRetrying { .. }
            | Change::StepParked { .. }
            | Change::StepEnded { .. }
            | Change::StepWaiting { .. } => self.apply_to_step(change),
            Change::PhaseMoved(_)
            | Change::PhaseLate { .. }
            | Change::RollbackBegan { .. }
            | Change::UndoOpened { .. }
            | Change::UndoSettled { .. }
            | Change::RollbackEnded { .. } => self.apply_to_phases(change),
            Change::LoopOpened { .. }
            | Change::LoopReopened { .. }
            | Change::LoopDropped { .. }
            | Change::VarsSet { .. }
            | Change::Voted { .. }
            | Change::SignalKept { .. }
            | Change::SignalTaken { .. }
            | Change::SignalNamed(_)
            | Change::WaitOpened { .. }
            | Change::OutputSet { .. } => self.apply_to_more(change),
            Change::RoundOpened { .. }
            | Change::RoundClosed { .. }
            | Change::WaitClosed { .. }
            | Change::ApprovalRequested { .. }
            | Change::ApprovalDecided { .. }
            | Change::ResultCached { .. }
            | Change::AttemptLogged(_) => {}
        }
    }

    /// Of the run itself.
    fn apply_to_run(&mut self, change: &Change) {
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
            Change::RunReopened { at_ms } => {
                // The time in which the run had ended is none of its phase's, where a release before this one left that open.
                if self.phase.current > 0 && !self.phase.is_over {
                    self.phase.started_at_ms += self.completed_at_ms.map_or(0, |ended| (at_ms - ended).max(0));
                }
                self.status = RunStatus::Running;
                self.reopened += 1;
                self.error = None;
                self.completed_at_ms = None;
                self.paused_by = None;
                self.ask_anew();
            }
            Change::RunHeld => self.status = RunStatus::Pending,
            Change::RunStepsAside => self.is_aside = true,
            Change::RunLinesUp => {
                self.status = RunStatus::Pending;
                self.paused_by = None;
                self.is_aside = false;
            }
            Change::RunGathers => self.is_gathering = true,
            Change::RunGathered { .. } => self.is_gathering = false,
            Change::RunResumed => {
                self.status = RunStatus::Running;
                self.paused_by = None;
                self.ask_anew();
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
                self.is_gathering = false;
                self.is_aside = false;
                self.completed_at_ms = Some(*at_ms);
            }
            _ => {}
        }
    }

    /// Entries that came up while it was paused are gone: what is due is queued anew.
    fn ask_anew(&mut self) {
        let all = self.steps.iter_mut().chain(self.loose.values_mut());
        all.filter_map(|s| s.live.as_deref_mut()).for_each(|live| live.queued = false);
    }

    /// Of one execution.
    fn apply_to_step(&mut self, change: &Change) {
        match change {
            // Not by the table of transitions: only a person takes back what has ended.
            Change::StepReset { step } => {
                if let Some(step) = self.get_mut(*step) {
                    *step = Step::BLOCKED;
                }
                self.votes.remove(step);
                self.reused.remove(*step);
                self.joined.values_mut().for_each(|steps| steps.remove(*step));
                self.joined.retain(|_, steps| !steps.is_empty());
                self.forms.remove(step);
            }
            Change::StepReleased { step, status, live } => self.set(*step, *status, Some(*live)),
            Change::StepAdjusted { step, live } => self.with_live(*step, |own| *own = *live),
            Change::ApprovalOverdue { step } => self.with_live(*step, |live| live.expires_at_ms = None),
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
            Change::StepEnded { step, status } => {
                // Whoever does it again sends the same, whatever is otherwise by then.
                let key = self.get(*step).and_then(|step| step.live.as_deref()?.key);
                self.keys.extend(key.map(|key| (*step, key)));
                self.set(*step, *status, None);
                self.event_keys.remove(step);
                self.forms.remove(step);
            }
            Change::StepWaiting { step, live } => self.set(*step, StepStatus::Waiting, Some(*live)),
            _ => {}
        }
    }

    /// Of phases, and of taking back what they did.
    fn apply_to_phases(&mut self, change: &Change) {
        match change {
            Change::PhaseMoved(moved) => {
                let starts = moved.status == PhaseStatus::Started;
                if starts {
                    let (current, started_at_ms) = (moved.phase, moved.at_ms);
                    self.phase = PhaseState { current, started_at_ms, ..PhaseState::default() };
                } else {
                    self.phase.is_over = true;
                }
            }
            Change::PhaseLate { .. } => self.phase.is_late = true,
            Change::RollbackBegan { base, targets, to_phase, error, is_asked } => {
                self.reopened += u32::from(*is_asked);
                self.completed_at_ms = None;
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
                    is_asked: *is_asked,
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
                self.undo_settled(*step, way);
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
            _ => {}
        }
    }

    fn undo_settled(&mut self, step: StepNo, way: &UndoWay) {
        let Some(rollback) = &mut self.rollback else { return };
        rollback.is_stuck = false;
        if *way == UndoWay::Retry {
            self.loose.insert(step, Step::BLOCKED);
            return;
        }
        rollback.settled += 1;
        // Whatever its outcome was, it is no question any more: a later rollback has nothing to take back here.
        let targets = self.frames.get(&rollback.base).map(|frame| &frame.targets);
        let Some(target) = targets.and_then(|targets| targets.get((step - rollback.base) as usize)).copied() else {
            return;
        };
        self.unknown.remove(&target);
        // An execution of a round is gone for good.
        self.loose.remove(&target);
        if let Some((_, frame)) = self.frames.range_mut(..=target).next_back() {
            frame.undoable.remove(target);
        }
    }

    /// Of loops, values, votes and signals.
    fn apply_to_more(&mut self, change: &Change) {
        match change {
            Change::LoopOpened { base, owner, rounds, released_at_ms, vars, .. } => {
                let (owner, rounds, released_at_ms, vars) = (Some(*owner), *rounds, *released_at_ms, vars.clone());
                self.frames.insert(*base, Frame { owner, rounds, released_at_ms, vars, ..Frame::default() });
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
            Change::Voted { step, by, form } => {
                self.votes.entry(*step).or_default().push(*by);
                if !form.is_null() {
                    self.forms.entry(*step).or_default().insert(*by, form.clone());
                }
            }
            Change::WaitOpened { step, key, .. } => drop(self.event_keys.insert(*step, key.clone())),
            Change::SignalKept { name, payload } => self.signals.push((name.clone(), payload.clone())),
            Change::SignalTaken { name } => {
                if let Some(at) = self.signals.iter().position(|(kept, _)| kept == name) {
                    self.signals.remove(at);
                }
            }
            Change::SignalNamed(request) => {
                self.named.retain(|known| known.key != request.key);
                if self.named.len() >= MOST_NAMED {
                    self.named.remove(0);
                }
                self.named.push(request.clone());
            }
            Change::OutputSet { output } => self.output = Some(output.clone()),
            _ => {}
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
