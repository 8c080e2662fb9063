//! Roll-outs as they are read: with their figures, which are sums over the partitions.

use core314_actors::ports::Scope;
use core314_actors::ports::catalog::{Rollout, RolloutState};
use core314_domain::ids::{FlowId, RowId};
use core314_domain::rollout::Ended;

use super::SqlStore;
use super::catalog::tenant_of;
use super::cell::{Cell, Fields};
use super::engine::owner;
use super::failure::Failure;

/// The columns of a roll-out as [`state`] reads them.
macro_rules! rollout_columns {
    () => {
        "SELECT r.id, r.tenant_id, r.user_id, r.organization_id, r.flow_id, r.candidate_version, r.base_version, \
         r.terms, r.status, r.reason, r.started_at_ms, r.ended_at_ms, \
         CAST(coalesce((SELECT sum(runs) FROM flow_rollout_counters c \
             WHERE c.rollout_id = r.id AND c.flow_version = r.candidate_version), 0) AS bigint), \
         CAST(coalesce((SELECT sum(failed) FROM flow_rollout_counters c \
             WHERE c.rollout_id = r.id AND c.flow_version = r.candidate_version), 0) AS bigint), \
         CAST(coalesce((SELECT sum(runs) FROM flow_rollout_counters c \
             WHERE c.rollout_id = r.id AND c.flow_version = r.base_version), 0) AS bigint), \
         CAST(coalesce((SELECT sum(failed) FROM flow_rollout_counters c \
             WHERE c.rollout_id = r.id AND c.flow_version = r.base_version), 0) AS bigint) \
         FROM flow_rollouts r "
    };
}

/// Without a tenant: any.
const NEWEST: &str =
    concat!(rollout_columns!(), "WHERE r.flow_id = $1 AND ($2 IS NULL OR r.tenant_id = $2) ORDER BY r.id DESC LIMIT 1");
const RUNNING: &str =
    concat!(rollout_columns!(), "WHERE r.status = 'running' AND ($1 IS NULL OR r.tenant_id = $1) ORDER BY r.id");

pub(super) async fn newest(store: &SqlStore, scope: Scope, flow: FlowId) -> Result<Option<RolloutState>, Failure> {
    Ok(states(store, scope, NEWEST, &[flow.0.into(), tenant_of(scope).into()]).await?.pop())
}

pub(super) async fn running(store: &SqlStore, scope: Scope) -> Result<Vec<RolloutState>, Failure> {
    states(store, scope, RUNNING, &[tenant_of(scope).into()]).await
}

async fn states(
    store: &SqlStore,
    scope: Scope,
    sql: &'static str,
    cells: &[Cell<'_>],
) -> Result<Vec<RolloutState>, Failure> {
    let rows = store.read(scope).await?.fetch(sql, cells).await?;
    rows.iter().map(|row| state(row.fields())).collect()
}

fn state(mut fields: Fields<'_>) -> Result<RolloutState, Failure> {
    let f = &mut fields;
    let id = RowId(f.uuid()?);
    let owner = owner(f)?;
    let (flow, candidate, base) = (FlowId(f.uuid()?), f.int()?, f.int()?);
    let terms = serde_json::from_value(f.json()?)
        .map_err(|e| Failure::Corrupt(format!("the terms of roll-out {id} cannot be read: {e}")))?;
    let rollout = Rollout {
        id,
        owner,
        flow,
        candidate,
        base,
        terms,
        status: f.word()?,
        reason: f.maybe_text()?,
        started_at_ms: f.int()?,
        ended_at_ms: f.maybe_int()?,
    };
    let mut ended = || Ok::<_, Failure>(Ended { runs: f.int()?, failed: f.int()? });
    Ok(RolloutState { rollout, candidate: ended()?, base: ended()? })
}
