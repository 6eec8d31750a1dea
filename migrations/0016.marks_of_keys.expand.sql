-- depends: 0015.keys.expand

-- Tells for any number of guessed keys at once that they are wrong. A mark finds no key: only an id does.
CREATE FUNCTION marks_of_keys() RETURNS SETOF bytea STABLE LANGUAGE sql AS $$
    SELECT substring(sha256(uuid_send(stream_id)) FOR 8) FROM events WHERE type LIKE 'key.%'
    GROUP BY stream_id HAVING NOT bool_or(type LIKE 'key.revoked.%')
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION marks_of_keys() SECURITY DEFINER SET search_path = %I, public, pg_temp',
                   current_schema());
    REVOKE EXECUTE ON FUNCTION marks_of_keys() FROM PUBLIC;
END
$$;
