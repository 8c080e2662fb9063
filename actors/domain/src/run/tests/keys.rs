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

/// What the attempt of a step that a decision starts sends in place of its execution's id.
fn sent(decision: &Decision, no: StepNo) -> Option<IdempotencyKey> {
    let of_step = |effect: &Effect| match effect {
        Effect::StartAttempt { step, key, .. } if *step == no => Some(*key),
        _ => None,
    };
    decision.effects.iter().find_map(of_step).expect("the step starts")
}

#[test]
fn a_step_that_a_person_retries_sends_the_key_of_before() {
    let pay = json!({"idempotency_key": "trigger.host + string(now)", "retry": {"max_attempts": 1}});
    let mut bench = Bench::new(flow("sequential", &[step("pay", pay)], json!({})));
    let key = sent(&bench.tell(&Command::Begin), 0).expect("it computes one");
    bench.at(1_000, &Command::Recover { under_way: vec![] });
    assert_eq!((bench.run.state.status, bench.letters()), (RunStatus::Failed, "F".to_owned()), "nobody knows");
    let columns = bench.run.save();
    bench.run.state = RunState::load(&columns).expect("it is read back");
    let again = bench.at(60_000, &Command::Retry { step: None });
    assert_eq!(sent(&again, 0), Some(key), "a receiver that took it the first time does not do it twice");
    // One that an older release stored has no keys.
    let old = SavedState { state: r#"{"v":1,"s":"F"}"#.to_owned(), ..columns };
    bench.run.state = RunState::load(&old).expect("it is read as before");
    assert!(bench.run.state.keys.is_empty() && bench.run.state.taken_back.is_empty());
}

#[test]
fn what_was_taken_back_is_done_again_under_another_key() {
    let phased = |id: &str, phase: u32, key: Option<&str>, has_undo: bool| {
        let undo = has_undo.then(|| json!({"action_type": "noop"}));
        step(id, json!({"phase": phase, "idempotency_key": key, "undo": undo}))
    };
    let steps = [
        phased("before", 1, Some("trigger.host"), true),
        phased("pay", 2, Some("trigger.host"), true),
        phased("call", 2, None, true),
        phased("stands", 2, Some("string(now)"), false),
        phased("last", 3, None, true),
    ];
    let again = json!({"rollback": {"to": 1, "then": "retry", "retries": 2}});
    let mut bench = Bench::begun(flow("parallel", &steps, again));
    let mut begun = bench.completes(0);
    let (mut pays, mut calls) = (vec![sent(&begun, 1).expect("it computes one")], Vec::new());
    let stands = sent(&begun, 3);
    assert_eq!(sent(&begun, 2), None, "its id will do");
    // The undos of the two rollbacks have the first numbers past the plan's.
    for (n, undo) in [(1, 5), (2, 7)] {
        (1..3).for_each(|no| drop(bench.completes(no)));
        assert_eq!(sent(&bench.completes(3), 4), None);
        assert_eq!(sent(&bench.fails(4), undo), None, "an undo is an execution of its own");
        bench.completes(undo);
        bench.run.state = RunState::load(&bench.run.save()).expect("it is read back");
        bench.now_ms = n * 60_000;
        begun = bench.completes(undo + 1);
        pays.push(sent(&begun, 1).expect("it computes one"));
        calls.push(sent(&begun, 2).expect("a receiver would answer its id as before"));
        assert_eq!(sent(&begun, 3), stands, "what nothing takes back is not done twice");
    }
    let different = |keys: &[IdempotencyKey]| keys.iter().map(|key| key.0).collect::<BTreeSet<_>>().len();
    assert_eq!((different(&pays), different(&calls)), (3, 2));
    bench.fails_for_now(2, None);
    assert_eq!(sent(&bench.at(130_000, &Command::Wake), 2), calls.pop(), "all attempts send the same");
}

#[test]
fn rounds_leave_no_keys_behind_but_for_what_is_made_again() {
    let pay = step("pay", json!({"idempotency_key": "loop.item + string(now)"}));
    let config = json!({"collection": "['x', 'y', 'z']", "concurrency": 1, "steps": [pay]});
    let each = json!({"id": "each", "type": "for_each", "config": config});
    let mut bench = Bench::begun(flow("sequential", &[each], json!({})));
    let key = sent(&bench.completes(2), 3).expect("it computes one");
    assert!(bench.run.state.keys.is_empty(), "the first round is over");
    bench.fails(3);
    assert_eq!(bench.run.state.keys, BTreeMap::from([(3, key)]));
    let again = bench.at(60_000, &Command::Retry { step: None });
    assert_eq!(sent(&again, 3), Some(key));
    (3..5).for_each(|no| drop(bench.completes(no)));
    assert_eq!((bench.run.state.status, bench.run.state.keys.len()), (RunStatus::Completed, 0));
}
