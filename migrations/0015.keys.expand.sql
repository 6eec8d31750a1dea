-- depends: 0014.tree.expand

-- When each API key was last used, to the minute. Not in the log: nothing is decided by it.
CREATE TABLE key_uses (
    key_id  uuid        PRIMARY KEY,
    owner   text        NOT NULL,
    used_at timestamptz NOT NULL
);

-- As it was, with `key_uses`. Makes the roles and gives them what they need; once is enough, again does no harm. Whoever migrates must have
-- the right to make roles, or be a member of these. Roles belong to all databases of a server.
CREATE OR REPLACE FUNCTION set_up_roles() RETURNS void LANGUAGE plpgsql AS $$
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
