//! One run with very many steps, and one loop over very many items: what each costs, at three sizes, so that it shows
//! whether the cost grows with the size alone.

use std::sync::Arc;

use core314_actors::engine::Engine;
use core314_domain::ids::FlowId;
use serde::Serialize;
use serde_json::{Value, json};

use super::measure::{Meter, Peak};
use super::workload::{ended, no_op, save_flow, trigger};
use super::{Figures, Installation, NodeOptions, Plan, Workload};

/// Steps of one flow: a document has at most 1,000.
const STEPS: [u64; 3] = [250, 500, 1_000];
/// Items of one loop: a list has at most 100,000.
const ITEMS: [u64; 3] = [25_000, 50_000, 100_000];
const CONCURRENCY: u64 = 50;

/// What one run cost, from its trigger to its durable end.
#[derive(Debug, Clone, Serialize)]
pub struct LargeRun {
    /// `steps` one after the other, `items` of a loop that computes, or `calls`: a loop whose rounds are executions.
    pub of: &'static str,
    pub count: u64,
    pub seconds: f64,
    pub cpu_us_each: f64,
    pub bytes_written_each: f64,
    /// Memory in RAM at its highest, above what the node had before the run began.
    pub peak_bytes: u64,
}

impl LargeRun {
    /// For a person.
    pub fn line(&self) -> String {
        format!(
            "  {:>7} {:<5}  {:>7.2} s  {:>6.0} /s  {:>7.1} µs CPU each  {:>6.0} bytes each  {:>6.1} MiB at most",
            self.count,
            self.of,
            self.seconds,
            self.count as f64 / self.seconds,
            self.cpu_us_each,
            self.bytes_written_each,
            self.peak_bytes as f64 / f64::from(1 << 20),
        )
    }
}

/// Runs them all, one after the other, on one node.
pub async fn large(installation: &impl Installation, _plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Figures> {
    let node = installation.start(NodeOptions::default()).await?;
    let (meter, mut runs) = (Meter::now(), Vec::new());
    for count in STEPS {
        say(&format!("a run of {count} steps"));
        let steps: Vec<Value> = (0..count).map(|no| no_op(&format!("s{no}"))).collect();
        let flow = save_flow(&node.engine, &format!("steps-{count}"), "manual", json!(steps)).await?;
        runs.push(one(&node.engine, "steps", count, runs.len() as u64, flow).await?);
    }
    let computes = json!({"id": "one", "type": "transform", "config": {"values": {"n": "loop.item"}}});
    for (of, body) in [("items", computes), ("calls", no_op("one"))] {
        let each = json!([{"id": "each", "type": "for_each",
            "config": {"collection": "trigger.items", "concurrency": CONCURRENCY, "steps": [body]}}]);
        let flow = save_flow(&node.engine, of, "manual", each).await?;
        for count in ITEMS {
            say(&format!("a loop over {count} {of}"));
            runs.push(one(&node.engine, of, count, runs.len() as u64, flow).await?);
        }
    }
    let all = runs.iter().map(|run| run.count).sum();
    let figures = Figures::of(Workload::Large, installation, "steps", all, meter.since());
    (node.stop)().await;
    Ok(Figures { large: runs, ..figures })
}

async fn one(
    engine: &Engine,
    of: &'static str,
    count: u64,
    ended_before: u64,
    flow: FlowId,
) -> anyhow::Result<LargeRun> {
    let mut trigger = trigger(flow, count);
    if of != "steps" {
        trigger.context = Arc::new(json!({"n": count, "items": (0..count).collect::<Vec<_>>()}));
    }
    let (peak, meter) = (Peak::begin()?, Meter::now());
    engine.trigger(trigger).await?;
    ended(engine, ended_before + 1).await?;
    let (cost, peak_bytes) = (meter.since(), peak.bytes());
    let each = |total: u64| total as f64 / count as f64;
    Ok(LargeRun {
        of,
        count,
        seconds: cost.seconds,
        cpu_us_each: each(cost.cpu_us),
        bytes_written_each: each(cost.bytes_written),
        peak_bytes,
    })
}
