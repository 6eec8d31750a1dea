"""The graph of what memories speak of (Memoid's contract)."""

from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.errors import refusals
from api.position import at_position
from api.request import MinPosition
from api.scope import SCOPED
from application import graph
from application.asked import Asked
from application.engine import Engine
from domain.ids import MEMORY_PREFIX, named_id, spell
from domain.scope import Scope
from projections.graph import Edge, Node

MAX_NODES = 10_000
"""The SDK asks for no limit and no next page: all of most graphs at once."""
MAX_EDGES = 50_000
ENTITY_PREFIX = "ent_"

Limit = Annotated[
    int, QueryParameter(ge=1, description=f"At most so many entities; more than {MAX_NODES} is {MAX_NODES}")
]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31)]


class EntityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    type: str
    memories: int
    """How many memories speak of it."""


class RelationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    relation: str
    target: str
    memory_ids: list[str]
    """The memories that say so."""


class EntitiesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    entities: list[EntityAnswer]
    total_entities: int
    """Of the scope, listed here or not."""


class GraphAnswer(EntitiesAnswer, frozen=True, kw_only=True):
    relations: list[RelationAnswer]
    """Those between the entities that are listed here."""
    total_relations: int
    """Of the scope, listed here or not."""


@get(
    "/v1/graph",
    operation_id="getGraph",
    opt={"scope": "memories:read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="Entities and relations that memories with extract_graph speak of",
)
async def whole(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    limit: Limit = MAX_NODES,
    offset: Offset = 0,
    min_position: MinPosition = None,
) -> Response[GraphAnswer]:
    found = await graph.drawn(engine, asked, within, min(limit, MAX_NODES), offset, MAX_EDGES)
    answer = GraphAnswer(
        entities=_entities(asked.caller.owner, found.entities),
        relations=[_relation(edge) for edge in found.relations],
        total_entities=found.total_entities,
        total_relations=found.total_relations,
    )
    return Response(answer, headers=at_position(found.position))


@get(
    "/v1/entities",
    operation_id="listEntities",
    opt={"scope": "memories:read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="Entities, the most spoken of first",
)
async def entities(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    limit: Limit = MAX_NODES,
    offset: Offset = 0,
    min_position: MinPosition = None,
) -> Response[EntitiesAnswer]:
    found = await graph.drawn(engine, asked, within, min(limit, MAX_NODES), offset, most_relations=0)
    entities = _entities(asked.caller.owner, found.entities)
    answer = EntitiesAnswer(entities=entities, total_entities=found.total_entities)
    return Response(answer, headers=at_position(found.position))


ROUTES = [whole, entities]


def _entities(owner: str, nodes: list[Node]) -> list[EntityAnswer]:
    return [
        EntityAnswer(
            id=spell(ENTITY_PREFIX, named_id("entity", f"{owner} {node.name.lower()}")),
            name=node.name,
            type=node.type,
            memories=node.memories,
        )
        for node in nodes
    ]


def _relation(edge: Edge) -> RelationAnswer:
    return RelationAnswer(
        source=edge.source,
        relation=edge.relation,
        target=edge.target,
        memory_ids=[spell(MEMORY_PREFIX, id) for id in edge.memory_ids],
    )
