//! What new runs take over from the runs that they repeat: kept beside them, one row an outcome.

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::Bulk;
use crate::store::json;

const TAKEN_OVER: Bulk = Bulk {
    before: "INSERT INTO reused_results (run_id, step_no, tenant_id, from_execution, result, error) ",
    after: "",
};

/// Writes the outcomes of new runs. Most runs have none.
pub(super) fn outcomes(batch: &mut Batch<'_, '_>) {
    let mut rows = Rows::new(6);
    for (_, run) in batch.surviving_runs() {
        let Some(reuse) = run.accept.as_deref().and_then(|accept| accept.reuse.as_deref()) else { continue };
        for (step, reused) in &reuse.steps {
            let Some(outcome) = &reused.outcome else { continue };
            rows.push([
                run.id.0.into(),
                i64::from(*step).into(),
                run.tenant.0.into(),
                outcome.from.0.into(),
                Cell::Json(outcome.result.as_deref().map(|result| json::text_of(result).into())),
                outcome.error.as_deref().into(),
            ]);
        }
    }
    if !rows.is_empty() {
        batch.deferred.push((TAKEN_OVER, rows));
    }
}
