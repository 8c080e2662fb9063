-- Why: runs that neither stand in a queue nor wait for a time are looked at all the time, to see that each names what it waits
-- for. The index holds these alone: a run that goes from step to step to its end is never in it.
CREATE INDEX run_state_idle ON run_state (run_id)
    WHERE queue_key IS NULL AND wake_at_ms IS NULL AND completed_at_ms IS NULL;

-- Why: the view asked for `ceil`, which SQLite has only where it is built with mathematical functions; whole numbers do the same.
DROP VIEW workflow_phase_analytics;
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
    max(m.duration_ms) FILTER (WHERE m.status = 'completed' AND m.place <= (95 * m.of + 99) / 100) AS p95_duration_ms
FROM (
    SELECT *, row_number() OVER by_duration AS place, count(*) OVER (PARTITION BY tenant_id, flow_id, phase, status) AS of
    FROM phase_moves WINDOW by_duration AS (PARTITION BY tenant_id, flow_id, phase, status ORDER BY duration_ms)
) m
GROUP BY m.tenant_id, m.flow_id, m.phase;
