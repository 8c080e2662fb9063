-- Why: two people who change a silence at once must not undo each other without knowing: who has read an older version is told so.
ALTER TABLE quiet_times ADD COLUMN version integer NOT NULL DEFAULT 1;

DROP VIEW silences;
CREATE VIEW silences AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.name,
    nullif(t.document -> 'matcher', 'null') AS matcher,
    t.document -> 'rules' AS rules,
    t.document ->> 'cron' AS cron,
    t.document ->> 'time_zone' AS time_zone,
    t.document ->> 'duration_minutes' AS duration_minutes,
    t.document ->> 'reason' AS reason,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.starts_at_ms / 1000.0, 'unixepoch') AS starts_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.ends_at_ms / 1000.0, 'unixepoch') AS ends_at,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM quiet_times t;
