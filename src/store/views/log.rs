//! Attempts as `execution_log` shows them.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::{LogFilter, Page, Paged};
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use uuid::Uuid;

use super::reader::{Filter, Reader};
use super::statement::{Arg, Dialect};

/// A page of attempts. Newest first; those of one run or execution by step and attempt, the last ones first, which is
/// the order of their index.
pub(super) async fn list(reader: &mut Reader, filter: LogFilter, page: Page) -> Result<Paged, StoreError> {
    let parts = filter.execution.map(ExecutionId::parts);
    let of = match (filter.run, parts) {
        (_, Some(None)) => return Ok(Paged { items: Vec::new(), next: None }),
        (Some(run), Some(Some((other, _)))) if run != other => return Ok(Paged { items: Vec::new(), next: None }),
        (_, Some(Some((run, step)))) => Some((run, Some(step))),
        (Some(run), None) => Some((run, None)),
        (None, None) => None,
    };
    let keys = match of {
        Some((run, step)) => of_run(reader, run, step, filter.success, page).await?,
        None => newest(reader, filter.success, page).await?,
    };
    Ok(Paged { items: reader.by_keys("execution_log", &keys.0).await?, next: keys.1 })
}

type Ids = (Vec<Uuid>, Option<Uuid>);

async fn newest(reader: &mut Reader, success: Option<bool>, page: Page) -> Result<Ids, StoreError> {
    let mut rest = Filter::default();
    match success {
        Some(false) if reader.is_tenant() => {
            let sqlite = reader.statement("").dialect == Dialect::Sqlite;
            rest.indexed = Some(if sqlite { "success = 0" } else { "NOT success" });
        }
        success => rest.flags.extend(success.map(|s| ("success", s))),
    }
    let keyset = reader.keyset("tenant_id", Vec::new(), "id", page.after);
    let keys = reader.keys("log", &keyset, &rest, page.limit).await?;
    Ok((keys.ids, keys.next))
}

/// A run has at most a thousand steps of a hundred attempts; a page reads no more than it shows, or than match.
async fn of_run(
    reader: &mut Reader,
    run: RunId,
    step: Option<StepNo>,
    success: Option<bool>,
    page: Page,
) -> Result<Ids, StoreError> {
    let before = match page.after {
        None => (i64::from(i32::MAX), i64::from(i32::MAX)),
        Some(after) => match position(reader, run, after).await? {
            Some(position) => position,
            None => return Ok((Vec::new(), None)),
        },
    };
    let mut statement = reader.statement("SELECT id FROM log WHERE run_id = ");
    statement.bind(Arg::Id(run.0));
    reader.push_tenant(&mut statement, "tenant_id");
    if let Some(step) = step {
        statement.push(" AND step_no = ").bind(Arg::Int(i64::from(step)));
    }
    match success {
        Some(true) => drop(statement.push(" AND success")),
        Some(false) => drop(statement.push(" AND NOT success")),
        None => {}
    }
    statement.push(" AND (step_no, attempt) < (").bind_all([Arg::Int(before.0), Arg::Int(before.1)]).push(")");
    statement.push(&format!(" ORDER BY step_no DESC, attempt DESC LIMIT {}", page.limit + 1));
    let mut ids: Vec<Uuid> = reader.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect();
    let more = ids.len() > page.limit;
    ids.truncate(page.limit);
    let next = ids.last().copied().filter(|_| more);
    Ok((ids, next))
}

/// The step and attempt of a row of the run.
async fn position(reader: &mut Reader, run: RunId, id: Uuid) -> Result<Option<(i64, i64)>, StoreError> {
    let columns = "CAST(step_no AS bigint), CAST(attempt AS bigint)";
    let mut statement = reader.statement(&format!("SELECT {columns} FROM log WHERE id = "));
    statement.bind(Arg::Id(id)).push(" AND run_id = ").bind(Arg::Id(run.0));
    reader.push_tenant(&mut statement, "tenant_id");
    Ok(reader.rows(statement).await?.pop())
}
