-- Why: flows are started by decisions, recommendations, metrics and the ends of other flows, and none of these may be lost.

-- Decisions of engines outside: nothing of them happens before somebody approves.
CREATE TABLE decisions (
    id               blob PRIMARY KEY,
    tenant_id        blob NOT NULL,
    user_id          blob NOT NULL,
    organization_id  blob,
    source           text NOT NULL,
    title            text NOT NULL,
    summary          text,
    confidence_score real,
    risk_level       text,
    payload          text NOT NULL,
    status           text NOT NULL,
    decided_by       blob,
    decided_at_ms    integer,
    notes            text,
    outcome          text,
    executed_at_ms   integer,
    created_at_ms    integer NOT NULL,
    updated_at_ms    integer NOT NULL
);
CREATE INDEX decisions_by_id ON decisions (tenant_id, id);
CREATE INDEX decisions_by_status ON decisions (tenant_id, status, id);

CREATE VIEW decision_events AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.source,
    t.title,
    t.summary,
    t.confidence_score,
    t.risk_level,
    t.payload,
    t.status,
    nullif(lower(hex(substr(t.decided_by,1,4))||'-'||hex(substr(t.decided_by,5,2))||'-'||hex(substr(t.decided_by,7,2))||'-'||hex(substr(t.decided_by,9,2))||'-'||hex(substr(t.decided_by,11))), '----') AS decided_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.decided_at_ms / 1000.0, 'unixepoch') AS decided_at,
    t.notes,
    t.outcome,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.executed_at_ms / 1000.0, 'unixepoch') AS executed_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM decisions t;

-- Recommendations: an action each, that is performed once somebody accepts it.
CREATE TABLE recommendations (
    id                blob PRIMARY KEY,
    tenant_id         blob NOT NULL,
    user_id           blob NOT NULL,
    organization_id   blob,
    decision_event_id blob,
    title             text NOT NULL,
    action_type       text NOT NULL,
    action_target     text NOT NULL,
    action_payload    text NOT NULL,
    priority          integer NOT NULL,
    status            text NOT NULL,
    decided_by        blob,
    decided_at_ms     integer,
    notes             text,
    outcome           text,
    executed_at_ms    integer,
    created_at_ms     integer NOT NULL,
    updated_at_ms     integer NOT NULL
);
CREATE INDEX recommendations_by_id ON recommendations (tenant_id, id);
CREATE INDEX recommendations_by_status ON recommendations (tenant_id, status, id);

CREATE VIEW recommendation_queue AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    nullif(lower(hex(substr(t.decision_event_id,1,4))||'-'||hex(substr(t.decision_event_id,5,2))||'-'||hex(substr(t.decision_event_id,7,2))||'-'||hex(substr(t.decision_event_id,9,2))||'-'||hex(substr(t.decision_event_id,11))), '----') AS decision_event_id,
    t.title,
    t.action_type,
    t.action_target,
    t.action_payload,
    t.priority,
    t.status,
    nullif(lower(hex(substr(t.decided_by,1,4))||'-'||hex(substr(t.decided_by,5,2))||'-'||hex(substr(t.decided_by,7,2))||'-'||hex(substr(t.decided_by,9,2))||'-'||hex(substr(t.decided_by,11))), '----') AS decided_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.decided_at_ms / 1000.0, 'unixepoch') AS decided_at,
    t.notes,
    t.outcome,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.executed_at_ms / 1000.0, 'unixepoch') AS executed_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.updated_at_ms / 1000.0, 'unixepoch') AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM recommendations t;

-- What was tried on what, and how it ended. Only ever added to.
CREATE TABLE memories (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    subject_type    text NOT NULL,
    subject_id      blob NOT NULL,
    outcome         text NOT NULL,
    features        text NOT NULL,
    success         integer NOT NULL,
    recorded_at_ms  integer NOT NULL
);
CREATE INDEX memories_by_id ON memories (tenant_id, id);
CREATE INDEX memories_by_subject ON memories (tenant_id, subject_id, id);

CREATE VIEW memory_snapshots AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.subject_type,
    lower(hex(substr(t.subject_id,1,4))||'-'||hex(substr(t.subject_id,5,2))||'-'||hex(substr(t.subject_id,7,2))||'-'||hex(substr(t.subject_id,9,2))||'-'||hex(substr(t.subject_id,11))) AS subject_id,
    t.outcome,
    t.features,
    t.success,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.recorded_at_ms / 1000.0, 'unixepoch') AS recorded_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM memories t;

-- Values of metrics as they came. The id grows with the time of arrival: retention finds the oldest by it.
CREATE TABLE metrics (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    metric_name     text NOT NULL,
    metric_type     text NOT NULL,
    value           real NOT NULL,
    labels          text NOT NULL,
    recorded_at_ms  integer NOT NULL,
    created_at_ms   integer NOT NULL
);
CREATE INDEX metrics_by_id ON metrics (tenant_id, id);
CREATE INDEX metrics_by_name ON metrics (tenant_id, metric_name, id);

CREATE VIEW metrics_data AS
SELECT
    lower(hex(substr(t.id,1,4))||'-'||hex(substr(t.id,5,2))||'-'||hex(substr(t.id,7,2))||'-'||hex(substr(t.id,9,2))||'-'||hex(substr(t.id,11))) AS id,
    lower(hex(substr(t.tenant_id,1,4))||'-'||hex(substr(t.tenant_id,5,2))||'-'||hex(substr(t.tenant_id,7,2))||'-'||hex(substr(t.tenant_id,9,2))||'-'||hex(substr(t.tenant_id,11))) AS tenant_id,
    lower(hex(substr(t.user_id,1,4))||'-'||hex(substr(t.user_id,5,2))||'-'||hex(substr(t.user_id,7,2))||'-'||hex(substr(t.user_id,9,2))||'-'||hex(substr(t.user_id,11))) AS user_id,
    nullif(lower(hex(substr(t.organization_id,1,4))||'-'||hex(substr(t.organization_id,5,2))||'-'||hex(substr(t.organization_id,7,2))||'-'||hex(substr(t.organization_id,9,2))||'-'||hex(substr(t.organization_id,11))), '----') AS organization_id,
    t.metric_name,
    t.metric_type,
    t.value,
    t.labels,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.recorded_at_ms / 1000.0, 'unixepoch') AS recorded_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', t.created_at_ms / 1000.0, 'unixepoch') AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM metrics t;

-- What has happened and has not yet started what it starts: written in the commit that makes it so, removed afterwards.
CREATE TABLE occurrences (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    kind            text NOT NULL,
    subject_id      blob NOT NULL,
    context         text NOT NULL,
    triggered_by    text NOT NULL,
    created_at_ms   integer NOT NULL
);

-- A row stands for as long as a series of a metric exceeds a flow's threshold; `fired_at_ms` once that has started a run.
CREATE TABLE threshold_states (
    tenant_id   blob NOT NULL,
    flow_id     blob NOT NULL,
    series      blob NOT NULL,
    since_ms    integer NOT NULL,
    fired_at_ms integer,
    PRIMARY KEY (flow_id, series)
);
