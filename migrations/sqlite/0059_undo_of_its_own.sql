-- Why: what takes a step back may have a policy of its own and ask for an approval, and the queue shows both as they are.
DROP VIEW execution_queue;
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
    coalesce(CASE e.flow ->> '$.mode'
        WHEN 'sequential' THEN CASE WHEN e.step_no > 0 THEN e.run_text || printf('%05x', e.step_no) END
        WHEN 'mixed' THEN (SELECT min(e.run_text || printf('%05x', e.flow ->> ('$.numbers."' || i.value || '"'))) FROM json_each(e.step, '$.connections.inputs') i) END,
        CASE WHEN e.step ->> '$.parent' IS NOT NULL THEN e.run_text || printf('%05x', e.step ->> '$.parent') END) AS parent_execution_id,
    e.step_no,
    e.step ->> '$.id' AS step_id,
    coalesce(e.step ->> '$.config.action_type', e.step ->> '$.type') AS action_type,
    e.step ->> '$.config.action_target' AS action_target,
    coalesce(last.payload, e.step -> '$.config.action_payload') AS action_payload,
    json_remove(e.step -> '$.config', '$.action_payload') AS action_config,
    CASE e.letter
        WHEN 'B' THEN 'blocked' WHEN 'A' THEN 'awaiting_approval' WHEN 'P' THEN 'pending' WHEN 'I' THEN 'in_progress'
        WHEN 'W' THEN 'in_progress' WHEN 'R' THEN 'retrying' WHEN 'C' THEN 'completed' WHEN 'F' THEN 'failed' WHEN 'X' THEN 'cancelled'
        WHEN 'N' THEN 'cancelled' WHEN 'E' THEN 'expired' WHEN 'S' THEN 'skipped' WHEN 'U' THEN 'skipped' END AS execution_status,
    coalesce(e.step ->> '$.config.priority', 5) AS priority,
    coalesce(e.step ->> '$.config.urgency', 'medium') AS urgency,
    CASE WHEN e.step ->> '$.config.scheduled_for' IS NOT NULL THEN
        strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(first.started_at_ms - first.queue_wait_ms, CASE WHEN coalesce(e.live ->> '$.a', 0) = 0 THEN e.live ->> '$.d' END) / 1000.0, 'unixepoch') END AS scheduled_for,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(e.live ->> '$.d', last.started_at_ms - last.queue_wait_ms) / 1000.0, 'unixepoch') AS execute_after,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.live ->> '$.x' / 1000.0, 'unixepoch') AS expires_at,
    coalesce(e.step ->> '$.requires_approval', 0) OR coalesce(e.step ->> '$.type' = 'approval', 0) AS requires_approval,
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
    strftime('%Y-%m-%dT%H:%M:%fZ', CASE WHEN last.attempt >= e.base AND last.is_final THEN last.completed_at_ms END / 1000.0, 'unixepoch') AS completed_at,
    CASE WHEN last.attempt >= e.base THEN last.duration_ms END AS execution_duration_ms,
    coalesce(CASE WHEN last.attempt >= e.base THEN last.result END, t.result) AS execution_result,
    coalesce(CASE WHEN last.attempt >= e.base THEN last.error END, t.error) AS execution_error,
    CASE WHEN last.attempt >= e.base THEN last.error_code END AS execution_error_code,
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
    e.run_id AS row_key,
    nullif(lower(hex(substr(t.from_execution,1,4))||'-'||hex(substr(t.from_execution,5,2))||'-'||hex(substr(t.from_execution,7,2))||'-'||hex(substr(t.from_execution,9,2))||'-'||hex(substr(t.from_execution,11))), '----') AS reused_from
FROM (
    SELECT r.id AS run_id, r.tenant_id, r.user_id, r.organization_id, r.flow_id, r.flow_version, r.decision_event_id,
        r.recommendation_id, r.trigger_type, r.trigger_source, r.partition, r.accepted_at_ms, s.started_at_ms,
        s.completed_at_ms, flow.value AS flow, step.value AS step, coalesce(step.value ->> '$.no', step.key) AS step_no,
        -- A run's id has its low 20 bits zero: the number of the step, from 1, is its executions' last five digits.
        substr(lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11))), 1, 31) AS run_text,
        coalesce(step.value ->> '$.letter', substr(s.state ->> '$.s', step.key + 1, 1)) AS letter,
        s.state -> ('$.l."' || coalesce(step.value ->> '$.no', step.key) || '"') AS live,
        CASE WHEN coalesce(step.value ->> '$.letter', substr(s.state ->> '$.s', step.key + 1, 1)) <> 'B'
            THEN coalesce(s.state ->> ('$.l."' || coalesce(step.value ->> '$.no', step.key) || '".b'), 0) END AS base
    FROM runs r
    JOIN run_state s ON s.run_id = r.id
    JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
    -- What steps need of their flow, read once a run: a function in FROM is not evaluated again for every step. A large
    -- document would be parsed for each of its thousand steps otherwise. Numbers of steps are by their ids, from 1.
    JOIN json_each(json_array(json_object(
        'mode', CASE WHEN v.steps IS NULL THEN v.document ->> '$.execution_mode' ELSE 'mixed' END, 'retry', v.document -> '$.retry_policy',
        'tags', json(coalesce(v.document -> '$.tags', '[]')), 'metadata', v.document -> '$.metadata',
        'numbers', json(CASE WHEN v.steps IS NOT NULL OR v.document ->> '$.execution_mode' = 'mixed' THEN (
            SELECT json_group_object(n.value ->> '$.id', n.key + 1) FROM json_each(coalesce(v.steps, v.document -> '$.flow_steps')) n
        ) END)))) flow
    JOIN json_each(CASE WHEN s.state -> '$.d' IS NULL THEN coalesce(v.steps, v.document -> '$.flow_steps') ELSE (
        SELECT json_group_array(json(all_steps.step)) FROM (
            SELECT f.value AS step FROM json_each(coalesce(v.steps, v.document -> '$.flow_steps')) f
            WHERE f.key < length(s.state ->> '$.s')
            UNION ALL
            SELECT json_set(CASE WHEN d.value ->> '$.u' THEN json_object('id', t.step ->> '$.id',
                        'config', json_remove(t.step -> '$.undo', '$.retry', '$.timeout_seconds', '$.requires_approval'),
                        'retry', json(coalesce(t.step -> '$.undo.retry', t.step -> '$.retry')),
                        'requires_approval', t.step -> '$.undo.requires_approval')
                    ELSE json_remove(t.step, '$.connections') END,
                '$.no', CAST(d.key AS INTEGER), '$.letter', d.value ->> '$.l', '$.parent', (d.value ->> '$.o') + 1)
            FROM json_each(s.state, '$.d') d
            JOIN (SELECT f.key AS plan_no, f.value AS step FROM json_each(coalesce(v.steps, v.document -> '$.flow_steps')) f) t
                ON t.plan_no = d.value ->> '$.p'
        ) all_steps) END) step
    WHERE coalesce(step.value ->> '$.no', -1) >= 0 OR step.key < length(s.state ->> '$.s')
) e
LEFT JOIN log first ON first.run_id = e.run_id AND first.step_no = e.step_no AND first.attempt = 0
LEFT JOIN log last ON last.run_id = e.run_id AND last.step_no = e.step_no
    AND last.attempt = (SELECT max(attempt) FROM log WHERE run_id = e.run_id AND step_no = e.step_no)
LEFT JOIN approvals a ON a.id = (
    SELECT max(id) FROM approvals WHERE run_id = e.run_id AND step_no = e.step_no
)
LEFT JOIN reused_results t ON t.run_id = e.run_id AND t.step_no = e.step_no AND e.letter IN ('C', 'F') AND last.attempt IS NULL;
