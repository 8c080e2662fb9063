//! What phases of runs come to: counted for Prometheus, and written as values of metrics.
//!
//! A partition notes transitions once they are durable, and only where there are any: a flow without phases costs
//! nothing. Counting takes a lock that others hold for an addition at most. The values of `metrics_data` are best-effort: they wait
//! in a bounded line, a task of the node's writes them in batches like any other metric's, so that thresholds may watch them, and what finds no
//! place or cannot be written is counted and told, and never holds up a run.
//!
//! Series are bounded: past [`MOST_SERIES`] phases all others share the labels `other` and 0.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use core314_domain::ids::{FlowId, Owner};
use core314_domain::run::RunHeader;
use core314_domain::words::{MetricType, PhaseStatus};
use dashmap::DashMap;
use tokio::sync::mpsc;

use crate::engine::{Engine, Inner, MetricDraft};
use crate::histogram::{Counted, Histogram, PHASES};
use crate::ports::store::PhaseWrite;
use crate::runtime::Counters;

/// Phases that have series of their own, of all flows.
pub const MOST_SERIES: usize = 1_000;
/// Values that wait to be written.
const MOST_WAITING: usize = 10_000;
/// Values that are written in one go.
const BATCH: usize = 500;

/// The names of the metrics, in Prometheus and in `metrics_data`.
pub const STARTED: &str = "workflow_phase_started";
pub const COMPLETED: &str = "workflow_phase_completed";
pub const FAILED: &str = "workflow_phase_failed";
pub const ROLLED_BACK: &str = "workflow_phase_rolled_back";

/// What was counted of a phase.
#[derive(Debug)]
pub struct PhaseMeter {
    started: AtomicU64,
    rolled_back: AtomicU64,
    /// How long it took, in ms.
    completed: Histogram,
    failed: Histogram,
}

/// The same, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseCounted {
    /// `None`: the phases that have no series of their own.
    pub flow: Option<FlowId>,
    pub phase: u32,
    pub started: u64,
    pub rolled_back: u64,
    pub completed: Counted,
    pub failed: Counted,
}

/// Where partitions note transitions.
#[derive(Debug)]
pub struct PhaseFigures {
    series: DashMap<(FlowId, u32), Arc<PhaseMeter>>,
    count: AtomicUsize,
    other: PhaseMeter,
    lost: AtomicU64,
    values: mpsc::Sender<PhaseValue>,
}

/// A value that waits to be written.
#[derive(Debug)]
pub struct PhaseValue {
    owner: Owner,
    draft: MetricDraft,
}

impl PhaseFigures {
    /// Nothing counted yet; and the other end of the line of values, for [`work`].
    pub fn new() -> (Self, mpsc::Receiver<PhaseValue>) {
        let (values, receiver) = mpsc::channel(MOST_WAITING);
        let figures = Self {
            series: DashMap::new(),
            count: AtomicUsize::new(0),
            other: PhaseMeter::new(),
            lost: AtomicU64::new(0),
            values,
        };
        (figures, receiver)
    }

    /// Takes note of transitions that are durable.
    pub fn note(&self, header: &RunHeader, phases: &[PhaseWrite]) {
        let mut lost = 0;
        for phase in phases {
            let moved = &phase.moved;
            self.count(header.flow.id, moved.phase, moved.status, moved.duration_ms);
            lost += usize::from(self.values.try_send(value(header, phase)).is_err());
        }
        if lost > 0 {
            self.lose(lost, "too many wait to be written");
        }
    }

    fn count(&self, flow: FlowId, phase: u32, status: PhaseStatus, duration_ms: Option<i64>) {
        if let Some(meter) = self.series.get(&(flow, phase)) {
            return meter.count(status, duration_ms);
        }
        // Two partitions that see a phase for the first time at once may make a few series more.
        if self.count.load(Ordering::Relaxed) >= MOST_SERIES {
            return self.other.count(status, duration_ms);
        }
        let meter = self.series.entry((flow, phase)).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(PhaseMeter::new())
        });
        meter.count(status, duration_ms);
    }

    /// Counts values that could not be written, and tells it.
    fn lose(&self, values: usize, why: &str) {
        self.lost.fetch_add(values as u64, Ordering::Relaxed);
        tracing::warn!(values, "values of phases were not written to metrics_data: {why}");
    }

    /// Values that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What was counted, by flow and phase; what has no series of its own comes last, where there is any.
    pub fn counted(&self) -> Vec<PhaseCounted> {
        let mut all: Vec<PhaseCounted> = self
            .series
            .iter()
            .map(|entry| {
                let (flow, phase) = *entry.key();
                entry.value().counted(Some(flow), phase)
            })
            .collect();
        all.sort_unstable_by_key(|counted| (counted.flow, counted.phase));
        let other = self.other.counted(None, 0);
        all.extend(
            (other.started + other.rolled_back + other.completed.count + other.failed.count > 0).then_some(other),
        );
        all
    }
}

impl PhaseMeter {
    fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            rolled_back: AtomicU64::new(0),
            completed: Histogram::new(PHASES),
            failed: Histogram::new(PHASES),
        }
    }

    fn count(&self, status: PhaseStatus, duration_ms: Option<i64>) {
        let duration_ms = duration_ms.unwrap_or_default().max(0) as u64;
        match status {
            PhaseStatus::Started => Counters::add(&self.started, 1),
            PhaseStatus::RolledBack => Counters::add(&self.rolled_back, 1),
            PhaseStatus::Completed => self.completed.record(duration_ms),
            PhaseStatus::Failed => self.failed.record(duration_ms),
        }
    }

    fn counted(&self, flow: Option<FlowId>, phase: u32) -> PhaseCounted {
        PhaseCounted {
            flow,
            phase,
            started: self.started.load(Ordering::Relaxed),
            rolled_back: self.rolled_back.load(Ordering::Relaxed),
            completed: self.completed.counted(),
            failed: self.failed.counted(),
        }
    }
}

/// A transition as a value: 1 for each that is only counted, how many seconds it took for the others.
fn value(header: &RunHeader, phase: &PhaseWrite) -> PhaseValue {
    let moved = &phase.moved;
    let seconds = moved.duration_ms.unwrap_or_default() as f64 / 1e3;
    let (name, metric_type, value) = match moved.status {
        PhaseStatus::Started => (STARTED, MetricType::Counter, 1.0),
        PhaseStatus::Completed => (COMPLETED, MetricType::Histogram, seconds),
        PhaseStatus::Failed => (FAILED, MetricType::Histogram, seconds),
        PhaseStatus::RolledBack => (ROLLED_BACK, MetricType::Counter, 1.0),
    };
    let labels = BTreeMap::from([
        ("phase".to_owned(), phase.name.to_string()),
        ("flow".to_owned(), header.flow.name.to_string()),
        ("user_id".to_owned(), header.owner.user.to_string()),
        ("workflow_id".to_owned(), header.id.to_string()),
    ]);
    let draft = MetricDraft { name: name.to_owned(), metric_type, value, labels, recorded_at_ms: moved.at_ms };
    PhaseValue { owner: phase.owner, draft }
}

/// Writes values until the engine is gone: what has come meanwhile in one go, for each owner.
pub(crate) async fn work(engine: Weak<Inner>, mut values: mpsc::Receiver<PhaseValue>) {
    let mut batch = Vec::with_capacity(BATCH);
    while values.recv_many(&mut batch, BATCH).await > 0 {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Engine { inner };
        let mut of_owner: BTreeMap<_, (Owner, Vec<MetricDraft>)> = BTreeMap::new();
        for PhaseValue { owner, draft } in batch.drain(..) {
            of_owner.entry((owner.tenant, owner.user)).or_insert_with(|| (owner, Vec::new())).1.push(draft);
        }
        for (owner, drafts) in of_owner.into_values() {
            let count = drafts.len();
            if let Err(error) = engine.take_metrics(owner, drafts, "engine").await {
                engine.runtime().phases.lose(count, &error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn transitions_are_counted_by_phase_and_past_the_bound_together() {
        let (figures, _values) = PhaseFigures::new();
        let flow = |n: u128| FlowId(Uuid::from_u128(n));
        figures.count(flow(1), 2, PhaseStatus::Started, None);
        figures.count(flow(1), 2, PhaseStatus::Completed, Some(1_500));
        figures.count(flow(1), 1, PhaseStatus::Failed, Some(40));
        figures.count(flow(1), 1, PhaseStatus::RolledBack, Some(40));
        let counted = figures.counted();
        assert_eq!(
            counted.iter().map(|c| (c.flow, c.phase)).collect::<Vec<_>>(),
            [(Some(flow(1)), 1), (Some(flow(1)), 2)]
        );
        assert_eq!((counted[0].started, counted[0].rolled_back, counted[0].failed.sum), (0, 1, 40));
        assert_eq!((counted[1].started, counted[1].completed.count, counted[1].completed.sum), (1, 1, 1_500));
        for n in 0..2 * MOST_SERIES as u128 {
            figures.count(flow(n + 2), 1, PhaseStatus::Started, None);
        }
        let counted = figures.counted();
        assert_eq!(counted.len(), MOST_SERIES + 1);
        let last = &counted[MOST_SERIES];
        assert_eq!((last.flow, last.started), (None, MOST_SERIES as u64 + 2));
    }
}
