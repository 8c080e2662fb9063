//! The store: SQLite or PostgreSQL behind the ports of the core.
//!
//! Statements are written once; what differs is how rows come into a bulk statement (`store/connection.rs`) and how each
//! database is opened (`store/sqlite.rs`, `store/postgres.rs`). One verb writes: [`commit`]. Reads take one snapshot of
//! the database each and hold nothing afterwards.
//!
//! Invariants:
//! - What was answered as committed is durable, and whole: the state of a run with all its rows.
//! - The append-only tables only grow, and each row is linked to the one before it in its partition's chain.
//! - A statement of a tenant carries the tenant; on PostgreSQL its role would stop it otherwise.

mod aging;
mod answers;
mod blobs;
mod bulk;
mod catalog;
mod cell;
mod check;
mod commit;
mod connection;
mod connections;
mod engine;
mod escalations;
mod events;
mod failure;
mod fold;
mod heads;
mod home;
mod json;
mod ledger;
mod limits;
mod membership;
mod migrations;
mod notifications;
mod pause;
mod people;
mod plain_copy;
#[cfg(test)]
mod plans;
mod pool;
mod postgres;
mod records;
mod rollouts;
mod rows;
mod schedules;
mod schema;
mod signals;
mod sqlite;
mod step_cache;
mod sync_positions;
mod transfer;
mod views;
mod way;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::RowId;
use sqlx::SqlitePool;

use cell::Rows;
pub use check::StoreFinding;
use connection::{Bulk, Connection, Connector, READ_ALL};
use failure::Failure;
use fold::Folder;
use heads::Heads;
pub use pause::{GoesOn, set_paused};
pub use plain_copy::PlainCopy;
use pool::{Lent, Pool};
pub use records::ForeignRecords;
pub use schema::SchemaState;
use sqlite::FileLock;
pub use transfer::{CopiedTable, Paused, Transfer, TransferReport, transfer};
pub use way::{UnprovenServer, unproven_server};

/// Whether an address is one of PostgreSQL.
fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The newest persisted formats that this release writes and reads.
const FORMAT: i64 = 1;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Connections that read.
    pub readers: usize,
    /// Batches in flight at once, beside those of partitions that are kept clear; SQLite always has one.
    pub lanes: usize,
    /// How long to wait for a lock of another process, or for a free connection.
    pub busy_timeout: Duration,
    /// How long one read may take.
    pub read_limit: Duration,
    /// How long one statement of a commit may take on PostgreSQL.
    pub write_limit: Duration,
    /// How long a transaction may stand still on PostgreSQL before the server ends it: a stopped process must not hold
    /// what others wait for.
    pub idle_limit: Duration,
    /// The address of the schema's owner on PostgreSQL, who alone migrates; absent: the program's login does.
    pub owner_url: Option<String>,
    /// Whether a login is accepted for which row-level security does not hold.
    pub allow_superuser: bool,
    /// Whom a PostgreSQL database is shared with. A SQLite file always has one writer.
    pub claim: Claim,
    /// Results and payloads whose JSON is longer go into blobs, in bytes.
    pub inline_bytes: usize,
    /// Takes no lock, migrates nothing and refuses to write: for looking at a store that somebody else has open.
    pub read_only: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            lanes: 4,
            busy_timeout: Duration::from_secs(5),
            read_limit: Duration::from_secs(1),
            write_limit: Duration::from_secs(10),
            idle_limit: Duration::from_secs(2),
            owner_url: None,
            allow_superuser: false,
            claim: Claim::None,
            inline_bytes: 32 << 10,
            read_only: false,
        }
    }
}

/// Whom a process lets into its PostgreSQL database, by an advisory lock of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It works beside whoever has the database.
    None,
    /// Other nodes, which take turns by their leases.
    Shared,
    /// Nobody: neither nodes nor servers of a release that had no leases.
    Alone,
}

/// An open store.
pub struct SqlStore {
    /// Absent when the store is read only.
    writers: Option<Pool>,
    readers: Pools,
    connector: Connector,
    heads: Heads,
    lanes: usize,
    inline_bytes: usize,
    /// Present where SQLite writes.
    folder: Option<Folder>,
    /// Held, not used: another process would find the file locked.
    _lock: Option<FileLock>,
    /// Whose session has the claim on a PostgreSQL database; by it the node's lease is renewed. Empty: it was lost.
    claim: Option<tokio::sync::Mutex<Option<Connection>>>,
    claims: Claim,
    /// Under which this process has the partitions as one of several nodes; 0: it does not.
    epoch: AtomicI64,
}

/// The readers' connections.
pub(crate) enum Pools {
    Sqlite(SqlitePool),
    Postgres(postgres::Readers),
}

impl SqlStore {
    /// Opens `sqlite:PATH` or `postgres://…`, and brings its schema up to date.
    ///
    /// Errors are [`StoreError::Unavailable`] where a later attempt may succeed and [`StoreError::Refused`] where a
    /// person must act; the message says how.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let writes = !options.read_only;
        let store = Self::open_to_fill(url, options).await?;
        if writes {
            transfer::refuse_unfinished(&mut store.connector.connect().await?).await?;
        }
        Ok(store)
    }

    /// The same for whoever copies into the database: also where a copy into it was not finished.
    async fn open_to_fill(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let is_postgres = is_postgres(url);
        let mut store = match sqlite::path_of(url) {
            Some(path) => {
                if options.read_only {
                    sqlite::check_presence(&path)?;
                }
                let lock = if options.read_only { None } else { Some(sqlite::lock(&path)?) };
                let readers = Pools::Sqlite(sqlite::readers(&path, &options));
                Self::new(sqlite::connector(&path, &options), readers, 1, lock, &options)
            }
            None if is_postgres => {
                let readers = Pools::Postgres(postgres::Readers::new(url, &options)?);
                Self::new(postgres::connector(url, &options)?, readers, options.lanes.max(1), None, &options)
            }
            None => {
                return Err(StoreError::Refused(
                    "the database's address must begin with sqlite: or postgres://".to_owned(),
                ));
            }
        };
        if is_postgres && !options.read_only {
            postgres::migrate(url, &options).await?;
        }
        let mut connection = store.connector.connect().await?;
        if is_postgres {
            postgres::check_login(&mut connection, &options).await?;
            if options.claim != Claim::None && !options.read_only {
                let claim = postgres::claim(&store.connector, options.claim, options.busy_timeout).await?;
                store.claim = Some(tokio::sync::Mutex::new(Some(claim)));
            }
        }
        if !options.read_only {
            if !is_postgres {
                connection.migrate(&migrations::sqlite()).await.map_err(|e| migration_failure(&e))?;
                store.folder = Some(Folder::start(store.connector.clone()));
            }
            install(&mut connection).await?;
        }
        check_version(&mut connection).await?;
        Ok(store)
    }

    fn new(connector: Connector, readers: Pools, lanes: usize, lock: Option<FileLock>, options: &StoreOptions) -> Self {
        // Beside the lanes, where there are several, one for each writer of the engine, of which one more goes apart: for what is
        // committed apart.
        let writers = std::thread::available_parallelism().map_or(1, usize::from);
        let connections = if lanes > 1 { lanes + lanes.min(writers).max(2) } else { lanes };
        let writers = (!options.read_only).then(|| Pool::new(connector.clone(), connections, options.busy_timeout));
        Self {
            writers,
            readers,
            connector,
            heads: Heads::default(),
            lanes,
            inline_bytes: options.inline_bytes,
            folder: None,
            _lock: lock,
            claim: None,
            claims: options.claim,
            epoch: AtomicI64::new(0),
        }
    }

    /// Whether other nodes may have the database open, so that its partitions are taken in turn.
    pub fn is_shared(&self) -> bool {
        self.claim.is_some() && self.claims == Claim::Shared
    }

    /// The connections of readers.
    pub(crate) fn readers(&self) -> &Pools {
        &self.readers
    }

    fn writers(&self) -> Result<&Pool, Failure> {
        self.writers.as_ref().ok_or_else(|| Failure::Refused("the store was opened for reading only".to_owned()))
    }

    fn heads(&self) -> &Heads {
        &self.heads
    }

    /// So many writes were committed together.
    fn committed(&self, writes: usize) {
        if let Some(folder) = &self.folder {
            folder.committed(writes);
        }
    }

    /// What a write that concerns no partition proves by: where several nodes share the database, the epoch of this one.
    fn proof(&self) -> Option<i64> {
        Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch != 0)
    }

    /// Begins to write what is in no batch. A node that was replaced does not come to it, and a takeover waits for who has begun.
    async fn begin(&self) -> Result<Lent<'_>, Failure> {
        let mut connection = self.writers()?.lend().await?;
        connection.begin_write().await?;
        if let Some(epoch) = self.proof() {
            commit::batch::prove(&mut connection, epoch).await?;
        }
        Ok(connection)
    }

    /// Begins to read one state of the database. Dropping the connection ends the read.
    async fn read(&self, scope: Scope) -> Result<Connection, Failure> {
        Ok(match &self.readers {
            Pools::Sqlite(pool) => Connection::Sqlite(Box::new(pool.begin().await?)),
            Pools::Postgres(readers) => {
                let begin = match scope {
                    Scope::Platform => READ_ALL.to_owned(),
                    // An id is hexadecimal digits and hyphens: nothing that could end the literal.
                    Scope::Tenant(tenant) => format!(
                        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL ROLE core314_tenant; \
                         SET LOCAL core314.tenant_id = '{tenant}'"
                    ),
                };
                Connection::postgres(Box::new(readers.begin(begin).await?))
            }
        })
    }
}

const INSTALLATION: Bulk = Bulk {
    before: "INSERT INTO cluster (only_row, schema_version, minimum_version, installation_id) ",
    after: " ON CONFLICT (only_row) DO UPDATE SET schema_version = CASE \
            WHEN excluded.schema_version > cluster.schema_version THEN excluded.schema_version \
            ELSE cluster.schema_version END",
};
const MINIMUM_VERSION: &str = "SELECT minimum_version FROM cluster";

/// Notes the schema's version, and gives a new installation its id.
async fn install(connection: &mut Connection) -> Result<(), Failure> {
    let now_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
    let mut rows = Rows::new(4);
    rows.push([true.into(), migrations::LATEST.into(), FORMAT.into(), RowId::new(now_ms, rand::random()).0.into()]);
    connection.begin_write().await?;
    connection.bulk(INSTALLATION, &rows).await?;
    connection.commit().await
}

/// Refuses an installation that has gone on to formats which this release does not know.
async fn check_version(connection: &mut Connection) -> Result<(), Failure> {
    connection.begin_read().await?;
    let rows = connection.fetch(MINIMUM_VERSION, &[]).await?;
    let minimum = rows.first().map(|row| row.fields().int()).transpose()?.unwrap_or(FORMAT);
    connection.commit().await?;
    if minimum > FORMAT {
        return Err(Failure::Refused(format!(
            "the installation needs format {minimum} and this release knows {FORMAT}: start the newer release"
        )));
    }
    Ok(())
}

/// A failed migration concerns whoever installs, before there are tenants' data: the database's own words help.
fn migration_failure(error: &sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError as E;
    let words = match error {
        E::Execute(sqlx::Error::Database(e)) | E::ExecuteMigration(sqlx::Error::Database(e), _) => {
            e.message().to_owned()
        }
        E::Execute(_) | E::ExecuteMigration(..) => "the connection to the database was lost".to_owned(),
        E::VersionMismatch(version) => format!("migration {version} was changed after it had been applied"),
        other => other.to_string(),
    };
    StoreError::Refused(format!("the schema could not be brought up to date: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_ends_with_its_limit_and_the_next_one_works() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let options = StoreOptions { readers: 1, read_limit: Duration::from_millis(50), ..StoreOptions::default() };
        let store = SqlStore::open(&url, options).await.expect("it opens");
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        for _ in 0..2 {
            let ended = store.read(Scope::Platform).await.expect("begins").fetch(endless, &[]).await;
            assert!(matches!(ended, Err(Failure::Unavailable(_))), "{:?}", ended.err());
            let rows = store.read(Scope::Platform).await.expect("begins").fetch("SELECT 1", &[]).await.expect("reads");
            assert_eq!(rows.len(), 1);
        }
    }
}
