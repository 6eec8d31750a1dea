-- depends: 0014.tree.expand

-- When each API key was last used, to the minute. Not in the log: nothing is decided by it.
CREATE TABLE key_uses (
    key_id  uuid        PRIMARY KEY,
    owner   text        NOT NULL,
    used_at timestamptz NOT NULL
);
