//! What of a run never changes: who owns it, what started it, with what.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::Json;
use crate::expr::{Scope, StepViews, Type, Types};
use crate::ids::{FlowId, Owner, RowId, RunId, UserId};
use crate::plan::FlowPlan;
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
    /// `user:ID`, `service:ID` or `webhook:ID`, with `/user:ID` where it was [on behalf](on_behalf) of somebody.
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
    /// Whether a person must agree before the run begins: its flow says so, or the decision that it carries out is less
    /// certain than its flow asks for. A decision that does not say how certain it is, is not certain; whoever says that
    /// one was approved and names none has seen to that.
    pub fn needs_approval(&self, plan: &FlowPlan) -> bool {
        let is_uncertain = |threshold| match self.trigger_context.get("confidence_score").and_then(Value::as_f64) {
            Some(confidence) => confidence < threshold,
            None => self.decision_event_id.is_some(),
        };
        let is_of_decision = self.trigger_type == TriggerType::DecisionApproved;
        plan.requires_approval || (is_of_decision && plan.approval_threshold.is_some_and(is_uncertain))
    }

    /// Whether this user started it, by whatever way, or one of the triggers that it has gathered.
    pub fn is_started_by(&self, user: UserId) -> bool {
        starters(&self.triggered_by, self.owner.user).contains(&user)
    }

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
            secrets: Json::default(),
        }
    }
}

/// Who acts, and the user for whom: a key, a run that has ended, a trial of a webhook.
pub fn on_behalf(by: &str, user: UserId) -> String {
    format!("{by}/user:{user}")
}

/// The users behind a `triggered_by`, as its parts name them: none for a webhook or a schedule, several for a batch. A service
/// key that names nobody (rows of releases before this was written down) acted for whoever owns what it started.
pub fn starters(triggered_by: &str, owner: UserId) -> BTreeSet<UserId> {
    let user = |part: &str| -> Option<UserId> { part.strip_prefix("user:")?.parse().ok() };
    let mut named: BTreeSet<UserId> = triggered_by.split('/').filter_map(user).collect();
    if named.is_empty() && triggered_by.starts_with("service:") {
        named.insert(owner);
    }
    named
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
        run: nothing.clone(),
        tenant: Arc::new(tenant(owner)),
        now: time(now_ms),
        secrets: nothing,
    }
}

/// What expressions may name of a run, as types: the fields that [`RunHeader::scope`] fills.
pub fn known_types() -> Types {
    Types {
        flow: Type::object([("id", Type::Text), ("name", Type::Text), ("version", Type::Int)]),
        run: Type::object([
            ("id", Type::Text),
            ("trigger_type", Type::Word(TriggerType::WORDS)),
            ("trigger_source", Type::Text),
        ]),
        tenant: Type::object([
            ("id", Type::Text),
            ("user_id", Type::optional(Type::Text)),
            ("organization_id", Type::optional(Type::Text)),
        ]),
        ..Types::default()
    }
}

fn time(now_ms: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default()
}

/// What `tenant` names in expressions.
fn tenant(owner: &Owner) -> Value {
    json!({"id": owner.tenant, "user_id": owner.user, "organization_id": owner.organization})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Condition, Names};

    #[test]
    fn the_user_behind_a_start_is_known_whatever_the_way() {
        let [owner, other] = [1, 2].map(|n| UserId(uuid::Uuid::from_u128(n)));
        let of = |by: &str| starters(by, owner).into_iter().collect::<Vec<_>>();
        assert_eq!((of(&format!("user:{other}")), of(&on_behalf("service:key", other))), (vec![other], vec![other]));
        assert_eq!(of(&on_behalf("run:9", other)), [other], "the end of a run that they started");
        assert_eq!(of("service:key"), [owner], "as releases before wrote it");
        assert_eq!(of(&on_behalf(&format!("user:{other}"), owner)), [owner, other], "both are in one batch");
        for nobody in ["webhook:1", "schedule:1", "escalation:1", "run:9", "user:9", ""] {
            assert_eq!(of(nobody), [] as [UserId; 0], "{nobody}");
        }
    }

    /// The types say of every field that it is there, and of no other.
    #[test]
    fn the_known_types_are_those_of_the_scope() {
        let nothing = Json::default();
        let header = RunHeader {
            id: RunId::new(0, 7 << 24),
            owner: Owner::new(crate::ids::UserId(uuid::Uuid::nil()), None),
            partition: 0,
            flow: FlowRef { id: FlowId(uuid::Uuid::nil()), version: 1, name: "f".into() },
            trigger_type: TriggerType::Manual,
            trigger_source: "manual".into(),
            trigger_context: nothing.clone(),
            webhook: nothing.clone(),
            input: nothing,
            triggered_by: "user:9".into(),
            environment: "test".into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            idempotency_key: None,
            run_key: None,
            accepted_at_ms: 0,
            deadline_at_ms: None,
        };
        let scope = header.scope(Arc::default(), 0);
        let types = known_types();
        let names = Names::new(&["run", "flow", "tenant"], &[]).typed(&types);
        for (root, value) in [("run", &scope.run), ("flow", &scope.flow), ("tenant", &scope.tenant)] {
            let fields: Vec<&String> = value.as_object().expect("an object").keys().collect();
            for field in &fields {
                let condition = Condition::parse(&json!(format!("{root}.{field} == {root}.{field}")), &names);
                assert_eq!(condition.expect(field).holds(&scope), Ok(true), "{root}.{field}");
            }
            let unknown = Condition::parse(&json!(format!("{root}.nope == 1")), &names).expect_err("no such field");
            let listed: Vec<&str> = unknown.message.split_once("it has ").expect("the list").1.split(", ").collect();
            assert_eq!(listed.len(), fields.len(), "{unknown}");
        }
    }
}
