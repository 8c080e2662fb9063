//! The live stream under load: 2,000 clients of 50 tenants listen to runs, of which 500 a second go by.
//!
//! The same load goes by twice: first nobody listens, then the clients do. What the second time costs more is the
//! stream's; the clients' own work is done on a thread of its own, whose CPU is taken off.

mod listeners;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use core314_actors::engine::Engine;
use core314_actors::ingress::{Trigger, Triggered};
use core314_domain::ids::{FlowId, Owner, UserId};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{batches, ended, no_op, save_flow_of, trigger, with_batches};
use crate::bench::measure::{Latency, Meter, resident_bytes};
use crate::bench::{Figures, Installation, NodeOptions, Plan, Workload};
use listeners::{Accepted, Heard, Listeners};

pub const CLIENTS: usize = 2_000;
pub const TENANTS: usize = 50;
const RUNS_PER_SECOND: u64 = 500;
/// How long the last changes may be on their way before they count as missed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the stream showed beside its latency and its rate.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StreamFigures {
    pub clients: usize,
    pub tenants: usize,
    pub runs: u64,
    /// Events that all clients received together; each holds one or more changes.
    pub events: u64,
    /// Changes that a client received of each run of its tenant; two are committed.
    pub changes_per_run: f64,
    /// Changes of another tenant that reached a client. Must be 0.
    pub foreign_changes: u64,
    /// Ends of runs that did not reach a client of their tenant. Must be 0.
    pub missed_ends: u64,
    /// Streams that ended before the load did. Must be 0.
    pub ended_streams: u64,
    /// From the answer to a trigger to the first word of its run that a client received.
    pub from_answer: Latency,
    /// CPU of the same load without clients, and with them; without their own work. Of one core.
    pub cpu_percent_without: f64,
    pub cpu_percent_with: f64,
    /// Resident memory that a client costs once connected, and after the load; its own side included.
    pub memory_kib_connected: f64,
    pub memory_kib_after: f64,
}

impl StreamFigures {
    /// A line for a person.
    pub fn line(&self) -> String {
        format!(
            "\n       {} clients of {} tenants, {} runs: {} events, {:.2} changes a run, {} foreign, {} ends missed, {} streams \
             ended; from the answer p50 {:.0} ms p99 {:.0} ms; CPU {:.1} % of a core without clients, {:.1} % with; a client \
             {:.1} KiB, {:.1} KiB after",
            self.clients,
            self.tenants,
            self.runs,
            self.events,
            self.changes_per_run,
            self.foreign_changes,
            self.missed_ends,
            self.ended_streams,
            self.from_answer.p50_ms,
            self.from_answer.p99_ms,
            self.cpu_percent_without,
            self.cpu_percent_with,
            self.memory_kib_connected,
            self.memory_kib_after,
        )
    }
}

fn tenant(n: usize) -> Owner {
    Owner::new(UserId(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_1000 + n as u128)), None)
}

/// The workload.
pub async fn streams(installation: &impl Installation, plan: &Plan) -> anyhow::Result<Figures> {
    // Both ends of each connection are in this process.
    allow_open_files(2 * CLIENTS as u64 + 1_000)?;
    let node = installation.start(NodeOptions { http: true, ..NodeOptions::default() }).await?;
    let mut flows = Vec::new();
    for n in 0..TENANTS {
        flows.push((tenant(n), save_flow_of(&node.engine, tenant(n), "w", "manual", json!([no_op("a")])).await?));
    }
    let flows: Arc<[(Owner, FlowId)]> = flows.into();
    let accepted = Arc::new(Accepted::default());
    let meter = Meter::now();
    let mut total = load(&node.engine, &flows, &accepted, plan.seconds).await?;
    ended(&node.engine, total).await?;
    let cost = meter.since();
    let cpu_percent_without = cost.cpu_us as f64 / (cost.seconds * 10_000.0);
    accepted.clear();

    let memory = resident_bytes();
    let per_client = |now: u64| now.saturating_sub(memory) as f64 / 1_024.0 / CLIENTS as f64;
    let url = node.url.as_deref().context("the node has an HTTP surface")?;
    let users = (0..TENANTS).map(|n| tenant(n).user).collect();
    let mut listeners = Listeners::start(url, &node.key, users, CLIENTS, accepted.clone()).await?;
    let memory_kib_connected = per_client(resident_bytes());
    let (meter, own) = (Meter::now(), listeners.cpu_us().await?);
    let before = batches(&node.engine);
    let runs = load(&node.engine, &flows, &accepted, plan.seconds).await?;
    total += runs;
    ended(&node.engine, total).await?;
    let expected = runs * (CLIENTS / TENANTS) as u64;
    let heard = listeners.until_ended(expected, PATIENCE).await?;
    let mut cost = meter.since();
    cost.cpu_us = cost.cpu_us.saturating_sub(heard.cpu_us - own);
    let memory_kib_after = per_client(resident_bytes());
    let engine = node.engine.clone();
    (node.stop)().await;
    let Heard { changes, events, foreign, ends, ended_streams, from_commit, from_answer, .. } = heard;
    let stream = StreamFigures {
        clients: CLIENTS,
        tenants: TENANTS,
        runs,
        events,
        changes_per_run: changes as f64 / expected.max(1) as f64,
        foreign_changes: foreign,
        missed_ends: expected.saturating_sub(ends),
        ended_streams,
        from_answer: Latency::of(from_answer),
        cpu_percent_without,
        cpu_percent_with: cost.cpu_us as f64 / (cost.seconds * 10_000.0),
        memory_kib_connected,
        memory_kib_after,
    };
    let figures = Figures::of(Workload::Stream, installation, "changes received", changes, cost);
    let figures = with_batches(figures, &engine, before);
    Ok(Figures { latency: Some(Latency::of(from_commit)), stream: Some(stream), ..figures })
}

/// Starts so many runs a second, the tenants in turn. Gives how many were accepted.
async fn load(
    engine: &Engine,
    flows: &Arc<[(Owner, FlowId)]>,
    accepted: &Arc<Accepted>,
    seconds: u64,
) -> anyhow::Result<u64> {
    let count = seconds * RUNS_PER_SECOND;
    let mut beat = tokio::time::interval(Duration::from_secs(1) / RUNS_PER_SECOND as u32);
    let mut tasks = Vec::with_capacity(count as usize);
    for n in 0..count {
        beat.tick().await;
        let (engine, flows, accepted) = (engine.clone(), flows.clone(), accepted.clone());
        tasks.push(tokio::spawn(async move {
            let (owner, flow) = flows[n as usize % flows.len()];
            match engine.trigger(Trigger { owner, ..trigger(flow, n) }).await? {
                Triggered::Accepted(run) => accepted.add(run.run.0, n as usize % flows.len(), Instant::now()),
                other => bail!("the trigger led to {other:?}"),
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(count)
}

/// Lets this process open so many files, or says why it cannot.
fn allow_open_files(wanted: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files cannot be read")?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        bail!("this needs {wanted} open files, {hard} are allowed: raise the limit (ulimit -Hn)");
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("the limit of open files cannot be raised")
}
