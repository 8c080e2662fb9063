-- Why: some lists walked past rows that nobody had asked for. Each index has only the rows that are looked for by it. And to write
-- every id and time of a row as text in SQL took about as long as to find the row.

-- What was done to a run and to its executions. That a run was started, which is the entry of every run, costs nothing here.
CREATE INDEX audit_of_subject ON audit (tenant_id, subject_id, id) WHERE event_type <> 'orchestration_started';

-- The slowest attempts of all tenants: those of a second or more.
CREATE INDEX log_slowest ON log (duration_ms, id) WHERE duration_ms >= 1000;

-- The events of a rule that are told of: those that were held back have no state.
CREATE INDEX escalations_told ON escalations (rule_id, triggered_at_ms, id) WHERE state IS NOT NULL;
-- Nothing asks for these together with those that were held back.
DROP INDEX escalations_recent;

-- Executions and attempts as the program reads them: stored ids are 16 bytes, and times milliseconds. The contract's views over
-- them write these as text, and have nothing else of their own.
--
-- What a run gives to its steps, and what a step gives to its columns, is put together once: a subquery of two halves, of which
-- the second is empty, is not merged into the query around it, which would read a document again for every column.
DROP VIEW execution_queue;
CREATE VIEW execution_rows AS
SELECT
    each_step.run_text || printf('%05x', each_step.step_no + 1) AS id,
    each_step.tenant_id,
    each_step.user_id,
    each_step.organization_id,
    each_step.flow_id AS orchestration_flow_id,
    each_step.flow_version,
    each_step.run_id AS flow_run_id,
    each_step.decision_event_id,
    each_step.recommendation_id,
    coalesce(CASE each_step.mode
        WHEN 'sequential' THEN CASE WHEN each_step.step_no > 0 THEN each_step.run_text || printf('%05x', each_step.step_no) END
        WHEN 'mixed' THEN (SELECT min(each_step.run_text || printf('%05x', each_step.numbers ->> ('$."' || i.value || '"'))) FROM json_each(each_step.step, '$.connections.inputs') i) END,
        CASE WHEN each_step.step ->> '$.parent' IS NOT NULL THEN each_step.run_text || printf('%05x', each_step.step ->> '$.parent') END) AS parent_execution_id,
    each_step.step_no,
    each_step.step ->> '$.id' AS step_id,
    coalesce(each_step.step ->> '$.config.action_type', each_step.step ->> '$.type') AS action_type,
    each_step.step ->> '$.config.action_target' AS action_target,
    coalesce(last.payload, each_step.step -> '$.config.action_payload') AS action_payload,
    json_remove(each_step.step -> '$.config', '$.action_payload') AS action_config,
    CASE each_step.letter
        WHEN 'B' THEN 'blocked' WHEN 'A' THEN 'awaiting_approval' WHEN 'P' THEN 'pending' WHEN 'I' THEN 'in_progress'
        WHEN 'W' THEN 'in_progress' WHEN 'R' THEN 'retrying' WHEN 'C' THEN 'completed' WHEN 'F' THEN 'failed' WHEN 'X' THEN 'cancelled'
        WHEN 'N' THEN 'cancelled' WHEN 'E' THEN 'expired' WHEN 'S' THEN 'skipped' WHEN 'U' THEN 'skipped' END AS execution_status,
    coalesce(each_step.step ->> '$.config.priority', 5) AS priority,
    coalesce(each_step.step ->> '$.config.urgency', 'medium') AS urgency,
    CASE WHEN each_step.step ->> '$.config.scheduled_for' IS NOT NULL THEN
        coalesce(first.started_at_ms - first.queue_wait_ms, CASE WHEN coalesce(each_step.live ->> '$.a', 0) = 0 THEN each_step.live ->> '$.d' END) END AS scheduled_for,
    coalesce(each_step.live ->> '$.d', last.started_at_ms - last.queue_wait_ms) AS execute_after,
    each_step.live ->> '$.x' AS expires_at,
    coalesce(each_step.step ->> '$.requires_approval', 0) OR coalesce(each_step.step ->> '$.type' = 'approval', 0) AS requires_approval,
    CASE
        WHEN each_step.letter = 'A' THEN 'pending'
        WHEN a.status IN ('approved', 'rejected') THEN a.status
        WHEN coalesce(each_step.step ->> '$.requires_approval', 0) THEN
            CASE each_step.letter WHEN 'E' THEN 'expired' WHEN 'B' THEN 'pending' ELSE 'not_required' END
        ELSE 'not_required' END AS approval_status,
    a.decided_by AS approved_by,
    a.decided_at_ms AS approved_at,
    a.notes AS approval_notes,
    coalesce(each_step.step ->> '$.retry.max_attempts', each_step.retry ->> '$.max_attempts', 3) AS max_retry_attempts,
    coalesce(each_step.live ->> '$.a', last.attempt, 0) AS current_retry_attempt,
    CAST(coalesce(each_step.step ->> '$.retry.backoff_seconds', each_step.retry ->> '$.backoff_seconds', 2.0) AS REAL) AS retry_backoff_seconds,
    CASE WHEN coalesce(each_step.live ->> '$.a', 0) > 0 AND each_step.live ->> '$.t' IS NOT NULL THEN each_step.live ->> '$.t' WHEN last.attempt > 0 THEN last.started_at_ms END AS last_retry_at,
    CASE WHEN each_step.letter = 'R' THEN each_step.live ->> '$.d' END AS next_retry_at,
    coalesce(first.started_at_ms, each_step.live ->> '$.t') AS started_at,
    CASE WHEN last.attempt >= each_step.base AND last.is_final THEN last.completed_at_ms END AS completed_at,
    CASE WHEN last.attempt >= each_step.base THEN last.duration_ms END AS execution_duration_ms,
    coalesce(CASE WHEN last.attempt >= each_step.base THEN last.result END, t.result) AS execution_result,
    coalesce(CASE WHEN last.attempt >= each_step.base THEN last.error END, t.error) AS execution_error,
    CASE WHEN last.attempt >= each_step.base THEN last.error_code END AS execution_error_code,
    CASE each_step.mode
        WHEN 'sequential' THEN CASE each_step.step_no WHEN 0 THEN '[]' ELSE json_array(each_step.run_text || printf('%05x', each_step.step_no)) END
        WHEN 'mixed' THEN (SELECT json_group_array(id) FROM (
            SELECT each_step.run_text || printf('%05x', each_step.numbers ->> ('$."' || i.value || '"')) AS id FROM json_each(each_step.step, '$.connections.inputs') i ORDER BY 1))
        ELSE '[]' END AS depends_on,
    coalesce(each_step.step ->> '$.dependency_mode', 'all') AS dependency_mode,
    json_object('flow_run_id', each_step.run_text || '00000', 'step_id', each_step.step ->> '$.id', 'trigger_type', each_step.trigger_type, 'trigger_source', each_step.trigger_source) AS context_data,
    each_step.tags,
    each_step.metadata,
    each_step.partition,
    each_step.live ->> '$.e' AS node_epoch,
    each_step.accepted_at_ms AS created_at,
    coalesce(each_step.live ->> '$.t', last.completed_at_ms, each_step.live ->> '$.r', each_step.completed_at_ms, each_step.started_at_ms, each_step.accepted_at_ms) AS updated_at,
    each_step.tenant_id AS tenant_key,
    each_step.run_id AS row_key,
    t.from_execution AS reused_from
FROM (
    SELECT each_run.run_id, each_run.tenant_id, each_run.user_id, each_run.organization_id, each_run.flow_id, each_run.flow_version, each_run.decision_event_id,
        each_run.recommendation_id, each_run.trigger_type, each_run.trigger_source, each_run.partition, each_run.accepted_at_ms, each_run.started_at_ms,
        each_run.completed_at_ms, each_run.run_text, each_run.mode, each_run.retry, each_run.tags, each_run.metadata, each_run.numbers,
        step.value AS step, coalesce(step.value ->> '$.no', step.key) AS step_no,
        coalesce(step.value ->> '$.letter', substr(each_run.letters, step.key + 1, 1)) AS letter,
        each_run.lives -> ('$."' || coalesce(step.value ->> '$.no', step.key) || '"') AS live,
        CASE WHEN coalesce(step.value ->> '$.letter', substr(each_run.letters, step.key + 1, 1)) <> 'B'
            THEN coalesce(each_run.lives ->> ('$."' || coalesce(step.value ->> '$.no', step.key) || '".b'), 0) END AS base
    FROM (
        SELECT r.id AS run_id, r.tenant_id, r.user_id, r.organization_id, r.flow_id, r.flow_version, r.decision_event_id,
            r.recommendation_id, r.trigger_type, r.trigger_source, r.partition, r.accepted_at_ms, s.started_at_ms,
            s.completed_at_ms,
            -- A run's id has its low 20 bits zero: the number of the step, from 1, is its executions' last five digits.
            substr(lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11))), 1, 31) AS run_text,
            s.state ->> '$.s' AS letters, s.state -> '$.l' AS lives, s.state -> '$.d' AS loose,
            CASE WHEN v.steps IS NULL THEN v.document ->> '$.execution_mode' ELSE 'mixed' END AS mode,
            v.document -> '$.retry_policy' AS retry,
            coalesce(v.document -> '$.tags', '[]') AS tags, coalesce(v.document -> '$.metadata', 'null') AS metadata,
            coalesce(v.steps, v.document -> '$.flow_steps') AS steps,
            -- Numbers of steps are by their ids, from 1.
            CASE WHEN v.steps IS NOT NULL OR v.document ->> '$.execution_mode' = 'mixed' THEN (
                SELECT json_group_object(n.value ->> '$.id', n.key + 1) FROM json_each(coalesce(v.steps, v.document -> '$.flow_steps')) n
            ) END AS numbers
        FROM runs r
        JOIN run_state s ON s.run_id = r.id
        JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        WHERE false
    ) each_run
    JOIN json_each(CASE WHEN each_run.loose IS NULL THEN each_run.steps ELSE (
        SELECT json_group_array(json(all_steps.step)) FROM (
            SELECT f.value AS step FROM json_each(each_run.steps) f WHERE f.key < length(each_run.letters)
            UNION ALL
            SELECT json_set(CASE WHEN d.value ->> '$.u' THEN json_object('id', t.step ->> '$.id',
                        'config', json_remove(t.step -> '$.undo', '$.retry', '$.timeout_seconds', '$.requires_approval'),
                        'retry', json(coalesce(t.step -> '$.undo.retry', t.step -> '$.retry')),
                        'requires_approval', t.step -> '$.undo.requires_approval')
                    ELSE json_remove(t.step, '$.connections') END,
                '$.no', CAST(d.key AS INTEGER), '$.letter', d.value ->> '$.l', '$.parent', (d.value ->> '$.o') + 1)
            FROM json_each(each_run.loose) d
            JOIN (SELECT f.key AS plan_no, f.value AS step FROM json_each(each_run.steps) f) t ON t.plan_no = d.value ->> '$.p'
        ) all_steps) END) step
    WHERE coalesce(step.value ->> '$.no', -1) >= 0 OR step.key < length(each_run.letters)
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    WHERE false
) each_step
LEFT JOIN log first ON first.run_id = each_step.run_id AND first.step_no = each_step.step_no AND first.attempt = 0
LEFT JOIN log last ON last.run_id = each_step.run_id AND last.step_no = each_step.step_no
    AND last.attempt = (SELECT max(attempt) FROM log WHERE run_id = each_step.run_id AND step_no = each_step.step_no)
LEFT JOIN approvals a ON a.id = (
    SELECT max(id) FROM approvals WHERE run_id = each_step.run_id AND step_no = each_step.step_no
)
LEFT JOIN reused_results t ON t.run_id = each_step.run_id AND t.step_no = each_step.step_no AND each_step.letter IN ('C', 'F') AND last.attempt IS NULL;

CREATE VIEW execution_queue AS
SELECT
    r.id,
    lower(hex(substr(r.tenant_id,1,4))||'-'||hex(substr(r.tenant_id,5,2))||'-'||hex(substr(r.tenant_id,7,2))||'-'||hex(substr(r.tenant_id,9,2))||'-'||hex(substr(r.tenant_id,11))) AS tenant_id,
    lower(hex(substr(r.user_id,1,4))||'-'||hex(substr(r.user_id,5,2))||'-'||hex(substr(r.user_id,7,2))||'-'||hex(substr(r.user_id,9,2))||'-'||hex(substr(r.user_id,11))) AS user_id,
    nullif(lower(hex(substr(r.organization_id,1,4))||'-'||hex(substr(r.organization_id,5,2))||'-'||hex(substr(r.organization_id,7,2))||'-'||hex(substr(r.organization_id,9,2))||'-'||hex(substr(r.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(r.orchestration_flow_id,1,4))||'-'||hex(substr(r.orchestration_flow_id,5,2))||'-'||hex(substr(r.orchestration_flow_id,7,2))||'-'||hex(substr(r.orchestration_flow_id,9,2))||'-'||hex(substr(r.orchestration_flow_id,11))) AS orchestration_flow_id,
    r.flow_version,
    lower(hex(substr(r.flow_run_id,1,4))||'-'||hex(substr(r.flow_run_id,5,2))||'-'||hex(substr(r.flow_run_id,7,2))||'-'||hex(substr(r.flow_run_id,9,2))||'-'||hex(substr(r.flow_run_id,11))) AS flow_run_id,
    nullif(lower(hex(substr(r.decision_event_id,1,4))||'-'||hex(substr(r.decision_event_id,5,2))||'-'||hex(substr(r.decision_event_id,7,2))||'-'||hex(substr(r.decision_event_id,9,2))||'-'||hex(substr(r.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(r.recommendation_id,1,4))||'-'||hex(substr(r.recommendation_id,5,2))||'-'||hex(substr(r.recommendation_id,7,2))||'-'||hex(substr(r.recommendation_id,9,2))||'-'||hex(substr(r.recommendation_id,11))), '----') AS recommendation_id,
    r.parent_execution_id,
    r.step_no,
    r.step_id,
    r.action_type,
    r.action_target,
    r.action_payload,
    r.action_config,
    r.execution_status,
    r.priority,
    r.urgency,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.scheduled_for / 1000.0, 'unixepoch') AS scheduled_for,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.execute_after / 1000.0, 'unixepoch') AS execute_after,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.expires_at / 1000.0, 'unixepoch') AS expires_at,
    r.requires_approval,
    r.approval_status,
    nullif(lower(hex(substr(r.approved_by,1,4))||'-'||hex(substr(r.approved_by,5,2))||'-'||hex(substr(r.approved_by,7,2))||'-'||hex(substr(r.approved_by,9,2))||'-'||hex(substr(r.approved_by,11))), '----') AS approved_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.approved_at / 1000.0, 'unixepoch') AS approved_at,
    r.approval_notes,
    r.max_retry_attempts,
    r.current_retry_attempt,
    r.retry_backoff_seconds,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.last_retry_at / 1000.0, 'unixepoch') AS last_retry_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.next_retry_at / 1000.0, 'unixepoch') AS next_retry_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.completed_at / 1000.0, 'unixepoch') AS completed_at,
    r.execution_duration_ms,
    r.execution_result,
    r.execution_error,
    r.execution_error_code,
    r.depends_on,
    r.dependency_mode,
    r.context_data,
    r.tags,
    r.metadata,
    r.partition,
    r.node_epoch,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.updated_at / 1000.0, 'unixepoch') AS updated_at,
    r.tenant_key,
    r.row_key,
    nullif(lower(hex(substr(r.reused_from,1,4))||'-'||hex(substr(r.reused_from,5,2))||'-'||hex(substr(r.reused_from,7,2))||'-'||hex(substr(r.reused_from,9,2))||'-'||hex(substr(r.reused_from,11))), '----') AS reused_from
FROM execution_rows r;

DROP VIEW execution_log;
CREATE VIEW log_rows AS
SELECT
    l.id AS id,
    l.tenant_id AS tenant_id,
    r.user_id AS user_id,
    r.organization_id AS organization_id,
    substr(lower(hex(substr(l.run_id,1,4))||'-'||hex(substr(l.run_id,5,2))||'-'||hex(substr(l.run_id,7,2))||'-'||hex(substr(l.run_id,9,2))||'-'||hex(substr(l.run_id,11))), 1, 31) || printf('%05x', l.step_no + 1) AS execution_queue_id,
    r.flow_id AS orchestration_flow_id,
    l.run_id AS flow_run_id,
    r.decision_event_id AS decision_event_id,
    r.recommendation_id AS recommendation_id,
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
    l.started_at_ms AS started_at,
    l.completed_at_ms AS completed_at,
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
    l.completed_at_ms AS created_at,
    l.tenant_id AS tenant_key,
    l.id AS row_key
FROM log l
-- A run may be retired before its log.
LEFT JOIN runs r ON r.id = l.run_id
LEFT JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
LEFT JOIN execution_reviews w ON w.execution_log_id = l.id;

CREATE VIEW execution_log AS
SELECT
    lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11))) AS id,
    lower(hex(substr(r.tenant_id,1,4))||'-'||hex(substr(r.tenant_id,5,2))||'-'||hex(substr(r.tenant_id,7,2))||'-'||hex(substr(r.tenant_id,9,2))||'-'||hex(substr(r.tenant_id,11))) AS tenant_id,
    nullif(lower(hex(substr(r.user_id,1,4))||'-'||hex(substr(r.user_id,5,2))||'-'||hex(substr(r.user_id,7,2))||'-'||hex(substr(r.user_id,9,2))||'-'||hex(substr(r.user_id,11))), '----') AS user_id,
    nullif(lower(hex(substr(r.organization_id,1,4))||'-'||hex(substr(r.organization_id,5,2))||'-'||hex(substr(r.organization_id,7,2))||'-'||hex(substr(r.organization_id,9,2))||'-'||hex(substr(r.organization_id,11))), '----') AS organization_id,
    r.execution_queue_id,
    nullif(lower(hex(substr(r.orchestration_flow_id,1,4))||'-'||hex(substr(r.orchestration_flow_id,5,2))||'-'||hex(substr(r.orchestration_flow_id,7,2))||'-'||hex(substr(r.orchestration_flow_id,9,2))||'-'||hex(substr(r.orchestration_flow_id,11))), '----') AS orchestration_flow_id,
    lower(hex(substr(r.flow_run_id,1,4))||'-'||hex(substr(r.flow_run_id,5,2))||'-'||hex(substr(r.flow_run_id,7,2))||'-'||hex(substr(r.flow_run_id,9,2))||'-'||hex(substr(r.flow_run_id,11))) AS flow_run_id,
    nullif(lower(hex(substr(r.decision_event_id,1,4))||'-'||hex(substr(r.decision_event_id,5,2))||'-'||hex(substr(r.decision_event_id,7,2))||'-'||hex(substr(r.decision_event_id,9,2))||'-'||hex(substr(r.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(r.recommendation_id,1,4))||'-'||hex(substr(r.recommendation_id,5,2))||'-'||hex(substr(r.recommendation_id,7,2))||'-'||hex(substr(r.recommendation_id,9,2))||'-'||hex(substr(r.recommendation_id,11))), '----') AS recommendation_id,
    r.step_no,
    r.action_type,
    r.action_target,
    r.action_payload,
    r.action_config,
    r.execution_status,
    r.is_final,
    r.execution_result,
    r.execution_error,
    r.execution_error_code,
    r.execution_error_details,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.completed_at / 1000.0, 'unixepoch') AS completed_at,
    r.execution_duration_ms,
    r.queue_wait_time_ms,
    r.retry_attempt,
    r.http_status_code,
    r.http_response_time_ms,
    r.http_request_size_bytes,
    r.http_response_size_bytes,
    r.integration_name,
    r.integration_endpoint,
    r.integration_method,
    r.context_data,
    r.environment,
    r.triggered_by,
    r.success,
    r.partial_success,
    r.requires_review,
    r.review_notes,
    r.compliance_flags,
    r.security_level,
    r.data_classification,
    r.tags,
    r.metadata,
    r.partition,
    r.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.created_at / 1000.0, 'unixepoch') AS created_at,
    r.tenant_key,
    r.row_key
FROM log_rows r;
