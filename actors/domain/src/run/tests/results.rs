//! Large results: what stays in memory, what is brought back, and what is too much.

#![expect(clippy::needless_pass_by_value, reason = "calls read better")]

use super::*;

const SMALL: Bounds = Bounds { small_bytes: 100, at_hand_bytes: 1_000, result_bytes: 10_000, decision_bytes: 10_000 };

fn typed(id: &str, word: &str, config: Value) -> Value {
    json!({"id": id, "type": word, "config": config})
}

/// A run with small bounds whose first step gives this many bytes, and whose second looks at them.
fn looking(bytes: usize) -> Bench {
    let look = typed("look", "transform", json!({"values": {"length": "size(steps.give.output.text)"}}));
    let mut bench =
        Bench::new(flow("sequential", &[step("give", json!({})), step("other", json!({})), look], json!({})));
    bench.run.bound(SMALL);
    bench.tell(&Command::Begin);
    bench.ends(0, Outcome::Completed(Arc::new(json!({"text": "x".repeat(bytes)}))));
    bench.run.let_go();
    bench
}

#[test]
fn a_small_result_stays_and_a_large_one_is_let_go_and_brought_back() {
    let mut bench = looking(900);
    bench.completes(1);
    assert_eq!(bench.letters(), "CCC", "900 bytes are within the bound");
    let mut bench = looking(2_000);
    assert!(matches!(bench.run.results["give"].output, Output::Away(_)));
    let decision = bench.decide(&Command::AttemptEnded {
        step: 1,
        attempt: 0,
        report: report(Outcome::Completed(Arc::new(json!(1))), 0),
    });
    let decision = decision.unwrap();
    assert_eq!((decision.wanted, decision.changes, decision.unused_slots), ([0].into(), vec![], bench.slots));
    bench.run.bring(vec![(0, bench.log[0].result.clone().unwrap())]);
    bench.completes(1);
    assert_eq!(bench.letters(), "CCC");
    assert_eq!(bench.run.results["look"].output, json!({"length": 2_000}).into());
    bench.run.let_go();
    assert!(matches!(bench.run.results["give"].output, Output::Away(_)), "it goes again");
}

#[test]
fn what_does_not_fit_fails_its_step_in_words() {
    let mut bench = looking(2_000);
    bench.run.set_full(true);
    bench.completes(1);
    assert_eq!(bench.letters(), "CCF");
    let error = bench.run.results["look"].error.as_deref().unwrap();
    assert!(error.contains("too large to be looked at together"), "{error}");
}

#[test]
fn a_loop_whose_result_grows_too_large_ends_with_what_to_do() {
    let body = typed("part", "transform", json!({"values": {"text": "trigger.host + loop.item"}}));
    let each = json!({"collection": format!("[{}]", vec![format!("'{}'", "y".repeat(400)); 8].join(",")),
        "concurrency": 2, "steps": [body]});
    let mut bench = Bench::new(flow("sequential", &[typed("all", "for_each", each)], json!({})));
    bench.run.bound(Bounds { result_bytes: 2_000, ..SMALL });
    bench.tell(&Command::Begin);
    while bench.run.state.status == RunStatus::Running {
        bench.tell(&Command::Wake);
    }
    assert_eq!(bench.run.state.status, RunStatus::Failed);
    let error = bench.run.results["all"].error.as_deref().unwrap();
    assert!(error.contains("may have 2000") && error.contains("transform"), "{error}");
    assert!(bench.log.len() <= 7, "it does not go on to the end: {}", bench.log.len());
}

#[test]
fn one_decision_renders_no_more_than_it_may() {
    let give =
        |no| typed(&format!("s{no}"), "transform", json!({"values": {"text": format!("'{}'", "z".repeat(1_000))}}));
    let steps: Vec<Value> = (0..20).map(give).collect();
    let mut bench = Bench::new(flow("parallel", &steps, json!({})));
    bench.run.bound(Bounds { decision_bytes: 3_000, ..SMALL });
    let decision = bench.tell(&Command::Begin);
    let ended = |decision: &Decision| {
        decision.changes.iter().filter(|change| matches!(change, Change::AttemptLogged(_))).count()
    };
    assert_eq!(ended(&decision), 3);
    let mut waiting = queued(&decision);
    assert_eq!(waiting.len(), 17, "what is left is in the queue");
    while let Some(next) = waiting.pop() {
        bench.tell(&Command::Start { steps: vec![next] });
    }
    assert_eq!(bench.run.state.status, RunStatus::Completed);
}

/// A loop's collection is a result that the run does not hold after a restart: its rounds go on with the right items.
#[test]
fn a_loop_over_what_is_away_goes_on_after_a_load() {
    let each = json!({"collection": "steps.give.output.items", "concurrency": 1,
        "steps": [{"id": "one", "config": {"action_type": "noop", "action_payload": {"item": "{{ loop.item }}"}}}]});
    let steps = [step("give", json!({})), typed("all", "for_each", each)];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
    let items = Arc::new(json!({"items": ["a".repeat(200), "b".repeat(200)]}));
    bench.ends(0, Outcome::Completed(items.clone()));
    let first = *bench.run.state.loose.keys().next().unwrap();
    let state = RunState::load(&bench.run.save()).unwrap();
    let log = [LastAttempt {
        step: 0,
        attempt: 0,
        is_final: true,
        result: Some(Kept::Away { bytes: 450 }),
        error: None,
        reused_from: None,
    }];
    bench.run = Run::rehydrate(bench.run.header.clone(), bench.run.plan.clone(), state, &log);
    let recover = Command::Recover { under_way: vec![first] };
    assert_eq!(bench.decide(&recover).unwrap().wanted, [0].into());
    bench.run.bring(vec![(0, items)]);
    bench.tell(&recover);
    let next = bench.completes(first);
    let payload = next.effects.iter().find_map(|effect| match effect {
        Effect::StartAttempt { payload, .. } => Some(payload.clone()),
        _ => None,
    });
    assert_eq!(payload.unwrap()["item"], "b".repeat(200));
}
