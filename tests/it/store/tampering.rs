//! What somebody with the database's password does to the history is refused, and found where the guards were removed.

use core314_actors::ports::ledger::{Finding, Ledger};
use core314_actors::testkit::store_suite::samples::Samples;
use core314_actors::testkit::store_suite::{commit_run, holds, take};

use super::bed::{Bed, Raw};

const HISTORY: [&str; 3] = ["log", "audit", "log_checkpoints"];

/// A store with a few rows in every append-only table: 6 attempts and 6 audit entries of partition 1.
async fn with_history(bed: &Bed) -> Raw {
    let epoch = take(&**bed).await;
    let mut samples = Samples::new(30);
    for _ in 0..3 {
        let run = samples.accept(1, epoch);
        commit_run(&**bed, &run).await;
        let finished = samples.finish(&run, 2);
        commit_run(&**bed, &finished).await;
    }
    assert_eq!(holds(&**bed).await.rows, 12);
    bed.raw().await
}

/// Removes the triggers, and keeps a copy of every table to restore.
async fn disarm(raw: &mut Raw) {
    for table in HISTORY {
        let guards = match raw {
            Raw::Sqlite(_) => format!("DROP TRIGGER {table}_no_update; DROP TRIGGER {table}_no_delete"),
            Raw::Postgres(_) => {
                format!("DROP TRIGGER {table}_append_only ON {table}; ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            }
        };
        raw.run(&guards).await.expect("the owner can remove the guards");
        raw.run(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await.expect("a copy");
    }
}

async fn restore(raw: &mut Raw) {
    for table in HISTORY {
        let again = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}");
        raw.run(&again).await.expect("the copy comes back");
    }
}

async fn findings(bed: &Bed) -> Vec<Finding> {
    bed.verify().await.expect("it verifies").findings
}

/// Names of a table's columns with an expression that gives each another value.
async fn other_values(raw: &mut Raw, table: &str) -> Vec<(String, String)> {
    let columns = match raw {
        Raw::Sqlite(_) => format!("SELECT name, lower(type) FROM pragma_table_info('{table}')"),
        Raw::Postgres(_) => {
            format!(
                "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_name = '{table}'"
            )
        }
    };
    let is_sqlite = matches!(raw, Raw::Sqlite(_));
    let other = |name: &str, kind: &str| match (kind, name) {
        ("boolean", _) => format!("NOT {name}"),
        ("integer", "is_final" | "success") if is_sqlite => format!("1 - {name}"),
        ("integer" | "bigint", _) => format!("coalesce({name}, 0) + 1000"),
        ("uuid", _) => "'0190a000-0000-7000-8000-000000000001'".to_owned(),
        ("bytea", _) => r"'\x0102'".to_owned(),
        ("blob", "row_hash" | "merkle_root") => "zeroblob(32)".to_owned(),
        ("blob", _) => "zeroblob(16)".to_owned(),
        ("jsonb", _) => "'[7]'".to_owned(),
        ("text", "payload" | "result" | "error_details" | "details" | "heads") if is_sqlite => "'[7]'".to_owned(),
        ("text", _) => format!("coalesce({name}, '') || 'x'"),
        other => panic!("no other value for {other:?}"),
    };
    raw.pairs(&columns).await.into_iter().map(|(name, kind)| (name.clone(), other(&name, &kind))).collect()
}

async fn every_altered_column_is_found(bed: Bed) {
    let raw = &mut with_history(&bed).await;
    disarm(raw).await;
    for (table, row) in [("log", "partition = 1 AND seq = 3"), ("audit", "partition = 1 AND seq = 3")] {
        for (column, other) in other_values(raw, table).await {
            raw.run(&format!("UPDATE {table} SET {column} = {other} WHERE {row}")).await.expect("it can be altered");
            let found = findings(&bed).await;
            assert!(!found.is_empty(), "{table}.{column} can be altered unseen");
            restore(raw).await;
        }
    }
    for (column, other) in other_values(raw, "log_checkpoints").await {
        // Neither says anything about the rows.
        if ["id", "created_at_ms"].contains(&column.as_str()) {
            continue;
        }
        raw.run(&format!("UPDATE log_checkpoints SET {column} = {other}")).await.expect("it can be altered");
        assert!(!findings(&bed).await.is_empty(), "log_checkpoints.{column} can be altered unseen");
        restore(raw).await;
    }
    holds(&*bed).await;
}

async fn rows_removed_or_slipped_in_are_found(bed: Bed) {
    let raw = &mut with_history(&bed).await;
    disarm(raw).await;
    let id = match raw {
        Raw::Sqlite(_) => "x'01ffffffffff7000800000000000000f'",
        Raw::Postgres(_) => "'01ffffff-ffff-7000-8000-00000000000f'",
    };
    let copy = |seq: i64| {
        format!(
            "CREATE TABLE copy AS SELECT * FROM log WHERE partition = 1 AND seq = 3; \
             UPDATE copy SET id = {id}, seq = {seq}, attempt = 9; INSERT INTO log SELECT * FROM copy; DROP TABLE copy"
        )
    };
    let cases = [
        ("DELETE FROM log WHERE partition = 1 AND seq = 3".to_owned(), "execution_log", 3, "removed"),
        ("DELETE FROM log WHERE partition = 1 AND seq = 6".to_owned(), "execution_log", 6, "removed"),
        ("DELETE FROM audit WHERE seq < 3".to_owned(), "decision_audit_log", 1, "removed"),
        (copy(3), "execution_log", 3, "inserted"),
        (copy(7), "execution_log", 7, "altered"),
        ("UPDATE log SET error = 'fine' WHERE seq = 2".to_owned(), "execution_log", 2, "altered"),
        ("DELETE FROM log_checkpoints WHERE row_count = 3".to_owned(), "log_checkpoints", 3, "checkpoint"),
    ];
    for (sql, table, seq, word) in cases {
        raw.run(&sql).await.expect("it can be done");
        let found = findings(&bed).await;
        let first = found.first().unwrap_or_else(|| panic!("{sql}: not found"));
        assert_eq!((first.table, first.partition, first.seq), (table, 1, seq), "{sql}: {found:?}");
        assert!(first.message.contains(word), "{sql}: {found:?}");
        restore(raw).await;
    }
    holds(&*bed).await;
}

async fn history_is_append_only(bed: Bed) {
    let raw = &mut with_history(&bed).await;
    for table in HISTORY {
        for sql in [format!("UPDATE {table} SET id = id"), format!("DELETE FROM {table}")] {
            let message = raw.run(&sql).await.expect_err("it must be refused");
            assert!(message.contains("append-only"), "{sql}: {message}");
        }
    }
    assert_eq!(holds(&*bed).await.rows, 12);
}

#[tokio::test]
async fn every_altered_column_is_found_on_sqlite() {
    every_altered_column_is_found(Bed::sqlite().await).await;
}

#[tokio::test]
async fn every_altered_column_is_found_on_postgres() {
    every_altered_column_is_found(Bed::postgres().await).await;
}

#[tokio::test]
async fn rows_removed_or_slipped_in_are_found_on_sqlite() {
    rows_removed_or_slipped_in_are_found(Bed::sqlite().await).await;
}

#[tokio::test]
async fn rows_removed_or_slipped_in_are_found_on_postgres() {
    rows_removed_or_slipped_in_are_found(Bed::postgres().await).await;
}

#[tokio::test]
async fn history_is_append_only_on_sqlite() {
    history_is_append_only(Bed::sqlite().await).await;
}

#[tokio::test]
async fn history_is_append_only_on_postgres() {
    history_is_append_only(Bed::postgres().await).await;
    // Not even in one sweep, and the service has not even the right to try.
    let raw = &mut Bed::postgres().await.raw().await;
    assert!(raw.run("TRUNCATE log").await.expect_err("refused").contains("append-only"));
    let service = "SET ROLE core314_service; DELETE FROM log";
    assert!(raw.run(service).await.expect_err("refused").contains("permission denied"));
}
