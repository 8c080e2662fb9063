-- Why: the narrow tables that the engine writes (ADR 002). The contract's names are views over them (0002).
-- Times are milliseconds since the epoch; the views show timestamps.

CREATE TABLE cluster (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    schema_version  integer NOT NULL,
    -- Persisted formats newer than this are not written, so that two neighbouring releases run side by side.
    minimum_version integer NOT NULL,
    installation_id uuid NOT NULL
);

CREATE TABLE nodes (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    version       text NOT NULL,
    started_at_ms bigint NOT NULL,
    seen_at_ms    bigint NOT NULL
);

CREATE TABLE partition_leases (
    partition   integer PRIMARY KEY,
    node_id     uuid NOT NULL,
    epoch       bigint NOT NULL,
    taken_at_ms bigint NOT NULL,
    -- The position of the partition's log that its statistics cover.
    covered_seq bigint NOT NULL DEFAULT 0
);

-- What a node must hear of another's partition: insert-only, read and removed by the owner.
CREATE TABLE inbox (
    id            uuid PRIMARY KEY,
    partition     integer NOT NULL,
    message       jsonb NOT NULL,
    created_at_ms bigint NOT NULL
);

CREATE TABLE flows (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    flow_name       text NOT NULL,
    flow_version    bigint NOT NULL,
    is_active       boolean NOT NULL,
    is_template     boolean NOT NULL,
    trigger_type    text NOT NULL,
    document        jsonb NOT NULL,
    created_by      uuid NOT NULL,
    updated_by      uuid NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL,
    UNIQUE (tenant_id, flow_name)
);
CREATE INDEX flows_by_id ON flows (tenant_id, id);
CREATE INDEX flows_by_trigger ON flows (tenant_id, trigger_type, id) WHERE is_active;

CREATE TABLE flow_versions (
    flow_id       uuid NOT NULL,
    flow_version  bigint NOT NULL,
    tenant_id     uuid NOT NULL,
    document      jsonb NOT NULL,
    created_by    uuid NOT NULL,
    created_at_ms bigint NOT NULL,
    PRIMARY KEY (flow_id, flow_version)
);

-- A flow's counters, added to in the commit that ends a run; a row per partition, so that no two nodes write one.
CREATE TABLE flow_counters (
    flow_id         uuid NOT NULL,
    partition       integer NOT NULL,
    tenant_id       uuid NOT NULL,
    runs            bigint NOT NULL,
    successful      bigint NOT NULL,
    failed          bigint NOT NULL,
    duration_sum_ms bigint NOT NULL,
    last_at_ms      bigint NOT NULL,
    PRIMARY KEY (flow_id, partition)
);

-- The unchanging part of a run, written once by its accept.
CREATE TABLE runs (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    user_id           uuid NOT NULL,
    organization_id   uuid,
    partition         integer NOT NULL,
    flow_id           uuid NOT NULL,
    flow_version      bigint NOT NULL,
    flow_name         text NOT NULL,
    trigger_type      text NOT NULL,
    trigger_source    text NOT NULL,
    trigger_context   jsonb NOT NULL,
    webhook           jsonb,
    input             jsonb,
    triggered_by      text NOT NULL,
    environment       text NOT NULL,
    decision_event_id uuid,
    recommendation_id uuid,
    parent_run_id     uuid,
    idempotency_key   text,
    accepted_at_ms    bigint NOT NULL,
    deadline_at_ms    bigint
);
CREATE INDEX runs_by_tenant ON runs (tenant_id, id);
CREATE INDEX runs_by_flow ON runs (tenant_id, flow_id, id);

-- The changing part: one row a run, whatever the number of its steps. `state` holds a letter per step and the live ones.
-- The fill factor leaves room for the updates of a batch on the same page (ADR 002).
CREATE TABLE run_state (
    run_id          uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    partition       integer NOT NULL,
    version         bigint NOT NULL,
    run_status      text NOT NULL,
    state           text NOT NULL,
    queue_key       bigint,
    wake_at_ms      bigint,
    started_at_ms   bigint,
    completed_at_ms bigint
) WITH (fillfactor = 45);
CREATE INDEX run_state_queue ON run_state (partition, queue_key, run_id) WHERE queue_key IS NOT NULL;
CREATE INDEX run_state_wake ON run_state (partition, wake_at_ms, run_id) WHERE wake_at_ms IS NOT NULL;
CREATE INDEX run_state_by_status ON run_state (tenant_id, run_status, run_id);

-- Immutable: one row an attempt.
CREATE TABLE log (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    run_id            uuid NOT NULL,
    step_no           integer NOT NULL,
    attempt           integer NOT NULL,
    partition         integer NOT NULL,
    seq               bigint NOT NULL,
    row_hash          bytea NOT NULL,
    action_type       text NOT NULL,
    action_target     text NOT NULL,
    payload           jsonb NOT NULL,
    execution_status  text NOT NULL,
    is_final          boolean NOT NULL,
    success           boolean NOT NULL,
    result            jsonb,
    error             text,
    error_code        text,
    error_details     jsonb,
    started_at_ms     bigint NOT NULL,
    completed_at_ms   bigint NOT NULL,
    duration_ms       bigint,
    queue_wait_ms     bigint NOT NULL,
    http_method       text,
    http_endpoint     text,
    http_status_code  integer,
    http_time_ms      bigint,
    http_request_bytes  bigint,
    http_response_bytes bigint
);
CREATE UNIQUE INDEX log_attempt ON log (run_id, step_no, attempt);
CREATE INDEX log_by_tenant ON log (tenant_id, id);
CREATE INDEX log_failed ON log (tenant_id, id) WHERE NOT success;

CREATE TABLE execution_reviews (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL,
    execution_log_id uuid NOT NULL,
    reviewer         uuid,
    verdict          text,
    notes            text,
    created_at_ms    bigint NOT NULL,
    reviewed_at_ms   bigint
);
CREATE UNIQUE INDEX execution_reviews_by_log ON execution_reviews (execution_log_id);
CREATE INDEX execution_reviews_open ON execution_reviews (tenant_id, id) WHERE reviewed_at_ms IS NULL;

-- Immutable: changes of state that matter.
CREATE TABLE audit (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    user_id           uuid NOT NULL,
    organization_id   uuid,
    partition         integer NOT NULL,
    seq               bigint NOT NULL,
    row_hash          bytea NOT NULL,
    event_type        text NOT NULL,
    actor             text NOT NULL,
    subject_type      text NOT NULL,
    subject_id        uuid,
    decision_event_id uuid,
    summary           text NOT NULL,
    details           jsonb NOT NULL,
    at_ms             bigint NOT NULL
);
CREATE INDEX audit_by_tenant ON audit (tenant_id, id);

-- Immutable: one row a commit that appended to a chain. `heads` is, for each chain, a list of [partition, first number,
-- last number]; the leaves of the Merkle tree are the hashes of these rows in this order.
CREATE TABLE log_checkpoints (
    id            uuid PRIMARY KEY,
    merkle_root   bytea NOT NULL,
    row_count     integer NOT NULL,
    heads         jsonb NOT NULL,
    -- The smallest and the largest id of these rows: where to look for them.
    first_id      uuid NOT NULL,
    last_id       uuid NOT NULL,
    created_at_ms bigint NOT NULL
);

-- Where each chain stands: read by whoever takes a partition over.
CREATE TABLE chain_heads (
    chain     text NOT NULL,
    partition integer NOT NULL,
    seq       bigint NOT NULL,
    hash      bytea NOT NULL,
    -- The last row's id: ids only grow within a chain.
    last_id   uuid NOT NULL,
    PRIMARY KEY (chain, partition)
);

CREATE TABLE approvals (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    run_id          uuid NOT NULL,
    -- Null: the run itself.
    step_no         integer,
    status          text NOT NULL,
    decided_by      uuid,
    notes           text,
    created_at_ms   bigint NOT NULL,
    decided_at_ms   bigint,
    expires_at_ms   bigint
);
CREATE INDEX approvals_by_run ON approvals (run_id, step_no);
CREATE INDEX approvals_pending ON approvals (tenant_id, id) WHERE status = 'pending';

CREATE TABLE idempotency_keys (
    tenant_id     uuid NOT NULL,
    key           text NOT NULL,
    body_hash     bytea NOT NULL,
    answer        jsonb NOT NULL,
    expires_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at_ms);

CREATE TABLE statistics (
    partition       integer NOT NULL,
    tenant_id       uuid NOT NULL,
    action_type     text NOT NULL,
    bucket_width_ms bigint NOT NULL,
    bucket_start_ms bigint NOT NULL,
    executions      bigint NOT NULL,
    successful      bigint NOT NULL,
    failed          bigint NOT NULL,
    attempts        bigint NOT NULL,
    duration_sum_ms bigint NOT NULL,
    sketch          text NOT NULL,
    PRIMARY KEY (tenant_id, bucket_width_ms, bucket_start_ms, action_type, partition)
);

-- Results above the size limit; the log's row then holds {"$blob": id}.
CREATE TABLE blobs (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    run_id        uuid NOT NULL,
    content       bytea NOT NULL,
    created_at_ms bigint NOT NULL
);
CREATE INDEX blobs_by_run ON blobs (run_id);

CREATE TABLE webhooks (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    verification    text NOT NULL,
    secret_hash     bytea NOT NULL,
    trigger_type    text,
    flow_id         uuid,
    is_active       boolean NOT NULL,
    created_at_ms   bigint NOT NULL,
    CHECK ((trigger_type IS NULL) <> (flow_id IS NULL)),
    UNIQUE (tenant_id, name)
);
CREATE INDEX webhooks_by_id ON webhooks (tenant_id, id);

CREATE TABLE service_keys (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    name            text NOT NULL,
    key_hash        bytea NOT NULL UNIQUE,
    scope           text NOT NULL,
    roles           text NOT NULL,
    created_at_ms   bigint NOT NULL,
    expires_at_ms   bigint,
    revoked_at_ms   bigint
);
CREATE INDEX service_keys_by_id ON service_keys (tenant_id, id);

CREATE TABLE dead_letters (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    run_id          uuid,
    actor_path      text NOT NULL,
    message         text NOT NULL,
    failure         text NOT NULL,
    created_at_ms   bigint NOT NULL,
    settled_at_ms   bigint
);
CREATE INDEX dead_letters_by_id ON dead_letters (tenant_id, id);
