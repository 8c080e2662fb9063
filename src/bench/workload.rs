//! The workloads themselves.

mod probe;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use core314_actors::engine::{Engine, FlowDraft};
use core314_actors::ingress::{Target, Trigger, TriggerError};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, UserId};
use core314_domain::words::TriggerType;
use serde_json::{Value, json};

use super::measure::{Latency, Meter};
use super::{Figures, Installation, Node, NodeOptions, Plan, Workload};
use probe::Probe;
pub use stream::{StreamFigures, streams};

/// Actions in the queue that is drained.
const BACKLOG: u64 = 50_000;
/// Samples of a latency, at most.
const SAMPLES: usize = 2_000;

pub(super) fn owner() -> Owner {
    Owner::new(UserId(uuid::Uuid::from_u128(314)), None)
}

pub(super) async fn save_flow(engine: &Engine, name: &str, trigger: &str, steps: Value) -> anyhow::Result<FlowId> {
    save_flow_of(engine, owner(), name, trigger, steps).await
}

pub(super) async fn save_flow_of(
    engine: &Engine,
    owner: Owner,
    name: &str,
    trigger: &str,
    steps: Value,
) -> anyhow::Result<FlowId> {
    let document = json!({"flow_name": name, "trigger_type": trigger, "flow_steps": steps});
    let document = FlowDocument::from_value(document)?;
    let draft = FlowDraft { owner, document, by: "bench".to_owned() };
    Ok(engine.create_flow(draft).await?.id)
}

/// A step that the runtime performs inside itself.
pub(super) fn no_op(id: &str) -> Value {
    json!({"id": id, "config": {"action_type": "transform", "action_payload": {"values": {"n": "{{ trigger.n }}"}}}})
}

pub(super) fn trigger(flow: FlowId, n: u64) -> Trigger {
    Trigger {
        owner: owner(),
        target: Target::Flow(flow),
        trigger_type: TriggerType::Manual,
        source: "bench".into(),
        context: Arc::new(json!({"n": n, "host": "web-1", "severity": "high", "text": "x".repeat(200)})),
        webhook: Arc::default(),
        triggered_by: "bench".into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        idempotency: None,
    }
}

/// Triggers from many callers, each waiting for its answer, until `more` says no. Gives how many were accepted.
pub(super) async fn callers(
    engine: &Engine,
    flow: FlowId,
    count: usize,
    more: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> anyhow::Result<u64> {
    let (number, accepted, more) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(more));
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (engine, number, accepted, more) = (engine.clone(), number.clone(), accepted.clone(), more.clone());
            tokio::spawn(async move {
                loop {
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    if !more(n) {
                        return Ok(());
                    }
                    match engine.trigger(trigger(flow, n)).await {
                        Ok(_) => accepted.fetch_add(1, Ordering::Relaxed),
                        Err(TriggerError::Busy { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(accepted.load(Ordering::Relaxed))
}

/// Waits until that many runs have ended.
pub(super) async fn ended(engine: &Engine, runs: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    let counters = &engine.runtime().counters;
    while counters.runs_ended.load(Ordering::Relaxed) < runs {
        if started.elapsed() > Duration::from_mins(5) {
            bail!("{} of {runs} runs ended in five minutes", counters.runs_ended.load(Ordering::Relaxed));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

pub(super) fn with_batches(figures: Figures, engine: &Engine, before: (u64, u64)) -> Figures {
    let (batches, writes) = batches(engine);
    Figures { batches: batches - before.0, writes: writes - before.1, ..figures }
}

pub(super) fn batches(engine: &Engine) -> (u64, u64) {
    let counters = &engine.runtime().counters;
    (counters.batches.load(Ordering::Relaxed), counters.writes.load(Ordering::Relaxed))
}

/// W1: a backlog is stored by a node without slots; the next node drains it.
pub async fn drain(installation: &impl Installation, plan: &Plan) -> anyhow::Result<Figures> {
    let idle = NodeOptions { slots_per_partition: Some(0), ..NodeOptions::default() };
    let node = installation.start(idle).await?;
    let flow = save_flow(&node.engine, "w1", "manual", json!([no_op("a")])).await?;
    let accepted = callers(&node.engine, flow, plan.callers, |n| n < BACKLOG).await?;
    (node.stop)().await;
    let meter = Meter::now();
    let node = installation.start(NodeOptions::default()).await?;
    ended(&node.engine, accepted).await?;
    let figures = Figures::of(Workload::W1, installation, "actions", accepted, meter.since());
    let figures = with_batches(figures, &node.engine, (0, 0));
    (node.stop)().await;
    Ok(figures)
}

/// W2: one caller, one action at a time; the probe notes when it is started.
pub async fn start_latency(installation: &impl Installation, plan: &Plan) -> anyhow::Result<Figures> {
    let probe = Arc::new(Probe::default());
    let options = NodeOptions { executors: vec![probe.clone()], ..NodeOptions::default() };
    let node = installation.start(options).await?;
    let step = json!([{"id": "a", "config": {"action_type": "bench_probe", "action_payload": {}}}]);
    let flow = save_flow(&node.engine, "w2", "manual", step).await?;
    let mut latencies = Vec::new();
    let (meter, until) = (Meter::now(), Instant::now() + Duration::from_secs(plan.seconds));
    let before = batches(&node.engine);
    while latencies.len() < SAMPLES && Instant::now() < until {
        let started = Instant::now();
        node.engine.trigger(trigger(flow, latencies.len() as u64)).await?;
        latencies.push(probe.next().await - started);
    }
    let count = latencies.len() as u64;
    ended(&node.engine, count).await?;
    let figures = Figures::of(Workload::W2, installation, "starts", count, meter.since());
    let figures = Figures { latency: Some(Latency::of(latencies)), ..with_batches(figures, &node.engine, before) };
    (node.stop)().await;
    Ok(figures)
}

/// W3: as many flows of three steps as the callers can start and the engine can end.
pub async fn flows(installation: &impl Installation, plan: &Plan) -> anyhow::Result<Figures> {
    let node = installation.start(NodeOptions::default()).await?;
    let flow = save_flow(&node.engine, "w3", "manual", json!([no_op("a"), no_op("b"), no_op("c")])).await?;
    let before = batches(&node.engine);
    let (meter, until) = (Meter::now(), Instant::now() + Duration::from_secs(plan.seconds));
    let accepted = callers(&node.engine, flow, plan.callers, move |_| Instant::now() < until).await?;
    ended(&node.engine, accepted).await?;
    let figures = Figures::of(Workload::W3, installation, "flows", accepted, meter.since());
    let figures = with_batches(figures, &node.engine, before);
    (node.stop)().await;
    Ok(figures)
}

/// W4: webhooks over HTTP, each becoming a run with one HTTP call; first at full load, then ten a second for latency.
pub async fn webhooks(installation: &impl Installation, plan: &Plan) -> anyhow::Result<Figures> {
    let receiver = probe::Receiver::start().await?;
    let node = installation.start(NodeOptions { http: true, ..NodeOptions::default() }).await?;
    let hook = prepare_webhook(&node, &receiver.url).await?;
    let before = batches(&node.engine);
    let (meter, until) = (Meter::now(), Instant::now() + Duration::from_secs(plan.seconds));
    let sent = post(&hook, plan.callers.min(128), until).await?;
    receiver.until(sent).await?;
    let figures = Figures::of(Workload::W4, installation, "calls", sent, meter.since());
    let figures = with_batches(figures, &node.engine, before);
    ended(&node.engine, sent).await?;
    let mut latencies = Vec::new();
    let client = reqwest::Client::new();
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    for n in 0..(plan.seconds * 10).min(SAMPLES as u64) {
        beat.tick().await;
        let started = Instant::now();
        client.post(&hook).json(&json!({"n": n})).send().await?.error_for_status()?;
        latencies.push(receiver.arrival(sent + n + 1).await? - started);
    }
    (node.stop)().await;
    Ok(Figures { latency: Some(Latency::of(latencies)), ..figures })
}

async fn prepare_webhook(node: &Node, receiver: &str) -> anyhow::Result<String> {
    let url = node.url.as_deref().context("the node has an HTTP surface")?;
    let step = json!([{"id": "call", "config": {"action_type": "api_call", "action_target": "receiver",
        "action_payload": {"method": "POST", "url": receiver, "json": {"n": "{{ trigger.n }}"}}}}]);
    save_flow(&node.engine, "w4", "webhook", step).await?;
    let made: Value = reqwest::Client::new()
        .post(format!("{url}/api/v1/webhooks"))
        .bearer_auth(&node.key)
        .header("X-User-Id", owner().user.to_string())
        .json(&json!({"name": "w4", "trigger_type": "webhook"}))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    let hook = made["url"].as_str().context("a webhook has a url")?;
    let path = &hook[hook.find("/hooks/").context("the url has the hook's path")?..];
    Ok(format!("{url}{path}"))
}

/// Posts from many callers until the time is over. Gives how many were accepted.
async fn post(hook: &str, callers: usize, until: Instant) -> anyhow::Result<u64> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(callers).build()?;
    let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (client, hook, sent, stop) = (client.clone(), hook.to_owned(), sent.clone(), stop.clone());
            tokio::spawn(async move {
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    let body = json!({"n": 1, "host": "web-1", "text": "x".repeat(200)});
                    let response = client.post(&hook).json(&body).send().await?;
                    match response.status().as_u16() {
                        202 => drop(sent.fetch_add(1, Ordering::Relaxed)),
                        503 => tokio::task::yield_now().await,
                        code => {
                            stop.store(true, Ordering::Relaxed);
                            bail!("the webhook answered {code}: {}", response.text().await.unwrap_or_default());
                        }
                    }
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(sent.load(Ordering::Relaxed))
}

/// W7: nothing to do; what does that cost?
pub async fn idle(installation: &impl Installation, plan: &Plan) -> anyhow::Result<Figures> {
    let node = installation.start(NodeOptions { http: true, ..NodeOptions::default() }).await?;
    let flow = save_flow(&node.engine, "w7", "manual", json!([no_op("a")])).await?;
    let accepted = callers(&node.engine, flow, 8, |n| n < 100).await?;
    ended(&node.engine, accepted).await?;
    // Statistics of the warm-up are written within a second or two; then it is quiet.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (meter, before) = (Meter::now(), batches(&node.engine));
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let cost = meter.since();
    let percent = cost.cpu_us as f64 / (cost.seconds * 10_000.0);
    let figures =
        with_batches(Figures::of(Workload::W7, installation, "seconds", plan.seconds, cost), &node.engine, before);
    (node.stop)().await;
    Ok(Figures { cpu_percent: Some(percent), ..figures })
}
