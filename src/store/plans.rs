//! The plans of the statements that look rows up by many keys at once: by index, on both databases, however many keys.
//!
//! SQLite once preferred to index the 256 keys of a batch and to read the whole table past them.

use core314_actors::ports::Scope;

use super::cell::{Cell, Rows};
use super::commit::{
    batch, connections, definitions, effects, escalations, events, gather, limits, people, rollouts, runs, schedules,
    signals, statistics, webhooks,
};
use super::connection::{Bulk, Connection};
use super::{SqlStore, StoreOptions, blobs, bulk, engine, heads, notifications, step_cache, views};

/// A statement with the types of its columns: a letter each.
type Keyed = (&'static str, Bulk, &'static str);

const WRITTEN: [Keyed; 41] = [
    ("step_cache::KEEP", step_cache::KEEP, "uuuujiii"),
    ("runs::FREED_KEY", runs::FREED_KEY, "uthjii"),
    ("runs::NEXT_STATES", runs::NEXT_STATES, "uuiittiiii"),
    ("runs::FREED_NAMES", runs::FREED_NAMES, "uutu"),
    ("limits::LEFT", limits::LEFT, "u"),
    ("gather::GATHER", gather::GATHER, "uu"),
    ("gather::COUNTED", gather::COUNTED, "uuiiii"),
    ("gather::OVERTAKEN", gather::OVERTAKEN, "ui"),
    ("gather::EMPTIED", gather::EMPTIED, "u"),
    ("bulk::NEXT_JOB", bulk::NEXT_JOB, "utjjii"),
    ("bulk::NEXT_ITEMS", bulk::NEXT_ITEMS, "uiutit"),
    ("bulk::NOTED", bulk::NOTED, "uit"),
    ("batch::LEASES", batch::LEASES, "i"),
    ("statistics::COVERED", statistics::COVERED, "iii"),
    ("rollouts::COUNTERS", rollouts::COUNTERS, "uiiuii"),
    ("definitions::NEXT_FLOW", definitions::NEXT_FLOW, "uuuutibbtjuuii"),
    ("webhooks::NEXT_WEBHOOK", webhooks::NEXT_WEBHOOK, "uuuuttjjtutjbiii"),
    ("connections::NEXT_INTEGRATION", connections::NEXT_INTEGRATION, "uuuuttjbiii"),
    ("connections::NEXT_SECRET", connections::NEXT_SECRET, "uuuutttiiiti"),
    ("connections::BREAKERS", connections::BREAKERS, "uuj"),
    ("connections::RESEALED", connections::RESEALED, "uttti"),
    ("connections::RESEALED_WEBHOOKS", connections::RESEALED_WEBHOOKS, "uij"),
    ("effects::DECIDED", effects::DECIDED, "uuituitj"),
    ("signals::DECISIONS_TRIED", signals::DECISIONS_TRIED, "uutii"),
    ("signals::RECOMMENDATIONS_TRIED", signals::RECOMMENDATIONS_TRIED, "uutii"),
    ("schedules::MOVED", schedules::MOVED, "uuiiibiuiiiiiititi"),
    ("events::CLOSED", events::CLOSED, "ui"),
    ("events::NOT_TOLD", events::NOT_TOLD, "ui"),
    ("events::LOOKED_BACK", events::LOOKED_BACK, "uttuiit"),
    ("heads::HEADS", heads::HEADS, "ti"),
    ("heads::MOVED_HEADS", heads::MOVED_HEADS, "tiihui"),
    ("notifications::READ", notifications::READ, "uuui"),
    ("notifications::ARCHIVED", notifications::ARCHIVED, "uuui"),
    ("signals::NAMED", signals::NAMED, "uthj"),
    ("escalations::RULE_NEXT", escalations::RULE_NEXT, "uuitbijiui"),
    ("escalations::FIGURES", escalations::steps::FIGURES, "uiiiiiiiii"),
    ("escalations::EVENT_NEXT", escalations::steps::EVENT_NEXT, "uuititiijuiuitbiiibbtii"),
    ("escalations::ON_CALL_NEXT", escalations::ON_CALL_NEXT, "uuitji"),
    ("escalations::SILENCE_NEXT", escalations::SILENCE_NEXT, "uutjiii"),
    ("outbox::TASKS_NEXT", escalations::outbox::TASKS_NEXT, "uutbutiii"),
    ("people::HABIT_NEXT", people::HABIT_NEXT, "uuiji"),
];
/// What is noted only where somebody waits for it, and crossed out once that is settled: in the words of each database.
const NOTED: [Keyed; 6] = [
    ("at_once::BUNDLED", escalations::at_once::BUNDLED, "uiuu"),
    ("at_once::WAKES", escalations::at_once::WAKES, "uuii"),
    ("signals::SETTLED", signals::SETTLED, "uu"),
    ("signals::ENDS", signals::ENDS, "uuuutujti"),
    ("escalations::FAILURES", escalations::FAILURES, "uuuutujti"),
    ("escalations::OPENED", escalations::steps::OPENED, "uuuutujti"),
];
const NOTED_BY_SQLITE: [Keyed; 4] = [
    ("signals::SETTLED_SQLITE", signals::SETTLED_SQLITE, "uu"),
    ("signals::ENDS_SQLITE", signals::ENDS_SQLITE, "uuuutujti"),
    ("escalations::FAILURES_SQLITE", escalations::FAILURES_SQLITE, "uuuutujti"),
    ("escalations::OPENED_SQLITE", escalations::steps::OPENED_SQLITE, "uuuutujti"),
];
const READ: [Keyed; 11] = [
    ("blobs::TAKEN_OVER", blobs::TAKEN_OVER, "ui"),
    ("blobs::RESULTS", blobs::RESULTS, "ui"),
    ("blobs::OF_RUN", blobs::OF_RUN, "uu"),
    ("step_cache::FIND", step_cache::FIND, "uuui"),
    ("engine::RUNS", engine::RUNS, "u"),
    ("engine::LAST_ATTEMPTS", engine::LAST_ATTEMPTS, "u"),
    ("engine::TAKEN_OVER", engine::TAKEN_OVER, "u"),
    ("failures::LAST_ATTEMPTS", views::failures::LAST_ATTEMPTS, "uiu"),
    ("limits::GATHERED", super::limits::GATHERED, "u"),
    ("statistics::STORED", statistics::STORED, "iutii"),
    ("escalations::OPEN_AMONG", super::escalations::OPEN_AMONG, "utiiu"),
];

/// What is held for as long as a transaction lasts, on PostgreSQL.
const HELD: [Keyed; 5] = [
    ("batch::LEASES_HELD", batch::LEASES_HELD, "i"),
    ("batch::LEASES_GRANTED", batch::LEASES_GRANTED, "ii"),
    ("heads::HEADS_HELD", heads::HEADS_HELD, "ti"),
    ("statistics::HELD", statistics::HELD, "iutii"),
    ("statistics::COVERED_HELD", statistics::COVERED_HELD, "iii"),
];

/// What PostgreSQL must read by its key alone. The plan of a commit's one statement is kept, also where it was made of an empty
/// table: by an index of the tenant's rows it would then read all of them, for a while.
const BY_KEY_ALONE: [(&str, Bulk, &str, &str); 5] = [
    ("escalations::EVENT_NEXT", escalations::steps::EVENT_NEXT, "uuititiijuiuitbiiibbtii", "escalations_pkey"),
    ("at_once::BUNDLED", escalations::at_once::BUNDLED, "uiuu", "Index Cond: (rule_id = "),
    ("at_once::WAKES", escalations::at_once::WAKES, "uuii", "escalations_pkey"),
    ("signals::DECISIONS_TRIED", signals::DECISIONS_TRIED, "uutii", "decisions_pkey"),
    ("signals::RECOMMENDATIONS_TRIED", signals::RECOMMENDATIONS_TRIED, "uutii", "recommendations_pkey"),
];

fn rows(types: &str, count: usize) -> Rows<'static> {
    let mut rows = Rows::new(1);
    for letter in types.repeat(count).chars() {
        rows.push([match letter {
            'u' => Cell::Uuid(None),
            'i' => Cell::Int(None),
            'b' => Cell::Bool(Some(false)),
            't' => Cell::Text(None),
            'j' => Cell::Json(None),
            'h' => Cell::Hash([0; 32]),
            other => panic!("no type has the letter {other}"),
        }]);
    }
    rows.reshape(types.len())
}

/// Explains every statement, for one key and for a full batch, and gives the plans that read a whole table.
async fn scans(connection: &mut Connection, statements: &[Keyed], is_scan: fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for &(name, bulk, types) in statements {
        for count in [1, 256] {
            let plan = connection.explain(bulk, &rows(types, count)).await.expect("the statement is valid");
            assert!(plan.len() > 1, "{name} has no plan");
            if plan.iter().any(|line| is_scan(line)) {
                found.push(format!("{name}, {count} rows: {plan:#?}"));
            }
        }
    }
    found
}

#[tokio::test]
async fn sqlite_looks_up_by_index() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite:{}", dir.path().join("core314.db").display());
    let store = SqlStore::open(&url, StoreOptions::default()).await.expect("it opens");
    let mut connection = store.connector.connect().await.expect("it connects");
    let is_scan = |line: &str| {
        line.contains("AUTOMATIC") || line.starts_with("SCAN ") && line != "SCAN u" && !line.contains("CONSTANT ROW")
    };
    assert_eq!(scans(&mut connection, &WRITTEN, is_scan).await, [""; 0]);
    assert_eq!(scans(&mut connection, &NOTED_BY_SQLITE, is_scan).await, [""; 0]);
    let mut reader = store.read(Scope::Platform).await.expect("begins");
    assert_eq!(scans(&mut reader, &READ, is_scan).await, [""; 0]);
}

/// What a rule has held back is found among thousands of events that it had before.
#[tokio::test]
async fn sqlite_finds_what_is_held_back_by_its_own_index() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite:{}", dir.path().join("core314.db").display());
    let store = SqlStore::open(&url, StoreOptions::default()).await.expect("it opens");
    let mut connection = store.connector.connect().await.expect("it connects");
    let held = "INDEX escalations_held (rule_id=?)";
    // And what it has told of among thousands that it held back.
    for (sql, index) in [
        (super::escalations::HELD_BACK, held),
        (escalations::steps::BUNDLED, held),
        (escalations::steps::PUT_OFF, held),
        (super::escalations::NEWEST_OF_RULE, "INDEX escalations_told (rule_id=?)"),
        (super::escalations::RECENT, "INDEX escalations_told (rule_id=? AND triggered_at_ms>?)"),
    ] {
        let plan = connection.fetch_made(format!("EXPLAIN QUERY PLAN {sql}"), &[]).await.expect("a plan");
        let [line] = &*plan else { panic!("{sql} has {} lines", plan.len()) };
        let mut fields = line.fields();
        for _ in ["id", "parent", "notused"] {
            fields.int().expect("a number");
        }
        let line = fields.text().expect("a line of the plan");
        assert!(line.contains(index), "{sql}: {line}");
    }
}

/// A connection to a database of a test's own.
async fn on_postgres(what: &str) -> Connection {
    let url = std::env::var("CORE314_TEST_POSTGRES_URL")
        .expect("CORE314_TEST_POSTGRES_URL is not set: run the tests under scripts/with-postgres.sh");
    let (server, _) = url.rsplit_once('/').expect("the address names a database");
    let name = format!("{what}_{}", std::process::id());
    let mut base = super::postgres::connector(&url, &StoreOptions::default())
        .expect("a valid address")
        .connect()
        .await
        .expect("it connects");
    base.create_database(&name).await.expect("a database can be created");
    let store = SqlStore::open(&format!("{server}/{name}"), StoreOptions::default()).await.expect("it opens");
    store.connector.connect().await.expect("it connects")
}

#[tokio::test]
async fn postgres_looks_up_by_index() {
    let mut connection = on_postgres("plans").await;
    let is_scan = |line: &str| line.contains("Seq Scan");
    assert_eq!(scans(&mut connection, &WRITTEN, is_scan).await, [""; 0]);
    assert_eq!(scans(&mut connection, &NOTED, is_scan).await, [""; 0]);
    assert_eq!(scans(&mut connection, &READ, is_scan).await, [""; 0]);
    connection.begin_write().await.expect("begins");
    assert_eq!(scans(&mut connection, &HELD, is_scan).await, [""; 0]);
}

/// Whether a plan walks a whole index, such as a partial one of all tenants.
fn walks(plan: &[String]) -> bool {
    let is_walk = |line: &String| line.contains("Index Scan") || line.contains("Index Only Scan");
    let has_key = |next: Option<&String>| next.is_some_and(|line| line.trim_start().starts_with("Index Cond: "));
    plan.iter().enumerate().any(|(i, line)| line.contains("Seq Scan") || is_walk(line) && !has_key(plan.get(i + 1)))
}

/// Not only how PostgreSQL would run a statement with these rows: how it goes on to run it, by the plan that it keeps.
#[tokio::test]
async fn postgres_keeps_plans_that_look_up_by_key() {
    let mut connection = on_postgres("kept").await;
    for (name, bulk, types) in WRITTEN.iter().chain(&NOTED).chain(&HELD).copied() {
        let plan = connection.explain_kept(bulk, &rows(types, 1)).await.expect("the statement is valid");
        assert!(plan.len() > 1 && !walks(&plan), "{name}: {plan:#?}");
    }
    for (name, bulk, types, way) in BY_KEY_ALONE {
        let plan = connection.explain_kept(bulk, &rows(types, 1)).await.expect("the statement is valid");
        assert!(plan.iter().any(|line| line.contains(way)), "{name}: {plan:#?}");
    }
}

#[test]
fn a_walk_through_a_whole_index_is_seen() {
    let plan = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let walk = "  ->  Index Only Scan using flows_by_trigger on flows f";
    assert!(walks(&plan(&["Insert", walk])) && walks(&plan(&["Insert", walk, "        Filter: false"])));
    assert!(!walks(&plan(&["Insert", walk, "        Index Cond: (tenant_id = unnest.unnest_1)"])));
}
