//! `data_sync` by the real binary through SIGKILL: half-way, and at each place between a write and its position.
//!
//! `CORE314_LONG=1` moves a million rows through the crash instead of twenty thousand.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use super::syncs::{ORDERS, counts, digest, fill, integrations, machine, sql, text};
use super::{catalogue_at, done, step};
use crate::providers::catalogue::{self, ITEMS};
use crate::support::{Installation, Server, StoreKind, fresh_database, long};

/// Waits for the end of a run, and gives the attempts of its one step, in their order.
async fn ended(server: &Server, id: &str) -> Vec<Value> {
    let started = Instant::now();
    let within = if long() { 1_800 } else { 120 };
    while server.get(&format!("/api/v1/runs/{id}")).await["completed_at"].is_null() {
        assert!(started.elapsed().as_secs() < within, "the run does not end");
    }
    let mut log = server.all(&format!("/api/v1/execution-log?flow_run_id={id}")).await;
    log.sort_by_key(|row| row["retry_attempt"].as_i64());
    log
}

/// Starts a run of one sync that may be tried again.
async fn begin(server: &Server, name: &str, to: &str, payload: Value) -> String {
    let mut sync = step("sync", "data_sync", to, payload);
    sync["retry"] = json!({"max_attempts": 3, "backoff_seconds": 0.01});
    sync["timeout_seconds"] = 1_800.into();
    let flow = json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [sync]});
    done(server, Method::POST, "/api/v1/flows", flow).await;
    let accepted = done(server, Method::POST, &format!("/api/v1/flows/{name}/trigger"), json!({})).await;
    accepted["id"].as_str().expect("a run").to_owned()
}

/// SIGKILL when about half of the rows are there.
async fn killed_half_way(kind: StoreKind) {
    let rows: u64 = if long() { 1_000_000 } else { 20_000 };
    let installation = Installation::new(kind).await;
    let machine = machine(&installation).await;
    let mut server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let (crm, warehouse) = (fresh_database().await, fresh_database().await);
    sql(&crm, &format!("{ORDERS}; {}", fill(1, rows))).await;
    sql(&warehouse, &ORDERS.replace("orders", "copies")).await;
    // Whatever is written twice, or left out, shows in the count of writes.
    sql(
        &warehouse,
        "CREATE TABLE writes (id bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN INSERT INTO writes VALUES (NEW.id); RETURN NEW; END'; \
        CREATE TRIGGER noted AFTER INSERT OR UPDATE ON copies FOR EACH ROW EXECUTE FUNCTION note()",
    )
    .await;
    integrations(&server, &crm, &warehouse).await;
    let payload = json!({"name": "orders", "batch_rows": 500, "incremental": true,
        "source": {"from": "crm", "table": "orders", "order": ["id"]}, "destination": {"table": "public.copies", "key": ["id"]}});
    let id = begin(&server, "orders", "warehouse", payload).await;
    let mut there = 0;
    let started = Instant::now();
    while there < rows / 2 {
        assert!(started.elapsed().as_secs() < 600, "the sync does not come on");
        there = text(&warehouse, "SELECT count(*)::text FROM copies").await.parse().expect("a number");
    }
    server.kill();
    let there: u64 = text(&warehouse, "SELECT count(*)::text FROM copies").await.parse().expect("a number");
    assert!(there < rows, "killed half-way: {there} of {rows} rows");
    let server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let log = ended(&server, &id).await;
    let last = log.last().expect("an attempt");
    assert_eq!(log[0]["execution_error_code"], "outcome_unknown", "{log:?}");
    assert_eq!(counts(last), [rows, rows, 0, 0]);
    let resumed = last["execution_result"]["resumed_after"].as_u64().expect("it was resumed");
    assert!((1..rows).contains(&resumed) && resumed + 500 >= there, "{resumed} of {there}");
    assert_eq!(digest(&warehouse, "copies").await, digest(&crm, "orders").await);
    let twice: u64 =
        text(&warehouse, "SELECT (count(*) - count(DISTINCT id))::text FROM writes").await.parse().expect("a number");
    assert!(twice <= 500, "at most the portion under way is put again, by its keys: {twice}");
    println!("killed after {there} of {rows} rows, resumed after {resumed}, {twice} rows put again by their keys");
}

/// Death between what is durable at the destination and the position, and between the file's new name and the last position.
async fn killed_at_each_place(kind: StoreKind) {
    let service = catalogue::start();
    for point in ["sync.put=kill@4", "sync.kept=kill@4", "sync.finished=kill@1"] {
        let installation = Installation::new(kind).await;
        let machine = machine(&installation).await;
        let mut environment = machine.environment.clone();
        environment.push(("CORE314_FAILPOINTS", point.to_owned()));
        let mut server = Server::start_with(&installation, &environment).expect("the server becomes ready");
        catalogue_at(&server, &service.url).await;
        let pages = json!({"from": "catalogue", "http": {"path": "/items",
            "paging": {"by": "cursor", "items": "/data", "next": "/meta/next", "parameter": "cursor"}}});
        let csv = json!({"from": "catalogue", "http": {"path": "items.csv"}, "format": "csv", "delimiter": ";"});
        let mut syncs = vec![
            (
                "file",
                "drop",
                json!({"name": "file", "source": pages, "columns": {"id": "/id"}, "destination": {"file": "ids.csv"}}),
            ),
            (
                "text",
                "drop",
                json!({"name": "text", "batch_rows": 10, "source": csv, "destination": {"file": "csv.jsonl"}}),
            ),
        ];
        if !point.starts_with("sync.finished") {
            let to = json!({"http": {"path": "items"}, "wrap": "items"});
            syncs.push(("list", "catalogue", json!({"name": "list", "source": pages, "destination": to})));
        }
        for (name, to, payload) in syncs {
            let before = service.shown().len();
            let id = begin(&server, name, to, payload).await;
            server.wait();
            // It dies once: the next one is told nothing.
            server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
            let log = ended(&server, &id).await;
            let last = log.last().expect("an attempt");
            assert_eq!(counts(last), [ITEMS, ITEMS, 0, 0], "{point} {name}");
            assert!(last["execution_result"]["resumed_after"].as_u64() > Some(0), "{point} {name}: {last}");
            if name == "list" {
                each_once(&service.shown()[before..]);
            }
            drop(server);
            server = Server::start_with(&installation, &environment).expect("the server becomes ready");
        }
        let ids = std::fs::read_to_string(machine.folder.join("ids.csv")).expect("a file");
        let expected: String = std::iter::once("id\n".to_owned()).chain((0..ITEMS).map(|n| format!("{n}\n"))).collect();
        assert_eq!(ids, expected, "{point}");
        let lines = std::fs::read_to_string(machine.folder.join("csv.jsonl")).expect("a file");
        let expected: String =
            (0..ITEMS).map(|n| json!({"id": n.to_string(), "name": format!("item; {n}")}).to_string() + "\n").collect();
        assert_eq!(lines, expected, "{point}");
        let left: Vec<_> = std::fs::read_dir(&machine.folder).expect("a folder").flatten().collect();
        assert_eq!(left.len(), 2, "nothing is left of files under way: {left:?}");
    }
}

/// Death behind the file's new name, while its source grows: what is new is in no file yet, and the next sync brings it.
async fn grown_behind_the_end(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let machine = machine(&installation).await;
    let mut environment = machine.environment.clone();
    environment.push(("CORE314_FAILPOINTS", "sync.finished=kill@1".to_owned()));
    let mut server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let crm = fresh_database().await;
    sql(&crm, &format!("{ORDERS}; {}", fill(1, 30))).await;
    integrations(&server, &crm, &crm).await;
    let orders = json!({"name": "orders", "incremental": true, "columns": {"id": "id"},
        "source": {"from": "crm", "table": "orders", "order": ["id"]}, "destination": {"file": "ids.csv"}});
    let lines =
        json!({"name": "lines", "source": {"from": "drop", "file": "in.jsonl"}, "destination": {"file": "out.jsonl"}});
    for (name, payload, rows) in [("orders", &orders, 30), ("lines", &lines, 1)] {
        std::fs::write(machine.folder.join("in.jsonl"), "{\"id\":1}\n").expect("a file");
        let id = begin(&server, name, "drop", payload.clone()).await;
        server.wait();
        sql(&crm, &format!("{} ON CONFLICT DO NOTHING", fill(31, 40))).await;
        std::fs::write(machine.folder.join("in.jsonl"), "{\"id\":1}\n{\"id\":2}\n").expect("a file");
        server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
        let log = ended(&server, &id).await;
        assert_eq!(counts(log.last().expect("an attempt")), [rows, rows, 0, 0], "{name}");
        drop(server);
        server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    }
    let ids = |from: u64, to: u64| (from..=to).fold("id\n".to_owned(), |text, id| text + &format!("{id}\n"));
    let file = || std::fs::read_to_string(machine.folder.join("ids.csv")).expect("a file");
    assert_eq!(file(), ids(1, 30));
    drop(server);
    let server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let log = ended(&server, &begin(&server, "next", "drop", orders).await).await;
    assert_eq!(counts(log.last().expect("an attempt")), [10, 10, 0, 0]);
    assert_eq!(file(), ids(31, 40));
}

/// A text of which no header says that it is another is not gone on with: rows would be lost, or come twice.
async fn another_text(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let machine = machine(&installation).await;
    let mut environment = machine.environment.clone();
    environment.push(("CORE314_FAILPOINTS", "sync.put=kill@4".to_owned()));
    let mut server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let service = catalogue::start();
    catalogue_at(&server, &service.url).await;
    let csv = json!({"from": "catalogue", "http": {"path": "changing.csv"}, "format": "csv", "delimiter": ";"});
    let payload = json!({"name": "text", "batch_rows": 10, "source": csv, "destination": {"file": "csv.jsonl"}});
    let id = begin(&server, "text", "drop", payload).await;
    server.wait();
    let server = Server::start_with(&installation, &machine.environment).expect("the server becomes ready");
    let log = ended(&server, &id).await;
    let last = log.last().expect("an attempt");
    assert_eq!(last["execution_error_code"], "source_changed", "{last}");
    assert!(!machine.folder.join("csv.jsonl").exists(), "a file takes its name when it is whole");
}

/// A list that came twice came under the same key with the same items; without it each item came once.
fn each_once(lists: &[Value]) {
    let mut known: Vec<&Value> = Vec::new();
    for list in lists {
        match known.iter().find(|known| known["key"] == list["key"]) {
            Some(before) => assert_eq!(before["items"], list["items"], "the same key has the same items"),
            None => known.push(list),
        }
    }
    let ids: Vec<u64> = known
        .iter()
        .flat_map(|list| list["items"].as_array().expect("a list"))
        .map(|item| item["id"].as_u64().expect("an id"))
        .collect();
    assert_eq!(ids, (0..ITEMS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sync_killed_half_way_loses_and_doubles_nothing_on_sqlite() {
    killed_half_way(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_sync_killed_half_way_loses_and_doubles_nothing_on_postgres() {
    killed_half_way(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_sync_killed_at_each_place_goes_on_on_sqlite() {
    killed_at_each_place(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_sync_killed_at_each_place_goes_on_on_postgres() {
    killed_at_each_place(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_source_that_grows_behind_the_end_loses_nothing_on_sqlite() {
    grown_behind_the_end(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_source_that_grows_behind_the_end_loses_nothing_on_postgres() {
    grown_behind_the_end(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_text_that_is_another_is_not_gone_on_with_on_sqlite() {
    another_text(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_text_that_is_another_is_not_gone_on_with_on_postgres() {
    another_text(StoreKind::Postgres).await;
}
