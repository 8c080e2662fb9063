//! Decisions, recommendations, memories and metrics of the story.

use core314_domain::ids::{Owner, RowId};
use serde_json::json;

use super::{Lit, Story, T0};

impl Story {
    pub(super) fn signals(&mut self, owner: Owner) {
        for is_judged in [false, true] {
            let decision = self.decision(owner, is_judged);
            self.recommendation(owner, decision, is_judged);
            self.memory(owner, decision, is_judged);
            self.metric(owner, is_judged);
        }
    }

    /// What every row of these begins with.
    pub(super) fn owned(&mut self, owner: Owner) -> (RowId, [(&'static str, Lit); 4]) {
        let id = RowId::new(T0, self.random());
        let columns = [
            ("id", id.0.into()),
            ("tenant_id", owner.tenant.0.into()),
            ("user_id", owner.user.0.into()),
            ("organization_id", owner.organization.map(|o| o.0).into()),
        ];
        (id, columns)
    }

    pub(super) fn put(&mut self, table: &'static str, head: [(&'static str, Lit); 4], more: Vec<(&'static str, Lit)>) {
        let columns = head.into_iter().chain(more).collect();
        self.rows.push(super::Narrow { table, columns });
    }

    fn verdict(owner: Owner, is_judged: bool) -> [(&'static str, Lit); 7] {
        [
            ("decided_by", is_judged.then_some(owner.user.0).into()),
            ("decided_at_ms", is_judged.then_some(T0 + 5).into()),
            ("notes", is_judged.then_some("fine").into()),
            ("outcome", is_judged.then_some("completed").into()),
            ("executed_at_ms", is_judged.then_some(T0 + 9).into()),
            ("created_at_ms", T0.into()),
            ("updated_at_ms", (T0 + 9).into()),
        ]
    }

    fn decision(&mut self, owner: Owner, is_judged: bool) -> RowId {
        let (id, head) = self.owned(owner);
        let mut columns = vec![
            ("source", "planner".into()),
            ("title", "it's busy".into()),
            ("summary", is_judged.then_some("so it is").into()),
            ("confidence_score", is_judged.then_some("0.75").into()),
            ("risk_level", is_judged.then_some("high").into()),
            ("payload", json!({"limit": 40}).into()),
            ("status", if is_judged { "executed" } else { "pending" }.into()),
        ];
        columns.extend(Self::verdict(owner, is_judged));
        self.put("decisions", head, columns);
        id
    }

    fn recommendation(&mut self, owner: Owner, decision: RowId, is_judged: bool) {
        let (_, head) = self.owned(owner);
        let mut columns = vec![
            ("decision_event_id", is_judged.then_some(decision.0).into()),
            ("title", "do it".into()),
            ("action_type", "api_call".into()),
            ("action_target", "lb".into()),
            ("action_payload", json!({"x": 1}).into()),
            ("priority", 3.into()),
            ("status", if is_judged { "executed" } else { "new" }.into()),
        ];
        columns.extend(Self::verdict(owner, is_judged));
        self.put("recommendations", head, columns);
    }

    fn memory(&mut self, owner: Owner, decision: RowId, success: bool) {
        let (_, head) = self.owned(owner);
        let columns = vec![
            ("subject_type", "decision".into()),
            ("subject_id", decision.0.into()),
            ("outcome", if success { "completed" } else { "failed" }.into()),
            ("features", json!({"risk_level": "high"}).into()),
            ("success", success.into()),
            ("recorded_at_ms", T0.into()),
        ];
        self.put("memories", head, columns);
    }

    fn metric(&mut self, owner: Owner, is_high: bool) {
        let (_, head) = self.owned(owner);
        let columns = vec![
            ("metric_name", if is_high { "cpu" } else { "memory" }.into()),
            ("metric_type", "gauge".into()),
            ("value", if is_high { "97.5" } else { "12" }.into()),
            ("labels", json!({"host": "a"}).into()),
            ("recorded_at_ms", T0.into()),
            ("created_at_ms", (T0 + 1).into()),
        ];
        self.put("metrics", head, columns);
    }
}
