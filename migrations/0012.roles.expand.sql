-- depends: 0010.sealed.expand

-- Who migrates owns the log. Workers own the projections that they make; the API owns nothing and sees the rows
-- of one owner at a time. What both may do with the log beyond reading it are the functions here and `append`,
-- which run with the rights of who owns it.

CREATE FUNCTION log_head() RETURNS bigint STABLE LANGUAGE sql AS $$
    SELECT coalesce(max(position), 0) FROM events
$$;

-- Each read asks how far its key has written. Behind a policy the planner takes the rows of an owner and a key for
-- few, and reads all of them instead of the last.
CREATE FUNCTION last_of_actor(whose text) RETURNS bigint STABLE LANGUAGE sql AS $$
    SELECT coalesce(max(position), 0) FROM events WHERE actor = whose
$$;

-- Keys and shares are for who knows their ids, and say themselves whose they are.
CREATE FUNCTION events_of_whomever(id uuid) RETURNS SETOF events STABLE LANGUAGE sql AS $$
    SELECT * FROM events WHERE stream_id = id AND (type LIKE 'key.%' OR type LIKE 'share.%') ORDER BY version
$$;

-- Erasure: payloads in place of others. What the chain was made of stays.
CREATE FUNCTION redact(of_owner text, positions bigint[], types text[], payloads bytea[], digests bytea[])
RETURNS void LANGUAGE sql AS $$
    UPDATE events AS e SET type = n.type, payload = n.payload, digest = coalesce(e.digest, n.digest)
    FROM unnest(positions, types, payloads, digests) AS n(position, type, payload, digest)
    WHERE e.position = n.position AND e.owner = of_owner
$$;

DO $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT oid::regprocedure AS function FROM pg_proc
                WHERE pronamespace = current_schema()::regnamespace
                  AND proname IN ('append', 'log_head', 'last_of_actor', 'events_of_whomever', 'redact') LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, public, pg_temp',
                       made.function, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', made.function);
    END LOOP;
END
$$;

-- What waits says whose it is: owners take turns, and see their own alone.
ALTER TABLE backlog ADD COLUMN owner text;
UPDATE backlog SET owner = e.owner FROM events e WHERE e.position = backlog.position;
ALTER TABLE backlog ALTER COLUMN owner SET NOT NULL;

CREATE OR REPLACE FUNCTION keep_backlog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.type LIKE 'ingestion.received.%' OR NEW.type LIKE 'ingestion.retried.%'
       OR NEW.type LIKE 'review.requested.%' THEN
        INSERT INTO backlog (stream_id, owner, subject_id, position, size)
        VALUES (NEW.stream_id, NEW.owner,
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

-- Shields a table with a column `owner` from the API, but for the rows of the owner on whose behalf it asks.
CREATE FUNCTION shield(shielded regclass, allowed text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regrole('everlog_api') IS NULL OR (SELECT relrowsecurity FROM pg_class WHERE oid = shielded) THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', shielded);
    -- The subquery is worked out once a statement, not once a row.
    EXECUTE format('CREATE POLICY of_owner ON %s TO everlog_api'
                   ' USING (owner = (SELECT current_setting(''everlog.owner'', true)))', shielded);
    EXECUTE format('CREATE POLICY of_all ON %s TO everlog_worker, everlog_writer USING (true)', shielded);
    EXECUTE format('GRANT %s ON %s TO everlog_api', allowed, shielded);
END
$$;

-- Whether a shield leaves the index of words its use: behind one, only operators that are known to leak nothing
-- may look at rows before their owner is compared.
CREATE FUNCTION words_are_found_behind_shields() RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT bool_and(proleakproof) FROM pg_proc
    WHERE oid IN ('pg_catalog.jsonb_exists(jsonb, text)'::regprocedure,
                  'pg_catalog.jsonb_exists_any(jsonb, text[])'::regprocedure)
$$;

-- Gives the table of a projection to the workers, and shields it. The API erases from builds that nobody follows
-- any more; else it only reads. Nothing of that where the roles were not set up here, though another database of
-- the server may have some.
CREATE FUNCTION shield_projection(made regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = 'events'::regclass) THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %s OWNER TO everlog_worker', made);
    IF words_are_found_behind_shields()
       OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = made AND attname = 'terms') THEN
        PERFORM shield(made, 'SELECT, UPDATE, DELETE');
    ELSE
        EXECUTE format('GRANT SELECT, UPDATE, DELETE ON %s TO everlog_api', made);
    END IF;
END
$$;

-- Makes the roles and gives them what they need, tables of later steps too: `everlog migrate` calls it when all are
-- there. Once is enough, again does no harm. Whoever migrates must have
-- the right to make roles, or be a member of these. Roles belong to all databases of a server.
CREATE FUNCTION set_up_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here text := quote_ident(current_schema());
    -- From PostgreSQL 16 on, who makes a role is a member that may give it away, and yet not take it.
    taking text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
    role text;
    made regclass;
BEGIN
    FOREACH role IN ARRAY ARRAY['everlog_api', 'everlog_writer', 'everlog_worker'] LOOP
        IF to_regrole(role) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOINHERIT', role);
        END IF;
        IF NOT pg_has_role(role, taking) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role);
        END IF;
    END LOOP;
    -- The writer of an API process decides on commands of several owners for one commit.
    IF NOT pg_has_role('everlog_api', 'everlog_writer', 'MEMBER') THEN
        GRANT everlog_writer TO everlog_api;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO everlog_api, everlog_writer, everlog_worker', here);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %s TO everlog_api, everlog_writer, everlog_worker',
                   here);
    EXECUTE format('GRANT CREATE ON SCHEMA %s TO everlog_worker', here);

    -- They look for a text among texts, and say nothing else of either. Only superusers may say so.
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND NOT words_are_found_behind_shields() THEN
        ALTER FUNCTION pg_catalog.jsonb_exists(jsonb, text) LEAKPROOF;
        ALTER FUNCTION pg_catalog.jsonb_exists_any(jsonb, text[]) LEAKPROOF;
    END IF;

    PERFORM shield('events', 'SELECT'), shield('receipts', 'SELECT'), shield('subjects', 'SELECT, INSERT'),
            shield('backlog', 'SELECT'), shield('vectors', 'SELECT, DELETE'),
            shield('key_uses', 'SELECT, INSERT, UPDATE');
    FOR made IN SELECT to_regclass(name || '_v' || version) FROM projections LOOP
        IF made IS NOT NULL THEN
            PERFORM shield_projection(made);
        END IF;
    END LOOP;

    -- A program locks the row of log_format while it starts, which takes the right to update something of it.
    GRANT SELECT, UPDATE (one) ON log_format TO everlog_api, everlog_writer, everlog_worker;
    GRANT SELECT ON _yoyo_migration TO everlog_api, everlog_writer, everlog_worker;
    GRANT SELECT, INSERT ON secrets TO everlog_api, everlog_worker;
    GRANT SELECT ON projections, parked, tiles, checkpoints, log_check TO everlog_api;
    GRANT SELECT, INSERT, UPDATE ON tiles, checkpoints, log_check TO everlog_worker;
    GRANT SELECT, INSERT, UPDATE ON usage TO everlog_api;
    GRANT SELECT ON events, receipts TO everlog_writer, everlog_worker;
    GRANT SELECT, INSERT ON subjects TO everlog_writer, everlog_worker;
    GRANT DELETE ON receipts TO everlog_worker;
    GRANT SELECT, INSERT, UPDATE, DELETE ON projections, parked, backlog, vectors, usage TO everlog_worker;
END
$$;
