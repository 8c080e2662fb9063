//! Steps that stand in others: branches and parallel lanes.
//!
//! Such a step waits until everything in it has ended, and then says how: what is in it failed, or it gives what the last
//! steps of its lists gave.

use serde_json::{Map, Value, json};

use super::Change;
use super::decide::Decider;
use super::step::{Live, StepStatus};
use crate::expr::Condition;
use crate::ids::StepNo;
use crate::log::Failure;
use crate::plan::{ParallelPlan, StepKind};

/// How a list of steps stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Open,
    Done,
    Failed,
}

impl Decider<'_> {
    /// Takes the first case whose condition holds.
    pub(super) fn begin_branch(&mut self, no: StepNo, conditions: &[Condition]) {
        let scope = self.draft.scope(no, self.live(no).released_at_ms);
        let mut taken = conditions.len() as u32;
        for (lane, condition) in (0..).zip(conditions) {
            match condition.holds(&scope) {
                Ok(false) => {}
                Ok(true) => {
                    taken = lane;
                    break;
                }
                Err(error) => return self.fails(no, Failure::fatal("expression_error", error.to_string())),
            }
        }
        self.waits(no, Live { lane: Some(taken), ..self.live(no) });
        self.skip_inner(no, Some(taken));
        self.release_inner(no, Some(taken));
        // Where all in it ended at once, it may have ended with that.
        if self.status(no) == StepStatus::Waiting {
            self.check_branch(no);
        }
    }

    pub(super) fn begin_parallel(&mut self, no: StepNo) {
        self.waits(no, self.live(no));
        self.release_inner(no, None);
        self.settle();
        // Where all in it was done before the run was taken up again, nothing of it ends any more.
        if self.status(no) == StepStatus::Waiting {
            self.progress(no, no);
        }
    }

    /// The step has begun and waits.
    pub(super) fn waits(&mut self, no: StepNo, live: Live) {
        let live = Live { started_at_ms: Some(self.now_ms), due_at_ms: None, expires_at_ms: None, ..live };
        self.emit(Change::StepWaiting { step: no, live });
    }

    /// Something in a step has ended.
    pub(super) fn progress(&mut self, container: StepNo, inner: StepNo) {
        if self.status(container) != StepStatus::Waiting {
            return;
        }
        match &self.draft.plan.clone().part(self.draft.plan_ref(container)).kind {
            StepKind::Branch(_) => self.check_branch(container),
            StepKind::Parallel(plan) => self.check_parallel(container, plan),
            StepKind::ForEach(_) | StepKind::While(_) => self.round_progress(container, inner),
            _ => {}
        }
    }

    fn check_branch(&mut self, no: StepNo) {
        let live = self.live(no);
        let lane = live.lane.unwrap_or_default();
        match self.lane(no, lane) {
            Lane::Open => {}
            _ if live.cancelled => self.end(no, StepStatus::Cancelled),
            Lane::Done => {
                let cases = self.plan(no).last.len() as u32 - 1;
                let case = if lane < cases { json!(lane) } else { json!("default") };
                match self.lane_output(no, lane) {
                    Ok(output) => self.completes(no, json!({"case": case, "output": output})),
                    Err(failure) => self.fails(no, failure),
                }
            }
            Lane::Failed => self.inner_failed(no),
        }
    }

    fn check_parallel(&mut self, no: StepNo, plan: &ParallelPlan) {
        let lanes: Vec<Lane> = (0..plan.lanes.len() as u32).map(|lane| self.lane(no, lane)).collect();
        let count = |wanted| lanes.iter().filter(|lane| **lane == wanted).count();
        let (done, open) = (count(Lane::Done), count(Lane::Open));
        let enough = done >= plan.needed && plan.needed < plan.lanes.len();
        if open > 0 {
            if enough {
                self.cancel_inner(no);
            }
            return;
        }
        if self.live(no).cancelled {
            self.end(no, StepStatus::Cancelled);
        } else if done >= plan.needed {
            let given = (0..).zip(&plan.lanes).filter(|(lane, _)| lanes[*lane as usize] == Lane::Done);
            let output = given.map(|(lane, id)| Ok((id.to_string(), self.lane_output(no, lane)?)));
            match output.collect::<Result<Map<String, Value>, Failure>>() {
                Ok(output) => self.completes(no, Value::Object(output)),
                Err(failure) => self.fails(no, failure),
            }
        } else {
            self.inner_failed(no);
        }
    }

    fn inner_failed(&mut self, no: StepNo) {
        let children = self.draft.all_beside(no, &self.plan(no).children);
        let failed = children.into_iter().find(|child| self.has_failed(*child));
        let message = failed.map_or_else(
            || "what stands in it was cancelled".to_owned(),
            |child| format!("step '{}' in it failed{}", self.plan(child).id, self.error_of(child)),
        );
        self.fails(no, Failure::fatal("inner_failed", message));
    }

    /// A step's error, after a colon.
    pub(super) fn error_of(&self, no: StepNo) -> String {
        let scope = self.draft.scope(no, self.now_ms);
        let view = scope.steps.get(&self.plan(no).id);
        view.and_then(|v| v.error.as_deref()).map(|error| format!(": {error}")).unwrap_or_default()
    }

    /// Whether a step has failed, and what it stands in does not go on over that.
    pub(super) fn has_failed(&self, no: StepNo) -> bool {
        let status = self.status(no);
        status == StepStatus::Cancelled || (status.fails_the_run() && !self.draft.tolerates(no))
    }

    fn lane(&self, no: StepNo, lane: u32) -> Lane {
        let of_lane = self.lane_steps(no, Some(lane));
        if of_lane.iter().any(|child| !self.status(*child).is_terminal()) {
            Lane::Open
        } else if of_lane.iter().any(|child| self.has_failed(*child)) {
            Lane::Failed
        } else {
            Lane::Done
        }
    }

    /// The steps that stand in a step directly: those of one of its lists, or all.
    fn lane_steps(&self, no: StepNo, lane: Option<u32>) -> Vec<StepNo> {
        let children = self.plan(no).children.iter().copied();
        let of_lane = |child: &StepNo| lane.is_none_or(|lane| self.draft.plan.steps[*child as usize].lane == lane);
        children.filter(of_lane).map(|child| self.draft.beside(no, child)).collect()
    }

    /// What the last step of a list gave; null where it has none, or that was skipped.
    fn lane_output(&self, no: StepNo, lane: u32) -> Result<Value, Failure> {
        let last = self.plan(no).last.get(lane as usize).copied().flatten();
        let Some(last) = last.map(|last| self.draft.beside(no, last)) else { return Ok(Value::Null) };
        let scope = self.draft.scope(last, self.now_ms);
        let Some(view) = scope.steps.get(&self.plan(last).id) else { return Ok(Value::Null) };
        view.output.get().map(|output| Value::clone(output)).map_err(|words| Failure::fatal("too_large", words))
    }

    /// Releases what can begin in a step: what stands first, or what comes next where it is taken up again.
    fn release_inner(&mut self, no: StepNo, lane: Option<u32>) {
        self.lane_steps(no, lane).into_iter().for_each(|child| self.release_if_ready(child));
    }

    /// What stands in a step and has not begun never will, but for the list that is taken.
    pub(super) fn skip_inner(&mut self, no: StepNo, taken: Option<u32>) {
        if self.plan(no).children.is_empty() {
            return;
        }
        for child in self.lane_steps(no, None) {
            let is_taken = taken.is_some() && taken == Some(self.plan(child).lane);
            if !is_taken && self.status(child) == StepStatus::Blocked {
                self.emit(Change::StepEnded { step: child, status: StepStatus::SkippedUpstream });
                self.skip_inner(child, None);
            }
        }
    }

    /// Cancels whatever in a step has not ended: attempts are told to end.
    pub(super) fn cancel_inner(&mut self, no: StepNo) {
        let mut inner = self.lane_steps(no, None);
        inner.extend(self.round_steps(no));
        for child in inner {
            match self.status(child) {
                status if status.is_terminal() => {}
                StepStatus::InProgress if self.live(child).cancelled => {}
                StepStatus::InProgress => {
                    let live = Live { cancelled: true, ..self.live(child) };
                    self.emit(Change::StepAdjusted { step: child, live });
                    self.cancel_attempt(child);
                }
                StepStatus::Waiting => self.cancel_waiting(child),
                _ => self.end(child, StepStatus::Cancelled),
            }
        }
    }

    /// Cancels a step that waits. One that others stand in ends when they have, and one that waits for a run when that has.
    pub(super) fn cancel_waiting(&mut self, no: StepNo) {
        if self.waits_for_run(no) {
            if !self.live(no).cancelled {
                self.stop_run(no);
            }
            return;
        }
        let holds_others = matches!(
            self.plan(no).kind,
            StepKind::Branch(_) | StepKind::Parallel(_) | StepKind::ForEach(_) | StepKind::While(_)
        );
        if !holds_others {
            return self.end(no, StepStatus::Cancelled);
        }
        let live = Live { cancelled: true, ..self.live(no) };
        self.emit(Change::StepAdjusted { step: no, live });
        self.cancel_inner(no);
        self.settle();
        if self.status(no) == StepStatus::Waiting && self.all_inner_ended(no) {
            self.end(no, StepStatus::Cancelled);
        }
    }

    fn all_inner_ended(&self, no: StepNo) -> bool {
        let mut inner = self.lane_steps(no, None);
        inner.extend(self.round_steps(no));
        inner.iter().all(|child| self.status(*child).is_terminal())
    }
}
