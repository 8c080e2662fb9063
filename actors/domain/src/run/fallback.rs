//! The flow that takes over from a run that has failed.

use super::Run;
use crate::ids::{FlowId, StepNo};
use crate::words::{OnError, OnErrorAction, RunStatus};

impl Run {
    /// What the failure of a step of the flow leads to: the step's word goes before the flow's.
    pub(super) fn on_error(&self, no: StepNo) -> OnErrorAction {
        match self.step_plan(no).on_error {
            OnError::Continue => OnErrorAction::Continue,
            OnError::Fallback => OnErrorAction::Fallback,
            OnError::Compensate => OnErrorAction::Rollback,
            OnError::Pause => OnErrorAction::Pause,
            OnError::Fail => self.plan.on_error_action,
        }
    }

    /// The flow that is to start now that the run has ended: where it failed, or was taken back, and a step that failed, or
    /// else the flow, asks for it. While a person has an undo to settle it has not ended for good.
    pub fn fallback(&self) -> Option<FlowId> {
        let flow = self.plan.fallback?;
        let is_stuck = self.state.rollback.as_ref().is_some_and(|rollback| rollback.is_stuck);
        if is_stuck || !matches!(self.state.status, RunStatus::Failed | RunStatus::RolledBack) {
            return None;
        }
        let is_failed = |no: &StepNo| self.state.steps[*no as usize].status.fails_the_run() && !self.tolerates(*no);
        let failed: Vec<StepNo> = self.outer().filter(is_failed).collect();
        let asks = |no: &StepNo| self.on_error(*no) == OnErrorAction::Fallback;
        let falls_back = if failed.is_empty() {
            self.plan.on_error_action == OnErrorAction::Fallback
        } else {
            failed.iter().any(asks)
        };
        falls_back.then_some(flow)
    }
}
