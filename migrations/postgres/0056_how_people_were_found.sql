-- Why: whoever asks later why somebody was told must hear which schedule, in which version, and which of its layers named them at
-- that moment, though the schedule has changed since: each message keeps how its person was found.
ALTER TABLE outbox ADD COLUMN found_by jsonb;

DROP VIEW notification_outbox;
CREATE VIEW notification_outbox WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.escalation_id AS escalation_event_id,
    t.level AS escalation_level,
    t.round,
    t.purpose,
    t.kind,
    t.channel,
    t.target,
    t.payload,
    t.found_by,
    t.idempotency_key,
    t.status,
    t.is_unknown AS outcome_unknown,
    t.run_id AS flow_run_id,
    t.error,
    to_timestamp(t.not_before_ms / 1000.0) AS not_before,
    to_timestamp(t.sent_at_ms / 1000.0) AS sent_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM outbox t;
GRANT SELECT ON notification_outbox TO core314_tenant, core314_service;

DROP VIEW escalation_events;
CREATE VIEW escalation_events WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.rule_id AS escalation_rule_id,
    t.rule_version,
    t.execution_id AS execution_queue_id,
    t.log_id AS execution_log_id,
    t.flow_id AS orchestration_flow_id,
    t.run_id AS flow_run_id,
    t.level AS escalation_level,
    t.reason AS escalation_reason,
    t.conditions_met AS trigger_conditions_met,
    t.status,
    t.subject,
    t.urgency,
    t.count AS failure_count,
    t.held_back AS held_back_count,
    t.held_by AS held_back_by,
    t.bundled_into,
    t.acknowledged_by,
    to_timestamp(t.acknowledged_at_ms / 1000.0) AS acknowledged_at,
    t.resolved_by,
    to_timestamp(t.resolved_at_ms / 1000.0) AS resolved_at,
    t.resolution_notes,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('action', o.channel, 'target', o.target, 'level', o.level, 'purpose', o.purpose, 'status', o.status, 'flow_run_id', o.run_id, 'error', o.error) ORDER BY o.id), '[]'::jsonb) FROM (SELECT * FROM outbox WHERE escalation_id = t.id AND kind = 'act' ORDER BY id DESC LIMIT 100) o) AS actions_performed,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('channel', o.channel, 'target', o.target, 'level', o.level, 'round', o.round, 'purpose', o.purpose, 'found_by', o.found_by, 'status', o.status, 'flow_run_id', o.run_id, 'error', o.error) ORDER BY o.id), '[]'::jsonb) FROM (SELECT * FROM outbox WHERE escalation_id = t.id AND kind = 'notify' ORDER BY id DESC LIMIT 100) o) AS notifications_sent,
    greatest((SELECT count(*) FROM (SELECT 1 FROM outbox WHERE escalation_id = t.id AND kind = 'act' LIMIT 10000) n) - 100, 0) AS actions_left_out,
    greatest((SELECT count(*) FROM (SELECT 1 FROM outbox WHERE escalation_id = t.id AND kind = 'notify' LIMIT 10000) n) - 100, 0) AS notifications_left_out,
    t.remediation_attempted,
    t.remediation_succeeded = 1 AS remediation_successful,
    to_timestamp(t.response_deadline_ms / 1000.0) AS sla_response_deadline,
    to_timestamp(t.resolution_deadline_ms / 1000.0) AS sla_resolution_deadline,
    t.response_breached AS sla_response_breached,
    t.resolution_breached AS sla_resolution_breached,
    to_timestamp(t.triggered_at_ms / 1000.0) AS triggered_at,
    (t.resolved_at_ms - t.triggered_at_ms) / 60000.0 AS resolution_duration_minutes,
    to_timestamp(t.wake_at_ms / 1000.0) AS next_wake_at,
    t.context AS context_data,
    ARRAY(SELECT jsonb_array_elements_text(t.tags)) AS tags,
    t.asked AS metadata,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM escalations t;
GRANT SELECT ON escalation_events TO core314_tenant, core314_service;
