"""The *search* projection: what is needed to find a memory by its words and by its meaning."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.memory import Memory
from projections import memories, pieces, retrieval, vectors
from projections.catalogue import Build
from projections.changes import Change, last_changes
from projections.memories import memory_of, row_of
from projections.projection import of_last_state
from projections.ranking import Floats
from projections.retrieval import Found
from projections.searched import Searched
from projections.selection import Selection

Mode = retrieval.Mode
Query = retrieval.Query


class _Search(Searched[Memory], frozen=True, kw_only=True):
    def apply(self, conn: Connection[Any], build: Build, changes: Sequence[Change[Memory]]) -> None:
        erased = [change.after.id for change in last_changes(changes) if change.after.erased]
        gone = conn.execute(
            f"SELECT owner, text_hash FROM {build.table} WHERE memory_id = ANY(%s)", (erased,)
        ).fetchall()
        super().apply(conn, build, changes)
        # The erasure itself may have come before a vector that was being computed.
        vectors.forget(conn, gone)


SEARCH = _Search(
    name="search",
    aggregate="memory",
    columns=memories.COLUMNS,
    key="memory_id",
    indexes=(
        "(owner, user_id)",
        "(owner, agent_id) WHERE agent_id IS NOT NULL",
        "(owner, run_id) WHERE run_id IS NOT NULL",
        "(owner, project_id) WHERE project_id IS NOT NULL",
    ),
    rows=of_last_state(lambda memory: (row_of(memory),)),
    order=20,  # before the vectors of passages: these texts are short, and who has added one waits for it
)


Kind = Literal["type", "entity", "word"]

THEMES = """
    WITH said AS MATERIALIZED (SELECT memory_id, traits, terms FROM {table} WHERE {where}),
    found AS (
        SELECT 'type' AS kind, coalesce(traits ->> 'type', %(untyped)s) AS name, memory_id FROM said
        UNION
        SELECT 'entity', entity ->> 'name', memory_id
        FROM said, jsonb_array_elements(coalesce(traits -> 'entities', '[]')) AS entity
        WHERE lower(entity ->> 'name') <> 'user'
        UNION
        SELECT 'word', stem, memory_id FROM said, jsonb_object_keys(terms) AS stem
        WHERE stem NOT IN ('', 'user')
    ), counted AS (
        SELECT kind, name, count(*)::int AS n, array_agg(memory_id ORDER BY memory_id DESC) AS ids
        FROM found GROUP BY kind, name HAVING count(*) > 1
    ), ranked AS (
        SELECT *, n::float8 / max(n) OVER (PARTITION BY kind) AS strength,
               row_number() OVER (PARTITION BY kind ORDER BY n DESC, name) AS place
        FROM counted
    )
    SELECT kind, name, strength, n, ids[1:%(named)s], (SELECT count(*)::int FROM said) FROM ranked
    WHERE strength >= %(strength)s AND place <= %(most)s
    UNION ALL SELECT NULL, NULL, 0, 0, NULL, count(*)::int FROM said
    ORDER BY 1, 4 DESC, 2"""


# --- queries ----------------------------------------------------------------------------------------


class Hit(msgspec.Struct, frozen=True):
    """A found memory; both numbers are 0..1 and mean the same for every embedder."""

    memory: Memory
    score: float
    """What it is ranked by."""
    similarity: float
    """Of the vectors alone; 0 where there is none."""


async def search(
    conn: AsyncConnection[Any], build: Build, query: Query, similarity: Callable[[Floats], Floats]
) -> Found[Hit]:
    """The memories of a scope that fit the query best, none below its threshold."""
    fits, shortened = await retrieval.best(conn, SEARCH, build, query, similarity)
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {memories.COLUMNS} FROM {build.table} WHERE memory_id = ANY(%s)", (list(fits),)
    )
    found: dict[UUID, Memory] = {memory.id: memory for memory in await pieces.all_of(cursor)}
    hits = [Hit(found[id], *fit) for id, fit in fits.items() if id in found]
    return Found(hits, build.position, shortened)


async def vectors_of(
    conn: AsyncConnection[Any], build: Build, ids: Sequence[UUID]
) -> dict[UUID, list[float]]:
    """Those of these memories that have one."""
    cursor = await conn.execute(
        f"SELECT memory_id, embedding::vector::real[] FROM {build.table}"
        " WHERE memory_id = ANY(%s) AND embedding IS NOT NULL",
        (list(ids),),
    )
    return dict(await pieces.all_of(cursor))


class Theme(NamedTuple):
    """What more than one memory speaks of."""

    kind: Kind
    name: str
    """A type, an entity's name, or the stem of a word."""
    strength: float
    """Its memories as a share of those of the strongest theme of its kind."""
    memories: int
    ids: list[UUID]
    """The newest of them."""


async def themes(
    conn: AsyncConnection[Any],
    build: Build,
    selection: Selection,
    *,
    most: int,
    least: float,
    named: int,
    untyped: str,
) -> tuple[int, list[Theme]]:
    """How many memories are selected, and what they speak of most: `most` themes of a kind, strongest first.

    None weaker than `least`, each with at most `named` ids. What has no type counts as `untyped`.
    """
    where, values = selection.where()
    values |= {"most": most, "strength": least, "named": named, "untyped": untyped}
    cursor = await conn.execute(THEMES.format(table=build.table, where=where), values)
    rows = await cursor.fetchall()
    return rows[-1][-1], [Theme(*row[:-1]) for row in rows[:-1]]
