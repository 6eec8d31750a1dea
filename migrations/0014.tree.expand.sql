-- depends: 0012.roles.expand

-- The tree over the log, built behind it: each row up to 256 hashes of 32 bytes, side by side. Those of level n+1
-- are the roots of the whole ones of level n.
CREATE TABLE tiles (
    level  int    NOT NULL,
    index  bigint NOT NULL,
    hashes bytea  NOT NULL,
    PRIMARY KEY (level, index)
);
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes cannot be compressed

-- What was signed, the last of each minute.
CREATE TABLE checkpoints (
    minute timestamptz PRIMARY KEY,
    size   bigint NOT NULL,
    note   text   NOT NULL                             -- a signed note, as C2SP's tlog-checkpoint has it
);

-- How far the log was compared with its tree since it was last begun with, over and over.
CREATE TABLE log_check (
    position   bigint      NOT NULL,
    checked_at timestamptz NOT NULL,
    fault      text,                                   -- the first that was found, and where
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one)
);
