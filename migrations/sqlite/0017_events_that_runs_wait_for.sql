-- Why: a run may wait for an event, and neither may miss the other.
--
-- An event of a type that some flow of its tenant waits for (`event_kinds`) is kept for a while, so that a run finds it
-- that begins to wait a moment later. Whoever commits second, the event or the wait, leaves a row in `event_deliveries`;
-- it goes when the run has heard of the event. What a run took, no later wait of that run is told of (`event_takes`).
CREATE TABLE event_kinds (
    tenant_id blob NOT NULL,
    kind      text NOT NULL,
    PRIMARY KEY (tenant_id, kind)
);

CREATE TABLE kept_events (
    id             blob PRIMARY KEY,
    tenant_id      blob NOT NULL,
    kind           text NOT NULL,
    wait_key       text NOT NULL,
    name           text NOT NULL,
    event          text NOT NULL,
    received_at_ms integer NOT NULL
);
CREATE UNIQUE INDEX kept_events_by_name ON kept_events (tenant_id, name);
CREATE INDEX kept_events_by_key ON kept_events (tenant_id, kind, wait_key, id);
CREATE INDEX kept_events_by_age ON kept_events (received_at_ms);

CREATE TABLE event_deliveries (
    tenant_id blob NOT NULL,
    event_id  blob NOT NULL,
    run_id    blob NOT NULL,
    step_no   integer NOT NULL,
    PRIMARY KEY (event_id, run_id, step_no)
);
CREATE INDEX event_deliveries_by_run ON event_deliveries (run_id, step_no);

CREATE TABLE event_takes (
    tenant_id blob NOT NULL,
    run_id    blob NOT NULL,
    event_id  blob NOT NULL,
    PRIMARY KEY (run_id, event_id)
);
