//! What can be listed: the contract's views, their columns and the filters that an index answers.
//!
//! One table serves the store (which type a column has), the API (which filters there are) and its description. A test
//! holds it against the rows of both databases.

use std::collections::HashMap;
use std::sync::LazyLock;

use core314_domain::escalation::{EscalationReason, EscalationStatus, Purpose};
use core314_domain::words::{
    ApprovalStatus, DecisionStatus, ExecutionMode, ExecutionStatus, MetricType, NotificationStatus, NotificationType,
    OnErrorAction, PhaseStatus, RecommendationStatus, Role, RunStatus, Severity, TriggerType, Urgency,
};

use super::escalation::OutboxStatus;

/// Type of a column, as answers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A UUID.
    Id,
    Text,
    /// One of a closed set of words.
    Word(&'static [&'static str]),
    Integer,
    Real,
    Boolean,
    /// RFC 3339 in UTC, with milliseconds.
    Time,
    Json,
    /// A list of UUIDs.
    Ids,
    /// A list of texts.
    Texts,
}

/// A column of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $view:literal, $noun:literal, [$($filters:literal),*]
        { $($column:ident: $kind:ident $(($words:ident))? $(or $null:ident)?),* $(,)? })*) => {
        /// A view of the contract that the API lists.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Resource { $($(#[$doc])* $name),* }

        impl Resource {
            /// Every view.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The view's name in the database.
            pub const fn view(self) -> &'static str {
                match self { $(Self::$name => $view),* }
            }

            /// What one row is called.
            pub const fn noun(self) -> &'static str {
                match self { $(Self::$name => $noun),* }
            }

            /// Filters that an index answers, each a list of columns that are given together; whatever else is asked
            /// for beside them is looked for row by row.
            pub const fn indexed(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($filters),*]),* }
            }

            /// Its columns, in their order.
            pub const fn columns(self) -> &'static [Column] {
                match self { $(Self::$name => &[$(
                    Column { name: stringify!($column), kind: Kind::$kind $(($words::WORDS))?, nullable: resources!(@null $($null)?) }
                ),*]),* }
            }
        }
    };
    (@null null) => { true };
    (@null) => { false };
}

resources! {
    /// Definitions, in their present version.
    Flows = "orchestration_flows", "flow", ["flow_name", "trigger_type is_active"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, flow_name: Text, flow_description:
        Text, flow_category: Text, flow_version: Integer, is_active: Boolean, is_template: Boolean,
        trigger_type: Word(TriggerType), trigger_config: Json, flow_steps: Json, execution_mode: Word(ExecutionMode),
        max_execution_time_seconds: Integer or null, retry_policy: Json, requires_approval: Boolean,
        approval_threshold: Real or null, conditions: Json or null, input_schema: Json or null, output_schema:
        Json or null, on_error_action: Word(OnErrorAction), fallback_flow_id: Id or null, error_notification_channels: Texts,
        avg_execution_time_ms: Real or null, success_rate: Real or null, total_executions: Integer,
        successful_executions: Integer, failed_executions: Integer, last_executed_at: Time or null, tags: Texts,
        metadata: Json, created_by: Id, updated_by: Id, created_at: Time, updated_at: Time,
    }
    /// One row a run.
    Runs = "flow_runs", "run", ["run_status", "orchestration_flow_id", "run_key"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, orchestration_flow_id: Id,
        flow_version: Integer, flow_name: Text, run_status: Word(RunStatus), trigger_type: Word(TriggerType), trigger_source: Text,
        trigger_context: Json or null, input: Json or null, output: Json or null, error: Text or null,
        parent_run_id: Id or null, decision_event_id: Id or null, recommendation_id: Id or null,
        idempotency_key: Text or null, run_key: Text or null, current_phase: Integer or null, started_at: Time or null, completed_at:
        Time or null, deadline_at: Time or null, duration_ms: Integer or null, partition: Integer, environment:
        Text, triggered_by: Text, created_at: Time, updated_at: Time,
    }
    /// One row a step of a run.
    Executions = "execution_queue", "execution", ["flow_run_id", "execution_status"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, orchestration_flow_id: Id,
        flow_version: Integer, flow_run_id: Id, decision_event_id: Id or null, recommendation_id: Id or null,
        parent_execution_id: Id or null, step_no: Integer, step_id: Text, action_type: Text, action_target: Text
        or null, action_payload: Json or null, action_config: Json, execution_status: Word(ExecutionStatus), priority: Integer,
        urgency: Word(Urgency), scheduled_for: Time or null, execute_after: Time or null, expires_at: Time or null,
        requires_approval: Boolean, approval_status: Word(ApprovalStatus), approved_by: Id or null, approved_at: Time or null,
        approval_notes: Text or null, max_retry_attempts: Integer, current_retry_attempt: Integer,
        retry_backoff_seconds: Real, last_retry_at: Time or null, next_retry_at: Time or null, started_at: Time
        or null, completed_at: Time or null, execution_duration_ms: Integer or null, execution_result: Json or
        null, execution_error: Text or null, execution_error_code: Text or null, reused_from: Id or null, depends_on: Ids,
        dependency_mode: Text, context_data: Json, tags: Texts, metadata: Json, partition: Integer, node_epoch:
        Integer or null, created_at: Time, updated_at: Time,
    }
    /// One row an attempt; immutable.
    Log = "execution_log", "entry of the execution log", ["flow_run_id", "execution_queue_id", "success"] {
        id: Id, tenant_id: Id, user_id: Id or null, organization_id: Id or null, execution_queue_id: Id,
        orchestration_flow_id: Id or null, flow_run_id: Id, decision_event_id: Id or null, recommendation_id: Id
        or null, step_no: Integer, action_type: Text, action_target: Text, action_payload: Json or null,
        action_config: Json or null, execution_status: Word(ExecutionStatus), is_final: Boolean, execution_result: Json or null,
        execution_error: Text or null, execution_error_code: Text or null, execution_error_details: Json or
        null, started_at: Time, completed_at: Time, execution_duration_ms: Integer or null, queue_wait_time_ms:
        Integer, retry_attempt: Integer, http_status_code: Integer or null, http_response_time_ms: Integer or
        null, http_request_size_bytes: Integer or null, http_response_size_bytes: Integer or null,
        integration_name: Text or null, integration_endpoint: Text or null, integration_method: Text or null,
        context_data: Json, environment: Text or null, triggered_by: Text or null, success: Boolean,
        partial_success: Boolean, requires_review: Boolean, review_notes: Text or null, compliance_flags: Texts,
        security_level: Text or null, data_classification: Text or null, tags: Texts, metadata: Json or null,
        partition: Integer, created_at: Time,
    }
    /// Endpoints that others call.
    Webhooks = "webhook_endpoints", "webhook", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, verification: Text,
        options: Json, trigger_type: Word(TriggerType) or null, flow_id: Id or null, dedup_key: Text or null, respond: Json or
        null, is_active: Boolean, path: Text, version: Integer, created_at: Time, updated_at: Time,
    }
    /// Verified deliveries to webhooks: those that started a run, told by the run's row under the run's id, and others.
    Deliveries = "webhook_deliveries", "delivery", ["webhook_id"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, webhook_id: Id, delivery_status: Text,
        is_test: Boolean, delivery_key: Text or null, run_ids: Ids, why_not: Json, error: Text or null, headers:
        Json, query: Json, body: Json or null, is_body_cut: Boolean, received_at: Time,
    }
    /// Changes of state that matter; append-only.
    Audit = "decision_audit_log", "entry of the audit log", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, event_type: Text, actor: Text,
        subject_type: Text, subject_id: Id or null, decision_event_id: Id or null, summary: Text, details: Json,
        partition: Integer, created_at: Time,
    }
    /// Messages inside the product, each in the inbox of one user.
    Notifications = "notifications", "notification", ["user_id", "user_id status"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, rule_id: Id or null,
        execution_queue_id: Id or null, type: Word(NotificationType), title: Text, message: Text,
        severity: Word(Severity), status: Word(NotificationStatus), action_url: Text or null, metadata: Json,
        created_at: Time, updated_at: Time, read_at: Time or null, archived_at: Time or null,
    }
    /// Work that was set aside.
    DeadLetters = "dead_letter_list", "dead letter", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, flow_run_id: Id or null, actor_path: Text,
        message: Text, failure: Text, settlement: Text or null, settled_at: Time or null, created_at: Time,
    }
    /// Decisions of engines outside.
    Decisions = "decision_events", "decision", ["status"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, source: Text, title: Text, summary: Text or
        null, confidence_score: Real or null, risk_level: Word(Severity) or null, payload: Json, status: Word(DecisionStatus),
        decided_by: Id or null, decided_at: Time or null, notes: Text or null, outcome: Text or null, executed_at:
        Time or null, created_at: Time, updated_at: Time,
    }
    /// Actions that engines outside recommend.
    Recommendations = "recommendation_queue", "recommendation", ["status"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, decision_event_id: Id or null, title: Text,
        action_type: Text, action_target: Text, action_payload: Json, priority: Integer, status: Word(RecommendationStatus),
        decided_by: Id or null, decided_at: Time or null, notes: Text or null, outcome: Text or null, executed_at:
        Time or null, created_at: Time, updated_at: Time,
    }
    /// What was tried on what, and how it ended.
    Memory = "memory_snapshots", "memory", ["subject_id"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, subject_type: Text, subject_id: Id, outcome:
        Text, features: Json, success: Boolean, recorded_at: Time,
    }
    /// Values of metrics.
    Metrics = "metrics_data", "metric", ["metric_name"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, metric_name: Text, metric_type: Word(MetricType),
        value: Real, labels: Json, recorded_at: Time, created_at: Time,
    }
    /// One row a transition of a phase; immutable.
    Phases = "workflow_phase_logs", "transition of a phase", ["workflow_id"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, workflow_id: Id, orchestration_flow_id: Id,
        phase_number: Integer, phase_name: Text, status: Word(PhaseStatus), timestamp: Time, duration_ms: Integer or null,
        previous_phase: Integer or null, error_message: Text or null, error_stack: Text or null, metadata: Json,
        rollback_triggered: Boolean, rollback_to_phase: Integer or null, created_at: Time,
    }
    /// Named connections to services outside; the view knows no secret.
    Integrations = "integrations", "integration", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, kind: Text, endpoint: Text or null,
        backup_endpoint: Text or null, credentials: Json, settings: Json, limits: Json, breaker: Json,
        retry: Json, breaker_state: Text, is_active: Boolean, version: Integer, created_at: Time, updated_at: Time,
    }
    /// Secrets by their names; the view knows no value, sealed or not.
    Secrets = "secrets", "secret", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, description: Text,
        previous_until: Time or null, version: Integer, created_at: Time, updated_at: Time,
    }
    /// Who is told of what has failed.
    EscalationRules = "escalation_rules", "escalation rule", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, rule_name: Text, rule_description: Text,
        rule_category: Text, is_active: Boolean, priority: Integer, trigger_conditions: Json or null,
        applies_to_action_types: Texts, applies_to_integrations: Texts, applies_to_flows: Texts, escalation_levels: Json,
        notification_channels: Json, auto_remediation_enabled: Boolean, remediation_actions: Json, sla_enabled: Boolean,
        sla_response_time_minutes: Real or null, sla_resolution_time_minutes: Real or null, sla_breach_actions: Json,
        max_escalations_per_hour: Integer or null, max_escalations_per_day: Integer or null, cooldown_period_minutes:
        Real or null, total_escalations: Integer, successful_resolutions: Integer, failed_resolutions: Integer,
        avg_resolution_time_minutes: Real or null, avg_acknowledge_time_minutes: Real or null, suppressed_count: Integer,
        breach_count: Integer, last_triggered_at: Time or null, last_heartbeat_at: Time or null, document: Json, tags:
        Texts, metadata: Json, created_by: Id, updated_by: Id, version: Integer, created_at: Time, updated_at: Time,
    }
    /// What has failed under a rule, and how far it has climbed; what was held back among it.
    EscalationEvents = "escalation_events", "escalation event", ["status", "escalation_rule_id"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, escalation_rule_id: Id, rule_version: Integer,
        execution_queue_id: Id or null, execution_log_id: Id or null, orchestration_flow_id: Id or null, flow_run_id: Id or
        null, escalation_level: Integer, escalation_reason: Word(EscalationReason), trigger_conditions_met: Json,
        status: Word(EscalationStatus), subject: Text, urgency: Word(Urgency), failure_count: Integer, held_back_count:
        Integer, held_back_by: Json or null, bundled_into: Id or null, acknowledged_by: Id or null, acknowledged_at: Time or
        null, resolved_by: Id or null, resolved_at: Time or null, resolution_notes: Text or null, actions_performed: Json,
        notifications_sent: Json, actions_left_out: Integer, notifications_left_out: Integer, remediation_attempted: Boolean,
        remediation_successful: Boolean or null, sla_response_deadline: Time or null, sla_resolution_deadline: Time or null,
        sla_response_breached: Boolean, sla_resolution_breached: Boolean, triggered_at: Time, resolution_duration_minutes:
        Real or null, next_wake_at: Time or null, context_data: Json, tags: Texts, metadata: Json, version: Integer,
        created_at: Time, updated_at: Time,
    }
    /// What events want done: one row for each event, level, target and channel.
    Outbox = "notification_outbox", "entry of the outbox", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, escalation_event_id: Id, escalation_level: Integer,
        round: Integer, purpose: Word(Purpose), kind: Text, channel: Text, target: Text or null, payload: Json,
        found_by: Json or null, idempotency_key: Text or null, status: Word(OutboxStatus), outcome_unknown: Boolean,
        flow_run_id: Id or null, error: Text or null, not_before: Time or null, sent_at: Time or null, created_at: Time,
        updated_at: Time,
    }
    /// Who is on call when.
    OnCall = "on_call_schedules", "on-call schedule", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, description: Text, time_zone: Text or
        null, layers: Json, version: Integer, created_at: Time, updated_at: Time,
    }
    /// Who stands in for a while.
    OnCallOverrides = "on_call_overrides", "override", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, schedule_id: Id, on_call_user_id: Id, reason: Text or
        null, starts_at: Time, ends_at: Time or null, created_at: Time,
    }
    /// Times in which nobody is told.
    Silences = "silences", "silence", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, matcher: Json or null, rules: Json, cron:
        Text or null, time_zone: Text or null, duration_minutes: Real or null, reason: Text or null, starts_at: Time, ends_at:
        Time or null, version: Integer, created_at: Time,
    }
    /// Organizations by their names.
    Organizations = "organizations", "organization", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, version: Integer, created_at: Time,
        updated_at: Time,
    }
    /// Who belongs to a tenant.
    Users = "users", "user", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, email: Text, name: Text, role: Word(Role),
        version: Integer, created_at: Time, updated_at: Time,
    }
    /// How people are reached; each sees their own.
    ContactMethods = "contact_methods", "contact method", ["user_id"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, kind: Text, address: Text, integration: Text or
        null, verified: Boolean, verified_at: Time or null, code_sent_at: Time or null, version: Integer, created_at: Time,
        updated_at: Time,
    }
    /// How people want to be told; each sees their own.
    Preferences = "notification_preferences", "preferences", ["user_id"] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, time_zone: Text, rules: Json, quiet_hours: Json,
        goes_through: Word(Severity), digest: Json, version: Integer, created_at: Time, updated_at: Time,
    }
    /// Service keys; the view knows no digest.
    Tokens = "service_keys", "service key", [] {
        id: Id, tenant_id: Id, user_id: Id, organization_id: Id or null, name: Text, scope: Text, roles: Texts,
        expires_at: Time or null, revoked_at: Time or null, created_at: Time, updated_at: Time,
    }
}

impl Resource {
    /// The column of this name.
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().iter().find(|column| column.name == name)
    }
}

/// The type of a column by its name alone: names mean the same in every view. `None` for a name that none has.
pub fn kind_of(name: &str) -> Option<Kind> {
    static KINDS: LazyLock<HashMap<&str, Kind>> = LazyLock::new(|| {
        let columns = Resource::ALL.iter().flat_map(|resource| resource.columns());
        columns.map(|column| (column.name, column.kind)).collect()
    });
    KINDS.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_type_in_all_views() {
        for resource in Resource::ALL {
            for column in resource.columns() {
                // Which words there are is each view's own business.
                let kind = kind_of(column.name).map(|kind| std::mem::discriminant(&kind));
                assert_eq!(kind, Some(std::mem::discriminant(&column.kind)), "{}.{}", resource.view(), column.name);
            }
        }
    }

    #[test]
    fn the_page_says_which_filters_an_index_answers() {
        let page = include_str!("../../../docs/data.md");
        let quoted = |filters: &&str| {
            let names: Vec<String> = filters.split(' ').map(|name| format!("`{name}`")).collect();
            names.join(" with ")
        };
        for resource in Resource::ALL {
            let filters: Vec<String> = resource.indexed().iter().map(quoted).collect();
            let filters = if filters.is_empty() { "none".to_owned() } else { filters.join(", ") };
            let line = format!("| `{}` | {filters} |", resource.view());
            assert!(page.contains(&line), "docs/data.md lacks the line\n{line}");
        }
    }

    #[test]
    fn indexed_filters_name_columns() {
        for resource in Resource::ALL {
            for name in resource.indexed().iter().flat_map(|filters| filters.split(' ')) {
                assert!(resource.column(name).is_some(), "{}.{name}", resource.view());
            }
        }
    }
}
