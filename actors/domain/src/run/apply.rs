//! Putting changes into a run's state. Total: a change that was decided can always be applied.

use std::sync::Arc;

use super::step::{Live, Step, StepStatus};
use super::{Change, Decision, Run, RunState};
use crate::expr::StepView;
use crate::ids::StepNo;
use crate::words::RunStatus;

impl Run {
    /// Puts the changes of a decision into the run.
    pub fn apply(&mut self, decision: &Decision) {
        for change in &decision.changes {
            self.apply_change(change);
        }
        for effect in &decision.effects {
            if let super::Effect::Enqueue { step, .. } = effect
                && let Step { status: StepStatus::Pending | StepStatus::Retrying, live: Some(live) } =
                    &mut self.state.steps[*step as usize]
            {
                live.queued = true;
            }
        }
    }

    pub(super) fn apply_change(&mut self, change: &Change) {
        match change {
            Change::AttemptLogged(entry) if !entry.is_final => {
                self.attempts.insert(entry.step, entry.attempt + 1);
            }
            Change::AttemptLogged(entry) => {
                self.attempts.insert(entry.step, entry.attempt + 1);
                let error = entry.failure.as_ref().map(|f| Arc::<str>::from(f.message.as_str()));
                self.remember(entry.step, entry.result.clone(), error.as_deref());
            }
            Change::StepEnded { step, status } => {
                self.state.apply(change);
                let id = &self.plan.steps[*step as usize].id;
                let view = Arc::make_mut(&mut self.results).entry(id.clone()).or_insert_with(|| StepView {
                    status: "",
                    output: Arc::default(),
                    error: None,
                });
                view.status = status.execution_status().as_str();
                if !status.has_outcome() {
                    *view = StepView { output: Arc::default(), error: None, ..*view };
                }
            }
            Change::StepReset { step } => {
                self.state.apply(change);
                Arc::make_mut(&mut self.results).remove(&self.plan.steps[*step as usize].id);
            }
            _ => self.state.apply(change),
        }
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
            Change::StepReset { step } => self.steps[*step as usize] = Step::BLOCKED,
            Change::RunResumed => {
                self.status = RunStatus::Running;
                self.paused_by = None;
                // Entries that came up while it was paused are gone: what is due is queued anew.
                self.steps.iter_mut().filter_map(|s| s.live.as_deref_mut()).for_each(|live| live.queued = false);
            }
            Change::RunClosing { closing, error } => {
                self.closing = Some(*closing);
                self.error = Some(error.clone());
            }
            Change::RunEnded { status, error, at_ms } => {
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
            Change::ApprovalRequested { .. } | Change::ApprovalDecided { .. } | Change::AttemptLogged(_) => {}
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
        if let Some(live) = self.steps[step as usize].live.as_deref_mut() {
            change(live);
        }
    }

    fn move_to(&mut self, step: StepNo, status: StepStatus) {
        let live = self.steps[step as usize].live.as_deref().copied();
        self.set(step, status, live);
    }

    /// The one place in which a step's state changes: the table of transitions is asserted here.
    fn set(&mut self, no: StepNo, status: StepStatus, live: Option<Live>) {
        let step = &mut self.steps[no as usize];
        assert!(step.status.may_become(status), "step {no} must not go from {:?} to {status:?}", step.status);
        *step = Step { status, live: live.map(Box::new) };
    }
}
