//! Decisions: from a command to changes and effects.
//!
//! A decider works on a draft of the run, so that a decision may cascade (a step ends, its dependents are released,
//! one is skipped, its dependents follow) while the run itself stays as it is.

use std::sync::Arc;

use super::step::{Live, StepStatus};
use super::{Change, Closing, Command, Decision, Effect, Refusal, Run, RunState};
use crate::dispatch::Credits;
use crate::ids::{StepNo, UserId};
use crate::log::{Failure, LogEntry};
use crate::plan::StepPlan;
use crate::words::{ApprovalStatus, ExecutionStatus, OnError, OnErrorAction, RunStatus};

/// What a decision may use up and must know of its surroundings.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// Slots that are free: as many released steps start at once.
    pub slots: usize,
    /// The epoch of the node that decides.
    pub epoch: i64,
    pub credits: &'a Credits,
}

/// A decision in the making.
pub(super) struct Decider<'a> {
    pub(super) draft: Run,
    pub(super) decision: Decision,
    pub(super) grant: Grant<'a>,
    pub(super) now_ms: i64,
    /// Ended steps whose dependents have not been looked at.
    unsettled: Vec<StepNo>,
}

impl Run {
    /// What the command leads to. Changes nothing.
    pub fn decide(&self, command: &Command, grant: Grant<'_>, now_ms: i64) -> Result<Decision, Refusal> {
        if self.state.status.is_terminal() {
            return match command {
                // An end that was reported twice, a timer that was too late: nothing to do.
                Command::Begin
                | Command::AttemptEnded { .. }
                | Command::Wake
                | Command::Start { .. }
                | Command::Recover { .. } => Ok(Decision { unused_slots: grant.slots, ..Decision::default() }),
                Command::Retry { step } => self.reopen(*step, grant, now_ms),
                _ => Err(Refusal::Ended(self.state.status)),
            };
        }
        let mut decider = Decider::new(self, grant, now_ms);
        decider.command(command)?;
        Ok(decider.decided(self))
    }
}

impl<'a> Decider<'a> {
    pub(super) fn new(run: &Run, grant: Grant<'a>, now_ms: i64) -> Self {
        let decision = Decision { unused_slots: grant.slots, ..Decision::default() };
        Self { draft: run.clone(), decision, grant, now_ms, unsettled: Vec::new() }
    }

    /// Follows what the command did to its end.
    pub(super) fn decided(mut self, before: &Run) -> Decision {
        self.start_due();
        self.settle();
        self.finish();
        debug_assert!(self.agrees_with(before), "changes and effects must say all that the draft did");
        self.decision
    }
}

impl Decider<'_> {
    /// Whether whoever applies the decision arrives where the draft is.
    fn agrees_with(&self, before: &Run) -> bool {
        let mut after = before.clone();
        after.apply(&self.decision);
        after.state == self.draft.state
    }

    fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Begin => self.begin(),
            Command::Start { steps } => steps.iter().for_each(|no| self.claim(*no)),
            Command::AttemptEnded { step, attempt, report } => self.attempt_ended(*step, *attempt, report),
            Command::Wake => self.wake(),
            Command::Approve { step, by } => self.approval(*step, true, *by)?,
            Command::Reject { step, by } => self.approval(*step, false, *by)?,
            Command::Cancel { reason } => self.close(Closing::Cancelled, reason),
            Command::CancelStep { step } => self.cancel_step(*step)?,
            Command::Pause { by } => self.pause(by)?,
            Command::RunNow { step } => self.run_now(*step)?,
            Command::Retry { .. } => {
                return Err(Refusal::RunNotNow(self.state().status, "only a run that has ended badly is retried"));
            }
            Command::Resume => self.resume()?,
            Command::Recover { under_way } => self.recover(under_way),
            Command::Quarantine { failure } => self.quarantine(failure),
        }
        Ok(())
    }

    pub(super) fn state(&self) -> &RunState {
        &self.draft.state
    }

    pub(super) fn plan(&self, no: StepNo) -> &StepPlan {
        &self.draft.plan.steps[no as usize]
    }

    pub(super) fn status(&self, no: StepNo) -> StepStatus {
        self.draft.state.steps[no as usize].status
    }

    pub(super) fn live(&self, no: StepNo) -> Live {
        self.draft.state.steps[no as usize].live.as_deref().copied().unwrap_or_default()
    }

    pub(super) fn emit(&mut self, change: Change) {
        self.draft.apply_change(&change);
        self.decision.changes.push(change);
    }

    fn begin(&mut self) {
        if self.state().status != RunStatus::Pending {
            return;
        }
        if self.draft.header.needs_approval(&self.draft.plan) {
            self.emit(Change::RunAwaitsApproval);
            self.emit(Change::ApprovalRequested { step: None });
        } else {
            self.run_started();
        }
    }

    fn run_started(&mut self) {
        self.emit(Change::RunStarted { at_ms: self.now_ms });
        for no in 0..self.state().steps.len() as StepNo {
            // A step that fails at once may have cancelled those after it.
            if self.plan(no).inputs.is_empty() && self.status(no) == StepStatus::Blocked {
                self.release(no);
            }
        }
    }

    /// A slot is free for an entry of the queue. An entry that the run did not ask for is old news.
    fn claim(&mut self, no: StepNo) {
        let Some(step) = self.state().steps.get(no as usize) else { return };
        let waits = matches!(step.status, StepStatus::Pending | StepStatus::Retrying);
        // What was queued was due then, whatever a clock that was set back says now.
        let ready = |live: &Live| live.queued || live.due_at_ms.is_some_and(|at| at <= self.now_ms);
        if waits && step.live.as_deref().is_some_and(ready) {
            self.start_or_queue(no);
        }
    }

    /// Looks at the dependents of every step that has ended, and at theirs.
    fn settle(&mut self) {
        while let Some(no) = self.unsettled.pop() {
            for dependent in self.plan(no).dependents.clone() {
                if self.status(dependent) != StepStatus::Blocked {
                    continue;
                }
                let plan = self.plan(dependent);
                let satisfied = plan.inputs.iter().filter(|n| self.satisfied(**n)).count();
                let open = plan.inputs.iter().filter(|n| !self.status(**n).is_terminal()).count();
                if satisfied >= plan.needed {
                    self.release(dependent);
                } else if satisfied + open < plan.needed {
                    self.end(dependent, StepStatus::SkippedUpstream);
                }
            }
        }
    }

    pub(super) fn satisfied(&self, no: StepNo) -> bool {
        let status = self.status(no);
        status.satisfies() || (status.fails_the_run() && self.plan(no).on_error == OnError::Continue)
    }

    /// The step's inputs are satisfied.
    pub(super) fn release(&mut self, no: StepNo) {
        let base = self.draft.attempts.get(&no).copied().unwrap_or(0);
        let live = Live { released_at_ms: self.now_ms, attempt: base, base, ..Live::default() };
        if let Some(when) = &self.plan(no).when {
            let scope = self.draft.header.scope(self.draft.results.clone(), self.now_ms);
            match when.holds(&scope) {
                Ok(true) => {}
                Ok(false) => return self.end(no, StepStatus::SkippedByWhen),
                Err(error) => return self.fail_unstarted(no, live, "expression_error", &error.to_string()),
            }
        }
        let due_at_ms = match self.due_at_ms(no) {
            Ok(due) => due,
            Err(message) => return self.fail_unstarted(no, live, "invalid_schedule", &message),
        };
        let expires_at_ms = self.plan(no).expires_in_ms.map(|ms| self.now_ms + ms);
        let live = Live { due_at_ms: Some(due_at_ms), expires_at_ms, ..live };
        if self.plan(no).requires_approval {
            self.emit(Change::StepReleased { step: no, status: StepStatus::AwaitingApproval, live });
            self.emit(Change::ApprovalRequested { step: Some(no) });
            return;
        }
        self.emit(Change::StepReleased { step: no, status: StepStatus::Pending, live });
        if due_at_ms <= self.now_ms {
            self.start_or_queue(no);
        }
    }

    /// When the step may start: now, or when its `scheduled_for` says.
    fn due_at_ms(&self, no: StepNo) -> Result<i64, String> {
        let Some(template) = &self.plan(no).scheduled_for else { return Ok(self.now_ms) };
        let scope = self.draft.header.scope(self.draft.results.clone(), self.now_ms);
        let value = template.render(&scope).map_err(|e| e.to_string())?;
        let text = value.as_str().ok_or_else(|| format!("scheduled_for must give a text, gave {value}"))?;
        let at = chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|e| format!("scheduled_for '{text}' is not an RFC 3339 time: {e}"))?;
        Ok(at.timestamp_millis().max(self.now_ms))
    }

    /// Starts an attempt, whose payload is rendered first.
    pub(super) fn start(&mut self, no: StepNo) {
        let live = self.live(no);
        let scope = self.draft.header.scope(self.draft.results.clone(), live.released_at_ms);
        let payload = self.plan(no).payload.render(&scope);
        let (attempt, epoch) = (live.attempt, self.grant.epoch);
        self.emit(Change::StepStarted { step: no, attempt, at_ms: self.now_ms, epoch });
        match payload {
            Ok(payload) => {
                self.decision.effects.push(Effect::StartAttempt { step: no, attempt, payload: payload.into() });
            }
            Err(error) => {
                self.decision.unused_slots += 1;
                let failure = Failure::fatal("template_error", error.to_string());
                let payload = self.plan(no).payload.source().clone().into();
                self.log_failure(no, failure, payload);
                self.end_badly(no, StepStatus::Failed, &error.to_string());
            }
        }
    }

    /// A step that fails before it could start still counts as one attempt, so that the log knows of it.
    fn fail_unstarted(&mut self, no: StepNo, live: Live, code: &str, message: &str) {
        let live = Live { due_at_ms: Some(self.now_ms), ..live };
        self.emit(Change::StepReleased { step: no, status: StepStatus::Pending, live });
        self.emit(Change::StepStarted { step: no, attempt: live.attempt, at_ms: self.now_ms, epoch: self.grant.epoch });
        let payload = self.plan(no).payload.source().clone().into();
        self.log_failure(no, Failure::fatal(code, message), payload);
        self.end_badly(no, StepStatus::Failed, message);
    }

    /// The row of an attempt that this decision itself ends.
    pub(super) fn log_failure(&mut self, no: StepNo, failure: Failure, payload: crate::Json) {
        let live = self.live(no);
        let entry = self.log_entry(no, ExecutionStatus::Failed, payload);
        let entry = LogEntry {
            failure: Some(failure),
            is_final: true,
            started_at_ms: live.started_at_ms.unwrap_or(self.now_ms),
            completed_at_ms: self.now_ms,
            ..entry
        };
        self.emit(Change::AttemptLogged(Box::new(entry)));
    }

    pub(super) fn log_entry(&self, no: StepNo, status: ExecutionStatus, payload: crate::Json) -> LogEntry {
        let live = self.live(no);
        let plan = self.plan(no);
        let started_at_ms = live.started_at_ms.unwrap_or(self.now_ms);
        LogEntry {
            step: no,
            attempt: live.attempt,
            action_type: plan.action_type.clone(),
            action_target: plan.action_target.clone(),
            payload,
            status,
            is_final: true,
            result: None,
            failure: None,
            started_at_ms,
            completed_at_ms: self.now_ms,
            duration_ms: None,
            queue_wait_ms: (started_at_ms - live.due_at_ms.unwrap_or(live.released_at_ms)).max(0),
            http: None,
        }
    }

    /// Ends a step, and leaves its dependents for [`Self::settle`].
    pub(super) fn end(&mut self, no: StepNo, status: StepStatus) {
        self.emit(Change::StepEnded { step: no, status });
        self.unsettled.push(no);
    }

    /// Ends a step for good without success, and does what step and flow say then.
    pub(super) fn end_badly(&mut self, no: StepNo, status: StepStatus, message: &str) {
        self.end(no, status);
        let stops = self.draft.plan.on_error_action == OnErrorAction::Stop;
        if status.fails_the_run() && stops && self.plan(no).on_error == OnError::Fail && self.state().closing.is_none()
        {
            let error = format!("step '{}': {message}", self.plan(no).id);
            self.close(Closing::Failed, &error);
        }
    }

    /// Decides how the run ends: nothing more starts, and attempts under way end first.
    pub(super) fn close(&mut self, closing: Closing, error: &str) {
        let decided = self.state().closing;
        if decided == Some(closing) || (decided, closing) == (Some(Closing::TimedOut), Closing::Cancelled) {
            return;
        }
        self.emit(Change::RunClosing { closing, error: error.to_owned() });
        for no in 0..self.state().steps.len() as StepNo {
            match self.status(no) {
                StepStatus::InProgress if closing != Closing::Failed => self.cancel_attempt(no),
                StepStatus::InProgress => {}
                status if status.is_terminal() => {}
                _ => self.emit(Change::StepEnded { step: no, status: StepStatus::Cancelled }),
            }
        }
        // What this very decision was about to start or queue does not happen.
        let state = &self.draft.state;
        self.decision.effects.retain(|effect| match effect {
            Effect::Enqueue { step, .. } => !state.steps[*step as usize].status.is_terminal(),
            Effect::StartAttempt { .. } | Effect::CancelAttempt { .. } => true,
        });
        self.unsettled.clear();
    }

    /// Ends the run when nothing of it is left to do.
    fn finish(&mut self) {
        let state = self.state();
        let begun =
            !matches!(state.status, RunStatus::Pending | RunStatus::AwaitingApproval) || state.closing.is_some();
        if !begun || state.steps.iter().any(|s| !s.status.is_terminal()) {
            return;
        }
        let failed = (0..state.steps.len() as StepNo)
            .find(|no| self.status(*no).fails_the_run() && self.plan(*no).on_error == OnError::Fail);
        let status = match (state.closing, failed) {
            (Some(closing), _) => closing.run_status(),
            (None, Some(_)) => RunStatus::Failed,
            (None, None) if self.cancelled_step().is_some() => RunStatus::Cancelled,
            (None, None) => RunStatus::Completed,
        };
        let blamed = failed.or_else(|| self.cancelled_step());
        let error = state.error.clone().or_else(|| blamed.map(|no| self.step_error(no)));
        self.emit(Change::RunEnded { status, error, at_ms: self.now_ms });
    }

    /// A step that a person stopped.
    fn cancelled_step(&self) -> Option<StepNo> {
        (0..self.state().steps.len() as StepNo).find(|no| self.status(*no) == StepStatus::Cancelled)
    }

    fn step_error(&self, no: StepNo) -> String {
        let id = &self.plan(no).id;
        let view = self.draft.results.get(id);
        match view.and_then(|v| v.error.as_deref()) {
            Some(error) => format!("step '{id}': {error}"),
            None => format!("step '{id}' is {}", self.status(no).execution_status()),
        }
    }

    fn approval(&mut self, step: Option<StepNo>, approved: bool, by: UserId) -> Result<(), Refusal> {
        let Some(no) = step else {
            if self.state().status != RunStatus::AwaitingApproval {
                return Err(Refusal::RunNotNow(self.state().status, "it does not wait for an approval"));
            }
            self.emit(Change::ApprovalDecided { step, approved, by });
            if approved {
                self.run_started();
            } else {
                self.close(Closing::Cancelled, "a person refused the run");
            }
            return Ok(());
        };
        let found = self.state().steps.get(no as usize).ok_or(Refusal::NoSuchStep(no))?;
        if found.approval(self.plan(no).requires_approval) != ApprovalStatus::Pending
            || found.status != StepStatus::AwaitingApproval
        {
            return Err(Refusal::NotAwaitingApproval(no, found.status.execution_status()));
        }
        if self.has_expired(no) {
            return Err(Refusal::NotAwaitingApproval(no, ExecutionStatus::Expired));
        }
        self.emit(Change::ApprovalDecided { step, approved, by });
        if !approved {
            self.end_badly(no, StepStatus::Rejected, "a person refused it");
            return Ok(());
        }
        let live = self.live(no);
        let due_at_ms = live.due_at_ms.unwrap_or(self.now_ms).max(self.now_ms);
        let live = Live { approved: true, due_at_ms: Some(due_at_ms), ..live };
        self.emit(Change::StepReleased { step: no, status: StepStatus::Pending, live });
        if due_at_ms <= self.now_ms {
            self.start_or_queue(no);
        }
        Ok(())
    }

    fn pause(&mut self, by: &Arc<str>) -> Result<(), Refusal> {
        if self.state().status != RunStatus::Running {
            return Err(Refusal::RunNotNow(self.state().status, "only a running run can be paused"));
        }
        self.emit(Change::RunPaused { by: by.clone() });
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        if self.state().status != RunStatus::Paused {
            return Err(Refusal::RunNotNow(self.state().status, "only a paused run can be resumed"));
        }
        self.emit(Change::RunResumed);
        self.wake();
        Ok(())
    }
}
