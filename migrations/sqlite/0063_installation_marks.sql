-- Why: nobody may start on a copy that was not finished, and a restored installation waits for a person.
ALTER TABLE cluster ADD COLUMN unfinished_since_ms integer;
ALTER TABLE cluster ADD COLUMN paused_at_ms integer;
ALTER TABLE cluster ADD COLUMN paused_by text;
