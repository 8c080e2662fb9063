//! Rows of a database: which tables and columns there are for flows, an integration or the server's configuration says; what a
//! payload brings is values.

use std::time::Duration;

use core314_actors::ports::executor::Attempt;
use core314_actors::ports::records::{Change, Place, RecordError, Records};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use serde_json::{Map, Value, json};

use super::{read_object, reader};
use crate::executors::client::invalid;
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, Reading};

const KEYS: [&str; 5] = ["table", "where", "expect", "values", "max_rows"];
/// The setting that has the columns by their tables.
pub const TABLES: &str = "tables";
/// The setting that has statements by their names, which `data_sync` may read.
pub const QUERIES: &str = "queries";
const MAX_ROWS: u64 = 100_000;

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered. Values are read when they are
/// rendered; names must stand in the document or be in the list by then.
pub fn read(payload: &Value, reading: Reading, settings: &Map<String, Value>) -> Result<Option<Wish>, Vec<Problem>> {
    let Some(mut reader) = reader(payload, reading)? else { return Ok(None) };
    reader.only(&KEYS);
    if !reader.has("table") {
        reader.problem(&["table"], "is required");
    }
    let table = reader.text("table").map(str::to_owned);
    let matching = read_object(&mut reader, "where", true);
    let expected = read_object(&mut reader, "expect", false);
    let values = read_object(&mut reader, "values", true);
    let max_rows = reader.whole("max_rows", 1, MAX_ROWS).unwrap_or(1);
    if let Some(name) = expected.keys().find(|name| matching.contains_key(*name)) {
        reader.problem(&["expect", name], "stands in where already");
    }
    if let Some(name) = values.keys().find(|name| !expected.is_empty() && matching.contains_key(*name)) {
        reader.problem(&["values", name], "stands in where, too: beside expect it belongs there");
    }
    if let Some(table) = &table {
        let none = Map::new();
        let tables = settings.get(TABLES).and_then(Value::as_object).unwrap_or(&none);
        match tables.get(table).and_then(Value::as_array) {
            None => {
                let known: Vec<&str> = tables.keys().map(String::as_str).collect();
                let message = format!("'{table}' is no table that is named for flows: {}", known.join(", "));
                reader.problem(&["table"], message);
            }
            Some(columns) => {
                for (key, map) in [("where", &matching), ("expect", &expected), ("values", &values)] {
                    judge_columns(&mut reader, key, map, columns);
                }
            }
        }
    }
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(table.map(|table| Wish { table, matching, expected, values, max_rows }))
}

/// What a payload says.
#[derive(Debug)]
pub struct Wish {
    table: String,
    matching: Map<String, Value>,
    expected: Map<String, Value>,
    values: Map<String, Value>,
    max_rows: u64,
}

fn judge_columns(reader: &mut Reader<'_>, key: &str, map: &Map<String, Value>, columns: &[Value]) {
    for (name, value) in map {
        if !columns.iter().any(|column| column == name) {
            reader.problem(&[key, name], "is no column that is named for flows");
        } else if key != "values" && (value.is_object() || value.is_array()) {
            reader.problem(&[key, name], "must be a text, a number, a boolean or null");
        } else if value.to_string().contains("\\u0000") {
            reader.problem(&[key, name], "must not contain the NUL character");
        }
    }
}

/// Changes the rows of an attempt.
pub async fn update(
    records: &dyn Records,
    attempt: &Attempt,
    settings: &Map<String, Value>,
    place: impl Future<Output = Result<Place, Failure>>,
) -> Result<Value, Failure> {
    let wish = read(&attempt.payload, Reading::Rendered, settings);
    let wish = wish.map_err(|problems| invalid(&problems))?.expect("a rendered payload is read whole");
    let within = within(attempt);
    let change = Change {
        table: wish.table,
        matching: wish.matching,
        expected: wish.expected,
        values: wish.values,
        max_rows: wish.max_rows,
        within,
        secrets: attempt.secrets.clone(),
    };
    let done = async { records.update(place.await?, change).await.map_err(|error| failure(&error)) };
    let updated = tokio::time::timeout(within, done).await.map_err(|_| late(attempt))??;
    Ok(json!({"rows": updated.rows, "was_done": updated.was_done}))
}

/// Signs in at the database of an attempt, and asks it for nothing but an answer.
pub async fn probe(
    records: &dyn Records,
    attempt: &Attempt,
    place: impl Future<Output = Result<Place, Failure>>,
) -> Result<Value, Failure> {
    let within = within(attempt);
    let done = async {
        let answered = records.ping(place.await?, within, attempt.secrets.clone()).await;
        answered.map_err(|error| failure(&error))
    };
    tokio::time::timeout(within, done).await.map_err(|_| late(attempt))??;
    Ok(json!({}))
}

/// What the database may take: a little of the time is kept for the report.
fn within(attempt: &Attempt) -> Duration {
    attempt.timeout.saturating_sub((attempt.timeout / 50).min(Duration::from_millis(100)))
}

fn late(attempt: &Attempt) -> Failure {
    Code::Timeout.failure(format!("no answer within {} ms", attempt.timeout.as_millis()))
}

/// What a database's answer means for an attempt.
pub fn failure(error: &RecordError) -> Failure {
    let code = match error {
        RecordError::NotFound => Code::NoRecord,
        RecordError::Stale => Code::StaleRecord,
        RecordError::TooMany { .. } | RecordError::Refused(_) | RecordError::Unfit(_) => Code::Refused,
        RecordError::Unavailable(_) => Code::Connect,
    };
    code.failure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Map<String, Value> {
        Map::from_iter([(TABLES.to_owned(), json!({"public.customers": ["id", "name", "version"]}))])
    }

    #[test]
    fn only_what_is_named_can_be_changed() {
        let problems = |payload: Value| -> Vec<String> {
            let problems = read(&payload, Reading::Document, &settings()).err().unwrap_or_default();
            problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
        };
        let good = json!({"table": "public.customers", "where": {"id": 1}, "values": {"name": "{{ trigger.name }}"}});
        assert_eq!(problems(good), [""; 0]);
        for (payload, expected) in [
            (json!({"where": {"id": 1}, "values": {"name": "x"}}), "/table: is required"),
            (
                json!({"table": "pg_authid", "where": {"id": 1}, "values": {"name": "x"}}),
                "/table: 'pg_authid' is no table that is named for flows: public.customers",
            ),
            (json!({"table": "public.customers", "values": {"name": "x"}}), "/where: is required"),
            (json!({"table": "public.customers", "where": {}, "values": {"name": "x"}}), "/where: must not be empty"),
            (
                json!({"table": "public.customers", "where": {"id": 1}, "values": {"is_admin": true}}),
                "/values/is_admin: is no column that is named for flows",
            ),
            (
                json!({"table": "public.customers", "where": {"id": [1]}, "values": {"name": "x"}}),
                "/where/id: must be a text, a number, a boolean or null",
            ),
            (
                json!({"table": "public.customers", "where": {"id": 1}, "values": {"name": "x"}, "max_rows": 0}),
                "/max_rows: must be a whole number from 1 to 100000",
            ),
        ] {
            assert_eq!(problems(payload), [expected]);
        }
    }
}
