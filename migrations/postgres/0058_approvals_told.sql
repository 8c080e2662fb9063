-- Why: whoever may decide is told that a decision is wanted, by the server and by no execution: what brought such a notification is what
-- has happened, and a repetition after a crash finds it by that.
ALTER TABLE notices ADD COLUMN occurrence_id uuid;
CREATE UNIQUE INDEX notices_by_occurrence ON notices (occurrence_id, user_id) WHERE occurrence_id IS NOT NULL;
