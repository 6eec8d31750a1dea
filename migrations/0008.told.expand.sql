-- depends: 0007.log_format.expand

-- Who waits for an ingestion or a review is told, in the commit that ends the waiting.
CREATE OR REPLACE FUNCTION keep_backlog() RETURNS trigger LANGUAGE plpgsql AS $$
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
        PERFORM pg_notify(current_schema() || '_told', 'ingestion ' || NEW.stream_id);
    END IF;
    RETURN NULL;
END
$$;
