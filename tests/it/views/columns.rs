//! What the contract says that each view has.

/// The contract's columns of each view.
pub const COLUMNS: [(&str, &str); 12] = [
    (
        "orchestration_flows",
        "id tenant_id user_id organization_id created_at updated_at flow_name flow_description flow_category \
         flow_version is_active is_template trigger_type trigger_config flow_steps execution_mode \
         max_execution_time_seconds retry_policy requires_approval approval_threshold conditions input_schema \
         output_schema on_error_action fallback_flow_id error_notification_channels avg_execution_time_ms success_rate \
         total_executions successful_executions failed_executions last_executed_at tags metadata created_by updated_by",
    ),
    (
        "flow_runs",
        "id tenant_id user_id organization_id created_at updated_at orchestration_flow_id flow_version run_status \
         trigger_type trigger_source trigger_context input output error parent_run_id decision_event_id \
         recommendation_id idempotency_key current_phase started_at completed_at deadline_at duration_ms partition",
    ),
    (
        "execution_queue",
        "id tenant_id user_id organization_id created_at updated_at orchestration_flow_id flow_run_id \
         decision_event_id recommendation_id parent_execution_id action_type action_target action_payload \
         action_config execution_status priority urgency scheduled_for execute_after expires_at requires_approval \
         approval_status approved_by approved_at approval_notes max_retry_attempts current_retry_attempt \
         retry_backoff_seconds last_retry_at next_retry_at started_at completed_at execution_duration_ms \
         execution_result execution_error execution_error_code depends_on dependency_mode context_data tags metadata",
    ),
    (
        "execution_log",
        "id tenant_id user_id organization_id created_at execution_queue_id orchestration_flow_id flow_run_id \
         decision_event_id recommendation_id action_type action_target action_payload action_config execution_status \
         execution_result execution_error execution_error_code execution_error_details started_at completed_at \
         execution_duration_ms queue_wait_time_ms retry_attempt http_status_code http_response_time_ms \
         http_request_size_bytes http_response_size_bytes integration_name integration_endpoint integration_method \
         context_data environment triggered_by success partial_success requires_review review_notes compliance_flags \
         security_level data_classification tags metadata",
    ),
    (
        "decision_audit_log",
        "id tenant_id user_id organization_id created_at event_type actor subject_type subject_id decision_event_id \
         summary details",
    ),
    (
        "notifications",
        "id tenant_id user_id organization_id created_at updated_at rule_id type title message severity status \
         action_url metadata read_at archived_at",
    ),
    (
        "decision_events",
        "id tenant_id user_id organization_id created_at updated_at source title summary confidence_score risk_level \
         payload status decided_by decided_at notes outcome executed_at",
    ),
    (
        "recommendation_queue",
        "id tenant_id user_id organization_id created_at updated_at decision_event_id title action_type action_target \
         action_payload priority status decided_by decided_at notes outcome executed_at",
    ),
    (
        "memory_snapshots",
        "id tenant_id user_id organization_id subject_type subject_id outcome features success recorded_at",
    ),
    (
        "escalation_rules",
        "id tenant_id user_id organization_id created_at updated_at rule_name rule_description rule_category is_active \
         priority trigger_conditions applies_to_action_types applies_to_integrations applies_to_flows escalation_levels \
         notification_channels auto_remediation_enabled remediation_actions sla_enabled sla_response_time_minutes \
         sla_resolution_time_minutes sla_breach_actions max_escalations_per_hour max_escalations_per_day \
         cooldown_period_minutes total_escalations successful_resolutions failed_resolutions avg_resolution_time_minutes \
         last_triggered_at tags metadata created_by updated_by",
    ),
    (
        "escalation_events",
        "id tenant_id user_id organization_id created_at updated_at escalation_rule_id execution_queue_id execution_log_id \
         orchestration_flow_id escalation_level escalation_reason trigger_conditions_met status acknowledged_by \
         acknowledged_at resolved_by resolved_at resolution_notes actions_performed notifications_sent \
         remediation_attempted remediation_successful sla_response_deadline sla_resolution_deadline \
         sla_response_breached sla_resolution_breached triggered_at resolution_duration_minutes context_data tags metadata",
    ),
    (
        "metrics_data",
        "id tenant_id user_id organization_id created_at metric_name metric_type value labels recorded_at",
    ),
];
