//! Rows of a table into another by `data_sync`, and the same rows by a plain COPY in the same run: what exactness, keys and
//! positions cost.

use anyhow::{Context, bail};
use core314_actors::engine::{IntegrationDraft, SecretDraft};
use core314_domain::integration::Definition;
use serde::Serialize;
use serde_json::json;

use super::measure::Meter;
use super::workload::{ended, owner, save_flow, trigger};
use super::{BenchTables, Figures, Installation, NodeOptions, Plan, Workload};

/// The columns of both tables.
pub const COLUMNS: [&str; 5] = ["id", "at", "name", "amount", "is_paid"];
pub const SOURCE: &str = "bench_source";
pub const SYNCED: &str = "bench_synced";
const BY: &str = "core314 bench";

/// The same work, done by something else.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// By what.
    pub by: &'static str,
    pub count: u64,
    pub per_second: f64,
    pub cpu_us_each: f64,
    pub bytes_written_each: f64,
}

impl Beside {
    /// For a person.
    pub fn line(&self) -> String {
        format!(
            "  {:<14} {:>9.0} rows/s  {:>7.1} µs CPU each  {:>7.0} bytes each",
            self.by, self.per_second, self.cpu_us_each, self.bytes_written_each
        )
    }
}

/// Moves the rows both ways, first by COPY.
pub async fn sync(installation: &impl Installation, plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Figures> {
    let tables = installation.tables().context("sync is measured beside COPY: give --store a postgres:// URL")?;
    say(&format!("makes {} rows", plan.rows));
    tables.fill(plan.rows).await?;
    say("copies them by COPY");
    let meter = Meter::now();
    tables.copy().await?;
    let cost = meter.since();
    let each = |total: u64| total as f64 / plan.rows as f64;
    let beside = Beside {
        by: "plain COPY",
        count: plan.rows,
        per_second: plan.rows as f64 / cost.seconds,
        cpu_us_each: each(cost.cpu_us),
        bytes_written_each: each(cost.bytes_written),
    };
    let node = installation.start(NodeOptions::default()).await?;
    connect(&node.engine, tables).await?;
    let payload = json!({"name": "bench", "source": {"from": "bench", "table": SOURCE, "order": ["id"]},
        "destination": {"table": SYNCED, "key": ["id"]}});
    let step = json!([{"id": "sync", "timeout_seconds": 3600, "config": {"action_type": "data_sync",
        "action_target": "bench", "action_payload": payload}}]);
    let flow = save_flow(&node.engine, "sync", "manual", step).await?;
    say("moves them by data_sync");
    let meter = Meter::now();
    node.engine.trigger(trigger(flow, 0)).await?;
    ended(&node.engine, 1).await?;
    let figures = Figures::of(Workload::Sync, installation, "rows", plan.rows, meter.since());
    (node.stop)().await;
    tables.compare().await?;
    Ok(Figures { beside: Some(beside), ..figures })
}

/// An integration of the database that the installation is on.
async fn connect(engine: &core314_actors::engine::Engine, tables: &dyn BenchTables) -> anyhow::Result<()> {
    let address = tables.address()?;
    let mut definition = json!({"endpoint": address.endpoint, "settings": {"username": address.username, "tls": "none",
        "tables": {SOURCE: COLUMNS, SYNCED: COLUMNS}}});
    if let Some(value) = address.password {
        let draft = SecretDraft { name: "BENCH".to_owned(), value, description: String::new() };
        if let Err(error) = engine.create_secret(owner(), draft, BY.to_owned()).await {
            bail!("the password cannot be kept: {error}");
        }
        definition["credentials"] = json!({"password": "secrets.BENCH"});
    }
    let definition: Definition = serde_json::from_value(definition)?;
    let draft = IntegrationDraft { name: "bench".to_owned(), kind: "postgres".to_owned(), definition, is_active: true };
    match engine.create_integration(owner(), draft, BY.to_owned()).await {
        Ok(_) => Ok(()),
        Err(error) => bail!("the database cannot be an integration: {error}"),
    }
}
