-- depends: 0001.log

-- Every build of every projection; the tables of a build carry its version in their names.
CREATE TABLE projections (
    name       text        NOT NULL,
    version    int         NOT NULL,
    state      text        NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    position   bigint      NOT NULL DEFAULT 0,         -- of the last event applied
    loaded     bigint      NOT NULL DEFAULT 0,         -- events read so far by the bulk load of a replay,
    to_load    bigint,                                 -- of so many
    model      text,                                   -- the embedder of a build that holds vectors
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    error      text,                                   -- why it does not advance
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX one_live_version ON projections (name) WHERE state = 'live';
CREATE UNIQUE INDEX one_replay ON projections (name) WHERE state = 'building';

-- Events that a projection could not apply, and the later ones of their streams.
CREATE TABLE parked (
    projection text        NOT NULL,
    version    int         NOT NULL,
    stream_id  uuid        NOT NULL,
    position   bigint      NOT NULL,
    error      text        NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, version, position)
);
CREATE INDEX parked_streams ON parked (projection, version, stream_id);

-- Every vector ever computed: a replay embeds nothing twice.
CREATE TABLE vectors (
    owner     text    NOT NULL,
    model     text    NOT NULL,
    text_hash bytea   NOT NULL,                        -- sha256 of the text
    vector    halfvec NOT NULL,
    PRIMARY KEY (owner, model, text_hash)
);

-- Lexemes of a text with their frequencies; under the empty lexeme, the sum of all of them.
CREATE FUNCTION terms_of(content text) RETURNS jsonb IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql AS $$
    SELECT coalesce(jsonb_object_agg(lexeme, cardinality(positions)), '{}')
           || jsonb_build_object('', coalesce(sum(cardinality(positions)), 0))
    FROM unnest(to_tsvector('pg_catalog.english', content))
$$;
