//! Roll-outs as the store in memory keeps them.

use core314_domain::ids::FlowId;
use core314_domain::rollout::Ended;
use core314_domain::words::RunStatus;

use super::memory_store::Rows;
use crate::ports::catalog::{Rollout, RolloutState};
use crate::ports::store::{RolloutChange, RunEnd};

impl Rows {
    fn running(&self, flow: FlowId) -> Option<&RolloutState> {
        let is_running = |state: &&RolloutState| state.rollout.flow == flow && state.rollout.ended_at_ms.is_none();
        self.rollouts.values().find(is_running)
    }

    pub(super) fn is_possible(&self, change: &RolloutChange) -> bool {
        match change {
            RolloutChange::Begin(rollout) => self.running(rollout.flow).is_none(),
            RolloutChange::End { id, flow, .. } => self.running(*flow).is_some_and(|state| state.rollout.id == *id),
        }
    }

    pub(super) fn rollout(&mut self, change: RolloutChange) {
        match change {
            RolloutChange::Begin(rollout) => {
                let none = Ended::default();
                self.rollouts.insert(rollout.id, RolloutState { rollout: *rollout, candidate: none, base: none });
            }
            RolloutChange::End { id, status, reason, at_ms, .. } => {
                let state = self.rollouts.get_mut(&id).expect("it was looked for just before");
                state.rollout =
                    Rollout { status, reason: Some(reason), ended_at_ms: Some(at_ms), ..state.rollout.clone() };
            }
        }
    }

    /// Counts an end, or takes one back.
    pub(super) fn count(&mut self, end: &RunEnd, sign: i64) {
        let is_failed = matches!(end.status, RunStatus::Failed | RunStatus::TimedOut | RunStatus::RolledBack);
        let running = end.flow.and_then(|flow| self.running(flow)).map(|state| state.rollout.id);
        let Some(state) = running.and_then(|id| self.rollouts.get_mut(&id)) else { return };
        let ended = match end.flow_version {
            version if version == state.rollout.candidate => &mut state.candidate,
            version if version == state.rollout.base => &mut state.base,
            _ => return,
        };
        ended.runs += sign;
        ended.failed += if is_failed { sign } else { 0 };
    }
}
