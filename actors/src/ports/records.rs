//! Records of databases that are not ours: rows that an action changes.
//!
//! Names of tables and columns come from an integration's list and nowhere else; what a run brings is values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use core314_domain::secret::Secrets;
use serde_json::{Map, Value};

use super::BoxFuture;

/// Changes rows in other databases.
pub trait Records: Send + Sync + 'static {
    /// Changes the rows that match, all or none. Dropping the future gives the change up.
    fn update(&self, place: Place, change: Change) -> BoxFuture<'_, Result<Updated, RecordError>>;
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
    /// Where it may be reached. With `Encryption::Verified` the driver resolves the host once more.
    pub address: SocketAddr,
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
    pub secrets: std::sync::Arc<Secrets>,
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
    /// It cannot be reached, or is busy: try again.
    #[error("{0}")]
    Unavailable(String),
}
