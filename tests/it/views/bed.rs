//! A database of a test's own, and rows for it that are the same on both stores.
//!
//! Rows are written straight into the narrow tables: the reading side is tested against tables that it did not write.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use uuid::Uuid;

/// Databases of one process are numbered, so that tests can run at once.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database, empty until somebody migrates it.
pub struct Bed {
    pub url: String,
    pub is_postgres: bool,
    _folder: tempfile::TempDir,
}

/// A value of a row.
#[derive(Clone)]
pub enum Lit {
    Id(Uuid),
    Text(String),
    Int(i64),
    Flag(bool),
    Bytes(u8),
    Null,
}

impl From<Uuid> for Lit {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}
impl From<&str> for Lit {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<serde_json::Value> for Lit {
    fn from(value: serde_json::Value) -> Self {
        Self::Text(value.to_string())
    }
}
impl From<i64> for Lit {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<bool> for Lit {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
impl<T: Into<Lit>> From<Option<T>> for Lit {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of a narrow table.
pub struct Narrow {
    pub table: &'static str,
    pub columns: Vec<(&'static str, Lit)>,
}

impl Bed {
    /// One database of each kind.
    pub async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite://{}/core314.db", folder.path().display());
        Self { url, is_postgres: false, _folder: folder }
    }

    pub async fn postgres() -> Self {
        let server = std::env::var("CORE314_TEST_POSTGRES_URL")
            .expect("CORE314_TEST_POSTGRES_URL is not set: run scripts/with-postgres.sh cargo test");
        let name = format!("core314_views_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut link = PgConnection::connect(&server).await.expect("the server answers");
        for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut link).await.expect("a database is made");
        }
        let (base, _) = server.rsplit_once('/').expect("the address names a database");
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self { url: format!("{base}/{name}"), is_postgres: true, _folder: folder }
    }

    /// Runs statements, on PostgreSQL as the service.
    pub async fn run(&self, sql: String) {
        if self.is_postgres {
            let mut link = self.link().await;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut link).await.expect("the statements work");
        } else {
            let mut link = SqliteConnection::connect(&self.url).await.expect("the file opens");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut link).await.expect("the statements work");
        }
    }

    /// The first column of every row, as text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres {
            let mut link = self.link().await;
            let rows = sqlx::query(sql).fetch_all(&mut link).await.expect("the statement works");
            rows.iter().map(|row| row.get(0)).collect()
        } else {
            let mut link = SqliteConnection::connect(&self.url).await.expect("the file opens");
            let rows = sqlx::query(sql).fetch_all(&mut link).await.expect("the statement works");
            rows.iter().map(|row| row.get(0)).collect()
        }
    }

    async fn link(&self) -> PgConnection {
        let mut link = PgConnection::connect(&self.url).await.expect("the server answers");
        sqlx::raw_sql("SET ROLE core314_service").execute(&mut link).await.expect("the login may act as the service");
        link
    }

    /// Inserts rows, as few statements as tables follow each other.
    pub async fn insert(&self, rows: &[Narrow]) {
        let same = |a: &Narrow, b: &Narrow| a.table == b.table && a.columns.len() == b.columns.len();
        let mut sql = String::from("BEGIN;");
        for rows in rows.chunk_by(same).flat_map(|rows| rows.chunks(400)) {
            let names: Vec<&str> = rows[0].columns.iter().map(|(name, _)| *name).collect();
            let values: Vec<String> = rows.iter().map(|row| format!("({})", self.literals(row))).collect();
            let insert = format!("INSERT INTO {} ({}) VALUES {};", rows[0].table, names.join(","), values.join(","));
            sql.push_str(&insert);
        }
        sql.push_str("COMMIT;");
        self.run(sql).await;
    }

    fn literals(&self, row: &Narrow) -> String {
        let values: Vec<String> = row.columns.iter().map(|(_, value)| self.literal(value)).collect();
        values.join(",")
    }

    fn literal(&self, value: &Lit) -> String {
        match value {
            Lit::Id(id) if self.is_postgres => format!("'{id}'"),
            Lit::Id(id) => format!("x'{}'", id.simple()),
            Lit::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Lit::Int(number) => number.to_string(),
            Lit::Flag(flag) => flag.to_string(),
            Lit::Bytes(byte) if self.is_postgres => format!("'\\x{byte:02x}'"),
            Lit::Bytes(byte) => format!("x'{byte:02x}'"),
            Lit::Null => "NULL".to_owned(),
        }
    }
}
