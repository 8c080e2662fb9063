-- Why: runs wait for the limits of their flow, and many runs are told the same as a job.

-- A live run that is subject to limits: whether it has started, and what it asked for. Gone with the run's end.
CREATE TABLE run_limits (
    run_id    uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    partition bigint NOT NULL,
    flow_id   uuid NOT NULL,
    holds     boolean NOT NULL,
    since_ms  bigint NOT NULL,
    claim     jsonb NOT NULL
);
CREATE INDEX run_limits_by_partition ON run_limits (partition, run_id);

-- A key's rate: when its bucket is full again, in microseconds. One that is full is as good as none, and its row goes.
CREATE TABLE limit_buckets (
    flow_id    uuid NOT NULL,
    limit_key  text NOT NULL,
    tenant_id  uuid NOT NULL,
    partition  bigint NOT NULL,
    full_at_us bigint NOT NULL,
    PRIMARY KEY (flow_id, limit_key)
);
CREATE INDEX limit_buckets_by_partition ON limit_buckets (partition, full_at_us);

-- The same for many runs.
CREATE TABLE bulk_jobs (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    user_id         uuid NOT NULL,
    organization_id uuid,
    status          text NOT NULL,
    plan            jsonb NOT NULL,
    progress        jsonb NOT NULL,
    version         bigint NOT NULL,
    created_at_ms   bigint NOT NULL,
    updated_at_ms   bigint NOT NULL
);
CREATE INDEX bulk_jobs_by_tenant ON bulk_jobs (tenant_id, id);
CREATE INDEX bulk_jobs_unfinished ON bulk_jobs (id) WHERE status = 'running';

-- The runs of a job: what became of each. `outcome` is how the run ended that the job made or took up again.
CREATE TABLE bulk_items (
    job_id     uuid NOT NULL,
    item_no    bigint NOT NULL,
    tenant_id  uuid NOT NULL,
    run_id     uuid NOT NULL,
    target_id  uuid,
    status     text NOT NULL,
    mark       bigint NOT NULL,
    outcome    text,
    error      text,
    PRIMARY KEY (job_id, item_no)
);
CREATE INDEX bulk_items_pending ON bulk_items (job_id, item_no) WHERE status = 'pending';
CREATE INDEX bulk_items_sending ON bulk_items (job_id, item_no) WHERE status = 'sending';
CREATE INDEX bulk_items_open ON bulk_items (job_id, item_no) WHERE status = 'done' AND outcome IS NULL;

ALTER TABLE run_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE run_limits FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON run_limits FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON run_limits TO core314_service USING (true) WITH CHECK (true);
ALTER TABLE limit_buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE limit_buckets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON limit_buckets FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON limit_buckets TO core314_service USING (true) WITH CHECK (true);
ALTER TABLE bulk_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulk_jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bulk_jobs FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON bulk_jobs TO core314_service USING (true) WITH CHECK (true);
ALTER TABLE bulk_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulk_items FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bulk_items FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON bulk_items TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON run_limits, limit_buckets, bulk_jobs, bulk_items TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON run_limits, limit_buckets, bulk_jobs, bulk_items TO core314_service;
