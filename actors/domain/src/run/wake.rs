//! What is due: deadlines, expiries, schedules and retries.

use super::decide::{Decider, GatedNames};
use super::step::StepStatus;
use super::{Closing, Effect};
use crate::ids::StepNo;
use crate::plan::StepKind;
use crate::words::RunStatus;

impl Decider<'_> {
    /// Looks at the times after which something must not go on.
    pub(super) fn wake(&mut self) {
        self.note_late_phase();
        if self.is_late() && matches!(self.state().closing, None | Some(Closing::Failed)) {
            self.close(Closing::TimedOut, "the run's deadline (max_execution_time_seconds) passed");
            return;
        }
        for no in self.state().numbers() {
            self.expire(no);
        }
    }

    /// Starts or queues every step whose time has come. Done in every decision, not only in those of a wake-up: the next
    /// [`super::Timing`] takes it that what is due is known to be so.
    pub(super) fn start_due(&mut self) {
        // Of a run that is ending, paused or not, what still waits is what its steps have started.
        let is_ending = self.state().closing.is_some();
        if is_ending || matches!(self.state().status, RunStatus::Running | RunStatus::Compensating) {
            for no in self.state().numbers() {
                self.due(no);
            }
        }
    }

    fn expire(&mut self, no: StepNo) {
        let waits =
            matches!(self.status(no), StepStatus::Pending | StepStatus::AwaitingApproval | StepStatus::Retrying);
        if !waits || !self.has_expired(no) {
            return;
        }
        let plan = self.draft.plan.clone();
        if let StepKind::Approval(approval) = &plan.part(self.draft.plan_ref(no)).kind {
            self.approval_expires(no, approval);
        } else {
            self.end_badly(no, StepStatus::Expired, "it expired before it could start");
        }
    }

    /// Whether the time after which no attempt of the step may start has come.
    pub(super) fn has_expired(&self, no: StepNo) -> bool {
        let live = self.state().get(no).and_then(|step| step.live.as_deref());
        live.and_then(|l| l.expires_at_ms).is_some_and(|at| at <= self.now_ms)
    }

    /// Whether the run's time is over, although nothing may have closed it yet. Taking back is not bound by it.
    fn is_late(&self) -> bool {
        let is_bound = self.state().status != RunStatus::Compensating;
        is_bound && self.draft.header.deadline_at_ms.is_some_and(|at| at <= self.now_ms)
    }

    fn due(&mut self, no: StepNo) {
        let Some(step) = self.state().get(no) else { return };
        let Some(live) = step.live.as_deref() else { return };
        if step.status == StepStatus::Waiting {
            return self.wake_waiting(no);
        }
        let waits = matches!(step.status, StepStatus::Pending | StepStatus::Retrying);
        if waits && !live.queued && live.due_at_ms.is_some_and(|at| at <= self.now_ms) {
            self.start_or_queue(no);
        }
    }

    /// Starts the step in a granted slot, or puts it into its partition's queue. A run that is paused, closing or late
    /// starts nothing: a resume looks again, and a late one is closed by the wake-up that is due.
    pub(super) fn start_or_queue(&mut self, no: StepNo) {
        let runs = matches!(self.state().status, RunStatus::Running | RunStatus::Compensating);
        if !runs || self.state().closing.is_some() || self.is_late() {
            return;
        }
        if self.has_expired(no) {
            return self.expire(no);
        }
        let needs_slot = matches!(self.plan(no).kind, StepKind::Action);
        // What one decision renders is bounded: the next one goes on, whether the step needs a slot or not.
        if !needs_slot && !self.is_full() {
            return self.begin_kind(no);
        }
        let plan = self.plan(no);
        let gates = self.grant.gates;
        let must_ask = |gates: &GatedNames| gates.asks_all || gates.shut.contains(&plan.action_target);
        let asks = self.claimed != Some(no) && gates.is_some_and(must_ask);
        if needs_slot && self.decision.unused_slots > 0 && !self.is_full() && !asks {
            self.decision.unused_slots -= 1;
            self.start(no);
            return;
        }
        let gate = gates.and_then(|gates| gates.all.get(&plan.action_target)).cloned();
        let due_at_ms = self.live(no).due_at_ms.unwrap_or(self.now_ms);
        let order = self.grant.credits.order(due_at_ms, plan.urgency, plan.priority);
        self.decision.effects.push(Effect::Enqueue { step: no, order, gate });
        if let Some(live) = self.draft.state.get_mut(no).and_then(|step| step.live.as_deref_mut()) {
            live.queued = true;
        }
    }
}
