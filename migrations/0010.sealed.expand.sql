-- depends: 0009.early_databases.expand

-- What a payload is bound to: 1 its place in the log, 2 all else that stands beside it, too.
ALTER TABLE events ADD COLUMN format smallint NOT NULL DEFAULT 1;
-- sha256(0x00 || digest || position || recorded_at, in microseconds since 1970): a leaf as RFC 9162 has them.
-- null: of an event from before there were leaves
ALTER TABLE events ADD COLUMN leaf bytea;

-- Secrets that stay as they are where the master key, which wraps them, is another one some day.
CREATE TABLE secrets (
    name    text  PRIMARY KEY,
    wrapped bytea NOT NULL
);

-- All events of a commit are recorded at one moment, which is never before that of those above them, whatever
-- the clock does.
CREATE FUNCTION append(
    stream_ids uuid[], versions bigint[], types text[], payloads bytea[], event_ids uuid[], owners text[],
    subject_ids uuid[], actors text[], causes text[], correlations text[], occurred timestamptz[],
    formats smallint[], digests bytea[],
    receipt_owners text[], receipt_actors text[], receipt_keys text[], receipt_fingerprints bytea[],
    receipt_results jsonb[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head     bigint;
    link     bytea;
    links    bytea[] := '{}';
    digest   bytea;
    recorded timestamptz;
    moment   bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '.events', 0));
    SELECT e.position, e.link, e.recorded_at INTO head, link, recorded
    FROM events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    link := coalesce(link, '\x');
    recorded := greatest(recorded, clock_timestamp());
    moment := int8send((extract(epoch FROM recorded) * 1000000)::bigint);
    FOREACH digest IN ARRAY digests LOOP
        link := sha256(link || digest);
        links := links || link;
    END LOOP;
    INSERT INTO events (position, stream_id, version, type, payload, event_id, owner, subject_id, actor, cause,
                        correlation, occurred_at, recorded_at, format, link, leaf)
    SELECT head + n, s, v, t, p, i, o, u, a, c, r, w, recorded, f, l,
           sha256('\x00'::bytea || d || int8send(head + n) || moment)
    FROM unnest(stream_ids, versions, types, payloads, event_ids, owners, subject_ids, actors, causes,
                correlations, occurred, formats, links, digests)
         WITH ORDINALITY AS e(s, v, t, p, i, o, u, a, c, r, w, f, l, d, n);
    INSERT INTO receipts (owner, actor, key, fingerprint, results)
    SELECT * FROM unnest(receipt_owners, receipt_actors, receipt_keys, receipt_fingerprints, receipt_results);
    IF cardinality(digests) > 0 THEN
        PERFORM pg_notify(current_schema() || '_log', (head + cardinality(digests))::text);
    END IF;
    RETURN head + 1;
END
$$;

-- As programs of the release before call it.
CREATE OR REPLACE FUNCTION append(
    stream_ids uuid[], versions bigint[], types text[], payloads bytea[], event_ids uuid[], owners text[],
    subject_ids uuid[], actors text[], causes text[], correlations text[], occurred timestamptz[],
    digests bytea[],
    receipt_owners text[], receipt_actors text[], receipt_keys text[], receipt_fingerprints bytea[],
    receipt_results jsonb[]
) RETURNS bigint LANGUAGE sql AS $$
    SELECT append(stream_ids, versions, types, payloads, event_ids, owners, subject_ids, actors, causes,
                  correlations, occurred, array_fill(1::smallint, ARRAY[cardinality(digests)]), digests,
                  receipt_owners, receipt_actors, receipt_keys, receipt_fingerprints, receipt_results)
$$;
