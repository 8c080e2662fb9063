-- Why: triggers of one key may become one run (limits.debounce, limits.batch).

-- A run that gathers: how many triggers, how many bytes, the number of the last one, and when that came. Null for one that
-- does not, or does not any more.
ALTER TABLE run_limits ADD COLUMN gathered integer;
ALTER TABLE run_limits ADD COLUMN gathered_bytes integer;
ALTER TABLE run_limits ADD COLUMN gathered_no integer;
ALTER TABLE run_limits ADD COLUMN gathered_at_ms integer;

-- What the triggers after the first have brought. Gone when it has become the run's own trigger.
CREATE TABLE gathered_triggers (
    id        blob PRIMARY KEY,
    tenant_id blob NOT NULL,
    run_id    blob NOT NULL,
    no        integer NOT NULL,
    brought   text NOT NULL
);
CREATE INDEX gathered_triggers_by_run ON gathered_triggers (run_id, no);
