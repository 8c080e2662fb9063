//! One step of an event that there is: a command, decided on the event as it is and committed against its version.

use std::sync::Arc;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::escalation::{Command, Event, Failure, Rule, Surroundings};
use core314_domain::ids::RowId;
use serde::Serialize;
use serde_json::json;

use super::{Desk, EscalationError};
use crate::clock::rfc3339;
use crate::feed::Topic;
use crate::ports::escalation::{EventBefore, Stop, StoredEscalation};
use crate::ports::{Scope, StoreError};

/// How often a decision is taken again on what others have made of the event meanwhile.
const TRIES: usize = 8;

/// What an event is decided by: its rule, and what surrounds it.
pub(super) struct Setting {
    pub rule: Arc<Rule>,
    pub around: Surroundings,
}

impl Desk {
    /// By what an event is decided now.
    pub(super) async fn setting(&self, stored: &StoredEscalation) -> Result<Setting, StoreError> {
        let rule = self.rule_of(stored).await?;
        let around = self.around(&rule, &failure_of(stored), &stored.owner, Some(stored)).await?;
        Ok(Setting { rule, around })
    }

    /// Decides a command on an event and commits it. `None` where the event has moved on.
    pub(super) async fn decide(
        &self,
        stored: StoredEscalation,
        command: &Command,
        settles: Option<RowId>,
        by: &str,
    ) -> Result<Option<StoredEscalation>, EscalationError> {
        let setting = self.setting(&stored).await?;
        self.decide_in(&setting, stored, command, settles, by).await
    }

    /// The same where it is known already what the event is decided by.
    pub(super) async fn decide_in(
        &self,
        Setting { rule, around }: &Setting,
        stored: StoredEscalation,
        command: &Command,
        settles: Option<RowId>,
        by: &str,
    ) -> Result<Option<StoredEscalation>, EscalationError> {
        let decision = stored.event.decide(rule, command, around, self.now_ms())?;
        let is_same = decision.event == stored.event && decision.tasks.is_empty() && !decision.stops;
        if is_same && settles.is_none() && *command == Command::Look {
            return Ok(Some(StoredEscalation { wake_ms: decision.next_wake_ms, ..stored }));
        }
        let before = Some(EventBefore::of(&stored.event));
        Ok(self.commit_step(rule, stored, before, decision, settles, by).await?)
    }

    /// The same on the event as it is now, again where it has moved on.
    pub(super) async fn decide_on(
        &self,
        escalation: RowId,
        command: &Command,
        by: &str,
    ) -> Result<StoredEscalation, EscalationError> {
        for _ in 0..TRIES {
            let stored = self.book.escalation(Scope::Platform, escalation).await?.ok_or(EscalationError::NotFound)?;
            if let Some(done) = self.decide(stored, command, None, by).await? {
                return Ok(done);
            }
        }
        Err(EscalationError::Busy)
    }

    /// Tells whoever listens.
    pub(super) fn tell_feed(&self, escalation: &StoredEscalation) {
        let event = &escalation.event;
        let scope = Scope::Tenant(escalation.owner.tenant);
        let id = escalation.id.to_string();
        self.runtime().feed.publish(scope, Topic::Escalations, &id, || EscalationChange {
            id: escalation.id.to_string(),
            escalation_rule_id: escalation.rule.to_string(),
            status: event.status.as_str(),
            escalation_level: event.level,
            escalation_reason: event.reason.as_str(),
            subject: event.subject.clone(),
            failure_count: event.count,
            acknowledged_by: event.acknowledged.as_ref().map(|deed| deed.by.clone()),
            at: crate::clock::rfc3339(self.now_ms()),
        });
    }
}

/// A change of an event, on the feed.
#[derive(Serialize)]
struct EscalationChange {
    id: String,
    escalation_rule_id: String,
    status: &'static str,
    escalation_level: u32,
    escalation_reason: &'static str,
    subject: String,
    failure_count: u64,
    acknowledged_by: Option<String>,
    /// RFC 3339.
    at: String,
}

/// What an event is about, as it was told.
fn failure_of(stored: &StoredEscalation) -> Failure {
    let described = Failure::described(stored.event.reason, stored.context.clone(), stored.event.triggered_ms);
    Failure { execution: stored.execution, log: stored.log, flow_id: stored.flow, run: stored.run, ..described }
}

/// What the end of a climb, or of an event, stops.
pub(super) fn stop_of(event: &Event) -> Stop {
    if event.status.is_closed() { Stop::All } else { Stop::Climb }
}

/// What the audit log says of a step: its beginning, acknowledgement and end, and what changes between: the status, the urgency,
/// breaches, and whether the service clocks stand still.
pub(super) fn audit(
    escalation: &StoredEscalation,
    before: Option<EventBefore>,
    by: &str,
    at_ms: i64,
) -> Vec<AuditEntry> {
    let event = &escalation.event;
    let now = EventBefore::of(event);
    let kind = match before {
        None => AuditEvent::EscalationTriggered,
        Some(before) if now.status.is_closed() && !before.status.is_closed() => AuditEvent::EscalationEnded,
        Some(before) if now.is_acknowledged && !before.is_acknowledged => AuditEvent::EscalationAcknowledged,
        Some(before) if now != before => AuditEvent::EscalationChanged,
        Some(_) => return Vec::new(),
    };
    let what = kind.as_str().replace('_', " ");
    vec![AuditEntry {
        owner: escalation.owner,
        partition: 0,
        event: kind,
        actor: by.to_owned(),
        subject_type: "escalation_event",
        subject_id: Some(escalation.id.0),
        decision_event_id: None,
        summary: format!("{what}: {} {}", event.reason.as_str().replace('_', " "), event.subject),
        details: json!({
            "status": event.status, "level": event.level, "rule_id": escalation.rule, "failures": event.count,
            "notes": event.notes, "breaches": now.breaches, "urgency": event.urgency,
            "pause": event.pause().map(|pause| json!({"reason": pause.reason, "by": pause.by, "since": rfc3339(pause.since_ms)})),
        }),
        at_ms,
    }]
}

#[cfg(test)]
mod tests {
    use core314_domain::escalation::{Rule, RuleDocument, Surroundings};
    use core314_domain::words::Urgency;
    use uuid::Uuid;

    use super::super::remedies::tests::stored_of;
    use super::*;

    #[test]
    fn pauses_and_urgencies_of_service_clocks_are_audited_each_once() {
        let document = RuleDocument::from_value(json!({
            "rule_name": "sla", "sla_enabled": true, "sla_response_time_minutes": 30,
            "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
        }));
        let rule = Rule::compile(RowId(Uuid::from_u128(2)), document.expect("a document")).expect("a rule");
        let mut stored = stored_of(&rule);
        let (by, reason) = ("user:a".to_owned(), "the vendor's turn".to_owned());
        let commands = [
            (Command::PauseClocks { by, reason }, Some("the vendor's turn")),
            (Command::ResumeClocks, None),
            (Command::SetUrgency { urgency: Urgency::Critical }, None),
        ];
        for (command, said) in commands {
            let before = Some(EventBefore::of(&stored.event));
            let decided = stored.event.decide(&rule, &command, &Surroundings::default(), 1_000);
            stored.event = decided.expect("it is open").event;
            let audited = audit(&stored, before, "user:a", 1_000);
            let [entry] = &audited[..] else { panic!("{command:?}: one entry, and not {audited:?}") };
            assert_eq!((entry.event, entry.actor.as_str()), (AuditEvent::EscalationChanged, "user:a"));
            assert_eq!(entry.details["pause"]["reason"].as_str(), said, "{command:?}");
        }
        let before = Some(EventBefore::of(&stored.event));
        assert_eq!(audit(&stored, before, "rules", 1_000).len(), 0, "a look changes nothing of it");
    }
}
