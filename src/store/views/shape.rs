//! A row of a view as the API shows it: one JSON object, the same whichever store it came from.
//!
//! A column's name says its type: names mean the same in every view (`ports/resource.rs`). Times become
//! RFC 3339 in UTC with milliseconds, JSON that SQLite holds as text becomes JSON, 0 and 1 become booleans, and numbers
//! have one form. SQLite's views give ids and times as text or as they are stored: 16 bytes, and milliseconds.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Number, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row, TypeInfo, ValueRef};
use uuid::Uuid;

use core314_actors::ports::StoreError;
use core314_actors::ports::resource::{Kind, kind_of};

/// Columns that the API leaves out: those that repeat an id as it is stored, and the place in a chain that all tenants
/// of a partition share, which would let one count the rows of the others.
const KEYS: &[&str] = &["row_key", "tenant_key", "seq"];

/// The object of a row that SQLite gave.
pub(super) fn from_sqlite(row: &SqliteRow) -> Result<Value, StoreError> {
    let mut object = Map::new();
    for column in row.columns() {
        let name = column.name();
        if KEYS.contains(&name) {
            continue;
        }
        let value = sqlite_value(row, column.ordinal()).map_err(|e| unreadable(name, &e))?;
        object.insert(name.to_owned(), shaped(name, value)?);
    }
    Ok(Value::Object(object))
}

/// The object of a row that PostgreSQL gave as JSON.
pub(super) fn from_postgres(row: &str) -> Result<Value, StoreError> {
    let mut object: Map<String, Value> = serde_json::from_str(row).map_err(|e| unreadable("row", &e))?;
    object.retain(|name, _| !KEYS.contains(&name.as_str()));
    for (name, value) in &mut object {
        match value {
            Value::String(text) if kind_of(name) == Some(Kind::Time) => {
                let time = DateTime::parse_from_rfc3339(text).map_err(|e| unreadable(name, &e))?;
                *text = time.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true);
            }
            Value::Number(number) if kind_of(name) == Some(Kind::Real) => {
                // A large one is written as 1e+15.
                if let Some(real) = number.as_f64() {
                    *value = whole(real);
                }
            }
            value => one_form(value),
        }
    }
    Ok(Value::Object(object))
}

/// A value as SQLite holds it: it types values, not columns.
fn sqlite_value(row: &SqliteRow, ordinal: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(ordinal)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    match raw.type_info().name() {
        "INTEGER" => row.try_get_unchecked::<i64, _>(ordinal).map(Value::from),
        "REAL" => row.try_get_unchecked::<f64, _>(ordinal).map(whole),
        "BLOB" => row.try_get_unchecked::<Uuid, _>(ordinal).map(|id| Value::String(id.to_string())),
        _ => row.try_get_unchecked::<String, _>(ordinal).map(Value::String),
    }
}

fn shaped(name: &str, value: Value) -> Result<Value, StoreError> {
    match (kind_of(name), value) {
        (Some(Kind::Json | Kind::Ids | Kind::Texts), Value::String(text)) => {
            let mut value = serde_json::from_str(&text).map_err(|e| unreadable(name, &e))?;
            one_form(&mut value);
            Ok(value)
        }
        (Some(Kind::Boolean), Value::Number(number)) => Ok(Value::Bool(number.as_i64() != Some(0))),
        // SQLite gives a number out of a step's JSON where PostgreSQL gives its text: the k of k inputs.
        (Some(Kind::Text), Value::Number(number)) => Ok(Value::String(number.to_string())),
        (Some(Kind::Time), Value::Number(ms)) => {
            let time = ms.as_i64().and_then(DateTime::<Utc>::from_timestamp_millis);
            let time = time.ok_or_else(|| unreadable(name, &format_args!("{ms} is no time")))?;
            Ok(Value::String(time.to_rfc3339_opts(SecondsFormat::Millis, true)))
        }
        (_, value) => Ok(value),
    }
}

/// A real column's value: a whole number is shown as one.
fn whole(real: f64) -> Value {
    let fits = real.fract() == 0.0 && real.abs() < 9_007_199_254_740_992.0;
    if fits { Value::from(real as i64) } else { Value::from(real) }
}

/// Numbers within JSON in one form. Text keeps 1e16, `jsonb` writes its digits out: both become the integer.
fn one_form(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(integer) = integer_of(number) {
                *number = integer;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(one_form),
        Value::Object(fields) => fields.values_mut().for_each(one_form),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The integer that a float too large for a fraction is, where JSON integers reach that far.
fn integer_of(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|f| number.is_f64() && f.abs() >= 1e16)?;
    if float > 0.0 && float < 18_446_744_073_709_551_616.0 {
        return Some(Number::from(float as u64));
    }
    (-9_223_372_036_854_775_808.0..0.0).contains(&float).then(|| Number::from(float as i64))
}

fn unreadable(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("column {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_in_a_column_of_text_is_its_text() {
        assert_eq!(shaped("dependency_mode", json!(2)).unwrap(), json!("2"));
        assert_eq!(shaped("priority", json!(2)).unwrap(), json!(2));
    }

    #[test]
    fn a_time_as_it_is_stored_is_shown_like_any_other() {
        assert_eq!(shaped("created_at", json!(1_763_632_800_120_i64)).unwrap(), json!("2025-11-20T10:00:00.120Z"));
        let text = json!("2025-11-20T10:00:00.120Z");
        assert_eq!(shaped("created_at", text.clone()).unwrap(), text);
        assert!(matches!(shaped("created_at", json!(i64::MAX)), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn a_row_of_postgresql_is_in_utc_and_without_keys() {
        let row = r#"{"id": "a", "row_key": "a", "tenant_key": "b", "created_at": "2026-11-20T12:00:00.12+02:00",
            "success": true, "metadata": {"at": "2026-11-20T12:00:00+02:00", "n": 10000000000000000}, "success_rate": 0.25,
            "value": 1e+15}"#;
        let expected = json!({"id": "a", "created_at": "2026-11-20T10:00:00.120Z", "success": true,
            "metadata": {"at": "2026-11-20T12:00:00+02:00", "n": 10_000_000_000_000_000_u64}, "success_rate": 0.25,
            "value": 1_000_000_000_000_000_i64});
        assert_eq!(from_postgres(row).unwrap(), expected);
    }

    #[test]
    fn json_that_sqlite_keeps_as_text_reads_as_json_with_the_same_numbers() {
        let text = Value::String(r#"{"n": 1e16, "m": -1e18, "huge": 1e20, "half": 0.5, "two": 2.0}"#.to_owned());
        let expected = json!({"n": 10_000_000_000_000_000_u64, "m": -1_000_000_000_000_000_000_i64, "huge": 1e20,
            "half": 0.5, "two": 2.0});
        assert_eq!(shaped("metadata", text).unwrap(), expected);
        assert_eq!(shaped("success", json!(1)).unwrap(), json!(true));
        assert_eq!(whole(2.0), json!(2));
        assert_eq!(whole(0.25), json!(0.25));
    }

    #[test]
    fn damaged_json_names_its_column() {
        let error = shaped("tags", json!("[")).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(text) if text.starts_with("column tags:")), "{error}");
    }
}
