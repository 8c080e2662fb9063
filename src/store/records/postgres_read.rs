//! Rows of PostgreSQL in their order, by one statement: one state of the database, and no more of it in memory than a few
//! portions, because the server waits until somebody reads on.

use core314_actors::ports::records::{Postgres, RecordError, RowQuery, RowStream};
use core314_domain::secret::Secrets;
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column, Executor, Row, SqlSafeStr, Statement, TypeInfo};
use tokio::sync::mpsc::{Sender, channel};

use super::postgres::{connect, told};
use super::{PORTIONS_AHEAD, expression, ordered, places, quoted, size};

/// What the text of a column's values stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Real,
    Flag,
    Json,
    Text,
}

/// A column, as the statement gives it.
struct Given {
    name: String,
    /// The word of its type in SQL.
    kind: String,
    shape: Shape,
}

pub async fn begin(place: &Postgres, query: RowQuery) -> Result<RowStream, RecordError> {
    let mut connection = connect(place, (query.within, &query.secrets), true).await?;
    let given = columns(&mut connection, &query).await?;
    let columns: Vec<String> = given.iter().map(|column| column.name.clone()).collect();
    let places = places(&query.order, &columns)?;
    let sql = statement(&query, &given, &places);
    let (sender, portions) = channel(PORTIONS_AHEAD);
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = pump(&mut connection, (sql, &query), &given, &places, &sender) => outcome,
            // Nobody reads on: with the connection the statement ends.
            () = sender.closed() => return,
        };
        if let Err(error) = outcome {
            // A reader that is gone needs no reason.
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(RowStream { columns, portions })
}

async fn columns(connection: &mut PgConnection, query: &RowQuery) -> Result<Vec<Given>, RecordError> {
    let sql = AssertSqlSafe(format!("SELECT * FROM {} AS q", expression(&query.from)));
    let prepared = connection.prepare(sql.into_sql_str()).await.map_err(|error| told(&error, &query.secrets))?;
    let given = prepared.columns().iter().map(|column| {
        let kind = column.type_info().name().to_owned();
        let shape = match kind.as_str() {
            "INT2" | "INT4" | "INT8" | "OID" => Shape::Whole,
            "FLOAT4" | "FLOAT8" => Shape::Real,
            "BOOL" => Shape::Flag,
            "JSON" | "JSONB" => Shape::Json,
            _ => Shape::Text,
        };
        Given { name: column.name().to_owned(), kind, shape }
    });
    Ok(given.collect())
}

/// Times come as ISO 8601 has them, whatever the server's style is; all else as PostgreSQL writes it, which it reads back.
fn statement(query: &RowQuery, given: &[Given], places: &[usize]) -> String {
    let value = |column: &Given| match column.kind.as_str() {
        "TIMESTAMP" | "TIMESTAMPTZ" => format!("to_json(q.{}) #>> '{{}}'", quoted(&column.name)),
        _ => format!("q.{}::text", quoted(&column.name)),
    };
    let values: Vec<String> = given.iter().map(value).collect();
    let order: Vec<String> = query.order.iter().map(|name| format!("q.{}", quoted(name))).collect();
    let behind = query.after.as_ref().map(|_| {
        let of = |(n, place): (usize, &usize)| format!("${}::text::{}", n + 1, of_any_length(&given[*place].kind));
        let bound: Vec<String> = places.iter().enumerate().map(of).collect();
        format!(" WHERE ({}) > ({})", order.join(", "), bound.join(", "))
    });
    let (from, behind) = (expression(&query.from), behind.unwrap_or_default());
    format!("SELECT {} FROM {from} AS q{behind} ORDER BY {}", values.join(", "), order.join(", "))
}

/// The word of a type in a cast. The words of SQL mean a length of 1 where they say none, and a cast cuts what is longer.
fn of_any_length(kind: &str) -> &str {
    match kind {
        "CHAR" => "bpchar",
        "CHAR[]" => "bpchar[]",
        "BIT" => "varbit",
        "BIT[]" => "varbit[]",
        // In quotes it is a name, and that is in small letters.
        "\"CHAR\"" => "\"char\"",
        kind => kind,
    }
}

async fn pump(
    connection: &mut PgConnection,
    (sql, query): (String, &RowQuery),
    given: &[Given],
    places: &[usize],
    sender: &Sender<Result<Vec<Vec<Value>>, RecordError>>,
) -> Result<(), RecordError> {
    let mut statement = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for value in query.after.iter().flatten() {
        statement = statement.bind(match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
    }
    let mut rows = statement.fetch(connection);
    let (mut portion, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(|error| told(&error, &query.secrets))? {
        let row = values(&row, given, &query.secrets)?;
        ordered(&row, places, &query.order)?;
        bytes += size(&row);
        portion.push(row);
        if portion.len() >= query.portion_rows || bytes >= query.portion_bytes {
            bytes = 0;
            if sender.send(Ok(std::mem::take(&mut portion))).await.is_err() {
                return Ok(());
            }
        }
    }
    if !portion.is_empty() {
        // A reader that is gone needs no rows.
        let _ = sender.send(Ok(portion)).await;
    }
    Ok(())
}

fn values(row: &PgRow, given: &[Given], secrets: &Secrets) -> Result<Vec<Value>, RecordError> {
    let value = |(at, column): (usize, &Given)| -> Result<Value, RecordError> {
        let text = row.try_get::<Option<&str>, _>(at).map_err(|error| told(&error, secrets))?;
        let Some(text) = text else { return Ok(Value::Null) };
        read(text, column.shape).map_err(|why| {
            let name = &column.name;
            RecordError::Refused(format!(
                "'{name}' of a row is JSON that cannot be taken over: {why}; a query can give it as text"
            ))
        })
    };
    given.iter().enumerate().map(value).collect()
}

/// What a text stands for. What JSON has no number for, such as NaN, stays text; so do decimals, of which no digit may be lost.
/// A document that cannot be read is none: as a text it would be another document.
fn read(text: &str, shape: Shape) -> Result<Value, serde_json::Error> {
    let read = match shape {
        Shape::Whole => text.parse::<i64>().ok().map(Value::from),
        Shape::Real => text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number),
        Shape::Flag => text.parse::<bool>().ok().map(Value::Bool),
        Shape::Json => return serde_json::from_str(text),
        Shape::Text => None,
    };
    Ok(read.unwrap_or_else(|| Value::String(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use core314_actors::ports::records::RowsOf;
    use serde_json::json;

    use super::*;

    #[test]
    fn reading_goes_on_behind_a_row() {
        let query = RowQuery {
            from: RowsOf::Query("SELECT * FROM orders -- all;".to_owned()),
            order: vec!["at".to_owned(), "i\"d".to_owned()],
            after: Some(vec![json!("2030-01-31T10:00:00+00:00"), json!(7)]),
            portion_rows: 10,
            portion_bytes: 1_000,
            within: Duration::from_secs(1),
            secrets: Arc::default(),
        };
        let column = |name: &str, kind: &str, shape| Given { name: name.to_owned(), kind: kind.to_owned(), shape };
        let given = [column("i\"d", "INT8", Shape::Whole), column("at", "TIMESTAMPTZ", Shape::Text)];
        let expected = "SELECT q.\"i\"\"d\"::text, to_json(q.\"at\") #>> '{}' FROM (SELECT * FROM orders -- all\n) AS q \
            WHERE (q.\"at\", q.\"i\"\"d\") > ($1::text::TIMESTAMPTZ, $2::text::INT8) ORDER BY q.\"at\", q.\"i\"\"d\"";
        assert_eq!(statement(&query, &given, &[1, 0]), expected);
        // A bound is as long as the value that it was.
        for (kind, cast) in [("CHAR", "bpchar"), ("BIT", "varbit"), ("CHAR[]", "bpchar[]"), ("VARCHAR", "VARCHAR")] {
            let given = [column("i\"d", "INT8", Shape::Whole), column("at", kind, Shape::Text)];
            let sql = statement(&query, &given, &[1, 0]);
            assert!(sql.contains(&format!("> ($1::text::{cast}, $2::text::INT8)")), "{sql}");
        }
    }

    #[test]
    fn texts_become_what_they_stand_for() {
        for (text, shape, expected) in [
            ("9007199254740993", Shape::Whole, json!(9_007_199_254_740_993_i64)),
            ("NaN", Shape::Real, json!("NaN")),
            ("true", Shape::Flag, json!(true)),
            ("{\"a\": [1]}", Shape::Json, json!({"a": [1]})),
            ("12.50", Shape::Text, json!("12.50")),
        ] {
            assert_eq!(read(text, shape).expect("it is read"), expected, "{text}");
        }
        for text in ["1e400".to_owned(), "[".repeat(200) + &"]".repeat(200)] {
            assert!(read(&text, Shape::Json).is_err(), "as a text it would be another document: {text}");
        }
    }
}
