"""Retrieval: the rows of a projection that fit a query best, by their words and by their meaning.

A small scope is scanned exactly. A large one takes candidates from the HNSW and the keyword index, with
iterative scans, so that a filter never starves the result.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import AsyncConnection, Connection

from domain.scope import Scope
from projections import pieces
from projections.catalogue import Build
from projections.ranking import Counts, Floats, fused, inverse_frequencies, keyword_evidence
from projections.searched import LACKING, Searched
from projections.selection import Selection

T = TypeVar("T")
Mode = Literal["hybrid", "vector", "keyword"]

LEXEMES = 256
"""Of a query, that count; a question has some ten, and who sends a whole message gets its rarest. Each is
looked up in each row of a scope: 256 in 20,000 rows take some seconds at the worst, 15,000 took minutes.
"""
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
NUMBERS_IN_PASSING = 50_000
"""Of candidates that are ranked on the event loop: a millisecond, about what a thread would cost."""


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


class Found(NamedTuple, Generic[T]):
    """What fits a query best."""

    hits: list[T]
    """Best first."""
    position: int
    """Of the log, up to which they hold."""
    shortened: bool
    """Whether not all lexemes of the query counted."""


class Candidates(NamedTuple):
    """Rows that may enter the result, with what they are ranked by."""

    rows: list[tuple[Any, ...]]
    """Each its id, cosine (None without a vector), number of lexemes, and how often it has each of the t
    lexemes that count, as `_counts` reads it (None: none of them)."""
    documents: int
    """Rows of the scope."""
    lexemes: int
    """t."""
    containing: Floats | None = None
    """(t,): in how many rows of the scope each occurs; None: whichever do are among these rows."""


OF_QUERY = """
    coalesce(%(counting)s::text[], CASE
        WHEN %(words)s THEN tsvector_to_array(to_tsvector('pg_catalog.english', %(text)s)) ELSE '{}' END)"""

# All lexemes of a query that has too many, and in how many rows each occurs. Those come first that occur, the
# rarest before the others: one that no row has takes part in no ranking. A scope that is too large to compare
# every row of it is known by as many rows as are compared; of what these lack, the longest words come first,
# as they are mostly the rarer ones.
RAREST = """
    WITH query AS MATERIALIZED (SELECT {lexemes} AS lexemes),
    known AS (
        SELECT lexeme, count(*)::int AS rows
        FROM (SELECT terms FROM {table} WHERE {where} LIMIT {most}) AS scope,
             jsonb_object_keys(terms) AS lexeme
        WHERE (SELECT cardinality(lexemes) FROM query) > {count}
              AND lexeme IN (SELECT unnest(lexemes) FROM query)
        GROUP BY lexeme
    )
    SELECT array_agg(lexeme ORDER BY rows NULLS LAST, length(lexeme) DESC, lexeme),
           array_agg(coalesce(rows, 0) ORDER BY rows NULLS LAST, length(lexeme) DESC, lexeme)
    FROM query CROSS JOIN unnest(lexemes) AS lexeme LEFT JOIN known USING (lexeme)
    HAVING count(*) > {count}"""

# The rows of a scope; then those with a lexeme of the query, and the nearest of the others. Without a
# lexeme a row ranks by its distance alone, so no more than are asked for can enter the result.
EXACT = """
    WITH query AS MATERIALIZED (
        SELECT {lexemes} AS lexemes
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
    SELECT {key}, 1 - distance, (terms ->> '')::int,
           CASE WHEN matching
                THEN array_send(ARRAY(SELECT coalesce((terms ->> l)::int, 0) FROM unnest(lexemes) AS l)) END,
           (SELECT count(*)::int FROM scope), cardinality(lexemes)
    FROM candidates, query"""

SETTINGS = """
    SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config('hnsw.ef_search', '{ef}', true),
           set_config('hnsw.max_scan_tuples', '{tuples}', true)"""

CONTAINING = """
    SELECT l, (SELECT count(*)::int
               FROM (SELECT 1 FROM {table} WHERE {where} AND terms ? l LIMIT {most}) AS few)
    FROM unnest({lexemes}) AS l"""

NEAREST = """
    SELECT {key} FROM {table} WHERE {where} AND embedding IS NOT NULL
    ORDER BY embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) LIMIT {candidates}"""

WORDED = "SELECT {key} FROM {table} WHERE {where} AND terms ?| %(fetched)s::text[] LIMIT {most}"

MEASURED = """
    SELECT {key}, 1 - (embedding <=> %(vector)s::halfvec), (terms ->> '')::int,
           array_send(ARRAY(SELECT coalesce((terms ->> l)::int, 0) FROM unnest(%(lexemes)s::text[]) AS l))
    FROM {table} WHERE {key} = ANY(%(ids)s)"""


async def best(
    conn: AsyncConnection[Any],
    projection: Searched[Any],
    build: Build,
    query: Query,
    similarity: Callable[[Floats], Floats],
) -> tuple[dict[UUID, Fit], bool]:
    """The rows of a scope that fit the query best, best first, none below its threshold.

    And whether not all lexemes of the query counted.
    """
    where, values = query.selection.where()
    values["vector"] = None if query.vector is None else HalfVector(query.vector)
    values["text"] = query.text
    values["words"] = query.mode != "vector"
    values["limit"] = query.limit
    values["counting"] = None
    names = {"table": build.table, "key": projection.key, "where": where, "lexemes": OF_QUERY}
    statement = _Statement(conn, names, values)
    uncounted = await _shorten(statement, query)
    candidates = await _exact(statement) or await _indexed(statement, query)
    rank = partial(_ranked, candidates, uncounted, query, similarity)
    few = len(candidates.rows) * (candidates.lexemes + 1) <= NUMBERS_IN_PASSING
    return rank() if few else await asyncio.to_thread(rank), uncounted.size > 0


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
        return await pieces.all_of(await self.conn.execute(text, self.values, prepare=prepare, binary=True))


async def _shorten(statement: _Statement, query: Query) -> Floats:
    """Have only the rarest lexemes of a long query count; in how many rows each of the others occurs.

    Of a large scope these are numbers of the first EXACT_ROWS rows.
    """
    # No character is more than one lexeme, so this asks nothing for a usual question.
    if query.mode == "vector" or len(query.text) <= LEXEMES:
        return np.empty(0)
    rows = await statement.rows(RAREST, most=EXACT_ROWS + 1, count=LEXEMES)
    if not rows:
        return np.empty(0)
    ((lexemes, containing),) = rows
    statement.values.update(counting=lexemes[:LEXEMES], text="")
    return _floats(containing[LEXEMES:])


async def _exact(statement: _Statement) -> Candidates | None:
    """Candidates by comparing every row of the scope; None when it has too many rows for that."""
    # Prepared, as it cannot fall for the vector index: it orders nothing before the scope is read.
    rows = await statement.rows(EXACT, prepare=True, most=EXACT_ROWS + 1)
    documents, lexemes = rows[0][4:6] if rows else (0, 0)
    return None if documents > EXACT_ROWS else Candidates(rows, documents, lexemes)


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
    return Candidates(rows, documents, len(told), _floats(rows for _, rows in told))


def _telling(containing: Sequence[tuple[str, int]]) -> list[str]:
    """The lexemes worth fetching rows by: those that are not common, or the least common one."""
    by_rows = sorted((rows, lexeme) for lexeme, rows in containing)
    return [lexeme for rows, lexeme in by_rows if rows <= COMMON_ROWS] or [
        lexeme for _, lexeme in by_rows[:1]
    ]


def _ranked(
    candidates: Candidates, uncounted: Floats, query: Query, similarity: Callable[[Floats], Floats]
) -> dict[UUID, Fit]:
    cosines = _floats(row[1] for row in candidates.rows)
    # A row that has no vector yet is as near as a row that has nothing to do with the query.
    near = similarity(np.nan_to_num(cosines, nan=0.0))
    scores = _scores(candidates, uncounted, query.mode, cosines, near)
    near[np.isnan(cosines)] = 0.0
    order = np.argsort(-scores, kind="stable")[: query.limit]
    lowest = max(query.threshold, 1e-9)  # a score of nothing is no hit
    return {
        candidates.rows[i][0]: Fit(float(scores[i]), float(near[i])) for i in order if scores[i] >= lowest
    }


def _scores(candidates: Candidates, uncounted: Floats, mode: Mode, cosines: Floats, near: Floats) -> Floats:
    if mode == "vector":
        return np.where(np.isnan(cosines), 0.0, near)
    rows, documents = candidates.rows, candidates.documents
    counts = _counts([row[3] for row in rows], candidates.lexemes)
    containing = candidates.containing
    if containing is None:
        containing = (counts > 0).sum(axis=0).astype(float)
    seen = min(documents, EXACT_ROWS + 1)
    evidence = keyword_evidence(
        counts,
        _floats(row[2] for row in rows),
        inverse_frequencies(containing, documents),
        float(inverse_frequencies(uncounted * documents / max(seen, 1), documents).sum()),
    )
    return evidence if mode == "keyword" else fused(near, evidence)


def _floats(values: Iterable[float | None]) -> Floats:
    return np.asarray([np.nan if value is None else value for value in values], dtype=float)


def _counts(sent: Sequence[bytes | None], lexemes: int) -> Counts:
    """(n, t) of n arrays of t integers as PostgreSQL sends them, which spares an object for each number.

    Five numbers of 32 bits are the head of an array; each of its own follows its size.
    """
    none = bytes(4 * (5 + 2 * lexemes))
    numbers = np.frombuffer(b"".join(one or none for one in sent), dtype=">i4")
    if not lexemes:
        return np.zeros((len(sent), 0), dtype=np.int32)
    return numbers.reshape(len(sent), 5 + 2 * lexemes)[:, 6::2].astype(np.int32)


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
