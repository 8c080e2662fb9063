//! Rows into a table of a file of SQLite, by one statement for each portion: its values come as one text of JSON.

use std::path::Path;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::records::{PutWish, RecordError, Table};
use serde_json::Value;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::sqlite::{connect, told};
use super::{names, on_conflict, table};

/// An open table.
pub struct SqliteTable {
    connection: SqliteConnection,
    wish: PutWish,
    insert: String,
}

pub async fn open(path: &Path, wish: PutWish) -> Result<SqliteTable, RecordError> {
    let connection = connect(path, (wish.within, &wish.secrets), false).await?;
    let values: Vec<String> = (0..wish.columns.len()).map(|at| format!("json_extract(value, '$[{at}]')")).collect();
    // `WHERE true` tells the parser that `ON` does not belong to a join.
    let insert = format!(
        "INSERT INTO {} ({}) SELECT {} FROM json_each(?) WHERE true {}",
        table(&wish.table),
        names(&wish.columns),
        values.join(", "),
        on_conflict(&wish)
    );
    Ok(SqliteTable { connection, wish, insert })
}

impl Table for SqliteTable {
    fn put<'a>(&'a mut self, rows: &'a [&'a [Value]]) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            let json = serde_json::to_string(rows).expect("values of JSON are JSON");
            let put = async {
                let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
                let insert = sqlx::query(AssertSqlSafe(self.insert.as_str())).bind(json);
                insert.execute(&mut *transaction).await?;
                transaction.commit().await
            };
            put.await.map_err(|error| told(&error, &self.wish.secrets))
        })
    }
}
