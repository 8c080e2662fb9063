//! PostgreSQL: the database itself turns what JSON says into the types of its columns (`jsonb_populate_record`).

use std::time::Duration;

use core314_actors::ports::records::{Change, Encryption, Postgres, RecordError, Updated};
use core314_domain::secret::Secrets;
use serde_json::{Map, Value};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::way::{NoWay, Way};
use super::{Rows, changed, quoted, table};

const NOWHERE: &str = "the database has no address";

pub async fn update(place: &Postgres, change: &Change) -> Result<Updated, RecordError> {
    let mut connection = connect(place, (change.within, &change.secrets), false).await?;
    let outcome = in_transaction(&mut connection, change).await;
    // What was committed is committed: how the connection ends does not matter.
    let _ = connection.close().await;
    outcome
}

/// Whether it answers.
pub async fn ping(place: &Postgres, (within, secrets): (Duration, &Secrets)) -> Result<(), RecordError> {
    let mut connection = connect(place, (within, secrets), true).await?;
    let answer = sqlx::query("SELECT 1").execute(&mut connection).await;
    // It has answered, or it has not: how the connection ends does not matter.
    let _ = connection.close().await;
    answer.map(drop).map_err(|error| told(&error, secrets))
}

async fn in_transaction(connection: &mut PgConnection, change: &Change) -> Result<Updated, RecordError> {
    let mut transaction = connection.begin().await.map_err(|error| told(&error, &change.secrets))?;
    let updated = changed(&mut *transaction, change).await?;
    transaction.commit().await.map_err(|error| told(&error, &change.secrets))?;
    Ok(updated)
}

impl Rows for PgConnection {
    async fn change(&mut self, change: &Change, held: &Map<String, Value>) -> Result<u64, RecordError> {
        let done = sqlx::query(AssertSqlSafe(statement(change, held))).bind(json(held)).bind(json(&change.values));
        Ok(done.execute(self).await.map_err(|error| told(&error, &change.secrets))?.rows_affected())
    }

    async fn count(&mut self, change: &Change, held: &Map<String, Value>) -> Result<u64, RecordError> {
        let table = table(&change.table);
        let from = format!("{table} AS t, jsonb_populate_record(NULL::{table}, $1::jsonb) AS m");
        let statement = AssertSqlSafe(format!("SELECT count(*) FROM {from} WHERE {}", conditions(held)));
        let row = sqlx::query(statement).bind(json(held)).fetch_one(self).await;
        let count: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| told(&error, &change.secrets))?;
        Ok(count.unsigned_abs())
    }
}

/// A connection whose statements take no longer than this.
pub async fn connect(
    place: &Postgres,
    (within, secrets): (Duration, &Secrets),
    is_reader: bool,
) -> Result<PgConnection, RecordError> {
    let first = place.addresses.first().copied().ok_or_else(|| RecordError::Unavailable(NOWHERE.to_owned()))?;
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(first.port())
        .database(&place.database)
        .username(&place.username)
        .application_name("core314")
        .options([("statement_timeout", within.as_millis().max(1).to_string())])
        .options([("timezone", "UTC")])
        .options([("default_transaction_read_only", if is_reader { "on" } else { "off" })])
        .disable_statement_logging();
    // Held until the driver has come.
    let way = match place.encryption {
        Encryption::Verified => {
            Some(Way::open(&place.addresses, first.port()).await.map_err(|error| without_way(error, secrets))?)
        }
        Encryption::None => None,
    };
    options = match &way {
        Some(way) => options.host(&place.host).socket(way.folder()).ssl_mode(PgSslMode::VerifyFull),
        None => options.host(&first.ip().to_string()).ssl_mode(PgSslMode::Disable),
    };
    // Always said: where nothing is, sqlx takes PGPASSWORD of this server's own environment.
    options = options.password(place.password.as_deref().unwrap_or_default());
    PgConnection::connect_with(&options).await.map_err(|error| told(&error, secrets))
}

/// A host that does not answer may answer the next time; a folder of this server's does not mend itself.
fn without_way(error: NoWay, secrets: &Secrets) -> RecordError {
    match error {
        NoWay::Far(error) => told(&error.into(), secrets),
        NoWay::Folder { .. } => RecordError::Refused(secrets.redact(&error.to_string()).into_owned()),
    }
}

fn statement(change: &Change, matching: &Map<String, Value>) -> String {
    let table = table(&change.table);
    let values: Vec<String> = change.values.keys().map(|name| format!("{0} = v.{0}", quoted(name))).collect();
    let from = format!(
        "jsonb_populate_record(NULL::{table}, $1::jsonb) AS m, jsonb_populate_record(NULL::{table}, $2::jsonb) AS v"
    );
    format!("UPDATE {table} AS t SET {} FROM {from} WHERE {}", values.join(", "), conditions(matching))
}

fn conditions(held: &Map<String, Value>) -> String {
    let of = |(name, value): (&String, &Value)| match value {
        Value::Null => format!("t.{} IS NULL", quoted(name)),
        _ => format!("t.{0} = m.{0}", quoted(name)),
    };
    held.iter().map(of).collect::<Vec<_>>().join(" AND ")
}

fn json(map: &Map<String, Value>) -> String {
    Value::Object(map.clone()).to_string()
}

/// What a database says, and whether it may say something else the next time.
pub fn told(error: &sqlx::Error, secrets: &Secrets) -> RecordError {
    let clean = |text: &str| secrets.redact(text).into_owned();
    let Some(said) = error.as_database_error() else {
        return match error {
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => RecordError::Refused(clean(&error.to_string())),
            other => RecordError::Unavailable(clean(&other.to_string())),
        };
    };
    let state = said.code().unwrap_or_default();
    let message = clean(&format!("{} (SQLSTATE {state})", said.message()));
    // Connections, resources, operators, serialization and the server's own time limit.
    let passes = ["08", "53", "57", "40"].iter().any(|class| state.starts_with(class)) || state == "55P03";
    // What a row holds: its values (22) and its constraints (23).
    // Two rows have one key as the table compares it (21000); in the halves of a portion they are apart.
    let is_unfit = ["22", "23"].iter().any(|class| state.starts_with(class)) || state == "21000";
    match (passes, is_unfit) {
        (true, _) => RecordError::Unavailable(message),
        (false, true) => RecordError::Unfit(message),
        (false, false) => RecordError::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The name that a client of TLS wants the other side to prove.
    fn name_asked_for(listener: &TcpListener) -> Option<String> {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        stream.read_exact(&mut [0; 8]).expect("a wish for TLS");
        stream.write_all(b"S").expect("it listens");
        let mut acceptor = rustls::server::Acceptor::default();
        loop {
            assert!(acceptor.read_tls(&mut stream).expect("it speaks") > 0, "it hangs up");
            if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error).expect("a greeting of TLS") {
                return accepted.client_hello().server_name().map(str::to_owned);
            }
        }
    }

    /// A name that leads nowhere by now is asked for at the address that was judged.
    #[tokio::test]
    async fn a_host_that_must_prove_itself_is_asked_at_the_address_that_was_judged() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || name_asked_for(&listener));
        let place = Postgres {
            host: "db.invalid".to_owned(),
            addresses: vec![address],
            database: "crm".to_owned(),
            username: "robot".to_owned(),
            password: None,
            encryption: Encryption::Verified,
        };
        let refused = connect(&place, (Duration::from_secs(20), &Secrets::default()), true).await;
        assert!(refused.is_err(), "it has proven nothing");
        // Whoever waits in vain waits no longer.
        drop(TcpStream::connect(address));
        assert_eq!(server.join().expect("the server was asked").as_deref(), Some("db.invalid"));
    }

    #[test]
    fn a_folder_of_this_server_is_refused_and_a_host_is_waited_for() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let folder = NoWay::Folder { folder: "/full".into(), error: full() };
        let refused = without_way(folder, &Secrets::default());
        assert!(matches!(&refused, RecordError::Refused(said) if said.contains("/full")), "{refused}");
        let away = without_way(NoWay::Far(full()), &Secrets::default());
        assert!(matches!(away, RecordError::Unavailable(_)), "{away}");
    }

    #[test]
    fn names_are_quoted_and_values_are_bound() {
        let map = |value: Value| value.as_object().expect("an object").clone();
        let change = Change {
            table: "crm.odd\"name".to_owned(),
            matching: map(serde_json::json!({"id": 7, "gone_at": null})),
            expected: Map::new(),
            values: map(serde_json::json!({"na\"me": "'; DROP TABLE x; --"})),
            max_rows: 1,
            within: std::time::Duration::from_secs(1),
            secrets: std::sync::Arc::default(),
        };
        let expected = "UPDATE \"crm\".\"odd\"\"name\" AS t SET \"na\"\"me\" = v.\"na\"\"me\" \
            FROM jsonb_populate_record(NULL::\"crm\".\"odd\"\"name\", $1::jsonb) AS m, \
            jsonb_populate_record(NULL::\"crm\".\"odd\"\"name\", $2::jsonb) AS v \
            WHERE t.\"gone_at\" IS NULL AND t.\"id\" = m.\"id\"";
        assert_eq!(statement(&change, &change.matching), expected);
    }
}
