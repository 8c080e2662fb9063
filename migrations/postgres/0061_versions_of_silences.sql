-- Why: two people who change a silence at once must not undo each other without knowing: who has read an older version is told so.
ALTER TABLE quiet_times ADD COLUMN version bigint NOT NULL DEFAULT 1;

DROP VIEW silences;
CREATE VIEW silences WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.name,
    nullif(t.document -> 'matcher', 'null'::jsonb) AS matcher,
    t.document -> 'rules' AS rules,
    t.document ->> 'cron' AS cron,
    t.document ->> 'time_zone' AS time_zone,
    (t.document ->> 'duration_minutes')::double precision AS duration_minutes,
    t.document ->> 'reason' AS reason,
    to_timestamp(t.starts_at_ms / 1000.0) AS starts_at,
    to_timestamp(t.ends_at_ms / 1000.0) AS ends_at,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM quiet_times t;
GRANT SELECT ON silences TO core314_tenant, core314_service;
