-- Why: the narrow tables that the engine writes (ADR 002). The contract's names are views over them (0002).
-- Times are milliseconds since the epoch and ids 16 bytes; the views show text. Rowid tables (ADR 002).

CREATE TABLE cluster (
    only_row        integer PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    schema_version  integer NOT NULL,
    -- Persisted formats newer than this are not written, so that two neighbouring releases run side by side.
    minimum_version integer NOT NULL,
    installation_id blob NOT NULL
);

CREATE TABLE nodes (
    id            blob PRIMARY KEY,
    name          text NOT NULL,
    version       text NOT NULL,
    started_at_ms integer NOT NULL,
    seen_at_ms    integer NOT NULL
);

CREATE TABLE partition_leases (
    partition   integer PRIMARY KEY,
    node_id     blob NOT NULL,
    epoch       integer NOT NULL,
    taken_at_ms integer NOT NULL,
    -- The position of the partition's log that its statistics cover.
    covered_seq integer NOT NULL DEFAULT 0
);

-- What a node must hear of another's partition: insert-only, read and removed by the owner.
CREATE TABLE inbox (
    id            blob PRIMARY KEY,
    partition     integer NOT NULL,
    message       text NOT NULL,
    created_at_ms integer NOT NULL
);

CREATE TABLE flows (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    flow_name       text NOT NULL,
    flow_version    integer NOT NULL,
    is_active       integer NOT NULL,
    is_template     integer NOT NULL,
    trigger_type    text NOT NULL,
    document        text NOT NULL,
    created_by      blob NOT NULL,
    updated_by      blob NOT NULL,
    created_at_ms   integer NOT NULL,
    updated_at_ms   integer NOT NULL,
    UNIQUE (tenant_id, flow_name)
);
CREATE INDEX flows_by_id ON flows (tenant_id, id);
CREATE INDEX flows_by_trigger ON flows (tenant_id, trigger_type, id) WHERE is_active = 1;

CREATE TABLE flow_versions (
    flow_id       blob NOT NULL,
    flow_version  integer NOT NULL,
    tenant_id     blob NOT NULL,
    document      text NOT NULL,
    created_by    blob NOT NULL,
    created_at_ms integer NOT NULL,
    PRIMARY KEY (flow_id, flow_version)
);

-- A flow's counters, added to in the commit that ends a run; a row per partition, so that no two nodes write one.
CREATE TABLE flow_counters (
    flow_id         blob NOT NULL,
    partition       integer NOT NULL,
    tenant_id       blob NOT NULL,
    runs            integer NOT NULL,
    successful      integer NOT NULL,
    failed          integer NOT NULL,
    duration_sum_ms integer NOT NULL,
    last_at_ms      integer NOT NULL,
    PRIMARY KEY (flow_id, partition)
);

-- The unchanging part of a run, written once by its accept.
CREATE TABLE runs (
    id                blob PRIMARY KEY,
    tenant_id         blob NOT NULL,
    user_id           blob NOT NULL,
    organization_id   blob,
    partition         integer NOT NULL,
    flow_id           blob NOT NULL,
    flow_version      integer NOT NULL,
    flow_name         text NOT NULL,
    trigger_type      text NOT NULL,
    trigger_source    text NOT NULL,
    trigger_context   text NOT NULL,
    webhook           text,
    input             text,
    triggered_by      text NOT NULL,
    environment       text NOT NULL,
    decision_event_id blob,
    recommendation_id blob,
    parent_run_id     blob,
    idempotency_key   text,
    accepted_at_ms    integer NOT NULL,
    deadline_at_ms    integer
);
CREATE INDEX runs_by_tenant ON runs (tenant_id, id);
CREATE INDEX runs_by_flow ON runs (tenant_id, flow_id, id);

-- The changing part: one row a run, whatever the number of its steps. `state` holds a letter per step and the live ones.
-- The queue's index leaves the partition out: one process holds them all (ADR 002).
CREATE TABLE run_state (
    run_id          blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    partition       integer NOT NULL,
    version         integer NOT NULL,
    run_status      text NOT NULL,
    state           text NOT NULL,
    queue_key       integer,
    wake_at_ms      integer,
    started_at_ms   integer,
    completed_at_ms integer
);
CREATE INDEX run_state_queue ON run_state (queue_key, run_id) WHERE queue_key IS NOT NULL;
CREATE INDEX run_state_wake ON run_state (partition, wake_at_ms, run_id) WHERE wake_at_ms IS NOT NULL;
CREATE INDEX run_state_by_status ON run_state (tenant_id, run_status, run_id);

-- Immutable: one row an attempt.
CREATE TABLE log (
    id                blob PRIMARY KEY,
    tenant_id         blob NOT NULL,
    run_id            blob NOT NULL,
    step_no           integer NOT NULL,
    attempt           integer NOT NULL,
    partition         integer NOT NULL,
    seq               integer NOT NULL,
    row_hash          blob NOT NULL,
    action_type       text NOT NULL,
    action_target     text NOT NULL,
    payload           text NOT NULL,
    execution_status  text NOT NULL,
    is_final          integer NOT NULL,
    success           integer NOT NULL,
    result            text,
    error             text,
    error_code        text,
    error_details     text,
    started_at_ms     integer NOT NULL,
    completed_at_ms   integer NOT NULL,
    duration_ms       integer,
    queue_wait_ms     integer NOT NULL,
    http_method       text,
    http_endpoint     text,
    http_status_code  integer,
    http_time_ms      integer,
    http_request_bytes  integer,
    http_response_bytes integer
);
CREATE UNIQUE INDEX log_attempt ON log (run_id, step_no, attempt);
CREATE INDEX log_by_tenant ON log (tenant_id, id);
CREATE INDEX log_failed ON log (tenant_id, id) WHERE success = 0;

CREATE TABLE execution_reviews (
    id               blob PRIMARY KEY,
    tenant_id        blob NOT NULL,
    execution_log_id blob NOT NULL,
    reviewer         blob,
    verdict          text,
    notes            text,
    created_at_ms    integer NOT NULL,
    reviewed_at_ms   integer
);
CREATE UNIQUE INDEX execution_reviews_by_log ON execution_reviews (execution_log_id);
CREATE INDEX execution_reviews_open ON execution_reviews (tenant_id, id) WHERE reviewed_at_ms IS NULL;

-- Immutable: changes of state that matter.
CREATE TABLE audit (
    id                blob PRIMARY KEY,
    tenant_id         blob NOT NULL,
    user_id           blob NOT NULL,
    organization_id   blob,
    partition         integer NOT NULL,
    seq               integer NOT NULL,
    row_hash          blob NOT NULL,
    event_type        text NOT NULL,
    actor             text NOT NULL,
    subject_type      text NOT NULL,
    subject_id        blob,
    decision_event_id blob,
    summary           text NOT NULL,
    details           text NOT NULL,
    at_ms             integer NOT NULL
);
CREATE INDEX audit_by_tenant ON audit (tenant_id, id);

-- Immutable: one row a commit that appended to a chain. `heads` is, for each chain, a list of [partition, first number,
-- last number]; the leaves of the Merkle tree are the hashes of these rows in this order.
CREATE TABLE log_checkpoints (
    id            blob PRIMARY KEY,
    merkle_root   blob NOT NULL,
    row_count     integer NOT NULL,
    heads         text NOT NULL,
    -- The smallest and the largest id of these rows: where to look for them.
    first_id      blob NOT NULL,
    last_id       blob NOT NULL,
    created_at_ms integer NOT NULL
);

-- Where each chain stands: read by whoever takes a partition over.
CREATE TABLE chain_heads (
    chain     text NOT NULL,
    partition integer NOT NULL,
    seq       integer NOT NULL,
    hash      blob NOT NULL,
    -- The last row's id: ids only grow within a chain.
    last_id   blob NOT NULL,
    PRIMARY KEY (chain, partition)
);

CREATE TABLE approvals (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    run_id          blob NOT NULL,
    -- Null: the run itself.
    step_no         integer,
    status          text NOT NULL,
    decided_by      blob,
    notes           text,
    created_at_ms   integer NOT NULL,
    decided_at_ms   integer,
    expires_at_ms   integer
);
CREATE INDEX approvals_by_run ON approvals (run_id, step_no);
CREATE INDEX approvals_pending ON approvals (tenant_id, id) WHERE status = 'pending';

CREATE TABLE idempotency_keys (
    tenant_id     blob NOT NULL,
    key           text NOT NULL,
    body_hash     blob NOT NULL,
    answer        text NOT NULL,
    expires_at_ms integer NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at_ms);

CREATE TABLE statistics (
    partition       integer NOT NULL,
    tenant_id       blob NOT NULL,
    action_type     text NOT NULL,
    bucket_width_ms integer NOT NULL,
    bucket_start_ms integer NOT NULL,
    executions      integer NOT NULL,
    successful      integer NOT NULL,
    failed          integer NOT NULL,
    attempts        integer NOT NULL,
    duration_sum_ms integer NOT NULL,
    sketch          text NOT NULL,
    PRIMARY KEY (tenant_id, bucket_width_ms, bucket_start_ms, action_type, partition)
);

-- Results above the size limit; the log's row then holds {"$blob": id}.
CREATE TABLE blobs (
    id            blob PRIMARY KEY,
    tenant_id     blob NOT NULL,
    run_id        blob NOT NULL,
    content       blob NOT NULL,
    created_at_ms integer NOT NULL
);
CREATE INDEX blobs_by_run ON blobs (run_id);

CREATE TABLE webhooks (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    verification    text NOT NULL,
    secret_hash     blob NOT NULL,
    trigger_type    text,
    flow_id         blob,
    is_active       integer NOT NULL,
    created_at_ms   integer NOT NULL,
    CHECK ((trigger_type IS NULL) <> (flow_id IS NULL)),
    UNIQUE (tenant_id, name)
);
CREATE INDEX webhooks_by_id ON webhooks (tenant_id, id);

CREATE TABLE service_keys (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    name            text NOT NULL,
    key_hash        blob NOT NULL UNIQUE,
    scope           text NOT NULL,
    roles           text NOT NULL,
    created_at_ms   integer NOT NULL,
    expires_at_ms   integer,
    revoked_at_ms   integer
);
CREATE INDEX service_keys_by_id ON service_keys (tenant_id, id);

CREATE TABLE dead_letters (
    id              blob PRIMARY KEY,
    tenant_id       blob NOT NULL,
    user_id         blob NOT NULL,
    organization_id blob,
    run_id          blob,
    actor_path      text NOT NULL,
    message         text NOT NULL,
    failure         text NOT NULL,
    created_at_ms   integer NOT NULL,
    settled_at_ms   integer
);
CREATE INDEX dead_letters_by_id ON dead_letters (tenant_id, id);
