-- Why: people query the contract's names; the engine writes narrow tables (ADR 002). These read-only views are the bridge.
-- security_invoker: a reader sees through a view what the policies on the tables let them see, and nothing more.
-- row_key and tenant_key are the stored ids: on SQLite lookups need them, and both stores have the same columns.

CREATE VIEW orchestration_flows WITH (security_invoker = true) AS
SELECT
    f.id,
    f.tenant_id,
    f.user_id,
    f.organization_id,
    f.flow_name,
    f.document ->> 'flow_description' AS flow_description,
    f.document ->> 'flow_category' AS flow_category,
    f.flow_version,
    f.is_active,
    f.is_template,
    f.trigger_type,
    f.document -> 'trigger_config' AS trigger_config,
    f.document -> 'flow_steps' AS flow_steps,
    f.document ->> 'execution_mode' AS execution_mode,
    (f.document ->> 'max_execution_time_seconds')::bigint AS max_execution_time_seconds,
    f.document -> 'retry_policy' AS retry_policy,
    (f.document ->> 'requires_approval')::boolean AS requires_approval,
    (f.document ->> 'approval_threshold')::double precision AS approval_threshold,
    f.document -> 'conditions' AS conditions,
    f.document -> 'input_schema' AS input_schema,
    f.document -> 'output_schema' AS output_schema,
    f.document ->> 'on_error_action' AS on_error_action,
    (f.document ->> 'fallback_flow_id')::uuid AS fallback_flow_id,
    ARRAY(SELECT jsonb_array_elements_text(f.document -> 'error_notification_channels')) AS error_notification_channels,
    c.duration_sum_ms / c.runs AS avg_execution_time_ms,
    c.successful::double precision / c.runs AS success_rate,
    coalesce(c.runs, 0) AS total_executions,
    coalesce(c.successful, 0) AS successful_executions,
    coalesce(c.failed, 0) AS failed_executions,
    to_timestamp(c.last_at_ms / 1000.0) AS last_executed_at,
    ARRAY(SELECT jsonb_array_elements_text(f.document -> 'tags')) AS tags,
    f.document -> 'metadata' AS metadata,
    f.created_by,
    f.updated_by,
    to_timestamp(f.created_at_ms / 1000.0) AS created_at,
    to_timestamp(f.updated_at_ms / 1000.0) AS updated_at,
    f.tenant_id AS tenant_key,
    f.id AS row_key
FROM flows f
CROSS JOIN LATERAL (
    SELECT nullif(sum(runs), 0)::bigint AS runs, sum(successful)::bigint AS successful, sum(failed)::bigint AS failed,
        sum(duration_sum_ms)::bigint AS duration_sum_ms, max(last_at_ms) AS last_at_ms
    FROM flow_counters WHERE flow_id = f.id
) c;

CREATE VIEW flow_runs WITH (security_invoker = true) AS
SELECT
    r.id,
    r.tenant_id,
    r.user_id,
    r.organization_id,
    r.flow_id AS orchestration_flow_id,
    r.flow_version,
    r.flow_name,
    s.run_status,
    r.trigger_type,
    r.trigger_source,
    r.trigger_context,
    r.input,
    CASE WHEN s.run_status = 'completed' THEN (SELECT result FROM log WHERE run_id = r.id AND is_final AND success ORDER BY step_no DESC LIMIT 1) END AS output,
    state.j ->> 'e' AS error,
    r.parent_run_id,
    r.decision_event_id,
    r.recommendation_id,
    r.idempotency_key,
    (SELECT max((p.j ->> 'phase')::integer) FROM jsonb_array_elements(v.document -> 'flow_steps') WITH ORDINALITY AS p (j, ordinal)
        WHERE substr(state.j ->> 's', p.ordinal::integer, 1) NOT IN ('B', 'U')) AS current_phase,
    to_timestamp(s.started_at_ms / 1000.0) AS started_at,
    to_timestamp(s.completed_at_ms / 1000.0) AS completed_at,
    to_timestamp(r.deadline_at_ms / 1000.0) AS deadline_at,
    s.completed_at_ms - coalesce(s.started_at_ms, r.accepted_at_ms) AS duration_ms,
    r.partition,
    r.environment,
    r.triggered_by,
    to_timestamp(r.accepted_at_ms / 1000.0) AS created_at,
    to_timestamp(greatest(r.accepted_at_ms, s.started_at_ms, s.completed_at_ms,
        (SELECT max(greatest((l.value ->> 'r')::bigint, (l.value ->> 't')::bigint)) FROM jsonb_each(state.j -> 'l') l)) / 1000.0) AS updated_at,
    r.tenant_id AS tenant_key,
    r.id AS row_key
FROM runs r
JOIN run_state s ON s.run_id = r.id
CROSS JOIN LATERAL (SELECT s.state::jsonb AS j OFFSET 0) state
LEFT JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version;

CREATE VIEW execution_queue WITH (security_invoker = true) AS
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
    e.inputs[1] AS parent_execution_id,
    e.step_no,
    e.step ->> 'id' AS step_id,
    e.step -> 'config' ->> 'action_type' AS action_type,
    e.step -> 'config' ->> 'action_target' AS action_target,
    coalesce(last.payload, e.step -> 'config' -> 'action_payload') AS action_payload,
    (e.step -> 'config') - 'action_payload' AS action_config,
    CASE e.letter
        WHEN 'B' THEN 'blocked' WHEN 'A' THEN 'awaiting_approval' WHEN 'P' THEN 'pending' WHEN 'I' THEN 'in_progress'
        WHEN 'R' THEN 'retrying' WHEN 'C' THEN 'completed' WHEN 'F' THEN 'failed' WHEN 'X' THEN 'cancelled'
        WHEN 'N' THEN 'cancelled' WHEN 'E' THEN 'expired' WHEN 'S' THEN 'skipped' WHEN 'U' THEN 'skipped' END AS execution_status,
    coalesce((e.step -> 'config' ->> 'priority')::integer, 5) AS priority,
    coalesce(e.step -> 'config' ->> 'urgency', 'medium') AS urgency,
    CASE WHEN e.step -> 'config' ->> 'scheduled_for' IS NOT NULL THEN
        to_timestamp(coalesce(first.started_at_ms - first.queue_wait_ms, CASE WHEN coalesce(e.live ->> 'a', '0') = '0' THEN (e.live ->> 'd')::bigint END) / 1000.0) END AS scheduled_for,
    to_timestamp(coalesce((e.live ->> 'd')::bigint, last.started_at_ms - last.queue_wait_ms) / 1000.0) AS execute_after,
    to_timestamp((e.live ->> 'x')::bigint / 1000.0) AS expires_at,
    coalesce((e.step ->> 'requires_approval')::boolean, false) AS requires_approval,
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
    to_timestamp(CASE WHEN last.is_final THEN last.completed_at_ms END / 1000.0) AS completed_at,
    last.duration_ms AS execution_duration_ms,
    last.result AS execution_result,
    last.error AS execution_error,
    last.error_code AS execution_error_code,
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
    e.run_id AS row_key
FROM (
    SELECT r.id AS run_id, r.tenant_id, r.user_id, r.organization_id, r.flow_id, r.flow_version, r.decision_event_id,
        r.recommendation_id, r.trigger_type, r.trigger_source, r.partition, r.accepted_at_ms, s.started_at_ms,
        s.completed_at_ms, run.retry, run.tags, run.metadata, step.j AS step, p.step_no, run.run_text,
        substr(run.state ->> 's', p.step_no + 1, 1) AS letter,
        run.state -> 'l' -> p.step_no::text AS live,
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
        SELECT s.state::jsonb AS state, v.document ->> 'execution_mode' AS mode,
            v.document -> 'retry_policy' AS retry, v.document -> 'metadata' AS metadata,
            ARRAY(SELECT jsonb_array_elements_text(v.document -> 'tags')) AS tags,
            -- A run's id has its low 20 bits zero: the number of the step, from 1, is its executions' last five digits.
            left(r.id::text, 31) AS run_text,
            CASE WHEN v.document ->> 'execution_mode' = 'mixed' THEN (
                SELECT jsonb_object_agg(n.j ->> 'id', n.ordinal)
                FROM jsonb_array_elements(v.document -> 'flow_steps') WITH ORDINALITY AS n (j, ordinal)
            ) END AS numbers
        OFFSET 0
    ) run
    CROSS JOIN LATERAL jsonb_array_elements(v.document -> 'flow_steps') WITH ORDINALITY AS step (j, ordinal)
    CROSS JOIN LATERAL (SELECT (step.ordinal - 1)::integer AS step_no) p
) e
LEFT JOIN log first ON first.run_id = e.run_id AND first.step_no = e.step_no AND first.attempt = 0
LEFT JOIN LATERAL (
    SELECT * FROM log WHERE run_id = e.run_id AND step_no = e.step_no ORDER BY attempt DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT * FROM approvals WHERE run_id = e.run_id AND step_no = e.step_no ORDER BY id DESC LIMIT 1
) a ON true;

CREATE VIEW execution_log WITH (security_invoker = true) AS
SELECT
    l.id,
    l.tenant_id,
    r.user_id,
    r.organization_id,
    (left(l.run_id::text, 31) || lpad(to_hex(l.step_no + 1), 5, '0'))::uuid AS execution_queue_id,
    r.flow_id AS orchestration_flow_id,
    l.run_id AS flow_run_id,
    r.decision_event_id,
    r.recommendation_id,
    l.step_no,
    l.action_type,
    l.action_target,
    l.payload AS action_payload,
    (d.flow_steps -> l.step_no -> 'config') - 'action_payload' AS action_config,
    l.execution_status,
    l.is_final,
    l.result AS execution_result,
    l.error AS execution_error,
    l.error_code AS execution_error_code,
    l.error_details AS execution_error_details,
    to_timestamp(l.started_at_ms / 1000.0) AS started_at,
    to_timestamp(l.completed_at_ms / 1000.0) AS completed_at,
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
    jsonb_build_object('flow_run_id', l.run_id, 'step_id', d.flow_steps -> l.step_no ->> 'id', 'trigger_type', r.trigger_type, 'trigger_source', r.trigger_source) AS context_data,
    r.environment,
    r.triggered_by,
    l.success,
    (l.success AND coalesce(l.result -> 'partial' = 'true'::jsonb, false)) AS partial_success,
    (w.id IS NOT NULL) AS requires_review,
    w.notes AS review_notes,
    ARRAY(SELECT jsonb_array_elements_text(d.metadata -> 'compliance_flags')) AS compliance_flags,
    d.metadata ->> 'security_level' AS security_level,
    d.metadata ->> 'data_classification' AS data_classification,
    ARRAY(SELECT jsonb_array_elements_text(d.tags)) AS tags,
    d.metadata,
    l.partition,
    l.seq,
    to_timestamp(l.completed_at_ms / 1000.0) AS created_at,
    l.tenant_id AS tenant_key,
    l.id AS row_key
FROM log l
-- A run may be retired before its log.
LEFT JOIN runs r ON r.id = l.run_id
LEFT JOIN flow_versions v ON v.flow_id = r.flow_id AND v.flow_version = r.flow_version
LEFT JOIN execution_reviews w ON w.execution_log_id = l.id
-- One pass over the document, which may be large.
LEFT JOIN LATERAL jsonb_to_record(v.document) AS d (flow_steps jsonb, tags jsonb, metadata jsonb) ON true;

CREATE VIEW decision_audit_log WITH (security_invoker = true) AS
SELECT
    a.id,
    a.tenant_id,
    a.user_id,
    a.organization_id,
    a.event_type,
    a.actor,
    a.subject_type,
    a.subject_id,
    a.decision_event_id,
    a.summary,
    a.details,
    a.partition,
    a.seq,
    to_timestamp(a.at_ms / 1000.0) AS created_at,
    a.tenant_id AS tenant_key,
    a.id AS row_key
FROM audit a;
