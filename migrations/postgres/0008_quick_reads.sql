-- Why: a month of statistics was thousands of rows to read. (SQLite also read a flow's counters once for each column; here the
-- view of 0002 reads them once already.)
--
-- Days of statistics beside hours and five minutes. What was counted so far is summed up from the hours; a sketch's buckets
-- add up one by one. The owner is no role of row-level security, which is forced: it is let in for the moment.
ALTER TABLE statistics NO FORCE ROW LEVEL SECURITY;

INSERT INTO statistics (partition, tenant_id, action_type, bucket_width_ms, bucket_start_ms, executions, successful, failed,
    attempts, duration_sum_ms, sketch)
SELECT 0, d.tenant_id, d.action_type, 86400000, d.day_ms, sum(d.executions), sum(d.successful), sum(d.failed), sum(d.attempts),
    sum(d.duration_sum_ms), (
        SELECT json_build_object('b', coalesce(json_object_agg(b.bucket, b.n), '{}'::json))::text FROM (
            SELECT j.key AS bucket, sum(j.value::bigint)::bigint AS n
            FROM statistics h CROSS JOIN LATERAL jsonb_each_text(h.sketch::jsonb -> 'b') j
            WHERE h.tenant_id = d.tenant_id AND h.bucket_width_ms = 3600000 AND h.action_type = d.action_type
                AND h.bucket_start_ms >= d.day_ms AND h.bucket_start_ms < d.day_ms + 86400000
            GROUP BY j.key) b)
FROM (SELECT *, bucket_start_ms - bucket_start_ms % 86400000 AS day_ms FROM statistics WHERE bucket_width_ms = 3600000) d
GROUP BY d.tenant_id, d.action_type, d.day_ms;

ALTER TABLE statistics FORCE ROW LEVEL SECURITY;
