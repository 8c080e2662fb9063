//! The shapes that workflows have, one small flow each.

use std::sync::Arc;

use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RunId, UserId};
use core314_domain::json::merge_patch;
use core314_domain::plan::{FlowPlan, PlanLimits};
use core314_domain::run::{FlowRef, RunHeader};
use core314_domain::words::TriggerType;
use serde_json::{Value, json};
use uuid::Uuid;

/// When simulated time begins.
pub const START_MS: i64 = 1_700_000_000_000;

/// The flow that takes over where another asks for one.
pub const FALLBACK: &str = "0190a000-0000-7000-8000-000000000001";

/// A flow to simulate.
#[derive(Clone)]
pub struct Shape {
    pub name: String,
    pub plan: Arc<FlowPlan>,
    pub header: Arc<RunHeader>,
    /// How it ends depends on how long things take.
    pub timed: bool,
}

impl Shape {
    pub fn new(name: &str, document: Value) -> Self {
        let document = FlowDocument::from_value(document).expect("a document");
        let plan = FlowPlan::compile(&document, &["noop"], &PlanLimits::default());
        let plan = Arc::new(plan.unwrap_or_else(|problems| panic!("{name}: {problems:?}")));
        let header = Arc::new(header(&plan));
        Self { name: name.to_owned(), plan, header, timed: false }
    }

    pub fn timed(self) -> Self {
        Self { timed: true, ..self }
    }
}

fn header(plan: &FlowPlan) -> RunHeader {
    let nothing = Arc::new(Value::Null);
    let at = |seconds: i64| chrono::DateTime::from_timestamp_millis(START_MS + 1_000 * seconds).map(|t| t.to_rfc3339());
    RunHeader {
        id: RunId::new(START_MS, 7 << 24),
        owner: Owner::new(UserId(Uuid::from_u128(1)), None),
        partition: 0,
        flow: FlowRef { id: FlowId(Uuid::from_u128(2)), version: 1, name: plan.name.as_str().into() },
        trigger_type: TriggerType::Manual,
        trigger_source: "manual".into(),
        trigger_context: Arc::new(
            json!({"yes": true, "no": false, "items": [10, 20, 30, 40, 50], "in_30s": at(30), "in_5m": at(300), "past": at(-300)}),
        ),
        webhook: nothing.clone(),
        input: nothing,
        triggered_by: "user:1".into(),
        environment: "test".into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        idempotency_key: None,
        run_key: None,
        accepted_at_ms: START_MS,
        deadline_at_ms: plan.deadline_ms.map(|ms| START_MS + ms),
    }
}

/// A step, with more fields.
pub fn step(id: &str, more: &Value) -> Value {
    let mut step = json!({"id": id, "config": {"action_type": "noop", "action_payload": {"now": "{{ now }}"}}});
    merge_patch(&mut step, more);
    step
}

/// A step of a `mixed` flow, after others.
pub fn after(id: &str, inputs: &[&str], more: &Value) -> Value {
    let mut step = step(id, more);
    merge_patch(&mut step, &json!({"connections": {"inputs": inputs}}));
    step
}

/// A flow, with more fields.
pub fn flow(mode: &str, steps: &[Value], extra: &Value) -> Value {
    let mut document = json!({"flow_name": "f", "trigger_type": "manual", "execution_mode": mode, "flow_steps": steps});
    merge_patch(&mut document, extra);
    document
}

fn sequential(n: usize) -> Shape {
    let steps: Vec<Value> = (0..n)
        .map(|i| match i {
            0 => step("s0", &json!({})),
            // Each takes the output of the one before: what was loaded from the log must be what was there.
            _ => step(
                &format!("s{i}"),
                &json!({"config": {"action_payload": {"from": format!("{{{{ steps.s{}.output.step }}}}", i - 1)}}}),
            ),
        })
        .collect();
    Shape::new(&format!("sequential {n}"), flow("sequential", &steps, &json!({})))
}

/// Every shape.
pub fn all() -> Vec<Shape> {
    let mut shapes: Vec<Shape> = (1..=6).map(sequential).collect();
    shapes.extend(graphs());
    shapes.extend(conditions());
    shapes.extend(people());
    shapes.extend(times());
    shapes.extend(errors());
    shapes
}

fn graphs() -> Vec<Shape> {
    let none = &json!({});
    let five: Vec<Value> = (0..5).map(|i| step(&format!("p{i}"), none)).collect();
    let diamond =
        [after("a", &[], none), after("b", &["a"], none), after("c", &["a"], none), after("d", &["b", "c"], none)];
    let mut fan = vec![after("a", &[], none)];
    let middle: Vec<String> = (0..6).map(|i| format!("m{i}")).collect();
    fan.extend(middle.iter().map(|id| after(id, &["a"], none)));
    let ids: Vec<&str> = middle.iter().map(String::as_str).collect();
    fan.push(after("z", &ids, none));
    let join = |mode: Value| {
        let steps = [
            after("a", &[], none),
            after("b", &[], none),
            after("c", &[], none),
            after("j", &["a", "b", "c"], &json!({"dependency_mode": mode})),
            after("k", &["j"], none),
        ];
        flow("mixed", &steps, none)
    };
    vec![
        Shape::new("parallel", flow("parallel", &five, none)),
        Shape::new("diamond", flow("mixed", &diamond, none)),
        Shape::new("fan out, fan in", flow("mixed", &fan, none)),
        Shape::new("any join", join(json!("any"))),
        Shape::new("two of three", join(json!(2))),
    ]
}

fn conditions() -> Vec<Shape> {
    let none = &json!({});
    let skips = [
        after("a", &[], none),
        after("b", &["a"], &json!({"when": "trigger.no"})),
        after("c", &["a"], &json!({"when": {"yes": true}})),
        after("d", &["b", "c"], none),
        after("e", &["b"], &json!({"when": "steps.b.status == 'skipped' && steps.a.output.step == 0"})),
    ];
    let error = [step("a", none), step("b", &json!({"when": "trigger.missing == 1"})), step("c", none)];
    let template =
        [step("a", none), step("b", &json!({"config": {"action_payload": "{{ trigger.missing }}"}})), step("c", none)];
    let roots = [
        step("a", none),
        step("b", &json!({"when": "trigger.missing == 1"})),
        step("c", none),
        step("d", &json!({"when": "trigger.no"})),
    ];
    let tolerated = [
        step("a", &json!({"when": "trigger.missing == 1", "on_error": "continue"})),
        step("b", &json!({"when": "steps.a.error != null"})),
    ];
    vec![
        Shape::new("when skips", flow("mixed", &skips, none)),
        Shape::new("when fails", flow("sequential", &error, none)),
        Shape::new("template fails", flow("sequential", &template, none)),
        Shape::new("when fails at the start", flow("parallel", &roots, none)).timed(),
        Shape::new("when fails and is tolerated", flow("sequential", &tolerated, none)),
    ]
}

fn people() -> Vec<Shape> {
    let none = &json!({});
    let asks = &json!({"requires_approval": true});
    let parks = &json!({"on_unknown_outcome": "park"});
    let expires = &json!({"requires_approval": true, "config": {"expires_in_seconds": 60}});
    let later = &json!({"requires_approval": true, "config": {"scheduled_for": "{{ trigger.in_5m }}"}});
    vec![
        Shape::new("run approval", flow("sequential", &[step("a", none), step("b", none)], asks)),
        Shape::new("step approval", flow("sequential", &[step("a", none), step("b", asks), step("c", none)], none)),
        Shape::new("two approvals", flow("parallel", &[step("a", asks), step("b", asks), step("c", none)], none)),
        Shape::new("scheduled approval", flow("sequential", &[step("a", later), step("b", none)], none)),
        Shape::new("approval that expires", flow("sequential", &[step("a", expires), step("b", none)], none)).timed(),
        Shape::new("parked", flow("sequential", &[step("a", parks), step("b", parks)], none)),
    ]
}

fn times() -> Vec<Shape> {
    let none = &json!({});
    let at = |key: &str| json!({"config": {"scheduled_for": format!("{{{{ trigger.{key} }}}}")}});
    let scheduled = [step("a", &at("in_30s")), step("b", &at("past")), step("c", &at("in_5m"))];
    let bad = [step("a", none), step("b", &json!({"config": {"scheduled_for": "{{ 'tomorrow' }}"}}))];
    let expires =
        |seconds: u32| json!({"config": {"expires_in_seconds": seconds, "scheduled_for": "{{ trigger.in_30s }}"}});
    let expiry = [step("a", &expires(20)), step("b", &expires(40)), step("c", none)];
    let queue: Vec<Value> =
        (0..6).map(|i| step(&format!("q{i}"), &json!({"config": {"expires_in_seconds": 2}}))).collect();
    let slow = json!({"retry": {"max_attempts": 5, "backoff_seconds": 100.0, "jitter": "none"}});
    let deadline = [step("a", &slow), step("b", &slow)];
    let retry_deadline =
        json!({"retry_policy": {"max_attempts": 50, "backoff_seconds": 1.0, "deadline_seconds": 20.0}});
    let at_once = json!({"retry_policy": {"max_attempts": 4, "backoff_seconds": 0.0}});
    vec![
        Shape::new("scheduled", flow("sequential", &scheduled, none)),
        Shape::new("no schedule", flow("sequential", &bad, none)),
        Shape::new("expiry", flow("parallel", &expiry, &json!({"on_error_action": "continue"}))).timed(),
        Shape::new("expiry in the queue", flow("parallel", &queue, none)).timed(),
        Shape::new("deadline", flow("sequential", &deadline, &json!({"max_execution_time_seconds": 150}))).timed(),
        Shape::new("deadline in parallel", flow("parallel", &deadline, &json!({"max_execution_time_seconds": 1})))
            .timed(),
        Shape::new("retry deadline", flow("sequential", &[step("a", none), step("b", none)], &retry_deadline)).timed(),
        Shape::new("retry at once", flow("sequential", &[step("a", none), step("b", none)], &at_once)),
    ]
}

fn errors() -> Vec<Shape> {
    let none = &json!({});
    let goes_on = &json!({"on_error": "continue"});
    let tolerant = [
        after("a", &[], goes_on),
        after("b", &["a"], goes_on),
        after("c", &["a"], none),
        after("d", &["b", "c"], none),
    ];
    let independent =
        [after("a", &[], none), after("b", &["a"], none), after("c", &[], none), after("d", &["c"], none)];
    vec![
        Shape::new("on_error continue", flow("mixed", &tolerant, none)),
        Shape::new("on_error_action continue", flow("mixed", &independent, &json!({"on_error_action": "continue"}))),
        Shape::new("on_error_action stop", flow("mixed", &independent, none)),
    ]
}
