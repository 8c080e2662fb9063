//! The limits of the engine. Defaults live in `config/default.toml`, which the shell reads; the ones here are for tests.

use core314_domain::dispatch::Credits;
use core314_domain::plan::PlanLimits;
use serde::Deserialize;

use crate::fairness::TenantWeights;

/// How much of everything the engine holds and does at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// Partitions of the queue; fixed when an installation begins.
    pub partitions: u16,
    /// Threads that actors live on; 0: one per core.
    pub arbiters: usize,
    /// Shown in the log's `environment`.
    pub environment: String,
    /// Triggers that may wait for their commit at once; more are refused with 503.
    pub max_pending_accepts: usize,
    /// How long a trigger waits for its commit before the caller is told to come back.
    pub accept_timeout_ms: u64,
    /// Attempts under way at once, per partition.
    pub slots_per_partition: usize,
    /// Runs in memory at once, per partition; the rest waits in the store.
    pub resident_runs_per_partition: usize,
    /// Runs that may wait for limits of their flows at once, per partition; more triggers are refused with 503.
    pub limited_runs_per_partition: usize,
    /// Runs that are read from the store in one go.
    pub page_size: usize,
    /// How far ahead timers are held in memory.
    pub timer_horizon_ms: i64,
    /// Writes in one transaction at most.
    pub max_batch: usize,
    /// One attempt's deadline, where the step has none.
    pub attempt_timeout_ms: u64,
    /// How often a message may kill its actor before it is set aside.
    pub poison_limit: u32,
    /// An actor that is this long in one message is stuck: its thread is given up.
    pub stuck_after_ms: u64,
    /// An actor whose messages wait this long without one being handled is reported.
    pub stalled_after_ms: u64,
    /// How often statistics are written.
    pub statistics_interval_ms: u64,
    /// How long an idempotency key is remembered.
    pub idempotency_ttl_ms: i64,
    /// Compiled flows held in memory.
    pub cached_plans: usize,
    /// Deliveries that are kept of one webhook, beside those that started a run.
    pub kept_deliveries: u32,
    /// How often it is looked for what has happened and has not yet started what it starts, whatever was heard of it.
    pub sweep_interval_ms: u64,
    /// How many flows may start one another by their ends.
    pub max_chain_depth: u64,
    /// Series of a metric that may exceed one flow's threshold at once; more are not watched.
    pub watched_series: u32,
    /// How long events are kept for runs that are about to wait for them.
    pub kept_events_ms: i64,
    /// How many events of one type and subject are kept, the newest.
    pub kept_events_per_subject: u32,
    /// How late an instant of a schedule may be and still be on time; what is later was missed.
    pub schedule_grace_ms: i64,
    /// Instants of one schedule that are caught up with, or wait for the run before them; older ones are given up.
    pub schedule_kept_instants: usize,
    /// How long attempts under way may go on when the node stops.
    pub drain_ms: u64,
    /// What a trigger may bring.
    pub max_trigger_bytes: usize,
    pub max_steps: usize,
    pub max_document_bytes: usize,
    /// How many entries of each tenant start in its turn.
    pub tenant_weights: TenantWeights,
    /// What urgency and priority are worth.
    pub dispatch: Credits,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            partitions: 8,
            arbiters: 0,
            environment: "test".to_owned(),
            max_pending_accepts: 4_096,
            accept_timeout_ms: 10_000,
            slots_per_partition: 32,
            resident_runs_per_partition: 1_024,
            limited_runs_per_partition: 100_000,
            page_size: 256,
            timer_horizon_ms: 600_000,
            max_batch: 1_024,
            attempt_timeout_ms: 30_000,
            poison_limit: 3,
            stuck_after_ms: 10_000,
            stalled_after_ms: 30_000,
            statistics_interval_ms: 1_000,
            idempotency_ttl_ms: 86_400_000,
            cached_plans: 10_000,
            kept_deliveries: 1_000,
            sweep_interval_ms: 10_000,
            max_chain_depth: 16,
            watched_series: 1_000,
            kept_events_ms: 3_600_000,
            kept_events_per_subject: 100,
            schedule_grace_ms: 15_000,
            schedule_kept_instants: 100,
            drain_ms: 10_000,
            max_trigger_bytes: 1 << 20,
            max_steps: 1_000,
            max_document_bytes: 1 << 20,
            tenant_weights: TenantWeights::default(),
            dispatch: Credits::default(),
        }
    }
}

impl EngineSettings {
    /// What a flow document may hold.
    pub fn plan_limits(&self) -> PlanLimits {
        PlanLimits { max_steps: self.max_steps, max_document_bytes: self.max_document_bytes }
    }
}
