//! Executions as `execution_queue` shows them.
//!
//! Executions have no rows: they follow from their runs. A page walks over runs, newest first, opens each one's steps,
//! last first, and so is ordered by execution id. A status that is not terminal can only stand in a run that has not
//! ended, so that only those are walked; any other walk looks at no more than [`SCAN_ROWS`] runs a page.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::{ExecutionFilter, Page, Paged};
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use core314_domain::run::step::StepStatus;
use core314_domain::words::{ExecutionStatus, RunStatus};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::reader::{Reader, SCAN_ROWS};
use super::statement::Arg;

/// How many runs are fetched at once.
const CHUNK_RUNS: usize = 500;

/// A page of executions, newest first.
pub(super) async fn list(reader: &mut Reader, filter: ExecutionFilter, page: Page) -> Result<Paged, StoreError> {
    let mut before = page.after.unwrap_or(Uuid::max());
    let mut ids: Vec<ExecutionId> = Vec::new();
    let mut seen = 0;
    let next = loop {
        let wanted = page.limit + 1 - ids.len();
        let most = if filter.execution_status.is_some() { CHUNK_RUNS } else { wanted };
        let runs = chunk(reader, &filter, before, most).await?;
        for (run, state) in &runs {
            let letters = letters(state)?;
            ids.extend(matching(RunId(*run), &letters, filter.execution_status).filter(|id| id.0 < before));
            before = *run;
        }
        seen += runs.len();
        if ids.len() > page.limit {
            ids.truncate(page.limit);
            break ids.last().map(|id| id.0);
        }
        if runs.len() < most || filter.run.is_some() {
            break None;
        }
        if seen >= SCAN_ROWS {
            break Some(before);
        }
    };
    Ok(Paged { items: rows(reader, &ids).await?, next })
}

/// One execution.
pub(super) async fn one(reader: &mut Reader, id: ExecutionId) -> Result<Option<Value>, StoreError> {
    if id.parts().is_none() {
        return Ok(None);
    }
    Ok(rows(reader, &[id]).await?.pop())
}

/// Runs below an id that can hold what is asked for, newest first, with their states.
async fn chunk(
    reader: &mut Reader,
    filter: &ExecutionFilter,
    before: Uuid,
    most: usize,
) -> Result<Vec<(Uuid, String)>, StoreError> {
    let live = filter.execution_status.is_some_and(|s| !s.is_terminal());
    if let Some(run) = filter.run {
        let mut statement = reader.statement("SELECT run_id, state FROM run_state WHERE run_id = ");
        statement.bind(Arg::Id(run.0));
        reader.push_tenant(&mut statement, "tenant_id");
        return reader.rows(statement).await;
    }
    if live && reader.is_tenant() {
        return live_runs(reader, before, most).await;
    }
    let keyset = reader.keyset("r.tenant_id", Vec::new(), "r.id", Some(before));
    let mut statement = reader.statement("SELECT r.id, s.state FROM runs r JOIN run_state s ON s.run_id = r.id WHERE ");
    statement.push_keyset(&keyset).push_order(&keyset, most);
    reader.rows(statement).await
}

/// Runs that have not ended: a range of the index for each of their statuses, then the newest of all.
async fn live_runs(reader: &mut Reader, before: Uuid, most: usize) -> Result<Vec<(Uuid, String)>, StoreError> {
    let mut statement = reader.statement("SELECT run_id, state FROM (");
    let live = RunStatus::ALL.iter().filter(|status| !status.is_terminal());
    for (no, status) in live.enumerate() {
        let status = Arg::Text(status.as_str().to_owned());
        let keyset = reader.keyset("tenant_id", vec![("run_status", status)], "run_id", Some(before));
        statement.push(if no > 0 { " UNION ALL SELECT * FROM (" } else { "SELECT * FROM (" });
        statement.push("SELECT run_id, state FROM run_state WHERE ").push_keyset(&keyset);
        statement.push_order(&keyset, most).push(&format!(") live{no}"));
    }
    statement.push(&format!(") live ORDER BY run_id DESC LIMIT {most}"));
    reader.rows(statement).await
}

/// The part of a run's state that says where its steps stand.
#[derive(Deserialize)]
struct Letters {
    s: String,
}

fn letters(state: &str) -> Result<String, StoreError> {
    let letters: Letters =
        serde_json::from_str(state).map_err(|e| StoreError::Corrupt(format!("the state of a run: {e}")))?;
    Ok(letters.s)
}

/// A run's executions of a status, the last first.
fn matching(run: RunId, letters: &str, status: Option<ExecutionStatus>) -> impl Iterator<Item = ExecutionId> {
    letters.bytes().enumerate().rev().filter_map(move |(step, letter)| {
        let stands = StepStatus::from_letter(char::from(letter)).map(StepStatus::execution_status);
        (status.is_none() || status == stands).then(|| run.execution(step as StepNo))
    })
}

/// The contract's rows of executions, in their order.
async fn rows(reader: &mut Reader, ids: &[ExecutionId]) -> Result<Vec<Value>, StoreError> {
    let mut runs: Vec<Uuid> = ids.iter().filter_map(|id| id.parts()).map(|(run, _)| run.0).collect();
    runs.dedup();
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = reader.select("execution_queue");
    statement.push("v.row_key IN (").bind_all(runs.into_iter().map(Arg::Id)).push(") AND CAST(v.id AS text) IN (");
    statement.bind_all(ids.iter().map(|id| Arg::Text(id.to_string()))).push(")");
    let mut items = reader.objects(statement).await?;
    items.sort_by_cached_key(|item| std::cmp::Reverse(item["id"].as_str().map(str::to_owned)));
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_from_the_end_and_filtered_by_the_contract_s_word() {
        let run = RunId::new(1, 1 << 40);
        let all: Vec<_> = matching(run, "CIB", None).collect();
        assert_eq!(all, [run.execution(2), run.execution(1), run.execution(0)]);
        let cancelled: Vec<_> = matching(run, "XCN", Some(ExecutionStatus::Cancelled)).collect();
        assert_eq!(cancelled, [run.execution(2), run.execution(0)]);
    }

    #[test]
    fn a_state_that_is_no_json_is_corrupt() {
        assert_eq!(letters(r#"{"v":1,"s":"BB","l":{}}"#).unwrap(), "BB");
        assert!(matches!(letters("{"), Err(StoreError::Corrupt(_))));
    }
}
