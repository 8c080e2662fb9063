-- Why: archived notifications go when they are old, and are found without reading the others.
CREATE INDEX notices_archived ON notices (archived_at_ms) WHERE archived_at_ms IS NOT NULL;
