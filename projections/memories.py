"""The *memories* projection: every memory that is there now, for lists, filters and counts."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from domain.eventstore.memories import NUMBERS
from domain.memory import Memory, Traits
from domain.scope import Scope
from projections.catalogue import Build
from projections.projection import Columns, Projection, Row, of_last_state
from projections.selection import Selection

COLUMNS = Columns(
    memory_id="uuid NOT NULL",
    version="bigint NOT NULL",
    owner="text NOT NULL",
    user_id="text",
    agent_id="text",
    run_id="text",
    project_id="text",
    text="text NOT NULL",
    metadata="jsonb NOT NULL",
    tags="text[] NOT NULL",
    traits="jsonb NOT NULL",
    created_at="timestamptz NOT NULL",
    updated_at="timestamptz NOT NULL",
    position="bigint NOT NULL",
)


def row_of(memory: Memory) -> Row:
    """The memory as COLUMNS."""
    scope = memory.scope
    return (
        memory.id, memory.version, scope.owner, scope.user_id, scope.agent_id, scope.run_id, scope.project_id,
        memory.text, Jsonb(memory.metadata), list(memory.tags), Jsonb(msgspec.to_builtins(memory.traits)),
        memory.created_at, memory.updated_at, memory.position,
    )  # fmt: skip


MEMORIES: Projection[Memory] = Projection(
    name="memories",
    aggregate="memory",
    columns=COLUMNS,
    key="memory_id",
    # Ids are ordered by time, so the index of a scope is already in order.
    indexes=(
        "(owner, user_id, memory_id)",
        "(owner, agent_id, memory_id) WHERE agent_id IS NOT NULL",
        "(owner, run_id, memory_id) WHERE run_id IS NOT NULL",
        "(owner, project_id, memory_id) WHERE project_id IS NOT NULL",
    ),
    rows=of_last_state(lambda memory: (row_of(memory),)),
)


# --- queries ----------------------------------------------------------------------------------------


def memory_of(  # the names are those of COLUMNS
    *,
    memory_id: UUID,
    owner: str,
    user_id: str | None,
    agent_id: str | None,
    run_id: str | None,
    project_id: str | None,
    tags: list[str],
    traits: dict[str, Any],
    **rest: Any,
) -> Memory:
    scope = Scope(owner=owner, user_id=user_id, agent_id=agent_id, run_id=run_id, project_id=project_id)
    return Memory(id=memory_id, scope=scope, tags=tuple(tags), traits=msgspec.convert(traits, Traits), **rest)


async def listing(
    conn: AsyncConnection[Any],
    build: Build,
    selection: Selection,
    limit: int,
    offset: int = 0,
    *,
    ascending: bool = False,
    after: UUID | None = None,
) -> list[Memory]:
    """One page, newest first unless `ascending`; `after` is the last memory of the page before it."""
    where, values = selection.where()
    order, beyond = ("ASC", ">") if ascending else ("DESC", "<")
    if after is not None:
        where += f" AND memory_id {beyond} %(after)s"
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {COLUMNS} FROM {build.table} WHERE {where}"
        f" ORDER BY memory_id {order} LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset, "after": after},
    )
    page: list[Memory] = await cursor.fetchall()
    return page


async def count(conn: AsyncConnection[Any], build: Build, selection: Selection) -> int:
    """How many memories are selected."""
    where, values = selection.where()
    counted = await conn.execute(f"SELECT count(*) FROM {build.table} WHERE {where}", values)
    return (await counted.fetchone() or (0,))[0]


async def ids(conn: AsyncConnection[Any], build: Build, selection: Selection) -> list[UUID]:
    """The ids of all memories that are selected."""
    where, values = selection.where()
    cursor = await conn.execute(f"SELECT memory_id FROM {build.table} WHERE {where}", values)
    return [id for (id,) in await cursor.fetchall()]


async def numbered(
    conn: AsyncConnection[Any], build: Build, selection: Selection
) -> list[tuple[int, str, datetime]]:
    """Of all memories that are selected: the position at which each began, its text, and since when it is.

    In the order of these positions.
    """
    where, values = selection.where()
    cursor = await conn.execute(
        f"SELECT n.number, m.text, m.created_at FROM {build.table} m JOIN ({NUMBERS}) n USING (memory_id)"
        f" WHERE {where} ORDER BY n.number",
        values,
    )
    return await cursor.fetchall()
