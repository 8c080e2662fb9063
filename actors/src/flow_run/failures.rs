//! What of a run has failed for good, as the tenant's escalation rules are told.
//!
//! Runs that an escalation itself started tell nothing: what is sent because something failed must not, failing, send more.

use core314_domain::escalation::EscalationReason;
use core314_domain::ids::{RowId, StepNo};
use core314_domain::json::without_nul;
use core314_domain::log::LogEntry;
use core314_domain::plan::StepKind;
use core314_domain::run::Change;
use core314_domain::run::step::StepStatus;
use core314_domain::words::{ExecutionStatus, PhaseStatus, RunStatus, TriggerType};
use serde_json::{Value, json};

use super::FlowRun;
use crate::ports::store::FailureNote;
use crate::random::random;

/// Longer messages are cut: the log has the whole.
const ERROR_CHARS: usize = 2_000;

impl FlowRun {
    /// What a change means to escalation rules; nothing for nearly every change.
    pub(super) fn failure(&self, change: &Change, now_ms: i64) -> Option<FailureNote> {
        if self.run.header.trigger_type == TriggerType::Escalation {
            return None;
        }
        match change {
            Change::AttemptLogged(entry) if entry.is_final && entry.status == ExecutionStatus::Failed => {
                Some(self.execution_failed(entry, now_ms))
            }
            Change::StepEnded { step, status: StepStatus::Expired } => {
                let is_asked = matches!(self.run.step_plan(*step).kind, StepKind::Approval(_));
                let reason =
                    if is_asked { EscalationReason::ApprovalOverdue } else { EscalationReason::ExecutionExpired };
                Some(self.note(reason, self.of_step(*step), now_ms))
            }
            Change::ApprovalOverdue { step } => {
                Some(self.note(EscalationReason::ApprovalOverdue, self.of_step(*step), now_ms))
            }
            Change::PhaseLate { phase, duration_ms } => self.phase_late(*phase, (*duration_ms, true), now_ms),
            // What is taken back after a phase has ended was told of with its end.
            Change::PhaseMoved(moved) if moved.is_known_late || moved.status == PhaseStatus::RolledBack => None,
            Change::PhaseMoved(moved) => self.phase_late(moved.phase, (moved.duration_ms?, false), now_ms),
            Change::RunEnded { status, .. } if !self.run.header.flow.is_single_action() => {
                let reason = match status {
                    RunStatus::Failed | RunStatus::TimedOut => EscalationReason::RunFailed,
                    // Whoever asked for it has been told of what had failed.
                    RunStatus::RolledBack if self.run.state.rollback.as_ref().is_some_and(|back| back.is_asked) => {
                        return None;
                    }
                    RunStatus::RolledBack => EscalationReason::RunRolledBack,
                    _ => return None,
                };
                let error = self.run.state.error.as_deref().map(cut);
                Some(self.note(reason, json!({"run_status": status, "error": error}), now_ms))
            }
            _ => None,
        }
    }

    fn execution_failed(&self, entry: &LogEntry, now_ms: i64) -> FailureNote {
        let mut context = self.of_step(entry.step);
        context["attempts"] = json!(entry.attempt + 1);
        if let Some(failure) = &entry.failure {
            context["error"] = json!(cut(&failure.message));
            context["error_code"] = json!(failure.code);
        }
        if let Some(status) = entry.http.as_ref().and_then(|http| http.status_code) {
            context["http_status_code"] = json!(status);
        }
        self.note(EscalationReason::ExecutionFailed, context, now_ms)
    }

    /// A phase that takes, or took, longer than its service level allows.
    fn phase_late(&self, phase: u32, (duration_ms, is_under_way): (i64, bool), now_ms: i64) -> Option<FailureNote> {
        let plan = self.run.plan.phases.get(phase as usize - 1)?;
        let sla_ms = plan.sla_ms?;
        let context = json!({"phase": phase, "phase_name": *plan.name, "duration_ms": duration_ms, "sla_ms": sla_ms,
            "is_under_way": is_under_way});
        (duration_ms > sla_ms).then(|| self.note(EscalationReason::SlaExceeded, context, now_ms))
    }

    fn of_step(&self, step: StepNo) -> Value {
        let plan = self.run.step_plan(step);
        let target = Some(&*plan.action_target).filter(|target| !target.is_empty());
        json!({
            "step_id": *plan.id,
            "execution_id": self.run.header.id.execution(step),
            "action_type": *plan.action_type,
            "action_target": target,
            "integration": target,
            "urgency": plan.urgency,
            "priority": plan.priority,
        })
    }

    fn note(&self, reason: EscalationReason, context: Value, now_ms: i64) -> FailureNote {
        let id = RowId::new(now_ms, random());
        FailureNote { id, owner: self.run.header.owner, reason, context: without_nul(context), at_ms: now_ms }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(ERROR_CHARS).collect()
}
