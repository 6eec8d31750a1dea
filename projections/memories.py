"""The *memories* projection: every memory that is there now, for lists, filters and counts."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from domain.eventstore.memories import NUMBERS
from domain.memory import Memory, Scope, Traits
from projections.catalogue import Build
from projections.changes import Change
from projections.rows import renew
from projections.selection import Selection

name = "memories"
aggregate = "memory"

COLUMNS = (
    "memory_id, version, owner, user_id, agent_id, run_id, project_id, text, metadata, tags, traits,"
    " created_at, updated_at, position"
)
DEFINITIONS = """
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
    traits     jsonb       NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    position   bigint      NOT NULL"""
TYPES = (
    "uuid", "int8", "text", "text", "text", "text", "text", "text", "jsonb", "text[]", "jsonb",
    "timestamptz", "timestamptz", "int8",
)  # fmt: skip


def table(version: int) -> str:
    return f"memories_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"CREATE TABLE {table(version)} ({DEFINITIONS})")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (memory_id)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id, memory_id)")
    for scope in ("agent_id", "run_id", "project_id"):
        conn.execute(f"CREATE INDEX ON {made} (owner, {scope}, memory_id) WHERE {scope} IS NOT NULL")


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def row_of(memory: Memory) -> tuple[Any, ...]:
    """The memory as COLUMNS."""
    scope = memory.scope
    return (
        memory.id, memory.version, scope.owner, scope.user_id, scope.agent_id, scope.run_id, scope.project_id,
        memory.text, Jsonb(memory.metadata), list(memory.tags), Jsonb(msgspec.to_builtins(memory.traits)),
        memory.created_at, memory.updated_at, memory.position,
    )  # fmt: skip


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change[Memory]]) -> None:
    renew(conn, build, "memory_id", changes, load)


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Memory]]]) -> None:
    with conn.cursor().copy(f"COPY {table(build.version)} ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for changes in streams:
            if not changes[-1].after.deleted:
                copy.write_row(row_of(changes[-1].after))


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
    version: int,
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
    # Ids are ordered by time, so the index of the scope is already in order.
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {COLUMNS} FROM {table(version)} WHERE {where}"
        f" ORDER BY memory_id {order} LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset, "after": after},
    )
    page: list[Memory] = await cursor.fetchall()
    return page


async def count(conn: AsyncConnection[Any], version: int, selection: Selection) -> int:
    """How many memories are selected."""
    where, values = selection.where()
    counted = await conn.execute(f"SELECT count(*) FROM {table(version)} WHERE {where}", values)
    return (await counted.fetchone() or (0,))[0]


async def ids(conn: AsyncConnection[Any], version: int, selection: Selection) -> list[UUID]:
    """The ids of all memories that are selected."""
    where, values = selection.where()
    cursor = await conn.execute(f"SELECT memory_id FROM {table(version)} WHERE {where}", values)
    return [id for (id,) in await cursor.fetchall()]


async def numbered(
    conn: AsyncConnection[Any], version: int, selection: Selection
) -> list[tuple[int, str, datetime]]:
    """Of all memories that are selected: the position at which each began, its text, and since when it is.

    In the order of these positions.
    """
    where, values = selection.where()
    cursor = await conn.execute(
        f"SELECT n.number, m.text, m.created_at FROM {table(version)} m JOIN ({NUMBERS}) n USING (memory_id)"
        f" WHERE {where} ORDER BY n.number",
        values,
    )
    return await cursor.fetchall()
