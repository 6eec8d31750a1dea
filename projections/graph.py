"""The *graph* projection: the entities that memories speak of, and the relations between them.

Each row belongs to the memory that says it, so what a memory no longer says is gone with its rows.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection

from domain.memory import Memory
from domain.scope import Scope
from projections import pieces
from projections.catalogue import Build
from projections.changes import Change, last_changes
from projections.projection import Columns, Projection, Row, of_last_state
from projections.selection import Selection


class _Graph(Projection[Memory], frozen=True, kw_only=True):
    def apply(self, conn: Connection[Any], build: Build, changes: Sequence[Change[Memory]]) -> None:
        # Most memories speak of nothing: their changes touch no row here.
        last = [c for c in last_changes(changes) if c.after.version > 1 or _rows(c.after)]
        super().apply(conn, build, last)


def _rows(memory: Memory) -> list[Row]:
    scope, traits = memory.scope, memory.traits
    place = (memory.id, scope.owner, scope.user_id, scope.agent_id, scope.run_id, scope.project_id)
    entities = [(*place, entity.name, entity.type, None, None) for entity in traits.entities]
    relations = [(*place, r.source, None, r.relation, r.target) for r in traits.relations]
    return [*entities, *relations]


GRAPH = _Graph(
    name="graph",
    aggregate="memory",
    columns=Columns(
        memory_id="uuid NOT NULL",
        owner="text NOT NULL",
        user_id="text",
        agent_id="text",
        run_id="text",
        project_id="text",
        name="text NOT NULL",  # of the entity, or of the one that a relation starts from
        type="text",  # of the entity; null: the row is a relation
        relation="text",
        target="text",
    ),
    key=None,
    indexes=("(memory_id)", "(owner, user_id)"),
    rows=of_last_state(_rows),
    order=40,
)


# --- queries ----------------------------------------------------------------------------------------


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """An entity, and how many memories of the scope speak of it."""

    name: str
    type: str
    memories: int


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A relation, and the memories that say so."""

    source: str
    relation: str
    target: str
    memory_ids: list[UUID]


async def entities(
    conn: AsyncConnection[Any], build: Build, scope: Scope, limit: int, offset: int
) -> list[Node]:
    """The entities of a scope, the most spoken of first. A name counts once, however it is capitalised."""
    # These rows do not say when their memory expires; they go with it.
    where, values = Selection(scope=scope, with_expired=True).where()
    cursor = await conn.execute(
        f"SELECT min(name), mode() WITHIN GROUP (ORDER BY type), count(DISTINCT memory_id)::int"
        f" FROM {build.table} WHERE {where} AND type IS NOT NULL"
        " GROUP BY lower(name) ORDER BY 3 DESC, 1 LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    return [Node(name=name, type=type, memories=count) for name, type, count in await pieces.all_of(cursor)]


async def relations(
    conn: AsyncConnection[Any], build: Build, scope: Scope, limit: int, offset: int
) -> list[Edge]:
    """The relations of a scope, in order of their names."""
    # These rows do not say when their memory expires; they go with it.
    where, values = Selection(scope=scope, with_expired=True).where()
    cursor = await conn.execute(
        f"SELECT min(name), relation, min(target), array_agg(DISTINCT memory_id)"
        f" FROM {build.table} WHERE {where} AND relation IS NOT NULL"
        " GROUP BY lower(name), relation, lower(target) ORDER BY 1, 2, 3 LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    return [
        Edge(source=source, relation=relation, target=target, memory_ids=ids)
        for source, relation, target, ids in await pieces.all_of(cursor)
    ]


async def relations_among(
    conn: AsyncConnection[Any], build: Build, scope: Scope, nodes: Sequence[Node], limit: int
) -> list[Edge]:
    """The relations of a scope between these entities, spelled as they are, in order of their names."""
    # These rows do not say when their memory expires; they go with it.
    where, values = Selection(scope=scope, with_expired=True).where()
    listed = "unnest(%(names)s::text[])"
    cursor = await conn.execute(
        "SELECT source, relation, other, array_agg(DISTINCT memory_id)"
        f" FROM {build.table} JOIN {listed} source ON lower(source) = lower(name)"
        f" JOIN {listed} other ON lower(other) = lower(target)"
        f" WHERE {where} AND relation IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT %(limit)s",
        {**values, "names": [node.name for node in nodes], "limit": limit},
    )
    return [
        Edge(source=source, relation=relation, target=target, memory_ids=ids)
        for source, relation, target, ids in await pieces.all_of(cursor)
    ]


async def totals(conn: AsyncConnection[Any], build: Build, scope: Scope) -> tuple[int, int]:
    """How many entities a scope has, and how many relations between them."""
    where, values = Selection(scope=scope, with_expired=True).where()
    cursor = await conn.execute(
        "WITH said AS (SELECT lower(name) AS source, type, relation, lower(target) AS other"
        f" FROM {build.table} WHERE {where}),"
        " known AS (SELECT DISTINCT source FROM said WHERE type IS NOT NULL)"
        " SELECT (SELECT count(*) FROM known), (SELECT count(DISTINCT (source, relation, other)) FROM said"
        " WHERE relation IS NOT NULL AND source IN (TABLE known) AND other IN (TABLE known))",
        values,
    )
    return await cursor.fetchone() or (0, 0)
