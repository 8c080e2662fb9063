//! Rows of a PostgreSQL database. Which tables and columns there are for flows, the integration says; what a payload brings
//! is values.

use core314_actors::ports::executor::{Attempt, Connection};
use core314_actors::ports::records::{Change, Encryption, Place, RecordError, Records};
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::{read_object, reader};
use crate::executors::client::{HttpClient, invalid};
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, Reading};

const KEYS: [&str; 5] = ["table", "where", "expect", "values", "max_rows"];
const PASSWORD: &str = "password";
const USERNAME: &str = "username";
const TABLES: &str = "tables";
const TLS: &str = "tls";
const MAX_ROWS: u64 = 100_000;
const MAX_NAME_BYTES: usize = 63;

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "postgres",
    about: "A PostgreSQL database, whose rows update_record changes.",
    endpoint: Some(Endpoint { schemes: &["postgres", "postgresql"], default: None }),
    credentials: &[Field::optional(PASSWORD, "of the user")],
    settings: &[
        Field::required(USERNAME, "who signs in; give this user no more rights than the flows need"),
        Field::required(
            TABLES,
            "by table the columns that flows may match and change: {\"public.customers\": [\"id\", \"name\"]}",
        ),
        Field::optional(TLS, "verified (default): the certificate must be of the host; none: plain text"),
    ],
    check,
};

fn check(definition: &Definition) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(Err(problem)) = definition.endpoint.as_deref().map(parsed) {
        found.push(Problem::new("/endpoint", problem));
    }
    for name in [USERNAME, TLS] {
        if definition.settings.get(name).is_some_and(|value| !value.is_string()) {
            found.push(Problem::new(format!("/settings/{name}"), "must be a text"));
        }
    }
    if definition.text(TLS).is_some_and(|tls| !["verified", "none"].contains(&tls)) {
        found.push(Problem::new("/settings/tls", "is not one of: verified, none"));
    }
    let is_name = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0');
    let is_table = |name: &str| name.split('.').count() <= 2 && name.split('.').all(is_name);
    let are_columns = |list: &Value| {
        list.as_array()
            .is_some_and(|list| !list.is_empty() && list.iter().all(|name| name.as_str().is_some_and(is_name)))
    };
    let tables = definition.settings.get(TABLES).and_then(Value::as_object);
    if tables.is_none_or(|tables| {
        tables.is_empty() || !tables.iter().all(|(name, list)| is_table(name) && are_columns(list))
    }) {
        let message =
            "must be an object of lists of columns by their tables, such as {\"public.customers\": [\"id\", \"name\"]}";
        found.push(Problem::new("/settings/tables", message));
    }
    found
}

/// Host, port and database, as a URL of HTTP, which reads hosts as the outbound rules do.
fn parsed(endpoint: &str) -> Result<(Url, String), String> {
    let rest = endpoint.split_once("://").map_or("", |(_, rest)| rest);
    let mut url = Url::parse(&format!("http://{rest}")).map_err(|error| format!("is no address: {error}"))?;
    let database = url.path().trim_matches('/').to_owned();
    if database.is_empty() || database.contains('/') {
        return Err("must end with the database: postgres://HOST:PORT/DATABASE".to_owned());
    }
    if url.port().is_none() {
        let _ = url.set_port(Some(5432));
    }
    Ok((url, database))
}

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
    let max_rows = reader.get("max_rows").map_or(Some(1), Value::as_u64).filter(|rows| (1..=MAX_ROWS).contains(rows));
    if max_rows.is_none() {
        reader.problem(&["max_rows"], format!("must be a whole number from 1 to {MAX_ROWS}"));
    }
    if let Some(table) = &table {
        let none = Map::new();
        let tables = settings.get(TABLES).and_then(Value::as_object).unwrap_or(&none);
        match tables.get(table).and_then(Value::as_array) {
            None => {
                let known: Vec<&str> = tables.keys().map(String::as_str).collect();
                let message = format!("'{table}' is no table that the integration names: {}", known.join(", "));
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
    Ok(table.map(|table| Wish { table, matching, expected, values, max_rows: max_rows.unwrap_or(1) }))
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
            reader.problem(&[key, name], "is no column of the table that the integration names");
        } else if key != "values" && (value.is_object() || value.is_array()) {
            reader.problem(&[key, name], "must be a text, a number, a boolean or null");
        } else if value.to_string().contains("\\u0000") {
            reader.problem(&[key, name], "must not contain the NUL character");
        }
    }
}

/// Changes the rows of an attempt.
pub async fn update(
    http: &HttpClient,
    records: &dyn Records,
    attempt: &Attempt,
    connection: &Connection,
) -> Result<Value, Failure> {
    let wish = read(&attempt.payload, Reading::Rendered, &connection.settings);
    let wish = wish.map_err(|problems| invalid(&problems))?.expect("a rendered payload is read whole");
    let reserve = (attempt.timeout / 50).min(std::time::Duration::from_millis(100));
    let within = attempt.timeout.saturating_sub(reserve);
    let done = async {
        let place = place(http, connection).await?;
        let change = Change {
            table: wish.table,
            matching: wish.matching,
            expected: wish.expected,
            values: wish.values,
            max_rows: wish.max_rows,
            within,
            secrets: attempt.secrets.clone(),
        };
        records.update(place, change).await.map_err(failure)
    };
    let late = |_| Code::Timeout.failure(format!("no answer within {} ms", attempt.timeout.as_millis()));
    let updated = tokio::time::timeout(within, done).await.map_err(late)??;
    Ok(json!({"rows": updated.rows, "was_done": updated.was_done}))
}

/// The database, at an address that the outbound rules allow.
async fn place(http: &HttpClient, connection: &Connection) -> Result<Place, Failure> {
    let endpoint = connection.endpoint.as_deref().unwrap_or_default();
    let (url, database) =
        parsed(endpoint).map_err(|problem| Code::InvalidPayload.failure(format!("the endpoint {problem}")))?;
    http.rules().check("postgres", &url).map_err(|error| Code::ForbiddenAddress.failure(error.0))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let addresses = http.rules().addresses(&host, url.port().unwrap_or(5432)).await?;
    let none = || Code::Connect.failure(format!("'{host}' has no address"));
    let address = *addresses.first().ok_or_else(none)?;
    let encryption = if connection.text(TLS) == Some("none") { Encryption::None } else { Encryption::Verified };
    Ok(Place {
        host,
        address,
        database,
        username: connection.text(USERNAME).unwrap_or_default().to_owned(),
        password: connection.credential(PASSWORD).map(str::to_owned),
        encryption,
    })
}

fn failure(error: RecordError) -> Failure {
    let message = error.to_string();
    match error {
        RecordError::NotFound => Code::NoRecord.failure(message),
        RecordError::Stale => Code::StaleRecord.failure(message),
        RecordError::TooMany { .. } | RecordError::Refused(_) => Code::Refused.failure(message),
        RecordError::Unavailable(_) => Code::Connect.failure(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Map<String, Value> {
        Map::from_iter([(TABLES.to_owned(), json!({"public.customers": ["id", "name", "version"]}))])
    }

    #[test]
    fn only_what_the_integration_names_can_be_changed() {
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
                "/table: 'pg_authid' is no table that the integration names: public.customers",
            ),
            (json!({"table": "public.customers", "values": {"name": "x"}}), "/where: is required"),
            (json!({"table": "public.customers", "where": {}, "values": {"name": "x"}}), "/where: must not be empty"),
            (
                json!({"table": "public.customers", "where": {"id": 1}, "values": {"is_admin": true}}),
                "/values/is_admin: is no column of the table that the integration names",
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

    #[test]
    fn an_endpoint_ends_with_the_database() {
        let (url, database) = parsed("postgres://db.example:6432/crm").expect("good");
        assert_eq!((url.host_str(), url.port(), database.as_str()), (Some("db.example"), Some(6432), "crm"));
        assert_eq!(parsed("postgres://127.1/crm").expect("good").0.host_str(), Some("127.0.0.1"));
        assert!(parsed("postgres://db.example").is_err());
    }
}
