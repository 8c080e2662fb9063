//! Phases: a pipeline's stages, one after the other, each timed and told.

use serde::{Deserialize, Serialize};

use super::decide::Decider;
use super::step::StepStatus;
use super::{Change, Closing, Run};
use crate::ids::StepNo;
use crate::words::{PhaseStatus, RunStatus};

/// In which phase a run is; 0 where its flow has none, or it has not begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseState {
    #[serde(rename = "n")]
    pub current: u32,
    #[serde(rename = "t")]
    pub started_at_ms: i64,
    /// Whether it has ended; the next has not begun.
    #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_over: bool,
    /// Whether it was noted, while it ran, that it takes longer than it may.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_late: bool,
}

/// A transition of a phase: a row of `workflow_phase_logs`.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseMove {
    pub phase: u32,
    pub status: PhaseStatus,
    pub at_ms: i64,
    /// Absent while it runs.
    pub duration_ms: Option<i64>,
    pub previous_phase: Option<u32>,
    pub error: Option<String>,
    /// Where a run that rolls back then stands: the phase to whose end it goes back; 0: the start.
    pub rollback_to: Option<u32>,
    /// Whether it was noted before that it takes longer than it may: nobody is to be told twice.
    pub is_known_late: bool,
}

impl Run {
    /// When the phase under way becomes longer than it may be. `None`: nothing bounds it, or it is noted already.
    pub(super) fn phase_late_at_ms(&self) -> Option<i64> {
        let (state, phase) = (&self.state, self.state.phase);
        let is_bound = matches!(state.status, RunStatus::Running | RunStatus::Paused)
            && matches!(state.closing, None | Some(Closing::Failed));
        if !is_bound || phase.current == 0 || phase.is_over || phase.is_late {
            return None;
        }
        let sla_ms = self.plan.phases.get(phase.current as usize - 1)?.sla_ms?;
        // As long as it may be is not too long.
        Some(phase.started_at_ms.saturating_add(sla_ms).saturating_add(1))
    }

    /// The phase that a step of the flow belongs to, or else counts as of. `None`: it has not begun.
    pub(super) fn phase_of(&self, no: StepNo) -> Option<u32> {
        let joined = || self.state.joined.iter().find(|(_, steps)| steps.contains(no)).map(|(phase, _)| *phase);
        self.plan.steps[no as usize].phase.or_else(joined)
    }

    /// Notes of a step that belongs to no phase when it came, once: while a phase was under way, or after all of that had
    /// ended, which is with the next. For a run that goes back to the end of a phase this is a question of what came
    /// after it, so that nothing but the order of what has happened can say it.
    pub(super) fn join_phase(&mut self, no: StepNo) {
        let PhaseState { current, is_over, .. } = self.state.phase;
        let has_place = self.plan.steps[..self.plan.fixed].get(no as usize).is_some_and(|step| step.parent.is_none());
        if current == 0 || !has_place || self.phase_of(no).is_some() {
            return;
        }
        let mut of_phase = (0..self.plan.fixed).filter(|at| self.plan.steps[*at].phase == Some(current));
        let has_ended = is_over || of_phase.all(|at| self.state.steps[at].status.is_terminal());
        let phase = self.joins(no, current + u32::from(has_ended));
        self.state.joined.entry(phase).or_default().insert(no);
    }

    /// Never before what it came of, which may be of a later phase where a person has taken the run up again.
    fn joins(&self, no: StepNo, phase: u32) -> u32 {
        let inputs = self.plan.steps[no as usize].inputs.iter().copied();
        let done = inputs.filter(|input| self.state.steps[*input as usize].status.is_terminal());
        done.filter_map(|input| self.phase_of(input)).fold(phase, u32::max)
    }

    /// A phase begins. Where it does so anew, before others that had begun, what joined those was there before its end.
    pub(super) fn rejoin(&mut self, phase: u32) {
        let joined = self.state.joined.range(phase + 1..);
        let mut later: Vec<(u32, StepNo)> =
            joined.flat_map(|(at, steps)| steps.iter().map(move |no| (*at, no))).collect();
        later.sort_by_key(|(_, no)| self.plan.rank(*no));
        for (at, no) in later {
            if let Some(steps) = self.state.joined.get_mut(&at) {
                steps.remove(no);
            }
            let now = self.joins(no, phase).min(at);
            self.state.joined.entry(now).or_default().insert(no);
        }
        self.state.joined.retain(|_, steps| !steps.is_empty());
    }
}

impl Decider<'_> {
    /// Whether the step's phase is under way; steps without one wait for none.
    pub(super) fn phase_has_come(&self, no: StepNo) -> bool {
        self.plan(no).phase.is_none_or(|phase| phase <= self.state().phase.current && !self.state().phase.is_over)
    }

    /// A phase begins. One that the flow does not have is none.
    pub(super) fn enter_phase(&mut self, phase: u32) {
        if phase as usize > self.draft.plan.phases.len() {
            return;
        }
        let previous_phase = Some(self.state().phase.current).filter(|before| *before > 0);
        self.moves(PhaseStatus::Started, phase, previous_phase, None, None);
    }

    /// A step of the flow has ended; perhaps its phase has, and the next begins.
    pub(super) fn advance_phase(&mut self) {
        let phase = self.state().phase;
        if phase.current == 0 || phase.is_over || self.state().closing.is_some() {
            return;
        }
        let of_phase: Vec<StepNo> = self.steps_of(phase.current).collect();
        if of_phase.iter().any(|no| !self.status(*no).is_terminal()) {
            return;
        }
        if let Some(failed) = of_phase.iter().copied().find(|no| self.has_failed(*no)) {
            let error = format!("step '{}' failed{}", self.plan(failed).id, self.error_of(failed));
            self.phase_failed(Some(&error));
            // What comes after never does: the flow goes on with what belongs to no phase.
            let later: Vec<StepNo> = self
                .draft
                .outer()
                .filter(|no| self.plan(*no).phase.is_some_and(|p| p > phase.current))
                .filter(|no| self.status(*no) == StepStatus::Blocked)
                .collect();
            later.into_iter().for_each(|no| self.end(no, StepStatus::SkippedUpstream));
            return;
        }
        self.moves(PhaseStatus::Completed, phase.current, None, None, None);
        if phase.current as usize == self.draft.plan.phases.len() {
            return;
        }
        self.enter_phase(phase.current + 1);
        for no in self.draft.outer().collect::<Vec<_>>() {
            self.release_if_ready(no);
        }
        // Where it was done before the run was taken up again, nothing of it ends any more.
        self.advance_phase();
    }

    /// Notes, once for each time that a phase runs, that it takes longer than it may.
    pub(super) fn note_late_phase(&mut self) {
        if self.draft.phase_late_at_ms().is_some_and(|at| at <= self.now_ms) {
            let PhaseState { current, started_at_ms, .. } = self.state().phase;
            self.emit(Change::PhaseLate { phase: current, duration_ms: self.now_ms - started_at_ms });
        }
    }

    /// The phase under way has failed for good.
    pub(super) fn phase_failed(&mut self, error: Option<&str>) {
        let phase = self.state().phase;
        if phase.current > 0 && !phase.is_over {
            self.moves(PhaseStatus::Failed, phase.current, None, error, None);
        }
    }

    /// The run has ended well. A `stop` may have ended it in the middle of a phase, which has then done what it was to do.
    pub(super) fn phase_completed(&mut self) {
        let phase = self.state().phase;
        if phase.current > 0 && !phase.is_over {
            self.moves(PhaseStatus::Completed, phase.current, None, None, None);
        }
    }

    /// The run ends otherwise. Where it was cut off, all of the phase may have been done before it heard of that.
    pub(super) fn phase_cut_off(&mut self, status: RunStatus, error: Option<&str>) {
        let current = self.state().phase.current;
        let is_done = self.steps_of(current).all(|no| self.status(no).is_terminal() && !self.has_failed(no));
        if status != RunStatus::Failed && is_done { self.phase_completed() } else { self.phase_failed(error) }
    }

    /// What was done after the end of a phase has been taken back.
    pub(super) fn phase_rolled_back(&mut self, phase: u32, to: u32) {
        if phase > 0 {
            self.moves(PhaseStatus::RolledBack, phase, None, None, Some(to));
        }
    }

    fn moves(
        &mut self,
        status: PhaseStatus,
        phase: u32,
        previous_phase: Option<u32>,
        error: Option<&str>,
        rollback_to: Option<u32>,
    ) {
        let PhaseState { started_at_ms, is_late, .. } = self.state().phase;
        let runs = status == PhaseStatus::Started;
        let duration_ms = (!runs).then(|| (self.now_ms - started_at_ms).max(0));
        let error = error.map(str::to_owned);
        let at_ms = self.now_ms;
        let is_known_late = is_late && !runs;
        let moved = PhaseMove { phase, status, at_ms, duration_ms, previous_phase, error, rollback_to, is_known_late };
        self.emit(Change::PhaseMoved(Box::new(moved)));
    }

    fn steps_of(&self, phase: u32) -> impl Iterator<Item = StepNo> + '_ {
        // By the flow's own step: while one is looked after by a probe, its part of the plan is the probe's.
        self.draft.outer().filter(move |no| self.draft.plan.steps[*no as usize].phase == Some(phase))
    }
}
