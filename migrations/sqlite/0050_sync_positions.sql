-- Why: a data_sync goes on where it was when its process died, and the next one begins where the last one ended.

-- A row a sync. Its version moves with each batch, so that of two executions of one sync only the later one goes on.
CREATE TABLE sync_positions (
    tenant_id     blob NOT NULL,
    name          text NOT NULL,
    version       integer NOT NULL,
    -- Whose state it is.
    execution_id  blob NOT NULL,
    -- Where the last whole sync ended; null before the first, and where a sync has no cursor.
    cursor        text,
    -- How far this execution has come: position and counts.
    state         text NOT NULL,
    created_at_ms integer NOT NULL,
    updated_at_ms integer NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
