"""The graph of what memories speak of: entities, and the relations between them."""

from typing import NamedTuple

from application import memories
from application.asked import Asked
from application.engine import Engine
from domain.memory import Memory
from domain.scope import Scope
from projections import graph
from projections.graph import Edge, Node
from projections.selection import Selection


class Graph(NamedTuple):
    """A page of the entities of a scope, and the position of the log up to which it holds."""

    entities: list[Node]
    relations: list[Edge]
    """Those between the entities of the page."""
    total_entities: int
    """Of the scope, as the next."""
    total_relations: int
    position: int


class Overview(NamedTuple):
    """What an owner has, and what it speaks of."""

    memories: list[Memory]
    entities: list[Node]
    relations: list[Edge]


async def overview(engine: Engine, asked: Asked, most: int) -> Overview:
    """The newest memories of the caller's owner, its entities and relations: at most so many of each."""
    scope = Scope(owner=asked.caller.owner)
    newest = await memories.listing(engine, asked, Selection(scope=scope), most)
    async with engine.reading(asked, graph.GRAPH) as (conn, build):
        entities = await graph.entities(conn, build, scope, most, 0)
        relations = await graph.relations(conn, build, scope, most, 0)
    return Overview(newest, entities, relations)


async def drawn(
    engine: Engine, asked: Asked, within: Scope, limit: int, offset: int, most_relations: int
) -> Graph:
    """The entities of a scope, the most spoken of first, and at most so many relations of them."""
    async with engine.reading(asked, graph.GRAPH) as (conn, build):
        entities = await graph.entities(conn, build, within, limit, offset)
        relations = (
            await graph.relations_among(conn, build, within, entities, most_relations)
            if most_relations
            else []
        )
        total_entities, total_relations = await graph.totals(conn, build, within)
    return Graph(entities, relations, total_entities, total_relations, build.position)
