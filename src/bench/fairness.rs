//! W8: one tenant floods the server with 100,000 actions, and another sends ten a second: what does the other notice?
//!
//! Its actions are sent by the clock, whether the one before has begun or not, and each is measured from the moment at which it
//! was to be sent to the one at which it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use core314_actors::engine::Engine;
use core314_actors::ingress::{Trigger, TriggerError};
use core314_domain::ids::{FlowId, Owner, UserId};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::measure::{Latency, Meter};
use super::pager::Pager;
use super::workload::{batches, callers, ended, save_flow, save_flow_of, trigger, with_batches};
use super::{Figures, Installation, NodeOptions, Plan, Workload};

/// Actions of the flood.
const FLOOD: u64 = 100_000;
/// Between two actions of the other tenant.
const BEAT: Duration = Duration::from_millis(100);

/// What the other tenant has noticed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FairnessFigures {
    /// Without a flood, and during it: from an action's time to its begin.
    pub quiet: Latency,
    pub flooded: Latency,
    pub samples: (usize, usize),
    /// How many times the quiet p99 that of the flood is; the goal is 2 at most.
    pub times_p99: f64,
    /// Actions of the other tenant that were refused, and sent again.
    pub refused: u64,
}

impl FairnessFigures {
    /// For a person.
    pub fn line(&self) -> String {
        format!(
            "\n       the other tenant: quiet p50 {:.2} ms p99 {:.2} ms ({} actions), flooded p50 {:.2} ms p99 {:.2} ms ({}): {:.2} \
             times the p99; {} refused",
            self.quiet.p50_ms,
            self.quiet.p99_ms,
            self.samples.0,
            self.flooded.p50_ms,
            self.flooded.p99_ms,
            self.samples.1,
            self.times_p99,
            self.refused,
        )
    }
}

/// The workload.
pub async fn fairness(installation: &impl Installation, plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Figures> {
    let (quick, pager) = (Arc::new(Pager::new("bench_quick")), Arc::new(Pager::new("bench_page")));
    let options = NodeOptions { executors: vec![quick, pager.clone()], ..NodeOptions::default() };
    let node = installation.start(options).await?;
    let engine = &node.engine;
    let one =
        |action: &str, payload| json!([{"id": "a", "config": {"action_type": action, "action_payload": payload}}]);
    let flood = save_flow(engine, "flood", "manual", one("bench_quick", json!({"n": "{{ trigger.n }}"}))).await?;
    let other = Owner::new(UserId(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0008)), None);
    let steps = one("bench_page", json!({"sent_us": "{{ trigger.sent_us }}"}));
    let flow = save_flow_of(engine, other, "other", "manual", steps).await?;
    let beats = |stop| on_a_thread(beat(engine.clone(), (other, flow), pager.clone(), stop));

    say(&format!("the other tenant alone, for {} s", plan.seconds));
    let stop = Arc::new(AtomicBool::new(false));
    let alone = beats(stop.clone());
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let (sent, refused) = alone?.await??;
    ended(engine, sent).await?;
    let quiet = pager.latencies();

    say(&format!("a flood of {FLOOD} actions beside it"));
    let (before, meter) = (batches(engine), Meter::now());
    let stop = Arc::new(AtomicBool::new(false));
    let beside = beats(stop.clone());
    let accepted = callers(engine, flood, plan.callers, |n| n < FLOOD).await?;
    // At least so many have ended as the flood has; then the other tenant stops.
    ended(engine, sent + accepted).await?;
    stop.store(true, Ordering::Relaxed);
    let (sent_beside, refused_beside) = beside?.await??;
    ended(engine, sent + accepted + sent_beside).await?;
    let figures = Figures::of(Workload::Fairness, installation, "actions", accepted, meter.since());
    let figures = with_batches(figures, engine, before);
    let flooded = pager.latencies();
    let samples = (quiet.len(), flooded.len());
    let (quiet, flooded) = (Latency::of(quiet), Latency::of(flooded));
    let times_p99 = flooded.p99_ms / quiet.p99_ms.max(f64::EPSILON);
    let fairness = FairnessFigures { quiet, flooded, samples, times_p99, refused: refused + refused_beside };
    (node.stop)().await;
    Ok(Figures { latency: Some(flooded), fairness: Some(fairness), ..figures })
}

/// Runs on a thread of its own: whoever sends for the other tenant does not stand in line behind the flood's callers.
fn on_a_thread<T: Send + 'static>(
    what: impl Future<Output = T> + Send + 'static,
) -> std::io::Result<tokio::sync::oneshot::Receiver<T>> {
    let (done, heard) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("other-tenant".to_owned()).spawn(move || {
        // Nobody listens any more only where the workload has failed.
        let _ = done.send(runtime.block_on(what));
    })?;
    Ok(heard)
}

/// Sends an action at every beat until it is told to stop. How many were accepted, and how often one was refused.
async fn beat(
    engine: Engine,
    (owner, flow): (Owner, FlowId),
    pager: Arc<Pager>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<(u64, u64)> {
    let mut tasks = Vec::new();
    let (start, start_us) = (Instant::now(), pager.now_us());
    while !stop.load(Ordering::Relaxed) {
        let n = tasks.len() as u32;
        tokio::time::sleep_until((start + BEAT * n).into()).await;
        let (engine, sent_us) = (engine.clone(), start_us + (BEAT * n).as_micros() as u64);
        tasks.push(tokio::spawn(async move {
            let context = Arc::new(json!({"sent_us": sent_us}));
            let trigger = Trigger { owner, context, ..trigger(flow, u64::from(n)) };
            let mut refused = 0;
            loop {
                match engine.trigger(trigger.clone()).await {
                    Ok(_) => return Ok(refused),
                    Err(TriggerError::Busy { .. }) => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }));
    }
    let (sent, mut refused) = (tasks.len() as u64, 0);
    for task in tasks {
        refused += task.await??;
    }
    Ok((sent, refused))
}
