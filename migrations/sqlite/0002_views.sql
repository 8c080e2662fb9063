-- Why: people query the contract's names; the engine writes narrow tables (ADR 002). These read-only views are the bridge.
-- Ids are lower-case hyphenated text, times RFC 3339 in UTC with milliseconds, JSON text, truth 0 or 1.
-- row_key and tenant_key are the stored ids (16 bytes): looking up by them uses an index, by the text forms it does not.

CREATE VIEW orchestration_flows AS
SELECT
    lower(hex(substr(f.id,1,4))||'-'||hex(substr(f.id,5,2))||'-'||hex(substr(f.id,7,2))||'-'||hex(substr(f.id,9,2))||'-'||hex(substr(f.id,11))) AS id,
    lower(hex(substr(f.tenant_id,1,4))||'-'||hex(substr(f.tenant_id,5,2))||'-'||hex(substr(f.tenant_id,7,2))||'-'||hex(substr(f.tenant_id,9,2))||'-'||hex(substr(f.tenant_id,11))) AS tenant_id,
    nullif(lower(hex(substr(f.user_id,1,4))||'-'||hex(substr(f.user_id,5,2))||'-'||hex(substr(f.user_id,7,2))||'-'||hex(substr(f.user_id,9,2))||'-'||hex(substr(f.user_id,11))), '----') AS user_id,
    nullif(lower(hex(substr(f.organization_id,1,4))||'-'||hex(substr(f.organization_id,5,2))||'-'||hex(substr(f.organization_id,7,2))||'-'||hex(substr(f.organization_id,9,2))||'-'||hex(substr(f.organization_id,11))), '----') AS organization_id,
    f.flow_name,
    f.document ->> '$.flow_description' AS flow_description,
    f.document ->> '$.flow_category' AS flow_category,
    f.flow_version,
    f.is_active,
    f.is_template,
    f.trigger_type,
    f.document -> '$.trigger_config' AS trigger_config,
    f.document -> '$.flow_steps' AS flow_steps,
    f.document ->> '$.execution_mode' AS execution_mode,
    f.document ->> '$.max_execution_time_seconds' AS max_execution_time_seconds,
    f.document -> '$.retry_policy' AS retry_policy,
    f.document ->> '$.requires_approval' AS requires_approval,
    CAST(f.document ->> '$.approval_threshold' AS REAL) AS approval_threshold,
    f.document -> '$.conditions' AS conditions,
    f.document -> '$.input_schema' AS input_schema,
    f.document -> '$.output_schema' AS output_schema,
    f.document ->> '$.on_error_action' AS on_error_action,
    f.document ->> '$.fallback_flow_id' AS fallback_flow_id,
    coalesce(f.document -> '$.error_notification_channels', '[]') AS error_notification_channels,
    (SELECT sum(duration_sum_ms) FROM flow_counters c WHERE c.flow_id = f.id) / nullif((SELECT sum(runs) FROM flow_counters c WHERE c.flow_id = f.id), 0) AS avg_execution_time_ms,
    1.0 * (SELECT sum(successful) FROM flow_counters c WHERE c.flow_id = f.id) / nullif((SELECT sum(runs) FROM flow_counters c WHERE c.flow_id = f.id), 0) AS success_rate,
    coalesce((SELECT sum(runs) FROM flow_counters c WHERE c.flow_id = f.id), 0) AS total_executions,
    coalesce((SELECT sum(successful) FROM flow_counters c WHERE c.flow_id = f.id), 0) AS successful_executions,
    coalesce((SELECT sum(failed) FROM flow_counters c WHERE c.flow_id = f.id), 0) AS failed_executions,
    strftime('%Y-%m-%dT%H:%M:%fZ', (SELECT max(last_at_ms) FROM flow_counters c WHERE c.flow_id = f.id) / 1000.0, 'unixepoch') AS last_executed_at,
    coalesce(f.document -> '$.tags', '[]') AS tags,
    f.document -> '$.metadata' AS metadata,
    lower(hex(substr(f.created_by,1,4))||'-'||hex(substr(f.created_by,5,2))||'-'||hex(substr(f.created_by,7,2))||'-'||hex(substr(f.created_by,9,2))||'-'||hex(substr(f.created_by,11))) AS created_by,
    lower(hex(substr(f.updated_by,1,4))||'-'||hex(substr(f.updated_by,5,2))||'-'||hex(substr(f.updated_by,7,2))||'-'||hex(substr(f.updated_by,9,2))||'-'||hex(substr(f.updated_by,11))) AS updated_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', f.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', f.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    f.tenant_id AS tenant_key,
    f.id AS row_key
FROM flows f;

CREATE VIEW flow_runs AS
SELECT
    lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11))) AS id,
    lower(hex(substr(r.tenant_id,1,4))||'-'||hex(substr(r.tenant_id,5,2))||'-'||hex(substr(r.tenant_id,7,2))||'-'||hex(substr(r.tenant_id,9,2))||'-'||hex(substr(r.tenant_id,11))) AS tenant_id,
    nullif(lower(hex(substr(r.user_id,1,4))||'-'||hex(substr(r.user_id,5,2))||'-'||hex(substr(r.user_id,7,2))||'-'||hex(substr(r.user_id,9,2))||'-'||hex(substr(r.user_id,11))), '----') AS user_id,
    nullif(lower(hex(substr(r.organization_id,1,4))||'-'||hex(substr(r.organization_id,5,2))||'-'||hex(substr(r.organization_id,7,2))||'-'||hex(substr(r.organization_id,9,2))||'-'||hex(substr(r.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(r.flow_id,1,4))||'-'||hex(substr(r.flow_id,5,2))||'-'||hex(substr(r.flow_id,7,2))||'-'||hex(substr(r.flow_id,9,2))||'-'||hex(substr(r.flow_id,11))) AS orchestration_flow_id,
    r.flow_version,
    r.flow_name,
    s.run_status,
    r.trigger_type,
    r.trigger_source,
    r.trigger_context,
    r.input,
    CASE WHEN s.run_status = 'completed' THEN (SELECT result FROM log WHERE run_id = r.id AND is_final AND success ORDER BY step_no DESC LIMIT 1) END AS output,
    s.state ->> '$.e' AS error,
    nullif(lower(hex(substr(r.parent_run_id,1,4))||'-'||hex(substr(r.parent_run_id,5,2))||'-'||hex(substr(r.parent_run_id,7,2))||'-'||hex(substr(r.parent_run_id,9,2))||'-'||hex(substr(r.parent_run_id,11))), '----') AS parent_run_id,
    nullif(lower(hex(substr(r.decision_event_id,1,4))||'-'||hex(substr(r.decision_event_id,5,2))||'-'||hex(substr(r.decision_event_id,7,2))||'-'||hex(substr(r.decision_event_id,9,2))||'-'||hex(substr(r.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(r.recommendation_id,1,4))||'-'||hex(substr(r.recommendation_id,5,2))||'-'||hex(substr(r.recommendation_id,7,2))||'-'||hex(substr(r.recommendation_id,9,2))||'-'||hex(substr(r.recommendation_id,11))), '----') AS recommendation_id,
    r.idempotency_key,
    (SELECT max(p.value ->> '$.phase') FROM json_each(v.document, '$.flow_steps') p WHERE substr(s.state ->> '$.s', p.key + 1, 1) NOT IN ('B', 'U')) AS current_phase,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.started_at_ms / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.completed_at_ms / 1000.0, 'unixepoch') AS completed_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.deadline_at_ms / 1000.0, 'unixepoch') AS deadline_at,
    s.completed_at_ms - coalesce(s.started_at_ms, r.accepted_at_ms) AS duration_ms,
    r.partition,
    r.environment,
    r.triggered_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.accepted_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', max(r.accepted_at_ms, coalesce(s.started_at_ms, 0), coalesce(s.completed_at_ms, 0),
        coalesce((SELECT max(max(l.value ->> '$.r', coalesce(l.value ->> '$.t', 0))) FROM json_each(s.state, '$.l') l), 0)) / 1000.0, 'unixepoch') AS updated_at,
    r.tenant_id AS tenant_key,
    r.id AS row_key
FROM runs r
JOIN run_state s ON s.run_id = r.id
LEFT JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version;

CREATE VIEW execution_queue AS
SELECT
    e.run_text || printf('%05x', e.step_no + 1) AS id,
    lower(hex(substr(e.tenant_id,1,4))||'-'||hex(substr(e.tenant_id,5,2))||'-'||hex(substr(e.tenant_id,7,2))||'-'||hex(substr(e.tenant_id,9,2))||'-'||hex(substr(e.tenant_id,11))) AS tenant_id,
    lower(hex(substr(e.user_id,1,4))||'-'||hex(substr(e.user_id,5,2))||'-'||hex(substr(e.user_id,7,2))||'-'||hex(substr(e.user_id,9,2))||'-'||hex(substr(e.user_id,11))) AS user_id,
    nullif(lower(hex(substr(e.organization_id,1,4))||'-'||hex(substr(e.organization_id,5,2))||'-'||hex(substr(e.organization_id,7,2))||'-'||hex(substr(e.organization_id,9,2))||'-'||hex(substr(e.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(e.flow_id,1,4))||'-'||hex(substr(e.flow_id,5,2))||'-'||hex(substr(e.flow_id,7,2))||'-'||hex(substr(e.flow_id,9,2))||'-'||hex(substr(e.flow_id,11))) AS orchestration_flow_id,
    e.flow_version,
    e.run_text || '00000' AS flow_run_id,
    nullif(lower(hex(substr(e.decision_event_id,1,4))||'-'||hex(substr(e.decision_event_id,5,2))||'-'||hex(substr(e.decision_event_id,7,2))||'-'||hex(substr(e.decision_event_id,9,2))||'-'||hex(substr(e.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(e.recommendation_id,1,4))||'-'||hex(substr(e.recommendation_id,5,2))||'-'||hex(substr(e.recommendation_id,7,2))||'-'||hex(substr(e.recommendation_id,9,2))||'-'||hex(substr(e.recommendation_id,11))), '----') AS recommendation_id,
    CASE e.flow ->> '$.mode'
        WHEN 'sequential' THEN CASE WHEN e.step_no > 0 THEN e.run_text || printf('%05x', e.step_no) END
        WHEN 'mixed' THEN (SELECT min(e.run_text || printf('%05x', e.flow ->> ('$.numbers."' || i.value || '"'))) FROM json_each(e.step, '$.connections.inputs') i) END AS parent_execution_id,
    e.step_no,
    e.step ->> '$.id' AS step_id,
    e.step ->> '$.config.action_type' AS action_type,
    e.step ->> '$.config.action_target' AS action_target,
    coalesce(last.payload, e.step -> '$.config.action_payload') AS action_payload,
    json_remove(e.step -> '$.config', '$.action_payload') AS action_config,
    CASE e.letter
        WHEN 'B' THEN 'blocked' WHEN 'A' THEN 'awaiting_approval' WHEN 'P' THEN 'pending' WHEN 'I' THEN 'in_progress'
        WHEN 'R' THEN 'retrying' WHEN 'C' THEN 'completed' WHEN 'F' THEN 'failed' WHEN 'X' THEN 'cancelled'
        WHEN 'N' THEN 'cancelled' WHEN 'E' THEN 'expired' WHEN 'S' THEN 'skipped' WHEN 'U' THEN 'skipped' END AS execution_status,
    coalesce(e.step ->> '$.config.priority', 5) AS priority,
    coalesce(e.step ->> '$.config.urgency', 'medium') AS urgency,
    CASE WHEN e.step ->> '$.config.scheduled_for' IS NOT NULL THEN
        strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(first.started_at_ms - first.queue_wait_ms, CASE WHEN coalesce(e.live ->> '$.a', 0) = 0 THEN e.live ->> '$.d' END) / 1000.0, 'unixepoch') END AS scheduled_for,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(e.live ->> '$.d', last.started_at_ms - last.queue_wait_ms) / 1000.0, 'unixepoch') AS execute_after,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.live ->> '$.x' / 1000.0, 'unixepoch') AS expires_at,
    coalesce(e.step ->> '$.requires_approval', 0) AS requires_approval,
    CASE
        WHEN e.letter = 'A' THEN 'pending'
        WHEN a.status IN ('approved', 'rejected') THEN a.status
        WHEN coalesce(e.step ->> '$.requires_approval', 0) THEN
            CASE e.letter WHEN 'E' THEN 'expired' WHEN 'B' THEN 'pending' ELSE 'not_required' END
        ELSE 'not_required' END AS approval_status,
    nullif(lower(hex(substr(a.decided_by,1,4))||'-'||hex(substr(a.decided_by,5,2))||'-'||hex(substr(a.decided_by,7,2))||'-'||hex(substr(a.decided_by,9,2))||'-'||hex(substr(a.decided_by,11))), '----') AS approved_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', a.decided_at_ms / 1000.0, 'unixepoch') AS approved_at,
    a.notes AS approval_notes,
    coalesce(e.step ->> '$.retry.max_attempts', e.flow ->> '$.retry.max_attempts', 3) AS max_retry_attempts,
    coalesce(e.live ->> '$.a', last.attempt, 0) AS current_retry_attempt,
    CAST(coalesce(e.step ->> '$.retry.backoff_seconds', e.flow ->> '$.retry.backoff_seconds', 2.0) AS REAL) AS retry_backoff_seconds,
    strftime('%Y-%m-%dT%H:%M:%fZ', CASE WHEN coalesce(e.live ->> '$.a', 0) > 0 AND e.live ->> '$.t' IS NOT NULL THEN e.live ->> '$.t' WHEN last.attempt > 0 THEN last.started_at_ms END / 1000.0, 'unixepoch') AS last_retry_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', CASE WHEN e.letter = 'R' THEN e.live ->> '$.d' END / 1000.0, 'unixepoch') AS next_retry_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(first.started_at_ms, e.live ->> '$.t') / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', CASE WHEN last.is_final THEN last.completed_at_ms END / 1000.0, 'unixepoch') AS completed_at,
    last.duration_ms AS execution_duration_ms,
    last.result AS execution_result,
    last.error AS execution_error,
    last.error_code AS execution_error_code,
    CASE e.flow ->> '$.mode'
        WHEN 'sequential' THEN CASE e.step_no WHEN 0 THEN '[]' ELSE json_array(e.run_text || printf('%05x', e.step_no)) END
        WHEN 'mixed' THEN (SELECT json_group_array(id) FROM (
            SELECT e.run_text || printf('%05x', e.flow ->> ('$.numbers."' || i.value || '"')) AS id FROM json_each(e.step, '$.connections.inputs') i ORDER BY 1))
        ELSE '[]' END AS depends_on,
    coalesce(e.step ->> '$.dependency_mode', 'all') AS dependency_mode,
    json_object('flow_run_id', e.run_text || '00000', 'step_id', e.step ->> '$.id', 'trigger_type', e.trigger_type, 'trigger_source', e.trigger_source) AS context_data,
    e.flow -> '$.tags' AS tags,
    e.flow -> '$.metadata' AS metadata,
    e.partition,
    e.live ->> '$.e' AS node_epoch,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.accepted_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(e.live ->> '$.t', last.completed_at_ms, e.live ->> '$.r', e.completed_at_ms, e.started_at_ms, e.accepted_at_ms) / 1000.0, 'unixepoch') AS updated_at,
    e.tenant_id AS tenant_key,
    e.run_id AS row_key
FROM (
    SELECT r.id AS run_id, r.tenant_id, r.user_id, r.organization_id, r.flow_id, r.flow_version, r.decision_event_id,
        r.recommendation_id, r.trigger_type, r.trigger_source, r.partition, r.accepted_at_ms, s.started_at_ms,
        s.completed_at_ms, flow.value AS flow, step.value AS step, step.key AS step_no,
        -- A run's id has its low 20 bits zero: the number of the step, from 1, is its executions' last five digits.
        substr(lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11))), 1, 31) AS run_text,
        substr(s.state ->> '$.s', step.key + 1, 1) AS letter,
        s.state -> ('$.l."' || step.key || '"') AS live
    FROM runs r
    JOIN run_state s ON s.run_id = r.id
    JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
    -- What steps need of their flow, read once a run: a function in FROM is not evaluated again for every step. A large
    -- document would be parsed for each of its thousand steps otherwise. Numbers of steps are by their ids, from 1.
    JOIN json_each(json_array(json_object(
        'mode', v.document ->> '$.execution_mode', 'retry', v.document -> '$.retry_policy',
        'tags', json(coalesce(v.document -> '$.tags', '[]')), 'metadata', v.document -> '$.metadata',
        'numbers', json(CASE v.document ->> '$.execution_mode' WHEN 'mixed' THEN (
            SELECT json_group_object(n.value ->> '$.id', n.key + 1) FROM json_each(v.document, '$.flow_steps') n
        ) END)))) flow
    JOIN json_each(v.document, '$.flow_steps') step
) e
LEFT JOIN log first ON first.run_id = e.run_id AND first.step_no = e.step_no AND first.attempt = 0
LEFT JOIN log last ON last.run_id = e.run_id AND last.step_no = e.step_no
    AND last.attempt = (SELECT max(attempt) FROM log WHERE run_id = e.run_id AND step_no = e.step_no)
LEFT JOIN approvals a ON a.id = (
    SELECT max(id) FROM approvals WHERE run_id = e.run_id AND step_no = e.step_no
);

CREATE VIEW execution_log AS
SELECT
    lower(hex(substr(l.id,1,4))||'-'||hex(substr(l.id,5,2))||'-'||hex(substr(l.id,7,2))||'-'||hex(substr(l.id,9,2))||'-'||hex(substr(l.id,11))) AS id,
    lower(hex(substr(l.tenant_id,1,4))||'-'||hex(substr(l.tenant_id,5,2))||'-'||hex(substr(l.tenant_id,7,2))||'-'||hex(substr(l.tenant_id,9,2))||'-'||hex(substr(l.tenant_id,11))) AS tenant_id,
    nullif(lower(hex(substr(r.user_id,1,4))||'-'||hex(substr(r.user_id,5,2))||'-'||hex(substr(r.user_id,7,2))||'-'||hex(substr(r.user_id,9,2))||'-'||hex(substr(r.user_id,11))), '----') AS user_id,
    nullif(lower(hex(substr(r.organization_id,1,4))||'-'||hex(substr(r.organization_id,5,2))||'-'||hex(substr(r.organization_id,7,2))||'-'||hex(substr(r.organization_id,9,2))||'-'||hex(substr(r.organization_id,11))), '----') AS organization_id,
    substr(lower(hex(substr(l.run_id,1,4))||'-'||hex(substr(l.run_id,5,2))||'-'||hex(substr(l.run_id,7,2))||'-'||hex(substr(l.run_id,9,2))||'-'||hex(substr(l.run_id,11))), 1, 31) || printf('%05x', l.step_no + 1) AS execution_queue_id,
    nullif(lower(hex(substr(r.flow_id,1,4))||'-'||hex(substr(r.flow_id,5,2))||'-'||hex(substr(r.flow_id,7,2))||'-'||hex(substr(r.flow_id,9,2))||'-'||hex(substr(r.flow_id,11))), '----') AS orchestration_flow_id,
    lower(hex(substr(l.run_id,1,4))||'-'||hex(substr(l.run_id,5,2))||'-'||hex(substr(l.run_id,7,2))||'-'||hex(substr(l.run_id,9,2))||'-'||hex(substr(l.run_id,11))) AS flow_run_id,
    nullif(lower(hex(substr(r.decision_event_id,1,4))||'-'||hex(substr(r.decision_event_id,5,2))||'-'||hex(substr(r.decision_event_id,7,2))||'-'||hex(substr(r.decision_event_id,9,2))||'-'||hex(substr(r.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(r.recommendation_id,1,4))||'-'||hex(substr(r.recommendation_id,5,2))||'-'||hex(substr(r.recommendation_id,7,2))||'-'||hex(substr(r.recommendation_id,9,2))||'-'||hex(substr(r.recommendation_id,11))), '----') AS recommendation_id,
    l.step_no,
    l.action_type,
    l.action_target,
    l.payload AS action_payload,
    json_remove(v.document -> ('$.flow_steps[' || l.step_no || '].config'), '$.action_payload') AS action_config,
    l.execution_status,
    l.is_final,
    l.result AS execution_result,
    l.error AS execution_error,
    l.error_code AS execution_error_code,
    l.error_details AS execution_error_details,
    strftime('%Y-%m-%dT%H:%M:%fZ', l.started_at_ms / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', l.completed_at_ms / 1000.0, 'unixepoch') AS completed_at,
    l.duration_ms AS execution_duration_ms,
    l.queue_wait_ms AS queue_wait_time_ms,
    l.attempt AS retry_attempt,
    l.http_status_code,
    l.http_time_ms AS http_response_time_ms,
    l.http_request_bytes AS http_request_size_bytes,
    l.http_response_bytes AS http_response_size_bytes,
    nullif(l.action_target, '') AS integration_name,
    l.http_endpoint AS integration_endpoint,
    l.http_method AS integration_method,
    json_object('flow_run_id', lower(hex(substr(l.run_id,1,4))||'-'||hex(substr(l.run_id,5,2))||'-'||hex(substr(l.run_id,7,2))||'-'||hex(substr(l.run_id,9,2))||'-'||hex(substr(l.run_id,11))), 'step_id', v.document ->> ('$.flow_steps[' || l.step_no || '].id'), 'trigger_type', r.trigger_type, 'trigger_source', r.trigger_source) AS context_data,
    r.environment,
    r.triggered_by,
    l.success,
    (l.success AND coalesce(l.result -> '$.partial' = 'true', 0)) AS partial_success,
    (w.id IS NOT NULL) AS requires_review,
    w.notes AS review_notes,
    coalesce(v.document -> '$.metadata.compliance_flags', '[]') AS compliance_flags,
    v.document ->> '$.metadata.security_level' AS security_level,
    v.document ->> '$.metadata.data_classification' AS data_classification,
    coalesce(v.document -> '$.tags', '[]') AS tags,
    v.document -> '$.metadata' AS metadata,
    l.partition,
    l.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', l.completed_at_ms / 1000.0, 'unixepoch') AS created_at,
    l.tenant_id AS tenant_key,
    l.id AS row_key
FROM log l
-- A run may be retired before its log.
LEFT JOIN runs r ON r.id = l.run_id
LEFT JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
LEFT JOIN execution_reviews w ON w.execution_log_id = l.id;

CREATE VIEW decision_audit_log AS
SELECT
    lower(hex(substr(a.id,1,4))||'-'||hex(substr(a.id,5,2))||'-'||hex(substr(a.id,7,2))||'-'||hex(substr(a.id,9,2))||'-'||hex(substr(a.id,11))) AS id,
    lower(hex(substr(a.tenant_id,1,4))||'-'||hex(substr(a.tenant_id,5,2))||'-'||hex(substr(a.tenant_id,7,2))||'-'||hex(substr(a.tenant_id,9,2))||'-'||hex(substr(a.tenant_id,11))) AS tenant_id,
    nullif(lower(hex(substr(a.user_id,1,4))||'-'||hex(substr(a.user_id,5,2))||'-'||hex(substr(a.user_id,7,2))||'-'||hex(substr(a.user_id,9,2))||'-'||hex(substr(a.user_id,11))), '----') AS user_id,
    nullif(lower(hex(substr(a.organization_id,1,4))||'-'||hex(substr(a.organization_id,5,2))||'-'||hex(substr(a.organization_id,7,2))||'-'||hex(substr(a.organization_id,9,2))||'-'||hex(substr(a.organization_id,11))), '----') AS organization_id,
    a.event_type,
    a.actor,
    a.subject_type,
    nullif(lower(hex(substr(a.subject_id,1,4))||'-'||hex(substr(a.subject_id,5,2))||'-'||hex(substr(a.subject_id,7,2))||'-'||hex(substr(a.subject_id,9,2))||'-'||hex(substr(a.subject_id,11))), '----') AS subject_id,
    nullif(lower(hex(substr(a.decision_event_id,1,4))||'-'||hex(substr(a.decision_event_id,5,2))||'-'||hex(substr(a.decision_event_id,7,2))||'-'||hex(substr(a.decision_event_id,9,2))||'-'||hex(substr(a.decision_event_id,11))), '----') AS decision_event_id,
    a.summary,
    a.details,
    a.partition,
    a.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', a.at_ms / 1000.0, 'unixepoch') AS created_at,
    a.tenant_id AS tenant_key,
    a.id AS row_key
FROM audit a;
