-- Why: steps stand in steps, loops make executions at run time, and phases leave a row at every transition.
--
-- `flow_versions.steps` has the steps of a flow that has some in others, one after the other, as its runs number them; of
-- any other flow the document says it all. Executions past the end of that list stand in the run's own state, each with
-- its letter, the number in the list of the step that it is a copy of (with `u`: that it takes back), and the execution it
-- belongs to.
ALTER TABLE flow_versions ADD COLUMN steps jsonb;

CREATE TABLE phase_moves (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    run_id          uuid NOT NULL,
    flow_id         uuid NOT NULL,
    phase           integer NOT NULL,
    name            text NOT NULL,
    status          text NOT NULL,
    at_ms           bigint NOT NULL,
    duration_ms     bigint,
    previous_phase  integer,
    error           text,
    rollback_to     integer,
    sla_ms          bigint
);
CREATE INDEX phase_moves_by_tenant ON phase_moves (tenant_id, id);
CREATE INDEX phase_moves_by_run ON phase_moves (tenant_id, run_id, id);
ALTER TABLE phase_moves ENABLE ROW LEVEL SECURITY;
ALTER TABLE phase_moves FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON phase_moves FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON phase_moves TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON phase_moves TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON phase_moves TO core314_service;

CREATE VIEW workflow_phase_logs WITH (security_invoker = true) AS
SELECT
    m.id,
    m.tenant_id,
    m.user_id,
    m.organization_id,
    m.run_id AS workflow_id,
    m.flow_id AS orchestration_flow_id,
    m.phase AS phase_number,
    m.name AS phase_name,
    m.status,
    to_timestamp(m.at_ms / 1000.0) AS timestamp,
    m.duration_ms,
    m.previous_phase,
    m.error AS error_message,
    CASE WHEN m.status = 'failed' THEN m.name || ': ' || m.error END AS error_stack,
    jsonb_build_object('sla_ms', m.sla_ms) AS metadata,
    m.rollback_to IS NOT NULL AS rollback_triggered,
    m.rollback_to AS rollback_to_phase,
    to_timestamp(m.at_ms / 1000.0) AS created_at,
    m.tenant_id AS tenant_key,
    m.id AS row_key
FROM phase_moves m;

CREATE VIEW workflow_phase_analytics WITH (security_invoker = true) AS
SELECT
    m.tenant_id AS tenant_key,
    m.tenant_id,
    m.flow_id AS orchestration_flow_id,
    m.phase AS phase_number,
    max(m.name) AS phase_name,
    count(*) FILTER (WHERE m.status = 'started') AS total,
    count(*) FILTER (WHERE m.status = 'completed') AS completed,
    count(*) FILTER (WHERE m.status = 'failed') AS failed,
    count(*) FILTER (WHERE m.status = 'rolled_back') AS rolled_back,
    (1.0 * count(*) FILTER (WHERE m.status = 'completed') / nullif(count(*) FILTER (WHERE m.status = 'started'), 0))::double precision AS completion_rate,
    (avg(m.duration_ms) FILTER (WHERE m.status = 'completed'))::double precision AS avg_duration_ms,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY m.duration_ms) FILTER (WHERE m.status = 'completed') AS p95_duration_ms
FROM phase_moves m
GROUP BY m.tenant_id, m.flow_id, m.phase;

CREATE VIEW workflow_phase_sla_violations WITH (security_invoker = true) AS
SELECT l.*, m.sla_ms AS sla_threshold_ms, m.duration_ms - m.sla_ms AS exceeded_by_ms
FROM workflow_phase_logs l JOIN phase_moves m ON m.id = l.row_key
WHERE m.duration_ms > m.sla_ms;
GRANT SELECT ON workflow_phase_logs, workflow_phase_analytics, workflow_phase_sla_violations TO core314_tenant, core314_service;

CREATE TABLE event_waits (
    tenant_id uuid NOT NULL,
    kind      text NOT NULL,
    wait_key  text NOT NULL,
    run_id    uuid NOT NULL,
    step_no   integer NOT NULL,
    PRIMARY KEY (run_id, step_no)
);
CREATE INDEX event_waits_by_key ON event_waits (tenant_id, kind, wait_key, run_id);
ALTER TABLE event_waits ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_waits FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON event_waits FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON event_waits TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON event_waits TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON event_waits TO core314_service;

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
    CASE WHEN last.attempt >= e.base THEN last.result END AS execution_result,
    CASE WHEN last.attempt >= e.base THEN last.error END AS execution_error,
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
    e.run_id AS row_key
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
                THEN jsonb_build_object('id', t.j ->> 'id', 'config', t.j -> 'undo', 'retry', t.j -> 'retry')
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
) a ON true;

CREATE OR REPLACE VIEW flow_runs WITH (security_invoker = true) AS
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
    coalesce(state.j -> 'z', CASE WHEN s.run_status = 'completed' THEN (SELECT result FROM log WHERE run_id = r.id AND step_no < length(state.j ->> 's') AND v.steps -> step_no ->> 'parent' IS NULL AND is_final AND success ORDER BY step_no DESC LIMIT 1) END) AS output,
    state.j ->> 'e' AS error,
    r.parent_run_id,
    r.decision_event_id,
    r.recommendation_id,
    r.idempotency_key,
    r.run_key,
    (state.j -> 'h' ->> 'n')::integer AS current_phase,
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
