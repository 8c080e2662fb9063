-- Why: a message may be for several people, each of whom has an inbox; and somebody's quiet hours hold what can wait.

-- One notification an execution and person.
DROP INDEX notices_by_execution;
CREATE UNIQUE INDEX notices_by_execution ON notices (execution_queue_id, user_id) WHERE execution_queue_id IS NOT NULL;

-- Whether it goes on beyond its inbox by itself: a digest tells of those alone.
ALTER TABLE notices ADD COLUMN is_onward integer NOT NULL DEFAULT 0;

-- Not sent before this time, though it is durable since long before.
ALTER TABLE outbox ADD COLUMN not_before_ms integer;
DROP VIEW notification_outbox;
CREATE VIEW notification_outbox AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(t.escalation_id,1,4))||'-'||hex(substr(t.escalation_id,5,2))||'-'||hex(substr(t.escalation_id,7,2))||'-'||hex(substr(t.escalation_id,9,2))||'-'||hex(substr(t.escalation_id,11))) AS escalation_event_id,
    t.level AS escalation_level,
    t.round,
    t.purpose,
    t.kind,
    t.channel,
    t.target,
    t.payload,
    t.idempotency_key,
    t.status,
    t.is_unknown AS outcome_unknown,
    nullif(lower(hex(substr(t.run_id,1,4))||'-'||hex(substr(t.run_id,5,2))||'-'||hex(substr(t.run_id,7,2))||'-'||hex(substr(t.run_id,9,2))||'-'||hex(substr(t.run_id,11))), '----') AS flow_run_id,
    t.error,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.not_before_ms / 1000.0, 'unixepoch') AS not_before,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.sent_at_ms / 1000.0, 'unixepoch') AS sent_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM outbox t;
