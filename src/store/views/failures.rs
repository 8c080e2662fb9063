//! What failures are about: their runs, as answers show them, and the last attempts of their executions; of many in one read.

use std::sync::Arc;

use core314_actors::ports::escalation::AboutFailures;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::{ExecutionId, LogId, RunId, TenantId};
use uuid::Uuid;

use super::reader::Reader;
use crate::store::SqlStore;
use crate::store::cell::Rows;
use crate::store::connection::Bulk;

/// One look into an index for each.
pub(in crate::store) const LAST_ATTEMPTS: Bulk = Bulk {
    before: "WITH u (run_id, step_no, tenant_id) AS (",
    after: ") SELECT u.run_id, u.step_no, (SELECT l.id FROM log l WHERE l.run_id = u.run_id AND l.step_no = u.step_no \
            AND l.tenant_id = u.tenant_id ORDER BY l.attempt DESC LIMIT 1) FROM u",
};

/// Reads it, of one tenant; what is not there is left out. Large values stay references: rules are not asked about them.
pub(in crate::store) async fn about(
    store: &SqlStore,
    tenant: TenantId,
    runs: Vec<RunId>,
    executions: Vec<ExecutionId>,
) -> Result<AboutFailures, StoreError> {
    let mut reader = Reader::begin(store, Scope::Tenant(tenant)).await?;
    let mut about = AboutFailures::default();
    let ids: Vec<Uuid> = runs.into_iter().map(|run| run.0).collect();
    for row in reader.by_keys(Resource::Runs, &ids, &Filter::default()).await? {
        let id = row["id"].as_str().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| StoreError::Corrupt("a run is shown without its id".to_owned()))?;
        about.runs.insert(id, Arc::new(row));
    }
    let mut asked = Rows::new(3);
    for (run, step) in executions.into_iter().filter_map(ExecutionId::parts) {
        asked.push([run.0.into(), i64::from(step).into(), tenant.0.into()]);
    }
    for row in reader.on.bulk(LAST_ATTEMPTS, &asked).await? {
        let mut fields = row.fields();
        let (run, step) = (RunId(fields.uuid()?), fields.small()?);
        if let Some(log) = fields.maybe_uuid()? {
            about.attempts.insert(run.execution(step), LogId(log));
        }
    }
    Ok(about)
}
