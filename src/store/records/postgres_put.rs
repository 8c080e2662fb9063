//! Rows into a table of PostgreSQL: by COPY into a temporary table of the connection's own, which is the fastest way in, and
//! from there by one statement that also meets rows that are there already.

use core314_actors::ports::BoxFuture;
use core314_actors::ports::records::{Postgres, PutWish, RecordError, Table};
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::copy_text::{self, Takes};
use super::postgres::{connect, told};
use super::{names, on_conflict, table};

const COPY: &str = "COPY pg_temp.core314_rows FROM STDIN";
const COLUMNS: &str = "SELECT t.typcategory = 'A', t.typname IN ('json', 'jsonb') FROM pg_attribute a \
    JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = 'pg_temp.core314_rows'::regclass AND a.attnum > 0 ORDER BY a.attnum";

/// An open table.
pub struct PostgresTable {
    connection: PgConnection,
    wish: PutWish,
    takes: Vec<Takes>,
    insert: String,
}

pub async fn open(place: &Postgres, wish: PutWish) -> Result<PostgresTable, RecordError> {
    let mut connection = connect(place, (wish.within, &wish.secrets), false).await?;
    let (name, columns) = (table(&wish.table), names(&wish.columns));
    // It has the types of the columns, and none of their constraints: those are the table's to judge.
    let make = format!(
        "CREATE TEMPORARY TABLE core314_rows ON COMMIT DELETE ROWS AS SELECT {columns} FROM {name} WITH NO DATA"
    );
    let failed = |error: sqlx::Error| told(&error, &wish.secrets);
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.map_err(failed)?;
    let rows = sqlx::query(COLUMNS).fetch_all(&mut connection).await.map_err(failed)?;
    let takes = |row: &PgRow| -> Result<Takes, sqlx::Error> {
        Ok(match (row.try_get(0)?, row.try_get(1)?) {
            (true, _) => Takes::List,
            (_, true) => Takes::Json,
            _ => Takes::Text,
        })
    };
    let takes = rows.iter().map(takes).collect::<Result<_, sqlx::Error>>().map_err(failed)?;
    let insert =
        format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM pg_temp.core314_rows {}", on_conflict(&wish));
    Ok(PostgresTable { connection, wish, takes, insert })
}

impl Table for PostgresTable {
    fn put<'a>(&'a mut self, rows: &'a [&'a [Value]]) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            let outcome = self.transaction(rows).await;
            outcome.map_err(|error| told(&error, &self.wish.secrets))
        })
    }
}

impl PostgresTable {
    /// What is dropped before its end is rolled back.
    async fn transaction(&mut self, rows: &[&[Value]]) -> Result<(), sqlx::Error> {
        let mut lines = String::new();
        for row in rows {
            copy_text::add(&mut lines, row, &self.takes);
        }
        let mut transaction = self.connection.begin().await?;
        let mut copy = transaction.copy_in_raw(COPY).await?;
        copy.send(lines.as_bytes()).await?;
        copy.finish().await?;
        sqlx::query(AssertSqlSafe(self.insert.as_str())).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}
