-- Why: SQLite has no policies: there is nothing to change.
SELECT 1;
