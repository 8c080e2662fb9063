-- Why: who is told of something is a person, who is reached in the ways that they have proven to be theirs, when and how
-- they want it.

-- Organizations by the name that people gave them; one row a tenant.
CREATE TABLE firms (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id)
);
CREATE INDEX firms_by_id ON firms (tenant_id, id);

CREATE VIEW organizations AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.name,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM firms t;

-- Who belongs to a tenant, and what they may do there: one row a person and tenant. `user_id` is the person.
CREATE TABLE members (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    email           text NOT NULL,
    name            text NOT NULL,
    role            text NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, user_id),
    UNIQUE (tenant_id, email)
);
CREATE INDEX members_by_id ON members (tenant_id, id);
CREATE INDEX members_by_role ON members (tenant_id, role, user_id);

CREATE VIEW users AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.email,
    t.name,
    t.role,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM members t;

-- How a person is reached. What proves an address is never kept: a code is made again from its number.
CREATE TABLE contacts (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    kind            text NOT NULL,
    address         text NOT NULL,
    integration     text,
    verified_at_ms  integer,
    code_no         integer NOT NULL,
    code_sent_at_ms integer,
    code_tries      integer NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, user_id, kind, address)
);
CREATE INDEX contacts_by_id ON contacts (tenant_id, id);
CREATE INDEX contacts_by_user ON contacts (tenant_id, user_id, id);

CREATE VIEW contact_methods AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.kind,
    t.address,
    t.integration,
    t.verified_at_ms IS NOT NULL AS verified,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.verified_at_ms / 1000.0, 'unixepoch') AS verified_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.code_sent_at_ms / 1000.0, 'unixepoch') AS code_sent_at,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM contacts t;

-- How a person wants to be told; one row a person and tenant.
CREATE TABLE habits (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    document        text NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, user_id)
);
CREATE INDEX habits_by_id ON habits (tenant_id, id);
CREATE INDEX habits_by_user ON habits (tenant_id, user_id, id);

CREATE VIEW notification_preferences AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.document ->> 'time_zone' AS time_zone,
    t.document -> 'rules' AS rules,
    t.document -> 'quiet_hours' AS quiet_hours,
    t.document ->> 'goes_through' AS goes_through,
    t.document -> 'digest' AS digest,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM habits t;
