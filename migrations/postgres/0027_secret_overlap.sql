-- Why: a secret is replaced without a gap: for a while the value before stays good beside the new one.
--
-- `previous` is what the vault made of the value before; both columns are null where there is none.
ALTER TABLE sealed_secrets ADD COLUMN previous text;
ALTER TABLE sealed_secrets ADD COLUMN previous_until_ms bigint;
GRANT SELECT (previous_until_ms) ON sealed_secrets TO core314_tenant;

DROP VIEW secrets;
CREATE VIEW secrets WITH (security_invoker = true) AS
SELECT
    s.id,
    s.tenant_id,
    s.user_id,
    s.organization_id,
    s.name,
    s.description,
    to_timestamp(s.previous_until_ms / 1000.0) AS previous_until,
    s.version,
    to_timestamp(s.created_at_ms / 1000.0) AS created_at,
    to_timestamp(s.updated_at_ms / 1000.0) AS updated_at,
    s.tenant_id AS tenant_key,
    s.id AS row_key
FROM sealed_secrets s;
GRANT SELECT ON secrets TO core314_tenant, core314_service;
