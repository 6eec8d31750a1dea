-- depends: 0004.usage

-- The digest that an event's link was made of; null: that of the row as it is. The words of erased memories
-- are taken out of payloads that are linked already, and the chain still follows.
ALTER TABLE events ADD COLUMN digest bytea;

-- Erasures under way, which a crash may have left half done; one that is done has its own digest filled in.
CREATE INDEX events_to_redact ON events (owner, stream_id) WHERE type LIKE 'memory.erased.%' AND digest IS NULL;
CREATE INDEX events_of_erasure ON events (position) WHERE type LIKE 'memory.erased.%';
