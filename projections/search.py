"""The *search* projection: what is needed to find a memory by its words and by its meaning."""

from collections.abc import Callable, Iterable, Sequence
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
from projections.ranking import Floats

name = "search"
aggregate = "memory"

Mode = retrieval.Mode
Query = retrieval.Query


def table(version: int) -> str:
    return f"search_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"CREATE TABLE {table(version)} ({memories.DEFINITIONS}, {retrieval.DEFINITIONS})")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (memory_id)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id)")
    for scope in ("agent_id", "run_id", "project_id"):
        conn.execute(f"CREATE INDEX ON {made} (owner, {scope}) WHERE {scope} IS NOT NULL")
    retrieval.index_waiting(conn, made)


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change[Memory]]) -> None:
    last = last_changes(changes)
    gone = conn.execute(
        f"DELETE FROM {table(build.version)} WHERE memory_id = ANY(%s) RETURNING memory_id, owner, text_hash",
        ([change.after.id for change in last],),
    ).fetchall()
    load(conn, build, [[change] for change in last])
    # The erasure itself may have come before a vector that was being computed.
    erased = {change.after.id for change in last if change.after.erased}
    vectors.forget(conn, [(owner, hash) for id, owner, hash in gone if id in erased])


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Memory]]]) -> None:
    present = (changes[-1].after for changes in streams if not changes[-1].after.deleted)
    texts = (vectors.Text(memory.scope.owner, memory.text, row_of(memory)) for memory in present)
    vectors.load(conn, build, memories.COLUMNS, memories.TYPES, texts)


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
    fits = await retrieval.best(conn, build, query, similarity)
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {memories.COLUMNS} FROM {table(build.version)} WHERE memory_id = ANY(%s)", (list(fits),)
    )
    found: dict[UUID, Memory] = {memory.id: memory for memory in await cursor.fetchall()}
    return [Hit(found[id], *fit) for id, fit in fits.items() if id in found]
