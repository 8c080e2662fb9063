//! One connection to either database, behind the same few verbs.
//!
//! Statements run inside transactions that are begun for a purpose: writing, or reading within a scope. On PostgreSQL
//! that purpose is a role, chosen with SET LOCAL, so that a forgotten scope sees nothing; on SQLite the scope is in the
//! statements themselves. Placeholders are `$1`, `$2`, … on both; bulk statements number their own.

use std::ops::DerefMut;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, SqlSafeStr, Sqlite};

use super::cell::{Cell, Row, Rows, postgres_arguments, sqlite_arguments};
use super::failure::Failure;

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

    /// `first` is the number of its first parameter.
    fn for_postgres(self, rows: &Rows<'_>, first: usize) -> String {
        format!("{}SELECT * FROM unnest({}){}", self.before, rows.postgres_parameters(first), self.after)
    }
}

/// One statement of several, which answers with the number of rows that each of them wrote. They see the same state of
/// the database, and run in their order because that is the order in which their counts are asked for.
fn combined<'p, 'a: 'p>(parts: impl Iterator<Item = &'p (Bulk, Rows<'a>)>) -> Result<(String, PgArguments), Failure> {
    let (mut statements, mut counts) = (Vec::new(), Vec::new());
    let (mut arguments, mut next) = (PgArguments::default(), 1);
    for (place, (bulk, rows)) in parts.enumerate() {
        statements.push(format!("p{place} AS ({} RETURNING 1)", bulk.for_postgres(rows, next)));
        counts.push(format!("(SELECT count(*) FROM p{place})"));
        rows.bind_postgres(&mut arguments)?;
        next += rows.width();
    }
    Ok((format!("WITH {} SELECT {}", statements.join(", "), counts.join(", ")), arguments))
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
        self.fetch_safe(sql, cells).await
    }

    /// The same for a statement that was made of names of the catalogue. Values come in as parameters, here too.
    pub async fn fetch_made(&mut self, sql: String, cells: &[Cell<'_>]) -> Result<Vec<Row>, Failure> {
        self.fetch_safe(AssertSqlSafe(sql), cells).await
    }

    async fn fetch_safe(&mut self, sql: impl SqlSafeStr, cells: &[Cell<'_>]) -> Result<Vec<Row>, Failure> {
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

    /// Runs statements without parameters or results that were made of names of the catalogue.
    pub async fn run_made(&mut self, sql: String) -> Result<(), Failure> {
        match self {
            Self::Sqlite(link) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut ***link).await.map(drop)?,
            Self::Postgres(link) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut ***link).await.map(drop)?,
        }
        Ok(())
    }

    /// Inserts rows. `into` is a table of the catalogue with its columns: `"table" ("a", "b")`.
    pub async fn insert(&mut self, into: &str, rows: &Rows<'_>) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        match self {
            Self::Postgres(link) => {
                let sql = format!("INSERT INTO {into} SELECT * FROM unnest({})", rows.postgres_parameters(1));
                let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(sql), rows.postgres_arguments()?);
                query.execute(&mut ***link).await?;
            }
            Self::Sqlite(link) => {
                for (from, count) in rows.pieces() {
                    let row = format!("({}),", vec!["?"; rows.width()].join(","));
                    let sql = format!("INSERT INTO {into} VALUES {}", row.repeat(count).trim_end_matches(','));
                    let query = sqlx::query_with::<Sqlite, _>(AssertSqlSafe(sql), rows.sqlite_arguments(from, count)?);
                    query.execute(&mut ***link).await?;
                }
            }
        }
        Ok(())
    }

    /// Runs a bulk statement and gives all rows that it returns; without rows it does nothing.
    pub async fn bulk(&mut self, bulk: Bulk, rows: &Rows<'_>) -> Result<Vec<Row>, Failure> {
        let mut found = Vec::new();
        if rows.is_empty() {
            return Ok(found);
        }
        match self {
            Self::Postgres(link) => {
                let query = sqlx::query_with::<Postgres, _>(
                    AssertSqlSafe(bulk.for_postgres(rows, 1)),
                    rows.postgres_arguments()?,
                );
                found.extend(query.fetch_all(&mut ***link).await?.into_iter().map(Row::Postgres));
            }
            Self::Sqlite(link) => {
                for (from, count) in rows.pieces() {
                    let query = sqlx::query_with::<Sqlite, _>(
                        AssertSqlSafe(bulk.for_sqlite(rows.width(), count)),
                        rows.sqlite_arguments(from, count)?,
                    );
                    found.extend(query.fetch_all(&mut ***link).await?.into_iter().map(Row::Sqlite));
                }
            }
        }
        Ok(found)
    }

    /// Runs bulk statements that do not look at each other's rows, and says how many rows each of them wrote.
    ///
    /// PostgreSQL gets them as one statement: what a lone commit costs there is its round trips, not its rows.
    pub async fn together(&mut self, parts: &[(Bulk, Rows<'_>)]) -> Result<Vec<u64>, Failure> {
        let mut written = vec![0; parts.len()];
        let present: Vec<usize> = (0..parts.len()).filter(|i| !parts[*i].1.is_empty()).collect();
        match self {
            _ if present.is_empty() => {}
            Self::Postgres(link) => {
                let (sql, arguments) = combined(present.iter().map(|i| &parts[*i]))?;
                let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(sql), arguments);
                let row = Row::Postgres(query.fetch_one(&mut ***link).await?);
                let mut fields = row.fields();
                for i in present {
                    written[i] = fields.small()?;
                }
            }
            Self::Sqlite(link) => {
                for i in present {
                    let (bulk, rows) = &parts[i];
                    for (from, count) in rows.pieces() {
                        let sql = AssertSqlSafe(bulk.for_sqlite(rows.width(), count));
                        let query = sqlx::query_with::<Sqlite, _>(sql, rows.sqlite_arguments(from, count)?);
                        written[i] += query.execute(&mut ***link).await?.rows_affected();
                    }
                }
            }
        }
        Ok(written)
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
                let sql = AssertSqlSafe(format!("EXPLAIN {}", bulk.for_postgres(rows, 1)));
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
