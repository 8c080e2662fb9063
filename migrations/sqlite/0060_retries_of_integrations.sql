-- Why: an integration says how what fails is tried again, and people see that beside its limits and its breaker.
DROP VIEW integrations;
CREATE VIEW integrations AS
SELECT
    lower(hex(substr(c.id,1,4))||'-'||hex(substr(c.id,5,2))||'-'||hex(substr(c.id,7,2))||'-'||hex(substr(c.id,9,2))||'-'||hex(substr(c.id,11))) AS id,
    lower(hex(substr(c.tenant_id,1,4))||'-'||hex(substr(c.tenant_id,5,2))||'-'||hex(substr(c.tenant_id,7,2))||'-'||hex(substr(c.tenant_id,9,2))||'-'||hex(substr(c.tenant_id,11))) AS tenant_id,
    lower(hex(substr(c.user_id,1,4))||'-'||hex(substr(c.user_id,5,2))||'-'||hex(substr(c.user_id,7,2))||'-'||hex(substr(c.user_id,9,2))||'-'||hex(substr(c.user_id,11))) AS user_id,
    nullif(lower(hex(substr(c.organization_id,1,4))||'-'||hex(substr(c.organization_id,5,2))||'-'||hex(substr(c.organization_id,7,2))||'-'||hex(substr(c.organization_id,9,2))||'-'||hex(substr(c.organization_id,11))), '----') AS organization_id,
    c.name,
    c.kind,
    json_extract(c.definition, '$.endpoint') AS endpoint,
    json_extract(c.definition, '$.backup_endpoint') AS backup_endpoint,
    coalesce(json_extract(c.definition, '$.credentials'), '{}') AS credentials,
    coalesce(json_extract(c.definition, '$.settings'), '{}') AS settings,
    coalesce(json_extract(c.definition, '$.limits'), '{}') AS limits,
    coalesce(json_extract(c.definition, '$.breaker'), '{}') AS breaker,
    coalesce(json_extract(c.definition, '$.retry'), '{}') AS retry,
    coalesce(json_extract(c.breakers, '$.primary.state'), 'closed') AS breaker_state,
    c.is_active,
    c.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    c.tenant_id AS tenant_key,
    c.id AS row_key
FROM connections c;
