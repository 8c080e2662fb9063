//! `core314 bench`: what this build does on this machine, by workloads with fixed names.
//!
//! Each workload runs on an installation of its own that is thrown away, with the same durability as in production.
//! Load, receiver and database are included in the CPU figures, as they share the machine.

mod cases;
mod escalations;
mod fairness;
mod history;
mod large;
mod lists;
mod measure;
mod pager;
mod sync;
mod workload;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use core314_actors::engine::Engine;
use core314_actors::ports::executor::Executor;
use core314_actors::ports::notifications::{Inbox, Notifications};
use core314_actors::ports::store::Store;
use core314_actors::ports::views::Views;
use serde::Serialize;

pub use escalations::EscalationFigures;
pub use fairness::FairnessFigures;
pub use large::LargeRun;
pub use lists::Case;
pub use measure::{Cost, Latency};
pub use sync::Beside;
pub use workload::StreamFigures;

/// What a workload needs of an installation.
#[derive(Clone, Default)]
pub struct NodeOptions {
    /// Beside those of the product.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Slots of each partition; absent: as configured.
    pub slots_per_partition: Option<usize>,
    /// Whether the HTTP surface is wanted.
    pub http: bool,
}

/// A running node on the workload's installation.
pub struct Node {
    pub engine: Engine,
    /// Where its HTTP surface is, if it was wanted.
    pub url: Option<String>,
    /// A platform key of its HTTP surface.
    pub key: String,
    pub stop: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>,
}

/// The installation's store, for a workload that asks it without a node between.
#[derive(Clone)]
pub struct Ports {
    pub store: Arc<dyn Store>,
    pub views: Arc<dyn Views>,
    pub inbox: Arc<dyn Inbox>,
    pub notifications: Arc<dyn Notifications>,
}

/// Starts nodes on one installation, one after the other.
pub trait Installation {
    /// Starts a node; the one before has been stopped.
    fn start(&self, options: NodeOptions) -> Pin<Box<dyn Future<Output = anyhow::Result<Node>> + '_>>;
    /// Its store, while no node runs.
    fn ports(&self) -> Ports;
    /// `sqlite` or `postgres`.
    fn store(&self) -> &str;
    /// Tables of a PostgreSQL to move rows between, where the installation is on one.
    fn tables(&self) -> Option<&dyn BenchTables>;
}

/// Two pairs of tables with the same columns, beside the installation's own: what is read, and what is put.
pub trait BenchTables {
    /// What an integration of the database says: its endpoint and who signs in, and the password.
    fn address(&self) -> anyhow::Result<Address>;
    /// Makes the tables anew, and so many rows to be read.
    fn fill(&self, rows: u64) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>>;
    /// Copies all rows by a plain COPY from one connection to another.
    fn copy(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>>;
    /// Fails unless every row has been put, by the sync and by the copy.
    fn compare(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>>;
}

/// Where a database is.
#[derive(Debug, Clone)]
pub struct Address {
    pub endpoint: String,
    pub username: String,
    pub password: Option<String>,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    pub workloads: Vec<Workload>,
    /// How long a workload that runs for a time is loaded.
    pub seconds: u64,
    /// How many callers wait at once, where the workload has callers.
    pub callers: usize,
    /// Rows of the log in the history whose lists are asked for.
    pub rows: u64,
}

/// The workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Drain a queue of actions that do nothing, each with its log row.
    W1,
    /// From accept to the start of the action, one at a time.
    W2,
    /// Durable flows of three sequential steps.
    W3,
    /// Webhook to durable run to one HTTP call received.
    W4,
    /// Lists, filters and statistics over a long history.
    #[value(alias = "w6")]
    Lists,
    /// The end-to-end cases of orchestration, one user's requests over HTTP.
    Cases,
    /// Nothing to do.
    W7,
    /// Clients of the live stream while runs go by.
    Stream,
    /// One run of 1,000 steps, and one loop over 100,000 items.
    Large,
    /// Rows from one table to another by `data_sync`, beside a plain COPY of the same rows. On PostgreSQL alone.
    Sync,
    /// 10,000 escalation rules and 1,000 failures a second.
    Escalations,
    /// One tenant's flood beside another's few actions.
    #[value(alias = "w8")]
    Fairness,
}

/// What one workload showed.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub workload: Workload,
    pub store: String,
    /// What was counted: actions, flows, calls.
    pub unit: &'static str,
    pub count: u64,
    pub per_second: f64,
    pub cpu_us_each: f64,
    pub bytes_written_each: f64,
    pub latency: Option<Latency>,
    /// Of one core, where the workload is to do nothing.
    pub cpu_percent: Option<f64>,
    /// Commits and writes that the store was given.
    pub batches: u64,
    pub writes: u64,
    /// Of the live stream's clients, where the workload has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamFigures>,
    /// What each run cost, where the workload is a few large ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub large: Vec<LargeRun>,
    /// What was done beside for comparison, in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// Of escalation rules, where the workload has failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalations: Option<EscalationFigures>,
    /// What another tenant noticed of a flood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness: Option<FairnessFigures>,
    /// What was asked, where the workload asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
}

/// Runs the plan, one workload after the other, each on a fresh installation. `say` hears how far a long one is.
pub async fn run<I: Installation>(
    plan: &Plan,
    fresh: impl AsyncFn() -> anyhow::Result<I>,
    say: &dyn Fn(&str),
    mut report: impl FnMut(&Figures),
) -> anyhow::Result<Vec<Figures>> {
    let mut all = Vec::new();
    for workload in &plan.workloads {
        let installation = fresh().await?;
        let figures = match workload {
            Workload::W1 => workload::drain(&installation, plan).await?,
            Workload::W2 => workload::start_latency(&installation, plan).await?,
            Workload::W3 => workload::flows(&installation, plan).await?,
            Workload::W4 => workload::webhooks(&installation, plan).await?,
            Workload::Lists => lists::lists(&installation, plan, say).await?,
            Workload::Cases => cases::cases(&installation, plan, say).await?,
            Workload::W7 => workload::idle(&installation, plan).await?,
            Workload::Stream => workload::streams(&installation, plan).await?,
            Workload::Large => large::large(&installation, plan, say).await?,
            Workload::Sync => sync::sync(&installation, plan, say).await?,
            Workload::Escalations => escalations::escalations(&installation, plan, say).await?,
            Workload::Fairness => fairness::fairness(&installation, plan, say).await?,
        };
        report(&figures);
        all.push(figures);
    }
    Ok(all)
}

impl Figures {
    /// Figures from a cost and a count.
    fn of(workload: Workload, installation: &impl Installation, unit: &'static str, count: u64, cost: Cost) -> Self {
        let each = |total: u64| total as f64 / count.max(1) as f64;
        Self {
            workload,
            store: installation.store().to_owned(),
            unit,
            count,
            per_second: count as f64 / cost.seconds,
            cpu_us_each: each(cost.cpu_us),
            bytes_written_each: each(cost.bytes_written),
            latency: None,
            cpu_percent: None,
            batches: 0,
            writes: 0,
            stream: None,
            large: Vec::new(),
            beside: None,
            escalations: None,
            fairness: None,
            cases: Vec::new(),
        }
    }

    /// For a person: one line, and one for each question.
    pub fn line(&self) -> String {
        let latency = self.latency.map_or_else(String::new, |l| {
            format!("  p50 {:.2} ms  p99 {:.2} ms  max {:.1} ms", l.p50_ms, l.p99_ms, l.max_ms)
        });
        let cpu = self.cpu_percent.map_or_else(String::new, |p| format!("  {p:.2} % of a core"));
        let stream = self.stream.map_or_else(String::new, |stream| stream.line());
        let escalations = self.escalations.map_or_else(String::new, |escalations| escalations.line());
        let fairness = self.fairness.map_or_else(String::new, |fairness| fairness.line());
        let own = format!(
            "{:?} {:<8} {:>9.0} {}/s  {:>7.1} µs CPU each  {:>7.0} bytes each  {:>5.1} writes a commit{latency}{cpu}{stream}\
             {escalations}{fairness}",
            self.workload,
            self.store,
            self.per_second,
            self.unit,
            self.cpu_us_each,
            self.bytes_written_each,
            self.writes as f64 / self.batches.max(1) as f64,
        );
        let large = self.large.iter().map(LargeRun::line).chain(self.beside.iter().map(Beside::line));
        let lines: Vec<String> = std::iter::once(own).chain(large).chain(self.cases.iter().map(Case::line)).collect();
        lines.join("\n")
    }
}
