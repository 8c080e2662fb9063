//! What every store must do, whatever its database: the conformance suite of [`Store`], [`Catalog`] and [`Ledger`].
//!
//! Each function is one promise of the ports and takes an empty store. It panics where the promise does not hold.
//! [`history`] draws seeded random histories, to be applied to two stores that must not differ.

pub mod bulk;
pub mod connections;
pub mod events;
pub mod history;
pub mod keys;
pub mod limits;
pub mod membership;
pub mod people;
pub mod samples;
pub mod schedules;

use core314_domain::audit::AuditEvent;
use core314_domain::ids::{FlowId, TenantId, WebhookId};
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Kept, LastAttempt, Reuse, Reused, ReusedOutcome};
use core314_domain::stats::{BUCKET_WIDTHS_MS, Stat, StatKey};
use core314_domain::words::TriggerType;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::ports::Scope;
use crate::ports::catalog::Catalog;
use crate::ports::ledger::Ledger;
use crate::ports::store::{
    DeadLetter, Outcome, RejectCode, RunWrite, StatisticsWrite, Store, Webhook, WebhookRemoval, WebhookTarget, Write,
};
use samples::{NOW_MS, Samples};

const PARTITIONS: u16 = 4;

/// Takes the partitions and gives the epoch.
pub async fn take(store: &dyn Store) -> i64 {
    let node = Samples::new(99).row_id();
    store.take_partitions(node, PARTITIONS, NOW_MS).await.expect("partitions can be taken")
}

/// Commits writes, which must all be decided.
pub async fn commit(store: &dyn Store, writes: Vec<Write>) -> Vec<Outcome> {
    let count = writes.len();
    let outcomes = store.commit(writes).await.expect("the store answers");
    assert_eq!(outcomes.len(), count, "every write has its outcome");
    outcomes
}

/// Commits one change of a run.
pub async fn commit_run(store: &dyn Store, run: &RunWrite) -> Outcome {
    commit(store, vec![Write::Run(Arc::new(run.clone()))]).await.remove(0)
}

/// The number of the log's last row that came with a committed write.
#[track_caller]
pub fn log_seq(outcome: &Outcome) -> Option<i64> {
    match outcome {
        Outcome::Committed { log_seq } => *log_seq,
        other => panic!("not committed: {other:?}"),
    }
}

/// A run reads back as it was accepted, and as it was changed.
pub async fn a_run_reads_back(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(1);
    for (partition, bare) in [(0, false), (3, true)] {
        let mut accepted = samples.accept(partition, epoch);
        if bare {
            samples.strip(&mut accepted);
        }
        assert_eq!(commit_run(store, &accepted).await, Outcome::Committed { log_seq: None });
        let header = accepted.accept.as_ref().expect("an accept").header.clone();
        let found = store.load_runs(vec![accepted.id]).await.expect("loads").remove(0);
        assert_eq!((&found.header, found.version), (&*header, 1));
        assert_eq!((&found.state, found.timing), (&accepted.state, accepted.timing));
        assert!(found.attempts.is_empty());

        let finished = samples.finish(&accepted, 2);
        assert_eq!(log_seq(&commit_run(store, &finished).await), Some(2));
        let found = store.load_runs(vec![accepted.id, samples.run_id()]).await.expect("loads");
        assert_eq!(found.len(), 1, "a run that does not exist is left out");
        assert_eq!((&found[0].header, found[0].version), (&*header, 2));
        assert_eq!((&found[0].state, found[0].timing), (&finished.state, finished.timing));
        let attempts: Vec<_> = finished
            .log
            .iter()
            .map(|e| (e.step, e.result.clone().map(Kept::Here), e.failure.as_ref().map(|f| &f.message)))
            .collect();
        let stored: Vec<_> = found[0].attempts.iter().map(|a| (a.step, a.result.clone(), a.error.as_ref())).collect();
        assert_eq!(stored, attempts);
        let states = store.run_states(vec![samples.run_id(), accepted.id]).await.expect("reads");
        assert_eq!((states.len(), &states[0].header, states[0].version), (1, &*header, 2));
        assert_eq!((&states[0].state, states[0].timing), (&finished.state, finished.timing));
        assert!(states[0].attempts.is_empty(), "what its steps gave is not read");
    }
    assert!(store.load_runs(Vec::new()).await.expect("loads").is_empty());
}

/// What a run takes over reads back with it, and is kept when a step of it is done again all the same.
pub async fn what_a_run_takes_over_reads_back(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(61);
    let mut accepted = samples.accept(1, epoch);
    let from = samples.run_id().execution(7);
    let outcome = |result, error| Some(ReusedOutcome { from, result, error });
    let steps = [
        (0, Reused { status: StepStatus::Completed, outcome: outcome(Some(json!({"n": [1.5, null]}).into()), None) }),
        (1, Reused { status: StepStatus::SkippedByWhen, outcome: None }),
        (2, Reused { status: StepStatus::Failed, outcome: outcome(None, Some("no".to_owned())) }),
    ];
    let reuse = Arc::new(Reuse { steps: steps.into_iter().collect(), vars: Value::Null.into() });
    accepted.accept.as_mut().expect("an accept").reuse = Some(reuse.clone());
    accepted.state.state = r#"{"v":3,"s":"CSFB","x":[[0,2]]}"#.to_owned();
    commit_run(store, &accepted).await;
    let expected: Vec<LastAttempt> = reuse.outcomes().collect();
    assert_eq!(expected.len(), 2);
    let found = store.load_runs(vec![accepted.id]).await.expect("loads").remove(0);
    assert_eq!(found.attempts, expected);
    let mut next = samples.finish(&accepted, 1);
    next.state.state = r#"{"v":3,"s":"CSFC","x":[[0,2]]}"#.to_owned();
    let own: Vec<_> = next.log.iter().map(|entry| entry.step).collect();
    commit_run(store, &next).await;
    let found = store.load_runs(vec![accepted.id]).await.expect("loads").remove(0);
    let (taken, logged): (Vec<_>, Vec<_>) = found.attempts.into_iter().partition(|last| last.reused_from.is_some());
    assert_eq!((taken, logged.iter().map(|last| last.step).collect::<Vec<_>>()), (expected, own));
}

/// Of two changes of one version the first is committed and the second is a conflict, also in one batch.
pub async fn a_stale_version_conflicts(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(2);
    let accepted = samples.accept(0, epoch);
    assert_eq!(commit_run(store, &accepted).await, Outcome::Committed { log_seq: None });
    let (first, second) = (samples.finish(&accepted, 1), samples.finish(&accepted, 1));
    assert_eq!(log_seq(&commit_run(store, &first).await), Some(1));
    assert_eq!(commit_run(store, &second).await, Outcome::Conflict);
    let ahead = RunWrite { expected_version: 9, log: Vec::new(), ..second.clone() };
    assert_eq!(commit_run(store, &ahead).await, Outcome::Conflict);
    let mut again = accepted.clone();
    samples.set_key(&mut again, None);
    assert_eq!(commit_run(store, &again).await, Outcome::Conflict, "a run is accepted once");

    let unknown = RunWrite { id: samples.run_id(), expected_version: 1, ..second };
    assert_eq!(commit_run(store, &unknown).await, Outcome::Conflict);
    let other = samples.accept(1, epoch);
    let twice = vec![Write::Run(Arc::new(other.clone())), Write::Run(Arc::new(samples.finish(&other, 1)))];
    assert_eq!(commit(store, twice).await, [Outcome::Committed { log_seq: None }, Outcome::Conflict]);
    let stored = store.load_runs(vec![accepted.id]).await.expect("loads").remove(0);
    assert_eq!((stored.version, stored.state), (2, first.state), "a conflict leaves nothing behind");
}

/// A repeated idempotency key is answered as the first time; an expired one is free again.
pub async fn a_repeated_key_is_a_duplicate(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(3);
    let first = samples.accept(0, epoch);
    let key = first.accept.as_ref().and_then(|a| a.idempotency.clone()).expect("samples have keys");
    // Of two in one batch the first counts.
    let mut second = samples.accept_as(0, epoch, first.accept.as_ref().expect("an accept").header.owner);
    samples.set_key(&mut second, Some(key.clone()));
    let both = vec![Write::Run(Arc::new(first.clone())), Write::Run(Arc::new(second.clone()))];
    let same = Outcome::Duplicate { answer: key.answer.clone(), same_request: true };
    assert_eq!(commit(store, both).await, [Outcome::Committed { log_seq: None }, same.clone()]);
    assert_eq!(commit_run(store, &second).await, same);
    let tenant = first.tenant;
    assert_eq!(store.answer_of(tenant, key.key.clone()).await.expect("reads"), Some(key.answer.clone()));
    assert_eq!(store.answer_of(tenant, "another".to_owned()).await.expect("reads"), None);
    samples.set_key(&mut second, Some(crate::ports::store::Idempotency { body_hash: [9; 32], ..key.clone() }));
    let differs = Outcome::Duplicate { answer: key.answer.clone(), same_request: false };
    assert_eq!(commit_run(store, &second).await, differs);
    assert!(store.load_runs(vec![second.id]).await.expect("loads").is_empty(), "a duplicate creates no run");

    let mut elsewhere = samples.accept(0, epoch);
    samples.set_key(&mut elsewhere, Some(key.clone()));
    assert_eq!(log_seq(&commit_run(store, &elsewhere).await), None, "another tenant has keys of its own");
    samples.accept_at(&mut second, key.expires_at_ms);
    let next = crate::ports::store::Idempotency { expires_at_ms: key.expires_at_ms + 1_000, answer: json!(2), ..key };
    samples.set_key(&mut second, Some(next.clone()));
    assert_eq!(log_seq(&commit_run(store, &second).await), None, "an expired key is free");
    let mut third = samples.accept_as(0, epoch, second.accept.as_ref().expect("an accept").header.owner);
    samples.set_key(&mut third, Some(next));
    assert_eq!(commit_run(store, &third).await, Outcome::Duplicate { answer: json!(2), same_request: true });
}

/// Whoever lost a partition commits nothing for it, and disturbs nobody else.
pub async fn a_lost_partition_is_fenced(store: &dyn Store) {
    let old = take(store).await;
    let new = take(store).await;
    assert!(new > old, "each start has a greater epoch");
    let mut samples = Samples::new(4);
    let (stale, fresh) = (samples.accept(1, old), samples.accept(1, new));
    let nowhere = samples.accept(PARTITIONS, new);
    let statistics = StatisticsWrite { partition: 1, epoch: old, rows: Vec::new(), covered_seq: 5 };
    let batch = vec![
        Write::Run(Arc::new(stale.clone())),
        Write::Run(Arc::new(fresh.clone())),
        Write::Run(Arc::new(nowhere)),
        Write::Statistics(Box::new(statistics)),
    ];
    let outcomes = commit(store, batch).await;
    assert_eq!(outcomes[0], Outcome::Fenced);
    assert_eq!(log_seq(&outcomes[1]), None);
    assert_eq!(outcomes[2..], [Outcome::Fenced, Outcome::Fenced]);
    let found = store.load_runs(vec![stale.id, fresh.id]).await.expect("loads");
    assert_eq!(found.iter().map(|run| run.header.id).collect::<Vec<_>>(), [fresh.id]);
    assert_eq!(store.statistics_position(1).await.expect("reads"), 0);
}

/// One row that the database refuses fails its own write, and no other of the hundred.
pub async fn a_bad_row_fails_alone(store: &(impl Store + Ledger)) {
    let epoch = take(store).await;
    let mut samples = Samples::new(5);
    let accepted: Vec<RunWrite> = (0..100).map(|i| samples.accept(i % PARTITIONS, epoch)).collect();
    let batch: Vec<Write> = accepted.iter().map(|run| Write::Run(Arc::new(run.clone()))).collect();
    assert!(commit(store, batch).await.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
    let mut finished: Vec<RunWrite> = accepted.iter().map(|run| samples.finish(run, 1)).collect();
    // The same attempt twice: the log's unique index refuses the second.
    let twice = finished[37].log[0].clone();
    finished[37].log.push(twice);
    let batch: Vec<Write> = finished.iter().map(|run| Write::Run(Arc::new(run.clone()))).collect();
    let outcomes = commit(store, batch).await;
    let mut next = [0_i64; PARTITIONS as usize];
    for (i, outcome) in outcomes.iter().enumerate() {
        if i == 37 {
            let Outcome::Rejected { code: RejectCode::Constraint, message } = outcome else { panic!("{outcome:?}") };
            assert!(!message.contains("INSERT"), "no statement in a message: {message}");
            continue;
        }
        let seq = &mut next[i % PARTITIONS as usize];
        *seq += 1;
        assert_eq!(log_seq(outcome), Some(*seq), "write {i}: the log has no gaps and keeps the order");
    }
    let found = store.load_runs(accepted.iter().map(|run| run.id).collect()).await.expect("loads");
    let versions: Vec<i64> = found.iter().map(|run| run.version).collect();
    assert!(versions.iter().enumerate().all(|(i, version)| *version == if i == 37 { 1 } else { 2 }), "{versions:?}");
    holds(store).await;
}

/// Values that PostgreSQL cannot store are refused by every store.
pub async fn a_nul_character_is_refused(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(6);
    let accepted = samples.accept(0, epoch);
    let mut in_payload = samples.finish(&accepted, 1);
    in_payload.log[0].payload = std::sync::Arc::new(json!({"a": ["x\u{0}"]}));
    let mut in_state = samples.finish(&accepted, 1);
    in_state.state.state = json!({"v": 1, "s": "C", "e": "\u{0}"}).to_string();
    let outcomes = commit(
        store,
        vec![Write::Run(Arc::new(accepted)), Write::Run(Arc::new(in_payload)), Write::Run(Arc::new(in_state))],
    )
    .await;
    assert_eq!(log_seq(&outcomes[0]), None);
    for outcome in &outcomes[1..] {
        assert!(matches!(outcome, Outcome::Rejected { code: RejectCode::Constraint, .. }), "{outcome:?}");
    }
}

/// Flows have versions, names of their own in a tenant, and are found by those who may see them.
pub async fn flows_are_versioned(store: &(impl Store + Catalog)) {
    take(store).await;
    let mut samples = Samples::new(7);
    let owner = samples.owner();
    let first = samples.flow(owner, "nightly");
    let mut namesake = samples.flow(owner, "nightly");
    assert_eq!(commit(store, vec![Write::Flow(Box::new(first.clone()))]).await, [Outcome::Committed { log_seq: None }]);
    let other_owner = samples.owner();
    let other = samples.flow(other_owner, "nightly");
    let outcomes = commit(store, vec![Write::Flow(Box::new(namesake.clone())), Write::Flow(Box::new(other))]).await;
    assert!(matches!(outcomes[0], Outcome::Rejected { code: RejectCode::NameTaken, .. }), "{outcomes:?}");
    assert_eq!(log_seq(&outcomes[1]), None, "another tenant has names of its own");

    let mut second = first.clone();
    second.expected_version = 1;
    second.document.flow_description = "better".to_owned();
    second.audit.event = AuditEvent::FlowUpdated;
    let outcomes =
        commit(store, vec![Write::Flow(Box::new(second.clone())), Write::Flow(Box::new(second.clone()))]).await;
    assert_eq!(outcomes, [Outcome::Committed { log_seq: None }, Outcome::Conflict]);
    namesake.document.flow_name = "hourly".to_owned();
    namesake.document.is_active = false;
    assert_eq!(log_seq(&commit(store, vec![Write::Flow(Box::new(namesake.clone()))]).await[0]), None);
    namesake.expected_version = 1;
    namesake.document.flow_name = "nightly".to_owned();
    let outcomes = commit(store, vec![Write::Flow(Box::new(namesake.clone()))]).await;
    assert!(matches!(outcomes[0], Outcome::Rejected { code: RejectCode::NameTaken, .. }), "{outcomes:?}");

    let found = store.flow(Scope::Tenant(owner.tenant), first.id).await.expect("reads").expect("it exists");
    assert_eq!((found.id, found.owner, found.version), (first.id, owner, 2));
    assert_eq!(found.document, second.document);
    assert_eq!(store.flow(Scope::Platform, first.id).await.expect("reads").map(|f| f.version), Some(2));
    assert_eq!(store.flow(Scope::Tenant(other_owner.tenant), first.id).await.expect("reads"), None);
    let old = store.flow_version(first.id, 1).await.expect("reads").expect("it exists");
    assert_eq!((old.version, &old.document), (1, &first.document));
    assert_eq!(store.flow_version(first.id, 3).await.expect("reads"), None);
    let named = store.flow_by_name(owner.tenant, "nightly".to_owned()).await.expect("reads");
    assert_eq!(named.map(|f| f.id), Some(first.id));
    let active = store.active_flows(owner.tenant, TriggerType::Manual).await.expect("reads");
    assert_eq!(active.iter().map(|f| f.id).collect::<Vec<FlowId>>(), [first.id], "inactive ones do not count");
    assert!(store.active_flows(owner.tenant, TriggerType::Webhook).await.expect("reads").is_empty());
}

/// Webhooks read back; dead letters and audit entries are taken.
pub async fn webhooks_read_back(store: &(impl Store + Catalog)) {
    take(store).await;
    let mut samples = Samples::new(8);
    let owner = samples.owner();
    for target in [WebhookTarget::Trigger(TriggerType::Event), WebhookTarget::Flow(samples.flow_id())] {
        let webhook = samples.webhook(target);
        let write = Write::Webhook(Box::new(webhook.clone()), samples.audit(webhook.owner, 2));
        assert_eq!(log_seq(&commit(store, vec![write]).await[0]), None);
        assert_eq!(store.webhook(webhook.id).await.expect("reads"), Some(webhook));
    }
    assert_eq!(store.webhook(WebhookId(samples.row_id().0)).await.expect("reads"), None);
    let letter = DeadLetter {
        id: samples.row_id(),
        owner,
        run: Some(samples.run_id()),
        actor_path: "/engine/partition/1".to_owned(),
        message: "AttemptEnded".to_owned(),
        failure: "panicked".to_owned(),
        at_ms: NOW_MS,
    };
    let batch = vec![Write::DeadLetter(Box::new(letter)), Write::Audit(Box::new(samples.audit(owner, 0)))];
    assert!(commit(store, batch).await.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
}

/// A webhook changes from one version to the next, goes, and does not come back by a late change.
pub async fn webhooks_change_and_go(store: &(impl Store + Catalog)) {
    take(store).await;
    let mut samples = Samples::new(31);
    let webhook = samples.webhook(WebhookTarget::Trigger(TriggerType::Webhook));
    let save = |webhook: &Webhook, samples: &mut Samples| {
        Write::Webhook(Box::new(webhook.clone()), samples.audit(webhook.owner, 1))
    };
    assert_eq!(log_seq(&commit(store, vec![save(&webhook, &mut samples)]).await[0]), None);
    let changed = Webhook { version: 2, is_active: false, dedup_key: None, respond: None, ..webhook.clone() };
    assert_eq!(log_seq(&commit(store, vec![save(&changed, &mut samples)]).await[0]), None);
    assert_eq!(commit(store, vec![save(&changed, &mut samples)]).await, [Outcome::Conflict], "it has version 2 by now");
    assert_eq!(commit(store, vec![save(&webhook, &mut samples)]).await, [Outcome::Conflict], "it exists");
    assert_eq!(store.webhook(webhook.id).await.expect("reads"), Some(changed.clone()));
    let delivery = samples.delivery(&webhook);
    assert_eq!(log_seq(&commit(store, vec![Write::Delivery(Box::new(delivery))]).await[0]), None);
    let removal = |samples: &mut Samples| {
        let (id, tenant) = (webhook.id, webhook.owner.tenant);
        Write::WebhookRemoval(Box::new(WebhookRemoval { id, tenant, audit: samples.audit(webhook.owner, 1) }))
    };
    assert_eq!(log_seq(&commit(store, vec![removal(&mut samples)]).await[0]), None);
    assert_eq!(commit(store, vec![removal(&mut samples)]).await, [Outcome::Conflict], "it is gone");
    let late = Webhook { version: 3, ..changed };
    assert_eq!(commit(store, vec![save(&late, &mut samples)]).await, [Outcome::Conflict], "it is gone for good");
    assert_eq!(store.webhook(webhook.id).await.expect("reads"), None);
}

/// Queue and wake-ups are paged in order by partition, without gaps or repetitions.
pub async fn queue_and_wake_ups_page_in_order(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(9);
    let mut expected = Vec::new();
    for n in 0..25_i64 {
        let mut run = samples.accept((n % 2) as u16, epoch);
        run.timing.queue_key = (n % 5 != 0).then_some(-3 + n % 4);
        run.timing.wake_at_ms = (n % 3 == 0).then_some(NOW_MS + n % 7);
        assert_eq!(log_seq(&commit_run(store, &run).await), None);
        expected.push((run.partition, run.id, run.timing));
    }
    for partition in 0..2 {
        let of = |key: fn(&core314_domain::run::Timing) -> Option<i64>| {
            let own = expected.iter().filter(|(p, ..)| *p == partition);
            let mut keys: Vec<_> = own.filter_map(|(_, id, timing)| Some((key(timing)?, *id))).collect();
            keys.sort_unstable();
            keys
        };
        let mut queue = Vec::new();
        loop {
            let page = store.queue_page(partition, queue.last().copied(), 3).await.expect("reads");
            queue.extend(&page);
            if page.len() < 3 {
                break;
            }
        }
        assert_eq!(queue, of(|timing| timing.queue_key));
        let until = NOW_MS + 5;
        let mut wake: Vec<(i64, _)> = Vec::new();
        loop {
            let page = store.wake_page(partition, until, wake.last().copied(), 2).await.expect("reads");
            wake.extend(&page);
            if page.len() < 2 {
                break;
            }
        }
        let mut due = of(|timing| timing.wake_at_ms);
        due.retain(|(at_ms, _)| *at_ms < until);
        assert_eq!(wake, due);
    }
}

/// Statistics are written with the position that they cover, and the log's tail goes on from there.
pub async fn statistics_and_tail_fit_together(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(10);
    let tenant = TenantId(samples.row_id().0);
    let key = |action_type: &str, start_ms: i64| StatKey {
        tenant,
        action_type: action_type.to_owned(),
        bucket_width_ms: BUCKET_WIDTHS_MS[0],
        bucket_start_ms: start_ms,
    };
    let mut stat = Stat::default();
    for round in 1..=2 {
        stat.record_attempt(true, round == 1, Some(round * 7));
        let rows = vec![(key("http", 0), stat.clone()), (key("http", 300_000), Stat::default())];
        let write = StatisticsWrite { partition: 2, epoch, rows, covered_seq: round };
        assert_eq!(log_seq(&commit(store, vec![Write::Statistics(Box::new(write))]).await[0]), None);
        assert_eq!(store.statistics_position(2).await.expect("reads"), round);
    }
    assert_eq!(store.statistics_position(3).await.expect("reads"), 0);

    let mut expected = Vec::new();
    for n in 0..12 {
        let run = samples.accept(2 + n % 2, epoch);
        commit_run(store, &run).await;
        let finished = samples.finish(&run, 2);
        let last = log_seq(&commit_run(store, &finished).await).expect("it logged");
        let own = finished.log.iter().enumerate().filter(|_| run.partition == 2);
        expected.extend(
            own.map(|(i, e)| (last - 1 + i as i64, run.tenant, e.action_type.to_string(), e.success(), e.duration_ms)),
        );
    }
    let mut tail = Vec::new();
    loop {
        let after = tail.last().map_or(2, |row: &crate::ports::store::TailRow| row.seq);
        let page = store.log_tail(2, after, 5).await.expect("reads");
        let is_last = page.len() < 5;
        tail.extend(page);
        if is_last {
            break;
        }
    }
    expected.retain(|(seq, ..)| *seq > 2);
    let found: Vec<_> =
        tail.iter().map(|r| (r.seq, r.tenant, r.action_type.clone(), r.success, r.duration_ms)).collect();
    assert_eq!(found, expected);
    assert!(store.log_tail(1, 0, 5).await.expect("reads").is_empty());
}

/// The chains hold, whatever was written, and count all of it.
pub async fn holds(store: &(impl Ledger + ?Sized)) -> crate::ports::ledger::LedgerReport {
    let report = store.verify().await.expect("verifies");
    assert_eq!(report.findings, [], "the chains hold");
    report
}

/// Numbers, texts and times that databases like to change survive them: the chains hold.
pub async fn awkward_values_keep_the_chains(store: &(impl Store + Ledger)) {
    let epoch = take(store).await;
    let mut samples = Samples::new(11);
    let awkward = json!({
        "floats": [0.1 + 0.2, -0.0, 1e16, 1.234_567_890_123_456_8e17, 1e300, 5e-324, 100.0, 0.123_456_789_012_345_68],
        "integers": [u64::MAX, i64::MIN, 9_007_199_254_740_993_i64],
        "z": "\\u0000 \"quoted\" \u{1F600} \u{7f}", "aa": null, "b": {"": [], "a b": {}},
    });
    let accepted = samples.accept(1, epoch);
    commit_run(store, &accepted).await;
    let mut finished = samples.finish(&accepted, 1);
    finished.log[0].payload = std::sync::Arc::new(awkward.clone());
    finished.log[0].result = Some(std::sync::Arc::new(awkward.clone()));
    finished.audit[0].details = awkward;
    // The clock went back a day: ids must not.
    finished.log[0].completed_at_ms = NOW_MS - 86_400_000;
    assert_eq!(log_seq(&commit_run(store, &finished).await), Some(1));
    let report = holds(store).await;
    assert_eq!((report.rows, report.checkpoints, report.partitions), (3, 2, 1));
}
