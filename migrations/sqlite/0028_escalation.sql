-- Why: what has failed must reach a person, level by level, whatever dies in between: rules, their events, and what is sent
-- for them are rows, and so is every time at which one of them has something to do.

-- Rules. The document is what people wrote; beside it stands what is asked for and what is counted.
CREATE TABLE rules (
    id                     blob PRIMARY KEY,
    tenant_id              blob NOT NULL,
    user_id                blob NOT NULL,
    organization_id        blob,
    rule_name              text NOT NULL,
    is_active              integer NOT NULL,
    priority               integer NOT NULL,
    document               text NOT NULL,
    version                integer NOT NULL,
    total_escalations      integer NOT NULL,
    successful_resolutions integer NOT NULL,
    failed_resolutions     integer NOT NULL,
    resolution_sum_ms      integer NOT NULL,
    acknowledged           integer NOT NULL,
    acknowledge_sum_ms     integer NOT NULL,
    suppressed             integer NOT NULL,
    breaches               integer NOT NULL,
    last_triggered_at_ms   integer,
    heartbeat_at_ms        integer,
    heartbeat_due_ms       integer,
    created_by             blob NOT NULL,
    updated_by             blob NOT NULL,
    created_at_ms          integer NOT NULL,
    updated_at_ms          integer NOT NULL,
    UNIQUE (tenant_id, rule_name)
);
CREATE INDEX rules_by_id ON rules (tenant_id, id);
CREATE INDEX rules_active ON rules (tenant_id, priority, id) WHERE is_active = 1;
CREATE INDEX rules_by_heartbeat ON rules (heartbeat_due_ms, id) WHERE heartbeat_due_ms IS NOT NULL;

CREATE VIEW escalation_rules AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.rule_name,
    t.document ->> 'rule_description' AS rule_description,
    t.document ->> 'rule_category' AS rule_category,
    t.is_active,
    t.priority,
    nullif(t.document -> 'trigger_conditions', 'null') AS trigger_conditions,
    t.document -> 'applies_to_action_types' AS applies_to_action_types,
    t.document -> 'applies_to_integrations' AS applies_to_integrations,
    t.document -> 'applies_to_flows' AS applies_to_flows,
    t.document -> 'escalation_levels' AS escalation_levels,
    t.document -> 'notification_channels' AS notification_channels,
    t.document ->> 'auto_remediation_enabled' AS auto_remediation_enabled,
    t.document -> 'remediation_actions' AS remediation_actions,
    t.document ->> 'sla_enabled' AS sla_enabled,
    t.document ->> 'sla_response_time_minutes' AS sla_response_time_minutes,
    t.document ->> 'sla_resolution_time_minutes' AS sla_resolution_time_minutes,
    t.document -> 'sla_breach_actions' AS sla_breach_actions,
    t.document ->> 'max_escalations_per_hour' AS max_escalations_per_hour,
    t.document ->> 'max_escalations_per_day' AS max_escalations_per_day,
    t.document ->> 'cooldown_period_minutes' AS cooldown_period_minutes,
    t.total_escalations,
    t.successful_resolutions,
    t.failed_resolutions,
    t.resolution_sum_ms / 60000.0 / nullif(t.successful_resolutions, 0) AS avg_resolution_time_minutes,
    t.acknowledge_sum_ms / 60000.0 / nullif(t.acknowledged, 0) AS avg_acknowledge_time_minutes,
    t.suppressed AS suppressed_count,
    t.breaches AS breach_count,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.last_triggered_at_ms / 1000.0, 'unixepoch') AS last_triggered_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.heartbeat_at_ms / 1000.0, 'unixepoch') AS last_heartbeat_at,
    t.document,
    t.document -> 'tags' AS tags,
    t.document -> 'metadata' AS metadata,
    lower(hex(substr(t.created_by,1,4))||'-'||hex(substr(t.created_by,5,2))||'-'||hex(substr(t.created_by,7,2))||'-'||hex(substr(t.created_by,9,2))||'-'||hex(substr(t.created_by,11))) AS created_by,
    lower(hex(substr(t.updated_by,1,4))||'-'||hex(substr(t.updated_by,5,2))||'-'||hex(substr(t.updated_by,7,2))||'-'||hex(substr(t.updated_by,9,2))||'-'||hex(substr(t.updated_by,11))) AS updated_by,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM rules t;

-- Every version of a rule: a failure can be replayed against the rules of any time. A deleted rule ends with an empty document.
CREATE TABLE rule_versions (
    rule_id   blob NOT NULL,
    version   integer NOT NULL,
    tenant_id blob NOT NULL,
    document  text,
    at_ms     integer NOT NULL,
    PRIMARY KEY (rule_id, version)
);
CREATE INDEX rule_versions_by_tenant ON rule_versions (tenant_id, rule_id, version);

-- Events, those that were held back among them. `state` is the event's state machine; an open event has a time to wake.
-- An open one has its subject twice: a rule has one open event a subject.
CREATE TABLE escalations (
    id                     blob PRIMARY KEY,
    tenant_id              blob NOT NULL,
    user_id                blob NOT NULL,
    organization_id        blob,
    rule_id                blob NOT NULL,
    rule_version           integer NOT NULL,
    execution_id           blob,
    log_id                 blob,
    flow_id                blob,
    run_id                 blob,
    status                 text NOT NULL,
    level                  integer NOT NULL,
    reason                 text NOT NULL,
    subject                text NOT NULL,
    urgency                text NOT NULL,
    count                  integer NOT NULL,
    held_back              integer NOT NULL,
    held_by                text,
    bundled_into           blob,
    state                  text,
    context                text NOT NULL,
    asked                  text NOT NULL,
    conditions_met         text NOT NULL,
    acknowledged_by        blob,
    acknowledged_at_ms     integer,
    resolved_by            blob,
    resolved_at_ms         integer,
    resolution_notes       text,
    remediation_attempted  integer NOT NULL,
    remediation_succeeded  integer,
    response_deadline_ms   integer,
    resolution_deadline_ms integer,
    response_breached      integer NOT NULL,
    resolution_breached    integer NOT NULL,
    tags                   text NOT NULL,
    open_subject           text,
    version                integer NOT NULL,
    wake_at_ms             integer,
    triggered_at_ms        integer NOT NULL,
    created_at_ms          integer NOT NULL,
    updated_at_ms          integer NOT NULL
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
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    escalation_id   blob NOT NULL,
    level           integer NOT NULL,
    round           integer NOT NULL,
    purpose         text NOT NULL,
    kind            text NOT NULL,
    channel         text NOT NULL,
    target          text,
    payload         text NOT NULL,
    idempotency_key text NOT NULL,
    status          text NOT NULL,
    is_unknown      integer NOT NULL,
    run_id          blob,
    error           text,
    tries           integer NOT NULL,
    sent_at_ms      integer,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (idempotency_key)
);
CREATE INDEX outbox_by_id ON outbox (tenant_id, id);
CREATE INDEX outbox_by_escalation ON outbox (escalation_id, id);

CREATE VIEW escalation_events AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(t.rule_id,1,4))||'-'||hex(substr(t.rule_id,5,2))||'-'||hex(substr(t.rule_id,7,2))||'-'||hex(substr(t.rule_id,9,2))||'-'||hex(substr(t.rule_id,11))) AS escalation_rule_id,
    t.rule_version,
    nullif(lower(hex(substr(t.execution_id,1,4))||'-'||hex(substr(t.execution_id,5,2))||'-'||hex(substr(t.execution_id,7,2))||'-'||hex(substr(t.execution_id,9,2))||'-'||hex(substr(t.execution_id,11))), '----') AS execution_queue_id,
    nullif(lower(hex(substr(t.log_id,1,4))||'-'||hex(substr(t.log_id,5,2))||'-'||hex(substr(t.log_id,7,2))||'-'||hex(substr(t.log_id,9,2))||'-'||hex(substr(t.log_id,11))), '----') AS execution_log_id,
    nullif(lower(hex(substr(t.flow_id,1,4))||'-'||hex(substr(t.flow_id,5,2))||'-'||hex(substr(t.flow_id,7,2))||'-'||hex(substr(t.flow_id,9,2))||'-'||hex(substr(t.flow_id,11))), '----') AS orchestration_flow_id,
    nullif(lower(hex(substr(t.run_id,1,4))||'-'||hex(substr(t.run_id,5,2))||'-'||hex(substr(t.run_id,7,2))||'-'||hex(substr(t.run_id,9,2))||'-'||hex(substr(t.run_id,11))), '----') AS flow_run_id,
    t.level AS escalation_level,
    t.reason AS escalation_reason,
    t.conditions_met AS trigger_conditions_met,
    t.status,
    t.subject,
    t.urgency,
    t.count AS failure_count,
    t.held_back AS held_back_count,
    t.held_by AS held_back_by,
    nullif(lower(hex(substr(t.bundled_into,1,4))||'-'||hex(substr(t.bundled_into,5,2))||'-'||hex(substr(t.bundled_into,7,2))||'-'||hex(substr(t.bundled_into,9,2))||'-'||hex(substr(t.bundled_into,11))), '----') AS bundled_into,
    nullif(lower(hex(substr(t.acknowledged_by,1,4))||'-'||hex(substr(t.acknowledged_by,5,2))||'-'||hex(substr(t.acknowledged_by,7,2))||'-'||hex(substr(t.acknowledged_by,9,2))||'-'||hex(substr(t.acknowledged_by,11))), '----') AS acknowledged_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.acknowledged_at_ms / 1000.0, 'unixepoch') AS acknowledged_at,
    nullif(lower(hex(substr(t.resolved_by,1,4))||'-'||hex(substr(t.resolved_by,5,2))||'-'||hex(substr(t.resolved_by,7,2))||'-'||hex(substr(t.resolved_by,9,2))||'-'||hex(substr(t.resolved_by,11))), '----') AS resolved_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.resolved_at_ms / 1000.0, 'unixepoch') AS resolved_at,
    t.resolution_notes,
    (SELECT json_group_array(json_object('action', done.channel, 'target', done.target, 'level', done.level, 'purpose', done.purpose, 'status', done.status, 'flow_run_id', nullif(lower(hex(substr(done.run_id,1,4))||'-'||hex(substr(done.run_id,5,2))||'-'||hex(substr(done.run_id,7,2))||'-'||hex(substr(done.run_id,9,2))||'-'||hex(substr(done.run_id,11))), '----'), 'error', done.error)) FROM (SELECT * FROM outbox WHERE escalation_id = t.id AND kind = 'act' ORDER BY id) done) AS actions_performed,
    (SELECT json_group_array(json_object('channel', done.channel, 'target', done.target, 'level', done.level, 'round', done.round, 'purpose', done.purpose, 'status', done.status, 'flow_run_id', nullif(lower(hex(substr(done.run_id,1,4))||'-'||hex(substr(done.run_id,5,2))||'-'||hex(substr(done.run_id,7,2))||'-'||hex(substr(done.run_id,9,2))||'-'||hex(substr(done.run_id,11))), '----'), 'error', done.error)) FROM (SELECT * FROM outbox WHERE escalation_id = t.id AND kind = 'notify' ORDER BY id) done) AS notifications_sent,
    t.remediation_attempted,
    t.remediation_succeeded AS remediation_successful,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.response_deadline_ms / 1000.0, 'unixepoch') AS sla_response_deadline,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.resolution_deadline_ms / 1000.0, 'unixepoch') AS sla_resolution_deadline,
    t.response_breached AS sla_response_breached,
    t.resolution_breached AS sla_resolution_breached,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.triggered_at_ms / 1000.0, 'unixepoch') AS triggered_at,
    (t.resolved_at_ms - t.triggered_at_ms) / 60000.0 AS resolution_duration_minutes,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.wake_at_ms / 1000.0, 'unixepoch') AS next_wake_at,
    t.context AS context_data,
    t.tags AS tags,
    t.asked AS metadata,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM escalations t;

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
    strftime('%Y-%m-%dT%H:%M:%fZ', t.sent_at_ms / 1000.0, 'unixepoch') AS sent_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM outbox t;

-- On-call schedules.
CREATE TABLE rotations (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    document        text NOT NULL,
    version         integer NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX rotations_by_id ON rotations (tenant_id, id);

CREATE VIEW on_call_schedules AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.name,
    t.document ->> 'description' AS description,
    t.document ->> 'time_zone' AS time_zone,
    t.document -> 'layers' AS layers,
    t.version,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM rotations t;

-- Somebody stands in for a while.
CREATE TABLE stand_ins (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    schedule_id     blob NOT NULL,
    on_call_user_id blob NOT NULL,
    reason          text,
    starts_at_ms    integer NOT NULL,
    ends_at_ms      integer NOT NULL,
    created_at_ms   integer NOT NULL
);
CREATE INDEX stand_ins_by_id ON stand_ins (tenant_id, id);
CREATE INDEX stand_ins_by_schedule ON stand_ins (schedule_id, ends_at_ms);

CREATE VIEW on_call_overrides AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    lower(hex(substr(t.schedule_id,1,4))||'-'||hex(substr(t.schedule_id,5,2))||'-'||hex(substr(t.schedule_id,7,2))||'-'||hex(substr(t.schedule_id,9,2))||'-'||hex(substr(t.schedule_id,11))) AS schedule_id,
    lower(hex(substr(t.on_call_user_id,1,4))||'-'||hex(substr(t.on_call_user_id,5,2))||'-'||hex(substr(t.on_call_user_id,7,2))||'-'||hex(substr(t.on_call_user_id,9,2))||'-'||hex(substr(t.on_call_user_id,11))) AS on_call_user_id,
    t.reason,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.starts_at_ms / 1000.0, 'unixepoch') AS starts_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.ends_at_ms / 1000.0, 'unixepoch') AS ends_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM stand_ins t;

-- Silences: times in which nobody is told.
CREATE TABLE quiet_times (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    document        text NOT NULL,
    starts_at_ms    integer NOT NULL,
    ends_at_ms      integer,
    created_at_ms   integer NOT NULL
);
CREATE INDEX quiet_times_by_id ON quiet_times (tenant_id, id);

CREATE VIEW silences AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.name,
    nullif(t.document -> 'matcher', 'null') AS matcher,
    t.document -> 'rules' AS rules,
    t.document ->> 'cron' AS cron,
    t.document ->> 'time_zone' AS time_zone,
    t.document ->> 'duration_minutes' AS duration_minutes,
    t.document ->> 'reason' AS reason,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.starts_at_ms / 1000.0, 'unixepoch') AS starts_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.ends_at_ms / 1000.0, 'unixepoch') AS ends_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM quiet_times t;
