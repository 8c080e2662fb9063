//! What of a run never changes: who owns it, what started it, with what.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Json;
use crate::expr::{Scope, StepViews};
use crate::ids::{FlowId, Owner, RowId, RunId};
use crate::words::TriggerType;

/// The flow as the run started it. A single action is a flow without a name, that no list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRef {
    pub id: FlowId,
    pub version: i64,
    pub name: Arc<str>,
}

impl FlowRef {
    /// Whether it stands for a single action.
    pub fn is_single_action(&self) -> bool {
        self.name.is_empty()
    }
}

/// The unchanging part of a run; one row, written by its accept.
#[derive(Debug, Clone, PartialEq)]
pub struct RunHeader {
    pub id: RunId,
    pub owner: Owner,
    pub partition: u16,
    pub flow: FlowRef,
    pub trigger_type: TriggerType,
    /// What the trigger says of itself, such as `manual` or `webhook:ID`.
    pub trigger_source: Arc<str>,
    pub trigger_context: Json,
    /// Headers and query of the webhook that started it; null where none did.
    pub webhook: Json,
    pub input: Json,
    /// `user:ID`, `service:ID` or `webhook:ID`.
    pub triggered_by: Arc<str>,
    pub environment: Arc<str>,
    pub decision_event_id: Option<RowId>,
    pub recommendation_id: Option<RowId>,
    pub parent_run_id: Option<RunId>,
    pub idempotency_key: Option<Arc<str>>,
    /// The caller's own name for the run, unique among the flow's live runs.
    pub run_key: Option<Arc<str>>,
    pub accepted_at_ms: i64,
    pub deadline_at_ms: Option<i64>,
}

impl RunHeader {
    /// What the run's expressions may name, as of `now_ms`.
    pub fn scope(&self, steps: Arc<std::collections::BTreeMap<Arc<str>, crate::expr::StepView>>, now_ms: i64) -> Scope {
        Scope {
            trigger: self.trigger_context.clone(),
            webhook: self.webhook.clone(),
            input: self.input.clone(),
            steps: StepViews::of_flow(steps),
            vars: Arc::default(),
            round: Arc::default(),
            event: Arc::default(),
            flow: Arc::new(json!({"id": self.flow.id, "name": *self.flow.name, "version": self.flow.version})),
            run: Arc::new(
                json!({"id": self.id, "trigger_type": self.trigger_type, "trigger_source": *self.trigger_source}),
            ),
            tenant: Arc::new(tenant(&self.owner)),
            now: time(now_ms),
        }
    }
}

/// What a flow's conditions may name: there is no run yet.
pub fn matching_scope(trigger: Json, webhook: Json, owner: &Owner, now_ms: i64) -> Scope {
    let nothing: Json = Arc::default();
    Scope {
        trigger,
        webhook,
        input: nothing.clone(),
        steps: StepViews::default(),
        vars: nothing.clone(),
        round: nothing.clone(),
        event: nothing.clone(),
        flow: nothing.clone(),
        run: nothing,
        tenant: Arc::new(tenant(owner)),
        now: time(now_ms),
    }
}

fn time(now_ms: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default()
}

/// What `tenant` names in expressions.
fn tenant(owner: &Owner) -> Value {
    json!({"id": owner.tenant, "user_id": owner.user, "organization_id": owner.organization})
}
