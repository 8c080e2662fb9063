//! Rows of a PostgreSQL database. Which tables and columns there are for flows, the integration says; what a payload brings
//! is values.

use core314_actors::ports::executor::Connection;
use core314_actors::ports::records::{Encryption, Place, Postgres};
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use reqwest::Url;
use serde_json::Value;

use super::rows::{QUERIES, TABLES};
use crate::executors::client::HttpClient;
use crate::executors::failure::Code;

const PASSWORD: &str = "password";
const USERNAME: &str = "username";
const TLS: &str = "tls";
const MAX_NAME_BYTES: usize = 63;

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "postgres",
    about: "A PostgreSQL database, whose rows update_record changes, and data_sync reads and puts.",
    endpoint: Some(Endpoint { schemes: &["postgres", "postgresql"], default: None }),
    credentials: &[Field::optional(PASSWORD, "of the user")],
    settings: &[
        Field::required(USERNAME, "who signs in; give this user no more rights than the flows need"),
        Field::required(
            TABLES,
            "by table the columns that flows may match and change: {\"public.customers\": [\"id\", \"name\"]}",
        ),
        Field::optional(QUERIES, "by name the statements whose rows data_sync may read"),
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
    let are_texts = |queries: &serde_json::Map<String, Value>| {
        queries.values().all(|sql| sql.as_str().is_some_and(|sql| !sql.trim().is_empty() && !sql.contains('\0')))
    };
    let queries = definition.settings.get(QUERIES);
    if queries.is_some_and(|queries| !queries.as_object().is_some_and(are_texts)) {
        found.push(Problem::new("/settings/queries", "must be an object of statements by their names"));
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

/// The database, at an address that the outbound rules allow.
pub async fn place(http: &HttpClient, connection: &Connection) -> Result<Place, Failure> {
    let endpoint = connection.endpoint.as_deref().unwrap_or_default();
    let (url, database) =
        parsed(endpoint).map_err(|problem| Code::InvalidPayload.failure(format!("the endpoint {problem}")))?;
    http.rules().check("postgres", &url).map_err(|error| Code::ForbiddenAddress.failure(error.0))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let addresses = http.rules().addresses(&host, url.port().unwrap_or(5432)).await?;
    if addresses.is_empty() {
        return Err(Code::Connect.failure(format!("'{host}' has no address")));
    }
    let encryption = if connection.text(TLS) == Some("none") { Encryption::None } else { Encryption::Verified };
    Ok(Place::Postgres(Postgres {
        host,
        addresses,
        database,
        username: connection.text(USERNAME).unwrap_or_default().to_owned(),
        password: connection.credential(PASSWORD).map(str::to_owned),
        encryption,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_ends_with_the_database() {
        let (url, database) = parsed("postgres://db.example:6432/crm").expect("good");
        assert_eq!((url.host_str(), url.port(), database.as_str()), (Some("db.example"), Some(6432), "crm"));
        assert_eq!(parsed("postgres://127.1/crm").expect("good").0.host_str(), Some("127.0.0.1"));
        assert!(parsed("postgres://db.example").is_err());
    }
}
