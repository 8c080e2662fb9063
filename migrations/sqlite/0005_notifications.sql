-- Why: people are told things inside the product, too. Each notification lies in the inbox of one user until it is archived.
CREATE TABLE notices (
    id                 blob PRIMARY KEY,
    tenant_id          blob NOT NULL,
    user_id            blob NOT NULL,
    organization_id    blob,
    rule_id            blob,
    execution_queue_id blob,
    type               text NOT NULL,
    title              text NOT NULL,
    message            text NOT NULL,
    severity           text NOT NULL,
    status             text NOT NULL,
    action_url         text,
    metadata           text NOT NULL,
    created_at_ms      integer NOT NULL,
    updated_at_ms      integer NOT NULL,
    read_at_ms         integer,
    archived_at_ms     integer
);
CREATE INDEX notices_by_user ON notices (tenant_id, user_id, id);
CREATE INDEX notices_unread ON notices (tenant_id, user_id, id) WHERE status = 'unread';
-- A repeated attempt finds what an earlier one has delivered.
CREATE UNIQUE INDEX notices_by_execution ON notices (execution_queue_id) WHERE execution_queue_id IS NOT NULL;

CREATE VIEW notifications AS
SELECT
    lower(hex(substr(n.id,1,4))||'-'||hex(substr(n.id,5,2))||'-'||hex(substr(n.id,7,2))||'-'||hex(substr(n.id,9,2))||'-'||hex(substr(n.id,11))) AS id,
    lower(hex(substr(n.tenant_id,1,4))||'-'||hex(substr(n.tenant_id,5,2))||'-'||hex(substr(n.tenant_id,7,2))||'-'||hex(substr(n.tenant_id,9,2))||'-'||hex(substr(n.tenant_id,11))) AS tenant_id,
    lower(hex(substr(n.user_id,1,4))||'-'||hex(substr(n.user_id,5,2))||'-'||hex(substr(n.user_id,7,2))||'-'||hex(substr(n.user_id,9,2))||'-'||hex(substr(n.user_id,11))) AS user_id,
    nullif(lower(hex(substr(n.organization_id,1,4))||'-'||hex(substr(n.organization_id,5,2))||'-'||hex(substr(n.organization_id,7,2))||'-'||hex(substr(n.organization_id,9,2))||'-'||hex(substr(n.organization_id,11))), '----') AS organization_id,
    nullif(lower(hex(substr(n.rule_id,1,4))||'-'||hex(substr(n.rule_id,5,2))||'-'||hex(substr(n.rule_id,7,2))||'-'||hex(substr(n.rule_id,9,2))||'-'||hex(substr(n.rule_id,11))), '----') AS rule_id,
    nullif(lower(hex(substr(n.execution_queue_id,1,4))||'-'||hex(substr(n.execution_queue_id,5,2))||'-'||hex(substr(n.execution_queue_id,7,2))||'-'||hex(substr(n.execution_queue_id,9,2))||'-'||hex(substr(n.execution_queue_id,11))), '----') AS execution_queue_id,
    n.type,
    n.title,
    n.message,
    n.severity,
    n.status,
    n.action_url,
    n.metadata,
    strftime('%Y-%m-%dT%H:%M:%fZ', n.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', n.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', n.read_at_ms / 1000.0, 'unixepoch') AS read_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', n.archived_at_ms / 1000.0, 'unixepoch') AS archived_at,
    n.tenant_id AS tenant_key,
    n.id AS row_key
FROM notices n;
