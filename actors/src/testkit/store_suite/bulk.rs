//! What every store keeps of bulk jobs: their runs in order, their progress under a version, and whose ends have come.

use core314_domain::bulk::{BulkItem, BulkJob, BulkPlan, BulkStatus, BulkVerb, ItemStatus, Progress, Ramp};
use core314_domain::words::RunStatus;
use serde_json::json;

use super::samples::{NOW_MS, Samples};
use super::{commit_run, take};
use crate::ports::Scope;
use crate::ports::bulk::BulkJobs;
use crate::ports::store::{Idempotency, Outcome, Store};

/// A job is worked off in order, changed under its version by one of two, and hears how its runs have ended.
pub async fn a_bulk_job_is_worked_off(store: &(impl Store + BulkJobs)) {
    let epoch = take(store).await;
    let mut samples = Samples::new(51);
    let ended = samples.accept(0, epoch);
    let live = samples.accept(0, epoch);
    for write in [&ended, &live, &samples.finish(&ended, 1)] {
        assert!(matches!(commit_run(store, write).await, Outcome::Committed { .. }));
    }
    let runs = vec![live.id, ended.id, samples.run_id()];
    let (owner, stranger) = (samples.owner(), samples.owner());
    let plan = BulkPlan {
        verb: BulkVerb::Retry,
        from_step: None,
        version: None,
        canary: 2,
        ramp: Ramp::default(),
        stop_above_error_rate: 0.25,
        minimum_sample: 10,
        by: "user:ä".to_owned(),
        total: runs.len() as u32,
    };
    let job = BulkJob {
        id: samples.row_id(),
        owner,
        status: BulkStatus::Running,
        plan,
        progress: Progress::default(),
        version: 1,
        created_at_ms: NOW_MS,
        updated_at_ms: NOW_MS,
    };
    let name = Idempotency {
        key: "night-1".to_owned(),
        body_hash: [3; 32],
        answer: json!({"id": job.id}),
        expires_at_ms: NOW_MS + 1_000,
    };
    assert_eq!(store.create_bulk(job.clone(), runs.clone(), Some(name.clone())).await.expect("it is kept"), None);
    let twin = BulkJob { id: samples.row_id(), ..job.clone() };
    let again = store.create_bulk(twin, runs.clone(), Some(name.clone())).await.expect("answers");
    assert_eq!(again, Some(Outcome::Duplicate { answer: json!({"id": job.id}), same_request: true }));
    let other = BulkJob { id: samples.row_id(), ..job.clone() };
    let reused = store.create_bulk(other, runs.clone(), Some(Idempotency { body_hash: [4; 32], ..name })).await;
    assert!(matches!(reused, Ok(Some(Outcome::Duplicate { same_request: false, .. }))), "{reused:?}");
    let own = Scope::Tenant(owner.tenant);
    assert_eq!(store.bulk_job(own, job.id).await.expect("reads"), Some(job.clone()));
    assert_eq!(store.bulk_job(Scope::Tenant(stranger.tenant), job.id).await.expect("reads"), None);
    assert_eq!(store.bulk_jobs(Scope::Tenant(stranger.tenant), 9).await.expect("reads"), []);
    assert_eq!(store.bulk_jobs(own, 9).await.expect("reads"), std::slice::from_ref(&job));
    assert_eq!(store.running_bulk_jobs(9).await.expect("reads"), std::slice::from_ref(&job));
    let pending = store.bulk_items(job.id, ItemStatus::Pending, 2).await.expect("reads");
    assert_eq!(pending.iter().map(|item| (item.no, item.run)).collect::<Vec<_>>(), [(0, runs[0]), (1, runs[1])]);

    let done = |item: &BulkItem| BulkItem { target: Some(item.run), status: ItemStatus::Done, mark: 3, ..item.clone() };
    let changed = BulkJob { progress: Progress { done: 2, ..Progress::default() }, ..job.clone() };
    let items: Vec<BulkItem> = pending.iter().map(done).collect();
    assert!(store.save_bulk(changed.clone(), items.clone(), Vec::new()).await.expect("saves"));
    let late = store.save_bulk(BulkJob { status: BulkStatus::Paused, ..job.clone() }, Vec::new(), Vec::new()).await;
    assert!(!late.expect("answers"), "somebody else was first");
    assert_eq!(store.bulk_items(job.id, ItemStatus::Done, 9).await.expect("reads"), items);
    assert_eq!(store.bulk_items(job.id, ItemStatus::Pending, 9).await.expect("reads").len(), 1);

    let ends = store.bulk_ends(job.id, 9).await.expect("reads");
    assert_eq!(ends, [(1, RunStatus::Completed)], "the other run has not ended");
    let over = BulkJob { status: BulkStatus::Stopped, version: 2, ..changed };
    assert!(store.save_bulk(over.clone(), Vec::new(), ends).await.expect("saves"));
    assert_eq!(store.bulk_ends(job.id, 9).await.expect("reads"), [], "an end is noted once");
    assert_eq!(store.bulk_job(own, job.id).await.expect("reads"), Some(BulkJob { version: 3, ..over }));
    assert_eq!(store.running_bulk_jobs(9).await.expect("reads"), []);
}
