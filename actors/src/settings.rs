//! The limits of the engine. Defaults live in `config/default.toml`, which the shell reads; the ones here are for tests.

use core314_domain::dispatch::Credits;
use core314_domain::plan::PlanLimits;
use core314_domain::run::Bounds;
use serde::Deserialize;

use crate::fairness::{ActionLimits, TenantWeights};

/// How much of everything the engine holds and does at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSettings {
    /// Partitions of the queue; fixed when an installation begins.
    pub partitions: u16,
    /// Threads that actors live on, beside those of what is apart (`engine/threads`); 0: one per core.
    pub arbiters: usize,
    /// Shown in the log's `environment`.
    pub environment: String,
    /// Triggers that may wait for their commit at once; more are refused with 503.
    pub max_pending_accepts: usize,
    /// How long a trigger waits for its commit before the caller is told to come back.
    pub accept_timeout_ms: u64,
    /// Attempts under way at once, per partition.
    pub slots_per_partition: usize,
    /// Runs in memory at once, per partition; the rest waits in the store. Up to as many again where they take turns by key.
    pub resident_runs_per_partition: usize,
    /// Runs that may wait for limits of their flows at once, per partition; more triggers are refused with 503.
    pub limited_runs_per_partition: usize,
    /// Runs that may gather triggers at once, per partition; a trigger that would make another is refused with 503.
    pub gathering_runs_per_partition: usize,
    /// Runs that are read from the store in one go.
    pub page_size: usize,
    /// How far ahead timers are held in memory.
    pub timer_horizon_ms: i64,
    /// Writes in one transaction at most.
    pub max_batch: usize,
    /// About the bytes of results and payloads in one transaction at most, unless one write alone has more.
    pub max_batch_bytes: usize,
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
    /// How long after a look at what all runs wait for the next one begins.
    pub waiting_check_interval_ms: u64,
    /// How many flows may start one another by their ends.
    pub max_chain_depth: u64,
    /// A result or payload whose JSON is larger is kept beside the log, and is not kept in memory.
    pub inline_result_bytes: usize,
    /// Large results that one run keeps in memory; others are read when an expression names them.
    pub results_at_hand_bytes: usize,
    /// Large results that one decision of a run may look at together.
    pub results_at_once_bytes: usize,
    /// The largest result that is put together in a run itself, such as a loop's.
    pub max_result_bytes: usize,
    /// What one decision of a run renders; further steps wait for the next.
    pub decision_bytes: usize,
    /// Results of steps that one flow keeps to be used again; further ones are not kept.
    pub cached_results_per_flow: u32,
    /// The largest of them; larger ones are not kept.
    pub max_cached_result_bytes: usize,
    /// How often it is looked for what the store keeps and nothing refers to any more.
    pub collect_interval_ms: u64,
    /// Series of a metric that may exceed one flow's threshold at once; more are not watched.
    pub watched_series: u32,
    /// Escalation rules of one tenant that are asked; those of the lowest priority are left out.
    pub escalation_rules_per_tenant: usize,
    /// How long the link in a message acknowledges an escalation.
    pub ack_link_hours: i64,
    /// People whom one message is for; more are not told.
    pub recipients_per_message: usize,
    /// For how long, after people were told that a run waits for their approval, they are not told of more of it.
    pub approval_window_ms: i64,
    /// People in the directory of one tenant.
    pub users_per_tenant: usize,
    /// Contact methods that one person may have in a tenant.
    pub contact_methods_per_user: usize,
    /// How long a code proves an address.
    pub contact_code_ms: i64,
    /// How often one may be given wrongly.
    pub contact_code_tries: i64,
    /// How long after one the next may be sent.
    pub contact_code_pause_ms: i64,
    /// Codes that one contact method gets at all.
    pub contact_codes: i64,
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
    /// What a run that is run again from a step may take over.
    pub max_reused_bytes: usize,
    pub max_steps: usize,
    pub max_document_bytes: usize,
    /// Integrations that one tenant may have.
    pub integrations_per_tenant: usize,
    /// Secrets that one tenant may have.
    pub secrets_per_tenant: usize,
    /// The value of a secret.
    pub max_secret_bytes: usize,
    /// A value that was replaced stays good for no longer than this, in seconds.
    pub max_secret_overlap_seconds: u64,
    /// How many entries of each tenant start in its turn.
    pub tenant_weights: TenantWeights,
    /// How many actions are under way at once and how fast they start, of each tenant and of all together.
    pub action_limits: ActionLimits,
    /// How long rows are kept that no run depends on.
    pub retention: Retention,
    /// What urgency and priority are worth.
    pub dispatch: Credits,
}

/// How many days rows are kept that no run depends on; 0: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Since a value was written.
    pub metrics_days: u32,
    /// Since a notification was archived.
    pub archived_notifications_days: u32,
    /// Since a key expired.
    pub idempotency_keys_days: u32,
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
            gathering_runs_per_partition: 10_000,
            page_size: 256,
            timer_horizon_ms: 600_000,
            max_batch: 1_024,
            max_batch_bytes: 64 << 20,
            attempt_timeout_ms: 30_000,
            poison_limit: 3,
            stuck_after_ms: 10_000,
            stalled_after_ms: 30_000,
            statistics_interval_ms: 1_000,
            idempotency_ttl_ms: 86_400_000,
            cached_plans: 10_000,
            kept_deliveries: 1_000,
            sweep_interval_ms: 10_000,
            waiting_check_interval_ms: 60_000,
            max_chain_depth: 16,
            inline_result_bytes: 32 << 10,
            results_at_hand_bytes: 1 << 20,
            results_at_once_bytes: 64 << 20,
            max_result_bytes: 16 << 20,
            decision_bytes: 8 << 20,
            cached_results_per_flow: 1_000,
            max_cached_result_bytes: 1 << 18,
            collect_interval_ms: 3_600_000,
            watched_series: 1_000,
            escalation_rules_per_tenant: 20_000,
            ack_link_hours: 72,
            recipients_per_message: 200,
            approval_window_ms: 30_000,
            users_per_tenant: 5_000,
            contact_methods_per_user: 10,
            contact_code_ms: 900_000,
            contact_code_tries: 5,
            contact_code_pause_ms: 30_000,
            contact_codes: 10,
            kept_events_ms: 3_600_000,
            kept_events_per_subject: 100,
            schedule_grace_ms: 15_000,
            schedule_kept_instants: 100,
            drain_ms: 10_000,
            max_trigger_bytes: 1 << 20,
            max_reused_bytes: 1 << 24,
            max_steps: 1_000,
            max_document_bytes: 1 << 20,
            integrations_per_tenant: 200,
            secrets_per_tenant: 1_000,
            max_secret_bytes: 16_384,
            max_secret_overlap_seconds: 2_592_000,
            tenant_weights: TenantWeights::default(),
            action_limits: ActionLimits::default(),
            retention: Retention::default(),
            dispatch: Credits::default(),
        }
    }
}

impl EngineSettings {
    /// What a run may hold and make at once.
    pub const fn run_bounds(&self) -> Bounds {
        Bounds {
            small_bytes: self.inline_result_bytes,
            at_hand_bytes: self.results_at_hand_bytes,
            result_bytes: self.max_result_bytes,
            decision_bytes: self.decision_bytes,
        }
    }

    /// What a flow document may hold.
    pub fn plan_limits(&self) -> PlanLimits {
        PlanLimits { max_steps: self.max_steps, max_document_bytes: self.max_document_bytes }
    }
}
