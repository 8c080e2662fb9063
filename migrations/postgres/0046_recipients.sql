-- Why: a message may be for several people, each of whom has an inbox; and somebody's quiet hours hold what can wait.

-- One notification an execution and person.
DROP INDEX notices_by_execution;
CREATE UNIQUE INDEX notices_by_execution ON notices (execution_queue_id, user_id) WHERE execution_queue_id IS NOT NULL;

-- Whether it goes on beyond its inbox by itself: a digest tells of those alone.
ALTER TABLE notices ADD COLUMN is_onward boolean NOT NULL DEFAULT false;

-- Not sent before this time, though it is durable since long before.
ALTER TABLE outbox ADD COLUMN not_before_ms bigint;
DROP VIEW notification_outbox;
CREATE VIEW notification_outbox WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.escalation_id AS escalation_event_id,
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
    t.run_id AS flow_run_id,
    t.error,
    to_timestamp(t.not_before_ms / 1000.0) AS not_before,
    to_timestamp(t.sent_at_ms / 1000.0) AS sent_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM outbox t;
GRANT SELECT ON notification_outbox TO core314_tenant, core314_service;
