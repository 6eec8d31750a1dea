-- depends: 0008.told.expand

-- 0001 and 0003 were changed after they had been applied for the first time: what those databases lack.
CREATE INDEX IF NOT EXISTS events_of_actor ON events (actor, position);
ALTER TABLE backlog ADD COLUMN IF NOT EXISTS failing_since timestamptz;
