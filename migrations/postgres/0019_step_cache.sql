-- Why: a step may take the result of an earlier run under the same key instead of doing its work again, also after a restart.

-- A result a flow and key; the key covers the step and all that it is configured to do. Rows past their time are not used,
-- and are collected.
CREATE TABLE step_cache (
    tenant_id     uuid NOT NULL,
    flow_id       uuid NOT NULL,
    key           uuid NOT NULL,
    -- The execution that gave the result.
    execution_id  uuid NOT NULL,
    result        jsonb NOT NULL,
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, flow_id, key)
);
CREATE INDEX step_cache_expiry ON step_cache (expires_at_ms);
-- A plan must hold for every tenant (0034).
ALTER TABLE step_cache ALTER COLUMN tenant_id SET STATISTICS 0;
ALTER TABLE step_cache ENABLE ROW LEVEL SECURITY;
ALTER TABLE step_cache FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON step_cache FOR SELECT TO core314_tenant
    USING (tenant_id = nullif(current_setting('core314.tenant_id', true), '')::uuid);
CREATE POLICY service ON step_cache TO core314_service USING (true) WITH CHECK (true);
GRANT SELECT ON step_cache TO core314_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON step_cache TO core314_service;
