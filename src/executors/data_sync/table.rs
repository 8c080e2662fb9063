//! Rows into a table: upserted by their key, so that a portion that comes again changes nothing.

use std::collections::HashMap;

use core314_actors::ports::executor::Connection;
use core314_actors::ports::records::{Place, RecordError, Table};
use core314_domain::ids::TenantId;
use core314_domain::log::Failure;
use serde_json::Value;

use super::columns::Row;
use super::destination::Put;
use super::position::Failed;
use crate::executors::client::HttpClient;
use crate::executors::failure::Code;
use crate::executors::update_record::rows::failure;
use crate::executors::update_record::{Databases, postgres};

/// The database of an integration, or that which the configuration calls so.
pub async fn place(
    http: &HttpClient,
    (databases, name): (&Databases, &str),
    connection: Option<&Connection>,
    tenant: TenantId,
) -> Result<Place, Failure> {
    if let Some(connection) = connection {
        return postgres::place(http, connection).await;
    }
    if !databases.may(tenant) {
        let message = "executors.records.tenants of this server's configuration does not name this tenant";
        return Err(Code::Refused.failure(message));
    }
    let none = || Code::Refused.failure(format!("there is no database '{name}'"));
    databases.get(name).map(|(path, _)| Place::Sqlite(path.to_owned())).ok_or_else(none)
}

/// Puts rows. `key` is where in a row its key stands. More than `room` failed rows are not looked for.
pub async fn put(table: &mut dyn Table, key: &[usize], rows: &[Row], room: u64) -> Result<Put, Failure> {
    let mut put = Put::default();
    let mut last: HashMap<String, usize> = HashMap::with_capacity(rows.len());
    let mut kept: Vec<Option<&Row>> = Vec::with_capacity(rows.len());
    for row in rows {
        if key.iter().any(|at| row.1[*at].is_null()) {
            put.failed.push(Failed { row: row.0, reason: "has nothing in its key".to_owned() });
            continue;
        }
        // The later of two rows with one key is the one that stays.
        if let Some(before) = last.insert(word(key, &row.1), kept.len()) {
            kept[before] = None;
            put.skipped += 1;
        }
        kept.push(Some(row));
    }
    let kept: Vec<&Row> = kept.into_iter().flatten().collect();
    let mut parts: Vec<&[&Row]> = vec![&kept];
    while let Some(part) = parts.pop() {
        if part.is_empty() || put.failed.len() as u64 > room {
            break;
        }
        let values: Vec<&[Value]> = part.iter().map(|row| row.1.as_slice()).collect();
        match table.put(&values).await {
            Ok(()) => put.written += part.len() as u64,
            Err(RecordError::Unfit(reason)) if part.len() == 1 => put.failed.push(Failed { row: part[0].0, reason }),
            // Which of them it is, the halves tell.
            Err(RecordError::Unfit(_)) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => return Err(failure(&error)),
        }
    }
    Ok(put)
}

/// The key of a row as a word. A number that comes as text is the same to a table.
fn word(key: &[usize], row: &[Value]) -> String {
    let mut word = String::new();
    for at in key {
        match &row[*at] {
            Value::String(text) => word.push_str(text),
            other => word.push_str(&other.to_string()),
        }
        word.push('\0');
    }
    word
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::BoxFuture;
    use serde_json::json;

    use super::*;

    /// Takes no 13.
    #[derive(Default)]
    struct Superstitious(Vec<Value>);

    impl Table for Superstitious {
        fn put<'a>(&'a mut self, rows: &'a [&'a [Value]]) -> BoxFuture<'a, Result<(), RecordError>> {
            Box::pin(async move {
                if rows.iter().any(|row| row[0] == 13) {
                    return Err(RecordError::Unfit("13 is unlucky".to_owned()));
                }
                self.0.extend(rows.iter().map(|row| row[0].clone()));
                Ok(())
            })
        }
    }

    fn row(number: u64, key: Value) -> Row {
        (number, vec![key])
    }

    #[tokio::test]
    async fn a_row_that_fails_does_not_spoil_the_others() {
        let mut table = Superstitious::default();
        let rows: Vec<Row> = (1..=20).map(|n| row(n, json!(n))).collect();
        let done = put(&mut table, &[0], &rows, 1).await.expect("put");
        assert_eq!((done.written, done.skipped, table.0.len()), (19, 0, 19));
        assert_eq!(done.failed, [Failed { row: 13, reason: "13 is unlucky".to_owned() }]);
    }

    #[tokio::test]
    async fn of_two_rows_with_one_key_the_later_stays() {
        let mut table = Superstitious::default();
        let rows = [row(1, json!(7)), row(2, json!(null)), row(3, json!("7")), row(4, json!(8))];
        let done = put(&mut table, &[0], &rows, 5).await.expect("put");
        assert_eq!((done.written, done.skipped, done.failed.len()), (2, 1, 1));
        assert_eq!(table.0, [json!("7"), json!(8)]);
    }
}
