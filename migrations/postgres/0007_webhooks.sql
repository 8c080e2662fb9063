-- Why: webhooks verify signatures, rotate their secrets, name deliveries and answer; deliveries that start nothing are kept.
--
-- `secrets` is a list, the newest first: {"sha256": HEX} or {"sealed": TEXT}, and "ends_at_ms" once a rotation replaced it.
ALTER TABLE webhooks ADD COLUMN options jsonb NOT NULL DEFAULT '{}';
ALTER TABLE webhooks ADD COLUMN secrets jsonb NOT NULL DEFAULT '[]';
ALTER TABLE webhooks ADD COLUMN dedup_key text;
ALTER TABLE webhooks ADD COLUMN respond jsonb;
ALTER TABLE webhooks ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE webhooks ADD COLUMN updated_at_ms bigint NOT NULL DEFAULT 0;
-- The owner is held to row-level security as well; not for this one statement, before anybody else sees the table.
ALTER TABLE webhooks NO FORCE ROW LEVEL SECURITY;
UPDATE webhooks SET secrets = jsonb_build_array(jsonb_build_object('sha256', encode(secret_hash, 'hex'))),
    updated_at_ms = created_at_ms;
ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;
ALTER TABLE webhooks DROP COLUMN secret_hash;

-- A delivery that started a run has no row here: its run's row tells of it.
CREATE TABLE deliveries (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    webhook_id      uuid NOT NULL,
    status          text NOT NULL,
    is_test         boolean NOT NULL,
    delivery_key    text,
    run_id          uuid,
    why_not         jsonb NOT NULL,
    error           text,
    request         jsonb NOT NULL,
    body            jsonb,
    is_body_cut     boolean NOT NULL,
    received_at_ms  bigint NOT NULL
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
-- Only runs that a webhook started are in it. A webhook has one tenant: an index that began with it would be taken for the
-- tenant alone by a plan of a young database, which then reads all that the tenant has.
CREATE INDEX runs_by_webhook ON runs (trigger_source, id) WHERE webhook IS NOT NULL;

ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deliveries FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON deliveries TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON deliveries TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON deliveries TO core314_service;

CREATE VIEW webhook_endpoints WITH (security_invoker = true) AS
SELECT
    w.id,
    w.tenant_id,
    w.user_id,
    w.organization_id,
    w.name,
    w.verification,
    w.options,
    w.trigger_type,
    w.flow_id,
    w.dedup_key,
    w.respond,
    w.is_active,
    '/hooks/' || w.id::text || CASE WHEN w.verification = 'url_secret' THEN '/***' ELSE '' END AS path,
    w.version,
    to_timestamp(w.created_at_ms / 1000.0) AS created_at,
    to_timestamp(w.updated_at_ms / 1000.0) AS updated_at,
    w.tenant_id AS tenant_key,
    w.id AS row_key
FROM webhooks w;

CREATE VIEW webhook_deliveries WITH (security_invoker = true) AS
SELECT
    r.id,
    r.tenant_id,
    r.user_id,
    r.organization_id,
    substr(r.trigger_source, 9)::uuid AS webhook_id,
    'accepted' AS delivery_status,
    coalesce((r.webhook ->> 'test')::boolean, false) AS is_test,
    r.idempotency_key AS delivery_key,
    jsonb_build_array(r.id) AS run_ids,
    '[]'::jsonb AS why_not,
    NULL::text AS error,
    r.webhook -> 'headers' AS headers,
    r.webhook -> 'query' AS query,
    CASE WHEN length(r.trigger_context::text) <= 16384 THEN r.trigger_context END AS body,
    length(r.trigger_context::text) > 16384 AS is_body_cut,
    to_timestamp(r.accepted_at_ms / 1000.0) AS received_at,
    r.tenant_id AS tenant_key,
    r.id AS row_key
FROM runs r WHERE r.webhook IS NOT NULL AND r.trigger_source LIKE 'webhook:%'
UNION ALL
SELECT
    d.id,
    d.tenant_id,
    d.user_id,
    d.organization_id,
    d.webhook_id,
    d.status,
    d.is_test,
    d.delivery_key,
    CASE WHEN d.run_id IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(d.run_id) END,
    d.why_not,
    d.error,
    d.request -> 'headers',
    d.request -> 'query',
    d.body,
    d.is_body_cut,
    to_timestamp(d.received_at_ms / 1000.0),
    d.tenant_id,
    d.id
FROM deliveries d;
GRANT SELECT ON webhook_endpoints, webhook_deliveries TO core314_tenant, core314_service;
