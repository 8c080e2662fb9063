-- Why: what the whole API needs beyond the first runs: runs that their callers name, forms of approvals, how a dead letter
-- was settled, and lists of versions and dead letters.

ALTER TABLE runs ADD COLUMN run_key TEXT;

-- The callers' own names of live runs: taken by the accept, given back by the end.
CREATE TABLE live_run_keys (
    tenant_id BLOB NOT NULL,
    flow_id   BLOB NOT NULL,
    run_key   TEXT NOT NULL,
    run_id    BLOB NOT NULL,
    PRIMARY KEY (tenant_id, flow_id, run_key)
);
CREATE INDEX runs_by_key ON runs (tenant_id, run_key, id) WHERE run_key IS NOT NULL;

ALTER TABLE approvals ADD COLUMN form TEXT;
ALTER TABLE dead_letters ADD COLUMN settlement TEXT;

-- The slowest attempts. Most take less than a tenth of a second and cost no entry here.
CREATE INDEX log_slow ON log (tenant_id, duration_ms, id) WHERE duration_ms >= 100;

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
    CASE WHEN s.run_status = 'completed' THEN (SELECT result FROM log WHERE run_id = r.id AND is_final AND success ORDER BY step_no DESC LIMIT 1) END AS output,
    s.state ->> '$.e' AS error,
    nullif(lower(hex(substr(r.parent_run_id,1,4))||'-'||hex(substr(r.parent_run_id,5,2))||'-'||hex(substr(r.parent_run_id,7,2))||'-'||hex(substr(r.parent_run_id,9,2))||'-'||hex(substr(r.parent_run_id,11))), '----') AS parent_run_id,
    nullif(lower(hex(substr(r.decision_event_id,1,4))||'-'||hex(substr(r.decision_event_id,5,2))||'-'||hex(substr(r.decision_event_id,7,2))||'-'||hex(substr(r.decision_event_id,9,2))||'-'||hex(substr(r.decision_event_id,11))), '----') AS decision_event_id,
    nullif(lower(hex(substr(r.recommendation_id,1,4))||'-'||hex(substr(r.recommendation_id,5,2))||'-'||hex(substr(r.recommendation_id,7,2))||'-'||hex(substr(r.recommendation_id,9,2))||'-'||hex(substr(r.recommendation_id,11))), '----') AS recommendation_id,
    r.idempotency_key,
    r.run_key,
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

CREATE VIEW dead_letter_list AS
SELECT
    lower(hex(substr(d.id,1,4))||'-'||hex(substr(d.id,5,2))||'-'||hex(substr(d.id,7,2))||'-'||hex(substr(d.id,9,2))||'-'||hex(substr(d.id,11))) AS id,
    lower(hex(substr(d.tenant_id,1,4))||'-'||hex(substr(d.tenant_id,5,2))||'-'||hex(substr(d.tenant_id,7,2))||'-'||hex(substr(d.tenant_id,9,2))||'-'||hex(substr(d.tenant_id,11))) AS tenant_id,
    lower(hex(substr(d.user_id,1,4))||'-'||hex(substr(d.user_id,5,2))||'-'||hex(substr(d.user_id,7,2))||'-'||hex(substr(d.user_id,9,2))||'-'||hex(substr(d.user_id,11))) AS user_id,
    nullif(lower(hex(substr(d.organization_id,1,4))||'-'||hex(substr(d.organization_id,5,2))||'-'||hex(substr(d.organization_id,7,2))||'-'||hex(substr(d.organization_id,9,2))||'-'||hex(substr(d.organization_id,11))), '----') AS organization_id,
    nullif(lower(hex(substr(d.run_id,1,4))||'-'||hex(substr(d.run_id,5,2))||'-'||hex(substr(d.run_id,7,2))||'-'||hex(substr(d.run_id,9,2))||'-'||hex(substr(d.run_id,11))), '----') AS flow_run_id,
    d.actor_path,
    d.message,
    d.failure,
    d.settlement,
    strftime('%Y-%m-%dT%H:%M:%fZ', d.settled_at_ms / 1000.0, 'unixepoch') AS settled_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', d.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    d.tenant_id AS tenant_key,
    d.id AS row_key
FROM dead_letters d;
