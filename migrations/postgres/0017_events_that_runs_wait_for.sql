-- Why: a run may wait for an event, and neither may miss the other.
--
-- An event of a type that some flow of its tenant waits for (`event_kinds`) is kept for a while, so that a run finds it
-- that begins to wait a moment later. Whoever commits second, the event or the wait, leaves a row in `event_deliveries`;
-- it goes when the run has heard of the event. What a run took, no later wait of that run is told of (`event_takes`).
CREATE TABLE event_kinds (
    tenant_id uuid NOT NULL,
    kind      text NOT NULL,
    PRIMARY KEY (tenant_id, kind)
);

CREATE TABLE kept_events (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL,
    kind           text NOT NULL,
    wait_key       text NOT NULL,
    name           text NOT NULL,
    event          jsonb NOT NULL,
    received_at_ms bigint NOT NULL
);
CREATE UNIQUE INDEX kept_events_by_name ON kept_events (tenant_id, name);
CREATE INDEX kept_events_by_key ON kept_events (tenant_id, kind, wait_key, id);
CREATE INDEX kept_events_by_age ON kept_events (received_at_ms);

CREATE TABLE event_deliveries (
    tenant_id uuid NOT NULL,
    event_id  uuid NOT NULL,
    run_id    uuid NOT NULL,
    step_no   integer NOT NULL,
    PRIMARY KEY (event_id, run_id, step_no)
);
CREATE INDEX event_deliveries_by_run ON event_deliveries (run_id, step_no);

CREATE TABLE event_takes (
    tenant_id uuid NOT NULL,
    run_id    uuid NOT NULL,
    event_id  uuid NOT NULL,
    PRIMARY KEY (run_id, event_id)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['event_kinds', 'kept_events', 'event_deliveries', 'event_takes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I FOR SELECT TO core314_tenant '
            'USING (tenant_id = nullif(current_setting(''core314.tenant_id'', true), '''')::uuid)', name);
        EXECUTE format('CREATE POLICY service ON %I TO core314_service USING (true) WITH CHECK (true)', name);
        EXECUTE format('ALTER TABLE %I ALTER COLUMN tenant_id SET STATISTICS 0', name);
        EXECUTE format('GRANT SELECT ON %I TO core314_tenant', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO core314_service', name);
    END LOOP;
END
$$;
