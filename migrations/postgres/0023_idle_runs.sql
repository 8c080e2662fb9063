-- Why: runs that neither stand in a queue nor wait for a time are looked at all the time, to see that each names what it waits
-- for. The index holds these alone: a run that goes from step to step to its end is never in it.
CREATE INDEX run_state_idle ON run_state (run_id)
    WHERE queue_key IS NULL AND wake_at_ms IS NULL AND completed_at_ms IS NULL;
