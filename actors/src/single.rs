//! Single actions: each a durable run of one step. What the runtime performs by itself is started once, under a key of its own.

use std::sync::Arc;

use core314_domain::document::{FlowDocument, ShapeError};
use core314_domain::ids::Owner;
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
}

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
        FlowDocument::from_value(json!({
            "flow_name": self.name, "trigger_type": TriggerType::Manual,
            "flow_steps": [{"id": "action", "config": config}],
        }))
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
