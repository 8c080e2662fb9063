-- Why: a secret is replaced without a gap: for a while the value before stays good beside the new one.
--
-- `previous` is what the vault made of the value before; both columns are null where there is none.
ALTER TABLE sealed_secrets ADD COLUMN previous text;
ALTER TABLE sealed_secrets ADD COLUMN previous_until_ms integer;

DROP VIEW secrets;
CREATE VIEW secrets AS
SELECT
    lower(hex(substr(s.id,1,4))||'-'||hex(substr(s.id,5,2))||'-'||hex(substr(s.id,7,2))||'-'||hex(substr(s.id,9,2))||'-'||hex(substr(s.id,11))) AS id,
    lower(hex(substr(s.tenant_id,1,4))||'-'||hex(substr(s.tenant_id,5,2))||'-'||hex(substr(s.tenant_id,7,2))||'-'||hex(substr(s.tenant_id,9,2))||'-'||hex(substr(s.tenant_id,11))) AS tenant_id,
    lower(hex(substr(s.user_id,1,4))||'-'||hex(substr(s.user_id,5,2))||'-'||hex(substr(s.user_id,7,2))||'-'||hex(substr(s.user_id,9,2))||'-'||hex(substr(s.user_id,11))) AS user_id,
    nullif(lower(hex(substr(s.organization_id,1,4))||'-'||hex(substr(s.organization_id,5,2))||'-'||hex(substr(s.organization_id,7,2))||'-'||hex(substr(s.organization_id,9,2))||'-'||hex(substr(s.organization_id,11))), '----') AS organization_id,
    s.name,
    s.description,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.previous_until_ms / 1000.0, 'unixepoch') AS previous_until,
    s.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    s.tenant_id AS tenant_key,
    s.id AS row_key
FROM sealed_secrets s;
