-- Why: what has failed must reach a person, level by level, whatever dies in between: rules, their events, and what is sent
-- for them are rows, and so is every time at which one of them has something to do.

-- Rules. The document is what people wrote; beside it stands what is asked for and what is counted.
CREATE TABLE rules (
    id                     uuid PRIMARY KEY,
    tenant_id              uuid NOT NULL,
    user_id                uuid NOT NULL,
    organization_id        uuid,
    rule_name              text NOT NULL,
    is_active              boolean NOT NULL,
    priority               bigint NOT NULL,
    document               jsonb NOT NULL,
    version                bigint NOT NULL,
    total_escalations      bigint NOT NULL,
    successful_resolutions bigint NOT NULL,
    failed_resolutions     bigint NOT NULL,
    resolution_sum_ms      bigint NOT NULL,
    acknowledged           bigint NOT NULL,
    acknowledge_sum_ms     bigint NOT NULL,
    suppressed             bigint NOT NULL,
    breaches               bigint NOT NULL,
    last_triggered_at_ms   bigint,
    heartbeat_at_ms        bigint,
    heartbeat_due_ms       bigint,
    created_by             uuid NOT NULL,
    updated_by             uuid NOT NULL,
    created_at_ms          bigint NOT NULL,
    updated_at_ms          bigint NOT NULL,
    UNIQUE (tenant_id, rule_name)
);
CREATE INDEX rules_by_id ON rules (tenant_id, id);
CREATE INDEX rules_active ON rules (tenant_id, priority, id) WHERE is_active;
CREATE INDEX rules_by_heartbeat ON rules (heartbeat_due_ms, id) WHERE heartbeat_due_ms IS NOT NULL;

CREATE VIEW escalation_rules WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.rule_name,
    t.document ->> 'rule_description' AS rule_description,
    t.document ->> 'rule_category' AS rule_category,
    t.is_active,
    t.priority,
    nullif(t.document -> 'trigger_conditions', 'null'::jsonb) AS trigger_conditions,
    ARRAY(SELECT jsonb_array_elements_text(t.document -> 'applies_to_action_types')) AS applies_to_action_types,
    ARRAY(SELECT jsonb_array_elements_text(t.document -> 'applies_to_integrations')) AS applies_to_integrations,
    ARRAY(SELECT jsonb_array_elements_text(t.document -> 'applies_to_flows')) AS applies_to_flows,
    t.document -> 'escalation_levels' AS escalation_levels,
    t.document -> 'notification_channels' AS notification_channels,
    (t.document ->> 'auto_remediation_enabled')::boolean AS auto_remediation_enabled,
    t.document -> 'remediation_actions' AS remediation_actions,
    (t.document ->> 'sla_enabled')::boolean AS sla_enabled,
    (t.document ->> 'sla_response_time_minutes')::double precision AS sla_response_time_minutes,
    (t.document ->> 'sla_resolution_time_minutes')::double precision AS sla_resolution_time_minutes,
    t.document -> 'sla_breach_actions' AS sla_breach_actions,
    (t.document ->> 'max_escalations_per_hour')::bigint AS max_escalations_per_hour,
    (t.document ->> 'max_escalations_per_day')::bigint AS max_escalations_per_day,
    (t.document ->> 'cooldown_period_minutes')::double precision AS cooldown_period_minutes,
    t.total_escalations,
    t.successful_resolutions,
    t.failed_resolutions,
    t.resolution_sum_ms / 60000.0 / nullif(t.successful_resolutions, 0) AS avg_resolution_time_minutes,
    t.acknowledge_sum_ms / 60000.0 / nullif(t.acknowledged, 0) AS avg_acknowledge_time_minutes,
    t.suppressed AS suppressed_count,
    t.breaches AS breach_count,
    to_timestamp(t.last_triggered_at_ms / 1000.0) AS last_triggered_at,
    to_timestamp(t.heartbeat_at_ms / 1000.0) AS last_heartbeat_at,
    t.document,
    ARRAY(SELECT jsonb_array_elements_text(t.document -> 'tags')) AS tags,
    t.document -> 'metadata' AS metadata,
    t.created_by,
    t.updated_by,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM rules t;

-- Every version of a rule: a failure can be replayed against the rules of any time. A deleted rule ends with an empty document.
CREATE TABLE rule_versions (
    rule_id   uuid NOT NULL,
    version   bigint NOT NULL,
    tenant_id uuid NOT NULL,
    document  jsonb,
    at_ms     bigint NOT NULL,
    PRIMARY KEY (rule_id, version)
);
CREATE INDEX rule_versions_by_tenant ON rule_versions (tenant_id, rule_id, version);

-- Events, those that were held back among them. `state` is the event's state machine; an open event has a time to wake.
-- An open one has its subject twice: a rule has one open event a subject.
CREATE TABLE escalations (
    id                     uuid PRIMARY KEY,
    tenant_id              uuid NOT NULL,
    user_id                uuid NOT NULL,
    organization_id        uuid,
    rule_id                uuid NOT NULL,
    rule_version           bigint NOT NULL,
    execution_id           uuid,
    log_id                 uuid,
    flow_id                uuid,
    run_id                 uuid,
    status                 text NOT NULL,
    level                  bigint NOT NULL,
    reason                 text NOT NULL,
    subject                text NOT NULL,
    urgency                text NOT NULL,
    count                  bigint NOT NULL,
    held_back              bigint NOT NULL,
    held_by                jsonb,
    bundled_into           uuid,
    state                  jsonb,
    context                jsonb NOT NULL,
    asked                  jsonb NOT NULL,
    conditions_met         jsonb NOT NULL,
    acknowledged_by        uuid,
    acknowledged_at_ms     bigint,
    resolved_by            uuid,
    resolved_at_ms         bigint,
    resolution_notes       text,
    remediation_attempted  boolean NOT NULL,
    remediation_succeeded  bigint,
    response_deadline_ms   bigint,
    resolution_deadline_ms bigint,
    response_breached      boolean NOT NULL,
    resolution_breached    boolean NOT NULL,
    tags                   jsonb NOT NULL,
    open_subject           text,
    version                bigint NOT NULL,
    wake_at_ms             bigint,
    triggered_at_ms        bigint NOT NULL,
    created_at_ms          bigint NOT NULL,
    updated_at_ms          bigint NOT NULL
);
CREATE INDEX escalations_by_id ON escalations (tenant_id, id);
CREATE INDEX escalations_by_status ON escalations (tenant_id, status, id);
CREATE INDEX escalations_by_rule ON escalations (tenant_id, rule_id, id);
CREATE UNIQUE INDEX escalations_open ON escalations (rule_id, open_subject);
CREATE INDEX escalations_by_time ON escalations (tenant_id, triggered_at_ms);
CREATE INDEX escalations_recent ON escalations (rule_id, triggered_at_ms);
CREATE INDEX escalations_held ON escalations (rule_id, subject) WHERE status = 'suppressed' AND bundled_into IS NULL;
CREATE INDEX escalations_by_wake ON escalations (wake_at_ms, id) WHERE wake_at_ms IS NOT NULL;

-- What events want done: one row for each event, level, target and channel, under one key, so that it is done once.
CREATE TABLE outbox (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    escalation_id   uuid NOT NULL,
    level           bigint NOT NULL,
    round           bigint NOT NULL,
    purpose         text NOT NULL,
    kind            text NOT NULL,
    channel         text NOT NULL,
    target          text,
    payload         jsonb NOT NULL,
    idempotency_key text NOT NULL,
    status          text NOT NULL,
    is_unknown      boolean NOT NULL,
    run_id          uuid,
    error           text,
    tries           bigint NOT NULL,
    sent_at_ms      bigint,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (idempotency_key)
);
CREATE INDEX outbox_by_id ON outbox (tenant_id, id);
CREATE INDEX outbox_by_escalation ON outbox (escalation_id, id);

CREATE VIEW escalation_events WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.rule_id AS escalation_rule_id,
    t.rule_version,
    t.execution_id AS execution_queue_id,
    t.log_id AS execution_log_id,
    t.flow_id AS orchestration_flow_id,
    t.run_id AS flow_run_id,
    t.level AS escalation_level,
    t.reason AS escalation_reason,
    t.conditions_met AS trigger_conditions_met,
    t.status,
    t.subject,
    t.urgency,
    t.count AS failure_count,
    t.held_back AS held_back_count,
    t.held_by AS held_back_by,
    t.bundled_into,
    t.acknowledged_by,
    to_timestamp(t.acknowledged_at_ms / 1000.0) AS acknowledged_at,
    t.resolved_by,
    to_timestamp(t.resolved_at_ms / 1000.0) AS resolved_at,
    t.resolution_notes,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('action', o.channel, 'target', o.target, 'level', o.level, 'purpose', o.purpose, 'status', o.status, 'flow_run_id', o.run_id, 'error', o.error) ORDER BY o.id), '[]'::jsonb) FROM outbox o WHERE o.escalation_id = t.id AND o.kind = 'act') AS actions_performed,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('channel', o.channel, 'target', o.target, 'level', o.level, 'round', o.round, 'purpose', o.purpose, 'status', o.status, 'flow_run_id', o.run_id, 'error', o.error) ORDER BY o.id), '[]'::jsonb) FROM outbox o WHERE o.escalation_id = t.id AND o.kind = 'notify') AS notifications_sent,
    t.remediation_attempted,
    t.remediation_succeeded = 1 AS remediation_successful,
    to_timestamp(t.response_deadline_ms / 1000.0) AS sla_response_deadline,
    to_timestamp(t.resolution_deadline_ms / 1000.0) AS sla_resolution_deadline,
    t.response_breached AS sla_response_breached,
    t.resolution_breached AS sla_resolution_breached,
    to_timestamp(t.triggered_at_ms / 1000.0) AS triggered_at,
    (t.resolved_at_ms - t.triggered_at_ms) / 60000.0 AS resolution_duration_minutes,
    to_timestamp(t.wake_at_ms / 1000.0) AS next_wake_at,
    t.context AS context_data,
    ARRAY(SELECT jsonb_array_elements_text(t.tags)) AS tags,
    t.asked AS metadata,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM escalations t;

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
    to_timestamp(t.sent_at_ms / 1000.0) AS sent_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM outbox t;

-- On-call schedules.
CREATE TABLE rotations (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    document        jsonb NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX rotations_by_id ON rotations (tenant_id, id);

CREATE VIEW on_call_schedules WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.name,
    t.document ->> 'description' AS description,
    t.document ->> 'time_zone' AS time_zone,
    t.document -> 'layers' AS layers,
    t.version,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM rotations t;

-- Somebody stands in for a while.
CREATE TABLE stand_ins (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    schedule_id     uuid NOT NULL,
    on_call_user_id uuid NOT NULL,
    reason          text,
    starts_at_ms    bigint NOT NULL,
    ends_at_ms      bigint NOT NULL,
    created_at_ms   bigint NOT NULL
);
CREATE INDEX stand_ins_by_id ON stand_ins (tenant_id, id);
CREATE INDEX stand_ins_by_schedule ON stand_ins (schedule_id, ends_at_ms);

CREATE VIEW on_call_overrides WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.schedule_id,
    t.on_call_user_id,
    t.reason,
    to_timestamp(t.starts_at_ms / 1000.0) AS starts_at,
    to_timestamp(t.ends_at_ms / 1000.0) AS ends_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM stand_ins t;

-- Silences: times in which nobody is told.
CREATE TABLE quiet_times (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    document        jsonb NOT NULL,
    starts_at_ms    bigint NOT NULL,
    ends_at_ms      bigint,
    created_at_ms   bigint NOT NULL
);
CREATE INDEX quiet_times_by_id ON quiet_times (tenant_id, id);

CREATE VIEW silences WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.name,
    nullif(t.document -> 'matcher', 'null'::jsonb) AS matcher,
    t.document -> 'rules' AS rules,
    t.document ->> 'cron' AS cron,
    t.document ->> 'time_zone' AS time_zone,
    (t.document ->> 'duration_minutes')::double precision AS duration_minutes,
    t.document ->> 'reason' AS reason,
    to_timestamp(t.starts_at_ms / 1000.0) AS starts_at,
    to_timestamp(t.ends_at_ms / 1000.0) AS ends_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM quiet_times t;

DO $$
DECLARE
    name text;
    own text := 'nullif(current_setting(''core314.tenant_id'', true), '''')::uuid';
BEGIN
    FOREACH name IN ARRAY ARRAY['rules', 'rule_versions', 'escalations', 'outbox', 'rotations', 'stand_ins', 'quiet_times'] LOOP
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
GRANT SELECT ON escalation_rules, escalation_events, notification_outbox, on_call_schedules, on_call_overrides, silences TO core314_tenant, core314_service;
