-- Why: what takes a step back may have a policy of its own and ask for an approval, and the queue shows both as they are.
CREATE OR REPLACE VIEW execution_queue WITH (security_invoker = true) AS
SELECT
    (e.run_text || lpad(to_hex(e.step_no + 1), 5, '0'))::uuid AS id,
    e.tenant_id,
    e.user_id,
    e.organization_id,
    e.flow_id AS orchestration_flow_id,
    e.flow_version,
    e.run_id AS flow_run_id,
    e.decision_event_id,
    e.recommendation_id,
    coalesce(e.inputs[1], (e.run_text || lpad(to_hex((e.step ->> 'parent')::integer), 5, '0'))::uuid) AS parent_execution_id,
    e.step_no,
    e.step ->> 'id' AS step_id,
    coalesce(e.step -> 'config' ->> 'action_type', e.step ->> 'type') AS action_type,
    e.step -> 'config' ->> 'action_target' AS action_target,
    coalesce(last.payload, e.step -> 'config' -> 'action_payload') AS action_payload,
    (e.step -> 'config') - 'action_payload' AS action_config,
    CASE e.letter
        WHEN 'B' THEN 'blocked' WHEN 'A' THEN 'awaiting_approval' WHEN 'P' THEN 'pending' WHEN 'I' THEN 'in_progress'
        WHEN 'W' THEN 'in_progress' WHEN 'R' THEN 'retrying' WHEN 'C' THEN 'completed' WHEN 'F' THEN 'failed' WHEN 'X' THEN 'cancelled'
        WHEN 'N' THEN 'cancelled' WHEN 'E' THEN 'expired' WHEN 'S' THEN 'skipped' WHEN 'U' THEN 'skipped' END AS execution_status,
    coalesce((e.step -> 'config' ->> 'priority')::integer, 5) AS priority,
    coalesce(e.step -> 'config' ->> 'urgency', 'medium') AS urgency,
    CASE WHEN e.step -> 'config' ->> 'scheduled_for' IS NOT NULL THEN
        to_timestamp(coalesce(first.started_at_ms - first.queue_wait_ms, CASE WHEN coalesce(e.live ->> 'a', '0') = '0' THEN (e.live ->> 'd')::bigint END) / 1000.0) END AS scheduled_for,
    to_timestamp(coalesce((e.live ->> 'd')::bigint, last.started_at_ms - last.queue_wait_ms) / 1000.0) AS execute_after,
    to_timestamp((e.live ->> 'x')::bigint / 1000.0) AS expires_at,
    coalesce((e.step ->> 'requires_approval')::boolean, false) OR coalesce(e.step ->> 'type' = 'approval', false) AS requires_approval,
    CASE
        WHEN e.letter = 'A' THEN 'pending'
        WHEN a.status IN ('approved', 'rejected') THEN a.status
        WHEN coalesce((e.step ->> 'requires_approval')::boolean, false) THEN
            CASE e.letter WHEN 'E' THEN 'expired' WHEN 'B' THEN 'pending' ELSE 'not_required' END
        ELSE 'not_required' END AS approval_status,
    a.decided_by AS approved_by,
    to_timestamp(a.decided_at_ms / 1000.0) AS approved_at,
    a.notes AS approval_notes,
    coalesce((e.step -> 'retry' ->> 'max_attempts')::integer, (e.retry ->> 'max_attempts')::integer, 3) AS max_retry_attempts,
    coalesce((e.live ->> 'a')::integer, last.attempt, 0) AS current_retry_attempt,
    coalesce((e.step -> 'retry' ->> 'backoff_seconds')::double precision, (e.retry ->> 'backoff_seconds')::double precision, 2) AS retry_backoff_seconds,
    to_timestamp(CASE WHEN coalesce(e.live ->> 'a', '0') <> '0' AND (e.live ->> 't')::bigint IS NOT NULL THEN (e.live ->> 't')::bigint WHEN last.attempt > 0 THEN last.started_at_ms END / 1000.0) AS last_retry_at,
    to_timestamp(CASE WHEN e.letter = 'R' THEN (e.live ->> 'd')::bigint END / 1000.0) AS next_retry_at,
    to_timestamp(coalesce(first.started_at_ms, (e.live ->> 't')::bigint) / 1000.0) AS started_at,
    to_timestamp(CASE WHEN last.attempt >= e.base AND last.is_final THEN last.completed_at_ms END / 1000.0) AS completed_at,
    CASE WHEN last.attempt >= e.base THEN last.duration_ms END AS execution_duration_ms,
    coalesce(CASE WHEN last.attempt >= e.base THEN last.result END, t.result) AS execution_result,
    coalesce(CASE WHEN last.attempt >= e.base THEN last.error END, t.error) AS execution_error,
    CASE WHEN last.attempt >= e.base THEN last.error_code END AS execution_error_code,
    e.inputs AS depends_on,
    coalesce(e.step ->> 'dependency_mode', 'all') AS dependency_mode,
    jsonb_build_object('flow_run_id', e.run_id, 'step_id', e.step ->> 'id', 'trigger_type', e.trigger_type, 'trigger_source', e.trigger_source) AS context_data,
    e.tags,
    e.metadata,
    e.partition,
    (e.live ->> 'e')::bigint AS node_epoch,
    to_timestamp(e.accepted_at_ms / 1000.0) AS created_at,
    to_timestamp(coalesce((e.live ->> 't')::bigint, last.completed_at_ms, (e.live ->> 'r')::bigint, e.completed_at_ms, e.started_at_ms, e.accepted_at_ms) / 1000.0) AS updated_at,
    e.tenant_id AS tenant_key,
    e.run_id AS row_key,
    t.from_execution AS reused_from
FROM (
    SELECT r.id AS run_id, r.tenant_id, r.user_id, r.organization_id, r.flow_id, r.flow_version, r.decision_event_id,
        r.recommendation_id, r.trigger_type, r.trigger_source, r.partition, r.accepted_at_ms, s.started_at_ms,
        s.completed_at_ms, run.retry, run.tags, run.metadata, step.j AS step, p.step_no, run.run_text,
        coalesce(step.j ->> 'letter', substr(run.state ->> 's', p.step_no + 1, 1)) AS letter,
        run.state -> 'l' -> p.step_no::text AS live,
        CASE WHEN coalesce(step.j ->> 'letter', substr(run.state ->> 's', p.step_no + 1, 1)) <> 'B' THEN coalesce((run.state -> 'l' -> p.step_no::text ->> 'b')::integer, 0) END AS base,
        CASE run.mode
            WHEN 'sequential' THEN
                CASE WHEN p.step_no = 0 THEN '{}'::uuid[] ELSE ARRAY[(run.run_text || lpad(to_hex(p.step_no), 5, '0'))::uuid] END
            WHEN 'mixed' THEN ARRAY(
                SELECT (run.run_text || lpad(to_hex((run.numbers ->> i.id)::integer), 5, '0'))::uuid
                FROM jsonb_array_elements_text(step.j -> 'connections' -> 'inputs') i (id)
                ORDER BY 1)
            ELSE '{}'::uuid[]
        END AS inputs
    FROM runs r
    JOIN run_state s ON s.run_id = r.id
    JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
    -- What steps need of their run and flow, read once a run, which OFFSET 0 ensures: a large document would be fetched
    -- for each of its thousand steps otherwise. Numbers of steps are by their ids, from 1.
    CROSS JOIN LATERAL (
        SELECT s.state::jsonb AS state, CASE WHEN v.steps IS NULL THEN v.document ->> 'execution_mode' ELSE 'mixed' END AS mode,
            v.document -> 'retry_policy' AS retry, v.document -> 'metadata' AS metadata,
            ARRAY(SELECT jsonb_array_elements_text(v.document -> 'tags')) AS tags,
            -- A run's id has its low 20 bits zero: the number of the step, from 1, is its executions' last five digits.
            left(r.id::text, 31) AS run_text,
            coalesce(v.steps, v.document -> 'flow_steps') AS steps,
            CASE WHEN v.steps IS NOT NULL OR v.document ->> 'execution_mode' = 'mixed' THEN (
                SELECT jsonb_object_agg(n.j ->> 'id', n.ordinal)
                FROM jsonb_array_elements(coalesce(v.steps, v.document -> 'flow_steps')) WITH ORDINALITY AS n (j, ordinal)
            ) END AS numbers
        OFFSET 0
    ) run
    CROSS JOIN LATERAL jsonb_array_elements(CASE WHEN run.state -> 'd' IS NULL THEN run.steps ELSE run.steps || (
        SELECT jsonb_agg(CASE WHEN (d.j ->> 'u')::boolean
                THEN jsonb_build_object('id', t.j ->> 'id',
                    'config', (t.j -> 'undo') - ARRAY['retry', 'timeout_seconds', 'requires_approval'],
                    'retry', coalesce(t.j -> 'undo' -> 'retry', t.j -> 'retry'),
                    'requires_approval', t.j -> 'undo' -> 'requires_approval')
                ELSE t.j - 'connections' END
            || jsonb_build_object('no', d.no::integer, 'letter', d.j ->> 'l', 'parent', (d.j ->> 'o')::integer + 1))
        FROM jsonb_each(run.state -> 'd') d (no, j)
        CROSS JOIN LATERAL (SELECT run.steps -> (d.j ->> 'p')::integer AS j) t
    ) END) WITH ORDINALITY AS step (j, ordinal)
    CROSS JOIN LATERAL (SELECT coalesce((step.j ->> 'no')::integer, (step.ordinal - 1)::integer) AS step_no) p
    WHERE step.j ? 'no' OR step.ordinal <= length(run.state ->> 's')
) e
LEFT JOIN log first ON first.run_id = e.run_id AND first.step_no = e.step_no AND first.attempt = 0
LEFT JOIN LATERAL (
    SELECT * FROM log WHERE run_id = e.run_id AND step_no = e.step_no ORDER BY attempt DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT * FROM approvals WHERE run_id = e.run_id AND step_no = e.step_no ORDER BY id DESC LIMIT 1
) a ON true
LEFT JOIN reused_results t ON t.run_id = e.run_id AND t.step_no = e.step_no AND e.letter IN ('C', 'F') AND last.attempt IS NULL;
