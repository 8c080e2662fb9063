-- Why: an integration says how what fails is tried again, and people see that beside its limits and its breaker.
DROP VIEW integrations;
CREATE VIEW integrations WITH (security_invoker = true) AS
SELECT
    c.id,
    c.tenant_id,
    c.user_id,
    c.organization_id,
    c.name,
    c.kind,
    c.definition ->> 'endpoint' AS endpoint,
    c.definition ->> 'backup_endpoint' AS backup_endpoint,
    coalesce(c.definition -> 'credentials', '{}'::jsonb) AS credentials,
    coalesce(c.definition -> 'settings', '{}'::jsonb) AS settings,
    coalesce(c.definition -> 'limits', '{}'::jsonb) AS limits,
    coalesce(c.definition -> 'breaker', '{}'::jsonb) AS breaker,
    coalesce(c.definition -> 'retry', '{}'::jsonb) AS retry,
    coalesce(c.breakers -> 'primary' ->> 'state', 'closed') AS breaker_state,
    c.is_active,
    c.version,
    to_timestamp(c.created_at_ms / 1000.0) AS created_at,
    to_timestamp(c.updated_at_ms / 1000.0) AS updated_at,
    c.tenant_id AS tenant_key,
    c.id AS row_key
FROM connections c;
GRANT SELECT ON integrations TO core314_tenant, core314_service;
