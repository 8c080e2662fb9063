//! A history of runs, with all that a list shows, for the plans.

use std::time::Duration;

use core314_domain::ids::{LogId, NotificationId, RowId};
use serde_json::json;

use super::bed::{Bed, Lit, Narrow};
use super::{T0, flow, owner, run, runs, tenant, webhook};
use crate::store::{SqlStore, StoreOptions};

/// Runs whose rows are inserted at once.
const CHUNK: i64 = 20_000;

fn run_rows(no: i64) -> [Narrow; 3] {
    let id: Lit = run(no).0.into();
    let own: Lit = tenant(owner(no)).0.into();
    let live = no % 50 == 1;
    let is_hooked = no % 10 == 3;
    let source = if is_hooked { format!("webhook:{}", webhook(owner(no))) } else { "manual".to_owned() };
    let runs = [
        ("id", id.clone()),
        ("tenant_id", own.clone()),
        ("user_id", own.clone()),
        ("partition", (no % 64).into()),
        ("flow_id", flow(owner(no)).0.into()),
        ("flow_version", 1.into()),
        ("flow_name", "f".into()),
        ("trigger_type", "webhook".into()),
        ("trigger_source", source.as_str().into()),
        ("webhook", is_hooked.then(|| json!({"headers": {}, "query": {}})).into()),
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

/// Another attempt of a run's step, which took so long.
pub(super) fn second_attempt(no: i64, duration_ms: i64) -> Narrow {
    let [_, _, mut log] = run_rows(no);
    for (name, value) in &mut log.columns {
        match *name {
            "id" => *value = LogId::new(T0 + no, (1 << 60) | no as u128).0.into(),
            "attempt" => *value = 1.into(),
            "seq" => *value = (runs() + no).into(),
            _ => {}
        }
    }
    log.columns.push(("duration_ms", duration_ms.into()));
    log
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
        ("status", if no < runs() / 2 { "read" } else { "unread" }.into()),
        ("metadata", "{}".into()),
        ("created_at_ms", (T0 + no).into()),
        ("updated_at_ms", (T0 + no).into()),
    ];
    Narrow { table: "notices", columns: columns.to_vec() }
}

/// What else a run may leave: an entry of the audit log, and now and then work that was set aside.
fn other_rows(no: i64) -> Vec<Narrow> {
    let of: Lit = tenant(owner(no)).0.into();
    let audit = [
        ("id", RowId::new(T0 + no, no as u128).0.into()),
        ("tenant_id", of.clone()),
        ("user_id", of.clone()),
        ("partition", (no % 64).into()),
        ("seq", no.into()),
        ("row_hash", Lit::Bytes(1)),
        ("event_type", "orchestration_started".into()),
        ("actor", "user:1".into()),
        ("subject_type", "flow_run".into()),
        ("summary", "s".into()),
        ("details", "{}".into()),
        ("at_ms", (T0 + no).into()),
    ];
    let letter = [
        ("id", RowId::new(T0 + no, no as u128).0.into()),
        ("tenant_id", of.clone()),
        ("user_id", of),
        ("actor_path", "/root".into()),
        ("message", "m".into()),
        ("failure", "f".into()),
        ("created_at_ms", (T0 + no).into()),
    ];
    let delivery = [
        ("id", RowId::new(T0 + no, no as u128).0.into()),
        ("tenant_id", tenant(owner(no)).0.into()),
        ("user_id", tenant(owner(no)).0.into()),
        ("webhook_id", webhook(owner(no)).into()),
        ("status", "no_match".into()),
        ("is_test", false.into()),
        ("why_not", json!([]).into()),
        ("request", json!({"headers": {}, "query": {}}).into()),
        ("is_body_cut", false.into()),
        ("received_at_ms", (T0 + no).into()),
    ];
    let mut rows = vec![Narrow { table: "audit", columns: audit.to_vec() }];
    if no % 10 == 0 {
        rows.extend(signal_rows(no));
        rows.push(Narrow { table: "dead_letters", columns: letter.to_vec() });
        rows.push(Narrow { table: "deliveries", columns: delivery.to_vec() });
        rows.push(phase_row(no));
    }
    rows
}

fn phase_row(no: i64) -> Narrow {
    let of: Lit = tenant(owner(no)).0.into();
    let columns = [
        ("id", RowId::new(T0 + no, no as u128).0.into()),
        ("tenant_id", of.clone()),
        ("user_id", of),
        ("run_id", run(no).0.into()),
        ("flow_id", flow(owner(no)).0.into()),
        ("phase", 1.into()),
        ("name", "p".into()),
        ("status", "started".into()),
        ("at_ms", (T0 + no).into()),
    ];
    Narrow { table: "phase_moves", columns: columns.to_vec() }
}

/// A decision, a recommendation, a memory and a metric.
fn signal_rows(no: i64) -> [Narrow; 4] {
    let of = tenant(owner(no)).0;
    let owned: [(&'static str, Lit); 3] =
        [("id", RowId::new(T0 + no, no as u128).0.into()), ("tenant_id", of.into()), ("user_id", of.into())];
    let times: [(&'static str, Lit); 2] = [("created_at_ms", (T0 + no).into()), ("updated_at_ms", (T0 + no).into())];
    let status = if no % 20 == 0 { "unread" } else { "executed" };
    let decision = [("source", "s".into()), ("title", "t".into()), ("payload", "{}".into()), ("status", status.into())];
    let recommendation = [
        ("title", "t".into()),
        ("action_type", "transform".into()),
        ("action_target", "".into()),
        ("action_payload", "{}".into()),
        ("priority", 5.into()),
        ("status", status.into()),
    ];
    let memory = [
        ("subject_type", "decision".into()),
        ("subject_id", run(no).0.into()),
        ("outcome", "completed".into()),
        ("features", "{}".into()),
        ("success", true.into()),
        ("recorded_at_ms", T0.into()),
    ];
    let metric = [
        ("metric_name", if no % 20 == 0 { "cpu" } else { "memory" }.into()),
        ("metric_type", "gauge".into()),
        ("value", 1.into()),
        ("labels", "{}".into()),
        ("recorded_at_ms", T0.into()),
        ("created_at_ms", T0.into()),
    ];
    let with = |table, own: &[(&'static str, Lit)], times: &[(&'static str, Lit)]| Narrow {
        table,
        columns: [&owned[..], own, times].concat(),
    };
    [
        with("decisions", &decision, &times),
        with("recommendations", &recommendation, &times),
        with("memories", &memory, &[]),
        with("metrics", &metric, &[]),
    ]
}

fn webhook_row(no: i64) -> Narrow {
    let of: Lit = tenant(no % 5).0.into();
    let columns = [
        ("id", webhook(no).into()),
        ("tenant_id", of.clone()),
        ("user_id", of),
        ("name", format!("w{no}").as_str().into()),
        ("verification", "url_secret".into()),
        ("trigger_type", "webhook".into()),
        ("is_active", true.into()),
        ("created_at_ms", T0.into()),
    ];
    Narrow { table: "webhooks", columns: columns.to_vec() }
}

fn key_row(no: i64) -> Narrow {
    let of: Lit = tenant(no % 5).0.into();
    let columns = [
        ("id", RowId::new(T0, no as u128).0.into()),
        ("tenant_id", of.clone()),
        ("user_id", of),
        ("name", format!("k{no}").as_str().into()),
        ("key_hash", format!("{no}").as_str().into()),
        ("scope", "tenant".into()),
        ("roles", json!(["viewer"]).into()),
        ("created_at_ms", T0.into()),
    ];
    Narrow { table: "keys", columns: columns.to_vec() }
}

/// A row of either table: what both have, and what this one has.
fn connection_row(no: i64, table: &'static str, own: [(&'static str, Lit); 2]) -> Narrow {
    let of: Lit = tenant(no % 5).0.into();
    let columns = [
        ("id", RowId::new(T0, no as u128).0.into()),
        ("tenant_id", of.clone()),
        ("user_id", of),
        ("name", format!("c{no}").as_str().into()),
        ("version", 1.into()),
        ("created_at_ms", T0.into()),
        ("updated_at_ms", T0.into()),
    ];
    Narrow { table, columns: columns.into_iter().chain(own).collect() }
}

fn integration_row(no: i64) -> Narrow {
    let own = [("kind", "http".into()), ("definition", json!({}).into())];
    let mut row = connection_row(no, "connections", own);
    row.columns.push(("is_active", true.into()));
    row
}

fn secret_row(no: i64) -> Narrow {
    connection_row(no, "sealed_secrets", [("description", "".into()), ("sealed", "v1.k.x".into())])
}

pub(super) async fn filled(bed: &Bed) -> SqlStore {
    let options = StoreOptions { read_limit: Duration::from_secs(20), ..StoreOptions::default() };
    let store = SqlStore::open(&bed.url, options).await.expect("the store opens");
    bed.insert(&(0..500).map(flow_rows).map(|[flow, _]| flow).collect::<Vec<_>>()).await;
    bed.insert(&(0..500).map(flow_rows).map(|[_, version]| version).collect::<Vec<_>>()).await;
    bed.insert(&(0..500).map(webhook_row).collect::<Vec<_>>()).await;
    bed.insert(&(0..500).map(key_row).collect::<Vec<_>>()).await;
    bed.insert(&(0..500).map(integration_row).collect::<Vec<_>>()).await;
    bed.insert(&(0..500).map(secret_row).collect::<Vec<_>>()).await;
    for first in (0..runs()).step_by(CHUNK as usize) {
        let mut rows: Vec<Narrow> = (first..first + CHUNK).flat_map(run_rows).collect();
        rows.extend((first..first + CHUNK).flat_map(other_rows));
        rows.extend((first..first + CHUNK).map(notice_row));
        rows.sort_by_key(|row| row.table);
        bed.insert(&rows).await;
    }
    assert_eq!(bed.texts("SELECT CAST(count(*) AS text) FROM runs").await, [runs().to_string()]);
    store
}
