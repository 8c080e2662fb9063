//! Single actions: each a durable run of one step. What the runtime performs by itself is started once, under a key of its own.

use std::sync::Arc;

use core314_domain::document::{FlowDocument, ShapeError};
use core314_domain::ids::Owner;
use core314_domain::retry::{Jitter, RetryPolicy};
use core314_domain::words::{TriggerType, Urgency};
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::ingress::{IdempotencyRequest, Target, Trigger};

/// An action.
#[derive(Debug, Clone, Copy)]
pub struct Single<'a> {
    /// What its run is called.
    pub name: &'a str,
    pub action_type: &'a str,
    pub target: &'a str,
    pub payload: &'a Value,
    pub urgency: Urgency,
    /// Not before this instant.
    pub at_ms: Option<i64>,
    /// Whether somebody must hear of it, however long the way to them is closed: it is tried again for more than an hour.
    pub insists: bool,
}

/// A channel that is away comes back within minutes, or within the hour: no page is lost to that. Half of each delay is
/// spread, so that the last attempt comes no sooner than 70 minutes after the first.
const INSISTENT: RetryPolicy = RetryPolicy {
    max_attempts: 100,
    backoff_seconds: 2.0,
    multiplier: 2.0,
    max_backoff_seconds: 90.0,
    jitter: Jitter::Equal,
    deadline_seconds: None,
};

impl Single<'_> {
    /// The action as a flow of one step.
    pub fn document(&self) -> Result<FlowDocument, ShapeError> {
        let mut config = json!({
            "action_type": self.action_type, "action_target": self.target, "action_payload": self.payload,
            "priority": 1, "urgency": self.urgency,
        });
        if let Some(at_ms) = self.at_ms {
            config["scheduled_for"] = json!(rfc3339(at_ms));
        }
        let mut document = FlowDocument::from_value(json!({
            "flow_name": self.name, "trigger_type": TriggerType::Manual,
            "flow_steps": [{"id": "action", "config": config}],
        }))?;
        if self.insists {
            document.retry_policy = INSISTENT;
        }
        Ok(document)
    }

    /// The trigger of its run, under a key. A client's own key cannot hold a space, and so is none of these.
    pub fn trigger(&self, owner: Owner, by: &str, key: String) -> Result<Trigger, ShapeError> {
        debug_assert!(key.contains(' '), "a client could choose this key");
        let trigger = self.asked(owner, by, Some(IdempotencyRequest { key, body_hash: [0; 32] }))?;
        Ok(Trigger { source: by.into(), ..trigger })
    }

    /// The trigger of its run, as somebody outside asks for it.
    pub fn asked(
        &self,
        owner: Owner,
        by: &str,
        idempotency: Option<IdempotencyRequest>,
    ) -> Result<Trigger, ShapeError> {
        Ok(Trigger {
            owner,
            target: Target::Action(Arc::new(self.document()?)),
            trigger_type: TriggerType::Manual,
            source: TriggerType::Manual.as_str().into(),
            context: Arc::new(json!({})),
            webhook: Arc::default(),
            triggered_by: by.into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            run_key: None,
            idempotency,
        })
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::RunId;

    use super::*;

    #[test]
    fn what_somebody_must_hear_is_tried_for_more_than_an_hour_and_nothing_else_is() {
        let payload = json!({"url": "http://127.0.0.1:1", "text": "t"});
        let single = |insists: bool| {
            let (action_type, target) = ("send_notification", "webhook");
            Single { name: "n", action_type, target, payload: &payload, urgency: Urgency::High, at_ms: None, insists }
        };
        assert_eq!(single(false).document().expect("a document").retry_policy, RetryPolicy::default());
        let policy = single(true).document().expect("a document").retry_policy;
        assert!(policy.problems().is_empty());
        for no in 0..20 {
            let execution = RunId::new(no, 0).execution(0);
            let (mut now_ms, mut longest_ms) = (0, 0);
            for attempt in 0.. {
                let Some(next_ms) = policy.next_at_ms(execution, attempt, 0, now_ms, None) else { break };
                longest_ms = longest_ms.max(next_ms - now_ms);
                now_ms = next_ms;
            }
            assert!(now_ms > 3_600_000, "{no}: the last attempt comes after {now_ms} ms");
            assert!(longest_ms <= 90_000, "{no}: the channel is asked again within {longest_ms} ms");
        }
    }
}
