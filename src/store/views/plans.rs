//! The plans of every statement behind the lists: lookups by index, whatever the tenant's size and whether or not the
//! database has ever looked at its own statistics.
//!
//! Every resource and every filter that it publishes must have a case here. 20,000 runs are enough to see a plan; with
//! `CORE314_LONG=1` a million are stored, and each question must then be answered within 20 ms (p99) as well.

#[path = "../../../tests/it/views/bed.rs"]
mod bed;
mod rows;

use std::time::{Duration, Instant};

use core314_actors::ports::notifications::{Addressee, Audience};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Paged};
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::{FlowId, RunId, TenantId, UserId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::executions::SCAN_RUNS;
use super::reader::{Reader, SCAN_ROWS};
use super::statement::{Arg, Statement};
use super::{SqlStore, deeds, executions, list, notifications, slowest, statistics};
use crate::store::connection::Connection;
use bed::Bed;
use rows::{filled, second_attempt};

const SHORT_RUNS: i64 = 20_000;
const LONG_RUNS: i64 = 1_000_000;
/// How often a question is timed, and how long all but the slowest hundredth may take.
const TIMES: usize = 100;
const P99: Duration = Duration::from_millis(20);
const T0: i64 = 1_763_632_800_000;

/// The first page, as the API asks for it.
const FIRST: Page = Page { limit: 50, after: None };

fn is_long() -> bool {
    std::env::var("CORE314_LONG").is_ok_and(|long| long == "1")
}

fn runs() -> i64 {
    if is_long() { LONG_RUNS } else { SHORT_RUNS }
}

fn tenant(no: i64) -> TenantId {
    TenantId(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 | no as u128))
}

fn flow(no: i64) -> FlowId {
    FlowId::new(T0 - 1, no as u128)
}

fn run(no: i64) -> RunId {
    RunId::new(T0 + no, (no as u128) << 24)
}

/// The webhook of a tenant of that number.
fn webhook(no: i64) -> Uuid {
    Uuid::from_u128(0x0194_0000_0000_7000_8000_0000_0000_0000 | no as u128)
}

/// The thirty oldest runs are a rare tenant's, the others four frequent ones'.
fn owner(no: i64) -> i64 {
    if no < 30 { 0 } else { 1 + no % 4 }
}

/// The names that an index has, of which one must lead to a page's keys.
type Indexes = &'static [&'static str];

/// What leads through the whole of a list. A new resource has no case, and this does not compile.
fn list_index(resource: Resource) -> Indexes {
    match resource {
        Resource::Flows => &["flows_by_id"],
        Resource::Runs | Resource::Executions => &["runs_by_tenant"],
        Resource::Log => &["log_by_tenant"],
        Resource::Audit => &["audit_by_tenant"],
        // A user sees their own inbox, and nobody a whole tenant's.
        Resource::Notifications => &["notices_by_user"],
        Resource::DeadLetters => &["dead_letters_by_id"],
        Resource::Phases => &["phase_moves_by_tenant"],
        Resource::Tokens => &["service_keys_by_id"],
        Resource::Webhooks => &["webhooks_by_id"],
        Resource::Integrations => &["connections_by_id"],
        Resource::Secrets => &["sealed_secrets_by_id"],
        Resource::Decisions => &["decisions_by_id"],
        Resource::Recommendations => &["recommendations_by_id"],
        Resource::Memory => &["memories_by_id"],
        Resource::EscalationRules => &["rules_by_id"],
        Resource::EscalationEvents => &["escalations_by_id"],
        Resource::Outbox => &["outbox_by_id"],
        Resource::OnCall => &["rotations_by_id"],
        Resource::OnCallOverrides => &["stand_ins_by_id"],
        Resource::Silences => &["quiet_times_by_id"],
        Resource::Organizations => &["firms_by_id", "sqlite_autoindex_firms_2"],
        Resource::Users => &["members_by_id"],
        Resource::ContactMethods => &["contacts_by_id"],
        Resource::Preferences => &["habits_by_id"],
        Resource::Metrics => &["metrics_by_id"],
        // There is none: deliveries are always a webhook's.
        Resource::Deliveries => &[],
    }
}

/// What leads to the rows of a published filter.
fn filter_index(resource: Resource, filters: &str) -> Indexes {
    match (resource, filters) {
        (Resource::Flows, "flow_name") => &["flows_tenant_id_flow_name_key", "sqlite_autoindex_flows_2"],
        (Resource::Flows, "trigger_type is_active") => &["flows_by_trigger"],
        (Resource::Runs, "orchestration_flow_id") => &["runs_by_flow"],
        (Resource::Runs, "run_key") => &["runs_by_key"],
        (Resource::Runs, "run_status") | (Resource::Executions, "execution_status") => &["run_state_by_status"],
        (Resource::Executions, "flow_run_id") => &["run_state_pkey", "sqlite_autoindex_run_state_1"],
        (Resource::Log, "flow_run_id" | "execution_queue_id") => &["log_attempt"],
        (Resource::Log, "success") => &["log_failed"],
        (Resource::Phases, "workflow_id") => &["phase_moves_by_run"],
        (Resource::Deliveries, "webhook_id") => &["runs_by_webhook", "deliveries_by_webhook"],
        (Resource::Decisions, "status") => &["decisions_by_status"],
        (Resource::Recommendations, "status") => &["recommendations_by_status"],
        (Resource::Memory, "subject_id") => &["memories_by_subject"],
        (Resource::EscalationEvents, "status") => &["escalations_by_status"],
        (Resource::EscalationEvents, "escalation_rule_id") => &["escalations_by_rule"],
        (Resource::Metrics, "metric_name") => &["metrics_by_name"],
        (Resource::Notifications, "user_id") => &["notices_by_user"],
        (Resource::ContactMethods, "user_id") => &["contacts_by_user"],
        (Resource::Preferences, "user_id") => &["habits_by_user", "sqlite_autoindex_habits_2"],
        (Resource::Notifications, "user_id status") => &["notices_unread"],
        (resource, filters) => panic!("{resource:?} publishes the filter {filters:?}, which has no case here"),
    }
}

/// What a published filter's column is asked to equal: something that the tenant has.
fn value(column: &str, no: i64) -> Value {
    match column {
        "flow_name" => json!(format!("f{no}")),
        "trigger_type" => "webhook".into(),
        "is_active" => true.into(),
        "orchestration_flow_id" => json!(flow(no)),
        "run_status" => "running".into(),
        "run_key" => json!(format!("key-{no}")),
        "flow_run_id" | "subject_id" | "workflow_id" | "escalation_rule_id" => json!(run(no)),
        "execution_queue_id" => json!(run(no).execution(0)),
        "execution_status" => "pending".into(),
        "success" => false.into(),
        "user_id" => json!(tenant(owner(no))),
        "status" => "unread".into(),
        "webhook_id" => json!(webhook(owner(no))),
        "metric_name" => "cpu".into(),
        column => panic!("no value is known for {column}"),
    }
}

/// Every list, whole and by each of its published filters, and filters that come together.
fn lists(no: i64) -> Vec<(Resource, Filter, Indexes)> {
    let mut lists = Vec::new();
    for resource in Resource::ALL {
        let mut whole = Filter::default();
        if *resource == Resource::Notifications {
            whole.and("user_id", value("user_id", no));
        }
        lists.push((*resource, whole, list_index(*resource)));
        for filters in resource.indexed() {
            let mut filter = Filter::default();
            for name in filters.split(' ') {
                filter.and(resource.column(name).expect("a column").name, value(name, no));
            }
            lists.push((*resource, filter, filter_index(*resource, filters)));
        }
    }
    let flow_and_status = [("orchestration_flow_id", json!(flow(no))), ("run_status", "running".into())];
    lists.push((Resource::Runs, Filter::of(flow_and_status), &["runs_by_flow"]));
    // No index knows the statuses of what has ended: a bounded number of runs is looked at.
    lists.push((Resource::Executions, Filter::of([("execution_status", "failed".into())]), &["runs_by_tenant"]));
    lists
}

/// Asks for a page of every list with every filter that is published as indexed, and for single rows. The names are
/// the indexes of which the page's keys must come from one.
async fn ask(reader: &mut Reader, no: i64) -> Result<Vec<(Indexes, Statement)>, StoreError> {
    let mut asked: Vec<(Indexes, Statement)> = Vec::new();
    for (resource, filter, indexes) in lists(no) {
        let is_walk = filter.get("execution_status").is_some();
        let is_merged = resource == Resource::Deliveries;
        list::page(reader, resource, filter, FIRST).await?;
        // A page of keys, or one of each table, and then its rows. Every chunk of a walk is a page of keys.
        let statements = reader.asked.drain(..).enumerate();
        let is_keys =
            |n: usize, s: &Statement| n <= usize::from(is_merged) || is_walk && !s.sql.contains(" v.row_key ");
        asked.extend(statements.map(|(n, s)| (if is_keys(n, &s) { indexes } else { &[] }, s)));
    }
    let inbox = tenant(owner(no));
    let inbox = Audience::User(Addressee { tenant: inbox, user: UserId(inbox.0) });
    notifications::unread_count(reader, inbox).await?;
    asked.extend(reader.asked.drain(..).map(|statement| (["notices_unread"].as_slice(), statement)));
    executions::rows(reader, &[self::run(no).execution(0).0], &Filter::default()).await?;
    asked.extend(reader.asked.drain(..).map(|statement| (["runs_pkey", "runs_by_tenant"].as_slice(), statement)));
    // Nothing was done to the run: there are no rows to read.
    deeds::of_run(reader, self::run(no), FIRST.limit).await?;
    asked.extend(reader.asked.drain(..).map(|statement| (["audit_of_subject"].as_slice(), statement)));
    slowest::since(reader, T0, FIRST.limit).await?;
    let looks: [Indexes; 3] = [&["log_slow"], &["log_by_tenant"], &[]];
    assert_eq!(reader.asked.len(), looks.len(), "{:?}", reader.asked);
    asked.extend(looks.into_iter().zip(reader.asked.drain(..)));
    let statistics = ["statistics_pkey", "sqlite_autoindex_statistics_1"].as_slice();
    statistics::since(reader, T0 - 60_000, T0 + 30 * 86_400_000).await?;
    statistics::timeline(reader, T0, T0 + 86_400_000, 3_600_000).await?;
    assert_eq!(reader.asked.len(), 6, "edges in minutes and in hours, whole days, and a timeline");
    asked.extend(reader.asked.drain(..).map(|statement| (statistics, statement)));
    Ok(asked)
}

/// The lines of a statement's plan, with PostgreSQL's generic plan or one for these values.
async fn plan(reader: &mut Reader, statement: &Statement, generic: bool) -> Vec<String> {
    let literal = |arg: &Arg| match arg {
        Arg::Id(id) => format!("'{id}'"),
        Arg::Text(text) => format!("'{text}'"),
        Arg::Int(number) => number.to_string(),
        Arg::Ids(ids) => format!("'{{{}}}'", ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")),
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
        // A subquery is read whole: runs that were asked for and their steps, the few inputs of a step, what a run gave,
        // what an escalation has done, and what a limit bounds: live runs in one status, the next runs, the slowest and
        // the newest attempts. Of a view of two tables `v` is what was found in them, and their own lines tell how.
        let part = [
            "SCAN all_steps",
            "SCAN each_run",
            "SCAN each_step",
            "SCAN walked",
            "SCAN v",
            "SCAN live",
            "SCAN slow",
            "SCAN newest",
            "SCAN done",
            "SCAN outcomes",
            "SCAN (subquery",
        ]
        .iter()
        .any(|p| line.starts_with(p));
        line.contains("Seq Scan") || (line.starts_with("SCAN ") && !function && !part)
    };
    if plan.iter().any(scans) {
        return Some("it reads a whole table");
    }
    // What is found by several keys on PostgreSQL is found by each of them.
    let is_each = plan.iter().any(|line| line.contains("Function Scan on unnest k"));
    if is_each && !plan.iter().any(|line| line.contains("Index Cond: ") && line.contains("k.id")) {
        return Some("it walks past the keys that it is asked for");
    }
    let by = |index: &&str| plan.iter().any(|line| line.contains(&format!("{index} ")) || line.ends_with(*index));
    if !indexes.is_empty() && !indexes.iter().any(by) {
        return Some("its keys come from another index");
    }
    None
}

/// The platform's lists go by primary keys, its sums by a range of its own.
async fn platform_plans_hold(bed: &Bed, store: &SqlStore) {
    let mut reader = Reader::begin(store, Scope::Platform).await.expect("a read");
    for resource in Resource::ALL {
        list::page(&mut reader, *resource, Filter::default(), FIRST).await.expect("a page");
    }
    slowest::since(&mut reader, T0, FIRST.limit).await.expect("attempts");
    statistics::since(&mut reader, T0, T0 + 86_400_000).await.expect("a sum");
    for statement in reader.asked.split_off(0) {
        for generic in [false, true] {
            let plan = plan(&mut reader, &statement, generic).await;
            let is_slowest = statement.sql.contains(" slow WHERE ");
            let indexes: Indexes = if is_slowest { &["log_slowest"] } else { &[] };
            assert_eq!(fault(&plan, indexes), None, "{}\n{}\n{}", bed.url, statement.sql, plan.join("\n"));
            let is_sum = statement.sql.contains("FROM statistics");
            let by_range = |line: &String| line.contains("bucket_start_ms>") || line.contains("bucket_start_ms >=");
            assert!(!is_sum || plan.iter().any(by_range), "{}\n{}", bed.url, plan.join("\n"));
        }
    }
}

async fn plans_hold(bed: &Bed, store: &SqlStore) {
    platform_plans_hold(bed, store).await;
    let mut faults = Vec::new();
    for no in [0, 1] {
        let mut reader = Reader::begin(store, Scope::Tenant(tenant(no))).await.expect("a read");
        let asked = ask(&mut reader, no).await.expect("the pages are read");
        assert!(asked.len() > 20, "{} statements", asked.len());
        for (indexes, statement) in asked {
            for generic in [false, true] {
                let plan = plan(&mut reader, &statement, generic).await;
                if let Some(fault) = fault(&plan, indexes) {
                    faults.push(format!("{fault}\n{indexes:?}\n{}\n{}", statement.sql, plan.join("\n")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}\n{}", bed.url, faults.join("\n\n"));
}

#[tokio::test]
async fn every_list_reads_by_index() {
    for bed in Bed::both().await {
        let store = filled(&bed).await;
        plans_hold(&bed, &store).await;
        // As it is once the database has looked at its tables; only their owner may make it.
        bed.run(if bed.is_postgres { "RESET ROLE; ANALYZE" } else { "ANALYZE" }.to_owned()).await;
        plans_hold(&bed, &store).await;
        if is_long() {
            answers_are_quick(&bed, &store).await;
        }
        a_filter_without_an_index_looks_at_a_bounded_number_of_rows(&store).await;
        the_slowest_of_a_window_are_found_behind_slower_ones(&bed, &store).await;
    }
}

/// Times every list within a frequent and a rare tenant.
async fn answers_are_quick(bed: &Bed, store: &SqlStore) {
    for no in [0, 1] {
        for (resource, filter, _) in lists(no) {
            let mut times = Vec::new();
            for _ in 0..TIMES {
                let began = Instant::now();
                let mut reader = Reader::begin(store, Scope::Tenant(tenant(owner(no)))).await.expect("a read");
                list::page(&mut reader, resource, filter.clone(), FIRST).await.expect("a page");
                times.push(began.elapsed());
            }
            times.sort_unstable();
            let p99 = times[TIMES * 99 / 100 - 1];
            assert!(p99 <= P99, "{}: {resource:?} by {filter:?} takes {p99:?}", bed.url);
        }
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
    assert_eq!(count, (runs() as usize).div_ceil(SCAN_ROWS));
    let expired = Filter::of([("execution_status", "expired".into())]);
    let paged = list::page(&mut reader, Resource::Executions, expired, FIRST).await.expect("a page");
    assert_eq!(paged, Paged { items: Vec::new(), next: Some(run(runs() - SCAN_RUNS as i64).0) });
}

/// The window has more attempts than are looked at one by one, and more slower ones before it.
async fn the_slowest_of_a_window_are_found_behind_slower_ones(bed: &Bed, store: &SqlStore) {
    let slower = (1_000..9_000).step_by(4).map(|no| second_attempt(no, 10_000));
    let slow = (10_000..10_020).step_by(4).map(|no| second_attempt(no, no - 8_500));
    bed.insert(&slower.chain(slow).collect::<Vec<_>>()).await;
    for scope in [Scope::Tenant(tenant(1)), Scope::Platform] {
        let mut reader = Reader::begin(store, scope).await.expect("a read");
        let found = slowest::since(&mut reader, T0 + 10_000, 5).await.expect("attempts");
        let durations: Vec<_> = found.iter().map(|row| row["execution_duration_ms"].as_i64()).collect();
        assert_eq!(durations, [1_516, 1_512, 1_508, 1_504, 1_500].map(Some), "{} {scope:?}", bed.url);
    }
}
