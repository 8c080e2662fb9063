//! What tells people that they are to decide: who may, and about what, as it is when the decision is wanted.

use core314_domain::ids::{RowId, StepNo};
use core314_domain::plan::StepKind;
use core314_domain::run::PlanRef;
use core314_domain::words::{OccurrenceKind, Urgency};
use serde_json::{Value, json};

use super::FlowRun;
use crate::ports::signal::Occurrence;
use crate::ports::store::{ApprovalWrite, RunWrite};

/// Whether a request is told to the people whom another is for, and is as urgent.
fn is_for_the_same(approval: &ApprovalWrite, asked: &Value) -> bool {
    let ApprovalWrite::Requested { told: Some(told), .. } = approval else { return false };
    ["approvers", "allow_self", "urgency"].iter().all(|name| told.context["asked"][name] == asked[name])
}

impl FlowRun {
    /// Tells whoever may decide about a step, or about the run itself. `None` where nobody keeps inboxes, and where this
    /// very write already tells the same people: whoever is told hears how many wait, counted once all of it is stored.
    pub(super) fn asks(&self, step: Option<StepNo>, write: &RunWrite, now_ms: i64) -> Option<Occurrence> {
        self.runtime.inbox.as_ref()?;
        let header = &self.run.header;
        let context = step.map_or_else(
            || json!({"approvers": [], "allow_self": true, "urgency": Urgency::Medium}),
            |step| self.asked_of(step),
        );
        if write.approvals.iter().any(|approval| is_for_the_same(approval, &context)) {
            return None;
        }
        let context = json!({"triggered_by": *header.triggered_by, "asked": context});
        Some(Occurrence {
            id: RowId::new(now_ms, rand::random()),
            owner: header.owner,
            kind: OccurrenceKind::ApprovalRequested,
            subject: header.id.0,
            context,
            by: format!("run:{}", header.id),
            at_ms: now_ms,
        })
    }

    fn asked_of(&self, step: StepNo) -> Value {
        let plan = self.run.step_plan(step);
        let (approvers, allow_self): (Vec<String>, bool) = match &plan.kind {
            StepKind::Approval(approval) => {
                (approval.approvers.iter().map(ToString::to_string).collect(), approval.allow_self)
            }
            _ => (Vec::new(), true),
        };
        json!({
            "step_id": *plan.id,
            "action_type": *plan.action_type,
            "execution_id": self.run.header.id.execution(step),
            "approvers": approvers,
            "allow_self": allow_self,
            "urgency": plan.urgency,
            "takes_back": matches!(self.run.plan_ref(step), PlanRef::Undo(_)),
        })
    }
}
