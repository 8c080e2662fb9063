-- Why: steps stand in steps, loops make executions at run time, and phases leave a row at every transition.
--
-- `flow_versions.steps` has the steps of a flow that has some in others, one after the other, as its runs number them; of
-- any other flow the document says it all. Executions past the end of that list stand in the run's own state, each with
-- its letter, the number in the list of the step that it is a copy of (with `u`: that it takes back), and the execution it
-- belongs to.
ALTER TABLE flow_versions ADD COLUMN steps text;

CREATE TABLE phase_moves (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    run_id          blob NOT NULL,
    flow_id         blob NOT NULL,
    phase           integer NOT NULL,
    name            text NOT NULL,
    status          text NOT NULL,
    at_ms           integer NOT NULL,
    duration_ms     integer,
    previous_phase  integer,
    error           text,
    rollback_to     integer,
    sla_ms          integer
);
CREATE INDEX phase_moves_by_tenant ON phase_moves (tenant_id, id);
CREATE INDEX phase_moves_by_run ON phase_moves (tenant_id, run_id, id);

CREATE VIEW workflow_phase_logs AS
SELECT
    lower(hex(substr(m.id,1,4))||'-'||hex(substr(m.id,5,2))||'-'||hex(substr(m.id,7,2))||'-'||hex(substr(m.id,9,2))||'-'||hex(substr(m.id,11))) AS id,
    lower(hex(substr(m.tenant_id,1,4))||'-'||hex(substr(m.tenant_id,5,2))||'-'||hex(substr(m.tenant_id,7,2))||'-'||hex(substr(m.tenant_id,9,2))||'-'||hex(substr(m.tenant_id,11))) AS tenant_id,
    lower(hex(substr(m.user_id,1,4))||'-'||hex(substr(m.user_id,5,2))||'-'||hex(substr(m.user_id,7,2))||'-'||hex(substr(m.user_id,9,2))||'-'||hex(substr(m.user_id,11))) AS user_id,
    nullif(lower(hex(substr(m.organization_id,1,4))||'-'||hex(substr(m.organization_id,5,2))||'-'||hex(substr(m.organization_id,7,2))||'-'||hex(substr(m.organization_id,9,2))||'-'||hex(substr(m.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(m.run_id,1,4))||'-'||hex(substr(m.run_id,5,2))||'-'||hex(substr(m.run_id,7,2))||'-'||hex(substr(m.run_id,9,2))||'-'||hex(substr(m.run_id,11))) AS workflow_id,
    lower(hex(substr(m.flow_id,1,4))||'-'||hex(substr(m.flow_id,5,2))||'-'||hex(substr(m.flow_id,7,2))||'-'||hex(substr(m.flow_id,9,2))||'-'||hex(substr(m.flow_id,11))) AS orchestration_flow_id,
    m.phase AS phase_number,
    m.name AS phase_name,
    m.status,
    strftime('%Y-%m-%dT%H:%M:%fZ', m.at_ms / 1000.0, 'unixepoch') AS timestamp,
    m.duration_ms,
    m.previous_phase,
    m.error AS error_message,
    CASE WHEN m.status = 'failed' THEN m.name || ': ' || m.error END AS error_stack,
    json_object('sla_ms', m.sla_ms) AS metadata,
    m.rollback_to IS NOT NULL AS rollback_triggered,
    m.rollback_to AS rollback_to_phase,
    strftime('%Y-%m-%dT%H:%M:%fZ', m.at_ms / 1000.0, 'unixepoch') AS created_at,
    m.tenant_id AS tenant_key,
    m.id AS row_key
FROM phase_moves m;

CREATE VIEW workflow_phase_analytics AS
SELECT
    m.tenant_id AS tenant_key,
    lower(hex(substr(m.tenant_id,1,4))||'-'||hex(substr(m.tenant_id,5,2))||'-'||hex(substr(m.tenant_id,7,2))||'-'||hex(substr(m.tenant_id,9,2))||'-'||hex(substr(m.tenant_id,11))) AS tenant_id,
    lower(hex(substr(m.flow_id,1,4))||'-'||hex(substr(m.flow_id,5,2))||'-'||hex(substr(m.flow_id,7,2))||'-'||hex(substr(m.flow_id,9,2))||'-'||hex(substr(m.flow_id,11))) AS orchestration_flow_id,
    m.phase AS phase_number,
    max(m.name) AS phase_name,
    count(*) FILTER (WHERE m.status = 'started') AS total,
    count(*) FILTER (WHERE m.status = 'completed') AS completed,
    count(*) FILTER (WHERE m.status = 'failed') AS failed,
    count(*) FILTER (WHERE m.status = 'rolled_back') AS rolled_back,
    1.0 * count(*) FILTER (WHERE m.status = 'completed') / nullif(count(*) FILTER (WHERE m.status = 'started'), 0) AS completion_rate,
    avg(m.duration_ms) FILTER (WHERE m.status = 'completed') AS avg_duration_ms,
    max(m.duration_ms) FILTER (WHERE m.status = 'completed' AND m.place <= ceil(0.95 * m.of)) AS p95_duration_ms
FROM (
    SELECT *, row_number() OVER by_duration AS place, count(*) OVER (PARTITION BY tenant_id, flow_id, phase, status) AS of
    FROM phase_moves WINDOW by_duration AS (PARTITION BY tenant_id, flow_id, phase, status ORDER BY duration_ms)
) m
GROUP BY m.tenant_id, m.flow_id, m.phase;

CREATE VIEW workflow_phase_sla_violations AS
SELECT l.*, m.sla_ms AS sla_threshold_ms, m.duration_ms - m.sla_ms AS exceeded_by_ms
FROM workflow_phase_logs l JOIN phase_moves m ON m.id = l.row_key
WHERE m.duration_ms > m.sla_ms;

CREATE TABLE event_waits (
    tenant_id blob NOT NULL,
    kind      text NOT NULL,
    wait_key  text NOT NULL,
    run_id    blob NOT NULL,
    step_no   integer NOT NULL,
    PRIMARY KEY (run_id, step_no)
);
CREATE INDEX event_waits_by_key ON event_waits (tenant_id, kind, wait_key, run_id);

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
    CASE WHEN last.attempt >= e.base THEN last.result END AS execution_result,
    CASE WHEN last.attempt >= e.base THEN last.error END AS execution_error,
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
    e.run_id AS row_key
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
            SELECT json_set(CASE WHEN d.value ->> '$.u' THEN json_object('id', t.step ->> '$.id', 'config', t.step -> '$.undo', 'retry', t.step -> '$.retry')
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
);

DROP VIEW flow_runs;
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
    coalesce(s.state -> '$.z', CASE WHEN s.run_status = 'completed' THEN (SELECT result FROM log WHERE run_id = r.id AND step_no < length(s.state ->> '$.s') AND v.steps ->> ('$[' || step_no || '].parent') IS NULL AND is_final AND success ORDER BY step_no DESC LIMIT 1) END) AS output,
    s.state ->> '$.e' AS error,
    nullif(lower(hex(substr(r.parent_run_id,1,4))||'-'||hex(substr(r.parent_run_id,5,2))||'-'||hex(substr(r.parent_run_id,7,2))||'-'||hex(substr(r.parent_run_id,9,2))||'-'||hex(substr(r.parent_run_id,11))), '----') AS parent_run_id,
    nullif(lower(hex(substr(r.decision_event_id,1,4))||'-'||hex(substr(r.decision_event_id,5,2))||'-'||hex(substr(r.decision_event_id,7,2))||'-'||hex(substr(r.decision_event_id,9,2))||'-'||hex(substr(r.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(r.recommendation_id,1,4))||'-'||hex(substr(r.recommendation_id,5,2))||'-'||hex(substr(r.recommendation_id,7,2))||'-'||hex(substr(r.recommendation_id,9,2))||'-'||hex(substr(r.recommendation_id,11))), '----') AS recommendation_id,
    r.idempotency_key,
    r.run_key,
    s.state ->> '$.h.n' AS current_phase,
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
