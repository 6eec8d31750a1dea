"""The *memories* projection: every memory that is there now, for lists, filters and counts."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from domain.eventstore.memories import NUMBERS
from domain.memory import Memory, Traits
from domain.scope import Scope
from projections import pieces
from projections.catalogue import Build, builds
from projections.conditions import Condition, Parameters, Some, TextIs
from projections.projection import Columns, Projection, Row, of_last_state
from projections.selection import UNEXPIRED, Selection

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
    order=10,
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
    page: list[Memory] = await pieces.all_of(cursor)
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
    return [id for (id,) in await pieces.all_of(cursor)]


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
    return await pieces.all_of(cursor)


class Extent(NamedTuple):
    """How much an owner has."""

    memories: int
    users: int
    agents: int
    text_bytes: int
    metadata_bytes: int


async def extent(conn: AsyncConnection[Any], build: Build, owner: str) -> Extent:
    cursor = await conn.execute(
        "SELECT count(*), count(DISTINCT user_id), count(DISTINCT agent_id),"
        " coalesce(sum(octet_length(text)), 0)::bigint,"
        " coalesce(sum(octet_length(metadata::text)), 0)::bigint"
        f" FROM {build.table} WHERE owner = %s",
        (owner,),
    )
    row = await cursor.fetchone()
    assert row  # noqa: S101 - an aggregate is one row
    return Extent(*row)


class Holder(NamedTuple):
    """A user, agent, project or run that memories belong to."""

    column: str
    """`user_id`, `agent_id`, `project_id` or `run_id`."""
    id: str
    memories: int
    first: datetime
    """When the first of them came to be."""
    last: datetime
    """When one of them was last changed."""


async def holders(
    conn: AsyncConnection[Any], build: Build, owner: str, limit: int, offset: int
) -> tuple[list[Holder], int]:
    """One page of those that an owner's memories belong to, by column and id, and how many there are."""
    where, values = Selection(scope=Scope(owner=owner)).where()
    cursor = await conn.execute(
        "SELECT column_name, id, count(*), min(created_at), max(updated_at), count(*) OVER ()"
        f" FROM {build.table}, LATERAL (VALUES ('user_id', user_id), ('agent_id', agent_id),"
        " ('project_id', project_id), ('run_id', run_id)) AS holder (column_name, id)"
        f" WHERE {where} AND id IS NOT NULL"
        " GROUP BY column_name, id ORDER BY column_name, id LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    rows = await pieces.all_of(cursor)
    return [Holder(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


class _AsAgents(Condition, frozen=True):
    """What has a column, or a key of its metadata, in common with one of an agent's memories."""

    build: Build
    agent_id: str
    column: str

    def sql(self, parameter: Parameters) -> str:
        agents = f"FROM {self.build.table} WHERE owner = %(owner)s AND agent_id = "
        return f"{self.column} IN (SELECT {self.column} {agents}{parameter(self.agent_id, 'text')})"


def around_agent(build: Build, owner: str, agent_id: str, *, teams: bool, projects: bool) -> Selection:
    """An agent's memories, and those of the teams and of the projects that it has written for."""
    around: list[Condition] = [TextIs("agent_id", "=", agent_id)]
    if teams:
        around.append(_AsAgents(build, agent_id, "metadata ->> 'team_id'"))
    if projects:
        around.append(_AsAgents(build, agent_id, "project_id"))
    return Selection(scope=Scope(owner=owner), conditions=(Some(around),))


def expired(conn: Connection[Any], limit: int) -> list[tuple[str, UUID, int]]:
    """Owner, id and version of memories that have expired and are still there."""
    return [
        row
        for build in builds(conn, MEMORIES.name)
        if build.state == "live"
        for row in conn.execute(
            f"SELECT owner, memory_id, version FROM {build.table}"
            f" WHERE traits ? 'expires_on' AND NOT {UNEXPIRED} LIMIT {limit}"
        )
    ]
