-- Why: a flow whose trigger is a schedule starts by itself, once for each instant, whatever dies in between.
--
-- One row beside each such flow, written by the commit that saves the flow. A run that the schedule starts and the row's
-- change are one commit, too. `due_at_ms` is empty where nothing is to be done: the schedule has ended or is paused, or
-- its flow is not active. Of the instants that have no run the last one is told, and all are counted by reason.
CREATE TABLE schedules (
    flow_id          blob PRIMARY KEY,
    tenant_id        blob NOT NULL,
    user_id          blob NOT NULL,
    organization_id  blob,
    version          integer NOT NULL,
    config           text NOT NULL,
    is_active        integer NOT NULL,
    next_at_ms       integer,
    due_at_ms        integer,
    is_waiting       integer NOT NULL,
    paused_at_ms     integer,
    paused_by        text,
    last_instant_ms  integer,
    last_fired_at_ms integer,
    last_run_id      blob,
    fired            integer NOT NULL,
    missed           integer NOT NULL,
    overlap          integer NOT NULL,
    conditions       integer NOT NULL,
    paused           integer NOT NULL,
    refused          integer NOT NULL,
    not_fired_reason text,
    not_fired_at_ms  integer,
    not_fired_detail text,
    noted_at_ms      integer,
    updated_at_ms    integer NOT NULL
);
CREATE INDEX schedules_by_due ON schedules (due_at_ms, flow_id) WHERE due_at_ms IS NOT NULL;
