//! SQLite: a file of this machine that the configuration names. It is opened for this change alone, and never made.

use std::path::Path;
use std::time::Duration;

use core314_actors::ports::records::{Change, RecordError, Updated};
use core314_domain::secret::Secrets;
use serde_json::{Map, Value};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::{Rows, changed, quoted, table};

/// Longest wait for whoever else writes to the file.
const MOST_PATIENCE: Duration = Duration::from_secs(30);
/// The low byte of a result code is the kind of the error (<https://www.sqlite.org/rescode.html>).
const KIND: u32 = 0xff;
/// `SQLITE_BUSY`, `SQLITE_LOCKED`, `SQLITE_IOERR` and `SQLITE_FULL` may pass.
const PASSING: [u32; 4] = [5, 6, 10, 13];
/// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT` and `SQLITE_MISMATCH` are of what a row holds.
const UNFIT: [u32; 3] = [18, 19, 20];

pub async fn update(path: &Path, change: &Change) -> Result<Updated, RecordError> {
    let mut connection = connect(path, (change.within, &change.secrets), false).await?;
    let outcome = in_transaction(&mut connection, change).await;
    // What was committed is committed: how the connection ends does not matter.
    let _ = connection.close().await;
    outcome
}

/// Whether it answers.
pub async fn ping(path: &Path, (within, secrets): (Duration, &Secrets)) -> Result<(), RecordError> {
    let mut connection = connect(path, (within, secrets), true).await?;
    let answer = sqlx::query("SELECT 1").execute(&mut connection).await;
    // It has answered, or it has not: how the connection ends does not matter.
    let _ = connection.close().await;
    answer.map(drop).map_err(|error| told(&error, secrets))
}

/// A connection to a file that is there.
pub async fn connect(
    path: &Path,
    (within, secrets): (Duration, &Secrets),
    is_reader: bool,
) -> Result<SqliteConnection, RecordError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(within.min(MOST_PATIENCE))
        .pragma("query_only", if is_reader { "ON" } else { "OFF" })
        .disable_statement_logging();
    SqliteConnection::connect_with(&options).await.map_err(|error| told(&error, secrets))
}

/// The write lock is taken first: a transaction that reads and then writes may be refused in the middle.
async fn in_transaction(connection: &mut SqliteConnection, change: &Change) -> Result<Updated, RecordError> {
    let mut transaction =
        connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| told(&error, &change.secrets))?;
    let updated = changed(&mut *transaction, change).await?;
    transaction.commit().await.map_err(|error| told(&error, &change.secrets))?;
    Ok(updated)
}

impl Rows for SqliteConnection {
    async fn change(&mut self, change: &Change, held: &Map<String, Value>) -> Result<u64, RecordError> {
        let values: Vec<String> = change.values.keys().map(|name| format!("{} = ?", quoted(name))).collect();
        let statement = format!("UPDATE {} SET {} WHERE {}", table(&change.table), values.join(", "), conditions(held));
        let query = bound(sqlx::query(AssertSqlSafe(statement)), change.values.values());
        let done = bound(query, held.values().filter(|value| !value.is_null())).execute(self).await;
        Ok(done.map_err(|error| told(&error, &change.secrets))?.rows_affected())
    }

    async fn count(&mut self, change: &Change, held: &Map<String, Value>) -> Result<u64, RecordError> {
        let statement = format!("SELECT count(*) FROM {} WHERE {}", table(&change.table), conditions(held));
        let query = bound(sqlx::query(AssertSqlSafe(statement)), held.values().filter(|value| !value.is_null()));
        let row = query.fetch_one(self).await;
        let count: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| told(&error, &change.secrets))?;
        Ok(count.unsigned_abs())
    }
}

pub type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Values as SQLite has them: truth is a number, lists and objects are JSON.
pub fn bound<'q>(query: Statement<'q>, values: impl Iterator<Item = &'q Value>) -> Statement<'q> {
    values.fold(query, |query, value| match value {
        Value::Null => query.bind(None::<String>),
        Value::Bool(flag) => query.bind(i64::from(*flag)),
        Value::String(text) => query.bind(text.as_str()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => query.bind(whole),
            None => query.bind(number.as_f64()),
        },
        other => query.bind(other.to_string()),
    })
}

fn conditions(held: &Map<String, Value>) -> String {
    let of = |(name, value): (&String, &Value)| {
        if value.is_null() { format!("{} IS NULL", quoted(name)) } else { format!("{} = ?", quoted(name)) }
    };
    held.iter().map(of).collect::<Vec<_>>().join(" AND ")
}

/// What the database says, and whether it may say something else the next time.
pub fn told(error: &sqlx::Error, secrets: &Secrets) -> RecordError {
    let clean = |text: &str| secrets.redact(text).into_owned();
    let Some(said) = error.as_database_error() else { return RecordError::Unavailable(clean(&error.to_string())) };
    let code: u32 = said.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let message = clean(&format!("{} (SQLite code {code})", said.message()));
    match code & KIND {
        kind if PASSING.contains(&kind) => RecordError::Unavailable(message),
        kind if UNFIT.contains(&kind) => RecordError::Unfit(message),
        _ => RecordError::Refused(message),
    }
}
