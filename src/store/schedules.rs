//! Reading schedules back: those that are due, that of a flow, and flows that have none yet.

use core314_actors::ports::catalog::StoredFlow;
use core314_actors::ports::schedule::{NotFiredNote, StoredSchedule};
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::{FlowId, RunId};
use core314_domain::schedule::{NotFired, Standing};
use serde_json::Value;
use uuid::Uuid;

use super::SqlStore;
use super::catalog::{flow, flow_columns, tenant_of};
use super::cell::Fields;
use super::engine::owner;
use super::failure::Failure;

/// The columns of a schedule as [`schedule`] reads them.
macro_rules! schedule_columns {
    () => {
        "SELECT flow_id, tenant_id, user_id, organization_id, version, config, is_active, next_at_ms, due_at_ms, \
         is_waiting, paused_at_ms, paused_by, last_instant_ms, last_fired_at_ms, last_run_id, fired, missed, overlap, \
         conditions, paused, refused, not_fired_reason, not_fired_at_ms, not_fired_detail, noted_at_ms, updated_at_ms \
         FROM schedules "
    };
}

const DUE: &str = concat!(
    schedule_columns!(),
    "WHERE due_at_ms IS NOT NULL AND (due_at_ms, flow_id) > ($1, $2) AND due_at_ms < $3 \
     ORDER BY due_at_ms, flow_id LIMIT $4"
);
/// Without a tenant: any.
const OF_FLOW: &str = concat!(schedule_columns!(), "WHERE flow_id = $1 AND ($2 IS NULL OR tenant_id = $2)");
const WITHOUT: &str = concat!(
    flow_columns!(),
    "WHERE f.trigger_type = 'schedule' AND NOT EXISTS (SELECT 1 FROM schedules s WHERE s.flow_id = f.id) \
     ORDER BY f.id LIMIT $1"
);

pub(super) async fn due(
    store: &SqlStore,
    until_ms: i64,
    after: Option<(i64, FlowId)>,
    limit: usize,
) -> Result<Vec<StoredSchedule>, StoreError> {
    let (at_ms, flow) = after.map_or((i64::MIN, Uuid::nil()), |(at_ms, flow)| (at_ms, flow.0));
    let cells = [at_ms.into(), flow.into(), until_ms.into(), (limit as i64).into()];
    let rows = store.read(Scope::Platform).await?.fetch(DUE, &cells).await?;
    Ok(rows.iter().map(|row| schedule(row.fields())).collect::<Result<_, _>>()?)
}

pub(super) async fn of_flow(
    store: &SqlStore,
    scope: Scope,
    flow: FlowId,
) -> Result<Option<StoredSchedule>, StoreError> {
    let rows = store.read(scope).await?.fetch(OF_FLOW, &[flow.0.into(), tenant_of(scope).into()]).await?;
    Ok(rows.first().map(|row| schedule(row.fields())).transpose()?)
}

pub(super) async fn flows_without(store: &SqlStore, limit: usize) -> Result<Vec<StoredFlow>, StoreError> {
    let rows = store.read(Scope::Platform).await?.fetch(WITHOUT, &[(limit as i64).into()]).await?;
    Ok(rows.iter().map(|row| flow(row.fields())).collect::<Result<_, _>>()?)
}

fn schedule(mut fields: Fields<'_>) -> Result<StoredSchedule, Failure> {
    let f = &mut fields;
    let flow = FlowId(f.uuid()?);
    let (owner, version) = (owner(f)?, f.int()?);
    let Value::Object(config) = f.json()? else {
        return Err(Failure::Corrupt(format!("the schedule of flow {flow} has no config")));
    };
    let is_active = f.bool()?;
    let (next_ms, due_ms, is_waiting) = (f.maybe_int()?, f.maybe_int()?, f.bool()?);
    let paused = f.maybe_int()?.zip(f.maybe_text()?);
    let standing = Standing { next_ms, last_ms: f.maybe_int()?, is_waiting };
    let (last_fired_ms, last_run) = (f.maybe_int()?, f.maybe_uuid()?.map(RunId));
    let fired = f.int()?;
    let mut not_fired = [0; NotFired::ALL.len()];
    for count in &mut not_fired {
        *count = f.int()?;
    }
    let reason = f.maybe_text()?.map(|word| word.parse::<NotFired>()).transpose();
    let reason = reason.map_err(|e| Failure::Corrupt(format!("the schedule of flow {flow}: {e}")))?;
    let (instant_ms, detail, noted_ms) = (f.maybe_int()?, f.maybe_text()?, f.maybe_int()?);
    let note = |(reason, instant_ms)| NotFiredNote { reason, instant_ms, detail };
    let last_not_fired = reason.zip(instant_ms).map(note).zip(noted_ms);
    let updated_at_ms = f.int()?;
    Ok(StoredSchedule {
        flow,
        owner,
        version,
        config,
        is_active,
        standing,
        due_ms,
        paused,
        last_fired_ms,
        last_run,
        fired,
        not_fired,
        last_not_fired,
        updated_at_ms,
    })
}
