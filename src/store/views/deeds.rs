//! What was done to a run and its executions, as the audit log has it.

use core314_actors::ports::StoreError;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;
use core314_domain::ids::RunId;
use serde_json::Value;
use uuid::Uuid;

use super::reader::Reader;
use super::statement::Arg;

/// The most entries of the index that are looked at; each holds all that is asked.
const WALK_ENTRIES: usize = 5_000;

/// The newest entries about a run of the reader's tenant, newest first. The index has no entry of a run's start.
pub(super) async fn of_run(reader: &mut Reader, run: RunId, limit: usize) -> Result<Vec<Value>, StoreError> {
    let mut statement = reader.statement(
        "SELECT id FROM (SELECT id FROM audit WHERE event_type <> 'orchestration_started' AND subject_id >= ",
    );
    statement.bind(Arg::Id(run.0)).push(" AND subject_id <= ").bind(Arg::Id(run.last_id()));
    reader.push_tenant(&mut statement, "tenant_id");
    statement.push(&format!(" ORDER BY subject_id DESC, id DESC LIMIT {WALK_ENTRIES}) newest"));
    statement.push(&format!(" ORDER BY id DESC LIMIT {limit}"));
    let ids: Vec<Uuid> = reader.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect();
    reader.by_keys(Resource::Audit, &ids, &Filter::default()).await
}

#[cfg(test)]
mod tests {
    use core314_domain::audit::AuditEvent;

    #[test]
    fn the_entry_that_is_left_out_is_the_start_s() {
        assert_eq!(AuditEvent::OrchestrationStarted.as_str(), "orchestration_started");
    }
}
