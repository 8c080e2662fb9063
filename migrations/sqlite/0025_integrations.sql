-- Why: actions reach services through named integrations, whose credentials are secrets that nobody reads back.
--
-- `definition` holds where the service is and the names of secrets, never a secret; `sealed` is what the vault made of a
-- value (src/vault.rs).
CREATE TABLE connections (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    kind            text NOT NULL,
    definition      text NOT NULL,
    is_active       integer NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX connections_by_id ON connections (tenant_id, id);
CREATE TABLE sealed_secrets (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    description     text NOT NULL,
    sealed          text NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX sealed_secrets_by_id ON sealed_secrets (tenant_id, id);

CREATE VIEW integrations AS
SELECT
    lower(hex(substr(c.id,1,4))||'-'||hex(substr(c.id,5,2))||'-'||hex(substr(c.id,7,2))||'-'||hex(substr(c.id,9,2))||'-'||hex(substr(c.id,11))) AS id,
    lower(hex(substr(c.tenant_id,1,4))||'-'||hex(substr(c.tenant_id,5,2))||'-'||hex(substr(c.tenant_id,7,2))||'-'||hex(substr(c.tenant_id,9,2))||'-'||hex(substr(c.tenant_id,11))) AS tenant_id,
    lower(hex(substr(c.user_id,1,4))||'-'||hex(substr(c.user_id,5,2))||'-'||hex(substr(c.user_id,7,2))||'-'||hex(substr(c.user_id,9,2))||'-'||hex(substr(c.user_id,11))) AS user_id,
    nullif(lower(hex(substr(c.organization_id,1,4))||'-'||hex(substr(c.organization_id,5,2))||'-'||hex(substr(c.organization_id,7,2))||'-'||hex(substr(c.organization_id,9,2))||'-'||hex(substr(c.organization_id,11))), '----') AS organization_id,
    c.name,
    c.kind,
    json_extract(c.definition, '$.endpoint') AS endpoint,
    coalesce(json_extract(c.definition, '$.credentials'), '{}') AS credentials,
    coalesce(json_extract(c.definition, '$.settings'), '{}') AS settings,
    c.is_active,
    c.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    c.tenant_id AS tenant_key,
    c.id AS row_key
FROM connections c;

CREATE VIEW secrets AS
SELECT
    lower(hex(substr(s.id,1,4))||'-'||hex(substr(s.id,5,2))||'-'||hex(substr(s.id,7,2))||'-'||hex(substr(s.id,9,2))||'-'||hex(substr(s.id,11))) AS id,
    lower(hex(substr(s.tenant_id,1,4))||'-'||hex(substr(s.tenant_id,5,2))||'-'||hex(substr(s.tenant_id,7,2))||'-'||hex(substr(s.tenant_id,9,2))||'-'||hex(substr(s.tenant_id,11))) AS tenant_id,
    lower(hex(substr(s.user_id,1,4))||'-'||hex(substr(s.user_id,5,2))||'-'||hex(substr(s.user_id,7,2))||'-'||hex(substr(s.user_id,9,2))||'-'||hex(substr(s.user_id,11))) AS user_id,
    nullif(lower(hex(substr(s.organization_id,1,4))||'-'||hex(substr(s.organization_id,5,2))||'-'||hex(substr(s.organization_id,7,2))||'-'||hex(substr(s.organization_id,9,2))||'-'||hex(substr(s.organization_id,11))), '----') AS organization_id,
    s.name,
    s.description,
    s.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    s.tenant_id AS tenant_key,
    s.id AS row_key
FROM sealed_secrets s;
