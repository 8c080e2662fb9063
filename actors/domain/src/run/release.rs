//! From released inputs to an attempt, or to whatever else the step does.

use serde_json::Value;

use super::decide::Decider;
use super::step::{Live, StepStatus};
use super::{Change, Effect};
use crate::expr::size;
use crate::ids::StepNo;
use crate::log::{Failure, LogEntry};
use crate::plan::StepKind;
use crate::words::ExecutionStatus;

impl Decider<'_> {
    /// The step's inputs are satisfied.
    pub(super) fn release(&mut self, no: StepNo) {
        let base = self.draft.attempts.get(no);
        let live = Live { released_at_ms: self.now_ms, attempt: base, base, ..Live::default() };
        if let Some(when) = &self.plan(no).when {
            let scope = self.draft.scope(no, self.now_ms);
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
        let plan = self.plan(no);
        let (expires_in_ms, asks) = match &plan.kind {
            StepKind::Approval(approval) => (approval.timeout_ms, true),
            _ => (plan.expires_in_ms, plan.requires_approval),
        };
        let expires_at_ms = expires_in_ms.map(|ms| self.now_ms + ms);
        let live = Live { due_at_ms: Some(due_at_ms), expires_at_ms, ..live };
        if asks {
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
        let scope = self.draft.scope(no, self.now_ms);
        let value = template.render(&scope).map_err(|e| e.to_string())?;
        let text = value.as_str().ok_or_else(|| format!("scheduled_for must give a text, gave {value}"))?;
        let at = chrono::DateTime::parse_from_rfc3339(text)
            .map_err(|e| format!("scheduled_for '{text}' is not an RFC 3339 time: {e}"))?;
        Ok(at.timestamp_millis().max(self.now_ms))
    }

    /// Begins a step that needs no slot: whatever it is but an action.
    pub(super) fn begin_kind(&mut self, no: StepNo) {
        match &self.draft.plan.clone().part(self.draft.plan_ref(no)).kind {
            StepKind::Action | StepKind::Approval(_) => {}
            StepKind::Branch(conditions) => self.begin_branch(no, conditions),
            StepKind::Parallel(_) => self.begin_parallel(no),
            StepKind::ForEach(each) => self.begin_for_each(no, each),
            StepKind::While(each) => self.begin_while(no, each),
            StepKind::SubFlow(_) => self.begin_sub_flow(no),
            StepKind::Wait(wait) => self.begin_wait(no, wait),
            StepKind::Transform(values) => self.transform(no, values),
            StepKind::Set(values) => self.set(no, values),
            StepKind::Assign(values) => self.assign(no, values),
            StepKind::Raise { error, message } => self.raise(no, error, message),
            StepKind::Stop { status, output } => self.stop(no, *status, output),
        }
    }

    /// Starts an attempt, whose payload is rendered first.
    pub(super) fn start(&mut self, no: StepNo) {
        if self.is_cached(no) {
            self.decision.unused_slots += 1;
            return;
        }
        let key = match self.idempotency_key(no) {
            Ok(key) => key,
            Err(failure) => {
                self.decision.unused_slots += 1;
                return self.fails(no, failure);
            }
        };
        let live = self.live(no);
        let scope = self.draft.scope(no, live.released_at_ms);
        let part = self.draft.plan_ref(no);
        let template = &self.plan(no).payload;
        let payload = template.render(&scope).and_then(|shown| Ok((shown, template.render_marked(&scope)?)));
        let (attempt, epoch) = (live.attempt, self.grant.epoch);
        self.emit(Change::StepStarted { step: no, attempt, at_ms: self.now_ms, epoch });
        match payload {
            Ok((payload, marked)) => {
                self.rendered_bytes += size(&payload);
                let payload = payload.into();
                self.decision.effects.push(Effect::StartAttempt { step: no, attempt, payload, marked, part, key });
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

    /// Ends a step that is no action well, with a row in the log.
    pub(super) fn completes(&mut self, no: StepNo, result: Value) {
        let (bytes, most) = (size(&result), self.draft.bounds.result_bytes);
        if bytes > most {
            return self.fails(no, too_large(bytes, most));
        }
        self.rendered_bytes += bytes;
        self.starts_now(no);
        let payload = self.plan(no).payload.source().clone().into();
        let entry = self.log_entry(no, ExecutionStatus::Completed, payload);
        self.emit(Change::AttemptLogged(Box::new(LogEntry { result: Some(result.into()), ..entry })));
        self.end(no, StepStatus::Completed);
    }

    /// Ends a step that is no action badly, with a row in the log.
    pub(super) fn fails(&mut self, no: StepNo, failure: Failure) {
        self.starts_now(no);
        let message = failure.message.clone();
        let payload = self.plan(no).payload.source().clone().into();
        self.log_failure(no, failure, payload);
        self.end_badly(no, StepStatus::Failed, &message);
    }

    /// Whatever ends with a result or an error has had an attempt.
    pub(super) fn starts_now(&mut self, no: StepNo) {
        if self.status(no) != StepStatus::InProgress {
            let live = self.live(no);
            let at_ms = live.started_at_ms.unwrap_or(self.now_ms);
            self.emit(Change::StepStarted { step: no, attempt: live.attempt, at_ms, epoch: self.grant.epoch });
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
}

/// What a step gives is more than may be put together in a run.
pub(super) fn too_large(bytes: usize, most: usize) -> Failure {
    let message = format!(
        "its result would have about {bytes} bytes, and may have {most}; let the steps in it give less, such as by a \
         transform that keeps what is needed"
    );
    Failure::fatal("too_large", message)
}
