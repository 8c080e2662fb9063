-- Why: webhooks verify signatures, rotate their secrets, name deliveries and answer; deliveries that start nothing are kept.
--
-- `secrets` is a list, the newest first: {"sha256": HEX} or {"sealed": TEXT}, and "ends_at_ms" once a rotation replaced it.
ALTER TABLE webhooks ADD COLUMN options text NOT NULL DEFAULT '{}';
ALTER TABLE webhooks ADD COLUMN secrets text NOT NULL DEFAULT '[]';
ALTER TABLE webhooks ADD COLUMN dedup_key text;
ALTER TABLE webhooks ADD COLUMN respond text;
ALTER TABLE webhooks ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE webhooks ADD COLUMN updated_at_ms integer NOT NULL DEFAULT 0;
UPDATE webhooks SET secrets = json_array(json_object('sha256', lower(hex(secret_hash)))), updated_at_ms = created_at_ms;
ALTER TABLE webhooks DROP COLUMN secret_hash;

-- A delivery that started a run has no row here: its run's row tells of it.
CREATE TABLE deliveries (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    webhook_id      blob NOT NULL,
    status          text NOT NULL,
    is_test         integer NOT NULL,
    delivery_key    text,
    run_id          blob,
    why_not         text NOT NULL,
    error           text,
    request         text NOT NULL,
    body            text,
    is_body_cut     integer NOT NULL,
    received_at_ms  integer NOT NULL
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, id);
-- Only runs that a webhook started are in it. A webhook has one tenant: an index that began with it would be taken for the
-- tenant alone by a plan of a young database, which then reads all that the tenant has.
CREATE INDEX runs_by_webhook ON runs (trigger_source, id) WHERE webhook IS NOT NULL;

CREATE VIEW webhook_endpoints AS
SELECT
    lower(hex(substr(w.id,1,4))||'-'||hex(substr(w.id,5,2))||'-'||hex(substr(w.id,7,2))||'-'||hex(substr(w.id,9,2))||'-'||hex(substr(w.id,11))) AS id,
    lower(hex(substr(w.tenant_id,1,4))||'-'||hex(substr(w.tenant_id,5,2))||'-'||hex(substr(w.tenant_id,7,2))||'-'||hex(substr(w.tenant_id,9,2))||'-'||hex(substr(w.tenant_id,11))) AS tenant_id,
    lower(hex(substr(w.user_id,1,4))||'-'||hex(substr(w.user_id,5,2))||'-'||hex(substr(w.user_id,7,2))||'-'||hex(substr(w.user_id,9,2))||'-'||hex(substr(w.user_id,11))) AS user_id,
    nullif(lower(hex(substr(w.organization_id,1,4))||'-'||hex(substr(w.organization_id,5,2))||'-'||hex(substr(w.organization_id,7,2))||'-'||hex(substr(w.organization_id,9,2))||'-'||hex(substr(w.organization_id,11))), '----') AS organization_id,
    w.name,
    w.verification,
    w.options,
    w.trigger_type,
    nullif(lower(hex(substr(w.flow_id,1,4))||'-'||hex(substr(w.flow_id,5,2))||'-'||hex(substr(w.flow_id,7,2))||'-'||hex(substr(w.flow_id,9,2))||'-'||hex(substr(w.flow_id,11))), '----') AS flow_id,
    w.dedup_key,
    w.respond,
    w.is_active,
    '/hooks/' || lower(hex(substr(w.id,1,4))||'-'||hex(substr(w.id,5,2))||'-'||hex(substr(w.id,7,2))||'-'||hex(substr(w.id,9,2))||'-'||hex(substr(w.id,11)))
        || CASE WHEN w.verification = 'url_secret' THEN '/***' ELSE '' END AS path,
    w.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', w.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', w.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    w.tenant_id AS tenant_key,
    w.id AS row_key
FROM webhooks w;

CREATE VIEW webhook_deliveries AS
SELECT
    lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11))) AS id,
    lower(hex(substr(r.tenant_id,1,4))||'-'||hex(substr(r.tenant_id,5,2))||'-'||hex(substr(r.tenant_id,7,2))||'-'||hex(substr(r.tenant_id,9,2))||'-'||hex(substr(r.tenant_id,11))) AS tenant_id,
    lower(hex(substr(r.user_id,1,4))||'-'||hex(substr(r.user_id,5,2))||'-'||hex(substr(r.user_id,7,2))||'-'||hex(substr(r.user_id,9,2))||'-'||hex(substr(r.user_id,11))) AS user_id,
    nullif(lower(hex(substr(r.organization_id,1,4))||'-'||hex(substr(r.organization_id,5,2))||'-'||hex(substr(r.organization_id,7,2))||'-'||hex(substr(r.organization_id,9,2))||'-'||hex(substr(r.organization_id,11))), '----') AS organization_id,
    substr(r.trigger_source, 9) AS webhook_id,
    'accepted' AS delivery_status,
    coalesce(json_extract(r.webhook, '$.test'), 0) AS is_test,
    r.idempotency_key AS delivery_key,
    json_array(lower(hex(substr(r.id,1,4))||'-'||hex(substr(r.id,5,2))||'-'||hex(substr(r.id,7,2))||'-'||hex(substr(r.id,9,2))||'-'||hex(substr(r.id,11)))) AS run_ids,
    '[]' AS why_not,
    NULL AS error,
    json_extract(r.webhook, '$.headers') AS headers,
    json_extract(r.webhook, '$.query') AS query,
    CASE WHEN length(r.trigger_context) <= 16384 THEN r.trigger_context END AS body,
    length(r.trigger_context) > 16384 AS is_body_cut,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.accepted_at_ms / 1000.0, 'unixepoch') AS received_at,
    r.tenant_id AS tenant_key,
    r.id AS row_key
FROM runs r WHERE r.webhook IS NOT NULL AND r.trigger_source LIKE 'webhook:%'
UNION ALL
SELECT
    lower(hex(substr(d.id,1,4))||'-'||hex(substr(d.id,5,2))||'-'||hex(substr(d.id,7,2))||'-'||hex(substr(d.id,9,2))||'-'||hex(substr(d.id,11))),
    lower(hex(substr(d.tenant_id,1,4))||'-'||hex(substr(d.tenant_id,5,2))||'-'||hex(substr(d.tenant_id,7,2))||'-'||hex(substr(d.tenant_id,9,2))||'-'||hex(substr(d.tenant_id,11))),
    lower(hex(substr(d.user_id,1,4))||'-'||hex(substr(d.user_id,5,2))||'-'||hex(substr(d.user_id,7,2))||'-'||hex(substr(d.user_id,9,2))||'-'||hex(substr(d.user_id,11))),
    nullif(lower(hex(substr(d.organization_id,1,4))||'-'||hex(substr(d.organization_id,5,2))||'-'||hex(substr(d.organization_id,7,2))||'-'||hex(substr(d.organization_id,9,2))||'-'||hex(substr(d.organization_id,11))), '----'),
    lower(hex(substr(d.webhook_id,1,4))||'-'||hex(substr(d.webhook_id,5,2))||'-'||hex(substr(d.webhook_id,7,2))||'-'||hex(substr(d.webhook_id,9,2))||'-'||hex(substr(d.webhook_id,11))),
    d.status,
    d.is_test,
    d.delivery_key,
    CASE WHEN d.run_id IS NULL THEN '[]' ELSE json_array(lower(hex(substr(d.run_id,1,4))||'-'||hex(substr(d.run_id,5,2))||'-'||hex(substr(d.run_id,7,2))||'-'||hex(substr(d.run_id,9,2))||'-'||hex(substr(d.run_id,11)))) END,
    d.why_not,
    d.error,
    json_extract(d.request, '$.headers'),
    json_extract(d.request, '$.query'),
    d.body,
    d.is_body_cut,
    strftime('%Y-%m-%dT%H:%M:%fZ', d.received_at_ms / 1000.0, 'unixepoch'),
    d.tenant_id,
    d.id
FROM deliveries d;
