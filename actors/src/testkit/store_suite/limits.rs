//! What every store keeps of the limits of flows: claims that live as long as their runs, and buckets.

use std::sync::Arc;

use core314_domain::document::LimitStrategy;
use core314_domain::limits::{Bucket, Claim, Concurrency, Rate};
use core314_domain::run::Timing;

use core314_domain::limits::{Brought, Gathers, Progress, Terms};
use core314_domain::words::TriggerType;
use serde_json::json;

use super::samples::{NOW_MS, Samples};
use super::{commit, commit_run, take};
use crate::ports::store::{
    GatherWrite, Idempotency, LimitStage, LimitWrite, LimitedRun, Outcome, RunWrite, Store, StoredRun, Write,
};

fn with_claim(run: &mut RunWrite, stage: LimitStage, full_at_us: Option<i64>) -> Claim {
    let flow = run.accept.as_ref().map(|accept| accept.header.flow.id);
    let known = run.limit.as_ref().map(|limit| limit.claim.flow);
    let concurrency = Concurrency { key: "web 'ä'".into(), max: 3, strategy: LimitStrategy::Queue };
    let claim = Claim {
        flow: flow.or(known).expect("a new run, or one that was given a claim"),
        concurrency: Some(concurrency),
        rate: Some(("".into(), Rate { interval_us: 20_000, burst: 2 })),
        gathers: None,
    };
    let bucket = full_at_us.map(|full_at_us| Bucket { full_at_us });
    let limit =
        LimitWrite { claim: Arc::new(claim.clone()), since_ms: NOW_MS, stage, bucket, gathered: None, at_ms: NOW_MS };
    run.limit = Some(Box::new(limit));
    claim
}

/// A claim is there while its run lives, and says whether it has started; a bucket is there until it is full again.
pub async fn claims_live_as_long_as_their_runs(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(41);
    let (mut first, mut second, mut elsewhere) =
        (samples.accept(1, epoch), samples.accept(1, epoch), samples.accept(2, epoch));
    let claim = with_claim(&mut first, LimitStage::Holds, Some(NOW_MS * 1_000 + 40_000));
    let waiting = with_claim(&mut second, LimitStage::Waits, None);
    with_claim(&mut elsewhere, LimitStage::Holds, None);
    let batch = [&first, &second, &elsewhere].map(|run| Write::Run(Arc::new(run.clone()))).to_vec();
    assert!(commit(store, batch).await.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));

    let mut expected = [
        LimitedRun { run: first.id, claim: claim.clone(), since_ms: NOW_MS, holds: true, gathers: None },
        LimitedRun { run: second.id, claim: waiting, since_ms: NOW_MS, holds: false, gathers: None },
    ];
    expected.sort_by_key(|run| run.run);
    let page = store.limited_runs(1, None, 1).await.expect("reads");
    assert_eq!(page, expected[..1], "a page has its size");
    assert_eq!(store.limited_runs(1, Some(page[0].run), 10).await.expect("reads"), expected[1..]);
    let buckets = store.limit_buckets(1, NOW_MS * 1_000).await.expect("reads");
    assert_eq!(buckets, [(claim.flow, "".into(), Bucket { full_at_us: NOW_MS * 1_000 + 40_000 })]);
    assert!(store.limit_buckets(1, NOW_MS * 1_000 + 40_000).await.expect("reads").is_empty());
    assert!(store.limit_buckets(2, 0).await.expect("reads").is_empty());

    let mut ended = samples.finish(&first, 1);
    ended.limit = first.limit.clone();
    with_claim(&mut ended, LimitStage::Left, None);
    let mut started = RunWrite { expected_version: 1, accept: None, audit: Vec::new(), ..second.clone() };
    started.approvals.clear();
    with_claim(&mut started, LimitStage::Holds, Some(NOW_MS * 1_000 + 60_000));
    assert!(matches!(commit_run(store, &ended).await, Outcome::Committed { .. }));
    assert!(matches!(commit_run(store, &started).await, Outcome::Committed { .. }));
    let left = store.limited_runs(1, None, 10).await.expect("reads");
    assert_eq!(left.iter().map(|run| (run.run, run.holds)).collect::<Vec<_>>(), [(second.id, true)]);
    // A write that conflicts changes no claim.
    assert_eq!(commit_run(store, &RunWrite { expected_version: 1, ..ended }).await, Outcome::Conflict);
    assert_eq!(store.limited_runs(1, None, 10).await.expect("reads"), left);
}

/// Runs that only others can move are listed, with those that a limit holds; what has a queue, a time or an end is not.
pub async fn idle_runs_are_listed(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(43);
    let idle = |samples: &mut Samples| {
        let mut run = samples.accept(1, epoch);
        run.timing = Timing::default();
        run
    };
    let (mut held, waits, ends) = (idle(&mut samples), idle(&mut samples), idle(&mut samples));
    with_claim(&mut held, LimitStage::Waits, None);
    let mut queued = samples.accept(1, epoch);
    queued.timing = Timing { queue_key: Some(7), wake_at_ms: None };
    let mut sleeps = samples.accept(1, epoch);
    sleeps.timing = Timing { queue_key: None, wake_at_ms: Some(NOW_MS) };
    let batch = [&held, &waits, &ends, &queued, &sleeps].map(|run| Write::Run(Arc::new(run.clone()))).to_vec();
    assert!(commit(store, batch).await.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })));
    let ended = samples.finish(&ends, 1);
    assert!(ended.state.completed_at_ms.is_some() && ended.timing == Timing::default(), "it has ended");
    assert!(matches!(commit_run(store, &ended).await, Outcome::Committed { .. }));

    let mut expected = [(held.id, true), (waits.id, false)];
    expected.sort_unstable();
    let found = store.idle_runs(None, 10).await.expect("reads");
    assert_eq!(found.iter().map(|idle| (idle.id, idle.is_held)).collect::<Vec<_>>(), expected);
    let is_bare = |run: &StoredRun| run.timing == Timing::default() && run.attempts.is_empty();
    assert!(found.iter().all(|idle| idle.run.as_ref().is_ok_and(is_bare)));
    let page = store.idle_runs(None, 1).await.expect("reads");
    assert_eq!(page.len(), 1, "a page has its size");
    let rest = store.idle_runs(Some(page[0].id), 10).await.expect("reads");
    assert_eq!(rest.iter().map(|idle| idle.id).collect::<Vec<_>>(), [expected[1].0]);
}

fn join(of: &RunWrite, samples: &mut Samples, no: u32, key: Option<&str>) -> GatherWrite {
    let brought = Brought {
        trigger_type: TriggerType::Webhook,
        source: "webhook:1".into(),
        context: Arc::new(json!({"n": no, "text": "ä 'x'"})),
        webhook: Arc::new(json!({"headers": {}})),
        input: None,
        by: "webhook:1".into(),
        decision: None,
        recommendation: None,
        parent: None,
    };
    let named = |key: &str| Idempotency {
        key: key.to_owned(),
        body_hash: [1; 32],
        answer: json!({"run": of.id}),
        expires_at_ms: NOW_MS + 1_000,
    };
    GatherWrite {
        id: samples.run_id(),
        no,
        run: of.id,
        tenant: of.tenant,
        partition: of.partition,
        epoch: of.epoch,
        brought,
        bytes: 10,
        is_last_alone: false,
        idempotency: key.map(named),
        schedule: None,
        at_ms: NOW_MS + i64::from(no),
    }
}

/// A trigger that joins a run is kept and counted with it once, whatever is tried again; when the run gathers no more, it
/// is what it has gathered, and nothing else is kept.
pub async fn triggers_join_the_run_that_gathers_them(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(42);
    let mut run = samples.accept(1, epoch);
    let terms = Terms::Batch { max: 10, timeout_ms: 1_000 };
    let progress = Progress { count: 1, bytes: 5, last_no: 1, last_ms: NOW_MS };
    let mut claim = with_claim(&mut run, LimitStage::Gathers(progress), None);
    claim.gathers = Some(Gathers { key: "k".into(), version: 1, terms });
    let claim = Arc::new(claim);
    if let Some(limit) = &mut run.limit {
        limit.claim = claim.clone();
    }
    assert!(matches!(commit_run(store, &run).await, Outcome::Committed { .. }));
    let elsewhere = samples.accept(1, epoch);
    let joins: Vec<GatherWrite> = (2..5).map(|no| join(&run, &mut samples, no, Some(&format!("j-{no}")))).collect();
    let write = |join: &GatherWrite| Write::Gather(Arc::new(join.clone()));
    let committed = Outcome::Committed { log_seq: None };
    assert_eq!(commit(store, joins.iter().map(write).collect()).await, vec![committed.clone(); 3]);
    // Again without a key, as after a commit whose outcome was lost; with one it is a repetition.
    let again = GatherWrite { idempotency: None, ..joins[1].clone() };
    let nowhere = join(&elsewhere, &mut samples, 2, Some("nowhere"));
    let stale = GatherWrite { epoch: epoch - 1, ..join(&run, &mut samples, 9, None) };
    let outcomes = commit(store, [&again, &joins[2], &nowhere, &stale].map(write).to_vec()).await;
    let repeated = Outcome::Duplicate { answer: json!({"run": run.id}), same_request: true };
    assert_eq!(outcomes, [committed.clone(), repeated, Outcome::NotFound, Outcome::Fenced]);
    let given_back = GatherWrite { idempotency: nowhere.idempotency.clone(), ..join(&run, &mut samples, 5, None) };
    assert_eq!(
        commit(store, vec![write(&given_back)]).await,
        std::slice::from_ref(&committed),
        "its key is free again"
    );

    let expected = Progress { count: 5, bytes: 45, last_no: 5, last_ms: NOW_MS + 5 };
    let row =
        LimitedRun { run: run.id, claim: (*claim).clone(), since_ms: NOW_MS, holds: false, gathers: Some(expected) };
    assert_eq!(store.limited_runs(1, None, 10).await.expect("reads"), [row]);
    let kept = store.gathered(vec![run.id, elsewhere.id]).await.expect("reads");
    let brought: Vec<_> = joins.iter().chain([&given_back]).map(|join| (run.id, join.brought.clone())).collect();
    assert_eq!(kept, brought, "in the order in which they came");
    // Where the last one counts alone, those before it go.
    let last = GatherWrite { is_last_alone: true, ..join(&run, &mut samples, 6, None) };
    assert_eq!(commit(store, vec![write(&last)]).await, [committed]);
    assert_eq!(store.gathered(vec![run.id]).await.expect("reads"), [(run.id, last.brought.clone())]);

    let mut header = (*run.accept.as_ref().expect("a new run").header).clone();
    header.trigger_context = Arc::new(json!({"count": 1, "events": [{"n": 6}]}));
    (header.trigger_type, header.deadline_at_ms) = (TriggerType::Webhook, Some(NOW_MS + 60_000));
    let mut began = RunWrite { expected_version: 1, accept: None, audit: Vec::new(), ..run.clone() };
    began.approvals.clear();
    let limit = LimitWrite {
        claim,
        since_ms: NOW_MS,
        stage: LimitStage::Waits,
        bucket: None,
        gathered: Some(Arc::new(header.clone())),
        at_ms: NOW_MS,
    };
    began.limit = Some(Box::new(limit));
    assert!(matches!(commit_run(store, &began).await, Outcome::Committed { .. }));
    assert_eq!(store.load_runs(vec![run.id]).await.expect("reads")[0].header, header);
    assert_eq!(store.gathered(vec![run.id]).await.expect("reads"), []);
    assert_eq!(store.limited_runs(1, None, 10).await.expect("reads")[0].gathers, None);
    let late = join(&run, &mut samples, 7, None);
    assert_eq!(commit(store, vec![write(&late)]).await, [Outcome::NotFound], "it gathers no more");
}
