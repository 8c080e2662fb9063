-- Why: some lists walked past rows that nobody had asked for. Each index has only the rows that are looked for by it.

-- What was done to a run and to its executions. That a run was started, which is the entry of every run, costs nothing here.
CREATE INDEX audit_of_subject ON audit (tenant_id, subject_id, id) WHERE event_type <> 'orchestration_started';

-- The slowest attempts of all tenants: those of a second or more.
CREATE INDEX log_slowest ON log (duration_ms, id) WHERE duration_ms >= 1000;

-- The events of a rule that are told of: those that were held back have no state.
CREATE INDEX escalations_told ON escalations (rule_id, triggered_at_ms, id) WHERE state IS NOT NULL;
