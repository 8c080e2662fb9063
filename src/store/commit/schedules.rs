//! Schedules: planned with their flows, moved on with the runs that they start, paused and resumed by people.
//!
//! Invariant: a row is changed from the version that the change was planned on, or not at all. A run whose schedule has
//! moved on is not accepted, and gives back what it had claimed.

use std::collections::{BTreeMap, HashSet};

use core314_actors::ports::schedule::{ScheduleMove, SchedulePlan, ScheduleWrite};
use core314_actors::ports::store::{FlowWrite, Idempotency, Outcome, Write};
use core314_domain::ids::{FlowId, RunId, TenantId};
use core314_domain::schedule::NotFired;
use serde_json::Value;

use super::batch::Batch;
use super::runs::{FORGOTTEN_KEY, FREED_NAMES};
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

/// A row belongs to whoever the flow belongs to, whoever saves it. A new one has counted nothing yet.
const PLAN: &str = "WITH u (flow_id, config, is_active, next_at_ms, due_at_ms, at_ms) AS (";
macro_rules! insert {
    ($($on_conflict:tt)*) => {
        concat!(
            ") INSERT INTO schedules (flow_id, tenant_id, user_id, organization_id, version, config, is_active, \
             next_at_ms, due_at_ms, is_waiting, fired, missed, overlap, conditions, paused, refused, updated_at_ms) \
             SELECT f.id, f.tenant_id, f.user_id, f.organization_id, 1, u.config, u.is_active, u.next_at_ms, \
             u.due_at_ms, FALSE, 0, 0, 0, 0, 0, 0, u.at_ms FROM u CROSS JOIN flows f WHERE f.id = u.flow_id \
             ON CONFLICT (flow_id) DO ",
            $($on_conflict)*
        )
    };
}
/// Where a flow is saved and its schedule stays the same, what it stands at stays as well: an instant that is due just now
/// is not left out.
macro_rules! unless_same {
    ($kept:literal, $new:literal) => {
        concat!(
            "CASE WHEN schedules.is_active = excluded.is_active AND schedules.config = excluded.config THEN ",
            $kept,
            " ELSE ",
            $new,
            " END"
        )
    };
}
const PLANNED: Bulk = Bulk {
    before: PLAN,
    after: insert!(
        "UPDATE SET version = schedules.version + 1, config = excluded.config, is_active = excluded.is_active, \
         updated_at_ms = excluded.updated_at_ms, next_at_ms = ",
        unless_same!("schedules.next_at_ms", "excluded.next_at_ms"),
        ", is_waiting = ",
        unless_same!("schedules.is_waiting", "excluded.is_waiting"),
        ", due_at_ms = CASE WHEN schedules.paused_at_ms IS NULL THEN ",
        unless_same!("schedules.due_at_ms", "excluded.due_at_ms"),
        " END"
    ),
};
const ADOPTED: Bulk = Bulk { before: PLAN, after: insert!("NOTHING") };
pub(super) const REMOVED: &str = "DELETE FROM schedules WHERE flow_id = $1 AND tenant_id = $2";
pub(in crate::store) const MOVED: Bulk = Bulk {
    before: "WITH u (flow_id, tenant_id, version, next_at_ms, due_at_ms, is_waiting, instant_ms, run_id, fired, missed, \
             overlap, conditions, paused, refused, reason, not_fired_ms, detail, at_ms) AS (",
    after: ") UPDATE schedules SET version = u.version + 1, next_at_ms = u.next_at_ms, due_at_ms = u.due_at_ms, \
            is_waiting = u.is_waiting, last_instant_ms = coalesce(u.instant_ms, schedules.last_instant_ms), \
            last_fired_at_ms = CASE WHEN u.instant_ms IS NULL THEN schedules.last_fired_at_ms ELSE u.at_ms END, \
            last_run_id = coalesce(u.run_id, schedules.last_run_id), fired = schedules.fired + u.fired, \
            missed = schedules.missed + u.missed, overlap = schedules.overlap + u.overlap, \
            conditions = schedules.conditions + u.conditions, paused = schedules.paused + u.paused, \
            refused = schedules.refused + u.refused, not_fired_reason = coalesce(u.reason, schedules.not_fired_reason), \
            not_fired_at_ms = coalesce(u.not_fired_ms, schedules.not_fired_at_ms), \
            not_fired_detail = CASE WHEN u.reason IS NULL THEN schedules.not_fired_detail ELSE u.detail END, \
            noted_at_ms = CASE WHEN u.reason IS NULL THEN schedules.noted_at_ms ELSE u.at_ms END, \
            updated_at_ms = u.at_ms FROM u WHERE schedules.flow_id = u.flow_id AND schedules.tenant_id = u.tenant_id \
            AND schedules.version = u.version RETURNING schedules.flow_id",
};
const PAUSED: &str = "UPDATE schedules SET version = version + 1, due_at_ms = NULL, is_waiting = FALSE, paused_at_ms = $4, \
    paused_by = $5, updated_at_ms = $4 WHERE flow_id = $1 AND tenant_id = $2 AND version = $3 RETURNING flow_id";
const RESUMED: &str =
    "UPDATE schedules SET paused_at_ms = NULL, paused_by = NULL WHERE flow_id = $1 AND tenant_id = $2";

/// What a trigger has claimed: the idempotency key, and the name of its run.
type Given<'a> = (TenantId, Option<&'a Idempotency>, Option<(FlowId, &'a str, RunId)>);

/// Writes what a saved flow makes of its schedule.
pub(super) async fn plan(connection: &mut Connection, write: &FlowWrite) -> Result<(), Failure> {
    match &write.schedule {
        Some(plan) => insert(connection, PLANNED, write.id, plan, write.at_ms).await,
        None => connection.fetch(REMOVED, &[write.id.0.into(), write.owner.tenant.0.into()]).await.map(drop),
    }
}

async fn insert(
    connection: &mut Connection,
    statement: Bulk,
    flow: FlowId,
    plan: &SchedulePlan,
    at_ms: i64,
) -> Result<(), Failure> {
    let mut rows = Rows::new(6);
    rows.push([
        flow.0.into(),
        Cell::Json(Some(json::text_of(&Value::Object(plan.config.clone())).into())),
        plan.is_active.into(),
        plan.next_ms.into(),
        plan.due_ms.into(),
        at_ms.into(),
    ]);
    connection.bulk(statement, &rows).await.map(drop)
}

/// Moves the schedules of new runs on. A run whose schedule has moved on already is stale.
pub(super) async fn fire(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let planned: Vec<(usize, Given<'_>, &ScheduleMove)> = batch
        .surviving_runs()
        .filter_map(|(i, run)| {
            let accept = run.accept.as_deref()?;
            let name = accept.header.run_key.as_deref().map(|name| (accept.header.flow.id, name, run.id));
            Some((i, (run.tenant, accept.idempotency.as_ref(), name), accept.schedule.as_deref()?))
        })
        .chain(batch.surviving_joins().filter_map(|(i, join)| {
            Some((i, (join.tenant, join.idempotency.as_ref(), None), join.schedule.as_deref()?))
        }))
        .collect();
    // A schedule twice in the batch was planned twice on one version: the first one counts.
    let mut first = BTreeMap::new();
    for (i, _, step) in &planned {
        first.entry(step.flow).or_insert((*i, *step));
    }
    let moved = advance(batch.connection, first.values().map(|(_, step)| *step)).await?;
    for (i, given, step) in planned {
        let is_first = first.get(&step.flow).is_some_and(|(of, _)| *of == i);
        if !(is_first && moved.contains(&step.flow)) {
            give_back(batch.connection, given).await?;
            batch.outcomes[i] = Some(Outcome::Stale);
        }
    }
    Ok(())
}

/// Makes the changes that start no run.
pub(super) async fn change(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes = batch.survivors().filter_map(|(i, write)| match write {
        Write::Schedule(write) => Some((i, &**write)),
        _ => None,
    });
    for (i, write) in writes.collect::<Vec<_>>() {
        let connection = &mut *batch.connection;
        let done = match write {
            ScheduleWrite::Move(step) => !advance(connection, [step].into_iter()).await?.is_empty(),
            ScheduleWrite::Pause { flow, tenant, expected_version, by, at_ms, audit: _ } => {
                let cells =
                    [flow.0.into(), tenant.0.into(), (*expected_version).into(), (*at_ms).into(), by.as_str().into()];
                !connection.fetch(PAUSED, &cells).await?.is_empty()
            }
            ScheduleWrite::Resume { step, audit: _ } => {
                let done = !advance(connection, [step].into_iter()).await?.is_empty();
                if done {
                    connection.fetch(RESUMED, &[step.flow.0.into(), step.tenant.0.into()]).await?;
                }
                done
            }
            ScheduleWrite::Adopt { flow, owner: _, plan, at_ms } => {
                insert(connection, ADOPTED, *flow, plan, *at_ms).await?;
                true
            }
        };
        if !done {
            batch.outcomes[i] = Some(Outcome::Stale);
        }
    }
    Ok(())
}

/// Moves schedules on, and says which were where they were thought to be.
async fn advance<'a>(
    connection: &mut Connection,
    steps: impl Iterator<Item = &'a ScheduleMove>,
) -> Result<HashSet<FlowId>, Failure> {
    let mut rows = Rows::new(18);
    steps.for_each(|step| rows.push(row(step)));
    let mut moved = HashSet::new();
    for row in connection.bulk(MOVED, &rows).await? {
        moved.insert(FlowId(row.fields().uuid()?));
    }
    Ok(moved)
}

fn row(step: &ScheduleMove) -> [Cell<'_>; 18] {
    let note = step.not_fired.last();
    let of_reason = |reason: NotFired| step.not_fired.iter().filter(move |(note, _)| note.reason == reason);
    let count = |reason: NotFired| of_reason(reason).map(|(_, count)| *count).sum::<i64>();
    [
        step.flow.0.into(),
        step.tenant.0.into(),
        step.expected_version.into(),
        step.next_ms.into(),
        step.due_ms.into(),
        step.is_waiting.into(),
        step.fired_ms.into(),
        step.run.map(|run: RunId| run.0).into(),
        i64::from(step.fired_ms.is_some()).into(),
        count(NotFired::Missed).into(),
        count(NotFired::Overlap).into(),
        count(NotFired::Conditions).into(),
        count(NotFired::Paused).into(),
        count(NotFired::Refused).into(),
        note.map(|(note, _)| note.reason.as_str()).into(),
        note.map(|(note, _)| note.instant_ms).into(),
        note.and_then(|(note, _)| note.detail.as_deref()).into(),
        step.at_ms.into(),
    ]
}

/// Frees the idempotency key and the name that a run had claimed before it turned out stale.
async fn give_back(connection: &mut Connection, (tenant, key, name): Given<'_>) -> Result<(), Failure> {
    if let Some(key) = key {
        connection.fetch(FORGOTTEN_KEY, &[tenant.0.into(), key.key.as_str().into()]).await?;
    }
    if let Some((flow, name, run)) = name {
        let mut rows = Rows::new(4);
        rows.push([tenant.0.into(), flow.0.into(), name.into(), run.0.into()]);
        connection.bulk(FREED_NAMES, &rows).await?;
    }
    Ok(())
}
