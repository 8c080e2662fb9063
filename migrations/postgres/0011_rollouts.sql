-- Why: a new version of a flow can be given to a share of its runs first, and goes back by itself where it fails more often.

CREATE TABLE flow_rollouts (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    user_id           uuid NOT NULL,
    organization_id   uuid,
    flow_id           uuid NOT NULL,
    candidate_version bigint NOT NULL,
    base_version      bigint NOT NULL,
    terms             jsonb NOT NULL,
    status            text NOT NULL,
    reason            text,
    started_at_ms     bigint NOT NULL,
    ended_at_ms       bigint
);
-- One at a time for each flow; the flow's newest is the one that is shown.
CREATE UNIQUE INDEX flow_rollouts_running ON flow_rollouts (flow_id) WHERE status = 'running';
CREATE INDEX flow_rollouts_by_flow ON flow_rollouts (flow_id, id);

-- Added to in the commit that ends a run, while the roll-out lasts; a row per partition, so that no two nodes write one.
CREATE TABLE flow_rollout_counters (
    rollout_id   uuid NOT NULL,
    flow_version bigint NOT NULL,
    partition    integer NOT NULL,
    tenant_id    uuid NOT NULL,
    runs         bigint NOT NULL,
    failed       bigint NOT NULL,
    PRIMARY KEY (rollout_id, flow_version, partition)
);

ALTER TABLE flow_rollouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE flow_rollouts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON flow_rollouts FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON flow_rollouts TO core314_service USING (true) WITH CHECK (true);
ALTER TABLE flow_rollout_counters ENABLE ROW LEVEL SECURITY;
ALTER TABLE flow_rollout_counters FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON flow_rollout_counters FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON flow_rollout_counters TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON flow_rollouts, flow_rollout_counters TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON flow_rollouts, flow_rollout_counters TO core314_service;
