//! Rows of a file of SQLite in their order, a portion a statement: a long one would keep others from writing.

use std::path::Path;

use core314_actors::ports::records::{RecordError, RowQuery, RowStream};
use core314_domain::hex::hex;
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
        let next: Option<Vec<Value>> = Some(places.iter().map(|place| last[*place].clone()).collect());
        // What compares otherwise than it is read would be read for ever.
        if next == after {
            let message = "order: reading does not come on: what is behind the last row is that row again";
            return Err(RecordError::Refused(message.to_owned()));
        }
        after = next;
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
        readable(&row, places, &query.order)?;
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

/// Bytes are read as a text, and every text stands before all bytes: as a bound it would bring the same rows for ever.
fn readable(row: &SqliteRow, places: &[usize], order: &[String]) -> Result<(), RecordError> {
    let is_bytes = |place: &usize| row.try_get_raw(*place).is_ok_and(|raw| raw.type_info().name() == "BLOB");
    let Some(at) = places.iter().position(is_bytes) else { return Ok(()) };
    let name = &order[at];
    Err(RecordError::Refused(format!("order: '{name}' holds bytes: order by hex({name}), as a column of a query")))
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
            "BLOB" => Value::String(format!("\\x{}", hex(row.try_get_unchecked::<&[u8], _>(at)?))),
            _ => Value::String(row.try_get_unchecked::<String, _>(at)?),
        })
    };
    (0..row.len()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use core314_actors::ports::records::RowsOf;
    use serde_json::json;
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions, Connection};

    use super::*;

    fn query(sql: &str) -> RowQuery {
        RowQuery {
            from: RowsOf::Query(sql.to_owned()),
            order: vec!["id".to_owned()],
            after: None,
            portion_rows: 2,
            portion_bytes: 1_000,
            within: Duration::from_secs(10),
            secrets: Arc::default(),
        }
    }

    #[tokio::test]
    async fn rows_that_bytes_order_are_refused_and_not_read_for_ever() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("shop.db");
        let made = SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await;
        let mut made = made.expect("a file");
        let rows = "CREATE TABLE t (id BLOB PRIMARY KEY); INSERT INTO t VALUES (x'01'), (x'02'), (x'03')";
        sqlx::raw_sql(rows).execute(&mut made).await.expect("a table");
        made.close().await.expect("closed");
        let mut stream = begin(&path, query("SELECT id FROM t")).await.expect("rows");
        let first = stream.portions.recv().await.expect("an answer");
        let is_told = |error: &RecordError| matches!(error, RecordError::Refused(why) if why.contains("holds bytes"));
        assert!(first.as_ref().is_err_and(is_told), "{first:?}");
        // The way that is told.
        let mut stream = begin(&path, query("SELECT hex(id) AS id FROM t")).await.expect("rows");
        let mut found = Vec::new();
        while let Some(portion) = stream.portions.recv().await {
            found.extend(portion.expect("rows"));
        }
        assert_eq!(found, [[json!("01")], [json!("02")], [json!("03")]]);
    }
}
