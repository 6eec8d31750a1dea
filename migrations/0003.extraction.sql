-- depends: 0002.projections

-- Ingestions whose extraction is due, kept by the log itself: a row comes and goes with the events that
-- make it so. What follows `size` is about the attempts, which are no matter of the log.
CREATE TABLE backlog (
    stream_id     uuid        PRIMARY KEY,
    subject_id    uuid        NOT NULL,
    position      bigint      NOT NULL,                -- of the event that asks for it
    size          int         NOT NULL,                -- bytes of the conversation
    attempts      int         NOT NULL DEFAULT 0,      -- that failed for reasons of its own
    outages       int         NOT NULL DEFAULT 0,      -- attempts that something else made impossible
    due_at        timestamptz NOT NULL DEFAULT now(),
    failing_since timestamptz,                         -- the first of the outages
    handed_out_at timestamptz,                         -- to a worker
    error         text                                 -- of the last attempt
);
CREATE INDEX backlog_of_subject ON backlog (subject_id, position);

CREATE FUNCTION keep_backlog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.type LIKE 'ingestion.received.%' OR NEW.type LIKE 'ingestion.retried.%'
       OR NEW.type LIKE 'review.requested.%' THEN
        INSERT INTO backlog (stream_id, subject_id, position, size)
        VALUES (NEW.stream_id,
                -- A review changes nothing by itself, so conversations need not wait for it.
                CASE WHEN NEW.type LIKE 'review.%' THEN NEW.stream_id ELSE NEW.subject_id END,
                NEW.position,
                (SELECT length(e.payload) FROM events e WHERE e.stream_id = NEW.stream_id AND e.version = 1));
    ELSIF NEW.type LIKE 'ingestion.extracted.%' OR NEW.type LIKE 'ingestion.failed.%'
       OR NEW.type LIKE 'review.proposed.%' OR NEW.type LIKE 'review.failed.%' THEN
        DELETE FROM backlog WHERE stream_id = NEW.stream_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_backlog AFTER INSERT ON events
    FOR EACH ROW WHEN (NEW.type LIKE 'ingestion.%' OR NEW.type LIKE 'review.%') EXECUTE FUNCTION keep_backlog();

-- A cause is what explanations and reverts ask for.
CREATE INDEX events_of_cause ON events (owner, cause, position);
CREATE INDEX events_of_ingestions ON events (owner, position)
    WHERE type LIKE 'ingestion.%' OR type LIKE 'review.%' OR type LIKE 'project.%';

-- Memories have got traits, which none of those that are there has.
DO $$
DECLARE
    build record;
BEGIN
    FOR build IN SELECT name || '_v' || version AS made FROM projections
                 WHERE name IN ('memories', 'search', 'history') LOOP
        EXECUTE format('ALTER TABLE IF EXISTS %I ADD COLUMN traits jsonb NOT NULL DEFAULT %L', build.made, '{}');
    END LOOP;
END
$$;
