-- The event log of one cell, and what is written in the same transaction as events.

CREATE TABLE events (
    position    bigint      PRIMARY KEY,               -- 1, 2, 3, … without a gap, in commit order
    stream_id   uuid        NOT NULL,
    version     bigint      NOT NULL,
    type        text        NOT NULL,
    payload     bytea       NOT NULL,                  -- encrypted under the subject's key
    event_id    uuid        NOT NULL UNIQUE,
    owner       text        NOT NULL,
    subject_id  uuid,                                  -- null: the payload is in clear
    actor       text        NOT NULL,
    cause       text        NOT NULL,
    correlation text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    link        bytea       NOT NULL,                  -- sha256(previous link || digest of this event)
    UNIQUE (stream_id, version)
);
CREATE INDEX events_of_owner   ON events (owner, position);
CREATE INDEX events_of_subject ON events (subject_id, position);
CREATE INDEX events_of_actor   ON events (actor, position);  -- also tells what a key has written so far
CREATE INDEX events_of_keys    ON events (position) WHERE type LIKE 'key.%';

-- The outcome of each command that came with an Idempotency-Key.
CREATE TABLE receipts (
    owner       text        NOT NULL,
    actor       text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,                  -- sha256 of the request
    results     jsonb       NOT NULL,                  -- [[stream_id, version], …]; the answer is read from the log
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, actor, key)
);
CREATE INDEX receipts_by_age ON receipts (created_at);

-- One key a subject (an owner's user). Destroying it makes all that subject's payloads unreadable.
CREATE TABLE subjects (
    subject_id  uuid        PRIMARY KEY,
    owner       text        NOT NULL,
    name_hash   bytea       NOT NULL,                  -- keyed hash of the user's id
    wrapped_key bytea       NOT NULL,                  -- under the master key
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner, name_hash)
);

-- Appends events and receipts in one transaction and returns the position of the first event.
-- The lock makes commit order the order of positions, so a reader that has seen position n
-- can never be shown one below n later.
CREATE FUNCTION append(
    stream_ids uuid[], versions bigint[], types text[], payloads bytea[], event_ids uuid[], owners text[],
    subject_ids uuid[], actors text[], causes text[], correlations text[], occurred timestamptz[],
    digests bytea[],
    receipt_owners text[], receipt_actors text[], receipt_keys text[], receipt_fingerprints bytea[],
    receipt_results jsonb[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head  bigint;
    link  bytea;
    links bytea[] := '{}';
    digest bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '.events', 0));
    SELECT e.position, e.link INTO head, link FROM events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    link := coalesce(link, '\x');
    FOREACH digest IN ARRAY digests LOOP
        link := sha256(link || digest);
        links := links || link;
    END LOOP;
    INSERT INTO events (position, stream_id, version, type, payload, event_id, owner, subject_id, actor, cause,
                        correlation, occurred_at, link)
    SELECT head + n, s, v, t, p, i, o, u, a, c, r, w, l
    FROM unnest(stream_ids, versions, types, payloads, event_ids, owners, subject_ids, actors, causes,
                correlations, occurred, links) WITH ORDINALITY AS e(s, v, t, p, i, o, u, a, c, r, w, l, n);
    INSERT INTO receipts (owner, actor, key, fingerprint, results)
    SELECT * FROM unnest(receipt_owners, receipt_actors, receipt_keys, receipt_fingerprints, receipt_results);
    IF cardinality(digests) > 0 THEN
        PERFORM pg_notify(current_schema() || '_log', (head + cardinality(digests))::text);
    END IF;
    RETURN head + 1;
END
$$;
