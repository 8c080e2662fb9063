//! What else a run's change leaves: transitions of its phases, the events that its steps wait for, and results that may be
//! used again.

use core314_actors::ports::store::WaitWrite;

use super::batch::Batch;
use crate::store::cell::Rows;
use crate::store::connection::Bulk;
use crate::store::failure::Failure;
use crate::store::step_cache;

const PHASES: Bulk = Bulk {
    before: "INSERT INTO phase_moves (id, tenant_id, user_id, organization_id, run_id, flow_id, phase, name, status, at_ms, \
             duration_ms, previous_phase, error, rollback_to, sla_ms) ",
    after: "",
};
const OPENED: Bulk = Bulk {
    before: "INSERT INTO event_waits (tenant_id, kind, wait_key, run_id, step_no) ",
    after: " ON CONFLICT (run_id, step_no) DO UPDATE SET kind = excluded.kind, wait_key = excluded.wait_key",
};
const CLOSED: Bulk = Bulk {
    before: "WITH u (run_id, step_no) AS (",
    after: ") DELETE FROM event_waits WHERE EXISTS (SELECT 1 FROM u WHERE u.run_id = event_waits.run_id \
            AND u.step_no = event_waits.step_no)",
};
/// Whatever a run waited for, it does not after its end.
const OVER: Bulk = Bulk {
    before: "WITH u (run_id) AS (",
    after: ") DELETE FROM event_waits WHERE EXISTS (SELECT 1 FROM u WHERE u.run_id = event_waits.run_id)",
};

/// Writes transitions of phases; nothing of a run depends on them.
pub(super) fn phases(batch: &mut Batch<'_, '_>) {
    let mut rows = Rows::new(15);
    for (_, run) in batch.surviving_runs() {
        for phase in &run.phases {
            let moved = &phase.moved;
            rows.push([
                phase.id.0.into(),
                run.tenant.0.into(),
                phase.owner.user.0.into(),
                phase.owner.organization.map(|o| o.0).into(),
                run.id.0.into(),
                phase.flow.0.into(),
                i64::from(moved.phase).into(),
                (*phase.name).into(),
                moved.status.as_str().into(),
                moved.at_ms.into(),
                moved.duration_ms.into(),
                moved.previous_phase.map(i64::from).into(),
                moved.error.as_deref().into(),
                moved.rollback_to.map(i64::from).into(),
                phase.sla_ms.into(),
            ]);
        }
    }
    if !rows.is_empty() {
        batch.deferred.push((PHASES, rows));
    }
}

/// Writes what steps wait for, in the order of their changes: one that was opened and closed is closed.
pub(super) async fn waits(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let (mut opened, mut closed, mut over) = (Rows::new(5), Rows::new(2), Rows::new(1));
    for (_, run) in batch.surviving_runs() {
        for (no, wait) in run.waits.iter().enumerate() {
            match wait {
                WaitWrite::Opened { step, kind, key } => {
                    let is_closed = |later: &WaitWrite| matches!(later, WaitWrite::Closed { step: own } if own == step);
                    if !run.waits[no..].iter().any(is_closed) {
                        opened.push([
                            run.tenant.0.into(),
                            (**kind).into(),
                            key.as_str().into(),
                            run.id.0.into(),
                            i64::from(*step).into(),
                        ]);
                    }
                }
                WaitWrite::Closed { step } => closed.push([run.id.0.into(), i64::from(*step).into()]),
            }
        }
        let may_wait = run.ended.is_some() && run.state.state.contains("\"v\":2");
        if may_wait {
            over.push([run.id.0.into()]);
        }
    }
    for (bulk, rows) in [(CLOSED, closed), (OPENED, opened), (OVER, over)] {
        if !rows.is_empty() {
            batch.connection.bulk(bulk, &rows).await?;
        }
    }
    Ok(())
}

/// Keeps results that may be used again.
pub(super) fn cached(batch: &mut Batch<'_, '_>) {
    let writes = batch.surviving_runs().flat_map(|(_, run)| run.cached.iter().map(|write| (run.tenant, write)));
    let rows = step_cache::rows(writes);
    batch.deferred.push((step_cache::KEEP, rows));
}
