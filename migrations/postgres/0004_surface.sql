-- Why: what the whole API needs beyond the first runs: runs that their callers name, forms of approvals, how a dead letter
-- was settled, and lists of versions and dead letters.

ALTER TABLE runs ADD COLUMN run_key text;

-- The callers' own names of live runs: taken by the accept, given back by the end.
CREATE TABLE live_run_keys (
    tenant_id uuid NOT NULL,
    flow_id   uuid NOT NULL,
    run_key   text NOT NULL,
    run_id    uuid NOT NULL,
    PRIMARY KEY (tenant_id, flow_id, run_key)
);
CREATE INDEX runs_by_key ON runs (tenant_id, run_key, id) WHERE run_key IS NOT NULL;

ALTER TABLE approvals ADD COLUMN form jsonb;
ALTER TABLE dead_letters ADD COLUMN settlement text;

-- The slowest attempts. Most take less than a tenth of a second and cost no entry here.
CREATE INDEX log_slow ON log (tenant_id, duration_ms, id) WHERE duration_ms >= 100;

DROP VIEW flow_runs;
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
    r.run_key,
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

CREATE VIEW dead_letter_list WITH (security_invoker = true) AS
SELECT
    d.id AS id,
    d.tenant_id AS tenant_id,
    d.user_id AS user_id,
    d.organization_id AS organization_id,
    d.run_id AS flow_run_id,
    d.actor_path,
    d.message,
    d.failure,
    d.settlement,
    to_timestamp(d.settled_at_ms / 1000.0) AS settled_at,
    to_timestamp(d.created_at_ms / 1000.0) AS created_at,
    d.tenant_id AS tenant_key,
    d.id AS row_key
FROM dead_letters d;

-- As in 0003: what a tenant sees is its own.
ALTER TABLE live_run_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE live_run_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON live_run_keys FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON live_run_keys TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON live_run_keys TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON live_run_keys TO core314_service;
GRANT SELECT ON flow_runs, dead_letter_list TO core314_tenant, core314_service;
