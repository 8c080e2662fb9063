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
    let ids = newest(reader, run, limit, WALK_ENTRIES).await?;
    reader.by_keys(Resource::Audit, &ids, &Filter::default()).await
}

/// Their ids. Where a run has more entries than are walked, those of its last executions are, and its own beside them: they are
/// looked for apart, as the run comes first in the index.
async fn newest(reader: &mut Reader, run: RunId, limit: usize, walked: usize) -> Result<Vec<Uuid>, StoreError> {
    let mut of_all = reader.statement(
        "SELECT id FROM (SELECT id FROM audit WHERE event_type <> 'orchestration_started' AND subject_id >= ",
    );
    of_all.bind(Arg::Id(run.0)).push(" AND subject_id <= ").bind(Arg::Id(run.last_id()));
    reader.push_tenant(&mut of_all, "tenant_id");
    of_all.push(&format!(" ORDER BY subject_id DESC, id DESC LIMIT {walked}) newest"));
    of_all.push(&format!(" ORDER BY id DESC LIMIT {limit}"));
    let mut of_itself =
        reader.statement("SELECT id FROM audit WHERE event_type <> 'orchestration_started' AND subject_id = ");
    of_itself.bind(Arg::Id(run.0));
    reader.push_tenant(&mut of_itself, "tenant_id");
    of_itself.push(&format!(" ORDER BY id DESC LIMIT {limit}"));
    let mut ids = Vec::new();
    for statement in [of_all, of_itself] {
        ids.extend(reader.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id));
    }
    ids.sort_unstable_by(|a: &Uuid, b| b.cmp(a));
    ids.dedup();
    ids.truncate(limit);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::Scope;
    use core314_actors::ports::store::{Outcome, Write};
    use core314_actors::testkit::store_suite::commit;
    use core314_actors::testkit::store_suite::samples::Samples;
    use core314_domain::audit::{AuditEntry, AuditEvent};

    use super::*;
    use crate::store::{SqlStore, StoreOptions};

    #[tokio::test]
    async fn what_was_done_to_the_run_itself_is_not_cut_off_by_its_executions() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let store = SqlStore::open(&url, StoreOptions::default()).await.expect("it opens");
        let mut samples = Samples::new(78);
        let (owner, run, other) = (samples.owner(), samples.run_id(), samples.run_id());
        let mut entry = |subject: Uuid| {
            let entry = samples.audit(owner, 0);
            let entry = AuditEntry { event: AuditEvent::RunPaused, subject_id: Some(subject), ..entry };
            Write::Audit(Box::new(entry))
        };
        let mut writes = vec![entry(run.0)];
        writes.extend((0..5).map(|step| entry(run.execution(step).0)));
        writes.push(entry(other.0));
        let outcomes = commit(&store, writes).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })), "{outcomes:?}");
        let mut reader = Reader::begin(&store, Scope::Tenant(owner.tenant)).await.expect("it begins");
        for (limit, walked, expected) in [(10, 100, 6), (10, 2, 3), (2, 2, 2), (1, 1, 1)] {
            let ids = newest(&mut reader, run, limit, walked).await.expect("it reads");
            assert_eq!(ids.len(), expected, "limit {limit}, walked {walked}");
            assert!(ids.is_sorted_by(|a, b| a > b), "newest first, each once: {ids:?}");
        }
        let found = newest(&mut reader, run, 10, 2).await.expect("it reads");
        let found = reader.by_keys(Resource::Audit, &found, &Filter::default()).await.expect("it reads");
        let own = found.iter().filter(|entry| entry["subject_id"] == serde_json::json!(run.to_string()));
        assert_eq!(own.count(), 1, "{found:?}");
    }

    #[test]
    fn the_entry_that_is_left_out_is_the_start_s() {
        assert_eq!(AuditEvent::OrchestrationStarted.as_str(), "orchestration_started");
    }
}
