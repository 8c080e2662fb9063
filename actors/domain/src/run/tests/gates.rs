//! Steps whose action names an integration: while that lets nobody pass unasked, they wait in the queue whatever slots are
//! free.

use super::*;

fn gated(shut: &[&str]) -> Bench {
    let of = |id: &str, target: &str| step(id, json!({"config": {"action_target": target}}));
    let mut bench = Bench::new(flow("parallel", &[of("a", "crm"), of("b", "chat"), of("c", "")], json!({})));
    let names = |words: &[&str]| words.iter().map(|word| Arc::from(*word)).collect();
    bench.gates = Some(GatedNames { all: names(&["chat", "crm"]), shut: names(shut) });
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
fn an_open_gate_is_in_nobodys_way_and_a_queued_entry_names_it() {
    let mut bench = gated(&[]);
    bench.slots = 1;
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), gates_of(&begin)), (vec![(0, 0)], vec![Some("chat"), None]));
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
