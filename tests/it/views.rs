//! The contract's views and the lists over them, on both stores.

mod bed;
mod columns;
mod deeds;
mod story;

use core314::store::{SqlStore, StoreOptions};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::{Kind, Resource};
use core314_actors::ports::views::{Filter, Page, Paged, Views};
use core314_domain::ids::{LogId, RunId};
use core314_domain::stats::Stat;
use serde_json::{Value, json};

use bed::Bed;
use columns::COLUMNS;
use story::{Story, T0};

/// What the story leaves out: it has no run with phases.
const LATER: [&str; 1] = ["flow_runs.current_phase"];

/// A store with the story in it.
async fn told(bed: &Bed, given: &Story) -> SqlStore {
    // Patient, because tests share a machine.
    let options = StoreOptions { read_limit: std::time::Duration::from_secs(20), ..StoreOptions::default() };
    let store = SqlStore::open(&bed.url, options).await.expect("the store opens");
    bed.insert(&given.rows).await;
    store
}

fn tenant(given: &Story, no: usize) -> Scope {
    Scope::Tenant(given.owners[no].tenant)
}

#[tokio::test]
async fn every_column_of_the_contract_exists_and_something_fills_it() {
    for bed in Bed::both().await {
        told(&bed, &Story::tell()).await;
        for (view, columns) in COLUMNS {
            for column in columns.split_whitespace() {
                let sql = format!("SELECT CAST(count({column}) AS text) FROM {view}");
                let filled = bed.texts(&sql).await[0].parse::<i64>().expect("a number");
                let later = LATER.contains(&format!("{view}.{column}").as_str());
                assert_eq!(filled == 0, later, "{view}.{column} has a value in {filled} rows of {}", bed.url);
            }
        }
    }
}

/// The filters of a resource: none, every published one and two together, with values that rows have and one that none has.
fn filters(resource: Resource, rows: &[Value]) -> Vec<Filter> {
    let mut all = vec![Filter::default()];
    for columns in resource.indexed() {
        let columns: Vec<&'static str> = columns.split(' ').collect();
        let mut seen: Vec<Vec<Value>> = Vec::new();
        for row in rows {
            let values: Vec<Value> = columns.iter().map(|column| row[*column].clone()).collect();
            if seen.len() < 12 && !seen.contains(&values) {
                seen.push(values);
            }
        }
        for values in seen {
            let mut filter = Filter::default();
            columns.iter().zip(values).for_each(|(column, value)| filter.and(column, value));
            all.push(filter.clone());
            filter.and("tenant_id", rows[0]["tenant_id"].clone());
            all.push(filter);
        }
    }
    all
}

/// Everything that the lists of a scope say, under names.
async fn everything(store: &SqlStore, scope: Scope, limit: usize) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for resource in Resource::ALL.iter().copied() {
        let rows = walk(500, |page| store.list(scope, resource, Filter::default(), page)).await;
        for filter in filters(resource, rows.as_array().expect("a list")) {
            let items = walk(limit, |page| store.list(scope, resource, filter.clone(), page)).await;
            found.push((format!("{resource:?} {filter:?}"), items));
        }
    }
    found
}

#[tokio::test]
async fn every_column_is_a_filter() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        for resource in Resource::ALL.iter().copied() {
            let rows = walk(500, |page| store.list(Scope::Platform, resource, Filter::default(), page)).await;
            let rows = rows.as_array().expect("a list");
            for column in resource.columns() {
                for row in rows.iter().step_by(7) {
                    let filter = Filter::of([(column.name, row[column.name].clone())]);
                    let found = walk(50, |page| store.list(Scope::Platform, resource, filter.clone(), page)).await;
                    let ids = |items: &[Value]| {
                        let mut ids: Vec<Value> = items.iter().map(|item| item["id"].clone()).collect();
                        ids.sort_by_key(ToString::to_string);
                        ids
                    };
                    let expected: Vec<Value> = rows.iter().filter(|row| filter.holds(row)).cloned().collect();
                    assert_eq!(ids(found.as_array().expect("a list")), ids(&expected), "{resource:?} {filter:?}");
                }
            }
        }
    }
}

/// The rows have the columns that are declared, of their types.
#[tokio::test]
async fn rows_are_as_declared() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        for resource in Resource::ALL.iter().copied() {
            let rows = walk(500, |page| store.list(Scope::Platform, resource, Filter::default(), page)).await;
            for row in rows.as_array().expect("a list") {
                let row = row.as_object().expect("an object");
                let mut declared: Vec<&str> = resource.columns().iter().map(|column| column.name).collect();
                declared.sort_unstable();
                let mut shown: Vec<&String> = row.keys().collect();
                shown.sort_unstable();
                assert_eq!(shown, declared, "{resource:?}");
                for column in resource.columns() {
                    let value = &row[column.name];
                    let fits = match column.kind {
                        _ if value.is_null() => column.nullable || column.kind == Kind::Json,
                        Kind::Id | Kind::Text | Kind::Time => value.is_string(),
                        Kind::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
                        Kind::Integer => value.is_i64(),
                        Kind::Real => value.is_number(),
                        Kind::Boolean => value.is_boolean(),
                        Kind::Json => true,
                        Kind::Ids | Kind::Texts => value.is_array(),
                    };
                    assert!(fits, "{resource:?} {column:?}: {value}");
                }
            }
        }
    }
}

/// All pages of a list. A page is never larger than its limit, and no row comes twice.
async fn walk<'s, F>(limit: usize, list: F) -> Value
where
    F: Fn(Page) -> core314_actors::ports::BoxFuture<'s, Result<Paged, core314_actors::ports::StoreError>>,
{
    let mut items: Vec<Value> = Vec::new();
    let mut after = None;
    loop {
        let paged = list(Page { limit, after }).await.expect("the page is read");
        assert!(paged.items.len() <= limit, "a page of {} for a limit of {limit}", paged.items.len());
        items.extend(paged.items);
        assert!(items.len() <= 1_000, "the pages do not end");
        let Some(next) = paged.next else { break };
        assert_ne!(Some(next), after, "the cursor stands still");
        after = Some(next);
    }
    let mut ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|two| two[0] != two[1]), "a row came twice");
    Value::Array(items)
}

#[tokio::test]
async fn both_stores_give_the_same_json_in_pages_of_any_size() {
    let given = Story::tell();
    let [lite, server] = Bed::both().await;
    let (lite, server) = (told(&lite, &given).await, told(&server, &given).await);
    for scope in [tenant(&given, 0), tenant(&given, 1), Scope::Platform] {
        let whole = everything(&lite, scope, 500).await;
        let rows: usize = whole.iter().map(|(_, items)| items.as_array().expect("a list").len()).sum();
        assert!(rows > 100, "the lists are nearly empty: {rows}");
        for (store, limit) in [(&server, 500), (&server, 3), (&lite, 1), (&lite, 2)] {
            let pages = everything(store, scope, limit).await;
            for ((name, expected), (_, found)) in whole.iter().zip(&pages) {
                assert_eq!(found, expected, "{name}, pages of {limit}, {scope:?}");
            }
        }
    }
}

/// Whether a value of the API is what the view itself holds: text for times and for JSON on SQLite, 0 and 1 for truth.
fn agrees(api: &Value, raw: &Value) -> bool {
    let time = |v: &Value| v.as_str().and_then(|s| chrono::DateTime::parse_from_rfc3339(s).ok());
    let json = |v: &Value| v.as_str().and_then(|s| serde_json::from_str::<Value>(s).ok());
    let number = |v: &Value| v.as_f64();
    api == raw
        || (time(api).is_some() && time(api) == time(raw))
        // SQLite writes 15 digits into JSON.
        || number(api).zip(number(raw)).is_some_and(|(a, r)| (a - r).abs() <= 1e-12 * a.abs())
        || api.as_bool().is_some_and(|b| raw.as_i64() == Some(i64::from(b)))
        || json(raw).is_some_and(|raw| agrees(api, &raw))
        || api.as_object().zip(raw.as_object()).is_some_and(|(a, r)| {
            a.len() == r.len() && a.iter().all(|(k, v)| r.get(k).is_some_and(|raw| agrees(v, raw)))
        })
}

#[tokio::test]
async fn what_the_api_shows_is_what_the_views_hold() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        let all = Scope::Platform;
        let lists = [
            ("orchestration_flows", walk(50, |page| store.list(all, Resource::Flows, Filter::default(), page)).await),
            ("flow_runs", walk(50, |page| store.list(all, Resource::Runs, Filter::default(), page)).await),
            ("execution_queue", walk(50, |page| store.list(all, Resource::Executions, Filter::default(), page)).await),
            ("execution_log", walk(50, |page| store.list(all, Resource::Log, Filter::default(), page)).await),
        ];
        for (view, items) in lists {
            let items = items.as_array().expect("a list");
            let names: Vec<&String> = items[0].as_object().expect("an object").keys().collect();
            let sql = if bed.is_postgres {
                format!("SELECT (to_jsonb(v) - 'row_key' - 'tenant_key')::text FROM {view} v ORDER BY id DESC")
            } else {
                let pairs: Vec<String> = names.iter().map(|n| format!("'{n}', {n}")).collect();
                // A function takes at most 100 arguments; each view has fewer than 50 columns.
                format!("SELECT json_object({}) FROM {view} ORDER BY id DESC", pairs.join(", "))
            };
            let raw = bed.texts(&sql).await;
            assert_eq!(raw.len(), items.len(), "{view}");
            for (item, raw) in items.iter().zip(&raw) {
                let raw: Value = serde_json::from_str(raw).expect("JSON");
                for name in &names {
                    assert!(agrees(&item[*name], &raw[*name]), "{view}.{name}: {} for {}", item[*name], raw[*name]);
                }
            }
        }
    }
}

fn pick(item: &Value, names: &str) -> Value {
    names.split_whitespace().map(|name| item[name].clone()).collect()
}

#[tokio::test]
async fn executions_follow_from_their_run() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        let scope = tenant(&given, 0);
        let execution = async |run, step| {
            let found =
                store.one(scope, Resource::Executions, given.execution(run, step).0).await.expect("the row is read");
            found.unwrap_or_else(|| panic!("run {run} has step {step}"))
        };
        let waits = execution(0, 1).await;
        let told =
            pick(&waits, "id step_id execution_status requires_approval approval_status scheduled_for expires_at");
        let id = given.execution(0, 1).to_string();
        let due = "2025-11-20T10:00:00.126Z";
        let expires = "2025-11-20T10:01:00.123Z";
        assert_eq!(told, json!([id, "drain", "awaiting_approval", true, "pending", due, expires]));
        let limits = pick(&waits, "max_retry_attempts retry_backoff_seconds priority urgency dependency_mode");
        assert_eq!(limits, json!([2, 1, 5, "medium", "all"]));
        assert_eq!(waits["depends_on"], json!([given.execution(0, 0).to_string()]));
        let blocked = execution(0, 2).await;
        let both = [0, 1].map(|step| given.execution(0, step).to_string());
        assert_eq!(pick(&blocked, "execution_status dependency_mode depends_on"), json!(["blocked", "any", both]));
        assert_eq!(blocked["parent_execution_id"], json!(both[0]));

        let retrying = execution(1, 0).await;
        let told = pick(&retrying, "execution_status current_retry_attempt next_retry_at started_at execution_error");
        assert_eq!(told, json!(["retrying", 1, due, "2025-11-20T10:00:01.123Z", "no"]));
        assert_eq!(pick(&retrying, "last_retry_at completed_at"), json!([null, null]));
        assert!(
            retrying["action_config"].get("action_payload").is_none() && retrying["action_payload"] == json!({"x": 1})
        );

        let done = execution(2, 0).await;
        let told =
            pick(&done, "execution_status current_retry_attempt last_retry_at completed_at execution_duration_ms");
        assert_eq!(told, json!(["completed", 1, "2025-11-20T10:00:02.123Z", "2025-11-20T10:00:02.373Z", 250]));
        assert_eq!(pick(&done, "execution_result execution_error"), json!([{"partial": true}, null]));
        let approved = pick(&execution(2, 1).await, "approval_status approved_by approved_at approval_notes");
        let by = given.owners[0].user.to_string();
        assert_eq!(approved, json!(["approved", by, "2025-11-20T10:00:00.128Z", "fine"]));

        let under_way = execution(5, 0).await;
        assert_eq!(pick(&under_way, "execution_status node_epoch"), json!(["in_progress", 9]));
        assert_eq!(under_way["started_at"], json!("2025-11-20T10:00:00.127Z"));
        let rejected = execution(6, 1).await;
        assert_eq!(pick(&rejected, "execution_status approval_status"), json!(["cancelled", "rejected"]));
        assert_eq!(rejected["depends_on"], json!([given.execution(6, 0).to_string()]));
        assert_eq!(execution(7, 1).await["approval_status"], json!("not_required"));
    }
}

#[tokio::test]
async fn runs_flows_and_attempts_show_what_was_stored() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        let scope = tenant(&given, 0);
        let flow = store.one(scope, Resource::Flows, given.flows[0].0).await.expect("read").expect("there");
        let counts =
            pick(&flow, "total_executions successful_executions failed_executions avg_execution_time_ms success_rate");
        assert_eq!(counts, json!([6, 4, 2, 333, 4.0 / 6.0]));
        assert_eq!(flow["last_executed_at"], json!("2025-11-20T10:00:00.124Z"));
        assert_eq!(pick(&flow, "tags approval_threshold"), json!([["ops", "night"], 0.8]));
        let idle = store.one(scope, Resource::Flows, given.flows[1].0).await.expect("read").expect("there");
        assert_eq!(pick(&idle, "total_executions success_rate is_active conditions"), json!([0, null, false, null]));

        let done = store.one(scope, Resource::Runs, given.runs[2].0).await.expect("read").expect("there");
        let told = pick(&done, "run_status output duration_ms started_at completed_at updated_at");
        let at = ["2025-11-20T10:00:00.124Z", "2025-11-20T10:00:05.124Z"];
        let output = json!({"last": 2.0, "huge": 10_000_000_000_000_000_u64});
        assert_eq!(told, json!(["completed", output, 5_000, at[0], at[1], at[1]]));
        let failed = store.one(scope, Resource::Runs, given.runs[3].0).await.expect("read").expect("there");
        assert_eq!(pick(&failed, "error output"), json!(["step 'tell': no", null]));
        let running = store.one(scope, Resource::Runs, given.runs[5].0).await.expect("read").expect("there");
        assert_eq!(pick(&running, "updated_at completed_at"), json!(["2025-11-20T10:00:00.127Z", null]));

        let filter = Filter::of([("flow_run_id", json!(given.runs[2]))]);
        let items = walk(50, |page| store.list(scope, Resource::Log, filter.clone(), page)).await;
        let order: Vec<_> =
            items.as_array().expect("a list").iter().map(|i| pick(i, "step_no retry_attempt")).collect();
        assert_eq!(order, [json!([2, 0]), json!([1, 0]), json!([0, 1]), json!([0, 0])]);
        let partial = pick(&items[2], "success partial_success requires_review compliance_flags security_level");
        assert_eq!(partial, json!([true, true, false, ["gdpr"], "high"]));
        assert_eq!(items[2]["execution_queue_id"], json!(given.execution(2, 0).to_string()));
        let filter = Filter::of([("flow_run_id", json!(given.runs[3]))]);
        let reviewed = walk(50, |page| store.list(scope, Resource::Log, filter.clone(), page)).await;
        assert_eq!(pick(&reviewed[0], "requires_review review_notes success"), json!([true, "looked at", false]));
    }
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        let (own, other) = (tenant(&given, 1), given.owners[0].tenant.to_string());
        for (name, items) in everything(&store, own, 50).await {
            let foreign = items.as_array().expect("a list").iter().filter(|item| item["tenant_id"] == *other).count();
            assert_eq!(foreign, 0, "{name}");
        }
        assert_eq!(store.one(own, Resource::Flows, given.flows[0].0).await.expect("read"), None);
        assert_eq!(store.one(own, Resource::Runs, given.runs[0].0).await.expect("read"), None);
        assert_eq!(store.one(own, Resource::Executions, given.execution(0, 0).0).await.expect("read"), None);
        assert_eq!(store.one(own, Resource::Log, given.logs[0].0).await.expect("read"), None);
        assert!(store.one(tenant(&given, 0), Resource::Log, given.logs[0].0).await.expect("read").is_some());
        let page = Page { limit: 10, after: None };
        let run = ("flow_run_id", json!(given.runs[2]));
        let execution = ("execution_queue_id", json!(given.execution(2, 0)));
        let flow = ("orchestration_flow_id", json!(given.flows[0]));
        let empty = [
            store.list(own, Resource::Runs, Filter::of([flow]), page).await,
            store.list(own, Resource::Executions, Filter::of([run.clone()]), page).await,
            store.list(own, Resource::Log, Filter::of([run.clone()]), page).await,
            store.list(own, Resource::Log, Filter::of([execution]), page).await,
            // A cursor into somebody else's run leads nowhere.
            store.list(own, Resource::Log, Filter::of([run]), Page { limit: 1, after: Some(given.logs[2].0) }).await,
        ];
        for paged in empty {
            assert_eq!(paged.expect("the page is read"), Paged { items: Vec::new(), next: None });
        }
        let stranger = Scope::Tenant(core314_domain::ids::TenantId(given.flows[0].0));
        let view = store.statistics(stranger, T0, T0 + 1).await.expect("read");
        assert_eq!(view.by_action_type, []);
    }
}

#[tokio::test]
async fn statistics_add_up_whatever_the_window() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        summed_up_for_all(&bed).await;
        for (from, to) in [(0, 36), (1, 36), (5, 31), (10, 12), (33, 36), (36, 40)] {
            let (since, now) = (T0 + from * 600_000, T0 + (to - 1) * 600_000);
            let expected = (from..to.min(36)).count() as i64;
            for (scope, tenants) in [(tenant(&given, 0), 1), (Scope::Platform, 2)] {
                let view = store.statistics(scope, since, now).await.expect("read");
                assert_eq!(view.since_ms % 300_000, 0);
                assert!(view.since_ms <= since && since - view.since_ms < 300_000);
                let counted: i64 = view.by_action_type.iter().map(|(_, stat)| stat.executions).sum();
                assert_eq!(counted, expected * tenants, "{from}..{to}");
                let sketched: i64 = view.by_action_type.iter().map(|(_, stat)| stat.sketch.count()).sum();
                assert_eq!(sketched, expected * tenants, "{from}..{to}");
            }
        }
    }
}

/// The migration that sums up for the platform what is counted for its tenants.
async fn summed_up_for_all(bed: &Bed) {
    bed.run(if bed.is_postgres {
        format!("RESET ROLE; {}", include_str!("../../migrations/postgres/0044_statistics_of_all.sql"))
    } else {
        include_str!("../../migrations/sqlite/0044_statistics_of_all.sql").to_owned()
    })
    .await;
}

/// Days came later than hours: the migration sums up what was counted before them.
#[tokio::test]
async fn days_are_summed_up_from_the_hours_before_them() {
    const DAY_MS: i64 = 86_400_000;
    let owner = core314_domain::ids::TenantId(uuid::Uuid::from_u128(6));
    let (mut rows, mut expected) = (Vec::new(), Stat::default());
    for hour in 0..72_i64 {
        let mut stat = Stat::default();
        (0..=hour % 5).for_each(|n| stat.record_attempt(true, n > 0, Some(n * hour)));
        expected.merge(&stat);
        let columns = [
            ("partition", (hour % 3).into()),
            ("tenant_id", owner.0.into()),
            ("action_type", "api_call".into()),
            ("bucket_width_ms", 3_600_000_i64.into()),
            ("bucket_start_ms", (hour * 3_600_000).into()),
            ("executions", stat.executions.into()),
            ("successful", stat.successful.into()),
            ("failed", stat.failed.into()),
            ("attempts", stat.attempts.into()),
            ("duration_sum_ms", stat.duration_sum_ms.into()),
            ("sketch", serde_json::to_value(&stat.sketch).expect("a sketch is JSON").into()),
        ];
        rows.push(bed::Narrow { table: "statistics", columns: columns.to_vec() });
    }
    for bed in Bed::both().await {
        let store = SqlStore::open(&bed.url, StoreOptions::default()).await.expect("the store opens");
        bed.insert(&rows).await;
        bed.run(if bed.is_postgres {
            format!("RESET ROLE; {}", include_str!("../../migrations/postgres/0008_quick_reads.sql"))
        } else {
            include_str!("../../migrations/sqlite/0008_quick_reads.sql").to_owned()
        })
        .await;
        let view = store.statistics(Scope::Tenant(owner), 0, 3 * DAY_MS - 1).await.expect("read");
        assert_eq!(view.by_action_type, [("api_call".to_owned(), expected.clone())], "{}", bed.url);
        let days = store.timeline(Scope::Tenant(owner), 0, 3 * DAY_MS - 1, DAY_MS).await.expect("read");
        assert_eq!(days.iter().map(|(start_ms, _)| *start_ms).collect::<Vec<_>>(), [0, DAY_MS, 2 * DAY_MS]);
        // What was summed up is summed up again, and counts once.
        for _ in 0..2 {
            summed_up_for_all(&bed).await;
            bed.run(format!(
                "DELETE FROM statistics WHERE tenant_id = {}",
                if bed.is_postgres { format!("'{}'", owner.0) } else { format!("x'{}'", owner.0.simple()) }
            ))
            .await;
            let view = store.statistics(Scope::Platform, 0, 3 * DAY_MS - 1).await.expect("read");
            assert_eq!(view.by_action_type, [("api_call".to_owned(), expected.clone())], "{}", bed.url);
        }
        let forced = "SELECT CAST(relforcerowsecurity AS text) FROM pg_class WHERE relname = 'statistics'";
        assert!(!bed.is_postgres || bed.texts(forced).await == ["true"], "row-level security is forced again");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_none() {
    for bed in Bed::both().await {
        let given = Story::tell();
        let store = told(&bed, &given).await;
        let nothing = RunId::new(1, 1 << 70);
        assert_eq!(store.one(Scope::Platform, Resource::Runs, nothing.0).await.expect("read"), None);
        assert_eq!(store.one(Scope::Platform, Resource::Executions, nothing.execution(0).0).await.expect("read"), None);
        let no_step = core314_domain::ids::ExecutionId(given.runs[0].0);
        assert_eq!(store.one(Scope::Platform, Resource::Executions, no_step.0).await.expect("read"), None);
        let beyond = given.execution(0, 3);
        assert_eq!(store.one(Scope::Platform, Resource::Executions, beyond.0).await.expect("read"), None);
        assert_eq!(store.one(Scope::Platform, Resource::Log, LogId(nothing.0).0).await.expect("read"), None);
    }
}
