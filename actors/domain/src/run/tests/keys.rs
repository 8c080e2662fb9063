//! Idempotency keys that steps compute.

use super::*;

/// The keys of the attempts that a decision starts.
fn keys(decision: &Decision) -> Vec<Option<IdempotencyKey>> {
    let key = |effect: &Effect| match effect {
        Effect::StartAttempt { key, .. } => Some(*key),
        _ => None,
    };
    decision.effects.iter().filter_map(key).collect()
}

/// The key of the first attempt of a run whose header is changed so.
fn key_of(key: &str, change: impl FnOnce(&mut RunHeader)) -> IdempotencyKey {
    let mut bench = Bench::new(flow("sequential", &[step("a", json!({"idempotency_key": key}))], json!({})));
    change(Arc::make_mut(&mut bench.run.header));
    let begin = bench.tell(&Command::Begin);
    keys(&begin)[0].expect("it computes one")
}

#[test]
fn all_attempts_send_the_key_that_the_first_one_computed() {
    let set = |id: &str, inputs: &[&str], n: &str| json!({"id": id, "type": "set", "config": {"values": {"n": n}}, "connections": {"inputs": inputs}});
    let steps = [
        set("first", &[], "1"),
        after("a", &["first"], json!({"idempotency_key": "vars.n"})),
        after("b", &["first"], json!({})),
        set("second", &["b"], "2"),
    ];
    let mut bench = Bench::new(flow("mixed", &steps, json!({})));
    let begin = bench.tell(&Command::Begin);
    let [Some(key), None] = keys(&begin)[..] else { panic!("{begin:?}") };
    bench.fails_for_now(1, None);
    bench.completes(2);
    assert_eq!(*bench.run.state.vars, json!({"n": 2}), "what it names has changed");
    assert_eq!(keys(&bench.at(2_000, &Command::Wake)), [Some(key)]);
    let died = bench.at(3_000, &Command::Recover { under_way: vec![] });
    assert_eq!(keys(&died), [Some(key)], "and so it is after a crash");
    let stored = RunState::load(&bench.run.save()).expect("it is read back");
    assert_eq!(stored.get(1).and_then(|step| step.live.as_deref()?.key), Some(key));
}

#[test]
fn a_key_is_one_of_its_tenant_flow_step_and_value() {
    let key = key_of("trigger.host", |_| {});
    assert_eq!(key, key_of("'web' + '-1'", |header| header.id = RunId::new(5, 9 << 24)), "another run's is the same");
    let others = [
        key_of("'web-2'", |_| {}),
        key_of("trigger.host", |header| header.flow.id = FlowId(Uuid::from_u128(3))),
        key_of("trigger.host", |header| header.owner = Owner::new(UserId(Uuid::from_u128(3)), None)),
    ];
    assert!(!others.contains(&key) && others[0] != others[1] && others[1] != others[2], "{others:?}");
    let two = [step("a", json!({"idempotency_key": "7"})), step("b", json!({"idempotency_key": "'7'"}))];
    let begin = Bench::new(flow("parallel", &two, json!({}))).tell(&Command::Begin);
    let [one, other] = keys(&begin)[..] else { panic!("{begin:?}") };
    assert_ne!(one, other, "two steps of a run do different things");
}

#[test]
fn what_is_no_key_fails_the_step_and_sends_nothing() {
    let long = format!("'{}'", "x".repeat(513));
    for (key, words) in [("trigger", "this is a map"), (&*long, "this has 513"), ("trigger.none", "no member `none`")] {
        let mut bench = Bench::new(flow("sequential", &[step("a", json!({"idempotency_key": key}))], json!({})));
        let begin = bench.tell(&Command::Begin);
        assert_eq!((keys(&begin), begin.unused_slots, bench.run.state.status), (vec![], 10, RunStatus::Failed));
        assert!(bench.error().contains("idempotency_key: ") && bench.error().contains(words), "{}", bench.error());
    }
}
