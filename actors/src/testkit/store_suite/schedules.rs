//! What a store promises of schedules: a row beside its flow, and one commit for a run and the row that goes on.

use std::sync::Arc;

use core314_domain::audit::AuditEvent;
use core314_domain::ids::{FlowId, Owner, TenantId};
use core314_domain::run::FlowRef;
use core314_domain::schedule::NotFired;
use serde_json::json;

use super::samples::{NOW_MS, Samples};
use super::{commit, commit_run, take};
use crate::ports::Scope;
use crate::ports::schedule::{NotFiredNote, ScheduleMove, SchedulePlan, ScheduleWrite, StoredSchedule};
use crate::ports::store::{FlowDeletion, FlowWrite, Outcome, RunWrite, Store, Write};

const DONE: Outcome = Outcome::Committed { log_seq: None };
const HOUR: i64 = 3_600_000;

/// A plan for so many hours from now.
pub fn plan(hours: i64, is_active: bool) -> SchedulePlan {
    let next_ms = is_active.then_some(NOW_MS + hours * HOUR);
    let config = json!({"every": format!("{hours}h")}).as_object().expect("an object").clone();
    SchedulePlan { config, is_active, next_ms, due_ms: next_ms.map(|next_ms| next_ms + 7) }
}

/// The row going on by an hour.
fn step(row: &StoredSchedule) -> ScheduleMove {
    let next_ms = row.standing.next_ms.map(|next_ms| next_ms + HOUR);
    ScheduleMove {
        flow: row.flow,
        tenant: row.owner.tenant,
        expected_version: row.version,
        next_ms,
        due_ms: next_ms,
        is_waiting: false,
        fired_ms: None,
        run: None,
        not_fired: Vec::new(),
        at_ms: NOW_MS + 1,
    }
}

fn note(reason: NotFired, count: i64) -> (NotFiredNote, i64) {
    (NotFiredNote { reason, instant_ms: NOW_MS - count, detail: Some(format!("because of {reason}")) }, count)
}

async fn row(store: &dyn Store, flow: FlowId) -> StoredSchedule {
    store.schedule(Scope::Platform, flow).await.expect("reads").expect("it has a row")
}

async fn change(store: &dyn Store, write: ScheduleWrite) -> Outcome {
    commit(store, vec![Write::Schedule(Box::new(write))]).await.remove(0)
}

async fn save(store: &dyn Store, flow: &FlowWrite) -> Outcome {
    commit(store, vec![Write::Flow(Box::new(flow.clone()))]).await.remove(0)
}

/// A saved flow with a schedule that is due in an hour.
async fn scheduled(store: &dyn Store, samples: &mut Samples, name: &str) -> FlowWrite {
    let owner = samples.owner();
    let flow = FlowWrite { schedule: Some(plan(1, true)), ..samples.flow(owner, name) };
    assert_eq!(save(store, &flow).await, DONE);
    flow
}

/// A new run that the schedule starts with this step.
fn run(samples: &mut Samples, epoch: i64, owner: Owner, step: &ScheduleMove) -> RunWrite {
    let mut run = samples.accept_as(0, epoch, owner);
    let accept = run.accept.as_mut().expect("a new run");
    let header = Arc::make_mut(&mut accept.header);
    header.flow = FlowRef { id: step.flow, version: 1, name: "scheduled".into() };
    header.run_key = Some("schedule".into());
    accept.schedule = Some(Box::new(ScheduleMove { run: Some(run.id), fired_ms: Some(NOW_MS), ..step.clone() }));
    run
}

/// A row is made, changed and removed by the commits of its flow; what it stands at stays while the schedule is the same.
pub async fn a_schedule_follows_its_flow(store: &dyn Store) {
    let mut samples = Samples::new(51);
    let mut flow = scheduled(store, &mut samples, "a").await;
    let made = row(store, flow.id).await;
    assert_eq!((made.owner, made.version, &made.config), (flow.owner, 1, &plan(1, true).config));
    assert_eq!((made.standing.next_ms, made.due_ms), (Some(NOW_MS + HOUR), Some(NOW_MS + HOUR + 7)));
    assert_eq!((made.fired, made.not_fired, made.last_not_fired.clone(), made.paused.clone()), (0, [0; 5], None, None));
    let elsewhere = Scope::Tenant(TenantId(samples.row_id().0));
    assert_eq!(store.schedule(elsewhere, flow.id).await.expect("reads"), None);
    let own = Scope::Tenant(flow.owner.tenant);
    assert_eq!(store.schedule(own, flow.id).await.expect("reads"), Some(made.clone()));

    assert_eq!(change(store, ScheduleWrite::Move(step(&made))).await, DONE);
    flow.expected_version = 1;
    assert_eq!(save(store, &flow).await, DONE);
    let kept = row(store, flow.id).await;
    assert_eq!((kept.version, kept.standing.next_ms), (3, Some(NOW_MS + 2 * HOUR)), "it stands where it stood");
    flow.schedule = Some(plan(5, true));
    flow.expected_version = 2;
    assert_eq!(save(store, &flow).await, DONE);
    let changed = row(store, flow.id).await;
    assert_eq!((changed.standing.next_ms, &changed.config), (Some(NOW_MS + 5 * HOUR), &plan(5, true).config));
    flow.schedule = Some(plan(5, false));
    flow.expected_version = 3;
    assert_eq!(save(store, &flow).await, DONE);
    let inactive = row(store, flow.id).await;
    assert_eq!((inactive.is_active, inactive.standing.next_ms, inactive.due_ms), (false, None, None));
    flow.schedule = None;
    flow.expected_version = 4;
    assert_eq!(save(store, &flow).await, DONE);
    assert_eq!(store.schedule(Scope::Platform, flow.id).await.expect("reads"), None, "another trigger has no schedule");

    // A colleague who saves a flow does not take its schedule over.
    let colleague = Owner { user: core314_domain::ids::UserId(samples.row_id().0), ..flow.owner };
    let owner = std::mem::replace(&mut flow.owner, colleague);
    (flow.schedule, flow.expected_version) = (Some(plan(1, true)), 5);
    assert_eq!(save(store, &flow).await, DONE);
    assert_eq!(row(store, flow.id).await.owner, owner);

    let gone = scheduled(store, &mut samples, "b").await;
    let mut audit = samples.audit(gone.owner, 0);
    audit.event = AuditEvent::FlowDeleted;
    let deletion = FlowDeletion { id: gone.id, tenant: gone.owner.tenant, audit };
    assert_eq!(commit(store, vec![Write::DeleteFlow(Box::new(deletion))]).await, [DONE]);
    assert_eq!(store.schedule(Scope::Platform, gone.id).await.expect("reads"), None);
}

/// A run and the schedule that starts it are one commit: of two runs of one instant the second is stale, leaves nothing
/// behind and claims nothing.
pub async fn a_firing_is_one_commit(store: &dyn Store) {
    let epoch = take(store).await;
    let mut samples = Samples::new(52);
    let flow = scheduled(store, &mut samples, "a").await;
    let before = row(store, flow.id).await;
    let first = run(&mut samples, epoch, flow.owner, &step(&before));
    let mut second = run(&mut samples, epoch, flow.owner, &step(&before));
    let name = |run: &mut RunWrite, name: &str| {
        let accept = run.accept.as_mut().expect("a new run");
        Arc::make_mut(&mut accept.header).run_key = Some(name.into());
    };
    name(&mut second, "another");
    let both = vec![Write::Run(Arc::new(first.clone())), Write::Run(Arc::new(second.clone()))];
    assert_eq!(commit(store, both).await, [DONE, Outcome::Stale], "twice in one batch");
    assert_eq!(commit_run(store, &second).await, Outcome::Stale, "and in two");
    assert!(store.load_runs(vec![second.id]).await.expect("loads").is_empty(), "nothing is left of it");
    let after = row(store, flow.id).await;
    assert_eq!((after.version, after.fired, after.last_run), (2, 1, Some(first.id)));
    assert_eq!((after.standing.last_ms, after.last_fired_ms), (Some(NOW_MS), Some(NOW_MS + 1)));
    assert_eq!(after.standing.next_ms, Some(NOW_MS + 2 * HOUR));

    // The same run, planned on the row as it is: its key and its name are free, or it would be a duplicate.
    let accept = second.accept.as_mut().expect("a new run");
    accept.schedule = Some(Box::new(ScheduleMove { expected_version: 2, ..step(&after) }));
    assert_eq!(commit_run(store, &second).await, DONE);
    // A run whose name is taken leaves the schedule where it is.
    let now = row(store, flow.id).await;
    let third = run(&mut samples, epoch, flow.owner, &step(&now));
    assert_eq!(commit_run(store, &third).await, Outcome::RunKeyTaken { run: first.id });
    assert_eq!(row(store, flow.id).await, now);
    // So does one whose key was used.
    let mut again = run(&mut samples, epoch, flow.owner, &step(&now));
    name(&mut again, "free");
    samples.set_key(&mut again, first.accept.as_ref().and_then(|accept| accept.idempotency.clone()));
    assert!(matches!(commit_run(store, &again).await, Outcome::Duplicate { same_request: true, .. }));
    assert_eq!(row(store, flow.id).await, now);
}

/// What has no run is counted by reason, and the last is told.
pub async fn instants_without_a_run_are_counted(store: &dyn Store) {
    let mut samples = Samples::new(53);
    let flow = scheduled(store, &mut samples, "a").await;
    let all = NotFired::ALL.iter().zip(1..).map(|(reason, count)| note(*reason, count)).collect();
    let moved = ScheduleMove { not_fired: all, is_waiting: true, ..step(&row(store, flow.id).await) };
    assert_eq!(change(store, ScheduleWrite::Move(moved.clone())).await, DONE);
    assert_eq!(change(store, ScheduleWrite::Move(moved)).await, Outcome::Stale);
    let told = row(store, flow.id).await;
    assert_eq!((told.not_fired, told.fired, told.standing.is_waiting), ([1, 2, 3, 4, 5], 0, true));
    assert_eq!(told.last_not_fired, Some((note(NotFired::Refused, 5).0, NOW_MS + 1)));
    let bare = NotFiredNote { detail: None, ..note(NotFired::Missed, 4).0 };
    let moved = ScheduleMove { not_fired: vec![(bare.clone(), 4)], ..step(&told) };
    assert_eq!(change(store, ScheduleWrite::Move(moved)).await, DONE);
    assert_eq!(change(store, ScheduleWrite::Move(step(&row(store, flow.id).await))).await, DONE);
    let told = row(store, flow.id).await;
    assert_eq!((told.not_fired, told.last_not_fired.clone()), ([5, 2, 3, 4, 5], Some((bare, NOW_MS + 1))));
    let nul = NotFiredNote { detail: Some("a\0b".to_owned()), ..note(NotFired::Missed, 1).0 };
    let refused = change(store, ScheduleWrite::Move(ScheduleMove { not_fired: vec![(nul, 1)], ..step(&told) })).await;
    assert!(matches!(refused, Outcome::Rejected { .. }), "{refused:?}");
    let foreign = ScheduleMove { tenant: TenantId(samples.row_id().0), ..step(&told) };
    assert_eq!(
        change(store, ScheduleWrite::Move(foreign)).await,
        Outcome::Stale,
        "another tenant has no such schedule"
    );
}

/// A paused schedule is not due, whatever is saved; a resumed one goes on.
pub async fn a_pause_outlives_a_change_of_the_flow(store: &dyn Store) {
    let mut samples = Samples::new(54);
    let mut flow = scheduled(store, &mut samples, "a").await;
    let (id, tenant) = (flow.id, flow.owner.tenant);
    let pause = |expected_version, audit| ScheduleWrite::Pause {
        flow: id,
        tenant,
        expected_version,
        by: "user:1".to_owned(),
        at_ms: NOW_MS,
        audit,
    };
    assert_eq!(change(store, pause(9, samples.audit(flow.owner, 0))).await, Outcome::Stale);
    assert_eq!(change(store, pause(1, samples.audit(flow.owner, 0))).await, DONE);
    let paused = row(store, id).await;
    assert_eq!((paused.paused.clone(), paused.due_ms), (Some((NOW_MS, "user:1".to_owned())), None));
    (flow.schedule, flow.expected_version) = (Some(plan(5, true)), 1);
    assert_eq!(save(store, &flow).await, DONE);
    let saved = row(store, id).await;
    assert_eq!((saved.paused.clone(), saved.due_ms), (paused.paused, None));
    let resume = ScheduleWrite::Resume { step: step(&saved), audit: samples.audit(flow.owner, 0) };
    assert_eq!(change(store, resume.clone()).await, DONE);
    assert_eq!(change(store, resume).await, Outcome::Stale);
    let resumed = row(store, id).await;
    assert_eq!((resumed.paused, resumed.due_ms), (None, Some(NOW_MS + 6 * HOUR)));
}

/// What is due comes in order, in pages; a flow that was saved without a row can be given one, once.
pub async fn due_schedules_page_in_order(store: &dyn Store) {
    let mut samples = Samples::new(55);
    let mut flows = Vec::new();
    for hours in [3, 1, 2] {
        let owner = samples.owner();
        let flow = FlowWrite { schedule: Some(plan(hours, true)), ..samples.flow(owner, "a") };
        assert_eq!(save(store, &flow).await, DONE);
        flows.push(flow.id);
    }
    let page = async |until_ms, after, limit| {
        let rows = store.due_schedules(until_ms, after, limit).await.expect("reads");
        rows.into_iter().map(|row| row.flow).collect::<Vec<_>>()
    };
    assert_eq!(page(i64::MAX, None, 10).await, [flows[1], flows[2], flows[0]]);
    assert_eq!(page(NOW_MS + 2 * HOUR + 7, None, 10).await, [flows[1]], "before the time, not at it");
    assert_eq!(page(i64::MAX, Some((NOW_MS + HOUR + 7, flows[1])), 1).await, [flows[2]]);

    let owner = samples.owner();
    let mut old = samples.flow(owner, "old");
    old.document.trigger_type = core314_domain::words::TriggerType::Schedule;
    assert_eq!(save(store, &old).await, DONE);
    let without = store.flows_without_schedule(10).await.expect("reads");
    assert_eq!(without.iter().map(|flow| flow.id).collect::<Vec<_>>(), [old.id]);
    for hours in [4, 5] {
        let adopt = ScheduleWrite::Adopt { flow: old.id, owner, plan: plan(hours, true), at_ms: NOW_MS };
        assert_eq!(change(store, adopt).await, DONE);
    }
    assert_eq!(row(store, old.id).await.config, plan(4, true).config, "the first stays");
    assert!(store.flows_without_schedule(10).await.expect("reads").is_empty());
}
