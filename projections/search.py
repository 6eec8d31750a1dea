"""The *search* projection: what is needed to find a memory by its words and by its meaning."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.memory import Memory
from projections import memories, retrieval, vectors
from projections.catalogue import Build
from projections.changes import Change, last_changes
from projections.memories import memory_of, row_of
from projections.projection import of_last_state
from projections.ranking import Floats
from projections.searched import Searched

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
)


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
) -> list[Hit]:
    """The memories of a scope that fit the query best, best first, none below its threshold."""
    fits = await retrieval.best(conn, SEARCH, build, query, similarity)
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {memories.COLUMNS} FROM {build.table} WHERE memory_id = ANY(%s)", (list(fits),)
    )
    found: dict[UUID, Memory] = {memory.id: memory for memory in await cursor.fetchall()}
    return [Hit(found[id], *fit) for id, fit in fits.items() if id in found]
