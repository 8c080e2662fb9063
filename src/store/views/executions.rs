//! Executions as `execution_queue` shows them.
//!
//! Executions have no rows: they follow from their runs. A page walks over runs, newest first, opens each one's steps,
//! last first, and so is ordered by execution id. A status that is not terminal can only stand in a run that has not
//! ended, so that only those are walked; any other walk looks at no more than [`SCAN_RUNS`] runs a page.

use std::collections::BTreeMap;

use core314_actors::ports::StoreError;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use core314_domain::run::step::StepStatus;
use core314_domain::words::{ExecutionStatus, RunStatus};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::list::Source;
use super::reader::{Keys, Reader, push_filter, uuid_of};
use super::statement::{Arg, Dialect, Statement};

/// The most runs that are looked at once. A page begins with as many as it shows executions, and goes on with four times as
/// many.
const MOST_RUNS: usize = 1_000;
/// The most runs that a page looks at for a status that no index leads to.
pub(super) const SCAN_RUNS: usize = 1_000;

/// Which runs are walked, and which of their steps are wanted.
pub(super) struct Walk {
    run: Option<RunId>,
    status: Option<ExecutionStatus>,
}

/// The walk for a filter.
pub(super) fn walk(filter: &mut Filter) -> Source {
    let run = uuid_of(filter.get("flow_run_id")).map(RunId);
    let status = filter.get("execution_status").and_then(Value::as_str).and_then(|word| word.parse().ok());
    if run.is_some() {
        filter.take("flow_run_id");
    }
    if status.is_some() {
        filter.take("execution_status");
    }
    Source::Executions(Walk { run, status })
}

impl Walk {
    /// A page of ids, newest first.
    pub async fn keys(&self, reader: &mut Reader, after: Option<Uuid>, limit: usize) -> Result<Keys, StoreError> {
        let mut before = after.unwrap_or(Uuid::max());
        let mut ids: Vec<Uuid> = Vec::new();
        let (mut seen, mut chunk) = (0, limit + 1);
        let next = loop {
            let wanted = limit + 1 - ids.len();
            let most = if self.status.is_some() { chunk.min(SCAN_RUNS - seen) } else { wanted };
            chunk = (4 * chunk).min(MOST_RUNS);
            let looked = self.chunk(reader, before, most).await?;
            for (run, state) in &looked.runs {
                let letters = letters(state)?;
                ids.extend(matching(RunId(*run), &letters, self.status).map(|id| id.0).filter(|id| *id < before));
                before = *run;
            }
            seen += looked.count;
            if ids.len() > limit {
                ids.truncate(limit);
                break ids.last().copied();
            }
            if looked.count < most || self.run.is_some() {
                break None;
            }
            if seen >= SCAN_RUNS {
                break Some(before);
            }
        };
        Ok(Keys { ids, next })
    }

    /// Runs below an id that can hold what is asked for, newest first, with their states.
    async fn chunk(&self, reader: &mut Reader, before: Uuid, most: usize) -> Result<Looked, StoreError> {
        if let Some(run) = self.run {
            let mut statement = reader.statement("SELECT run_id, state FROM run_state WHERE run_id = ");
            statement.bind(Arg::Id(run.0));
            reader.push_tenant(&mut statement, "tenant_id");
            return reader.rows(statement).await.map(Looked::all);
        }
        match self.status {
            Some(status) if !status.is_terminal() && reader.is_tenant() => live_runs(reader, before, most).await,
            Some(status) => runs_with(reader, status, before, most).await,
            None => {
                let statement = newest_runs(reader, "", before, most);
                reader.rows(statement).await.map(Looked::all)
            }
        }
    }
}

/// Runs that were looked at.
struct Looked {
    /// Those of them that may hold what is asked for, and the last one, newest first.
    runs: Vec<(Uuid, String)>,
    /// How many were looked at.
    count: usize,
}

impl Looked {
    fn all(runs: Vec<(Uuid, String)>) -> Self {
        Self { count: runs.len(), runs }
    }
}

/// `SELECT` of runs, newest first, with their states.
fn newest_runs(reader: &Reader, before_it: &str, before: Uuid, most: usize) -> Statement {
    let keyset = reader.keyset("r.tenant_id", Vec::new(), "r.id", Some(before));
    let mut statement = reader.statement(before_it);
    statement.push("SELECT r.id, s.state FROM runs r JOIN run_state s ON s.run_id = r.id WHERE ");
    if !reader.is_tenant() {
        // PostgreSQL sees that both ids are equal and not that a bound of one is the other's: from the states it would walk down
        // from the newest run of all.
        statement.push("s.run_id < ").bind(Arg::Id(before)).push(" AND ");
    }
    statement.push_keyset(&keyset).push_order(&keyset, most);
    statement
}

/// Of the next runs those whose states have one of a status's letters, anywhere in their text: the database passes over most
/// that have no such step, because to take one out costs more than to look at it.
async fn runs_with(
    reader: &mut Reader,
    status: ExecutionStatus,
    before: Uuid,
    most: usize,
) -> Result<Looked, StoreError> {
    let mut statement = newest_runs(reader, "WITH walked (id, state) AS MATERIALIZED (", before, most);
    statement.push(") SELECT id, state, (SELECT count(*) FROM walked) FROM walked");
    statement.push(" WHERE id = (SELECT id FROM walked ORDER BY id LIMIT 1)");
    let or_has = match statement.dialect {
        Dialect::Sqlite => " OR instr(state, ",
        Dialect::Postgres => " OR strpos(state, ",
    };
    for letter in ('A'..='Z').filter(|letter| stands_for(*letter) == Some(status)) {
        statement.push(or_has).bind(Arg::Text(letter.to_string())).push(") > 0");
    }
    statement.push(" ORDER BY id DESC");
    let found: Vec<(Uuid, String, i64)> = reader.rows(statement).await?;
    let count = found.first().map_or(0, |(_, _, count)| *count as usize);
    Ok(Looked { runs: found.into_iter().map(|(id, state, _)| (id, state)).collect(), count })
}

/// Runs that have not ended: a range of the index for each of their statuses, then the newest of all.
async fn live_runs(reader: &mut Reader, before: Uuid, most: usize) -> Result<Looked, StoreError> {
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
    reader.rows(statement).await.map(Looked::all)
}

/// The part of a run's state that says where its steps stand.
#[derive(Deserialize)]
struct Letters {
    s: String,
    /// Executions past the end of the plan: rounds under way, and what takes steps back.
    #[serde(default)]
    d: BTreeMap<StepNo, Loose>,
}

#[derive(Deserialize)]
struct Loose {
    l: char,
}

fn letters(state: &str) -> Result<Letters, StoreError> {
    serde_json::from_str(state).map_err(|e| StoreError::Corrupt(format!("the state of a run: {e}")))
}

/// A run's executions of a status, the last first.
fn matching(run: RunId, letters: &Letters, status: Option<ExecutionStatus>) -> impl Iterator<Item = ExecutionId> {
    let loose = letters.d.iter().rev().map(|(step, loose)| (*step, loose.l));
    let fixed = letters.s.bytes().enumerate().rev().map(|(step, letter)| (step as StepNo, char::from(letter)));
    let is_wanted = move |letter| status.is_none() || status == stands_for(letter);
    loose.chain(fixed).filter(move |(_, letter)| is_wanted(*letter)).map(move |(step, _)| run.execution(step))
}

/// The contract's word for a letter of a step.
fn stands_for(letter: char) -> Option<ExecutionStatus> {
    StepStatus::from_letter(letter).map(StepStatus::execution_status)
}

/// The contract's rows of executions, in their order.
pub(super) async fn rows(reader: &mut Reader, ids: &[Uuid], filter: &Filter) -> Result<Vec<Value>, StoreError> {
    let mut runs: Vec<Uuid> = ids.iter().filter_map(|id| ExecutionId(*id).parts()).map(|(run, _)| run.0).collect();
    runs.dedup();
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let statement = reader.select(Resource::Executions, &runs, |statement| {
        statement.push(" AND ");
        match statement.dialect {
            Dialect::Postgres => statement.push_one_of("v.id", ids),
            Dialect::Sqlite => statement.push_in("v.id", ids.iter().map(|id| Arg::Text(id.to_string())).collect()),
        };
        push_filter(statement, Resource::Executions, filter);
    });
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
        let of = |state: &str| letters(state).unwrap();
        let all: Vec<_> = matching(run, &of(r#"{"s":"CIB"}"#), None).collect();
        assert_eq!(all, [run.execution(2), run.execution(1), run.execution(0)]);
        let state = of(r#"{"s":"XCN","d":{"7":{"l":"X","p":1},"9":{"l":"I","p":0}}}"#);
        let cancelled: Vec<_> = matching(run, &state, Some(ExecutionStatus::Cancelled)).collect();
        assert_eq!(cancelled, [run.execution(7), run.execution(2), run.execution(0)]);
    }

    #[test]
    fn a_state_that_is_no_json_is_corrupt() {
        assert_eq!(letters(r#"{"v":1,"s":"BB","l":{}}"#).unwrap().s, "BB");
        assert!(matches!(letters("{"), Err(StoreError::Corrupt(_))));
    }
}
