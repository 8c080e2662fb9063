//! What people decide: approvals, pauses.

use std::sync::Arc;

use serde_json::json;

use super::decide::Decider;
use super::step::{Live, StepStatus};
use super::{Change, Closing, Refusal, Voter};
use crate::Json;
use crate::ids::StepNo;
use crate::log::Failure;
use crate::plan::{ApprovalPlan, Approver, Problem, StepKind};
use crate::words::{ExecutionStatus, OnApprovalTimeout, Role, RunStatus};

impl Decider<'_> {
    /// A person agrees or refuses: to the run, or to a step of it.
    pub(super) fn approval(&mut self, step: Option<StepNo>, approved: bool, by: &Voter) -> Result<(), Refusal> {
        let Some(no) = step else {
            if self.state().status != RunStatus::AwaitingApproval {
                return Err(Refusal::RunNotNow(self.state().status, "it does not wait for an approval"));
            }
            self.emit(Change::ApprovalDecided { step, approved, by: by.user, form: by.form.clone() });
            if approved {
                self.run_started();
            } else {
                self.close(Closing::Cancelled, "a person refused the run");
            }
            return Ok(());
        };
        let found = self.state().get(no).ok_or(Refusal::NoSuchStep(no))?;
        if found.status != StepStatus::AwaitingApproval {
            return Err(Refusal::NotAwaitingApproval(no, found.status.execution_status()));
        }
        if self.has_expired(no) {
            return Err(Refusal::NotAwaitingApproval(no, ExecutionStatus::Expired));
        }
        let plan = self.draft.plan.clone();
        if let StepKind::Approval(approval) = &plan.part(self.draft.plan_ref(no)).kind {
            return self.vote(no, approval, approved, by);
        }
        self.emit(Change::ApprovalDecided { step, approved, by: by.user, form: by.form.clone() });
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

    /// At an approval step enough people must agree; one who refuses, refuses for all.
    fn vote(&mut self, no: StepNo, approval: &ApprovalPlan, approved: bool, by: &Voter) -> Result<(), Refusal> {
        if !approval.approvers.is_empty() && !approval.approvers.iter().any(|approver| may_decide(approver, by)) {
            let who: Vec<String> = approval.approvers.iter().map(ToString::to_string).collect();
            let now: Vec<String> = by.on_duty.iter().map(ToString::to_string).collect();
            let now = if now.is_empty() { String::new() } else { format!(" ({})", now.join("; ")) };
            return Err(Refusal::NotYours(no, format!("it is for {}{now}", who.join(", "))));
        }
        if !approval.allow_self && self.draft.header.is_started_by(by.user) {
            return Err(Refusal::NotYours(no, "whoever started the run may not decide".to_owned()));
        }
        let votes = self.state().votes.get(&no).cloned().unwrap_or_default();
        if approved && votes.contains(&by.user) {
            return Err(Refusal::NotYours(no, "you have agreed already, and others must too".to_owned()));
        }
        let form = filled(approval, approved, by).map_err(|problems| Refusal::BadForm(no, problems))?;
        if !approved {
            self.emit(Change::ApprovalDecided { step: Some(no), approved, by: by.user, form });
            self.end_badly(no, StepStatus::Rejected, "a person refused it");
            return Ok(());
        }
        self.emit(Change::Voted { step: no, by: by.user, form: form.clone() });
        if votes.len() + 1 < approval.required {
            return Ok(());
        }
        let approved_by = self.state().votes.get(&no).cloned().unwrap_or_default();
        let forms = self.state().forms.get(&no).cloned().unwrap_or_default();
        self.emit(Change::ApprovalDecided { step: Some(no), approved, by: by.user, form: form.clone() });
        let notes = by.notes.as_deref();
        self.completes(
            no,
            json!({"approved": true, "approved_by": approved_by, "notes": notes, "form": form, "forms": forms}),
        );
        Ok(())
    }

    /// Nobody has decided in time.
    pub(super) fn approval_expires(&mut self, no: StepNo, approval: &ApprovalPlan) {
        let message = "nobody decided in time";
        match approval.on_timeout {
            OnApprovalTimeout::Reject => self.end_badly(no, StepStatus::Expired, message),
            OnApprovalTimeout::Approve => {
                self.completes(
                    no,
                    json!({"approved": true, "approved_by": [], "notes": message, "form": null, "forms": {}}),
                );
            }
            OnApprovalTimeout::Fail => self.fails(no, Failure::fatal("approval_timeout", message)),
            OnApprovalTimeout::Escalate => self.emit(Change::ApprovalOverdue { step: no }),
        }
    }

    pub(super) fn pause(&mut self, by: &Arc<str>) -> Result<(), Refusal> {
        let status = self.state().status;
        if !matches!(status, RunStatus::Running | RunStatus::Pending) {
            return Err(Refusal::RunNotNow(status, "only a run that runs, or has yet to begin, can be paused"));
        }
        self.emit(Change::RunPaused { by: by.clone() });
        if status == RunStatus::Pending {
            self.emit(Change::RunStepsAside);
        }
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<(), Refusal> {
        if self.state().status != RunStatus::Paused {
            return Err(Refusal::RunNotNow(self.state().status, "only a paused run can be resumed"));
        }
        if self.state().is_aside {
            // Whoever keeps its flow's limits tells it to begin.
            self.emit(Change::RunLinesUp);
            return Ok(());
        }
        self.emit(Change::RunResumed);
        self.wake();
        Ok(())
    }
}

/// What somebody filled in, by the step's form. Whoever refuses need not fill in anything.
fn filled(approval: &ApprovalPlan, approved: bool, by: &Voter) -> Result<Json, Vec<Problem>> {
    let Some(form) = &approval.form else { return Ok(by.form.clone()) };
    if by.form.is_null() && !approved {
        return Ok(by.form.clone());
    }
    let nothing = json!({});
    form.fill(if by.form.is_null() { &nothing } else { &by.form }).map(Into::into)
}

fn may_decide(approver: &Approver, by: &Voter) -> bool {
    match approver {
        Approver::User(user) => *user == by.user,
        Approver::Role(role) => by.role == Role::Admin || by.role == *role,
        Approver::OnCall(name) => {
            by.role == Role::Admin
                || by.on_duty.iter().any(|duty| duty.schedule == *name && duty.who.as_ref() == Ok(&by.user))
        }
    }
}

impl std::fmt::Display for Approver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::OnCall(name) => write!(f, "on_call:{name}"),
        }
    }
}
