//! Which triggers become one run, against a plain list of what came; what the run then has for its trigger.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::document::FlowDocument;
use crate::ids::{Owner, RunId, UserId};
use crate::plan::{FlowPlan, PlanLimits};
use crate::run::{FlowRef, on_behalf};
use crate::words::TriggerType;

const FLOW: FlowId = FlowId(Uuid::from_u128(1));
const BATCH: Terms = Terms::Batch { max: 3, timeout_ms: 1_000 };
const DEBOUNCE: Terms = Terms::Debounce { period_ms: 100, most_ms: Some(250) };
const MOST: usize = 1_000;

fn gathers(key: &str, terms: Terms) -> Gathers {
    Gathers { key: key.into(), version: 1, terms }
}

fn run(n: u128) -> RunId {
    RunId::new(n as i64, n << 24)
}

fn header(context: Value) -> RunHeader {
    let nothing = crate::Json::default();
    RunHeader {
        id: run(1),
        owner: Owner::new(UserId(Uuid::from_u128(9)), None),
        partition: 0,
        flow: FlowRef { id: FLOW, version: 1, name: "f".into() },
        trigger_type: TriggerType::Manual,
        trigger_source: "manual".into(),
        input: Arc::new(context.clone()),
        trigger_context: Arc::new(context),
        webhook: nothing,
        triggered_by: "user:9".into(),
        environment: "test".into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        idempotency_key: None,
        run_key: None,
        accepted_at_ms: 0,
        deadline_at_ms: None,
    }
}

/// A run that has been opened, durably.
fn opened(book: &mut Gatherings, n: u128, gathers: &Gathers, now_ms: i64) -> RunId {
    assert_eq!(book.arrive(FLOW, gathers, 1, MOST, now_ms), Joining::Opens);
    book.open(run(n), FLOW, gathers, 1, now_ms);
    assert_eq!(book.arrive(FLOW, gathers, 1, MOST, now_ms), Joining::Waits { run: run(n) }, "it is not durable yet");
    book.opened(run(n));
    run(n)
}

#[test]
fn a_debounce_begins_when_it_is_quiet_or_at_the_latest_at_its_bound() {
    let (mut book, gathers) = (Gatherings::default(), gathers("web-1", DEBOUNCE));
    let first = opened(&mut book, 1, &gathers, 0);
    assert_eq!(book.next_due_ms(), Some(100));
    for (now_ms, due_ms) in [(90, 190), (180, 250), (240, 250)] {
        assert!(book.ripe(now_ms, 9).is_empty());
        let joining = book.arrive(FLOW, &gathers, 1, MOST, now_ms);
        assert!(matches!(joining, Joining::Joins { run, .. } if run == first), "{joining:?}");
        book.settled(first, 1, Some(now_ms));
        assert_eq!(book.next_due_ms(), Some(due_ms));
    }
    let held = Hold::Gathers { key: "web-1".into(), terms: DEBOUNCE, count: 4, at_ms: 250 };
    assert_eq!(book.hold(first), Some(held));
    assert_eq!(book.ripe(250, 9), [first]);
    assert!(book.ripe(250, 9).is_empty(), "it is being read");
    book.unread(first);
    assert_eq!(book.ripe(250, 9), [first], "what could not be read is read again");
    opened(&mut book, 2, &gathers, 250);
    assert!(book.leave(first) && !book.knows(first) && book.knows(run(2)));
}

#[test]
fn a_batch_begins_when_it_is_full_or_its_time_is_over_and_never_before_what_is_under_way_is_durable() {
    let (mut book, own) = (Gatherings::default(), gathers("k", BATCH));
    let first = opened(&mut book, 1, &own, 0);
    assert_eq!(book.arrive(FLOW, &own, 1, MOST, 1), Joining::Joins { run: first, no: 2 });
    assert_eq!(book.arrive(FLOW, &own, 1, MOST, 1), Joining::Joins { run: first, no: 3 });
    assert_eq!(book.arrive(FLOW, &own, 1, MOST, 1), Joining::Waits { run: first }, "it may be full");
    book.settled(first, 1, Some(1));
    book.settled(first, 1, None);
    assert_eq!(book.arrive(FLOW, &own, 1, MOST, 2), Joining::Joins { run: first, no: 4 }, "one was a repetition");
    assert!(book.ripe(1_000, 9).is_empty(), "its time is over, and a trigger is under way");
    assert_eq!(book.arrive(FLOW, &own, 1, MOST, 1_000), Joining::Opens, "it takes no more");
    book.settled(first, 1, Some(2));
    assert_eq!(book.ripe(1_000, 9), [first]);
    // Another key and another version gather by themselves; too many bytes close a batch.
    let other = opened(&mut book, 2, &gathers("other", BATCH), 1_000);
    assert_eq!(book.arrive(FLOW, &Gathers { version: 2, ..gathers("other", BATCH) }, 1, MOST, 1_000), Joining::Opens);
    assert_eq!(book.arrive(FLOW, &gathers("other", BATCH), MOST, MOST, 1_000), Joining::Opens);
    assert_eq!(book.ripe(1_000, 9), [other]);
}

#[test]
fn a_key_is_that_of_each_trigger_and_a_batch_has_one_home() {
    let document = json!({"batch": {"key": "trigger.host", "max": 9, "timeout_seconds": 1}, "concurrency": {"key": "trigger.host", "max": 1}});
    let limits = Limits::check(&serde_json::from_value(document).unwrap(), None).unwrap();
    let claim = limits.claim_of(&header(batch_of(vec![json!({"host": "a"}), json!({"host": "a"})]))).unwrap();
    assert_eq!(claim.gathers.as_ref().map(|g| &*g.key), Some("a"));
    assert_eq!(claim.concurrency.as_ref().map(|c| &*c.key), Some("a"));
    assert_eq!(serde_json::from_value::<Claim>(serde_json::to_value(&claim).unwrap()).unwrap(), claim);
    assert!(limits.claim_of(&header(batch_of(vec![json!({})]))).is_err());
    let homes: std::collections::BTreeSet<u16> = (0..50)
        .map(|n| limits.home(&limits.claim_of(&header(batch_of(vec![json!({"host": n})]))).unwrap(), 64))
        .collect();
    assert!(homes.len() > 10, "keys are spread: {homes:?}");
}

/// Whose turn it is bounds nothing by itself, and is known of each run from what its header says.
#[test]
fn executions_take_turns_by_the_key_of_their_run() {
    let compiled = |limits: Value| {
        let document = json!({"flow_name": "f", "trigger_type": "manual", "limits": limits,
            "flow_steps": [{"id": "x", "config": {"action_type": "noop"}}]});
        let document = FlowDocument::from_value(document).unwrap();
        FlowPlan::compile(&document, &["noop"], &PlanLimits::default())
    };
    let plan = compiled(json!({"fairness": {"key": "trigger.host"}})).unwrap();
    assert!(plan.limits.is_none(), "its runs live on all partitions");
    let turn =
        |plan: &FlowPlan, context: Value| plan.turn_of(&header(context)).map(|key| key.map(|key| key.to_string()));
    assert_eq!(turn(&plan, json!({"host": "a"})), Ok(Some("a".to_owned())));
    assert_eq!(turn(&plan, json!({"host": 7})), Ok(Some("7".to_owned())));
    for bad in [json!({}), json!({"host": ["a"]}), json!({"host": true}), json!({"host": "x".repeat(513)})] {
        assert!(turn(&plan, bad.clone()).is_err(), "{bad}");
    }
    let batch = json!({"fairness": {"key": "trigger.host"}, "batch": {"max": 9, "timeout_seconds": 1}});
    let gathered = batch_of(vec![json!({"host": "a"}), json!({"host": "b"})]);
    assert_eq!(turn(&compiled(batch).unwrap(), gathered), Ok(Some("a".to_owned())), "that of the first");
    let none = compiled(json!({"concurrency": {"max": 1}})).unwrap();
    assert!(none.limits.is_some() && turn(&none, json!({})) == Ok(None), "without a key they keep their order");
    for key in ["{'a': trigger.host}", "trigger.n > 1", "steps.x.output", "now"] {
        let problems = compiled(json!({"fairness": {"key": key}})).unwrap_err();
        assert_eq!((problems.len(), &*problems[0].pointer), (1, "/limits/fairness/key"), "{problems:?}");
    }
    let listed = json!({"flow_name": "f", "trigger_type": "manual", "limits": {"fairness": ["a"]}, "flow_steps": []});
    assert_eq!(FlowDocument::from_value(listed).unwrap_err().pointer, "/limits/fairness");
}

#[test]
fn what_a_document_says_of_gathering_is_checked() {
    let check = |value: Value| {
        let found = Limits::check(&serde_json::from_value(value).unwrap(), None).expect_err("refused");
        found.into_iter().map(|p| p.pointer).collect::<Vec<_>>()
    };
    assert_eq!(check(json!({"debounce": {"period_seconds": 10, "max_seconds": 5}})), ["/limits/debounce/max_seconds"]);
    assert_eq!(
        check(json!({"debounce": {"period_seconds": 0}, "batch": {"max": 1, "timeout_seconds": 0, "key": "steps.a"}})),
        [
            "/limits/debounce/period_seconds",
            "/limits/batch/max",
            "/limits/batch/timeout_seconds",
            "/limits/batch",
            "/limits/batch/key"
        ]
    );
    assert_eq!(
        check(
            json!({"batch": {"key": "trigger.a", "max": 2, "timeout_seconds": 1}, "rate": {"key": "trigger.b", "max": 1}})
        ),
        ["/limits/rate/key"]
    );
}

#[test]
fn whoever_has_a_trigger_in_a_batch_has_started_its_run() {
    let [first, second, third] = [1, 2, 3].map(|n| UserId(Uuid::from_u128(n)));
    let by = |by: String| RunHeader { triggered_by: by.into(), ..header(json!({})) };
    let of = |by_first: &str, others: &[String]| {
        let brought: Vec<Brought> = others.iter().map(|other| Brought::of(&by(other.clone()), BATCH)).collect();
        Brought::gathered(&by(by_first.to_owned()), BATCH, &brought, 0, None)
    };
    let others = [format!("user:{second}"), "webhook:1".to_owned(), on_behalf("service:key", third)];
    let run = of("webhook:1", &others);
    assert_eq!(*run.triggered_by, *format!("webhook:1/user:{second}/user:{third}"));
    let run = of(&format!("user:{first}"), &others);
    let started = [first, second, third, UserId(Uuid::from_u128(9))].map(|user| run.is_started_by(user));
    assert_eq!(started, [true, true, true, false], "the last one only owns it");
    assert_eq!(*of("webhook:1", &["webhook:1".to_owned()]).triggered_by, *"webhook:1");
    assert!(of("service:key", &others).is_started_by(UserId(Uuid::from_u128(9))), "as releases before wrote it");
}

#[test]
fn a_run_has_all_of_a_batch_and_the_last_of_a_debounce() {
    let one = |n: u64| header(batch_of(vec![json!({"n": n})]));
    let brought: Vec<Brought> = (2..4).map(|n| Brought::of(&one(n), BATCH)).collect();
    let gathered = Brought::gathered(&one(1), BATCH, &brought, 5_000, Some(1_000));
    assert_eq!(*gathered.trigger_context, json!({"count": 3, "events": [{"n": 1}, {"n": 2}, {"n": 3}]}));
    assert_eq!((&gathered.input, gathered.deadline_at_ms), (&gathered.trigger_context, Some(6_000)));

    let filled = RunHeader { input: Arc::new(json!({"n": 2, "more": true})), ..header(json!({"n": 2})) };
    let last = RunHeader { trigger_type: TriggerType::Webhook, triggered_by: "webhook:1".into(), ..filled };
    let brought = [Brought::of(&header(json!({"n": 1})), DEBOUNCE), Brought::of(&last, DEBOUNCE)];
    let stored: Vec<Brought> = serde_json::from_value(json!(brought)).unwrap();
    assert_eq!(stored, brought);
    let gathered = Brought::gathered(&header(json!({"n": 0})), DEBOUNCE, &stored, 5_000, None);
    assert_eq!((&*gathered.trigger_context, &*gathered.input), (&json!({"n": 2}), &json!({"n": 2, "more": true})));
    assert_eq!((gathered.trigger_type, &*gathered.triggered_by), (TriggerType::Webhook, "webhook:1"));
}

proptest! {
    /// Whatever comes in whatever order, and whatever is a repetition: every trigger that is durable is in exactly one run,
    /// no run has more than its batch takes, and every run begins once.
    #[test]
    fn every_trigger_is_in_one_run(steps in prop::collection::vec((0_u8..6, 0_u8..3, 0_i64..400), 1..200)) {
        let mut book = Gatherings::default();
        let (mut now_ms, mut next) = (0, 0);
        let mut under_way: Vec<RunId> = Vec::new();
        let mut counts: BTreeMap<RunId, u32> = BTreeMap::new();
        let mut begun: BTreeMap<RunId, u32> = BTreeMap::new();
        for (what, key, passes) in steps {
            match what {
                0..=2 => match book.arrive(FLOW, &gathers(&key.to_string(), BATCH), 1, MOST, now_ms) {
                    Joining::Opens => {
                        next += 1;
                        book.open(run(next), FLOW, &gathers(&key.to_string(), BATCH), 1, now_ms);
                        if what == 2 {
                            prop_assert!(book.leave(run(next)), "the store has refused it");
                        } else {
                            book.opened(run(next));
                            counts.insert(run(next), 1);
                        }
                    }
                    Joining::Joins { run, .. } => under_way.push(run),
                    Joining::Waits { run } => prop_assert!(under_way.contains(&run), "nothing waits for nothing"),
                },
                3 => under_way.drain(..).for_each(|run| {
                    let is_durable = passes % 3 != 0;
                    if is_durable {
                        *counts.get_mut(&run).expect("it is there") += 1;
                    }
                    book.settled(run, 1, is_durable.then_some(now_ms));
                }),
                _ => {
                    now_ms += passes;
                    for run in book.ripe(now_ms, 2) {
                        prop_assert!(!under_way.contains(&run));
                        prop_assert_eq!(book.progress(run).map(|(_, p)| p.count), counts.get(&run).copied());
                        begun.insert(run, counts[&run]);
                        book.leave(run);
                    }
                }
            }
        }
        under_way.drain(..).for_each(|run| book.settled(run, 1, None));
        for run in book.ripe(i64::MAX, usize::MAX) {
            prop_assert!(begun.insert(run, counts[&run]).is_none());
            book.leave(run);
        }
        prop_assert!(book.is_empty() && book.next_due_ms().is_none());
        prop_assert!(begun.values().all(|count| *count <= 3));
        prop_assert_eq!(begun, counts);
    }
}
