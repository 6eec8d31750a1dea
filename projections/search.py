"""The *search* projection: what is needed to find a memory by its words and by its meaning.

A small scope is scanned exactly. A large one takes candidates from the HNSW and the keyword index, with
iterative scans, so that a filter never starves the result.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.memory import Memory, Scope
from projections import memories
from projections.catalogue import Build
from projections.changes import Change, last_changes
from projections.memories import memory_of, row_of, scope_filter
from projections.ranking import Floats, fused, inverse_frequencies, keyword_evidence
from projections.vectors import cached, text_hash

name = "search"

Mode = Literal["hybrid", "vector", "keyword"]

EXACT_ROWS = 20_000
"""Rows of a scope up to which every one is compared: about 25 ms, and recall 1."""
CANDIDATES = 200
"""Nearest rows that enter the ranking; twice the largest limit a client may ask for."""
COMMON_ROWS = 5_000
"""In a large scope a lexeme in more rows than this says too little to fetch rows by."""
HNSW_SCAN_TUPLES = 200_000
"""How far an iterative scan goes on looking for rows that pass the filter."""
HNSW_DIMENSIONS = 4_000
"""What pgvector can index of a halfvec; a longer vector is always compared exactly."""
COPY_ROWS = 2_000
"""Rows whose cached vectors are fetched together."""

COLUMNS = f"{memories.COLUMNS}, text_hash, embedding"
# A vector is written in its own binary format, which COPY takes from bytea as it is.
TYPES = (*memories.TYPES, "bytea", "bytea")


def table(version: int) -> str:
    return f"search_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"""
        CREATE TABLE {table(version)} (
            memory_id  uuid        NOT NULL,
            version    bigint      NOT NULL,
            owner      text        NOT NULL,
            user_id    text,
            agent_id   text,
            run_id     text,
            project_id text,
            text       text        NOT NULL,
            metadata   jsonb       NOT NULL,
            tags       text[]      NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            position   bigint      NOT NULL,
            text_hash  bytea       NOT NULL,
            embedding  halfvec,                  -- null until computed; its model is the build's
            terms      jsonb       NOT NULL GENERATED ALWAYS AS (terms_of(text)) STORED
        )""")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (memory_id)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id)")
    for scope in ("agent_id", "run_id", "project_id"):
        conn.execute(f"CREATE INDEX ON {made} (owner, {scope}) WHERE {scope} IS NOT NULL")
    conn.execute(f"CREATE INDEX {made}_waiting ON {made} (owner, position) WHERE embedding IS NULL")


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change]) -> None:
    last = last_changes(changes)
    conn.execute(
        f"DELETE FROM {table(build.version)} WHERE memory_id = ANY(%s)",
        ([change.after.id for change in last],),
    )
    load(conn, build, [[change] for change in last])


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change]]) -> None:
    present = (changes[-1].after for changes in streams if not changes[-1].after.deleted)
    while chunk := list(islice(present, COPY_ROWS)):
        keys = [(memory.scope.owner, text_hash(memory.text)) for memory in chunk]
        vectors = cached(conn, build.model or "", keys)
        with conn.cursor().copy(
            f"COPY {table(build.version)} ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(TYPES)
            for memory, key in zip(chunk, keys, strict=True):
                copy.write_row((*row_of(memory), key[1], vectors.get(key)))


def index_large_scopes(conn: Connection[Any], build: Build) -> None:
    """Make the vector and the keyword index, beside running reads and writes, once an owner needs them.

    Until a scope is too large to compare every row, they would only slow down writes and replays.
    """
    made = table(build.version)
    if conn.execute("SELECT to_regclass(%s)", (f"{made}_terms",)).fetchone() != (None,):
        return
    large = conn.execute(
        f"SELECT max(vector_dims(embedding)) FROM {made} WHERE embedding IS NOT NULL"
        f" GROUP BY owner HAVING count(*) > {EXACT_ROWS} LIMIT 1"
    ).fetchone()
    if large is None:
        return
    if large[0] <= HNSW_DIMENSIONS:
        conn.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {made}_hnsw ON {made}"
            f" USING hnsw ((embedding::halfvec({large[0]})) halfvec_cosine_ops)"
        )
    conn.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {made}_terms ON {made} USING gin (terms)")


# --- queries ----------------------------------------------------------------------------------------


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for, and where."""

    scope: Scope
    vector: NDArray[np.float32] | None
    """(dims,), normalised; None searches by keyword alone."""
    text: str
    limit: int
    threshold: float = 0.0
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    mode: Mode = "hybrid"


class Hit(msgspec.Struct, frozen=True):
    """A found memory; `score` is 0..1 and means the same for every embedder."""

    memory: Memory
    score: float


class Candidates(msgspec.Struct, frozen=True):
    """Rows that may enter the result, with what they are ranked by."""

    ids: list[UUID]
    cosines: Floats
    """(n,); NaN where there is no vector."""
    lengths: Floats
    """(n,), lexemes of each row."""
    frequencies: Floats
    """(n, t): how often each of the t query lexemes occurs in each row."""
    containing: Floats
    """(t,): in how many rows of the scope each lexeme occurs."""
    documents: int
    average_length: float


SCOPE = """
    SELECT tsvector_to_array(to_tsvector('pg_catalog.english', %(text)s)),
           (SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT {most}) AS few)"""

# The rows of the scope, then those of them with a lexeme of the query or near to it.
EXACT = """
    WITH scope AS MATERIALIZED (
        SELECT memory_id, embedding <=> %(vector)s::halfvec AS distance, (terms ->> '')::int AS length,
               CASE WHEN terms ?| %(lexemes)s::text[] THEN terms END AS matching
        FROM {table} WHERE {where}
    ), ranked AS (
        SELECT *, count(*) OVER () AS documents, avg(length) OVER () AS average_length,
               row_number() OVER (ORDER BY distance) AS rank
        FROM scope
    )
    SELECT memory_id, 1 - distance, length, documents::int, average_length::float8,
           ARRAY(SELECT coalesce((matching ->> l)::int, 0) FROM unnest(%(lexemes)s::text[]) AS l)
    FROM ranked WHERE matching IS NOT NULL OR rank <= {candidates}"""

CONTAINING = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} AND terms ? l LIMIT {most}) AS few)
    FROM unnest(%(lexemes)s::text[]) WITH ORDINALITY AS q(l, n) ORDER BY n"""

NEAREST = """
    SELECT memory_id FROM {table} WHERE {where} AND embedding IS NOT NULL
    ORDER BY embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) LIMIT {candidates}"""

WORDED = "SELECT memory_id FROM {table} WHERE {where} AND terms ?| %(fetched)s::text[] LIMIT {most}"

MEASURED = """
    SELECT memory_id, 1 - (embedding <=> %(vector)s::halfvec), (terms ->> '')::int,
           ARRAY(SELECT coalesce((terms ->> l)::int, 0) FROM unnest(%(lexemes)s::text[]) AS l)
    FROM {table} WHERE memory_id = ANY(%(ids)s)"""

LENGTHS = """
    SELECT (SELECT count(*) FROM {table} WHERE {where}),
           (SELECT avg(length)::float8 FROM (
               SELECT (terms ->> '')::int AS length FROM {table} WHERE {where} LIMIT 1000) AS few)"""


async def search(
    conn: AsyncConnection[Any], build: Build, query: Query, similarity: Callable[[Floats], Floats]
) -> list[Hit]:
    """The memories of a scope that fit the query best, best first, none below its threshold."""
    where, values = scope_filter(query.scope, query.tags, query.metadata)
    values["vector"] = None if query.vector is None else HalfVector(query.vector)
    values["text"] = query.text
    statement = _Statement(conn, {"table": table(build.version), "where": where}, values)
    ((lexemes, rows),) = await statement.rows(SCOPE, most=EXACT_ROWS + 1)
    values["lexemes"] = [] if query.mode == "vector" else lexemes
    candidates = await (_exact(statement) if rows <= EXACT_ROWS else _indexed(statement, query))
    scores = _scores(candidates, query.mode, similarity)
    best = np.argsort(-scores, kind="stable")[: query.limit]
    lowest = max(query.threshold, 1e-9)  # a score of nothing is no hit
    chosen = {candidates.ids[i]: float(scores[i]) for i in best if scores[i] >= lowest}
    return await _hits(conn, build, chosen)


async def waiting(conn: AsyncConnection[Any], build: Build, owner: str, position: int) -> bool:
    """Whether a row that an owner wrote up to `position` still lacks its vector."""
    cursor = await conn.execute(
        f"SELECT EXISTS (SELECT 1 FROM {table(build.version)}"
        " WHERE owner = %s AND position <= %s AND embedding IS NULL)",
        (owner, position),
    )
    return bool((await cursor.fetchone() or (False,))[0])


class _Statement(NamedTuple):
    """Runs statements of one search. Unprepared: a plan made for one scope must not serve another."""

    conn: AsyncConnection[Any]
    names: dict[str, str]
    values: dict[str, Any]

    async def rows(self, statement: str, **numbers: int) -> list[tuple[Any, ...]]:
        text = statement.format(**self.names, **numbers)
        cursor = await self.conn.execute(text, self.values, prepare=False, binary=True)
        return await cursor.fetchall()


async def _exact(statement: _Statement) -> Candidates:
    rows = await statement.rows(EXACT, candidates=CANDIDATES)
    frequencies = _matrix([row[5] for row in rows], len(statement.values["lexemes"]))
    return Candidates(
        ids=[row[0] for row in rows],
        cosines=_floats(row[1] for row in rows),
        lengths=_floats(row[2] for row in rows),
        frequencies=frequencies,
        # Every row of the scope that has a lexeme of the query is among these.
        containing=(frequencies > 0).sum(axis=0).astype(float),
        documents=rows[0][3] if rows else 0,
        average_length=rows[0][4] if rows else 0.0,
    )


async def _indexed(statement: _Statement, query: Query) -> Candidates:
    """Candidates of a scope that is too large to compare every row of it."""
    values = statement.values
    async with statement.conn.transaction():
        await statement.rows(
            "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),"
            " set_config('hnsw.ef_search', '{ef}', true),"
            " set_config('hnsw.max_scan_tuples', '{tuples}', true)",
            ef=2 * CANDIDATES,
            tuples=HNSW_SCAN_TUPLES,
        )
        ids: set[UUID] = set()
        if query.vector is not None:
            near = await statement.rows(NEAREST, dimensions=len(query.vector), candidates=CANDIDATES)
            ids.update(id for (id,) in near)
        containing = [n for (n,) in await statement.rows(CONTAINING, most=COMMON_ROWS + 1)]
        values["fetched"] = _telling(values["lexemes"], containing)
        worded = await statement.rows(WORDED, most=2 * COMMON_ROWS)
        values["ids"] = list(ids.union(id for (id,) in worded))
        rows = await statement.rows(MEASURED)
        ((documents, average_length),) = await statement.rows(LENGTHS)
    return Candidates(
        ids=[row[0] for row in rows],
        cosines=_floats(row[1] for row in rows),
        lengths=_floats(row[2] for row in rows),
        frequencies=_matrix([row[3] for row in rows], len(values["lexemes"])),
        containing=np.asarray(containing, dtype=float),
        documents=documents,
        average_length=average_length,
    )


def _telling(lexemes: Sequence[str], containing: Sequence[int]) -> list[str]:
    """The lexemes worth fetching rows by: those that are not common, or the least common one."""
    by_rows = sorted(zip(containing, lexemes, strict=True))
    return [lexeme for rows, lexeme in by_rows if rows <= COMMON_ROWS] or [
        lexeme for _, lexeme in by_rows[:1]
    ]


def _scores(candidates: Candidates, mode: Mode, similarity: Callable[[Floats], Floats]) -> Floats:
    # A row that has no vector yet is as near as a row that has nothing to do with the query.
    near = similarity(np.nan_to_num(candidates.cosines, nan=0.0))
    if mode == "vector":
        return np.where(np.isnan(candidates.cosines), 0.0, near)
    evidence = keyword_evidence(
        candidates.frequencies,
        candidates.lengths,
        inverse_frequencies(candidates.containing, candidates.documents),
        candidates.average_length,
    )
    return evidence if mode == "keyword" else fused(near, evidence)


async def _hits(conn: AsyncConnection[Any], build: Build, scores: dict[UUID, float]) -> list[Hit]:
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {memories.COLUMNS} FROM {table(build.version)} WHERE memory_id = ANY(%s)", (list(scores),)
    )
    found: dict[UUID, Memory] = {memory.id: memory for memory in await cursor.fetchall()}
    return [Hit(found[id], score) for id, score in scores.items() if id in found]


def _floats(values: Iterable[float | None]) -> Floats:
    return np.asarray([np.nan if value is None else value for value in values], dtype=float)


def _matrix(rows: Sequence[Sequence[int]], columns: int) -> Floats:
    return np.asarray(rows, dtype=float).reshape(len(rows), columns)
