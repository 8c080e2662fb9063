//! The installation as a whole, without a server: copied elsewhere, and looked through.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use core314_actors::clock::{Clock, SystemClock};
use core314_actors::collector::drop_aged;
use core314_actors::plans::Plans;
use core314_actors::ports::executor::Executor;
use core314_actors::ports::ledger::{Ledger, LedgerReport};
use core314_actors::run_check::RunCheck;
use serde::Serialize;

use super::{node, prepare};
use crate::config::{Config, local};
use crate::executors::{self, Reach};
use crate::store::{
    self, ForeignRecords, GoesOn, Paused, SchemaState, SqlStore, StoreFinding, StoreOptions, Transfer, TransferReport,
};

/// No single statement of a copy or a look takes longer.
const PATIENCE: Duration = Duration::from_hours(1);

/// What is copied where. An absent end is the configured database.
#[derive(Debug, Default)]
pub struct StoreCopy {
    pub from: Option<String>,
    pub to: Option<String>,
    /// The owner of the destination's schema, where it is another login than the destination's.
    pub to_owner: Option<String>,
    /// The source must have no server.
    pub moves: bool,
    /// What an unfinished copy has left at the destination is removed.
    pub restart: bool,
    /// By what the copy is paused.
    pub paused_by: Option<String>,
}

/// Copies an installation and proves the copy.
pub fn copy_store(config: &Config, copy: StoreCopy, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<TransferReport> {
    if copy.to.is_none() {
        local::make_dir(&config.data_dir())?;
    }
    let mut options = patient(config)?;
    options.owner_url = match &copy.to {
        Some(_) => copy.to_owner,
        None => options.owner_url,
    };
    let plan = Transfer {
        from: copy.from.unwrap_or_else(|| config.database_url()),
        to: copy.to.unwrap_or_else(|| config.database_url()),
        options,
        moves: copy.moves,
        restart: copy.restart,
        paused_by: copy.paused_by,
    };
    Ok(prepare()?.block_on(store::transfer(&plan, say))?)
}

/// What a look through a store has found.
#[derive(Debug, Serialize)]
pub struct StoreReport {
    pub schema_applied: i64,
    pub schema_known: i64,
    pub ledger: LedgerReport,
    /// Runs that have not ended, all of which were judged.
    pub runs: u64,
    /// Without the ledger's.
    pub findings: Vec<StoreFinding>,
}

/// Looks through a store: the configured one, or the one at a URL. Beside a server or without one; nothing is changed.
pub fn check_store(config: &Config, url: Option<String>) -> anyhow::Result<StoreReport> {
    let mut options = patient(config)?;
    options.read_only = true;
    let url = url.unwrap_or_else(|| config.database_url());
    prepare()?.block_on(async {
        let store = SqlStore::open(&url, options).await.context("the store cannot be opened")?;
        look_through(config, Arc::new(store)).await
    })
}

async fn look_through(config: &Config, store: Arc<SqlStore>) -> anyhow::Result<StoreReport> {
    let SchemaState { applied, known } = store.schema().await?;
    let mut report = StoreReport {
        schema_applied: applied,
        schema_known: known,
        ledger: LedgerReport::default(),
        runs: 0,
        findings: Vec::new(),
    };
    if applied != known {
        let message =
            format!("the schema is {applied} and this release knows {known}: what it holds was not looked at");
        let rows = Vec::new();
        report.findings.push(StoreFinding { invariant: None, table: "cluster".to_owned(), message, rows });
        return Ok(report);
    }
    report.findings = store.look_through().await?;
    report.ledger = store.verify().await?;
    let plans = plans(config, &store)?;
    let partitions = u16::try_from(config.number("engine.partitions"))?;
    let now_ms = SystemClock::default().now_ms();
    let (all, catalog) = (store.as_ref(), store.as_ref());
    let checked = RunCheck { store: all, catalog, plans: &plans, partitions, now_ms }.perform().await?;
    report.runs = checked.runs;
    report.findings.extend(checked.broken.into_iter().map(|(run, violation)| StoreFinding {
        invariant: Some(violation.number),
        table: "flow_runs".to_owned(),
        message: violation.message,
        rows: vec![run.to_string()],
    }));
    Ok(report)
}

/// Drops what is older than it is to be kept, as the server does by itself; says how many rows of which table went. On
/// PostgreSQL beside the server, as SQLite's file has one writer.
pub fn run_retention(config: &Config) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let (url, retention) = (config.database_url(), node::engine_settings(config)?.retention);
    let writing = patient(config)?;
    let looking = StoreOptions { read_only: true, ..writing.clone() };
    prepare()?.block_on(async {
        // Opened for writing, an older schema would be brought up to date.
        let store = SqlStore::open(&url, looking).await.context("the store cannot be opened")?;
        is_of_this_release(&store).await?;
        if let Some(paused) = store.paused().await? {
            anyhow::bail!(
                "the installation is paused by {}, and nothing of it goes: run `core314 store resume` first",
                paused.by
            );
        }
        drop(store);
        let store = SqlStore::open(&url, writing).await.context("the store cannot be opened")?;
        let dropped = drop_aged(&store, &retention, SystemClock::default().now_ms()).await?;
        Ok(dropped.into_iter().map(|(what, rows)| (what.table(), rows)).collect())
    })
}

/// Refuses another schema, which may lack what is asked for.
async fn is_of_this_release(store: &SqlStore) -> anyhow::Result<()> {
    let SchemaState { applied, known } = store.schema().await?;
    anyhow::ensure!(
        applied == known,
        "the schema is {applied} and this release has {known}: start the server of this release on it once, or use the \
         release that it is of"
    );
    Ok(())
}

/// By what the configured installation is paused, and what would go on; `None`: it is not.
pub fn store_pause(config: &Config) -> anyhow::Result<Option<(Paused, GoesOn)>> {
    let mut options = patient(config)?;
    options.read_only = true;
    prepare()?.block_on(async {
        let store = SqlStore::open(&config.database_url(), options).await.context("the store cannot be opened")?;
        is_of_this_release(&store).await?;
        let Some(paused) = store.paused().await? else { return Ok(None) };
        Ok(Some((paused, store.goes_on().await?)))
    })
}

/// Pauses the configured installation from the next start of its server on. Says whether that is a change.
pub fn pause_store(config: &Config) -> anyhow::Result<bool> {
    let paused = Paused { at_ms: SystemClock::default().now_ms(), by: "core314 store pause".to_owned() };
    let (url, options) = (config.database_url(), patient(config)?);
    Ok(prepare()?.block_on(store::set_paused(&url, &options, Some(&paused)))?)
}

/// Lets the configured installation go on, beside its server that waits for it. Says whether that is a change.
pub fn resume_store(config: &Config) -> anyhow::Result<bool> {
    let (url, options) = (config.database_url(), patient(config)?);
    Ok(prepare()?.block_on(store::set_paused(&url, &options, None))?)
}

/// What flows are compiled with.
fn plans(config: &Config, store: &Arc<SqlStore>) -> anyhow::Result<Plans> {
    let settings = node::engine_settings(config)?;
    Ok(Plans::new(executors(config, store)?, settings.plan_limits(), settings.cached_plans))
}

/// The product's executors, to be asked and not to perform.
pub(super) fn executors(config: &Config, store: &Arc<SqlStore>) -> anyhow::Result<Vec<Arc<dyn Executor>>> {
    let reach = Reach { book: store.clone(), directory: None, codes: None, links: None };
    let settings = config.section("executors")?;
    Ok(executors::all(&settings, store.clone(), Arc::new(ForeignRecords), reach, store.clone())?)
}

/// How a store is opened for work that reads all of it.
pub(super) fn patient(config: &Config) -> anyhow::Result<StoreOptions> {
    let options = node::store_options(config)?;
    Ok(StoreOptions { read_limit: PATIENCE, write_limit: PATIENCE, idle_limit: PATIENCE, ..options })
}
