//! Roll-outs: begun and ended by people and by the one who judges them, and counted by the runs that end.
//!
//! A flow has one running roll-out at most; an index holds it. What a change takes for granted is looked at, and held on
//! PostgreSQL, before anything is written: a conflict leaves nothing behind.

use std::collections::BTreeMap;

use core314_actors::ports::catalog::Rollout;
use core314_actors::ports::store::{Outcome, RolloutChange, Write};
use core314_domain::ids::{FlowId, TenantId};
use core314_domain::words::RunStatus;

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

const RUNNING: &str = "SELECT id FROM flow_rollouts WHERE flow_id = $1 AND status = 'running'";
const RUNNING_HELD: &str = "SELECT id FROM flow_rollouts WHERE flow_id = $1 AND status = 'running' FOR UPDATE";
const BEGIN: Bulk = Bulk {
    before: "INSERT INTO flow_rollouts (id, tenant_id, user_id, organization_id, flow_id, candidate_version, \
             base_version, terms, status, started_at_ms) ",
    after: "",
};
const END: Bulk = Bulk {
    before: "WITH u (id, status, reason, ended_at_ms) AS (",
    after: ") UPDATE flow_rollouts SET status = u.status, reason = u.reason, ended_at_ms = u.ended_at_ms FROM u \
            WHERE flow_rollouts.id = u.id RETURNING flow_rollouts.id",
};
/// Only runs of the two versions count, and only while the roll-out runs: a flow has one that does. Looked up for each row, so
/// that the plan that is kept never reads the roll-outs of all flows. SQLite reads `ON` after a table as a join's condition
/// unless a WHERE stands between.
pub(in crate::store) const COUNTERS: Bulk = Bulk {
    before: "WITH u (flow_id, flow_version, partition, tenant_id, runs, failed) AS (",
    after: ") INSERT INTO flow_rollout_counters (rollout_id, flow_version, partition, tenant_id, runs, failed) \
            SELECT id, flow_version, partition, tenant_id, runs, failed FROM (SELECT (SELECT r.id FROM flow_rollouts r \
            WHERE r.flow_id = u.flow_id AND r.status = 'running' AND r.tenant_id = u.tenant_id \
            AND (r.candidate_version = u.flow_version OR r.base_version = u.flow_version)) AS id, \
            u.flow_version, u.partition, u.tenant_id, u.runs, u.failed FROM u) AS counted WHERE id IS NOT NULL \
            ON CONFLICT (rollout_id, flow_version, partition) DO UPDATE SET \
            runs = flow_rollout_counters.runs + excluded.runs, failed = flow_rollout_counters.failed + excluded.failed",
};

/// Writes the changes that come without a new version.
pub(super) async fn rollouts(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes = batch.survivors().filter_map(|(i, write)| match write {
        Write::Rollout(rollout) => Some((i, &**rollout)),
        _ => None,
    });
    for (i, write) in writes.collect::<Vec<_>>() {
        if is_possible(batch.connection, &write.change).await? {
            change(batch.connection, &write.change).await?;
        } else {
            batch.outcomes[i] = Some(Outcome::Conflict);
        }
    }
    Ok(())
}

/// Whether the flow's running roll-out is the one that the change takes for granted.
pub(super) async fn is_possible(connection: &mut Connection, change: &RolloutChange) -> Result<bool, Failure> {
    let (flow, expected) = match change {
        RolloutChange::Begin(rollout) => (rollout.flow, None),
        RolloutChange::End { id, flow, .. } => (*flow, Some(id.0)),
    };
    let sql = if connection.is_postgres() { RUNNING_HELD } else { RUNNING };
    let rows = connection.fetch(sql, &[flow.0.into()]).await?;
    let running = rows.first().map(|row| row.fields().uuid()).transpose()?;
    Ok(running == expected)
}

pub(super) async fn change(connection: &mut Connection, change: &RolloutChange) -> Result<(), Failure> {
    match change {
        RolloutChange::Begin(rollout) => begin(connection, rollout).await,
        RolloutChange::End { id, status, reason, at_ms, .. } => {
            let mut rows = Rows::new(4);
            rows.push([id.0.into(), status.as_str().into(), reason.as_str().into(), (*at_ms).into()]);
            connection.bulk(END, &rows).await.map(drop)
        }
    }
}

async fn begin(connection: &mut Connection, rollout: &Rollout) -> Result<(), Failure> {
    let terms = serde_json::to_value(&rollout.terms).expect("terms have text keys and finite numbers");
    let mut rows = Rows::new(10);
    rows.push([
        rollout.id.0.into(),
        rollout.owner.tenant.0.into(),
        rollout.owner.user.0.into(),
        rollout.owner.organization.map(|o| o.0).into(),
        rollout.flow.0.into(),
        rollout.candidate.into(),
        rollout.base.into(),
        Cell::Json(Some(json::text_of(&terms).into())),
        rollout.status.as_str().into(),
        rollout.started_at_ms.into(),
    ]);
    connection.bulk(BEGIN, &rows).await.map(drop)
}

/// Adds ended runs to the figures of their flows' roll-outs.
pub(super) fn counters(batch: &mut Batch<'_, '_>) {
    let mut counters: BTreeMap<(FlowId, i64, u16, TenantId), (i64, i64)> = BTreeMap::new();
    for (_, run) in batch.surviving_runs() {
        // An end that is taken back no longer counts.
        for (end, sign) in run.ended.iter().map(|end| (end, 1)).chain(run.reopened.iter().map(|end| (end, -1))) {
            let Some(flow) = end.flow else { continue };
            let is_failed = matches!(end.status, RunStatus::Failed | RunStatus::TimedOut | RunStatus::RolledBack);
            let (runs, failed) = counters.entry((flow, end.flow_version, run.partition, run.tenant)).or_default();
            *runs += sign;
            *failed += if is_failed { sign } else { 0 };
        }
    }
    let mut rows = Rows::new(6);
    for ((flow, version, partition, tenant), (runs, failed)) in counters {
        rows.push([flow.0.into(), version.into(), partition.into(), tenant.0.into(), runs.into(), failed.into()]);
    }
    batch.deferred.push((COUNTERS, rows));
}
