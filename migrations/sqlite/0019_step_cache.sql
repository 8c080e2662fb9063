-- Why: a step may take the result of an earlier run under the same key instead of doing its work again, also after a restart.

-- A result a flow and key; the key covers the step and all that it is configured to do. Rows past their time are not used,
-- and are collected.
CREATE TABLE step_cache (
    tenant_id     blob NOT NULL,
    flow_id       blob NOT NULL,
    key           blob NOT NULL,
    -- The execution that gave the result.
    execution_id  blob NOT NULL,
    result        text NOT NULL,
    created_at_ms integer NOT NULL,
    expires_at_ms integer NOT NULL,
    PRIMARY KEY (tenant_id, flow_id, key)
);
CREATE INDEX step_cache_expiry ON step_cache (expires_at_ms);
