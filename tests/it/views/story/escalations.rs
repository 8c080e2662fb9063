//! Rules, events, what they want done, schedules and silences of the story.

use core314_domain::ids::{Owner, RowId};
use serde_json::{Value, json};

use super::{Lit, Story, T0};

impl Story {
    pub(super) fn escalations(&mut self, owner: Owner) {
        for is_over in [false, true] {
            let rule = self.rule(owner, is_over);
            let event = self.escalation(owner, rule, is_over);
            self.task(owner, event, is_over);
            self.schedule(owner, is_over);
        }
    }

    fn rule(&mut self, owner: Owner, is_over: bool) -> RowId {
        let (id, head) = self.owned(owner);
        let minutes = is_over.then_some(2.5);
        let document = json!({
            "rule_name": "r", "rule_description": "it's late", "rule_category": "money",
            "trigger_conditions": if is_over { json!({"a": 1}) } else { Value::Null },
            "applies_to_action_types": ["api_call"], "applies_to_integrations": ["lb"], "applies_to_flows": ["f"],
            "escalation_levels": [{"level": 1, "actions": ["notify_user"]}], "notification_channels": ["in_app"],
            "auto_remediation_enabled": is_over, "remediation_actions": ["retry"], "sla_enabled": is_over,
            "sla_response_time_minutes": minutes, "sla_resolution_time_minutes": minutes, "sla_breach_actions": [],
            "max_escalations_per_hour": is_over.then_some(3), "max_escalations_per_day": is_over.then_some(9),
            "cooldown_period_minutes": minutes, "tags": ["t"], "metadata": {"k": 1},
        });
        let count = |many: i64| Lit::from(if is_over { many } else { 0 });
        let name = format!("r{}", u8::from(is_over));
        let columns = vec![
            ("rule_name", name.as_str().into()),
            ("is_active", is_over.into()),
            ("priority", 5.into()),
            ("document", document.into()),
            ("version", 1.into()),
            ("total_escalations", count(4)),
            ("successful_resolutions", count(2)),
            ("failed_resolutions", count(1)),
            ("resolution_sum_ms", count(90_000)),
            ("acknowledged", count(2)),
            ("acknowledge_sum_ms", count(60_000)),
            ("suppressed", count(7)),
            ("breaches", count(1)),
            ("last_triggered_at_ms", is_over.then_some(T0).into()),
            ("heartbeat_at_ms", is_over.then_some(T0).into()),
            ("created_by", owner.user.0.into()),
            ("updated_by", owner.user.0.into()),
            ("created_at_ms", T0.into()),
            ("updated_at_ms", (T0 + 9).into()),
        ];
        self.put("rules", head, columns);
        id
    }

    fn escalation(&mut self, owner: Owner, rule: RowId, is_over: bool) -> RowId {
        let (id, head) = self.owned(owner);
        let of = |is: bool| is.then_some(rule.0);
        let columns = vec![
            ("rule_id", rule.0.into()),
            ("rule_version", 1.into()),
            ("execution_id", of(is_over).into()),
            ("log_id", of(is_over).into()),
            ("flow_id", of(is_over).into()),
            ("run_id", of(is_over).into()),
            ("status", if is_over { "resolved" } else { "suppressed" }.into()),
            ("level", i64::from(is_over).into()),
            ("reason", "execution_failed".into()),
            ("subject", "flow:1".into()),
            ("urgency", "high".into()),
            ("count", 2.into()),
            ("held_back", 1.into()),
            ("held_by", (!is_over).then(|| json!({"words": "cooldown"})).into()),
            ("bundled_into", of(!is_over).into()),
            ("context", json!({"error": "it's down"}).into()),
            ("asked", json!({"asked": [], "left_out": 0}).into()),
            ("conditions_met", json!({"applies_to_flows": ["f"]}).into()),
            ("acknowledged_by", is_over.then_some(owner.user.0).into()),
            ("acknowledged_at_ms", is_over.then_some(T0 + 5).into()),
            ("resolved_by", is_over.then_some(owner.user.0).into()),
            ("resolved_at_ms", is_over.then_some(T0 + 90_000).into()),
            ("resolution_notes", is_over.then_some("done").into()),
            ("remediation_attempted", is_over.into()),
            ("remediation_succeeded", is_over.then_some(1).into()),
            ("response_deadline_ms", is_over.then_some(T0 + 60_000).into()),
            ("resolution_deadline_ms", is_over.then_some(T0 + 60_000).into()),
            ("response_breached", false.into()),
            ("resolution_breached", is_over.into()),
            ("tags", json!(["money"]).into()),
            ("version", 1.into()),
            ("wake_at_ms", is_over.then_some(T0).into()),
            ("triggered_at_ms", T0.into()),
            ("created_at_ms", T0.into()),
            ("updated_at_ms", (T0 + 9).into()),
        ];
        self.put("escalations", head, columns);
        id
    }

    fn task(&mut self, owner: Owner, escalation: RowId, is_over: bool) {
        let (id, head) = self.owned(owner);
        let columns = vec![
            ("escalation_id", escalation.0.into()),
            ("level", 1.into()),
            ("round", 0.into()),
            ("purpose", "level".into()),
            ("kind", if is_over { "notify" } else { "act" }.into()),
            ("channel", if is_over { "in_app" } else { "halt_flow" }.into()),
            ("target", is_over.then_some("user:1").into()),
            ("payload", json!({"title": "t"}).into()),
            ("found_by", is_over.then(|| json!({"recipient": "on_call:s", "on_call": {"layer": "l"}})).into()),
            ("idempotency_key", id.to_string().as_str().into()),
            ("status", if is_over { "sent" } else { "failed" }.into()),
            ("is_unknown", is_over.into()),
            ("run_id", is_over.then_some(escalation.0).into()),
            ("error", (!is_over).then_some("no such flow").into()),
            ("tries", 1.into()),
            ("sent_at_ms", is_over.then_some(T0).into()),
            ("created_at_ms", T0.into()),
            ("updated_at_ms", T0.into()),
        ];
        self.put("outbox", head, columns);
    }

    fn schedule(&mut self, owner: Owner, is_over: bool) {
        let (schedule, head) = self.owned(owner);
        let document = json!({"name": "s", "description": "d", "time_zone": "UTC", "layers": [{"users": []}]});
        let name = format!("s{}", u8::from(is_over));
        let mut columns = vec![
            ("name", name.as_str().into()),
            ("document", document.into()),
            ("version", 1.into()),
            ("created_at_ms", T0.into()),
        ];
        columns.push(("updated_at_ms", T0.into()));
        self.put("rotations", head, columns);
        let (_, head) = self.owned(owner);
        let columns = vec![
            ("schedule_id", schedule.0.into()),
            ("on_call_user_id", owner.user.0.into()),
            ("reason", is_over.then_some("away").into()),
            ("starts_at_ms", T0.into()),
            ("ends_at_ms", (T0 + 60_000).into()),
            ("created_at_ms", T0.into()),
        ];
        self.put("stand_ins", head, columns);
        let (_, head) = self.owned(owner);
        let document = if is_over {
            json!({"matcher": {"a": 1}, "rules": [], "cron": "0 2 * * *", "time_zone": "UTC", "duration_minutes": 60,
                "reason": "works"})
        } else {
            json!({"matcher": null, "rules": []})
        };
        let columns = vec![
            ("name", "q".into()),
            ("document", document.into()),
            ("starts_at_ms", T0.into()),
            ("ends_at_ms", is_over.then_some(T0 + 60_000).into()),
            ("version", 1.into()),
            ("created_at_ms", T0.into()),
        ];
        self.put("quiet_times", head, columns);
    }
}
