//! `update_record` against a real PostgreSQL and a REST service: what is named and nothing else, once, and not over
//! somebody else's change.

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row};

use super::{done, refused, run, secret, start, step};
use crate::providers::rest;
use crate::support::{Installation, Server, StoreKind, fresh_database};

const TABLE: &str = "CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, state text, version int NOT NULL, \
    seen timestamptz, tags jsonb, is_admin boolean NOT NULL DEFAULT false CHECK (NOT is_admin)); \
    INSERT INTO customers (id, name, state, version) VALUES (7, 'Ann', 'open', 3), (8, 'Bob', 'open', 1), (9, 'Eve', NULL, 1)";

async fn all(url: &str) -> Vec<String> {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the database answers");
    let rows = sqlx::query(
        "SELECT concat_ws('|', id, name, coalesce(state, '-'), version, seen IS NOT NULL, tags) FROM customers ORDER BY id",
    );
    rows.fetch_all(&mut connection).await.expect("rows").iter().map(|row| row.get(0)).collect()
}

/// An integration of this database.
async fn integration(server: &Server, url: &str) {
    let url = Url::parse(url).expect("a URL");
    secret(server, "DATABASE", url.password().filter(|word| word.len() >= 6).expect("a password")).await;
    let endpoint = format!("postgres://127.0.0.1:{}{}", url.port().expect("a port"), url.path());
    let tables = json!({"public.customers": ["id", "name", "state", "version", "seen", "tags"], "customers": ["id", "is_admin"], "gone": ["id"]});
    let settings = json!({"username": url.username(), "tables": tables, "tls": "none"});
    let body = json!({"name": "crm", "kind": "postgres", "endpoint": endpoint, "credentials": {"password": "secrets.DATABASE"}, "settings": settings});
    done(server, Method::POST, "/api/v1/integrations", body.clone()).await;
    let mut closed = body;
    (closed["name"], closed["endpoint"]) = ("closed".into(), "postgres://127.0.0.1:1/x".into());
    done(server, Method::POST, "/api/v1/integrations", closed.clone()).await;
    (closed["name"], closed["endpoint"]) = ("metadata".into(), "postgres://169.254.169.254/x".into());
    done(server, Method::POST, "/api/v1/integrations", closed).await;
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn change(id: &str, matching: Value, expect: Value, values: Value) -> Value {
    let payload = json!({"table": "public.customers", "where": matching, "expect": expect, "values": values});
    step(id, "update_record", "crm", payload)
}

async fn rows_change(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let url = fresh_database().await;
    let mut connection = sqlx::PgConnection::connect(&url).await.expect("the database answers");
    sqlx::raw_sql(TABLE).execute(&mut connection).await.expect("a table");
    integration(&server, &url).await;
    let hostile = "'; DROP TABLE customers; --";
    let mut two = change("two", json!({"state": "open"}), json!(null), json!({"state": "held"}));
    let mut many = two.clone();
    many["id"] = "many".into();
    two["config"]["action_payload"]["max_rows"] = 2.into();
    let steps = vec![
        change(
            "close",
            json!({"id": "{{ trigger.id }}"}),
            json!({"version": 3}),
            json!({"state": "closed", "version": 4,
            "name": "{{ trigger.name }}", "seen": "2030-01-31T10:00:00Z", "tags": {"a": [1]}}),
        ),
        change("again", json!({"id": 7}), json!({"version": 3}), json!({"state": "closed", "version": 4})),
        change("stale", json!({"id": 7}), json!({"version": 3}), json!({"state": "open", "version": 4})),
        change("nobody", json!({"id": 99}), json!(null), json!({"state": "closed"})),
        change("null", json!({"id": 9, "state": null}), json!(null), json!({"state": "open"})),
        many,
        two,
        change("type", json!({"id": 8}), json!(null), json!({"version": "many"})),
        step(
            "check",
            "update_record",
            "crm",
            json!({"table": "customers", "where": {"id": 8}, "values": {"is_admin": true}}),
        ),
        step("gone", "update_record", "crm", json!({"table": "gone", "where": {"id": 8}, "values": {"id": 9}})),
        step(
            "closed",
            "update_record",
            "closed",
            json!({"table": "customers", "where": {"id": 8}, "values": {"id": 9}}),
        ),
        step(
            "metadata",
            "update_record",
            "metadata",
            json!({"table": "customers", "where": {"id": 8}, "values": {"id": 9}}),
        ),
        step(
            "late",
            "update_record",
            "crm",
            json!({"table": "{{ trigger.table }}", "where": {"id": 8}, "values": {"id": 9}}),
        ),
    ];
    let context = json!({"id": 7, "name": hostile, "table": "pg_authid"});
    let log = run(&server, "rows", steps, context).await;
    assert_eq!(log[0]["execution_result"], json!({"rows": 1, "was_done": false}), "{}", log[0]);
    assert_eq!(log[1]["execution_result"], json!({"rows": 1, "was_done": true}), "{}", log[1]);
    assert_eq!(log[4]["execution_result"]["rows"], 1, "{}", log[4]);
    assert_eq!(log[6]["execution_result"]["rows"], 2, "{}", log[6]);
    what_fails(&log);
    let expected =
        [format!("7|{hostile}|closed|4|t|{{\"a\": [1]}}"), "8|Bob|held|1|f".to_owned(), "9|Eve|held|1|f".to_owned()];
    assert_eq!(all(&url).await, expected);
    what_is_refused(&server).await;
    a_service_keeps_one(&server).await;
}

fn what_fails(log: &[Value]) {
    for (step, code, words) in [
        (2, "stale_record", "holds something else"),
        (3, "no_record", "no row matches"),
        (5, "refused", "2 rows match, at most 1"),
        (7, "refused", "invalid input syntax for type integer"),
        (8, "refused", "violates check constraint"),
        (9, "refused", "does not exist"),
        (10, "connect", ""),
        (11, "forbidden_address", "169.254.169.254"),
        (12, "invalid_payload", "'pg_authid' is no table"),
    ] {
        assert_eq!(log[step]["execution_error_code"], code, "{}", log[step]);
        assert!(
            log[step]["execution_error"].as_str().is_some_and(|error| error.contains(words)),
            "{words}: {}",
            log[step]
        );
    }
}

async fn what_is_refused(server: &Server) {
    for (payload, words) in [
        (json!({"table": "secrets", "where": {"id": 1}, "values": {"id": 2}}), "no table that is named"),
        (
            json!({"table": "public.customers", "where": {"id": 1}, "values": {"is_admin": true}}),
            "no column that is named",
        ),
        (json!({"table": "public.customers", "where": {}, "values": {"name": "x"}}), "must not be empty"),
    ] {
        let steps = [step("a", "update_record", "crm", payload)];
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": steps});
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
}

async fn a_service_keeps_one(server: &Server) {
    let service = rest::start();
    secret(server, "REST", rest::TOKEN).await;
    let cases = json!({"name": "cases", "kind": "http", "endpoint": format!("{}/api", service.url),
        "credentials": {"token": "secrets.REST"}, "settings": {"auth": "bearer"}});
    done(server, Method::POST, "/api/v1/integrations", cases).await;
    let patch = |id: &str, payload: Value| step(id, "update_record", "cases", payload);
    let steps = vec![
        patch("close", json!({"path": "/cases/7", "values": {"state": "closed"}, "if_match": "\"1\""})),
        patch("stale", json!({"path": "cases/7", "values": {"state": "open"}, "if_match": "\"1\""})),
        patch("merge", json!({"path": "cases/7", "values": {"note": null}, "format": "merge_patch"})),
        patch("gone", json!({"path": "cases/{{ trigger.id }}", "values": {"state": "open"}})),
        patch("astray", json!({"path": "../admin", "values": {"state": "open"}})),
    ];
    let log = run(server, "cases", steps, json!({"id": 8})).await;
    assert_eq!(log[0]["execution_result"]["body"]["state"], "closed", "{}", log[0]);
    assert_eq!(log[1]["execution_error_code"], "stale_record", "{}", log[1]);
    assert_eq!(log[2]["execution_result"]["status"], 200, "{}", log[2]);
    assert_eq!(log[3]["execution_error_code"], "http_status", "{}", log[3]);
    assert_eq!(log[4]["execution_error_code"], "invalid_payload", "{}", log[4]);
    assert_eq!(service.shown(), [json!({"state": "closed", "version": 3})]);
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
}

/// A file of SQLite that the configuration names.
async fn a_file_changes(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let path = installation.dir.path().join("stock.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut file = sqlx::SqliteConnection::connect_with(&options).await.expect("a file");
    let table = "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, stock INTEGER CHECK (stock >= 0), secret TEXT); \
        INSERT INTO items VALUES (1, 'bolt', 7, 'x'), (2, 'nut', 7, 'x'), (3, NULL, 0, 'x')";
    sqlx::raw_sql(table).execute(&mut file).await.expect("a table");
    let environment = [
        ("CORE314__EXECUTORS__RECORDS__SQLITE", format!("stock={},gone=/no/such/file.db", path.display())),
        ("CORE314__EXECUTORS__RECORDS__TABLES", "stock/items=id name stock,gone/items=id".to_owned()),
        ("CORE314__EXECUTORS__RECORDS__ALLOW_ALL_TENANTS", "true".to_owned()),
    ];
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let items = |id: &str, matching: Value, expect: Value, values: Value| {
        let payload = json!({"table": "items", "where": matching, "expect": expect, "values": values});
        step(id, "update_record", "stock", payload)
    };
    let take =
        |id: &str| items(id, json!({"id": 1}), json!({"stock": 7}), json!({"stock": 6, "name": "{{ trigger.name }}"}));
    let steps = vec![
        take("take"),
        take("again"),
        items("stale", json!({"id": 1}), json!({"stock": 7}), json!({"stock": 5})),
        items("null", json!({"name": null}), json!(null), json!({"name": "washer"})),
        items("many", json!({"stock": 7, "id": 2.0}), json!(null), json!({"stock": -1})),
        items("nobody", json!({"id": 9}), json!(null), json!({"stock": 1})),
        step("gone", "update_record", "gone", json!({"table": "items", "where": {"id": 1}, "values": {"id": 2}})),
    ];
    let hostile = "'; DROP TABLE items; --";
    let log = run(&server, "stock", steps, json!({"name": hostile})).await;
    assert_eq!(log[0]["execution_result"], json!({"rows": 1, "was_done": false}), "{}", log[0]);
    assert_eq!(log[1]["execution_result"], json!({"rows": 1, "was_done": true}), "{}", log[1]);
    assert_eq!(log[3]["execution_result"]["rows"], 1, "{}", log[3]);
    for (step, code) in [(2, "stale_record"), (4, "refused"), (5, "no_record"), (6, "refused")] {
        assert_eq!(log[step]["execution_error_code"], code, "{}", log[step]);
    }
    let rows = sqlx::query("SELECT concat_ws('|', id, name, stock) FROM items ORDER BY id").fetch_all(&mut file).await;
    let rows: Vec<String> = rows.expect("rows").iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, [format!("1|{hostile}|6"), "2|nut|7".to_owned(), "3|washer|0".to_owned()]);
    for payload in [
        json!({"table": "items", "where": {"id": 1}, "values": {"secret": "y"}}),
        json!({"table": "sqlite_master", "where": {"id": 1}, "values": {"id": 2}}),
    ] {
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [step("a", "update_record", "stock", payload)]});
        let says = refused(&server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains("named for flows"), "{says}");
    }
    a_locked_file_is_waited_for(&server, &mut file).await;
}

/// Somebody else writes for longer than the attempt may take: it fails so that it may be tried again.
async fn a_locked_file_is_waited_for(server: &Server, file: &mut sqlx::SqliteConnection) {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *file).await.expect("a lock");
    let payload = json!({"table": "items", "where": {"id": 1}, "values": {"stock": 1}});
    let mut locked = step("locked", "update_record", "stock", payload);
    locked["timeout_seconds"] = 1.into();
    let log = run(server, "locked", vec![locked], json!({})).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut *file).await.expect("the lock is given back");
    let code = log[0]["execution_error_code"].as_str().unwrap_or_default();
    assert!(["timeout", "connect"].contains(&code), "{}", log[0]);
}

#[tokio::test]
async fn a_file_of_sqlite_changes_on_sqlite() {
    a_file_changes(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_file_of_sqlite_changes_on_postgres() {
    a_file_changes(StoreKind::Postgres).await;
}

#[tokio::test]
async fn records_change_as_they_are_named_on_sqlite() {
    rows_change(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn records_change_as_they_are_named_on_postgres() {
    rows_change(StoreKind::Postgres).await;
}
