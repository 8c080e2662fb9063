//! Rows of databases that are not ours, changed on behalf of an action.
//!
//! Values are bound and never written into a statement; names of tables and columns are quoted, and the executor has them
//! from a list. A change is one transaction: when more rows match than may be changed, it is rolled back.

mod postgres;
mod sqlite;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::records::{Change, Place, RecordError, Records, Updated};
use serde_json::{Map, Value};

/// Changes rows of other databases, by a connection for each change.
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
