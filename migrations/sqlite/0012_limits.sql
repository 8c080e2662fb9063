-- Why: runs wait for the limits of their flow, and many runs are told the same as a job.

-- A live run that is subject to limits: whether it has started, and what it asked for. Gone with the run's end.
CREATE TABLE run_limits (
    run_id    BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    partition INTEGER NOT NULL,
    flow_id   BLOB NOT NULL,
    holds     INTEGER NOT NULL,
    since_ms  INTEGER NOT NULL,
    claim     TEXT NOT NULL
);
CREATE INDEX run_limits_by_partition ON run_limits (partition, run_id);

-- A key's rate: when its bucket is full again, in microseconds. One that is full is as good as none, and its row goes.
CREATE TABLE limit_buckets (
    flow_id    BLOB NOT NULL,
    limit_key  TEXT NOT NULL,
    tenant_id  BLOB NOT NULL,
    partition  INTEGER NOT NULL,
    full_at_us INTEGER NOT NULL,
    PRIMARY KEY (flow_id, limit_key)
);
CREATE INDEX limit_buckets_by_partition ON limit_buckets (partition, full_at_us);

-- The same for many runs.
CREATE TABLE bulk_jobs (
    id              BLOB PRIMARY KEY,
    tenant_id       BLOB NOT NULL,
    user_id         BLOB NOT NULL,
    organization_id BLOB,
    status          TEXT NOT NULL,
    plan            TEXT NOT NULL,
    progress        TEXT NOT NULL,
    version         INTEGER NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    updated_at_ms   INTEGER NOT NULL
);
CREATE INDEX bulk_jobs_by_tenant ON bulk_jobs (tenant_id, id);
CREATE INDEX bulk_jobs_unfinished ON bulk_jobs (id) WHERE status = 'running';

-- The runs of a job: what became of each. `outcome` is how the run ended that the job made or took up again.
CREATE TABLE bulk_items (
    job_id     BLOB NOT NULL,
    item_no    INTEGER NOT NULL,
    tenant_id  BLOB NOT NULL,
    run_id     BLOB NOT NULL,
    target_id  BLOB,
    status     TEXT NOT NULL,
    mark       INTEGER NOT NULL,
    outcome    TEXT,
    error      TEXT,
    PRIMARY KEY (job_id, item_no)
);
CREATE INDEX bulk_items_pending ON bulk_items (job_id, item_no) WHERE status = 'pending';
CREATE INDEX bulk_items_sending ON bulk_items (job_id, item_no) WHERE status = 'sending';
CREATE INDEX bulk_items_open ON bulk_items (job_id, item_no) WHERE status = 'done' AND outcome IS NULL;
