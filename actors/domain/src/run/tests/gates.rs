//! Steps whose action names an integration: while that lets nobody pass unasked, they wait in the queue whatever slots are
//! free.

use std::collections::BTreeMap;

use super::*;
use crate::retry::{Jitter, RetryPolicy};

fn gated(shut: &[&str]) -> Bench {
    let of = |id: &str, target: &str| step(id, json!({"config": {"action_target": target}}));
    let mut bench = Bench::new(flow("parallel", &[of("a", "crm"), of("b", "chat"), of("c", "")], json!({})));
    let names = |words: &[&str]| words.iter().map(|word| Arc::from(*word)).collect();
    bench.gates = Some(GatedNames { all: names(&["chat", "crm"]), shut: names(shut), ..GatedNames::default() });
    bench
}

fn gates_of(decision: &Decision) -> Vec<Option<&str>> {
    let gate = |e: &Effect| if let Effect::Enqueue { gate, .. } = e { Some(gate.clone()) } else { None };
    let found: Vec<Option<Arc<str>>> = decision.effects.iter().filter_map(gate).collect();
    assert!(found.iter().flatten().all(|name| **name == *"crm" || **name == *"chat"));
    found.iter().map(|gate| gate.as_ref().map(|name| if **name == *"crm" { "crm" } else { "chat" })).collect()
}

#[test]
fn a_shut_gate_is_asked_before_a_step_starts() {
    let mut bench = gated(&["crm"]);
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), queued(&begin)), (vec![(1, 0), (2, 0)], vec![0]));
    assert_eq!((gates_of(&begin), begin.unused_slots), (vec![Some("crm")], 8));
    // Whoever brings it up has asked.
    let start = bench.tell(&Command::Start { steps: vec![0] });
    assert_eq!(started(&start), [(0, 0)]);
}

#[test]
fn where_actions_are_bounded_each_asks_before_it_starts() {
    let mut bench = gated(&[]);
    bench.gates = Some(GatedNames { asks_all: true, ..GatedNames::default() });
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), queued(&begin), begin.unused_slots), (vec![], vec![0, 1, 2], 10));
    let start = bench.tell(&Command::Start { steps: vec![1] });
    assert_eq!(started(&start), [(1, 0)], "whoever has asked, and nobody else");
}

#[test]
fn an_open_gate_is_in_nobodys_way_and_a_queued_entry_names_it() {
    let mut bench = gated(&[]);
    bench.slots = 1;
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), gates_of(&begin)), (vec![(0, 0)], vec![Some("chat"), None]));
}

/// A run whose action goes to an integration that says how it is tried again, once its first attempt has failed.
fn retried(own: &Value, of_flow: Option<Value>) -> Bench {
    let mut more = json!({"config": {"action_target": "crm"}});
    merge_patch(&mut more, own);
    let mut document = flow("sequential", &[step("a", more)], json!({}));
    document["retry_policy"] = of_flow.unwrap_or(json!({}));
    let mut bench = Bench::new(document);
    let policy = RetryPolicy { max_attempts: 2, backoff_seconds: 7.0, jitter: Jitter::None, ..RetryPolicy::default() };
    let retries = BTreeMap::from([(Arc::from("crm"), policy)]);
    bench.gates = Some(GatedNames { retries, ..GatedNames::default() });
    bench.tell(&Command::Begin);
    bench.fails_for_now(0, None);
    bench
}

#[test]
fn an_integration_says_how_its_steps_are_tried_again_where_the_document_does_not() {
    let due = |bench: &Bench| bench.run.state.get(0).and_then(|step| step.live.as_deref()?.due_at_ms);
    let mut silent = retried(&json!({}), None);
    assert_eq!(due(&silent), Some(7_000));
    let why = &silent.run.why_among(0, silent.gates.as_ref())[0];
    assert_eq!(why.message, "attempt 1 of 2 has failed; the next one is due");
    silent.at(7_000, &Command::Wake);
    silent.fails_for_now(0, None);
    assert!(silent.run.state.status.is_terminal(), "two attempts are two");
    let quick = json!({"max_attempts": 2, "backoff_seconds": 1.0, "jitter": "none"});
    assert_eq!(due(&retried(&json!({"retry": quick}), None)), Some(1_000), "the step goes before");
    assert_eq!(due(&retried(&json!({}), Some(quick))), Some(1_000), "and so does the flow");
}

#[test]
fn the_undo_of_such_a_step_is_tried_again_as_its_own_integration_says() {
    let undo = json!({"config": {"action_target": "crm"}, "undo": {"action_type": "noop", "action_target": "crm"}});
    let document = |policy: Value| {
        let mut document = flow("sequential", &[step("a", undo.clone())], json!({}));
        document["retry_policy"] = policy;
        FlowDocument::from_value(document).unwrap()
    };
    let is_own = |policy: Value| {
        let plan = FlowPlan::compile(&document(policy), &["noop"], &PlanLimits::default()).unwrap();
        (plan.steps[0].retry_is_own, plan.steps[0].undo.as_ref().is_some_and(|undo| undo.retry_is_own))
    };
    assert_eq!((is_own(json!({})), is_own(json!({"max_attempts": 5}))), ((false, false), (true, true)));
}

#[test]
fn a_retry_asks_again() {
    let mut bench = gated(&["crm", "chat"]);
    bench.tell(&Command::Begin);
    bench.tell(&Command::Start { steps: vec![0] });
    bench.fails_for_now(0, None);
    let wake = bench.at(2_000, &Command::Wake);
    assert_eq!((started(&wake), queued(&wake)), (vec![], vec![0]));
}
