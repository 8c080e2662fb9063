//! The contract's views and the lists over them, on both stores.

mod bed;
mod story;

use core314::store::{SqlStore, StoreOptions};
use core314_actors::ports::Scope;
use core314_actors::ports::views::{ExecutionFilter, FlowFilter, LogFilter, Page, Paged, RunFilter, Views};
use core314_domain::ids::{LogId, RunId};
use core314_domain::words::{ExecutionStatus, RunStatus, TriggerType};
use serde_json::{Value, json};

use bed::Bed;
use story::{Story, T0};

/// The contract's columns of each view.
const COLUMNS: [(&str, &str); 6] = [
    (
        "orchestration_flows",
        "id tenant_id user_id organization_id created_at updated_at flow_name flow_description flow_category \
         flow_version is_active is_template trigger_type trigger_config flow_steps execution_mode \
         max_execution_time_seconds retry_policy requires_approval approval_threshold conditions input_schema \
         output_schema on_error_action fallback_flow_id error_notification_channels avg_execution_time_ms success_rate \
         total_executions successful_executions failed_executions last_executed_at tags metadata created_by updated_by",
    ),
    (
        "flow_runs",
        "id tenant_id user_id organization_id created_at updated_at orchestration_flow_id flow_version run_status \
         trigger_type trigger_source trigger_context input output error parent_run_id decision_event_id \
         recommendation_id idempotency_key current_phase started_at completed_at deadline_at duration_ms partition",
    ),
    (
        "execution_queue",
        "id tenant_id user_id organization_id created_at updated_at orchestration_flow_id flow_run_id \
         decision_event_id recommendation_id parent_execution_id action_type action_target action_payload \
         action_config execution_status priority urgency scheduled_for execute_after expires_at requires_approval \
         approval_status approved_by approved_at approval_notes max_retry_attempts current_retry_attempt \
         retry_backoff_seconds last_retry_at next_retry_at started_at completed_at execution_duration_ms \
         execution_result execution_error execution_error_code depends_on dependency_mode context_data tags metadata",
    ),
    (
        "execution_log",
        "id tenant_id user_id organization_id created_at execution_queue_id orchestration_flow_id flow_run_id \
         decision_event_id recommendation_id action_type action_target action_payload action_config execution_status \
         execution_result execution_error execution_error_code execution_error_details started_at completed_at \
         execution_duration_ms queue_wait_time_ms retry_attempt http_status_code http_response_time_ms \
         http_request_size_bytes http_response_size_bytes integration_name integration_endpoint integration_method \
         context_data environment triggered_by success partial_success requires_review review_notes compliance_flags \
         security_level data_classification tags metadata",
    ),
    (
        "decision_audit_log",
        "id tenant_id user_id organization_id created_at event_type actor subject_type subject_id decision_event_id \
         summary details",
    ),
    (
        "notifications",
        "id tenant_id user_id organization_id created_at updated_at rule_id type title message severity status \
         action_url metadata read_at archived_at",
    ),
];

/// What a later part of the system fills: documents have no phases yet, and no rule sends anything (docs/data.md).
const LATER: [&str; 2] = ["flow_runs.current_phase", "notifications.rule_id"];

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

/// Everything that the lists and single rows of a scope say, under names.
async fn everything(store: &SqlStore, given: &Story, scope: Scope, limit: usize) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for is_active in [None, Some(true), Some(false)] {
        for trigger_type in [None, Some(TriggerType::Webhook), Some(TriggerType::Schedule)] {
            for flow_name in [None, Some("incident".to_owned())] {
                let filter = FlowFilter { flow_name, trigger_type, is_active };
                let items = walk(limit, |page| store.flows(scope, filter.clone(), page)).await;
                found.push((format!("flows {filter:?}"), items));
            }
        }
    }
    for run_status in [None].into_iter().chain(RunStatus::ALL.iter().copied().map(Some)) {
        for flow in [None].into_iter().chain(given.flows.iter().copied().map(Some)) {
            let filter = RunFilter { run_status, flow };
            let items = walk(limit, |page| store.runs(scope, filter.clone(), page)).await;
            found.push((format!("runs {filter:?}"), items));
        }
    }
    for execution_status in [None].into_iter().chain(ExecutionStatus::ALL.iter().copied().map(Some)) {
        for run in [None, Some(given.runs[2]), Some(given.runs[13])] {
            let filter = ExecutionFilter { run, execution_status };
            let items = walk(limit, |page| store.executions(scope, filter.clone(), page)).await;
            found.push((format!("executions {filter:?}"), items));
        }
    }
    for success in [None, Some(true), Some(false)] {
        for (run, execution) in [
            (None, None),
            (Some(given.runs[2]), None),
            (None, Some(given.execution(2, 0))),
            (Some(given.runs[13]), None),
        ] {
            let filter = LogFilter { run, execution, success };
            let items = walk(limit, |page| store.log(scope, filter.clone(), page)).await;
            found.push((format!("log {filter:?}"), items));
        }
    }
    found
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
        let whole = everything(&lite, &given, scope, 500).await;
        let rows: usize = whole.iter().map(|(_, items)| items.as_array().expect("a list").len()).sum();
        assert!(rows > 100, "the lists are nearly empty: {rows}");
        for (store, limit) in [(&server, 500), (&server, 3), (&lite, 1), (&lite, 2)] {
            let pages = everything(store, &given, scope, limit).await;
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
            ("orchestration_flows", walk(50, |page| store.flows(all, FlowFilter::default(), page)).await),
            ("flow_runs", walk(50, |page| store.runs(all, RunFilter::default(), page)).await),
            ("execution_queue", walk(50, |page| store.executions(all, ExecutionFilter::default(), page)).await),
            ("execution_log", walk(50, |page| store.log(all, LogFilter::default(), page)).await),
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
            let found = store.execution(scope, given.execution(run, step)).await.expect("the row is read");
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
        let flow = store.flow(scope, given.flows[0]).await.expect("read").expect("there");
        let counts =
            pick(&flow, "total_executions successful_executions failed_executions avg_execution_time_ms success_rate");
        assert_eq!(counts, json!([6, 4, 2, 333, 4.0 / 6.0]));
        assert_eq!(flow["last_executed_at"], json!("2025-11-20T10:00:00.124Z"));
        assert_eq!(pick(&flow, "tags approval_threshold"), json!([["ops", "night"], 0.8]));
        let idle = store.flow(scope, given.flows[1]).await.expect("read").expect("there");
        assert_eq!(pick(&idle, "total_executions success_rate is_active conditions"), json!([0, null, false, null]));

        let done = store.run(scope, given.runs[2]).await.expect("read").expect("there");
        let told = pick(&done, "run_status output duration_ms started_at completed_at updated_at");
        let at = ["2025-11-20T10:00:00.124Z", "2025-11-20T10:00:05.124Z"];
        let output = json!({"last": 2.0, "huge": 10_000_000_000_000_000_u64});
        assert_eq!(told, json!(["completed", output, 5_000, at[0], at[1], at[1]]));
        let failed = store.run(scope, given.runs[3]).await.expect("read").expect("there");
        assert_eq!(pick(&failed, "error output"), json!(["step 'tell': no", null]));
        let running = store.run(scope, given.runs[5]).await.expect("read").expect("there");
        assert_eq!(pick(&running, "updated_at completed_at"), json!(["2025-11-20T10:00:00.127Z", null]));

        let filter = LogFilter { run: Some(given.runs[2]), ..LogFilter::default() };
        let items = walk(50, |page| store.log(scope, filter.clone(), page)).await;
        let order: Vec<_> =
            items.as_array().expect("a list").iter().map(|i| pick(i, "step_no retry_attempt")).collect();
        assert_eq!(order, [json!([2, 0]), json!([1, 0]), json!([0, 1]), json!([0, 0])]);
        let partial = pick(&items[2], "success partial_success requires_review compliance_flags security_level");
        assert_eq!(partial, json!([true, true, false, ["gdpr"], "high"]));
        assert_eq!(items[2]["execution_queue_id"], json!(given.execution(2, 0).to_string()));
        let filter = LogFilter { run: Some(given.runs[3]), ..LogFilter::default() };
        let reviewed = walk(50, |page| store.log(scope, filter.clone(), page)).await;
        assert_eq!(pick(&reviewed[0], "requires_review review_notes success"), json!([true, "looked at", false]));
    }
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let given = Story::tell();
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        let (own, other) = (tenant(&given, 1), given.owners[0].tenant.to_string());
        for (name, items) in everything(&store, &given, own, 50).await {
            let foreign = items.as_array().expect("a list").iter().filter(|item| item["tenant_id"] == *other).count();
            assert_eq!(foreign, 0, "{name}");
        }
        assert_eq!(store.flow(own, given.flows[0]).await.expect("read"), None);
        assert_eq!(store.run(own, given.runs[0]).await.expect("read"), None);
        assert_eq!(store.execution(own, given.execution(0, 0)).await.expect("read"), None);
        assert_eq!(store.log_entry(own, given.logs[0]).await.expect("read"), None);
        assert!(store.log_entry(tenant(&given, 0), given.logs[0]).await.expect("read").is_some());
        let page = Page { limit: 10, after: None };
        let run = Some(given.runs[2]);
        let flow = Some(given.flows[0]);
        let execution = Some(given.execution(2, 0));
        let empty = [
            store.runs(own, RunFilter { flow, ..RunFilter::default() }, page).await,
            store.executions(own, ExecutionFilter { run, ..ExecutionFilter::default() }, page).await,
            store.log(own, LogFilter { run, ..LogFilter::default() }, page).await,
            store.log(own, LogFilter { execution, ..LogFilter::default() }, page).await,
            // A cursor into somebody else's run leads nowhere.
            store
                .log(own, LogFilter { run, ..LogFilter::default() }, Page { limit: 1, after: Some(given.logs[2].0) })
                .await,
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

#[tokio::test]
async fn what_does_not_exist_is_none() {
    for bed in Bed::both().await {
        let given = Story::tell();
        let store = told(&bed, &given).await;
        let nothing = RunId::new(1, 1 << 70);
        assert_eq!(store.run(Scope::Platform, nothing).await.expect("read"), None);
        assert_eq!(store.execution(Scope::Platform, nothing.execution(0)).await.expect("read"), None);
        let no_step = core314_domain::ids::ExecutionId(given.runs[0].0);
        assert_eq!(store.execution(Scope::Platform, no_step).await.expect("read"), None);
        let beyond = given.execution(0, 3);
        assert_eq!(store.execution(Scope::Platform, beyond).await.expect("read"), None);
        assert_eq!(store.log_entry(Scope::Platform, LogId(nothing.0)).await.expect("read"), None);
    }
}
