-- Why: a new version of a flow can be given to a share of its runs first, and goes back by itself where it fails more often.

CREATE TABLE flow_rollouts (
    id                blob PRIMARY KEY,
    tenant_id         blob NOT NULL,
    user_id           blob NOT NULL,
    organization_id   blob,
    flow_id           blob NOT NULL,
    candidate_version integer NOT NULL,
    base_version      integer NOT NULL,
    terms             text NOT NULL,
    status            text NOT NULL,
    reason            text,
    started_at_ms     integer NOT NULL,
    ended_at_ms       integer
);
-- One at a time for each flow; the flow's newest is the one that is shown.
CREATE UNIQUE INDEX flow_rollouts_running ON flow_rollouts (flow_id) WHERE status = 'running';
CREATE INDEX flow_rollouts_by_flow ON flow_rollouts (flow_id, id);

-- Added to in the commit that ends a run, while the roll-out lasts; a row per partition, so that no two nodes write one.
CREATE TABLE flow_rollout_counters (
    rollout_id   blob NOT NULL,
    flow_version integer NOT NULL,
    partition    integer NOT NULL,
    tenant_id    blob NOT NULL,
    runs         integer NOT NULL,
    failed       integer NOT NULL,
    PRIMARY KEY (rollout_id, flow_version, partition)
);
