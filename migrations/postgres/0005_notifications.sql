-- Why: people are told things inside the product, too. Each notification lies in the inbox of one user until it is archived.
CREATE TABLE notices (
    id                 uuid PRIMARY KEY,
    tenant_id          uuid NOT NULL,
    user_id            uuid NOT NULL,
    organization_id    uuid,
    rule_id            uuid,
    execution_queue_id uuid,
    type               text NOT NULL,
    title              text NOT NULL,
    message            text NOT NULL,
    severity           text NOT NULL,
    status             text NOT NULL,
    action_url         text,
    metadata           jsonb NOT NULL,
    created_at_ms      bigint NOT NULL,
    updated_at_ms      bigint NOT NULL,
    read_at_ms         bigint,
    archived_at_ms     bigint
);
CREATE INDEX notices_by_user ON notices (tenant_id, user_id, id);
CREATE INDEX notices_unread ON notices (tenant_id, user_id, id) WHERE status = 'unread';
-- A repeated attempt finds what an earlier one has delivered.
CREATE UNIQUE INDEX notices_by_execution ON notices (execution_queue_id) WHERE execution_queue_id IS NOT NULL;

CREATE VIEW notifications WITH (security_invoker = true) AS
SELECT
    n.id,
    n.tenant_id,
    n.user_id,
    n.organization_id,
    n.rule_id,
    n.execution_queue_id,
    n.type,
    n.title,
    n.message,
    n.severity,
    n.status,
    n.action_url,
    n.metadata,
    to_timestamp(n.created_at_ms / 1000.0) AS created_at,
    to_timestamp(n.updated_at_ms / 1000.0) AS updated_at,
    to_timestamp(n.read_at_ms / 1000.0) AS read_at,
    to_timestamp(n.archived_at_ms / 1000.0) AS archived_at,
    n.tenant_id AS tenant_key,
    n.id AS row_key
FROM notices n;

-- The same rights as all tenants' tables have (0003).
ALTER TABLE notices ENABLE ROW LEVEL SECURITY;
ALTER TABLE notices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notices FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON notices TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON notices TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON notices TO core314_service;
GRANT SELECT ON notifications TO core314_tenant, core314_service;
