//! The plans of every statement behind the lists, on 20,000 runs: lookups by index, whatever the tenant's size and
//! whether or not the database has ever looked at its own statistics.

#[path = "../../../tests/it/views/bed.rs"]
mod bed;

use core314_actors::ports::notifications::{Addressee, Audience};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Paged};
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::{FlowId, LogId, NotificationId, RunId, TenantId, UserId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::reader::Reader;
use super::statement::{Arg, Statement};
use super::{SqlStore, executions, list, notifications, statistics};
use crate::store::StoreOptions;
use crate::store::connection::Connection;
use bed::{Bed, Lit, Narrow};

const RUNS: i64 = 20_000;
const T0: i64 = 1_763_632_800_000;

fn tenant(no: i64) -> TenantId {
    TenantId(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 | no as u128))
}

fn flow(no: i64) -> FlowId {
    FlowId::new(T0 - 1, no as u128)
}

fn run(no: i64) -> RunId {
    RunId::new(T0 + no, (no as u128) << 24)
}

/// The thirty oldest runs are a rare tenant's, the others four frequent ones'.
fn owner(no: i64) -> i64 {
    if no < 30 { 0 } else { 1 + no % 4 }
}

fn run_rows(no: i64) -> [Narrow; 3] {
    let id: Lit = run(no).0.into();
    let own: Lit = tenant(owner(no)).0.into();
    let live = no % 50 == 1;
    let runs = [
        ("id", id.clone()),
        ("tenant_id", own.clone()),
        ("user_id", own.clone()),
        ("partition", (no % 64).into()),
        ("flow_id", flow(owner(no)).0.into()),
        ("flow_version", 1.into()),
        ("flow_name", "f".into()),
        ("trigger_type", "manual".into()),
        ("trigger_source", "manual".into()),
        ("trigger_context", "{}".into()),
        ("triggered_by", "user:1".into()),
        ("environment", "test".into()),
        ("accepted_at_ms", (T0 + no).into()),
    ];
    let state = [
        ("run_id", id.clone()),
        ("tenant_id", own.clone()),
        ("partition", (no % 64).into()),
        ("version", 1.into()),
        ("run_status", if live { "running" } else { "completed" }.into()),
        ("state", if live { r#"{"v":1,"s":"P","l":{"0":{"r":1}}}"# } else { r#"{"v":1,"s":"C"}"# }.into()),
    ];
    let success = no % 50 != 2;
    let log = [
        ("id", LogId::new(T0 + no, no as u128).0.into()),
        ("tenant_id", own),
        ("run_id", id),
        ("step_no", 0.into()),
        ("attempt", 0.into()),
        ("partition", (no % 64).into()),
        ("seq", no.into()),
        ("row_hash", Lit::Bytes(1)),
        ("action_type", "transform".into()),
        ("action_target", "".into()),
        ("payload", "{}".into()),
        ("execution_status", "completed".into()),
        ("is_final", true.into()),
        ("success", success.into()),
        ("started_at_ms", T0.into()),
        ("completed_at_ms", T0.into()),
        ("queue_wait_ms", 0.into()),
    ];
    [("runs", runs.to_vec()), ("run_state", state.to_vec()), ("log", log.to_vec())]
        .map(|(table, columns)| Narrow { table, columns })
}

fn flow_rows(no: i64) -> [Narrow; 2] {
    let document = json!({"execution_mode": "sequential", "flow_steps": [{"id": "a", "config": {}}]});
    let of = tenant(no % 5).0;
    let flow_row = [
        ("id", flow(no).0.into()),
        ("tenant_id", of.into()),
        ("user_id", of.into()),
        ("flow_name", format!("f{no}").as_str().into()),
        ("flow_version", 1.into()),
        ("is_active", true.into()),
        ("is_template", false.into()),
        ("trigger_type", "webhook".into()),
        ("document", document.clone().into()),
        ("created_by", of.into()),
        ("updated_by", of.into()),
        ("created_at_ms", T0.into()),
        ("updated_at_ms", T0.into()),
    ];
    let version = [
        ("flow_id", flow(no).0.into()),
        ("flow_version", 1.into()),
        ("tenant_id", of.into()),
        ("document", document.into()),
        ("created_by", of.into()),
        ("created_at_ms", T0.into()),
    ];
    [("flows", flow_row.to_vec()), ("flow_versions", version.to_vec())]
        .map(|(table, columns)| Narrow { table, columns })
}

/// The older half has been read.
fn notice_row(no: i64) -> Narrow {
    let of: Lit = tenant(owner(no)).0.into();
    let columns = [
        ("id", NotificationId::new(T0 + no, no as u128).0.into()),
        ("tenant_id", of.clone()),
        ("user_id", of),
        ("execution_queue_id", run(no).execution(0).0.into()),
        ("type", "info".into()),
        ("title", "t".into()),
        ("message", "m".into()),
        ("severity", "low".into()),
        ("status", if no < RUNS / 2 { "read" } else { "unread" }.into()),
        ("metadata", "{}".into()),
        ("created_at_ms", (T0 + no).into()),
        ("updated_at_ms", (T0 + no).into()),
    ];
    Narrow { table: "notices", columns: columns.to_vec() }
}

async fn filled(bed: &Bed) -> SqlStore {
    let options = StoreOptions { read_limit: std::time::Duration::from_secs(20), ..StoreOptions::default() };
    let store = SqlStore::open(&bed.url, options).await.expect("the store opens");
    let mut rows: Vec<Narrow> = (0..500).flat_map(flow_rows).chain((0..RUNS).flat_map(run_rows)).collect();
    rows.extend((0..RUNS).map(notice_row));
    rows.sort_by_key(|row| row.table);
    bed.insert(&rows).await;
    assert_eq!(bed.texts("SELECT CAST(count(*) AS text) FROM flow_runs").await, [RUNS.to_string()]);
    store
}

/// Asks for a page of every list with every filter that is published as indexed, and for single rows. The names are
/// the indexes of which the page's keys must come from one.
async fn ask(reader: &mut Reader, no: i64) -> Result<Vec<(&'static [&'static str], Statement)>, StoreError> {
    let first = Page { limit: 50, after: None };
    let (run, flow) = (json!(run(no)), json!(flow(no)));
    let of = |column: &'static str, value: Value| Filter::of([(column, value)]);
    let by_trigger = Filter::of([("is_active", true.into()), ("trigger_type", "webhook".into())]);
    let flow_and_status = Filter::of([("orchestration_flow_id", flow.clone()), ("run_status", "running".into())]);
    let user = json!(tenant(owner(no)));
    let unread = Filter::of([("user_id", user.clone()), ("status", "unread".into())]);
    let lists: [(Resource, Filter, &'static [&'static str]); 14] = [
        (Resource::Flows, Filter::default(), &["flows_by_id"]),
        (Resource::Flows, by_trigger, &["flows_by_trigger"]),
        (Resource::Flows, of("flow_name", "f7".into()), &["flows_tenant_id_flow_name_key", "sqlite_autoindex_flows_2"]),
        (Resource::Runs, Filter::default(), &["runs_by_tenant"]),
        (Resource::Runs, of("run_status", "running".into()), &["run_state_by_status"]),
        (Resource::Runs, of("orchestration_flow_id", flow), &["runs_by_flow"]),
        (Resource::Runs, flow_and_status, &["runs_by_flow"]),
        (Resource::Executions, Filter::default(), &["runs_by_tenant"]),
        (Resource::Executions, of("flow_run_id", run.clone()), &["run_state_pkey", "sqlite_autoindex_run_state_1"]),
        (Resource::Log, Filter::default(), &["log_by_tenant"]),
        (Resource::Log, of("success", false.into()), &["log_failed"]),
        (Resource::Log, of("flow_run_id", run), &["log_attempt"]),
        (Resource::Notifications, of("user_id", user.clone()), &["notices_by_user"]),
        (Resource::Notifications, unread, &["notices_unread"]),
    ];
    let mut asked = Vec::new();
    for (resource, filter, indexes) in lists {
        list::page(reader, resource, filter, first).await?;
        // A page of keys, and then its rows.
        let statements = reader.asked.drain(..).enumerate();
        asked.extend(statements.map(|(n, statement)| (if n == 0 { indexes } else { &[] }, statement)));
    }
    let walks: [(&str, &'static [&'static str]); 2] =
        [("pending", &["run_state_by_status"]), ("failed", &["runs_by_tenant"])];
    for (status, indexes) in walks {
        list::page(reader, Resource::Executions, of("execution_status", status.into()), first).await?;
        // Every chunk of the walk is a page of keys; the last statement, if an execution was found, reads the view.
        let keys = reader.asked.drain(..).filter(|statement| !statement.sql.contains("execution_queue"));
        asked.extend(keys.map(|statement| (indexes, statement)));
    }
    let inbox = tenant(owner(no));
    let inbox = Audience::User(Addressee { tenant: inbox, user: UserId(inbox.0) });
    notifications::unread_count(reader, inbox).await?;
    asked.extend(reader.asked.drain(..).map(|statement| (["notices_unread"].as_slice(), statement)));
    executions::rows(reader, &[self::run(no).execution(0).0]).await?;
    asked.extend(reader.asked.drain(..).map(|statement| (["runs_pkey", "runs_by_tenant"].as_slice(), statement)));
    statistics::since(reader, T0, T0 + 86_400_000).await?;
    let statistics = ["statistics_pkey", "sqlite_autoindex_statistics_1"].as_slice();
    asked.extend(reader.asked.drain(..).take(1).map(|statement| (statistics, statement)));
    Ok(asked)
}

/// The lines of a statement's plan, with PostgreSQL's generic plan or one for these values.
async fn plan(reader: &mut Reader, statement: &Statement, generic: bool) -> Vec<String> {
    let literal = |arg: &Arg| match arg {
        Arg::Id(id) => format!("'{id}'"),
        Arg::Text(text) => format!("'{text}'"),
        Arg::Int(number) => number.to_string(),
    };
    match &mut reader.on {
        Connection::Sqlite(link) => {
            let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sql));
            let rows = sqlx::query(sql).fetch_all(&mut ***link).await.expect("a plan");
            rows.iter().map(|row| row.get("detail")).collect()
        }
        Connection::Postgres(link) => {
            let mode = if generic { "force_generic_plan" } else { "force_custom_plan" };
            let values: Vec<String> = statement.args.iter().map(literal).collect();
            let set = format!("SET LOCAL plan_cache_mode = {mode}; PREPARE q AS {}", statement.sql);
            sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut ***link).await.expect("it prepares");
            let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE q({})", values.join(", ")));
            let rows = sqlx::query(explain).persistent(false).fetch_all(&mut ***link).await.expect("a plan");
            sqlx::raw_sql("DEALLOCATE q").execute(&mut ***link).await.expect("it exists");
            rows.iter().map(|row| row.get(0)).collect()
        }
    }
}

/// What is wrong with a plan.
fn fault(plan: &[String], indexes: &[&str]) -> Option<&'static str> {
    let scans = |line: &String| {
        let line = line.trim();
        let function = line.contains("VIRTUAL TABLE") || line.contains("CONSTANT ROW");
        // A subquery is read whole: the few inputs of a step, the part of live runs in one status that a limit bounds.
        let part = line.starts_with("SCAN live") || line.starts_with("SCAN (subquery");
        line.contains("Seq Scan") || (line.starts_with("SCAN ") && !function && !part)
    };
    if plan.iter().any(scans) {
        return Some("it reads a whole table");
    }
    let by = |index: &&str| plan.iter().any(|line| line.contains(&format!("{index} ")) || line.ends_with(*index));
    if !indexes.is_empty() && !indexes.iter().any(by) {
        return Some("its keys come from another index");
    }
    None
}

async fn plans_hold(bed: &Bed, store: &SqlStore) {
    for no in [0, 1] {
        let mut reader = Reader::begin(store, Scope::Tenant(tenant(no))).await.expect("a read");
        let asked = ask(&mut reader, no).await.expect("the pages are read");
        assert!(asked.len() > 20, "{} statements", asked.len());
        for (indexes, statement) in asked {
            for generic in [false, true] {
                let plan = plan(&mut reader, &statement, generic).await;
                let fault = fault(&plan, indexes);
                assert_eq!(fault, None, "{}\n{indexes:?}\n{}\n{}", bed.url, statement.sql, plan.join("\n"));
            }
        }
    }
}

#[tokio::test]
async fn every_list_reads_by_index() {
    for bed in Bed::both().await {
        let store = filled(&bed).await;
        plans_hold(&bed, &store).await;
        // As it is once the database has looked at its tables; only their owner may make it.
        bed.run(if bed.is_postgres { "RESET ROLE; ANALYZE" } else { "ANALYZE" }.to_owned()).await;
        plans_hold(&bed, &store).await;
        a_filter_without_an_index_looks_at_a_bounded_number_of_rows(&store).await;
    }
}

async fn a_filter_without_an_index_looks_at_a_bounded_number_of_rows(store: &SqlStore) {
    let behind = |paged: &Paged| Page { limit: 50, after: paged.next };
    let mut reader = Reader::begin(store, Scope::Platform).await.expect("a read");
    let nothing = Filter::of([("run_status", "paused".into())]);
    let mut paged = Paged { items: Vec::new(), next: Some(Uuid::max()) };
    let mut count = 0;
    while paged.next.is_some() {
        paged = list::page(&mut reader, Resource::Runs, nothing.clone(), behind(&paged)).await.expect("a page");
        assert_eq!(paged.items, Vec::<Value>::new());
        count += 1;
    }
    assert_eq!(count, RUNS / 2_000);
    let expired = Filter::of([("execution_status", "expired".into())]);
    let first = Page { limit: 50, after: None };
    let paged = list::page(&mut reader, Resource::Executions, expired, first).await.expect("a page");
    assert_eq!(paged, Paged { items: Vec::new(), next: Some(run(RUNS - 5_000).0) });
}
