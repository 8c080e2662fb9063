-- Why: flows are started by decisions, recommendations, metrics and the ends of other flows, and none of these may be lost.

-- Decisions of engines outside: nothing of them happens before somebody approves.
CREATE TABLE decisions (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL,
    user_id          uuid NOT NULL,
    organization_id  uuid,
    source           text NOT NULL,
    title            text NOT NULL,
    summary          text,
    confidence_score double precision,
    risk_level       text,
    payload          jsonb NOT NULL,
    status           text NOT NULL,
    decided_by       uuid,
    decided_at_ms    bigint,
    notes            text,
    outcome          text,
    executed_at_ms   bigint,
    created_at_ms    bigint NOT NULL,
    updated_at_ms    bigint NOT NULL
);
CREATE INDEX decisions_by_id ON decisions (tenant_id, id);
CREATE INDEX decisions_by_status ON decisions (tenant_id, status, id);

CREATE VIEW decision_events WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.source,
    t.title,
    t.summary,
    t.confidence_score,
    t.risk_level,
    t.payload,
    t.status,
    t.decided_by,
    to_timestamp(t.decided_at_ms / 1000.0) AS decided_at,
    t.notes,
    t.outcome,
    to_timestamp(t.executed_at_ms / 1000.0) AS executed_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM decisions t;

-- Recommendations: an action each, that is performed once somebody accepts it.
CREATE TABLE recommendations (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    user_id           uuid NOT NULL,
    organization_id   uuid,
    decision_event_id uuid,
    title             text NOT NULL,
    action_type       text NOT NULL,
    action_target     text NOT NULL,
    action_payload    jsonb NOT NULL,
    priority          integer NOT NULL,
    status            text NOT NULL,
    decided_by        uuid,
    decided_at_ms     bigint,
    notes             text,
    outcome           text,
    executed_at_ms    bigint,
    created_at_ms     bigint NOT NULL,
    updated_at_ms     bigint NOT NULL
);
CREATE INDEX recommendations_by_id ON recommendations (tenant_id, id);
CREATE INDEX recommendations_by_status ON recommendations (tenant_id, status, id);

CREATE VIEW recommendation_queue WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.decision_event_id,
    t.title,
    t.action_type,
    t.action_target,
    t.action_payload,
    t.priority,
    t.status,
    t.decided_by,
    to_timestamp(t.decided_at_ms / 1000.0) AS decided_at,
    t.notes,
    t.outcome,
    to_timestamp(t.executed_at_ms / 1000.0) AS executed_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    to_timestamp(t.updated_at_ms / 1000.0) AS updated_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM recommendations t;

-- What was tried on what, and how it ended. Only ever added to.
CREATE TABLE memories (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    subject_type    text NOT NULL,
    subject_id      uuid NOT NULL,
    outcome         text NOT NULL,
    features        jsonb NOT NULL,
    success         boolean NOT NULL,
    recorded_at_ms  bigint NOT NULL
);
CREATE INDEX memories_by_id ON memories (tenant_id, id);
CREATE INDEX memories_by_subject ON memories (tenant_id, subject_id, id);

CREATE VIEW memory_snapshots WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.subject_type,
    t.subject_id,
    t.outcome,
    t.features,
    t.success,
    to_timestamp(t.recorded_at_ms / 1000.0) AS recorded_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM memories t;

-- Values of metrics as they came. The id grows with the time of arrival: retention finds the oldest by it.
CREATE TABLE metrics (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    metric_name     text NOT NULL,
    metric_type     text NOT NULL,
    value           double precision NOT NULL,
    labels          jsonb NOT NULL,
    recorded_at_ms  bigint NOT NULL,
    created_at_ms   bigint NOT NULL
);
CREATE INDEX metrics_by_id ON metrics (tenant_id, id);
CREATE INDEX metrics_by_name ON metrics (tenant_id, metric_name, id);

CREATE VIEW metrics_data WITH (security_invoker = true) AS
SELECT
    t.id,
    t.tenant_id,
    t.user_id,
    t.organization_id,
    t.metric_name,
    t.metric_type,
    t.value,
    t.labels,
    to_timestamp(t.recorded_at_ms / 1000.0) AS recorded_at,
    to_timestamp(t.created_at_ms / 1000.0) AS created_at,
    t.tenant_id AS tenant_key,
    t.id AS row_key
FROM metrics t;

-- What has happened and has not yet started what it starts: written in the commit that makes it so, removed afterwards.
CREATE TABLE occurrences (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    kind            text NOT NULL,
    subject_id      uuid NOT NULL,
    context         jsonb NOT NULL,
    triggered_by    text NOT NULL,
    created_at_ms   bigint NOT NULL
);

-- A row stands for as long as a series of a metric exceeds a flow's threshold; `fired_at_ms` once that has started a run.
CREATE TABLE threshold_states (
    tenant_id   uuid NOT NULL,
    flow_id     uuid NOT NULL,
    series      bytea NOT NULL,
    since_ms    bigint NOT NULL,
    fired_at_ms bigint,
    PRIMARY KEY (flow_id, series)
);

DO $$
DECLARE
    name text;
    own text := 'nullif(current_setting(''core314.tenant_id'', true), '''')::uuid';
BEGIN
    FOREACH name IN ARRAY ARRAY['decisions', 'recommendations', 'memories', 'metrics', 'occurrences', 'threshold_states'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I FOR SELECT TO core314_tenant '
            'USING (tenant_id = %s)', name, own);
        EXECUTE format('CREATE POLICY service ON %I TO core314_service USING (true) WITH CHECK (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO core314_tenant', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO core314_service', name);
    END LOOP;
END $$;
GRANT SELECT ON decision_events, recommendation_queue, memory_snapshots, metrics_data TO core314_tenant, core314_service;
