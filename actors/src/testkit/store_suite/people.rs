//! What people's requests ask of a store: names of live runs, runs taken up again, single actions, and what is deleted,
//! reviewed and settled.

use std::sync::Arc;

use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, LogId, StepNo, TenantId};
use core314_domain::words::{OccurrenceKind, RunStatus};
use serde_json::{Value, json};

use super::samples::{NOW_MS, Samples};
use super::{commit, commit_run, log_seq, take};
use crate::ports::Scope;
use crate::ports::catalog::Catalog;
use crate::ports::resource::Resource;
use crate::ports::signal::Occurrence;
use crate::ports::store::{
    ApprovalWrite, DeadLetter, FlowDeletion, Outcome, Review, RunEnd, RunWrite, Settlement, Store, Write,
};
use crate::ports::views::{Filter, Page, Views};

/// A new run of a flow that has this name among its live runs, and the end that it will have.
fn named(samples: &mut Samples, epoch: i64, like: &RunWrite, name: &str) -> (RunWrite, RunEnd) {
    let header = &like.accept.as_ref().expect("a new run").header;
    let (owner, flow) = (header.owner, header.flow.clone());
    let mut run = samples.accept_as(0, epoch, owner);
    let accept = run.accept.as_mut().expect("a new run");
    let header = Arc::make_mut(&mut accept.header);
    header.run_key = Some(name.into());
    let key = Some((flow.id, name.into()));
    let end = RunEnd {
        flow: Some(flow.id),
        flow_version: 1,
        key,
        status: RunStatus::Completed,
        duration_ms: 40,
        at_ms: NOW_MS,
        owner,
        fallback: None,
        is_told: false,
        outcome: None,
    };
    header.flow = flow;
    (run, end)
}

/// The write that ends a run, or, with `reopened`, takes it up again.
fn next(
    samples: &mut Samples,
    run: &RunWrite,
    version: i64,
    ended: Option<&RunEnd>,
    reopened: Option<&RunEnd>,
) -> RunWrite {
    let mut next = samples.finish(run, 0);
    next.expected_version = version;
    (next.ended, next.reopened) = (ended.cloned(), reopened.cloned());
    if reopened.is_some() {
        next.state.clone_from(&run.state);
    }
    next
}

/// A name belongs to one live run of a flow: taken by the accept, given back by the end, taken again by a retry.
pub async fn names_of_live_runs_are_taken_and_freed(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(40);
    let like = samples.accept(0, epoch);
    let (first, end) = named(&mut samples, epoch, &like, "order-1");
    let (second, second_end) = named(&mut samples, epoch, &like, "order-1");
    let both = vec![Write::Run(Arc::new(first.clone())), Write::Run(Arc::new(second.clone()))];
    let taken = Outcome::RunKeyTaken { run: first.id };
    assert_eq!(commit(store, both).await, [Outcome::Committed { log_seq: None }, taken.clone()], "one in a batch");
    assert_eq!(commit_run(store, &second).await, taken, "its idempotency key was given back: it is no duplicate");
    let (other_name, _) = named(&mut samples, epoch, &like, "order-2");
    let elsewhere = samples.accept(0, epoch);
    let (other_flow, _) = named(&mut samples, epoch, &elsewhere, "order-1");
    for run in [&other_name, &other_flow] {
        assert_eq!(commit_run(store, run).await, Outcome::Committed { log_seq: None });
    }
    let ended = next(&mut samples, &first, 1, Some(&end), None);
    log_seq(&commit_run(store, &ended).await);
    log_seq(&commit_run(store, &second).await);

    let again = next(&mut samples, &first, 2, None, Some(&end));
    assert_eq!(commit_run(store, &again).await, Outcome::RunKeyTaken { run: second.id });
    let stored = store.load_runs(vec![first.id]).await.expect("loads").remove(0);
    assert_eq!((stored.version, &stored.state), (2, &ended.state), "a run whose name is taken stays as it ended");
    let ended = next(&mut samples, &second, 1, Some(&second_end), None);
    log_seq(&commit_run(store, &ended).await);
    log_seq(&commit_run(store, &again).await);
    let (third, _) = named(&mut samples, epoch, &like, "order-1");
    assert_eq!(commit_run(store, &third).await, taken, "it has its name again");
}

/// A flow's row, as people see it.
async fn counters(store: &impl Views, tenant: TenantId, flow: FlowId) -> Value {
    let row = store.one(Scope::Tenant(tenant), Resource::Flows, flow.0).await.expect("reads").expect("it exists");
    ["total_executions", "successful_executions", "failed_executions", "avg_execution_time_ms"]
        .map(|c| row[c].clone())
        .into()
}

/// A run that is taken up again takes its end back from its flow's counters; its next end counts.
pub async fn an_end_that_is_taken_back_counts_no_more(store: &(impl Store + Views)) {
    let epoch = take(store).await;
    let mut samples = Samples::new(41);
    let owner = samples.owner();
    let flow = samples.flow(owner, "counted");
    log_seq(&commit(store, vec![Write::Flow(Box::new(flow.clone()))]).await[0]);
    let run = samples.accept_as(2, epoch, owner);
    log_seq(&commit_run(store, &run).await);
    let end = |status, duration_ms| RunEnd {
        flow: Some(flow.id),
        flow_version: 1,
        key: None,
        status,
        duration_ms,
        at_ms: NOW_MS,
        owner,
        fallback: None,
        is_told: false,
        outcome: None,
    };
    let (failed, completed) = (end(RunStatus::Failed, 100), end(RunStatus::Completed, 300));
    let steps = [
        (Some(&failed), None, json!([1, 0, 1, 100])),
        (None, Some(&failed), json!([0, 0, 0, null])),
        (Some(&completed), None, json!([1, 1, 0, 300])),
        // Taken up and ended in one write.
        (Some(&failed), Some(&completed), json!([1, 0, 1, 100])),
    ];
    for (version, (ended, reopened, counted)) in (1..).zip(steps) {
        let write = next(&mut samples, &run, version, ended, reopened);
        log_seq(&commit_run(store, &write).await);
        assert_eq!(counters(store, owner.tenant, flow.id).await, counted, "version {version}");
    }
    // A single action is nobody's: it is not counted, and does not fail for want of a flow.
    let lone = samples.accept_as(2, epoch, owner);
    log_seq(&commit_run(store, &lone).await);
    let ended = next(&mut samples, &lone, 1, Some(&RunEnd { flow: None, ..failed.clone() }), None);
    log_seq(&commit_run(store, &ended).await);
    assert_eq!(counters(store, owner.tenant, flow.id).await, json!([1, 0, 1, 100]));
}

/// The definition of a single action comes with its run, reads back as a version, and is no flow.
pub async fn a_single_action_keeps_its_definition(store: &(impl Store + Catalog + Views)) {
    let epoch = take(store).await;
    let mut samples = Samples::new(42);
    let owner = samples.owner();
    let document: FlowDocument = samples.flow(owner, "single action").document;
    let mut run = samples.accept_as(1, epoch, owner);
    run.accept.as_mut().expect("a new run").definition = Some(Arc::new(document.clone()));
    log_seq(&commit_run(store, &run).await);
    let of = run.accept.as_ref().expect("a new run").header.flow.clone();
    let found = store.flow_version(of.id, of.version).await.expect("reads").expect("it exists");
    assert_eq!((found.document, found.owner.tenant), (document, owner.tenant));
    assert_eq!(store.flow(Scope::Platform, of.id).await.expect("reads"), None);
    let flows = store.list(Scope::Platform, Resource::Flows, Filter::default(), Page { limit: 10, after: None }).await;
    assert_eq!(flows.expect("reads").items, Vec::<Value>::new());
}

/// Of a request for approval it is known how many decisions its run waits for, and whether it is one of them.
pub async fn a_request_knows_what_waits(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(47);
    let mut run = samples.accept(0, epoch);
    run.approvals = Vec::from([None, Some(0), Some(2)].map(|step| ApprovalWrite::Requested {
        id: samples.row_id(),
        step,
        at_ms: NOW_MS,
        expires_at_ms: None,
        told: None,
    }));
    let (id, stranger, of) = (samples.row_id(), samples.owner(), run.id);
    let owner = run.accept.as_ref().expect("a new run").header.owner;
    let asked = |step: Option<StepNo>| Occurrence {
        id,
        owner,
        kind: OccurrenceKind::ApprovalRequested,
        subject: of.0,
        context: json!({"asked": {"execution_id": step.map(|no| of.execution(no))}}),
        by: String::new(),
        at_ms: NOW_MS,
    };
    let waits = async |step: Option<StepNo>| {
        let found = store.subject(&asked(step)).await.expect("reads").expect("it exists");
        json!([found["approvals_wanted"], found["own_waits"]])
    };
    log_seq(&commit_run(store, &run).await);
    for (step, own_waits) in [(None, true), (Some(0), true), (Some(1), false), (Some(2), true)] {
        assert_eq!(waits(step).await, json!([3, own_waits]), "{step:?}");
    }
    // The last of them is decided.
    log_seq(&commit_run(store, &samples.finish(&run, 0)).await);
    assert_eq!([waits(Some(2)).await, waits(None).await], [json!([2, false]), json!([2, true])]);
    let theirs = Occurrence { owner: stranger, ..asked(None) };
    assert_eq!(store.subject(&theirs).await.expect("reads"), None, "it is another tenant's");
}

/// A deleted flow is gone, its versions stay for its runs, and its name is free.
pub async fn a_deleted_flow_leaves_its_versions(store: &(impl Store + Catalog)) {
    take(store).await;
    let mut samples = Samples::new(43);
    let (owner, stranger) = (samples.owner(), samples.owner());
    let flow = samples.flow(owner, "leaving");
    log_seq(&commit(store, vec![Write::Flow(Box::new(flow.clone()))]).await[0]);
    let mut delete = |tenant| {
        let audit = samples.audit(owner, 0);
        Write::DeleteFlow(Box::new(FlowDeletion { id: flow.id, tenant, audit }))
    };
    assert_eq!(commit(store, vec![delete(stranger.tenant)]).await, [Outcome::NotFound]);
    let twice = vec![delete(owner.tenant), delete(owner.tenant)];
    assert_eq!(commit(store, twice).await, [Outcome::Committed { log_seq: None }, Outcome::NotFound]);
    assert_eq!(store.flow(Scope::Platform, flow.id).await.expect("reads"), None);
    assert_eq!(store.flow_by_name(owner.tenant, "leaving".to_owned()).await.expect("reads"), None);
    let kept = store.flow_version(flow.id, 1).await.expect("reads").expect("for the runs that have it");
    assert_eq!(kept.document, flow.document);
    let next = samples.flow(owner, "leaving");
    log_seq(&commit(store, vec![Write::Flow(Box::new(next))]).await[0]);
}

/// A verdict is noted beside an attempt of the own log; a later one replaces it.
pub async fn a_review_is_noted_beside_the_log(store: &(impl Store + Views)) {
    let epoch = take(store).await;
    let mut samples = Samples::new(44);
    let run = samples.accept(0, epoch);
    let (owner, stranger) = (run.accept.as_ref().expect("a new run").header.owner, samples.owner());
    log_seq(&commit_run(store, &run).await);
    log_seq(&commit_run(store, &samples.finish(&run, 1)).await);
    let scope = Scope::Tenant(owner.tenant);
    let page = Page { limit: 10, after: None };
    let rows =
        store.list(scope, Resource::Log, Filter::of([("flow_run_id", json!(run.id))]), page).await.expect("reads");
    let log: LogId = rows.items[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let mut review = |tenant, notes: &str| {
        let (id, audit) = (samples.row_id(), samples.audit(owner, 0));
        let (verdict, notes) = ("ok".to_owned(), Some(notes.to_owned()));
        Write::Review(Box::new(Review { id, tenant, log, reviewer: owner.user, verdict, notes, audit, at_ms: NOW_MS }))
    };
    assert_eq!(commit(store, vec![review(stranger.tenant, "mine?")]).await, [Outcome::NotFound]);
    for notes in ["first", "second"] {
        assert_eq!(commit(store, vec![review(owner.tenant, notes)]).await, [Outcome::Committed { log_seq: None }]);
        let row = store.one(scope, Resource::Log, log.0).await.expect("reads").expect("it exists");
        assert_eq!((&row["requires_review"], &row["review_notes"]), (&json!(true), &json!(notes)));
    }
}

/// A dead letter is settled once, by its own tenant.
pub async fn a_dead_letter_is_settled_once(store: &(impl Store + Views)) {
    take(store).await;
    let mut samples = Samples::new(45);
    let (owner, stranger) = (samples.owner(), samples.owner());
    let id = samples.row_id();
    let (path, message, failure) = ("core314/x".to_owned(), "Tell".to_owned(), "panicked".to_owned());
    let letter = DeadLetter { id, owner, run: None, actor_path: path, message, failure, at_ms: NOW_MS };
    log_seq(&commit(store, vec![Write::DeadLetter(Box::new(letter))]).await[0]);
    let mut settle = |tenant, how| {
        let audit = samples.audit(owner, 0);
        Write::SettleDeadLetter(Box::new(Settlement { id, tenant, how, audit, at_ms: NOW_MS + 1 }))
    };
    assert_eq!(commit(store, vec![settle(stranger.tenant, "discarded")]).await, [Outcome::NotFound]);
    let twice = vec![settle(owner.tenant, "retried"), settle(owner.tenant, "discarded")];
    assert_eq!(commit(store, twice).await, [Outcome::Committed { log_seq: None }, Outcome::NotFound]);
    let row = store.one(Scope::Tenant(owner.tenant), Resource::DeadLetters, id.0).await.expect("reads");
    assert_eq!(row.expect("it exists")["settlement"], "retried");
}
