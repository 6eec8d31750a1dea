"""Retrieval: the rows of a projection that fit a query best, by their words and by their meaning.

A small scope is scanned exactly. A large one takes candidates from the HNSW and the keyword index, with
iterative scans, so that a filter never starves the result.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import AsyncConnection, Connection

from domain.scope import Scope
from projections.catalogue import Build
from projections.ranking import Floats, fused, inverse_frequencies, keyword_evidence
from projections.searched import LACKING, Searched
from projections.selection import Selection

Mode = Literal["hybrid", "vector", "keyword"]

EXACT_ROWS = 20_000
"""Rows of a scope up to which every one is compared: about 25 ms, and recall 1."""
CANDIDATES = 200
"""Nearest rows of a large scope that enter the ranking; twice the largest limit a client may ask for."""
COMMON_ROWS = 5_000
"""In a large scope a lexeme in more rows than this says too little to fetch rows by."""
HNSW_SCAN_TUPLES = 200_000
"""How far an iterative scan goes on looking for rows that pass the filter."""
HNSW_DIMENSIONS = 4_000
"""What pgvector can index of a halfvec; a longer vector is always compared exactly."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for, and where."""

    selection: Selection
    text: str
    vector: NDArray[np.float32] | None = None
    """(dims,), normalised; None searches by keyword alone."""
    limit: int
    threshold: float = 0.0
    mode: Mode = "hybrid"


class Fit(NamedTuple):
    """How well a row fits; both numbers are 0..1 and mean the same for every embedder."""

    score: float
    """What it is ranked by."""
    similarity: float
    """Of the vectors alone; 0 where there is none."""


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
    """Rows of the scope."""


# The rows of a scope; then those with a lexeme of the query, and the nearest of the others. Without a
# lexeme a row ranks by its distance alone, so no more than are asked for can enter the result.
EXACT = """
    WITH query AS MATERIALIZED (
        SELECT CASE WHEN %(words)s THEN tsvector_to_array(to_tsvector('pg_catalog.english', %(text)s))
               ELSE '{{}}' END AS lexemes
    ), scope AS MATERIALIZED (
        SELECT {key}, embedding <=> %(vector)s::halfvec AS distance, terms,
               terms ?| (SELECT lexemes FROM query) AS matching
        FROM {table} WHERE {where} LIMIT {most}
    ), near AS (
        SELECT * FROM scope WHERE NOT matching AND distance IS NOT NULL
        ORDER BY distance LIMIT %(limit)s
    ), candidates AS (
        SELECT * FROM scope WHERE matching UNION ALL SELECT * FROM near
    )
    SELECT {key}, 1 - distance, (terms ->> '')::int, (SELECT count(*)::int FROM scope), lexemes,
           CASE WHEN matching
                THEN ARRAY(SELECT coalesce((terms ->> l)::int, 0) FROM unnest(lexemes) AS l) END
    FROM candidates, query"""

SETTINGS = """
    SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config('hnsw.ef_search', '{ef}', true),
           set_config('hnsw.max_scan_tuples', '{tuples}', true)"""

CONTAINING = """
    SELECT l, (SELECT count(*)::int
               FROM (SELECT 1 FROM {table} WHERE {where} AND terms ? l LIMIT {most}) AS few)
    FROM unnest(CASE WHEN %(words)s THEN tsvector_to_array(to_tsvector('pg_catalog.english', %(text)s))
                ELSE '{{}}' END) AS l"""

NEAREST = """
    SELECT {key} FROM {table} WHERE {where} AND embedding IS NOT NULL
    ORDER BY embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) LIMIT {candidates}"""

WORDED = "SELECT {key} FROM {table} WHERE {where} AND terms ?| %(fetched)s::text[] LIMIT {most}"

MEASURED = """
    SELECT {key}, 1 - (embedding <=> %(vector)s::halfvec), (terms ->> '')::int,
           ARRAY(SELECT coalesce((terms ->> l)::int, 0) FROM unnest(%(lexemes)s::text[]) AS l)
    FROM {table} WHERE {key} = ANY(%(ids)s)"""


async def best(
    conn: AsyncConnection[Any],
    projection: Searched[Any],
    build: Build,
    query: Query,
    similarity: Callable[[Floats], Floats],
) -> dict[UUID, Fit]:
    """The rows of a scope that fit the query best, best first, none below its threshold."""
    where, values = query.selection.where()
    values["vector"] = None if query.vector is None else HalfVector(query.vector)
    values["text"] = query.text
    values["words"] = query.mode != "vector"
    values["limit"] = query.limit
    names = {"table": build.table, "key": projection.key, "where": where}
    statement = _Statement(conn, names, values)
    candidates = await _exact(statement) or await _indexed(statement, query)
    # A row that has no vector yet is as near as a row that has nothing to do with the query.
    near = similarity(np.nan_to_num(candidates.cosines, nan=0.0))
    scores = _scores(candidates, query.mode, near)
    near[np.isnan(candidates.cosines)] = 0.0
    order = np.argsort(-scores, kind="stable")[: query.limit]
    lowest = max(query.threshold, 1e-9)  # a score of nothing is no hit
    return {candidates.ids[i]: Fit(float(scores[i]), float(near[i])) for i in order if scores[i] >= lowest}


async def waiting(
    conn: AsyncConnection[Any], build: Build, scope: Scope, position: int, of_user_alone: bool = False
) -> bool:
    """Whether a row that the owner of a scope wrote up to `position` will yet get its vector.

    Only of the scope's user, or of nobody where it names none, if `of_user_alone`.
    """
    of_user = " AND user_id IS NOT DISTINCT FROM %(user)s" if of_user_alone else ""
    cursor = await conn.execute(
        f"SELECT EXISTS (SELECT 1 FROM {build.table} WHERE owner = %(owner)s AND position <= %(position)s"
        f"{of_user} AND {LACKING.format(table=build.table)})",
        {"owner": scope.owner, "position": position, "model": build.model, "user": scope.user_id},
    )
    return bool((await cursor.fetchone() or (False,))[0])


class _Statement(NamedTuple):
    """Runs the statements of one search."""

    conn: AsyncConnection[Any]
    names: dict[str, str]
    values: dict[str, Any]

    async def rows(self, statement: str, prepare: bool = False, **numbers: int) -> list[tuple[Any, ...]]:
        """Unprepared by default: a plan that was made for one scope must not serve another."""
        text = statement.format(**self.names, **numbers)
        cursor = await self.conn.execute(text, self.values, prepare=prepare, binary=True)
        return await cursor.fetchall()


async def _exact(statement: _Statement) -> Candidates | None:
    """Candidates by comparing every row of the scope; None when it has too many rows for that."""
    # Prepared, as it cannot fall for the vector index: it orders nothing before the scope is read.
    rows = await statement.rows(EXACT, prepare=True, most=EXACT_ROWS + 1)
    documents, lexemes = rows[0][3:5] if rows else (0, [])
    if documents > EXACT_ROWS:
        return None
    none = [0] * len(lexemes)
    frequencies = _matrix([row[5] or none for row in rows], len(lexemes))
    return Candidates(
        ids=[row[0] for row in rows],
        cosines=_floats(row[1] for row in rows),
        lengths=_floats(row[2] for row in rows),
        frequencies=frequencies,
        # Every row of the scope that has a lexeme of the query is among these.
        containing=(frequencies > 0).sum(axis=0).astype(float),
        documents=documents,
    )


async def _indexed(statement: _Statement, query: Query) -> Candidates:
    """Candidates of a scope that is too large to compare every row of it."""
    values = statement.values
    async with statement.conn.transaction():
        await statement.rows(SETTINGS, ef=2 * CANDIDATES, tuples=HNSW_SCAN_TUPLES)
        ids: set[UUID] = set()
        if query.vector is not None:
            near = await statement.rows(NEAREST, dimensions=len(query.vector), candidates=CANDIDATES)
            ids.update(id for (id,) in near)
        told = await statement.rows(CONTAINING, most=COMMON_ROWS + 1)
        values["lexemes"] = [lexeme for lexeme, _ in told]
        values["fetched"] = _telling(told)
        ids.update(id for (id,) in await statement.rows(WORDED, most=2 * COMMON_ROWS))
        values["ids"] = list(ids)
        rows = await statement.rows(MEASURED)
        ((documents,),) = await statement.rows("SELECT count(*) FROM {table} WHERE {where}")
    return Candidates(
        ids=[row[0] for row in rows],
        cosines=_floats(row[1] for row in rows),
        lengths=_floats(row[2] for row in rows),
        frequencies=_matrix([row[3] for row in rows], len(told)),
        containing=_floats(rows for _, rows in told),
        documents=documents,
    )


def _telling(containing: Sequence[tuple[str, int]]) -> list[str]:
    """The lexemes worth fetching rows by: those that are not common, or the least common one."""
    by_rows = sorted((rows, lexeme) for lexeme, rows in containing)
    return [lexeme for rows, lexeme in by_rows if rows <= COMMON_ROWS] or [
        lexeme for _, lexeme in by_rows[:1]
    ]


def _scores(candidates: Candidates, mode: Mode, near: Floats) -> Floats:
    if mode == "vector":
        return np.where(np.isnan(candidates.cosines), 0.0, near)
    evidence = keyword_evidence(
        candidates.frequencies,
        candidates.lengths,
        inverse_frequencies(candidates.containing, candidates.documents),
    )
    return evidence if mode == "keyword" else fused(near, evidence)


def _floats(values: Iterable[float | None]) -> Floats:
    return np.asarray([np.nan if value is None else value for value in values], dtype=float)


def _matrix(rows: Sequence[Sequence[int]], columns: int) -> Floats:
    return np.asarray(rows, dtype=float).reshape(len(rows), columns)


# --- indexes ----------------------------------------------------------------------------------------


def claim_indexing(conn: Connection[Any], build: Build) -> bool:
    """Whether this connection alone, as long as it lasts, is to index builds of this projection."""
    row = conn.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || %s, 0))", (f".index.{build.name}",)
    ).fetchone()
    return row == (True,)


def index_large_scopes(conn: Connection[Any], build: Build) -> None:
    """Make the vector and the keyword index, beside running reads and writes, once an owner needs them.

    Until a scope is too large to compare every row, they would only slow down writes and replays.
    """
    made = build.table
    large = conn.execute(
        f"SELECT owner FROM {made} GROUP BY owner HAVING count(*) > {EXACT_ROWS} LIMIT 1"
    ).fetchone()
    if large is None:
        return
    row = conn.execute(
        f"SELECT vector_dims(embedding) FROM {made} WHERE owner = %s AND embedding IS NOT NULL LIMIT 1", large
    ).fetchone()
    if row and row[0] <= HNSW_DIMENSIONS:
        _index_beside(conn, made, "hnsw", f"hnsw ((embedding::halfvec({row[0]})) halfvec_cosine_ops)")
    _index_beside(conn, made, "terms", "gin (terms)")


def _index_beside(conn: Connection[Any], made: str, suffix: str, definition: str) -> None:
    name = f"{made}_{suffix}"
    valid = conn.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", (name,)
    ).fetchone()
    if valid == (False,):  # what a worker leaves that was killed while it built one
        conn.execute(f"DROP INDEX CONCURRENTLY {name}")
    if valid != (True,):
        conn.execute(f"CREATE INDEX CONCURRENTLY {name} ON {made} USING {definition}")
