//! The end of an attempt: seen, unknown, or cut off.

use super::decide::{Decider, retry_of};
use super::step::{Live, StepStatus};
use super::{AttemptReport, Change, Closing, Effect, Outcome};
use crate::expr::size;
use crate::ids::StepNo;
use crate::log::{Failure, LogEntry, OUTCOME_UNKNOWN};
use crate::words::{ExecutionStatus, OnUnknownOutcome};

impl Decider<'_> {
    /// An executor reports. A report of another attempt than the present one is old news.
    pub(super) fn attempt_ended(&mut self, no: StepNo, attempt: u32, report: &AttemptReport) {
        let known = self.state().get(no).is_some();
        if !known || self.status(no) != StepStatus::InProgress || self.live(no).attempt != attempt {
            return;
        }
        if let Outcome::Completed(result) = &report.outcome {
            self.rendered_bytes += size(result);
        }
        match &report.outcome {
            Outcome::Completed(_) | Outcome::Failed(_) if self.live(no).verifying => self.verified(no, report),
            Outcome::Completed(result) => {
                let entry = self.log_entry(no, ExecutionStatus::Completed, report.payload.clone());
                self.emit_log(LogEntry { result: Some(result.clone()), ..entry }, report);
                self.keep_cached(no, self.live(no).cache, result);
                self.end(no, StepStatus::Completed);
            }
            // Nobody told it to: whatever ended it did not do what the step asks for.
            Outcome::Cancelled if self.state().closing.is_none() && !self.live(no).cancelled => {
                let failure =
                    Failure::retryable("cancelled", "the attempt ended early, and its run did not ask for it");
                self.attempt_failed(no, &failure, report);
            }
            Outcome::Cancelled => {
                let entry = self.log_entry(no, ExecutionStatus::Cancelled, report.payload.clone());
                let failure = Failure::fatal("cancelled", "the attempt was told to end");
                self.emit_log(LogEntry { failure: Some(failure), ..entry }, report);
                self.end(no, StepStatus::Cancelled);
            }
            Outcome::Failed(failure) => self.attempt_failed(no, failure, report),
        }
    }

    /// A probe has ended. Where it succeeds the attempt before it took effect, and what the probe found is the step's
    /// result; where it fails for good there was no effect, and the step is tried again. One that cannot tell is repeated as
    /// the step's policy says, in a count of its own; after the last a person must say.
    fn verified(&mut self, no: StepNo, report: &AttemptReport) {
        let live = self.live(no);
        let next_attempt = live.attempt + 1;
        match &report.outcome {
            Outcome::Completed(result) => {
                let entry = self.log_entry(no, ExecutionStatus::Completed, report.payload.clone());
                self.emit_log(LogEntry { result: Some(result.clone()), ..entry }, report);
                self.end(no, StepStatus::Completed);
            }
            Outcome::Failed(failure) => {
                let entry = self.log_entry(no, ExecutionStatus::Failed, report.payload.clone());
                let goes_on = self.state().closing.is_none() && !live.cancelled;
                self.emit_log(LogEntry { failure: Some(failure.clone()), is_final: !goes_on, ..entry }, report);
                if !goes_on {
                    return self.end(no, StepStatus::Cancelled);
                }
                let again_at_ms = if failure.retryable { self.next_probe_ms(no, failure.retry_after_ms) } else { None };
                let parks = failure.retryable && again_at_ms.is_none();
                if parks {
                    self.emit(Change::StepParked { step: no, next_attempt });
                } else {
                    let due_at_ms = again_at_ms.unwrap_or(self.now_ms);
                    self.emit(Change::StepRetrying { step: no, next_attempt, due_at_ms });
                }
                let verifying = again_at_ms.is_some();
                let probes = if verifying { live.probes + 1 } else { 0 };
                let live = Live { verifying, probes, base: live.base + 1, ..self.live(no) };
                self.emit(Change::StepAdjusted { step: no, live });
                if parks {
                    self.emit(Change::ApprovalRequested { step: Some(no) });
                }
            }
            Outcome::Cancelled => {}
        }
    }

    fn attempt_failed(&mut self, no: StepNo, failure: &Failure, report: &AttemptReport) {
        let entry = self.log_entry(no, ExecutionStatus::Failed, report.payload.clone());
        let cancelled = self.live(no).cancelled;
        let next_at_ms =
            if failure.retryable && !cancelled { self.next_at_ms(no, failure.retry_after_ms) } else { None };
        let entry = LogEntry { failure: Some(failure.clone()), is_final: next_at_ms.is_none(), ..entry };
        self.emit_log(entry, report);
        match next_at_ms {
            Some(due_at_ms) => {
                let next_attempt = self.live(no).attempt + 1;
                self.emit(Change::StepRetrying { step: no, next_attempt, due_at_ms });
                if due_at_ms <= self.now_ms {
                    self.start_or_queue(no);
                }
            }
            None if cancelled => self.end(no, StepStatus::Cancelled),
            None => self.end_badly(no, StepStatus::Failed, &failure.message),
        }
    }

    /// When the step may be tried again; `None` when it may not.
    fn next_at_ms(&self, no: StepNo, retry_after_ms: Option<i64>) -> Option<i64> {
        let live = self.live(no);
        if self.state().closing.is_some() || live.cancelled {
            return None;
        }
        let execution = self.draft.header.id.execution(no);
        retry_of(self.plan(no), self.grant.gates).next_at_ms(
            execution,
            live.attempt - live.base,
            live.released_at_ms,
            self.now_ms,
            retry_after_ms,
        )
    }

    /// When the probe under way, which could not tell, may be made again; `None` when it may not.
    fn next_probe_ms(&self, no: StepNo, retry_after_ms: Option<i64>) -> Option<i64> {
        let live = self.live(no);
        let execution = self.draft.header.id.execution(no);
        let policy = retry_of(self.plan(no), self.grant.gates);
        policy.next_at_ms(execution, live.probes, live.released_at_ms, self.now_ms, retry_after_ms)
    }

    fn emit_log(&mut self, entry: LogEntry, report: &AttemptReport) {
        self.emit(Change::AttemptLogged(Box::new(LogEntry {
            started_at_ms: report.started_at_ms,
            completed_at_ms: report.completed_at_ms,
            duration_ms: Some(report.duration_ms),
            http: report.http.clone(),
            ..entry
        })));
    }

    /// Settles attempts that nobody knows of any more, then looks at what is due.
    pub(super) fn recover(&mut self, under_way: &[StepNo]) {
        let told_to_end = matches!(self.state().closing, Some(Closing::Cancelled | Closing::TimedOut));
        for no in self.state().numbers() {
            if self.is_told_to_stop(no) {
                // The same of the run that it has started.
                self.stop_run(no);
            }
            if self.status(no) != StepStatus::InProgress {
                continue;
            }
            if !under_way.contains(&no) {
                self.outcome_unknown(no);
            } else if told_to_end || self.live(no).cancelled {
                // Whoever was to tell the attempt may have died first. To be told twice does no harm.
                self.cancel_attempt(no);
            }
        }
        self.fail_lost_loops();
        self.wake();
    }

    /// The attempt counts, and is logged as what it is: nobody knows whether it took effect.
    fn outcome_unknown(&mut self, no: StepNo) {
        let live = self.live(no);
        let scope = self.draft.scope(no, live.released_at_ms);
        let template = self.plan(no).payload.clone();
        let payload = template.render(&scope).unwrap_or_else(|_| template.source().clone());
        let message = "the runtime died while this attempt was under way; whether it took effect is not known";
        let failure = Failure::retryable(OUTCOME_UNKNOWN, message);
        let goes_on = self.state().closing.is_none() && !live.cancelled;
        let parks = self.plan(no).on_unknown_outcome == OnUnknownOutcome::Park && goes_on;
        let verifies = (self.plan(no).on_unknown_outcome == OnUnknownOutcome::Verify || live.verifying) && goes_on;
        // A probe changes nothing, and costs none of the attempts that the step may make.
        let next_at_ms = if verifies { Some(self.now_ms) } else { self.next_at_ms(no, None) };
        let entry = LogEntry {
            failure: Some(failure),
            is_final: !parks && next_at_ms.is_none(),
            ..self.log_entry(no, ExecutionStatus::Failed, payload.into())
        };
        self.emit(Change::AttemptLogged(Box::new(entry)));
        let next_attempt = live.attempt + 1;
        match next_at_ms {
            _ if parks => {
                self.emit(Change::StepParked { step: no, next_attempt });
                self.emit(Change::ApprovalRequested { step: Some(no) });
            }
            // Its backoff was long enough: the runtime had to start again.
            Some(_) => {
                self.emit(Change::StepRetrying { step: no, next_attempt, due_at_ms: self.now_ms });
                if verifies {
                    let live = Live { verifying: true, base: live.base + 1, ..self.live(no) };
                    self.emit(Change::StepAdjusted { step: no, live });
                }
            }
            None if self.state().closing.is_some() || live.cancelled => self.end(no, StepStatus::Cancelled),
            None => self.end_badly(no, StepStatus::Failed, message),
        }
    }

    pub(super) fn cancel_attempt(&mut self, no: StepNo) {
        let attempt = self.live(no).attempt;
        self.decision.effects.push(Effect::CancelAttempt { step: no, attempt });
    }

    /// Ends a run that its actor cannot handle: what was under way has failed, with the panic's own words.
    pub(super) fn quarantine(&mut self, text: &str) {
        let error = format!("the run was set aside after repeated failures of its actor: {text}");
        let under_way: Vec<StepNo> =
            self.state().numbers().into_iter().filter(|no| self.status(*no) == StepStatus::InProgress).collect();
        for no in under_way {
            self.cancel_attempt(no);
            let payload = self.plan(no).payload.source().clone().into();
            self.log_failure(no, Failure::fatal("poisoned", text), payload);
            self.end(no, StepStatus::Failed);
        }
        // A run that nobody can handle waits for no other's end.
        let told: Vec<StepNo> = self.state().numbers().into_iter().filter(|no| self.is_told_to_stop(*no)).collect();
        for no in told {
            self.leave_stopped_run(no);
        }
        self.close(Closing::Failed, &error);
    }
}
