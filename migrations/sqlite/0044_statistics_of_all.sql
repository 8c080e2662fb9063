-- Why: what is asked over all tenants read a row for every tenant, hour and type of action. From now on the platform's own
-- rows (its tenant is the nil UUID) count what all tenants did. What was counted so far is summed up; a sketch's buckets
-- add up one by one.

INSERT INTO statistics (partition, tenant_id, action_type, bucket_width_ms, bucket_start_ms, executions, successful, failed,
    attempts, duration_sum_ms, sketch)
SELECT -1, x'00000000000000000000000000000000', t.action_type, t.bucket_width_ms, t.bucket_start_ms, t.executions,
    t.successful, t.failed, t.attempts, t.duration_sum_ms, coalesce(s.sketch, '{"b":{}}')
FROM (
    SELECT action_type, bucket_width_ms, bucket_start_ms, sum(executions) AS executions, sum(successful) AS successful,
        sum(failed) AS failed, sum(attempts) AS attempts, sum(duration_sum_ms) AS duration_sum_ms
    FROM statistics GROUP BY action_type, bucket_width_ms, bucket_start_ms) t
LEFT JOIN (
    SELECT b.action_type, b.bucket_width_ms, b.bucket_start_ms, json_object('b', json_group_object(b.bucket, b.n)) AS sketch
    FROM (
        SELECT h.action_type, h.bucket_width_ms, h.bucket_start_ms, j.key AS bucket, sum(j.value) AS n
        FROM statistics h CROSS JOIN json_each(h.sketch, '$.b') j
        GROUP BY h.action_type, h.bucket_width_ms, h.bucket_start_ms, j.key) b
    GROUP BY b.action_type, b.bucket_width_ms, b.bucket_start_ms) s
    ON s.action_type = t.action_type AND s.bucket_width_ms = t.bucket_width_ms AND s.bucket_start_ms = t.bucket_start_ms;

-- The platform's own are in the sums.
DELETE FROM statistics WHERE tenant_id = x'00000000000000000000000000000000' AND partition >= 0;
UPDATE statistics SET partition = 0 WHERE partition = -1;
