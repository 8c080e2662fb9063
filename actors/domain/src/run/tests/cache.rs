//! Steps that take a result of an earlier run.

#![expect(clippy::needless_pass_by_value, reason = "calls read better")]

use std::collections::BTreeMap;

use super::*;

fn cached_step(more: Value) -> Value {
    step("ask", merged(json!({"cache": {"key": "trigger.host", "seconds": 60}}), &more))
}

fn merged(mut value: Value, more: &Value) -> Value {
    merge_patch(&mut value, more);
    value
}

fn bench(step: Value) -> Bench {
    let mut bench = Bench::new(flow("sequential", &[step], json!({})));
    bench.run.use_cache();
    bench
}

fn key_of(bench: &Bench) -> CacheKey {
    let decision = bench.decide(&Command::Begin).unwrap();
    assert_eq!((decision.changes.len(), decision.effects.len(), decision.unused_slots), (0, 0, bench.slots));
    *decision.looks_up.iter().next().unwrap()
}

#[test]
fn a_miss_does_the_work_and_keeps_its_result() {
    let mut bench = bench(cached_step(json!({})));
    let key = key_of(&bench);
    bench.run.bring_cached(BTreeMap::from([(key, None)]));
    let begin = bench.tell(&Command::Begin);
    assert_eq!(started(&begin), [(0, 0)]);
    bench.run.forget_cached();
    bench.now_ms = 5;
    let end = bench.completes(0);
    let kept = end.changes.iter().find_map(|change| match change {
        Change::ResultCached { key, result, expires_at_ms, .. } => Some((*key, result.clone(), *expires_at_ms)),
        _ => None,
    });
    assert_eq!(kept, Some((key, Arc::new(json!({"n": 0})), 60_005)));
}

#[test]
fn a_hit_completes_without_an_attempt_outside() {
    let mut bench = bench(cached_step(json!({})));
    let key = key_of(&bench);
    let execution = bench.run.header.id.execution(9);
    let cached = Cached { result: Arc::new(json!({"n": 7})), execution, stored_at_ms: 1_000 };
    bench.run.bring_cached(BTreeMap::from([(key, Some(cached))]));
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), begin.unused_slots), (vec![], bench.slots), "it needs no slot");
    assert_eq!((bench.run.state.status, bench.letters()), (RunStatus::Completed, "C".to_owned()));
    assert_eq!(bench.run.results["ask"].output, json!({"n": 7}).into());
    assert_eq!(
        *bench.log[0].payload,
        json!({"cached": {"execution_id": execution, "stored_at": "1970-01-01T00:00:01.000Z"}})
    );
    assert!(!begin.changes.iter().any(|change| matches!(change, Change::ResultCached { .. })), "it is not kept anew");
}

#[test]
fn another_key_or_another_configuration_is_another_result() {
    let first = key_of(&bench(cached_step(json!({}))));
    assert_eq!(first, key_of(&bench(cached_step(json!({})))));
    let others = [
        json!({"cache": {"key": "trigger.host + '1'"}}),
        json!({"config": {"action_payload": {"host": "{{ trigger.host }}", "more": 1}}}),
        json!({"config": {"action_target": "elsewhere"}}),
    ];
    for other in others {
        assert_ne!(first, key_of(&bench(cached_step(other.clone()))), "{other}");
    }
    assert_eq!(first, key_of(&bench(cached_step(json!({"cache": {"seconds": 5}, "timeout_seconds": 3.0})))));
}

#[test]
fn a_failure_is_not_kept_and_a_key_that_cannot_be_computed_fails_the_step() {
    let mut failing = bench(cached_step(json!({})));
    let key = key_of(&failing);
    failing.run.bring_cached(BTreeMap::from([(key, None)]));
    failing.tell(&Command::Begin);
    let end = failing.fails(0);
    assert!(!end.changes.iter().any(|change| matches!(change, Change::ResultCached { .. })));
    let mut wrong = bench(cached_step(json!({"cache": {"key": "trigger.nothing"}})));
    wrong.tell(&Command::Begin);
    assert_eq!(wrong.letters(), "F");
    assert!(wrong.error().contains("cache.key"), "{}", wrong.error());
}

/// Who has no cache does the work: test cases of documents and simulations give the same each time.
#[test]
fn without_a_cache_nothing_is_looked_up() {
    let mut bench = Bench::new(flow("sequential", &[cached_step(json!({}))], json!({})));
    let begin = bench.tell(&Command::Begin);
    assert_eq!((started(&begin), begin.looks_up.len()), (vec![(0, 0)], 0));
}
