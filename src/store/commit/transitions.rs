//! What else a run's change leaves: transitions of its phases, and results that may be used again.

use core314_actors::ports::signal::Occurrence;

use super::batch::Batch;
use super::signals::{OCCURRENCE, occurrence_row};
use crate::store::cell::Rows;
use crate::store::connection::Bulk;
use crate::store::step_cache;

const PHASES: Bulk = Bulk {
    before: "INSERT INTO phase_moves (id, tenant_id, user_id, organization_id, run_id, flow_id, phase, name, status, at_ms, \
             duration_ms, previous_phase, error, rollback_to, sla_ms) ",
    after: "",
};

/// Writes transitions of phases, and what tells people of them; nothing of a run depends on either.
pub(super) fn phases(batch: &mut Batch<'_, '_>) {
    let (mut rows, mut told) = (Rows::new(15), Rows::new(9));
    for (_, run) in batch.surviving_runs() {
        for phase in &run.phases {
            if let Some(occurrence) = Occurrence::of_phase(phase, run.id) {
                told.push(occurrence_row(&occurrence));
            }
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
        batch.deferred.extend([(PHASES, rows), (OCCURRENCE, told)]);
    }
}

/// Keeps results that may be used again.
pub(super) fn cached(batch: &mut Batch<'_, '_>) {
    let writes = batch.surviving_runs().flat_map(|(_, run)| run.cached.iter().map(|write| (run.tenant, write)));
    let rows = step_cache::rows(writes);
    batch.deferred.push((step_cache::KEEP, rows));
}
