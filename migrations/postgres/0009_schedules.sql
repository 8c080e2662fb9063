-- Why: a flow whose trigger is a schedule starts by itself, once for each instant, whatever dies in between.
--
-- One row beside each such flow, written by the commit that saves the flow. A run that the schedule starts and the row's
-- change are one commit, too. `due_at_ms` is empty where nothing is to be done: the schedule has ended or is paused, or
-- its flow is not active. Of the instants that have no run the last one is told, and all are counted by reason.
CREATE TABLE schedules (
    flow_id          uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL,
    user_id          uuid NOT NULL,
    organization_id  uuid,
    version          bigint NOT NULL,
    config           jsonb NOT NULL,
    is_active        boolean NOT NULL,
    next_at_ms       bigint,
    due_at_ms        bigint,
    is_waiting       boolean NOT NULL,
    paused_at_ms     bigint,
    paused_by        text,
    last_instant_ms  bigint,
    last_fired_at_ms bigint,
    last_run_id      uuid,
    fired            bigint NOT NULL,
    missed           bigint NOT NULL,
    overlap          bigint NOT NULL,
    conditions       bigint NOT NULL,
    paused           bigint NOT NULL,
    refused          bigint NOT NULL,
    not_fired_reason text,
    not_fired_at_ms  bigint,
    not_fired_detail text,
    noted_at_ms      bigint,
    updated_at_ms    bigint NOT NULL
);
CREATE INDEX schedules_by_due ON schedules (due_at_ms, flow_id) WHERE due_at_ms IS NOT NULL;

ALTER TABLE schedules ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON schedules FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON schedules TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON schedules TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON schedules TO core314_service;
