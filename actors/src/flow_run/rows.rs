//! The rows that a run's changes leave beside its state: approvals, attempts, transitions, the audit log.

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::event;
use core314_domain::expr::size;
use core314_domain::ids::{RowId, StepNo};
use core314_domain::log::LogEntry;
use core314_domain::plan::StepKind;
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Change, PhaseMove, UndoWay};
use core314_domain::words::{OnUnknownOutcome, RunStatus, TriggerType};
use serde_json::json;

use super::{ENGINE, FlowRun, Remark, outcome};
use crate::ports::store::{ApprovalWrite, CachedWrite, PhaseWrite, RunEnd, RunWrite, WaitWrite};
use crate::random::random;

impl FlowRun {
    /// The rows of one change.
    pub(super) fn store(
        &self,
        change: &Change,
        remark: &Remark,
        ended_before: Option<&RunEnd>,
        write: &mut RunWrite,
        now_ms: i64,
    ) {
        let by = remark.by.as_deref().unwrap_or(ENGINE);
        match change {
            Change::AttemptLogged(entry) => {
                let executor = self.runtime.executors.get(&*entry.action_type);
                let payload = executor.map_or_else(|| entry.payload.clone(), |e| e.logged(&entry.payload));
                write.audit.extend(outcome::audit_of_attempt(&self.run, entry, by, now_ms));
                write.log.push(LogEntry { payload, ..LogEntry::clone(entry) });
            }
            Change::ApprovalRequested { .. } | Change::ApprovalDecided { .. } | Change::ResultCached { .. } => {
                self.store_beside(change, remark, write, now_ms);
            }
            Change::StepEnded { step, status } => self.store_end(*step, *status, write, now_ms),
            Change::RunPaused { by } => write.audit.push(self.audit(AuditEvent::RunPaused, by, now_ms)),
            Change::RunResumed | Change::RunLinesUp => write.audit.push(self.audit(AuditEvent::RunResumed, by, now_ms)),
            Change::RunReopened { .. } => write.audit.push(self.audit(AuditEvent::RunRetried, by, now_ms)),
            Change::RunEnded { status, .. } => {
                if self.run.header.needs_approval(&self.run.plan) && self.run.state.started_at_ms.is_none() {
                    write.approvals.push(ApprovalWrite::Lapsed { step: None, at_ms: now_ms });
                }
                let is_cancelled = *status == RunStatus::Cancelled;
                write.audit.extend(is_cancelled.then(|| self.audit(AuditEvent::RunCancelled, by, now_ms)));
                write.waits.extend(self.run.plan.waits_for_events.then_some(WaitWrite::Over));
                write.ended = self.end();
                write.audit.extend(outcome::audit(&self.run, now_ms));
            }
            Change::RunAwaitsApproval
            | Change::RunStarted { .. }
            | Change::RunHeld
            | Change::RunStepsAside
            | Change::RunGathers
            | Change::RunGathered { .. }
            | Change::RunClosing { .. }
            | Change::StepReleased { .. }
            | Change::StepAdjusted { .. }
            | Change::ApprovalOverdue { .. }
            | Change::StepReset { .. }
            | Change::StepStarted { .. }
            | Change::StepRetrying { .. }
            | Change::StepParked { .. }
            | Change::StepWaiting { .. }
            | Change::LoopOpened { .. }
            | Change::LoopReopened { .. }
            | Change::LoopDropped { .. }
            | Change::RoundOpened { .. }
            | Change::RoundClosed { .. }
            | Change::VarsSet { .. }
            | Change::SignalKept { .. }
            | Change::SignalTaken { .. }
            | Change::SignalNamed(_)
            | Change::UndoOpened { .. }
            | Change::PhaseLate { .. }
            | Change::OutputSet { .. } => {}
            Change::WaitOpened { .. }
            | Change::WaitClosed { .. }
            | Change::PhaseMoved(_)
            | Change::Voted { .. }
            | Change::RollbackBegan { .. }
            | Change::RollbackEnded { .. }
            | Change::UndoSettled { .. } => self.store_transition(change, by, ended_before, write, now_ms),
        }
    }

    /// The same of a step that has ended: it waits for no event any more, and nobody has to decide about it.
    fn store_end(&self, step: StepNo, status: StepStatus, write: &mut RunWrite, now_ms: i64) {
        if self.run.plan.waits_for_events && self.run.step_plan(step).waits_for_event() {
            write.waits.push(WaitWrite::Closed { step, taken: None });
        }
        if matches!(status, StepStatus::Expired | StepStatus::Cancelled) {
            let plan = self.run.step_plan(step);
            let asks = plan.requires_approval || matches!(plan.kind, StepKind::Approval(_));
            if asks || plan.on_unknown_outcome == OnUnknownOutcome::Park {
                write.approvals.push(ApprovalWrite::Lapsed { step: Some(step), at_ms: now_ms });
            }
        }
    }

    /// The same of approvals that are wanted or decided.
    fn store_beside(&self, change: &Change, remark: &Remark, write: &mut RunWrite, now_ms: i64) {
        match change {
            Change::ResultCached { step, key, result, expires_at_ms } => {
                let settings = &self.runtime.settings;
                if size(result) <= settings.max_cached_result_bytes {
                    write.cached.push(CachedWrite {
                        flow: self.run.header.flow.id,
                        key: *key,
                        execution: self.run.header.id.execution(*step),
                        result: result.clone(),
                        at_ms: now_ms,
                        expires_at_ms: *expires_at_ms,
                        most: settings.cached_results_per_flow,
                    });
                }
            }
            Change::ApprovalRequested { step } => {
                let live = step.and_then(|no| self.run.state.get(no)).and_then(|step| step.live.as_deref());
                let expires_at_ms = live.and_then(|l| l.expires_at_ms);
                let told = self.asks(*step, expires_at_ms, write, now_ms).map(Box::new);
                write.approvals.push(ApprovalWrite::Requested {
                    id: RowId::new(now_ms, random()),
                    step: *step,
                    at_ms: now_ms,
                    expires_at_ms,
                    told,
                });
            }
            Change::ApprovalDecided { step, approved, by, form } => {
                write.approvals.push(ApprovalWrite::Decided {
                    step: *step,
                    approved: *approved,
                    by: *by,
                    notes: remark.notes.clone(),
                    form: form.clone(),
                    at_ms: now_ms,
                });
                let event = if *approved { AuditEvent::ApprovalGiven } else { AuditEvent::ApprovalRefused };
                write.audit.push(self.audit(event, &format!("user:{by}"), now_ms));
            }
            _ => {}
        }
    }

    /// The same of waits, phases and what is taken back.
    fn store_transition(
        &self,
        change: &Change,
        by: &str,
        ended_before: Option<&RunEnd>,
        write: &mut RunWrite,
        now_ms: i64,
    ) {
        match change {
            Change::WaitOpened { step, kind, key } => {
                let header = &self.run.header;
                let kept_since_ms = now_ms.saturating_sub(self.runtime.settings.kept_events_ms);
                write.waits.push(WaitWrite::Opened {
                    step: *step,
                    kind: kind.clone(),
                    key: key.clone(),
                    since_ms: header.accepted_at_ms.max(kept_since_ms),
                    but: (header.trigger_type == TriggerType::Event).then(|| event::name(&header.trigger_context)),
                });
            }
            Change::WaitClosed { step, taken } => write.waits.push(WaitWrite::Closed { step: *step, taken: *taken }),
            Change::PhaseMoved(moved) => write.phases.push(self.phase(moved, now_ms)),
            Change::Voted { by, .. } => {
                write.audit.push(self.audit(AuditEvent::ApprovalGiven, &format!("user:{by}"), now_ms));
            }
            Change::RollbackBegan { .. } => {
                // One that was asked for after the end takes the run up again.
                if let Some(ended) = ended_before {
                    write.reopened = Some(ended.clone());
                }
                write.audit.push(self.audit(AuditEvent::RollbackStarted, by, now_ms));
            }
            Change::RollbackEnded { .. } => write.audit.push(self.audit(AuditEvent::RollbackEnded, by, now_ms)),
            Change::UndoSettled { way: UndoWay::Done, .. } if by == ENGINE => {}
            Change::UndoSettled { step, way } => {
                if let Some(ended) = ended_before {
                    write.reopened = Some(ended.clone());
                }
                let entry = self.audit(AuditEvent::UndoSettled, by, now_ms);
                let details = json!({"execution_id": self.run.header.id.execution(*step), "way": words_of(way)});
                write.audit.push(AuditEntry { details, ..entry });
            }
            _ => {}
        }
    }

    fn phase(&self, moved: &PhaseMove, now_ms: i64) -> PhaseWrite {
        let header = &self.run.header;
        let plan = self.run.plan.phases.get(moved.phase as usize - 1);
        let ordinal = self.moves.replace(self.moves.get() + 1);
        // The twelve bits after the time (RFC 9562, 6.2, method 1): rows of one millisecond stay in their order.
        let random = u128::from(ordinal & 0xfff) << 62 | u128::from(random::<u64>() >> 2);
        PhaseWrite {
            id: RowId::new(now_ms, random),
            owner: header.owner,
            flow: header.flow.id,
            name: plan.map_or_else(|| "".into(), |plan| plan.name.clone()),
            sla_ms: plan.and_then(|plan| plan.sla_ms),
            is_told: plan.is_some_and(|plan| plan.is_told),
            moved: moved.clone(),
        }
    }
}

/// What a person has said of an undo that had failed.
fn words_of(way: &UndoWay) -> serde_json::Value {
    match way {
        UndoWay::Retry => json!("retried"),
        UndoWay::Skip { reason } => json!({"skipped": reason}),
        UndoWay::Done => json!("done_by_hand"),
    }
}
