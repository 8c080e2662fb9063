//! `data_sync` by the real binary: from every kind of source to every kind of destination, and what it does not do.

use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::{catalogue_at, done, may_come, refused, run, secret, step};
use crate::providers::catalogue::{self, ITEMS};
use crate::support::{Installation, SECRET_KEY, Server, StoreKind, USER, fresh_database};

const ROWS: u64 = 2_500;
pub const ORDERS: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, at timestamptz NOT NULL, name text, total numeric(12,2), \
    is_paid boolean, tags jsonb, labels text[], secret text)";
const COLUMNS: [&str; 7] = ["id", "at", "name", "total", "is_paid", "tags", "labels"];

/// Rows with all that is awkward in a text.
pub fn fill(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO orders SELECT n, timestamptz '2030-01-01' + n * interval '1 second', \
         CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN E'tab\\t\"quote\" \\\\N' WHEN 2 THEN E'line\\nbreak, comma' ELSE 'name ' || n END, \
         n * 1.25, n % 2 = 0, jsonb_build_object('n', n, 'text', 'a\"b'), ARRAY['x', 'y,z'], 'planted-row-secret' \
         FROM generate_series({from}, {to}) AS n"
    )
}

pub async fn sql(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the database answers");
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.expect("the statements hold");
}

pub async fn text(url: &str, query: &str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("the database answers");
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.expect("the query holds")
}

/// All rows of a table as one digest, and how many there are.
pub async fn digest(url: &str, table: &str) -> String {
    let columns = COLUMNS.join(", ");
    let query = format!(
        "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY id)), '') FROM (SELECT {columns} FROM {table}) t"
    );
    text(url, &query).await
}

/// A file of SQLite and a folder, both named by the configuration.
pub struct Machine {
    pub folder: PathBuf,
    pub file: PathBuf,
    pub environment: Vec<(&'static str, String)>,
}

pub async fn machine(installation: &Installation) -> Machine {
    let folder = installation.dir.path().join("drop");
    std::fs::create_dir(&folder).expect("a folder");
    let file = installation.dir.path().join("shop.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut shop = SqliteConnection::connect_with(&options).await.expect("a file");
    let table = "CREATE TABLE orders (id INTEGER PRIMARY KEY, at TEXT, name TEXT CHECK (name <> 'item 13'), total NUMERIC, \
        is_paid INTEGER, tags TEXT, labels TEXT)";
    sqlx::raw_sql(table).execute(&mut shop).await.expect("a table");
    let columns = COLUMNS.join(" ");
    let environment = vec![
        ("CORE314_SECRET_KEY", SECRET_KEY.to_owned()),
        ("CORE314__EXECUTORS__RECORDS__SQLITE", format!("shop={}", file.display())),
        ("CORE314__EXECUTORS__RECORDS__TABLES", format!("shop/orders={columns}")),
        (
            "CORE314__EXECUTORS__RECORDS__QUERIES",
            "shop/even=SELECT id, at, name FROM orders WHERE id % 2 = 0; shop/write=DELETE FROM orders RETURNING id"
                .to_owned(),
        ),
        ("CORE314__EXECUTORS__RECORDS__ALLOW_ALL_TENANTS", "true".to_owned()),
        ("CORE314__EXECUTORS__SYNC__FOLDERS", format!("drop={}", folder.display())),
        ("CORE314__EXECUTORS__SYNC__ALLOW_ALL_TENANTS", "true".to_owned()),
    ];
    Machine { folder, file, environment }
}

async fn shop(file: &Path, query: &str) -> String {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.expect("a file");
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.expect("the query holds")
}

/// An integration of this database.
async fn database(server: &Server, name: &str, url: &str) {
    let url = Url::parse(url).expect("a URL");
    let endpoint = format!("postgres://127.0.0.1:{}{}", url.port().expect("a port"), url.path());
    let settings = json!({"username": url.username(), "tls": "none",
        "tables": {"orders": COLUMNS, "public.copies": COLUMNS, "items": ["id", "name"]},
        "queries": {"recent": "SELECT id, at, name FROM orders WHERE id > 10 -- the newest"}});
    let body = json!({"name": name, "kind": "postgres", "endpoint": endpoint, "credentials": {"password": "secrets.DATABASE"}, "settings": settings});
    done(server, Method::POST, "/api/v1/integrations", body).await;
}

pub async fn integrations(server: &Server, crm: &str, warehouse: &str) {
    let password = Url::parse(crm).expect("a URL").password().expect("a password").to_owned();
    secret(server, "DATABASE", &password).await;
    database(server, "crm", crm).await;
    database(server, "warehouse", warehouse).await;
}

pub fn counts(row: &Value) -> [u64; 4] {
    let result = &row["execution_result"];
    assert!(result.is_object(), "{row}");
    ["read", "written", "skipped", "failed"].map(|name| result[name].as_u64().expect("a count"))
}

async fn between_databases(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let machine = machine(&installation).await;
    let server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let (crm, warehouse) = (fresh_database().await, fresh_database().await);
    sql(&crm, &format!("{ORDERS}; {}", fill(1, ROWS))).await;
    sql(&warehouse, &ORDERS.replace("orders", "copies").replace("secret text", "secret text DEFAULT 'none'")).await;
    integrations(&server, &crm, &warehouse).await;
    let orders = |id: &str, to: &str, table: &str, more: Value| {
        let mut payload = json!({"name": format!("orders to {to}"), "batch_rows": 1_000, "incremental": true,
            "source": {"from": "crm", "table": "orders", "order": ["at", "id"]}, "destination": {"table": table, "key": ["id"]}});
        payload.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        step(id, "data_sync", to, payload)
    };
    let copies = |id: &str| orders(id, "warehouse", "public.copies", json!({}));
    let recent = json!({"name": "recent", "source": {"from": "crm", "query": "recent", "order": ["id"]},
        "columns": {"id": "id", "at": "at", "name": "name"}, "destination": {"table": "public.copies", "key": ["id"]}});
    let even = json!({"name": "even", "source": {"from": "shop", "query": "even", "order": ["id"]},
        "destination": {"file": "even.csv"}});
    let write = json!({"name": "write", "source": {"from": "shop", "query": "write", "order": ["id"]}, "destination": {"file": "x.csv"}});
    let steps = vec![
        copies("first"),
        copies("again"),
        orders("shop", "shop", "orders", json!({})),
        step("recent", "data_sync", "warehouse", recent),
        step("even", "data_sync", "drop", even),
        step("write", "data_sync", "drop", write),
        orders("whole", "warehouse", "public.copies", json!({"incremental": false})),
    ];
    let log = run(&server, "move", steps, json!({})).await;
    assert_eq!(counts(&log[0]), [ROWS, ROWS, 0, 0]);
    assert_eq!(counts(&log[1]), [0, 0, 0, 0], "nothing is new");
    assert_eq!(counts(&log[2]), [ROWS, ROWS, 0, 0]);
    assert_eq!(counts(&log[3]), [ROWS - 10, ROWS - 10, 0, 0]);
    assert_eq!(counts(&log[4]), [ROWS / 2, ROWS / 2, 0, 0]);
    assert_eq!(log[5]["execution_error_code"], "refused", "a reader changes nothing: {}", log[5]);
    assert_eq!(counts(&log[6]), [ROWS, ROWS, 0, 0], "all of them once more");
    assert_eq!(digest(&warehouse, "copies").await, digest(&crm, "orders").await);
    let sums = "SELECT count(*) || ' ' || sum(total) || ' ' || sum(is_paid) || ' ' || max(at) || ' ' || \
        sum(json_extract(tags, '$.n') = id) || ' ' || max(labels) FROM orders";
    let (all, half) = (ROWS, ROWS / 2);
    let total = (ROWS * (ROWS + 1) / 2) as f64 * 1.25;
    let expected = format!("{all} {total:?} {half} 2030-01-01T00:41:40+00:00 {all} {{x,\"y,z\"}}");
    assert_eq!(shop(&machine.file, sums).await, expected);
    let even = std::fs::read_to_string(machine.folder.join("even.csv")).expect("a file");
    assert_eq!(even.matches("2030-01-01").count() as u64, ROWS / 2, "a header and half of the rows");
    assert!(even.starts_with("id,at,name\n2,2030-01-01T00:00:02+00:00,\"line\nbreak, comma\"\n"), "{}", &even[..80]);
    what_is_new(&server, &crm, &warehouse, copies("new")).await;
    from_the_start(&installation, &server, copies("anew")).await;
}

/// People see where syncs stand, and let one begin anew.
async fn from_the_start(installation: &Installation, server: &Server, copies: Value) {
    let first = server.get("/api/v1/syncs?limit=2").await;
    let next = server.get(&format!("/api/v1/syncs?cursor={}", first["next_cursor"].as_str().expect("a cursor"))).await;
    assert_eq!(
        (&first["items"][1]["name"], &next["items"][0]["name"]),
        (&json!("orders to shop"), &json!("orders to warehouse"))
    );
    let syncs = server.all("/api/v1/syncs").await;
    let names: Vec<&str> = syncs.iter().filter_map(|sync| sync["name"].as_str()).collect();
    assert_eq!(names, ["even", "orders to shop", "orders to warehouse", "recent", "write"]);
    assert_eq!((&syncs[2]["is_done"], &syncs[2]["read"]), (&json!(true), &json!(8)), "{syncs:?}");
    assert_eq!((&syncs[4]["is_done"], &syncs[4]["cursor"]), (&json!(false), &json!(null)), "{syncs:?}");
    let command = ["sync", "reset", "orders to warehouse", "--server", &server.url, "--user", USER];
    let (code, said) = installation.run(&command);
    assert_eq!(code, 0, "{said}");
    let (status, _) =
        server.request(Method::DELETE, "/api/v1/syncs/orders%20to%20warehouse", None).await.expect("an answer");
    assert_eq!(status, StatusCode::NOT_FOUND);
    let log = run(server, "anew", vec![copies], json!({})).await;
    assert_eq!(counts(&log[0]), [ROWS + 7, ROWS + 7, 0, 0]);
    let (code, said) = installation.run(&["sync", "list", "--server", &server.url, "--user", USER]);
    assert!(code == 0 && said.contains("orders to warehouse"), "{said}");
}

/// Only what has come since the sync before is read.
async fn what_is_new(server: &Server, crm: &str, warehouse: &str, copies: Value) {
    sql(crm, &fill(ROWS + 1, ROWS + 7)).await;
    // One of before has changed, and stands at the end now.
    sql(crm, "UPDATE orders SET name = 'changed', at = at + interval '1 day' WHERE id = 5").await;
    let log = run(server, "new", vec![copies], json!({})).await;
    assert_eq!(counts(&log[0]), [8, 8, 0, 0]);
    assert_eq!(digest(warehouse, "copies").await, digest(crm, "orders").await);
    assert_eq!(text(warehouse, "SELECT string_agg(DISTINCT secret, ',') FROM copies").await, "none");
}

/// A service in pages, CSV and JSON Lines; rows that fail; and a service that takes lists.
async fn from_and_to_services(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let machine = machine(&installation).await;
    let server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let warehouse = fresh_database().await;
    sql(&warehouse, "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL CHECK (name <> 'item 13'))").await;
    integrations(&server, &warehouse, &warehouse).await;
    let service = catalogue::start();
    catalogue_at(&server, &service.url).await;
    input_files(&machine.folder);
    let pages = json!({"from": "catalogue", "cursor": {"field": "/at", "parameter": "since"},
        "http": {"path": "/items", "paging": {"by": "cursor", "items": "/data", "next": "/meta/next", "parameter": "cursor"}}});
    let table = json!({"table": "items", "key": ["id"]});
    let columns = json!({"id": "/id", "name": "/name/en"});
    let sync = |id: &str, to: &str, name: &str, source: &Value, destination: Value, more: Value| {
        let mut payload = json!({"name": name, "source": source, "destination": destination});
        payload.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        step(id, "data_sync", to, payload)
    };
    let csv = json!({"from": "catalogue", "http": {"path": "items.csv"}, "format": "csv", "delimiter": ";"});
    let in_file = json!({"from": "drop", "file": "in.jsonl"});
    let names = json!({"columns": ["id", "name"], "max_failed": 3});
    let some = json!({"columns": columns, "max_failed": 1, "incremental": true});
    let steps = vec![
        sync("strict", "warehouse", "strict", &pages, table.clone(), json!({"columns": columns})),
        sync("pages", "warehouse", "items", &pages, table.clone(), some.clone()),
        sync("new", "warehouse", "items", &pages, table.clone(), some),
        sync("csv", "warehouse", "csv", &csv, table.clone(), json!({"batch_rows": 30})),
        sync("lines", "warehouse", "lines", &in_file, table.clone(), names.clone()),
        sync("shop", "shop", "shop", &in_file, json!({"table": "orders", "key": ["id"]}), names),
        sync("list", "catalogue", "list", &pages, json!({"http": {"path": "items"}, "wrap": "items"}), json!({})),
        sync("save", "drop", "save", &pages, json!({"file": "all.jsonl"}), json!({})),
        sync("out", "drop", "out", &pages, json!({"file": "out.csv"}), json!({"columns": columns})),
        sync(
            "stolen",
            "drop",
            "stolen",
            &json!({"from": "drop", "file": "out.csv"}),
            json!({"file": "copy.csv"}),
            json!({}),
        ),
        sync("late", "drop", "late", &pages, json!({"file": "{{ trigger.file }}"}), json!({"columns": columns})),
    ];
    let log = run(&server, "services", steps, json!({"file": "../late.csv"})).await;
    what_came_of_it(&log);
    let held = text(&warehouse, "SELECT string_agg(name, ',' ORDER BY id) FROM items WHERE id IN (3, 13, 39)").await;
    assert_eq!(held, "line 43,line 13,line 39");
    let held = shop(&machine.file, "SELECT group_concat(name) FROM orders WHERE id IN (3, 39)").await;
    assert_eq!(held, "line 43,line 39");
    let saved = std::fs::read_to_string(machine.folder.join("all.jsonl")).expect("a file");
    assert_eq!(saved.lines().count() as u64, ITEMS);
    let sum: usize = service.shown().iter().map(|list| list["items"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(sum as u64, ITEMS);
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
    what_is_refused(&server).await;
}

/// Lines of JSON, some of them broken or twice, and a link that leads elsewhere.
fn input_files(folder: &Path) {
    let line = |text, n| format!("{text}{{\"id\": {}, \"name\": \"line {n}\"}}\n", n % 40);
    let lines = (0..50).fold(String::new(), line);
    std::fs::write(folder.join("in.jsonl"), format!("{lines}[1]\n{{broken\n{{\"name\": \"no id\"}}\n"))
        .expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", folder.join("out.csv")).expect("a link");
}

fn what_came_of_it(log: &[Value]) {
    assert_eq!(log[0]["execution_error_code"], "rows_failed", "{}", log[0]);
    let message = log[0]["execution_error"].as_str().unwrap_or_default();
    assert!(message.starts_with("row 14: ") && message.contains("violates check constraint"), "{message}");
    assert_eq!(counts(&log[1]), [ITEMS, ITEMS - 1, 0, 1]);
    assert_eq!(log[1]["execution_result"]["failures"][0]["row"], 14, "{}", log[1]);
    assert_eq!(log[1]["execution_result"]["cursor"], "2030-01-01T00:01:34Z");
    assert_eq!(counts(&log[2]), [0, 0, 0, 0], "nothing is new");
    assert_eq!(counts(&log[3]), [ITEMS, ITEMS, 0, 0]);
    for row in &log[4..=5] {
        assert_eq!(counts(row), [53, 40, 10, 3], "of two rows with one key the later stays: {row}");
    }
    for row in &log[6..=7] {
        assert_eq!(counts(row), [ITEMS, ITEMS, 0, 0], "{row}");
    }
    for (row, code) in [(8, "refused"), (9, "refused"), (10, "invalid_payload")] {
        assert_eq!(log[row]["execution_error_code"], code, "{}", log[row]);
    }
}

/// Keys that are one to the table alone, an address that stands in the payload, and a page that gives back what proved who asks.
async fn what_is_odd(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let machine = machine(&installation).await;
    let server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let warehouse = fresh_database().await;
    sql(&warehouse, "CREATE TABLE items (id int PRIMARY KEY, name text)").await;
    integrations(&server, &warehouse, &warehouse).await;
    let service = catalogue::start();
    catalogue_at(&server, &service.url).await;
    let lines = "{\"id\":\"7\",\"name\":\"a\"}\n{\"id\":\"007\",\"name\":\"b\"}\n{\"id\":8,\"name\":true}\n";
    std::fs::write(machine.folder.join("in.jsonl"), lines).expect("a file");
    let keys = json!({"name": "keys", "source": {"from": "drop", "file": "in.jsonl"}, "columns": ["id", "name"],
        "destination": {"table": "items", "key": ["id"]}});
    let csv = json!({"from": "catalogue", "http": {"path": "items.csv"}, "format": "csv", "delimiter": ";"});
    let plain =
        json!({"name": "plain", "source": csv, "destination": {"http": {"url": format!("{}/open", service.url)}}});
    let echo = json!({"by": "next_url", "items": "/data", "next": "/next"});
    let echo = json!({"name": "echo", "source": {"from": "catalogue", "http": {"path": "echo", "paging": echo}},
        "destination": {"file": "echo.jsonl"}});
    let steps = vec![
        step("keys", "data_sync", "warehouse", keys),
        step("plain", "data_sync", "", plain),
        step("echo", "data_sync", "drop", echo),
    ];
    let log = run(&server, "odd", steps, json!({})).await;
    assert_eq!(counts(&log[0]), [3, 3, 0, 0]);
    let held = text(&warehouse, "SELECT string_agg(id || ' ' || name, ',' ORDER BY id) FROM items").await;
    assert_eq!(held, "7 b,8 true", "the later of two rows with one key stays, and a text is the word");
    assert_eq!(counts(&log[1]), [ITEMS, ITEMS, 0, 0]);
    let sent: usize = service.shown().iter().filter_map(|it| it["open"].as_array()).map(Vec::len).sum();
    assert_eq!(sent as u64, ITEMS);
    assert_eq!(log[2]["execution_error_code"], "unexpected_answer", "{}", log[2]);
    assert!(log[2]["execution_error"].as_str().is_some_and(|it| it.contains("must hold no secret")), "{}", log[2]);
}

async fn what_is_refused(server: &Server) {
    let table = json!({"table": "items", "key": ["id"]});
    let sync = |to: &str, source: Value, destination: Value| {
        let payload = json!({"name": "no", "source": source, "destination": destination});
        json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [step("a", "data_sync", to, payload)]})
    };
    for (to, from, words) in [
        ("elsewhere", "crm", "needs `action_target` to name an integration"),
        ("warehouse", "nowhere", "needs `from` to name an integration"),
    ] {
        let source = json!({"from": from, "table": "items", "order": ["id"]});
        may_come(server, sync(to, source, table.clone()), words).await;
    }
    for (to, source, destination, words) in [
        (
            "warehouse",
            json!({"from": "crm", "table": "pg_authid", "order": ["id"]}),
            table.clone(),
            "'pg_authid' is no table that is named for flows",
        ),
        (
            "warehouse",
            json!({"from": "crm", "query": "SELECT 1", "order": ["id"]}),
            table.clone(),
            "is no query that is named for flows: recent",
        ),
        ("warehouse", json!({"from": "drop", "file": "../x.csv"}), table, "must be a path below the folder"),
        (
            "warehouse",
            json!({"from": "crm", "table": "items", "order": ["id"]}),
            json!({"file": "/etc/x.csv"}),
            "needs a folder",
        ),
    ] {
        let flow = sync(to, source, destination);
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
}

#[tokio::test]
async fn rows_go_between_databases_on_sqlite() {
    between_databases(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn rows_go_between_databases_on_postgres() {
    between_databases(StoreKind::Postgres).await;
}

#[tokio::test]
async fn odd_rows_and_places_are_met_on_sqlite() {
    what_is_odd(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn odd_rows_and_places_are_met_on_postgres() {
    what_is_odd(StoreKind::Postgres).await;
}

#[tokio::test]
async fn rows_go_from_and_to_services_on_sqlite() {
    from_and_to_services(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn rows_go_from_and_to_services_on_postgres() {
    from_and_to_services(StoreKind::Postgres).await;
}
