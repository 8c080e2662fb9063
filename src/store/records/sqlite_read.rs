//! Rows of a file of SQLite in their order, a portion a statement: a long one would keep others from writing.

use std::path::Path;

use core314_actors::ports::records::{RecordError, RowQuery, RowStream};
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Executor, Row, SqlSafeStr, Statement, TypeInfo, ValueRef};
use tokio::sync::mpsc::{Sender, channel};

use super::sqlite::{bound, connect, told};
use super::{PORTIONS_AHEAD, expression, ordered, places, quoted, size};

pub async fn begin(path: &Path, query: RowQuery) -> Result<RowStream, RecordError> {
    let mut connection = connect(path, (query.within, &query.secrets), true).await?;
    let sql = AssertSqlSafe(format!("SELECT * FROM {} AS q", expression(&query.from)));
    let prepared = connection.prepare(sql.into_sql_str()).await.map_err(|error| told(&error, &query.secrets))?;
    let columns: Vec<String> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
    let places = places(&query.order, &columns)?;
    let (sender, portions) = channel(PORTIONS_AHEAD);
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = pump(&mut connection, &query, &places, &sender) => outcome,
            // Nobody reads on.
            () = sender.closed() => return,
        };
        if let Err(error) = outcome {
            // A reader that is gone needs no reason.
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(RowStream { columns, portions })
}

fn statement(query: &RowQuery, is_behind: bool) -> String {
    let order: Vec<String> = query.order.iter().map(|name| format!("q.{}", quoted(name))).collect();
    let order = order.join(", ");
    let bound = vec!["?"; query.order.len()].join(", ");
    let behind = if is_behind { format!(" WHERE ({order}) > ({bound})") } else { String::new() };
    format!("SELECT * FROM {} AS q{behind} ORDER BY {order} LIMIT {}", expression(&query.from), query.portion_rows)
}

async fn pump(
    connection: &mut SqliteConnection,
    query: &RowQuery,
    places: &[usize],
    sender: &Sender<Result<Vec<Vec<Value>>, RecordError>>,
) -> Result<(), RecordError> {
    let mut after = query.after.clone();
    loop {
        let portion = portion(connection, query, places, after.as_deref()).await?;
        let Some(last) = portion.last() else { return Ok(()) };
        after = Some(places.iter().map(|place| last[*place].clone()).collect());
        if sender.send(Ok(portion)).await.is_err() {
            return Ok(());
        }
    }
}

async fn portion(
    connection: &mut SqliteConnection,
    query: &RowQuery,
    places: &[usize],
    after: Option<&[Value]>,
) -> Result<Vec<Vec<Value>>, RecordError> {
    let failed = |error: sqlx::Error| told(&error, &query.secrets);
    let sql = AssertSqlSafe(statement(query, after.is_some()));
    let mut rows = bound(sqlx::query(sql), after.unwrap_or_default().iter()).fetch(connection);
    let (mut portion, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let row = values(&row).map_err(failed)?;
        ordered(&row, places, &query.order)?;
        bytes += size(&row);
        portion.push(row);
        if bytes >= query.portion_bytes {
            break;
        }
    }
    Ok(portion)
}

/// Values by what they are, whatever their columns are declared as. Bytes come as PostgreSQL writes them.
fn values(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    let value = |at: usize| -> Result<Value, sqlx::Error> {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        Ok(match raw.type_info().name() {
            "INTEGER" | "BOOLEAN" => Value::from(row.try_get_unchecked::<i64, _>(at)?),
            "REAL" => Value::from(row.try_get_unchecked::<f64, _>(at)?),
            "BLOB" => {
                let hex = |out: String, byte: &u8| out + &format!("{byte:02x}");
                Value::String(row.try_get_unchecked::<&[u8], _>(at)?.iter().fold("\\x".to_owned(), hex))
            }
            _ => Value::String(row.try_get_unchecked::<String, _>(at)?),
        })
    };
    (0..row.len()).map(value).collect()
}
