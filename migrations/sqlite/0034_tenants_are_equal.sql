-- Why: on PostgreSQL plans must not depend on how many rows a tenant has. SQLite's follow the indexes without statistics,
-- which this program never collects: there is nothing to change.
SELECT 1;
