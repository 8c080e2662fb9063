-- Why: several processes share one PostgreSQL, one of which has the partitions; another takes over once its lease has run out.
-- The lease of a partition is that of the node in its row. It is renewed in one row for all of them, which no commit locks.
ALTER TABLE nodes ADD COLUMN environment text NOT NULL DEFAULT '';
-- By the database's clock; null: for as long as the process has the database to itself.
ALTER TABLE nodes ADD COLUMN expires_at_ms bigint;
-- Set by the node itself, or by whoever took over from it: it is never live again.
ALTER TABLE nodes ADD COLUMN left_at_ms bigint;
