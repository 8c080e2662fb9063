-- Why: who is told of something is a person, who is reached in the ways that they have proven to be theirs, when and how
-- they want it.

-- Organizations by the name that people gave them; one row a tenant.
CREATE TABLE firms (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id)
);
CREATE INDEX firms_by_id ON firms (tenant_id, id);

CREATE VIEW organizations WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.name,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM firms t;

-- Who belongs to a tenant, and what they may do there: one row a person and tenant. `user_id` is the person.
CREATE TABLE members (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    email           text NOT NULL,
    name            text NOT NULL,
    role            text NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, user_id),
    UNIQUE (tenant_id, email)
);
CREATE INDEX members_by_id ON members (tenant_id, id);
CREATE INDEX members_by_role ON members (tenant_id, role, user_id);

CREATE VIEW users WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.email,
    t.name,
    t.role,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM members t;

-- How a person is reached. What proves an address is never kept: a code is made again from its number.
CREATE TABLE contacts (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    kind            text NOT NULL,
    address         text NOT NULL,
    integration     text,
    verified_at_ms  bigint,
    code_no         bigint NOT NULL,
    code_sent_at_ms bigint,
    code_tries      bigint NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, user_id, kind, address)
);
CREATE INDEX contacts_by_id ON contacts (tenant_id, id);
CREATE INDEX contacts_by_user ON contacts (tenant_id, user_id, id);

CREATE VIEW contact_methods WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.kind,
    t.address,
    t.integration,
    t.verified_at_ms IS NOT NULL AS verified,
    to_timestamp(t.verified_at_ms / 1000.0) AS verified_at,
    to_timestamp(t.code_sent_at_ms / 1000.0) AS code_sent_at,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM contacts t;

-- How a person wants to be told; one row a person and tenant.
CREATE TABLE habits (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    document        jsonb NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, user_id)
);
CREATE INDEX habits_by_id ON habits (tenant_id, id);
CREATE INDEX habits_by_user ON habits (tenant_id, user_id, id);

CREATE VIEW notification_preferences WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.document ->> 'time_zone' AS time_zone,
    t.document -> 'rules' AS rules,
    t.document -> 'quiet_hours' AS quiet_hours,
    t.document ->> 'goes_through' AS goes_through,
    t.document -> 'digest' AS digest,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM habits t;

DO $$
DECLARE
    name text;
    own text := 'nullif(current_setting(''core314.tenant_id'', true), '''')::uuid';
BEGIN
    FOREACH name IN ARRAY ARRAY['firms', 'members', 'contacts', 'habits'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I FOR SELECT TO core314_tenant '
            'USING (tenant_id = %s)', name, own);
        EXECUTE format('CREATE POLICY service ON %I TO core314_service USING (true) WITH CHECK (true)', name);
        -- A plan that is kept must suit every tenant.
        EXECUTE format('ALTER TABLE %I ALTER COLUMN tenant_id SET STATISTICS 0', name);
        EXECUTE format('GRANT SELECT ON %I TO core314_tenant', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO core314_service', name);
    END LOOP;
END $$;
GRANT SELECT ON organizations, users, contact_methods, notification_preferences TO core314_tenant, core314_service;
