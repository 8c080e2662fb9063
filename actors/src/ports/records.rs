//! Records of databases that are not ours: rows that an action changes, reads or puts.
//!
//! Names of tables and columns come from an integration's list and nowhere else; what a run brings is values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use core314_domain::secret::Secrets;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Receiver;

use super::BoxFuture;

/// Changes rows in other databases.
pub trait Records: Send + Sync + 'static {
    /// Changes the rows that match, all or none. Dropping the future gives the change up.
    fn update(&self, place: Place, change: Change) -> BoxFuture<'_, Result<Updated, RecordError>>;

    /// Signs in and asks for nothing but an answer, which may take so long. The secrets must not be shown of what it says.
    fn ping(&self, place: Place, within: Duration, secrets: Arc<Secrets>) -> BoxFuture<'_, Result<(), RecordError>>;

    /// Begins to read rows in their order. No more than a few portions are ever in memory.
    fn read(&self, place: Place, query: RowQuery) -> BoxFuture<'_, Result<RowStream, RecordError>>;

    /// Opens a table to put rows into.
    fn open(&self, place: Place, wish: PutWish) -> BoxFuture<'_, Result<Box<dyn Table>, RecordError>>;
}

/// What is to be read.
#[derive(Debug, Clone)]
pub struct RowQuery {
    pub from: RowsOf,
    /// By what rows are ordered, so that no two are equal: reading goes on behind a row of these values.
    pub order: Vec<String>,
    /// The values of the row behind which reading begins, as it was read.
    pub after: Option<Vec<Value>>,
    /// Rows of a portion, and about their bytes.
    pub portion_rows: usize,
    pub portion_bytes: usize,
    /// What the database may take for all of it.
    pub within: Duration,
    /// What must not be shown of what the database says.
    pub secrets: Arc<Secrets>,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowsOf {
    /// These columns of a table, or all that the list has of it.
    Table { table: String, columns: Vec<String> },
    /// A statement that an administrator has written.
    Query(String),
}

/// Rows under way. Dropping it ends the reading.
pub struct RowStream {
    pub columns: Vec<String>,
    pub portions: Receiver<Result<Vec<Vec<Value>>, RecordError>>,
}

/// What rows are to be put into.
#[derive(Debug, Clone)]
pub struct PutWish {
    /// Schema and name, or the name alone.
    pub table: String,
    pub columns: Vec<String>,
    /// Which of them tell a row from all others: a row that is there already gets the values of the new one.
    pub key: Vec<String>,
    /// What the database may take for all of it.
    pub within: Duration,
    /// What must not be shown of what the database says.
    pub secrets: Arc<Secrets>,
}

/// A table of another database, and a connection to it.
pub trait Table: Send {
    /// Puts rows, each a value for each column, in one transaction: all or none. No two may have the same key.
    fn put<'a>(&'a mut self, rows: &'a [&'a [Value]]) -> BoxFuture<'a, Result<(), RecordError>>;
}

/// Where the rows are.
pub enum Place {
    Postgres(Postgres),
    /// A file of SQLite on this machine.
    Sqlite(PathBuf),
}

/// A PostgreSQL database. Debugging is left out: it has a password.
pub struct Postgres {
    /// As it stands in the certificate.
    pub host: String,
    /// Where it may be reached, and nowhere else; there is at least one.
    pub addresses: Vec<SocketAddr>,
    pub database: String,
    pub username: String,
    pub password: Option<String>,
    pub encryption: Encryption,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// The certificate must be of the host.
    Verified,
    /// Not at all.
    None,
}

/// What is to be changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// Schema and name, or the name alone.
    pub table: String,
    /// Which rows: a value for each column.
    pub matching: Map<String, Value>,
    /// What the rows must hold as well, or else they were changed by somebody meanwhile.
    pub expected: Map<String, Value>,
    pub values: Map<String, Value>,
    /// More rows are not changed.
    pub max_rows: u64,
    /// What the database may take for it.
    pub within: Duration,
    /// What must not be shown of what the database says.
    pub secrets: Arc<Secrets>,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Updated {
    pub rows: u64,
    /// The rows held the values before: an earlier attempt has changed them.
    pub was_done: bool,
}

/// Why nothing was changed. The variants say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Look at what matches: there is no such row.
    #[error("no row matches")]
    NotFound,
    /// Read the row again: it holds something else than was expected.
    #[error("the row has changed: it holds something else than was expected")]
    Stale,
    /// Match fewer, or allow more.
    #[error("{found} rows match, at most {most} may be changed")]
    TooMany { found: u64, most: u64 },
    /// The database says no: mend the payload, or the rights.
    #[error("{0}")]
    Refused(String),
    /// It says no to what one of the rows holds: put the others without it.
    #[error("{0}")]
    Unfit(String),
    /// It cannot be reached, or is busy: try again.
    #[error("{0}")]
    Unavailable(String),
}
