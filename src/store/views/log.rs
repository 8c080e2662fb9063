//! Attempts as `execution_log` shows them.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::Filter;
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use serde_json::Value;
use uuid::Uuid;

use super::list::Source;
use super::reader::{Index, Keys, Reader, uuid_of};
use super::statement::Arg;

/// The attempts of one run, or of one of its executions, by step and attempt, the last ones first.
pub(super) struct OfRun {
    run: RunId,
    step: Option<StepNo>,
    success: Option<bool>,
}

/// What leads to the attempts that a filter asks for.
pub(super) fn source(reader: &Reader, filter: &mut Filter) -> Source {
    let run = uuid_of(filter.get("flow_run_id")).map(RunId);
    let execution = uuid_of(filter.get("execution_queue_id")).map(|id| ExecutionId(id).parts());
    let of = match (run, execution) {
        (_, Some(None)) => return Source::Nothing,
        (Some(run), Some(Some((other, _)))) if run != other => return Source::Nothing,
        (_, Some(Some((run, step)))) => Some((run, Some(step))),
        (run, None) => run.map(|run| (run, None)),
    };
    let success = filter.get("success").and_then(Value::as_bool);
    if let Some((run, step)) = of {
        for column in ["flow_run_id", "execution_queue_id", "success"] {
            filter.take(column);
        }
        return Source::LogOfRun(OfRun { run, step, success });
    }
    if success == Some(false) && reader.is_tenant() {
        filter.take("success");
        return Source::Index(Index { condition: Some(reader.truth("success", false)), ..Index::newest("log") });
    }
    Source::Index(Index::newest("log"))
}

impl OfRun {
    /// A run has at most a thousand steps of a hundred attempts; a page reads no more than it shows, or than match.
    pub async fn keys(&self, reader: &mut Reader, after: Option<Uuid>, limit: usize) -> Result<Keys, StoreError> {
        let before = match after {
            None => (i64::from(i32::MAX), i64::from(i32::MAX)),
            Some(after) => match position(reader, self.run, after).await? {
                Some(position) => position,
                None => return Ok(Keys { ids: Vec::new(), next: None }),
            },
        };
        let mut statement = reader.statement("SELECT id FROM log WHERE run_id = ");
        statement.bind(Arg::Id(self.run.0));
        reader.push_tenant(&mut statement, "tenant_id");
        if let Some(step) = self.step {
            statement.push(" AND step_no = ").bind(Arg::Int(i64::from(step)));
        }
        match self.success {
            Some(true) => drop(statement.push(" AND success")),
            Some(false) => drop(statement.push(" AND NOT success")),
            None => {}
        }
        statement.push(" AND (step_no, attempt) < (").bind_all([Arg::Int(before.0), Arg::Int(before.1)]).push(")");
        statement.push(&format!(" ORDER BY step_no DESC, attempt DESC LIMIT {}", limit + 1));
        let mut ids: Vec<Uuid> = reader.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect();
        let more = ids.len() > limit;
        ids.truncate(limit);
        Ok(Keys { next: ids.last().copied().filter(|_| more), ids })
    }
}

/// The step and attempt of a row of the run.
async fn position(reader: &mut Reader, run: RunId, id: Uuid) -> Result<Option<(i64, i64)>, StoreError> {
    let columns = "CAST(step_no AS bigint), CAST(attempt AS bigint)";
    let mut statement = reader.statement(&format!("SELECT {columns} FROM log WHERE id = "));
    statement.bind(Arg::Id(id)).push(" AND run_id = ").bind(Arg::Id(run.0));
    reader.push_tenant(&mut statement, "tenant_id");
    Ok(reader.rows(statement).await?.pop())
}
