-- Why: service keys are made, listed and revoked through the API, which must never see their digests. The table keeps them
-- under a name of its own, and the contract's name becomes a view without them.

ALTER TABLE service_keys RENAME TO keys;
ALTER TABLE keys ADD COLUMN updated_at_ms integer NOT NULL DEFAULT 0;

CREATE VIEW service_keys AS
SELECT
    lower(hex(substr(k.id,1,4))||'-'||hex(substr(k.id,5,2))||'-'||hex(substr(k.id,7,2))||'-'||hex(substr(k.id,9,2))||'-'||hex(substr(k.id,11))) AS id,
    lower(hex(substr(k.tenant_id,1,4))||'-'||hex(substr(k.tenant_id,5,2))||'-'||hex(substr(k.tenant_id,7,2))||'-'||hex(substr(k.tenant_id,9,2))||'-'||hex(substr(k.tenant_id,11))) AS tenant_id,
    lower(hex(substr(k.user_id,1,4))||'-'||hex(substr(k.user_id,5,2))||'-'||hex(substr(k.user_id,7,2))||'-'||hex(substr(k.user_id,9,2))||'-'||hex(substr(k.user_id,11))) AS user_id,
    nullif(lower(hex(substr(k.organization_id,1,4))||'-'||hex(substr(k.organization_id,5,2))||'-'||hex(substr(k.organization_id,7,2))||'-'||hex(substr(k.organization_id,9,2))||'-'||hex(substr(k.organization_id,11))), '----') AS organization_id,
    k.name,
    k.scope,
    k.roles,
    strftime('%Y-%m-%dT%H:%M:%fZ', k.expires_at_ms / 1000.0, 'unixepoch') AS expires_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', k.revoked_at_ms / 1000.0, 'unixepoch') AS revoked_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', k.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', k.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    k.tenant_id AS tenant_key,
    k.id AS row_key
FROM keys k;
