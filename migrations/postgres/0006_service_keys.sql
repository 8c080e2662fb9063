-- Why: service keys are made, listed and revoked through the API, which must never see their digests. The table keeps them
-- under a name of its own, and the contract's name becomes a view without them.

ALTER TABLE service_keys RENAME TO keys;
ALTER TABLE keys ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;

CREATE VIEW service_keys WITH (security_invoker = true) AS
SELECT
    k.id,
    k.tenant_id,
    k.user_id,
    k.organization_id,
    k.name,
    k.scope,
    ARRAY(SELECT jsonb_array_elements_text(k.roles::jsonb)) AS roles,
    to_timestamp(k.expires_at_ms / 1000.0) AS expires_at,
    to_timestamp(k.revoked_at_ms / 1000.0) AS revoked_at,
    to_timestamp(k.created_at_ms / 1000.0) AS created_at,
    to_timestamp(k.updated_at_ms / 1000.0) AS updated_at,
    k.tenant_id AS tenant_key,
    k.id AS row_key
FROM keys k;

GRANT SELECT ON service_keys TO core314_tenant, core314_service;
-- Who may see a key's row does not see its digest.
REVOKE SELECT ON keys FROM core314_tenant;
GRANT SELECT (id, tenant_id, user_id, organization_id, name, scope, roles, created_at_ms, expires_at_ms, revoked_at_ms,
    updated_at_ms) ON keys TO core314_tenant;
