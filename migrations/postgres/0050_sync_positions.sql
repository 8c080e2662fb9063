-- Why: a data_sync goes on where it was when its process died, and the next one begins where the last one ended.

-- A row a sync. Its version moves with each batch, so that of two executions of one sync only the later one goes on.
CREATE TABLE sync_positions (
    tenant_id     uuid NOT NULL,
    name          text NOT NULL,
    version       bigint NOT NULL,
    -- Whose state it is.
    execution_id  uuid NOT NULL,
    -- Where the last whole sync ended; null before the first, and where a sync has no cursor.
    cursor        jsonb,
    -- How far this execution has come: position and counts.
    state         jsonb NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
-- A plan must hold for every tenant (0034).
ALTER TABLE sync_positions ALTER COLUMN tenant_id SET STATISTICS 0;
ALTER TABLE sync_positions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sync_positions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sync_positions FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON sync_positions TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON sync_positions TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON sync_positions TO core314_service;
