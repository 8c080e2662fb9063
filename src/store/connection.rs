//! One connection to either database, behind the same few verbs.
//!
//! Statements run inside transactions that are begun for a purpose: writing, or reading within a scope. On PostgreSQL
//! that purpose is a role, chosen with SET LOCAL, so that a forgotten scope sees nothing; on SQLite the scope is in the
//! statements themselves. Placeholders are `$1`, `$2`, … on both; bulk statements number their own.
//!
//! What a lone commit costs on PostgreSQL is its round trips. So a commit begins late ([`Connection::begin_write_late`]): BEGIN
//! goes out before its first statement, and not at all where one statement is the whole of it, which PostgreSQL commits by
//! itself. The role of such a session is the service's from then on.
//!
//! How someone could get this wrong: to send a statement after the one that was the last; it is refused.

use std::ops::{Deref, DerefMut};

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, SqlSafeStr, Sqlite};

use super::cell::{Cell, Row, Rows, postgres_arguments, sqlite_arguments};
use super::failure::Failure;
use super::home::Home;

/// How PostgreSQL begins to write.
const BEGIN_WRITE: &str = "BEGIN; SET LOCAL ROLE core314_service; SET LOCAL plan_cache_mode = auto";
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

/// One statement of several: they see the same state of the database, and run in the order in which they are asked for. It ends
/// by a division by zero ([`Failure::Stale`]) where one of `granted` answers with fewer rows than it was given. `None`: there
/// is nothing to do.
fn combined<'a>(
    granted: &[(Bulk, Rows<'a>)],
    deferred: &[(Bulk, Rows<'a>)],
) -> Result<Option<(String, PgArguments)>, Failure> {
    let (mut statements, mut asked) = (Vec::new(), Vec::new());
    let (mut arguments, mut next) = (PgArguments::default(), 1);
    let parts = granted.iter().map(|part| (part, true)).chain(deferred.iter().map(|part| (part, false)));
    for (place, ((bulk, rows), is_granted)) in parts.filter(|((_, rows), _)| !rows.is_empty()).enumerate() {
        let statement = bulk.for_postgres(rows, next);
        let count = format!("(SELECT count(*) FROM p{place})");
        if is_granted {
            statements.push(format!("p{place} AS ({statement})"));
            asked.push(format!("1 / CASE WHEN {count} = cardinality(${next}) THEN 1 ELSE 0 END"));
        } else {
            statements.push(format!("p{place} AS ({statement} RETURNING 1)"));
            asked.push(count);
        }
        rows.bind_postgres(&mut arguments)?;
        next += rows.width();
    }
    let sql = format!("WITH {} SELECT {}", statements.join(", "), asked.join(", "));
    Ok((!statements.is_empty()).then_some((sql, arguments)))
}

/// How to connect to the database, for connections that belong to no pool of readers.
#[derive(Debug, Clone)]
pub(super) enum Connector {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>, Home),
}

impl Connector {
    pub async fn connect(&self) -> Result<Connection, Failure> {
        Ok(match self {
            Self::Sqlite(options) => Connection::Sqlite(Box::new(Box::new(options.connect().await?))),
            Self::Postgres(options, home) => {
                let options = options.clone();
                let connection = home.run(async move { options.connect().await }).await??;
                Connection::postgres(Box::new(Box::new(connection)))
            }
        })
    }
}

/// A connection: one of its own, or a reader's transaction. Dropped, it is closed or rolled back.
pub(super) enum Connection {
    Sqlite(Box<dyn DerefMut<Target = SqliteConnection> + Send>),
    Postgres(Session),
}

/// A session with PostgreSQL.
pub(super) struct Session {
    link: Box<dyn DerefMut<Target = PgConnection> + Send>,
    begin: Begin,
    /// Its role is the service's, beyond any transaction.
    is_service: bool,
}

/// Where a session stands with the word BEGIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// It was sent, or is sent by whoever wants it.
    Said,
    /// It goes out before the next statement.
    Due,
    /// The transaction was one statement, and is over.
    Needless,
}

/// The role, and plans that are made once: to plan the statement of a small commit anew each time takes longer than to run it.
const AS_SERVICE: &str = "SET ROLE core314_service; SET plan_cache_mode = force_generic_plan";
/// Other statements, of which some have limits and ranges, are planned as PostgreSQL thinks best.
const BEGIN_DUE: &str = "BEGIN; SET LOCAL plan_cache_mode = auto";

impl Session {
    /// Sends the BEGIN that is due.
    async fn begin_due(&mut self) -> Result<(), Failure> {
        match self.begin {
            Begin::Said => return Ok(()),
            Begin::Due => {}
            Begin::Needless => {
                let message = "a statement came after the one that was to be the whole transaction";
                return Err(Failure::Refused(message.to_owned()));
            }
        }
        self.begin = Begin::Said;
        sqlx::raw_sql(BEGIN_DUE).execute(&mut **self.link).await?;
        Ok(())
    }
}

impl Deref for Session {
    type Target = dyn DerefMut<Target = PgConnection> + Send;

    fn deref(&self) -> &Self::Target {
        self.link.as_ref()
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.link.as_mut()
    }
}

impl Connection {
    /// A session with PostgreSQL.
    pub fn postgres(link: Box<dyn DerefMut<Target = PgConnection> + Send>) -> Self {
        Self::Postgres(Session { link, begin: Begin::Said, is_service: false })
    }

    /// Whether PostgreSQL's own form of a statement is wanted.
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Begins a transaction that writes, for all tenants.
    pub async fn begin_write(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => self.run("BEGIN IMMEDIATE").await,
            Self::Postgres(_) => self.run(BEGIN_WRITE).await,
        }
    }

    /// The same for a transaction that may turn out to be one statement ([`Self::together`]).
    pub async fn begin_write_late(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => self.run("BEGIN IMMEDIATE").await,
            Self::Postgres(session) => {
                if !session.is_service {
                    sqlx::raw_sql(AS_SERVICE).execute(&mut ***session).await?;
                    session.is_service = true;
                }
                session.begin = Begin::Due;
                Ok(())
            }
        }
    }

    async fn begin_due(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.begin_due().await,
        }
    }

    /// Whether the transaction has no beginning that needs an end: there was no statement, or one, which is committed or undone.
    fn needs_no_end(&mut self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(session) => std::mem::replace(&mut session.begin, Begin::Said) != Begin::Said,
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
        if self.needs_no_end() { Ok(()) } else { self.run("COMMIT").await }
    }

    pub async fn rollback(&mut self) -> Result<(), Failure> {
        if self.needs_no_end() { Ok(()) } else { self.run("ROLLBACK").await }
    }

    /// Runs statements without parameters or results.
    pub async fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.begin_due().await?;
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
        self.begin_due().await?;
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
        self.begin_due().await?;
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
        self.begin_due().await?;
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
        self.begin_due().await?;
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

    /// Runs bulk statements that do not look at each other's rows. What is `granted` answers with a row for each that it is
    /// given, or the transaction is to be given up: [`Failure::Stale`].
    ///
    /// PostgreSQL gets them as one statement: what a lone commit costs there is its round trips, not its rows. Where it `is_last`
    /// and nothing came before it, it is the whole transaction.
    pub async fn together<'a>(
        &mut self,
        granted: &[(Bulk, Rows<'a>)],
        deferred: &[(Bulk, Rows<'a>)],
        is_last: bool,
    ) -> Result<(), Failure> {
        match self {
            Self::Postgres(session) => {
                let Some((sql, arguments)) = combined(granted, deferred)? else { return Ok(()) };
                if is_last && session.begin == Begin::Due {
                    session.begin = Begin::Needless;
                } else {
                    session.begin_due().await?;
                }
                let query = sqlx::query_with::<Postgres, _>(AssertSqlSafe(sql), arguments);
                // To its very end: what it commits may still be refused after its row has come.
                query.fetch_all(&mut ***session).await.map_err(Failure::of_granted)?;
            }
            Self::Sqlite(_) => {
                for (bulk, rows) in granted {
                    if self.bulk(*bulk, rows).await?.len() < rows.len() {
                        return Err(Failure::Stale);
                    }
                }
                for (bulk, rows) in deferred {
                    self.bulk(*bulk, rows).await?;
                }
            }
        }
        Ok(())
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

    /// The plan that PostgreSQL keeps of a bulk statement of a commit, whatever the values: a line for each part.
    #[cfg(test)]
    pub async fn explain_kept(&mut self, bulk: Bulk, rows: &Rows<'_>) -> Result<Vec<String>, Failure> {
        use sqlx::Row as _;
        let Self::Postgres(link) = self else { panic!("SQLite plans each statement for itself") };
        let (sql, nulls) = (bulk.for_postgres(rows, 1), vec!["NULL"; rows.width()].join(", "));
        let sql = format!("{AS_SERVICE}; PREPARE kept AS {sql}; EXPLAIN EXECUTE kept ({nulls}); DEALLOCATE kept");
        let found = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut ***link).await?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }

    /// Brings the schema up to date.
    pub async fn migrate(&mut self, migrator: &sqlx::migrate::Migrator) -> Result<(), sqlx::migrate::MigrateError> {
        match self {
            Self::Sqlite(link) => migrator.run(&mut ***link).await,
            Self::Postgres(link) => migrator.run(&mut ***link).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SqlStore, StoreOptions, postgres};
    use uuid::Uuid;

    const KINDS: Bulk = Bulk { before: "INSERT INTO event_kinds (tenant_id, kind) ", after: "" };
    const KNOWN: Bulk = Bulk {
        before: "WITH u (tenant_id, kind) AS (",
        after: ") SELECT k.kind FROM u JOIN event_kinds k ON k.tenant_id = u.tenant_id AND k.kind = u.kind",
    };

    fn kinds(kinds: &[&'static str]) -> Rows<'static> {
        let mut rows = Rows::new(2);
        kinds.iter().for_each(|kind| rows.push([Uuid::nil().into(), (*kind).into()]));
        rows
    }

    async fn stored(connection: &mut Connection) -> Vec<String> {
        connection.begin_read().await.expect("begins");
        let rows = connection.fetch("SELECT kind FROM event_kinds ORDER BY kind", &[]).await.expect("reads");
        connection.commit().await.expect("ends");
        rows.iter().map(|row| row.fields().text().expect("a text")).collect()
    }

    /// Takes for granted that some are known, and adds others; commits or gives up, as the store does.
    async fn add(
        connection: &mut Connection,
        granted: &[&'static str],
        new: &[&'static str],
        is_last: bool,
    ) -> Result<(), Failure> {
        connection.begin_write_late().await.expect("begins");
        let done = connection.together(&[(KNOWN, kinds(granted))], &[(KINDS, kinds(new))], is_last).await;
        match done {
            Ok(()) => connection.commit().await,
            Err(failure) => connection.rollback().await.and(Err(failure)),
        }
    }

    async fn what_was_taken_for_granted_is_looked_at(mut writer: Connection, mut reader: Connection) {
        for (is_last, [first, second, third]) in [(true, ["a", "b", "c"]), (false, ["d", "e", "f"])] {
            assert_eq!(add(&mut writer, &[], &[first], is_last).await, Ok(()));
            assert_eq!(add(&mut writer, &[first, "?"], &[second], is_last).await, Err(Failure::Stale));
            assert_eq!(add(&mut writer, &[first], &[second, third], is_last).await, Ok(()));
            let repeated = add(&mut writer, &[first], &["z", third], is_last).await;
            assert!(matches!(repeated, Err(Failure::Violation(_))), "{repeated:?}");
        }
        assert_eq!(add(&mut writer, &[], &[], true).await, Ok(()), "there is nothing to do");
        assert_eq!(stored(&mut reader).await, ["a", "b", "c", "d", "e", "f"], "all of a transaction, or nothing");
    }

    #[tokio::test]
    async fn what_was_taken_for_granted_is_looked_at_on_sqlite() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let store = SqlStore::open(&url, StoreOptions::default()).await.expect("it opens");
        let connect = async || store.connector.connect().await.expect("it connects");
        what_was_taken_for_granted_is_looked_at(connect().await, connect().await).await;
    }

    #[tokio::test]
    async fn a_transaction_of_one_statement_is_whole_on_postgres() {
        let url = std::env::var("CORE314_TEST_POSTGRES_URL")
            .expect("CORE314_TEST_POSTGRES_URL is not set: run the tests under scripts/with-postgres.sh");
        let (server, _) = url.rsplit_once('/').expect("the address names a database");
        let name = format!("connection_{}", std::process::id());
        let base = postgres::connector(&url, &StoreOptions::default()).expect("a valid address");
        let mut base = base.connect().await.expect("it connects");
        base.create_database(&name).await.expect("a database can be created");
        let store = SqlStore::open(&format!("{server}/{name}"), StoreOptions::default()).await.expect("it opens");
        let connect = async || store.connector.connect().await.expect("it connects");
        what_was_taken_for_granted_is_looked_at(connect().await, connect().await).await;

        let (mut writer, mut reader) = (connect().await, connect().await);
        writer.begin_write_late().await.expect("begins");
        writer.together(&[], &[(KINDS, kinds(&["last"]))], true).await.expect("it is written");
        assert!(stored(&mut reader).await.contains(&"last".to_owned()), "it is committed already");
        let late = writer.bulk(KINDS, &kinds(&["later"])).await;
        assert!(matches!(late, Err(Failure::Refused(_))), "{:?}", late.err());

        writer.commit().await.expect("there is nothing to end");
        writer.begin_write_late().await.expect("begins");
        writer.bulk(KINDS, &kinds(&["first"])).await.expect("it is written");
        writer.together(&[], &[(KINDS, kinds(&["second"]))], true).await.expect("it is written");
        assert!(!stored(&mut reader).await.contains(&"second".to_owned()), "it is no transaction of its own");
        writer.rollback().await.expect("gives up");
        assert!(!stored(&mut reader).await.contains(&"first".to_owned()));
    }
}
