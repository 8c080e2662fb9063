//! What the audit log remembers: changes of state that matter, and who made them.

use serde_json::Value;
use uuid::Uuid;

use crate::ids::{Owner, RowId};
use crate::words::words;

words! {
    /// The kinds of audit entries. Persisted: extended, never renamed.
    AuditEvent {
        OrchestrationStarted = "orchestration_started",
        ActionExecuted = "action_executed",
        ActionFailed = "action_failed",
        ApprovalRequested = "approval_requested",
        ApprovalGiven = "approval_given",
        ApprovalRefused = "approval_refused",
        RunCancelled = "run_cancelled",
        RunPaused = "run_paused",
        RunResumed = "run_resumed",
        RunQuarantined = "run_quarantined",
        FlowCreated = "flow_created",
        FlowUpdated = "flow_updated",
        FlowDeleted = "flow_deleted",
        RolloutStarted = "rollout_started",
        RolloutPromoted = "rollout_promoted",
        RolloutReturned = "rollout_returned",
        RunRetried = "run_retried",
        RollbackStarted = "rollback_started",
        RollbackEnded = "rollback_ended",
        UndoSettled = "undo_settled",
        ExecutionCancelled = "execution_cancelled",
        ExecutionReviewed = "execution_reviewed",
        DeadLetterSettled = "dead_letter_settled",
        WebhookCreated = "webhook_created",
        WebhookUpdated = "webhook_updated",
        WebhookRotated = "webhook_rotated",
        WebhookDeleted = "webhook_deleted",
        DecisionCreated = "decision_created",
        DecisionApproved = "decision_approved",
        DecisionRejected = "decision_rejected",
        DecisionExecuted = "decision_executed",
        DecisionFailed = "decision_failed",
        RecommendationCreated = "recommendation_created",
        RecommendationAccepted = "recommendation_accepted",
        RecommendationDismissed = "recommendation_dismissed",
        RecommendationExecuted = "recommendation_executed",
        RecommendationFailed = "recommendation_failed",
        TriggerFailed = "trigger_failed",
        ChainRefused = "chain_refused",
        ServiceKeyCreated = "service_key_created",
        ServiceKeyRenamed = "service_key_renamed",
        ServiceKeyRevoked = "service_key_revoked",
        IntegrationCreated = "integration_created",
        IntegrationUpdated = "integration_updated",
        IntegrationDeleted = "integration_deleted",
        BreakerOpened = "breaker_opened",
        BreakerClosed = "breaker_closed",
        BreakerHeld = "breaker_held",
        SecretsResealed = "secrets_resealed",
        SecretCreated = "secret_created",
        SecretUpdated = "secret_updated",
        SecretDeleted = "secret_deleted",
        SchedulePaused = "schedule_paused",
        ScheduleResumed = "schedule_resumed",
        ScheduleBackfilled = "schedule_backfilled",
        EscalationRuleSaved = "escalation_rule_saved",
        EscalationRuleDeleted = "escalation_rule_deleted",
        EscalationTriggered = "escalation_triggered",
        EscalationAcknowledged = "escalation_acknowledged",
        EscalationEnded = "escalation_ended",
        EscalationChanged = "escalation_changed",
        OnCallChanged = "on_call_changed",
        SilenceChanged = "silence_changed",
        OrganizationChanged = "organization_changed",
        UserAdded = "user_added",
        UserChanged = "user_changed",
        UserRemoved = "user_removed",
        ContactMethodAdded = "contact_method_added",
        ContactMethodVerified = "contact_method_verified",
        ContactMethodRemoved = "contact_method_removed",
        PreferencesChanged = "preferences_changed",
        ActorRestarted = "actor_restarted",
        ActorGaveUp = "actor_gave_up",
        NodeStarted = "node_started",
        NodeStopped = "node_stopped",
        InvariantViolated = "invariant_violated",
    }
}

/// One entry of the audit log, before its number and hash are known.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub owner: Owner,
    /// Whose chain it joins.
    pub partition: u16,
    pub event: AuditEvent,
    /// `user:ID`, `service:ID/user:ID`, `webhook:ID`, `node:ID` or an actor's path.
    pub actor: String,
    /// What it is about, such as `flow_run`.
    pub subject_type: &'static str,
    pub subject_id: Option<Uuid>,
    pub decision_event_id: Option<RowId>,
    pub summary: String,
    pub details: Value,
    pub at_ms: i64,
}
