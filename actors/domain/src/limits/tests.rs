//! Keys and homes; a bucket against its definition; the book against random histories with crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::document::FlowDocument;
use crate::ids::{Owner, RunId, UserId};
use crate::run::matching_scope;

const FLOW: FlowId = FlowId(Uuid::from_u128(1));

fn limits(value: Value) -> Limits {
    Limits::check(&serde_json::from_value(value).unwrap(), None).unwrap()
}

fn claim_of(limits: &Limits, trigger: Value) -> Result<Claim, KeyError> {
    let owner = Owner::new(UserId(Uuid::from_u128(9)), None);
    limits.claim(FLOW, &matching_scope(Arc::new(trigger), Arc::default(), &owner, 0))
}

fn run(n: u128) -> RunId {
    RunId::new(n as i64, n << 24)
}

fn places(key: &str, max: u32, strategy: LimitStrategy) -> Arc<Claim> {
    let concurrency = Concurrency { key: key.into(), max, strategy };
    Arc::new(Claim { flow: FLOW, concurrency: Some(concurrency), rate: None, gathers: None })
}

#[test]
fn a_key_is_computed_and_what_is_no_key_is_refused() {
    let limits = limits(json!({"concurrency": {"key": "trigger.host", "max": 1}, "rate": {"max": 5}}));
    let claim = claim_of(&limits, json!({"host": 7})).unwrap();
    assert_eq!(&*claim.concurrency.as_ref().unwrap().key, "7");
    assert_eq!(claim.rate, Some(("".into(), Rate { interval_us: 200_000, burst: 1 })));
    let stored = serde_json::to_value(&claim).unwrap();
    assert_eq!(serde_json::from_value::<Claim>(stored).unwrap(), claim);
    for bad in [
        json!({"host": null}),
        json!({"host": ["a"]}),
        json!({}),
        json!({"host": "x".repeat(513)}),
        json!({"host": "\u{0}"}),
    ] {
        assert!(claim_of(&limits, bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn runs_that_share_a_key_share_a_partition() {
    let same =
        limits(json!({"concurrency": {"key": "trigger.host", "max": 1}, "rate": {"key": "trigger.host", "max": 5}}));
    let homes: BTreeSet<u16> = (0..100).map(|n| same.home(&claim_of(&same, json!({"host": n})).unwrap(), 64)).collect();
    assert!(homes.len() > 20, "keys are spread: {homes:?}");
    let mixed = limits(json!({"concurrency": {"key": "trigger.host", "max": 1}, "rate": {"max": 5}}));
    let homes: BTreeSet<u16> =
        (0..100).map(|n| mixed.home(&claim_of(&mixed, json!({"host": n})).unwrap(), 64)).collect();
    assert_eq!(homes.len(), 1, "one rate for all hosts needs one place");
}

#[test]
fn limits_are_checked_with_pointers() {
    let check = |value: Value| {
        let found = Limits::check(&serde_json::from_value(value).unwrap(), None).expect_err("refused");
        found.into_iter().map(|p| p.pointer).collect::<Vec<_>>()
    };
    assert_eq!(check(json!({"concurrency": {"max": 0}})), ["/limits/concurrency/max"]);
    assert_eq!(
        check(json!({"concurrency": {"key": "steps.a", "max": 1}, "rate": {"key": "trigger.", "max": 1, "burst": 0}})),
        ["/limits/rate/burst", "/limits/concurrency/key", "/limits/rate/key"]
    );
    assert!(serde_json::from_value::<LimitsDocument>(json!({"concurency": {"max": 1}})).is_err());
}

#[test]
fn the_field_is_stored_in_the_metadata_and_read_back() {
    let text = "flow_name: a\ntrigger_type: manual\nmetadata: {team: x}\nlimits: {concurrency: {max: 2}}\n\
                flow_steps:\n  - id: x\n    config: {action_type: transform}\n";
    let flow = FlowDocument::from_text(text).unwrap();
    let stored = flow.to_stored();
    assert_eq!(stored["metadata"], json!({"team": "x", "limits": {"concurrency": {"max": 2, "strategy": "queue"}}}));
    assert_eq!(stored.get("limits"), None);
    assert_eq!(FlowDocument::from_value(stored).unwrap(), flow);
    let error = FlowDocument::from_text(&text.replace("{concurrency: {max: 2}}", "[]")).expect_err("a list");
    assert_eq!(error.pointer, "/limits");
}

#[test]
fn a_full_limit_queues_skips_or_replaces() {
    let mut book = Book::default();
    let waits = |cancel: &[RunId]| Arrival::Waits { cancel: cancel.to_vec() };
    let names = |admitted: Vec<Admission>| admitted.into_iter().map(|a| a.run).collect::<Vec<_>>();
    let queue = places("q", 1, LimitStrategy::Queue);
    assert_eq!(book.arrive(run(1), &queue, 1), waits(&[]));
    assert_eq!(names(book.admit(0)), [run(1)]);
    assert_eq!(book.arrive(run(1), &queue, 1), Arrival::Admitted);
    assert_eq!(book.arrive(run(2), &queue, 2), waits(&[]));
    assert_eq!(names(book.admit(0)), []);
    let held = Hold::Concurrency { key: "q".into(), max: 1, holders: vec![run(1)], ahead: 0 };
    assert_eq!((book.hold(run(2)), book.hold(run(1))), (Some(held), None));
    book.leave(run(1));
    assert_eq!(names(book.admit(0)), [run(2)]);

    let skip = places("s", 1, LimitStrategy::Skip);
    book.arrive(run(3), &skip, 3);
    assert_eq!(names(book.admit(0)), [run(3)]);
    assert_eq!(book.arrive(run(4), &skip, 4), Arrival::Skipped { holders: vec![run(3)] });
    assert!(!book.knows(run(4)), "a run that is skipped leaves nothing behind");

    let replace = places("r", 2, LimitStrategy::CancelRunning);
    for n in 10..12 {
        assert_eq!(book.arrive(run(n), &replace, n as i64), waits(&[]));
    }
    assert_eq!(names(book.admit(0)), [run(10), run(11)]);
    assert_eq!(book.arrive(run(12), &replace, 12), waits(&[run(10)]));
    assert_eq!(names(book.admit(0)), [], "the place is free when its run has ended, not before");
    assert_eq!(book.arrive(run(13), &replace, 13), waits(&[run(11)]), "who was told to go is not told again");
    book.leave(run(10));
    assert_eq!(names(book.admit(0)), [run(12)]);
}

#[test]
fn a_rate_lets_runs_start_one_by_one() {
    let mut book = Book::default();
    let rate = Rate { interval_us: 20_000, burst: 1 };
    let claim = Arc::new(Claim { flow: FLOW, concurrency: None, rate: Some(("".into(), rate)), gathers: None });
    for n in 0..100 {
        book.arrive(run(n), &claim, n as i64);
    }
    let mut started = Vec::new();
    let mut now_ms = 5_000;
    while book.waiting() > 0 {
        started.extend(book.admit(now_ms).into_iter().map(|a| (now_ms, a.run)));
        let Some(due_ms) = book.next_due_ms() else { break };
        assert!(due_ms > now_ms, "it asks again later");
        now_ms = due_ms;
    }
    assert_eq!(started.len(), 100);
    let expected: Vec<_> = (0..100).map(|n| (5_000 + n * 20, run(n as u128))).collect();
    assert_eq!(started, expected, "in the order of their arrival, 50 a second");
    for n in 0..100 {
        book.leave(run(n));
    }
    book.forget_full(now_ms + 1_000);
    assert!(book.is_empty(), "nothing is left behind");
}

proptest! {
    /// Within any window no more start than the burst and what the rate gives in it, though the clock jumps.
    #[test]
    fn a_bucket_never_gives_more_than_its_rate(
        interval_us in 1..1_000_000_i64, burst in 1..20_u32, steps in prop::collection::vec(0..2_000_000_i64, 1..200),
    ) {
        let rate = Rate { interval_us, burst };
        let (mut bucket, mut now_us, mut taken) = (Bucket::default(), 1_000_000_000_i64, Vec::new());
        for step in steps {
            now_us += step;
            match bucket.take(rate, now_us) {
                Ok(()) => taken.push(now_us),
                Err(at_us) => {
                    prop_assert!(at_us > now_us && at_us - now_us <= interval_us, "the next token comes in time");
                }
            }
        }
        for (first, from) in taken.iter().enumerate() {
            for (last, to) in taken.iter().enumerate().skip(first) {
                let most = i64::from(burst) + (to - from) / interval_us;
                prop_assert!((last - first + 1) as i64 <= most);
            }
        }
    }

    /// Runs of three keys come, start, end and are cut off by crashes: a key never has more than its maximum, those who
    /// wait start in their order, and in the end every one has run.
    #[test]
    fn no_history_overshoots_or_leaves_a_run_behind(moves in prop::collection::vec((0..10_u8, any::<u16>()), 1..400)) {
        let claims: Vec<Arc<Claim>> = (1..=3).map(|max| places(&max.to_string(), max, LimitStrategy::Queue)).collect();
        // What is stored: of each live run its claim, when it came, and whether its start is durable.
        let mut rows: BTreeMap<RunId, (usize, i64, bool)> = BTreeMap::new();
        let (mut book, mut came, mut ended) = (Book::default(), 0_u128, 0);
        let mut last_started = [0_i64; 3];
        for (what, which) in moves {
            match what {
                0..=4 => {
                    came += 1;
                    let key = usize::from(which) % 3;
                    rows.insert(run(came), (key, came as i64, false));
                    book.arrive(run(came), &claims[key], came as i64);
                }
                5..=8 => {
                    let running: Vec<RunId> = rows.iter().filter(|(_, row)| row.2).map(|(run, _)| *run).collect();
                    if let Some(run) = running.get(usize::from(which) % running.len().max(1)) {
                        rows.remove(run);
                        book.leave(*run);
                        ended += 1;
                    }
                }
                _ => {
                    book = Book::default();
                    for (run, (key, since_ms, holds)) in &rows {
                        book.restore(*run, claims[*key].clone(), *since_ms, *holds);
                    }
                }
            }
            for admission in book.admit(0) {
                let row = rows.get_mut(&admission.run).expect("only live runs are admitted");
                prop_assert!(!row.2, "a run is admitted once");
                prop_assert!(last_started[row.0] < row.1, "in the order of their arrival");
                last_started[row.0] = row.1;
                row.2 = true;
            }
            for (key, max) in (0..3).zip(1..) {
                let of_key = |holds: bool| rows.values().filter(|row| row.0 == key && row.2 == holds).count();
                prop_assert!(of_key(true) <= max, "key {key} has {} at once", of_key(true));
                prop_assert!(of_key(false) == 0 || of_key(true) == max, "key {key} leaves a place empty");
            }
        }
        while let Some(run) = rows.iter().find(|(_, row)| row.2).map(|(run, _)| *run) {
            rows.remove(&run);
            book.leave(run);
            ended += 1;
            for admission in book.admit(0) {
                rows.get_mut(&admission.run).expect("only live runs are admitted").2 = true;
            }
        }
        prop_assert_eq!(ended, came as usize);
        prop_assert!(rows.is_empty() && book.waiting() == 0 && book.admitted() == 0);
    }
}
