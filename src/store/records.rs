//! Rows of databases that are not ours, changed, read and put on behalf of an action.
//!
//! Values are bound and never written into a statement; names of tables and columns are quoted, and the executor has them
//! from a list. A change is one transaction: when more rows match than may be changed, it is rolled back.

mod copy_text;
mod postgres;
mod postgres_put;
mod postgres_read;
mod sqlite;
mod sqlite_put;
mod sqlite_read;
mod way;

use std::sync::Arc;
use std::time::Duration;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::records::{
    Change, Place, PutWish, RecordError, Records, RowQuery, RowStream, RowsOf, Table, Updated,
};
use core314_domain::secret::Secrets;
use serde_json::{Map, Value};

/// Portions of rows that wait for their reader.
const PORTIONS_AHEAD: usize = 1;

/// Changes rows of other databases, by a connection for each change, each reading and each table.
#[derive(Debug, Default)]
pub struct ForeignRecords;

impl Records for ForeignRecords {
    fn update(&self, place: Place, change: Change) -> BoxFuture<'_, Result<Updated, RecordError>> {
        Box::pin(async move {
            match place {
                Place::Postgres(place) => postgres::update(&place, &change).await,
                Place::Sqlite(path) => sqlite::update(&path, &change).await,
            }
        })
    }

    fn ping(&self, place: Place, within: Duration, secrets: Arc<Secrets>) -> BoxFuture<'_, Result<(), RecordError>> {
        Box::pin(async move {
            match place {
                Place::Postgres(place) => postgres::ping(&place, (within, &secrets)).await,
                Place::Sqlite(path) => sqlite::ping(&path, (within, &secrets)).await,
            }
        })
    }

    fn read(&self, place: Place, query: RowQuery) -> BoxFuture<'_, Result<RowStream, RecordError>> {
        Box::pin(async move {
            match place {
                Place::Postgres(place) => postgres_read::begin(&place, query).await,
                Place::Sqlite(path) => sqlite_read::begin(&path, query).await,
            }
        })
    }

    fn open(&self, place: Place, wish: PutWish) -> BoxFuture<'_, Result<Box<dyn Table>, RecordError>> {
        Box::pin(async move {
            Ok(match place {
                Place::Postgres(place) => Box::new(postgres_put::open(&place, wish).await?) as Box<dyn Table>,
                Place::Sqlite(path) => Box::new(sqlite_put::open(&path, wish).await?),
            })
        })
    }
}

/// The rows of a source as a table expression. A statement that an administrator wrote may end with a comment.
fn expression(of: &RowsOf) -> String {
    match of {
        RowsOf::Table { table: name, columns } => format!("(SELECT {} FROM {})", names(columns), table(name)),
        RowsOf::Query(sql) => format!("({}\n)", sql.trim_end().trim_end_matches(';')),
    }
}

/// Where in a row the columns stand that order it.
fn places(order: &[String], columns: &[String]) -> Result<Vec<usize>, RecordError> {
    let place = |name: &String| {
        let none = || RecordError::Refused(format!("order: the rows have no column '{name}'"));
        columns.iter().position(|column| column == name).ok_or_else(none)
    };
    order.iter().map(place).collect()
}

/// Rows without all that orders them would be lost or come twice.
fn ordered(row: &[Value], places: &[usize], order: &[String]) -> Result<(), RecordError> {
    let missing = places.iter().position(|place| row[*place].is_null());
    let refuse = |at: usize| RecordError::Refused(format!("order: a row has nothing in '{}'", order[at]));
    missing.map_or(Ok(()), |at| Err(refuse(at)))
}

/// About the bytes of a row.
fn size(row: &[Value]) -> usize {
    let of = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::Array(_) | Value::Object(_) => core314_domain::expr::size(value),
        _ => 8,
    };
    row.iter().map(of).sum()
}

fn names(columns: &[String]) -> String {
    columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// What follows an `INSERT` so that a row that is there gets the new values; one that is all key stays as it is.
fn on_conflict(wish: &PutWish) -> String {
    let others = wish.columns.iter().filter(|name| !wish.key.contains(name));
    let set: Vec<String> = others.map(|name| format!("{0} = excluded.{0}", quoted(name))).collect();
    let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
    format!("ON CONFLICT ({}) DO {action}", names(&wish.key))
}

/// One conversation with a database.
trait Rows {
    /// Changes what holds these values; how many rows.
    async fn change(&mut self, change: &Change, held: &Map<String, Value>) -> Result<u64, RecordError>;
    /// How many rows hold these values.
    async fn count(&mut self, change: &Change, held: &Map<String, Value>) -> Result<u64, RecordError>;
}

/// Changes the rows that match, within a transaction that is the caller's to commit or to roll back.
async fn changed(rows: &mut impl Rows, change: &Change) -> Result<Updated, RecordError> {
    let mut held = change.matching.clone();
    held.extend(change.expected.clone());
    let found = rows.change(change, &held).await?;
    if found > change.max_rows {
        return Err(RecordError::TooMany { found, most: change.max_rows });
    }
    if found > 0 {
        return Ok(Updated { rows: found, was_done: false });
    }
    // Nothing was changed: because it was done before, because somebody was faster, or because nothing is there.
    if !change.expected.is_empty() {
        let mut done = change.matching.clone();
        done.extend(change.values.clone());
        let count = rows.count(change, &done).await?;
        if count > 0 {
            return Ok(Updated { rows: count, was_done: true });
        }
    }
    let is_there = rows.count(change, &change.matching).await? > 0;
    Err(if is_there { RecordError::Stale } else { RecordError::NotFound })
}

/// Schema and name, each as it is.
fn table(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
