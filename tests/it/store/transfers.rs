//! An installation from one database into another: everything arrives, and nothing that is there is overwritten.

use core314::store::{Claim, SqlStore, StoreOptions, Transfer, TransferReport, transfer};
use core314_actors::ports::StoreError;
use core314_actors::testkit::store_suite::samples::Samples;
use core314_actors::testkit::store_suite::{commit_run, history, holds, take};
use rand::Rng;

use super::bed::{Bed, Raw, fresh_database, patient};

async fn copy(from: &str, to: &str, restart: bool) -> Result<TransferReport, StoreError> {
    let options = StoreOptions { busy_timeout: std::time::Duration::from_secs(3), ..patient() };
    let plan = Transfer { from: from.to_owned(), to: to.to_owned(), options, moves: true, restart, paused_by: None };
    transfer(&plan, &|_| {}).await
}

async fn refused(from: &str, to: &str) -> String {
    copy(from, to, false).await.expect_err("it must be refused").to_string()
}

/// What each table came to. The types are PostgreSQL's where it has a part, so this is the same in both directions.
fn digests(report: &TransferReport) -> Vec<(String, u64, String)> {
    report.tables.iter().map(|table| (table.name.clone(), table.rows, table.digest.clone())).collect()
}

async fn id_of(url: &str) -> String {
    let mut raw = Raw::connect(url).await;
    let sql = match raw {
        Raw::Sqlite(_) => "SELECT lower(hex(installation_id)), '' FROM cluster",
        Raw::Postgres(_) => "SELECT replace(installation_id::text, '-', ''), '' FROM cluster",
    };
    raw.pairs(sql).await.remove(0).0
}

#[tokio::test]
async fn an_installation_moves_between_the_databases_and_back() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let (mut lite, mut postgres) = (Bed::sqlite().await, Bed::postgres().await);
    history::compare(seed, 40, &*lite, &*postgres).await;
    let rows = holds(&*lite).await.rows;
    lite.close();
    postgres.close();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| format!("sqlite:{}", dir.path().join(name).display());

    let there = fresh_database().await;
    let report = copy(&lite.url, &there, false).await.expect("it moves to PostgreSQL");
    assert_eq!((report.ledger.rows, report.left_out.len()), (rows, 0), "{report:?}");
    assert!(report.rows > rows, "{report:?}");
    let back = copy(&there, &file("back.db"), false).await.expect("it moves back");
    assert_eq!(digests(&back), digests(&report));
    assert_eq!(id_of(&file("back.db")).await, id_of(&lite.url).await, "it is the same installation");

    // Two of a kind, and from where PostgreSQL wrote.
    let also = copy(&file("back.db"), &file("also.db"), false).await.expect("it moves to another file");
    assert_eq!((digests(&also), also.ledger.rows), (digests(&report), rows));
    let other = fresh_database().await;
    let moved = copy(&postgres.url, &other, false).await.expect("it moves to another server");
    assert_eq!(moved.ledger.rows, rows);
    for url in [file("back.db"), file("also.db"), there, other] {
        let store = SqlStore::open(&url, patient()).await.expect("it is an installation like any other");
        assert_eq!(holds(&store).await.rows, rows);
    }
}

/// A destination that was filled in part, as an interruption leaves it.
async fn an_unfinished_copy_is_begun_anew(mut to: Bed) {
    let mut from = Bed::sqlite().await;
    with_a_run(&from).await;
    from.close();
    with_a_run(&to).await;
    to.close();
    let message = refused(&from.url, &to.url).await;
    assert!(message.contains("holds data"), "{message}");
    let mut raw = Raw::connect(&to.url).await;
    raw.run("UPDATE cluster SET unfinished_since_ms = 1").await.expect("it is marked");
    let message = refused(&from.url, &to.url).await;
    assert!(message.contains("not finished: --restart"), "{message}");
    let Err(error) = SqlStore::open(&to.url, patient()).await else { panic!("no server starts on half a copy") };
    assert!(error.to_string().contains("not finished"), "{error}");
    let message = refused(&to.url, &from.url).await;
    assert!(message.contains("itself a copy") || message.contains("holds data"), "{message}");

    let report = copy(&from.url, &to.url, true).await.expect("what was there is removed");
    assert_eq!(report.ledger.rows, 1);
    let store = SqlStore::open(&to.url, patient()).await.expect("it opens now");
    assert_eq!(holds(&store).await.rows, 1);
    // The guards of the history are back.
    let message = raw.run("DELETE FROM audit").await.expect_err("it must be refused");
    assert!(message.contains("append-only"), "{message}");
}

async fn with_a_run(store: &SqlStore) {
    let epoch = take(store).await;
    let run = Samples::new(60).accept(0, epoch);
    commit_run(store, &run).await;
}

#[tokio::test]
async fn an_unfinished_copy_is_begun_anew_on_sqlite() {
    an_unfinished_copy_is_begun_anew(Bed::sqlite().await).await;
}

#[tokio::test]
async fn an_unfinished_copy_is_begun_anew_on_postgres() {
    an_unfinished_copy_is_begun_anew(Bed::postgres().await).await;
}

#[tokio::test]
async fn a_source_that_has_a_server_or_another_schema_stays_where_it_is() {
    let lite = Bed::sqlite().await;
    let message = refused(&lite.url, &fresh_database().await).await;
    assert!(message.contains("stop it first"), "{message}");
    let mut postgres = Bed::postgres().await;
    postgres.reopen(StoreOptions { claim: Claim::Alone, ..patient() }).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = format!("sqlite:{}", dir.path().join("core314.db").display());
    let message = refused(&postgres.url, &to).await;
    assert!(message.contains("stop it first"), "{message}");
    postgres.close();
    Raw::connect(&postgres.url).await.run("UPDATE cluster SET schema_version = 1").await.expect("it looks older");
    let message = refused(&postgres.url, &to).await;
    assert!(message.contains("has schema 1"), "{message}");
    let message = refused(&postgres.url, &postgres.url).await;
    assert!(message.contains("are the same"), "{message}");
    assert!(!dir.path().join("core314.db").exists(), "nothing was made before all was known");
}

async fn what_does_not_belong_is_found(bed: Bed) {
    with_a_run(&bed).await;
    assert_eq!(bed.look_through().await.expect("it looks"), []);
    let mut raw = bed.raw().await;
    let id = match raw {
        Raw::Sqlite(_) => "randomblob(16)",
        Raw::Postgres(_) => "gen_random_uuid()",
    };
    let service = if matches!(raw, Raw::Postgres(_)) { "SET ROLE core314_service; " } else { "" };
    for (sql, table, invariant) in [
        (format!("UPDATE run_state SET tenant_id = {id}"), "run_state", None),
        (format!("UPDATE runs SET tenant_id = {id}"), "runs", Some(5)),
        ("DELETE FROM runs".to_owned(), "approvals", None),
    ] {
        raw.run(&format!("{service}{sql}")).await.expect("it can be done by hand");
        let found = bed.look_through().await.expect("it looks");
        let named = found.iter().find(|finding| finding.table == table && finding.invariant == invariant);
        assert!(named.is_some_and(|finding| finding.rows.len() == 1), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn what_does_not_belong_is_found_on_sqlite() {
    what_does_not_belong_is_found(Bed::sqlite().await).await;
}

#[tokio::test]
async fn what_does_not_belong_is_found_on_postgres() {
    what_does_not_belong_is_found(Bed::postgres().await).await;
}
