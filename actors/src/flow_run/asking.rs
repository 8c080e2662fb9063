//! What tells people that they are to decide: who may, and about what, as it is when the decision is wanted.

use core314_domain::ids::{RowId, StepNo};
use core314_domain::plan::StepKind;
use core314_domain::run::PlanRef;
use core314_domain::words::{OccurrenceKind, Urgency};
use serde_json::{Value, json};

use super::FlowRun;
use crate::ports::signal::Occurrence;
use crate::ports::store::{ApprovalWrite, RunWrite};
use crate::random::random;

/// What tells of a request, if it tells the people whom another is for, and as urgently.
fn for_the_same<'a>(approval: &'a mut ApprovalWrite, asked: &Value) -> Option<&'a mut Occurrence> {
    let ApprovalWrite::Requested { told: Some(told), .. } = approval else { return None };
    let is_same = ["approvers", "allow_self", "urgency"].iter().all(|name| told.context["asked"][name] == asked[name]);
    is_same.then_some(&mut **told)
}

/// Has an occurrence say when the first of what it tells of expires.
fn expires(told: &mut Occurrence, at_ms: Option<i64>) {
    let known = told.context["expires_at_ms"].as_i64();
    told.context["expires_at_ms"] = json!(known.into_iter().chain(at_ms).min());
}

impl FlowRun {
    /// Tells whoever may decide about a step, or about the run itself. `None` where nobody keeps inboxes, and where this
    /// very write already tells the same people: whoever is told hears how many wait, counted once all of it is stored.
    pub(super) fn asks(
        &self,
        step: Option<StepNo>,
        expires_at_ms: Option<i64>,
        write: &mut RunWrite,
        now_ms: i64,
    ) -> Option<Occurrence> {
        self.runtime.inbox.as_ref()?;
        let header = &self.run.header;
        let context = step.map_or_else(
            || json!({"approvers": [], "allow_self": true, "urgency": Urgency::Medium}),
            |step| self.asked_of(step),
        );
        if let Some(told) = write.approvals.iter_mut().find_map(|approval| for_the_same(approval, &context)) {
            expires(told, expires_at_ms);
            return None;
        }
        let context = json!({"triggered_by": *header.triggered_by, "asked": context, "expires_at_ms": expires_at_ms});
        Some(Occurrence {
            id: RowId::new(now_ms, random()),
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

#[cfg(test)]
mod tests {
    use core314_domain::ids::{Owner, UserId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_that_tells_of_another_says_when_the_first_of_them_expires() {
        let asked = json!({"step_id": "a", "approvers": [], "allow_self": true, "urgency": "low"});
        let occurrence = Occurrence {
            id: RowId(Uuid::nil()),
            owner: Owner::new(UserId(Uuid::nil()), None),
            kind: OccurrenceKind::ApprovalRequested,
            subject: Uuid::nil(),
            context: json!({"asked": asked, "expires_at_ms": null}),
            by: String::new(),
            at_ms: 0,
        };
        let mut approval = ApprovalWrite::Requested {
            id: RowId(Uuid::nil()),
            step: Some(0),
            at_ms: 0,
            expires_at_ms: None,
            told: Some(Box::new(occurrence)),
        };
        let mut same = asked.clone();
        same["step_id"] = json!("b");
        for (expires_at_ms, expected) in [(None, None), (Some(9), Some(9)), (Some(7), Some(7)), (Some(8), Some(7))] {
            let told = for_the_same(&mut approval, &same).expect("it is for the same people");
            expires(told, expires_at_ms);
            assert_eq!(told.context["expires_at_ms"].as_i64(), expected);
        }
        let mut other = asked;
        other["urgency"] = json!("high");
        assert!(for_the_same(&mut approval, &other).is_none());
    }
}
