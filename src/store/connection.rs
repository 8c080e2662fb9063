//! One connection to either database, behind the same few verbs.
//!
//! Statements run inside transactions that are begun for a purpose: writing, or reading within a scope. On PostgreSQL
//! that purpose is a role, chosen with SET LOCAL, so that a forgotten scope sees nothing; on SQLite the scope is in the
//! statements themselves. Placeholders are `$1`, `$2`, … on both; bulk statements number their own.

use std::ops::DerefMut;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, Sqlite};

use super::cell::{Cell, Row, Rows, postgres_arguments, sqlite_arguments};
use super::failure::Failure;

/// SQLite takes at most 32,766 parameters a statement; our widest row has 28.
const MOST_ROWS: usize = 512;

/// How PostgreSQL begins to read what all tenants have.
pub(super) const READ_ALL: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL ROLE core314_service";

/// A statement over many rows: its text before and after the place where the rows come in.
///
/// The rows are a table expression with the columns in the order of the cells, fit for `INSERT INTO t (…)` and for
/// `WITH u (…) AS (`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bulk {
    pub before: &'static str,
    pub after: &'static str,
}

impl Bulk {
    fn for_sqlite(self, width: usize, count: usize) -> String {
        let row = format!("({}),", vec!["?"; width].join(","));
        let values = row.repeat(count);
        format!("{}VALUES {}{}", self.before, values.trim_end_matches(','), self.after)
    }

    fn for_postgres(self, rows: &Rows<'_>) -> String {
        format!("{}SELECT * FROM unnest({}){}", self.before, rows.postgres_parameters(), self.after)
    }
}

/// How to connect to the database, for connections that belong to no pool of readers.
#[derive(Debug, Clone)]
pub(super) enum Connector {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

impl Connector {
    pub async fn connect(&self) -> Result<Connection, Failure> {
        Ok(match self {
            Self::Sqlite(options) => Connection::Sqlite(Box::new(Box::new(options.connect().await?))),
            Self::Postgres(options) => Connection::Postgres(Box::new(Box::new(options.connect().await?))),
        })
    }
}

/// A connection: one of its own, or a reader's transaction. Dropped, it is closed or rolled back.
pub(super) enum Connection {
    Sqlite(Box<dyn DerefMut<Target = SqliteConnection> + Send>),
    Postgres(Box<dyn DerefMut<Target = PgConnection> + Send>),
}

impl Connection {
    /// Whether PostgreSQL's own form of a statement is wanted.
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Begins a transaction that writes, for all tenants.
    pub async fn begin_write(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => self.run("BEGIN IMMEDIATE").await,
            Self::Postgres(_) => self.run("BEGIN; SET LOCAL ROLE core314_service").await,
        }
    }

    /// Begins a transaction that reads one state of the whole database.
    pub async fn begin_read(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => self.run("BEGIN").await,
            Self::Postgres(_) => self.run(READ_ALL).await,
        }
    }

    pub async fn commit(&mut self) -> Result<(), Failure> {
        self.run("COMMIT").await
    }

    pub async fn rollback(&mut self) -> Result<(), Failure> {
        self.run("ROLLBACK").await
    }

    /// Runs statements without parameters or results.
    pub async fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        match self {
            Self::Sqlite(link) => sqlx::raw_sql(sql).execute(&mut ***link).await.map(drop)?,
            Self::Postgres(link) => sqlx::raw_sql(sql).execute(&mut ***link).await.map(drop)?,
        }
        Ok(())
    }

    /// Runs one statement and gives all its rows.
    pub async fn fetch(&mut self, sql: &'static str, cells: &[Cell<'_>]) -> Result<Vec<Row>, Failure> {
        Ok(match self {
            Self::Sqlite(link) => {
                let query = sqlx::query_with::<Sqlite, _>(sql, sqlite_arguments(cells)?);
                query.fetch_all(&mut ***link).await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(link) => {
                let query = sqlx::query_with::<Postgres, _>(sql, postgres_arguments(cells)?);
                query.fetch_all(&mut ***link).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Runs a bulk statement and gives all rows that it returns; without rows it does nothing.
    ///
    /// SQLite gets the rows in pieces of 512, 256, …, 1, so that few different statements need to be prepared.
    pub async fn bulk(&mut self, bulk: Bulk, rows: &Rows<'_>) -> Result<Vec<Row>, Failure> {
        let mut found = Vec::new();
        if rows.is_empty() {
            return Ok(found);
        }
        match self {
            Self::Postgres(link) => {
                let query =
                    sqlx::query_with::<Postgres, _>(AssertSqlSafe(bulk.for_postgres(rows)), rows.postgres_arguments()?);
                found.extend(query.fetch_all(&mut ***link).await?.into_iter().map(Row::Postgres));
            }
            Self::Sqlite(link) => {
                let mut from = 0;
                while from < rows.len() {
                    let count = ((rows.len() - from + 1).next_power_of_two() / 2).min(MOST_ROWS);
                    let query = sqlx::query_with::<Sqlite, _>(
                        AssertSqlSafe(bulk.for_sqlite(rows.width(), count)),
                        rows.sqlite_arguments(from, count)?,
                    );
                    found.extend(query.fetch_all(&mut ***link).await?.into_iter().map(Row::Sqlite));
                    from += count;
                }
            }
        }
        Ok(found)
    }

    /// A database for a test, on this server.
    #[cfg(test)]
    pub async fn create_database(&mut self, name: &str) -> Result<(), Failure> {
        let Self::Postgres(link) = self else { panic!("SQLite has files") };
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut ***link).await?;
        Ok(())
    }

    /// How the database would run a bulk statement: its own words, a line for each part.
    #[cfg(test)]
    pub async fn explain(&mut self, bulk: Bulk, rows: &Rows<'_>) -> Result<Vec<String>, Failure> {
        use sqlx::Row as _;
        match self {
            Self::Sqlite(link) => {
                let sql = format!("EXPLAIN QUERY PLAN {}", bulk.for_sqlite(rows.width(), rows.len()));
                let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut ***link).await?;
                Ok(found.iter().map(|row| row.get("detail")).collect())
            }
            Self::Postgres(link) => {
                let sql = AssertSqlSafe(format!("EXPLAIN {}", bulk.for_postgres(rows)));
                let query = sqlx::query_with::<Postgres, _>(sql, rows.postgres_arguments()?);
                Ok(query.fetch_all(&mut ***link).await?.iter().map(|row| row.get(0)).collect())
            }
        }
    }

    /// Brings the schema up to date.
    pub async fn migrate(&mut self, migrator: &sqlx::migrate::Migrator) -> Result<(), sqlx::migrate::MigrateError> {
        match self {
            Self::Sqlite(link) => migrator.run(&mut ***link).await,
            Self::Postgres(link) => migrator.run(&mut ***link).await,
        }
    }
}
