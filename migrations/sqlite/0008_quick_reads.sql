-- Why: lists and statistics are to be read in a few milliseconds.
--
-- A list of fifty flows read each flow's counters, a row for each partition, seven times over. Now it reads them once: a
-- function in FROM is evaluated once for each flow.

DROP VIEW orchestration_flows;
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
    (c.value ->> '$.duration_sum_ms') / nullif(c.value ->> '$.runs', 0) AS avg_execution_time_ms,
    1.0 * (c.value ->> '$.successful') / nullif(c.value ->> '$.runs', 0) AS success_rate,
    coalesce(c.value ->> '$.runs', 0) AS total_executions,
    coalesce(c.value ->> '$.successful', 0) AS successful_executions,
    coalesce(c.value ->> '$.failed', 0) AS failed_executions,
    strftime('%Y-%m-%dT%H:%M:%fZ', (c.value ->> '$.last_at_ms') / 1000.0, 'unixepoch') AS last_executed_at,
    coalesce(f.document -> '$.tags', '[]') AS tags,
    f.document -> '$.metadata' AS metadata,
    lower(hex(substr(f.created_by,1,4))||'-'||hex(substr(f.created_by,5,2))||'-'||hex(substr(f.created_by,7,2))||'-'||hex(substr(f.created_by,9,2))||'-'||hex(substr(f.created_by,11))) AS created_by,
    lower(hex(substr(f.updated_by,1,4))||'-'||hex(substr(f.updated_by,5,2))||'-'||hex(substr(f.updated_by,7,2))||'-'||hex(substr(f.updated_by,9,2))||'-'||hex(substr(f.updated_by,11))) AS updated_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', f.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', f.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    f.tenant_id AS tenant_key,
    f.id AS row_key
FROM flows f
JOIN json_each(json_array(json((
    SELECT json_object('runs', sum(runs), 'successful', sum(successful), 'failed', sum(failed),
        'duration_sum_ms', sum(duration_sum_ms), 'last_at_ms', max(last_at_ms))
    FROM flow_counters WHERE flow_id = f.id)))) c;

-- Days of statistics beside hours and five minutes: a month is a hundred rows to read in place of a thousand. What was
-- counted so far is summed up from the hours; a sketch's buckets add up one by one.
INSERT INTO statistics (partition, tenant_id, action_type, bucket_width_ms, bucket_start_ms, executions, successful, failed,
    attempts, duration_sum_ms, sketch)
SELECT 0, d.tenant_id, d.action_type, 86400000, d.day_ms, sum(d.executions), sum(d.successful), sum(d.failed), sum(d.attempts),
    sum(d.duration_sum_ms), (
        SELECT json_object('b', json_group_object(b.bucket, b.n)) FROM (
            SELECT j.key AS bucket, sum(j.value) AS n FROM statistics h JOIN json_each(h.sketch, '$.b') j
            WHERE h.tenant_id = d.tenant_id AND h.bucket_width_ms = 3600000 AND h.action_type = d.action_type
                AND h.bucket_start_ms >= d.day_ms AND h.bucket_start_ms < d.day_ms + 86400000
            GROUP BY j.key) b)
FROM (SELECT *, bucket_start_ms - bucket_start_ms % 86400000 AS day_ms FROM statistics WHERE bucket_width_ms = 3600000) d
GROUP BY d.tenant_id, d.action_type, d.day_ms;
