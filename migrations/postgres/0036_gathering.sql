-- Why: triggers of one key may become one run (limits.debounce, limits.batch).

-- A run that gathers: how many triggers, how many bytes, the number of the last one, and when that came. Null for one that
-- does not, or does not any more.
ALTER TABLE run_limits ADD COLUMN gathered bigint;
ALTER TABLE run_limits ADD COLUMN gathered_bytes bigint;
ALTER TABLE run_limits ADD COLUMN gathered_no bigint;
ALTER TABLE run_limits ADD COLUMN gathered_at_ms bigint;

-- What the triggers after the first have brought. Gone when it has become the run's own trigger.
CREATE TABLE gathered_triggers (
    id        uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    run_id    uuid NOT NULL,
    no        bigint NOT NULL,
    brought   jsonb NOT NULL
);
CREATE INDEX gathered_triggers_by_run ON gathered_triggers (run_id, no);

ALTER TABLE gathered_triggers ALTER COLUMN tenant_id SET STATISTICS 0;
ALTER TABLE gathered_triggers ENABLE ROW LEVEL SECURITY;
ALTER TABLE gathered_triggers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON gathered_triggers FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON gathered_triggers TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON gathered_triggers TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON gathered_triggers TO core314_service;
