//! A store of a test's own, and a way around it into its database.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use core314::store::{SqlStore, StoreOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;

/// An empty store with its database.
pub struct Bed {
    store: Option<SqlStore>,
    pub url: String,
    _dir: Option<TempDir>,
}

impl Bed {
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let mut bed = Self { store: None, url, _dir: Some(dir) };
        bed.reopen(patient()).await;
        bed
    }

    pub async fn postgres() -> Self {
        let mut bed = Self { store: None, url: fresh_database().await, _dir: None };
        bed.reopen(patient()).await;
        bed
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self, options: StoreOptions) {
        self.store = None;
        self.store = Some(SqlStore::open(&self.url, options).await.expect("the store opens"));
    }

    /// Closes the store; its database stays.
    pub fn close(&mut self) {
        self.store = None;
    }

    /// A connection past the store.
    pub async fn raw(&self) -> Raw {
        Raw::connect(&self.url).await
    }
}

impl Deref for Bed {
    type Target = SqlStore;
    fn deref(&self) -> &SqlStore {
        self.store.as_ref().expect("open")
    }
}

/// A connection of either kind, for statements that no port has.
pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    /// To the database at a URL.
    pub async fn connect(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqliteConnection::connect(url).await.expect("a connection"))
        } else {
            Self::Postgres(PgConnection::connect(url).await.expect("a connection"))
        }
    }

    /// Runs statements; an error is the database's message.
    pub async fn run(&mut self, sql: &str) -> Result<(), String> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = match self {
            Self::Sqlite(raw) => raw.execute(sql).await.map(drop),
            Self::Postgres(raw) => raw.execute(sql).await.map(drop),
        };
        done.map_err(|e| e.to_string())
    }

    /// The first two columns of all rows, as texts.
    pub async fn pairs(&mut self, sql: &str) -> Vec<(String, String)> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(raw) => {
                let rows = sqlx::query(sql).fetch_all(raw).await.expect("a result");
                rows.iter().map(|row| (row.get_unchecked(0), row.get_unchecked(1))).collect()
            }
            Self::Postgres(raw) => {
                let rows = sqlx::query(sql).fetch_all(raw).await.expect("a result");
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
        }
    }
}

/// Options for a machine that has other things to do.
pub fn patient() -> StoreOptions {
    let minute = Duration::from_mins(1);
    StoreOptions {
        busy_timeout: minute,
        read_limit: minute,
        write_limit: minute,
        idle_limit: minute,
        ..StoreOptions::default()
    }
}

/// A database of a test's own. Fails loudly where there is no PostgreSQL.
pub async fn fresh_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = std::env::var("CORE314_TEST_POSTGRES_URL")
        .expect("CORE314_TEST_POSTGRES_URL is not set: run the tests under scripts/with-postgres.sh");
    let name = format!("store_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&base).await.expect("PostgreSQL answers");
    let create = format!("CREATE DATABASE {name}");
    connection.execute(AssertSqlSafe(create)).await.expect("a database can be created");
    let (server, _) = base.rsplit_once('/').expect("the address names a database");
    format!("{server}/{name}")
}
