-- Why: actions reach services through named integrations, whose credentials are secrets that nobody reads back.
--
-- `definition` holds where the service is and the names of secrets, never a secret; `sealed` is what the vault made of a
-- value (src/vault.rs).
CREATE TABLE connections (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    kind            text NOT NULL,
    definition      jsonb NOT NULL,
    is_active       boolean NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX connections_by_id ON connections (tenant_id, id);
CREATE TABLE sealed_secrets (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    description     text NOT NULL,
    sealed          text NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX sealed_secrets_by_id ON sealed_secrets (tenant_id, id);
-- A plan that is kept must suit every tenant (ADR 011).
ALTER TABLE connections ALTER COLUMN tenant_id SET STATISTICS 0;
ALTER TABLE sealed_secrets ALTER COLUMN tenant_id SET STATISTICS 0;

ALTER TABLE connections ENABLE ROW LEVEL SECURITY;
ALTER TABLE connections FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON connections FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON connections TO core314_service USING (true) WITH CHECK (true);
ALTER TABLE sealed_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE sealed_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sealed_secrets FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON sealed_secrets TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON connections TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON connections, sealed_secrets TO core314_service;
-- Who may see that there is a secret does not see what the vault made of it.
GRANT SELECT (id, tenant_id, user_id, organization_id, name, description, version, created_at_ms, updated_at_ms)
    ON sealed_secrets TO core314_tenant;

CREATE VIEW integrations WITH (security_invoker = true) AS
SELECT
    c.id,
    c.tenant_id,
    c.user_id,
    c.organization_id,
    c.name,
    c.kind,
    c.definition ->> 'endpoint' AS endpoint,
    coalesce(c.definition -> 'credentials', '{}'::jsonb) AS credentials,
    coalesce(c.definition -> 'settings', '{}'::jsonb) AS settings,
    c.is_active,
    c.version,
    to_timestamp(c.created_at_ms / 1000.0) AS created_at,
    to_timestamp(c.updated_at_ms / 1000.0) AS updated_at,
    c.tenant_id AS tenant_key,
    c.id AS row_key
FROM connections c;

CREATE VIEW secrets WITH (security_invoker = true) AS
SELECT
    s.id,
    s.tenant_id,
    s.user_id,
    s.organization_id,
    s.name,
    s.description,
    s.version,
    to_timestamp(s.created_at_ms / 1000.0) AS created_at,
    to_timestamp(s.updated_at_ms / 1000.0) AS updated_at,
    s.tenant_id AS tenant_key,
    s.id AS row_key
FROM sealed_secrets s;
GRANT SELECT ON integrations, secrets TO core314_tenant, core314_service;
