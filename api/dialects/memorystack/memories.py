"""MemoryStack's memories: listed, found, changed and deleted."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from api.auth import require
from api.body import Body
from api.dialects.memorystack.answers import (
    SELECTED,
    TAGS,
    FoundAnswer,
    MemoryAnswer,
    answers,
    cursor_after,
    flat,
    place_of,
    selected,
    wrong,
)
from api.dialects.memorystack.repeats import ONCE
from api.request import IdempotencyKey, MinPosition
from api.shortened import SHORTENED, if_shortened
from application import erasure, finding, memories
from application.asked import Asked
from application.engine import Engine
from application.repeats import anew
from application.storable import MAX_TEXT, Id, check_metadata, check_text
from domain.errors import NotFound
from domain.eventstore.writer import Result
from domain.ids import MEMORY_PREFIX, parse
from domain.key import DELETING
from domain.memory import DeleteMemory, EraseMemory, Memory, UpdateMemory
from projections import search
from projections.conditions import IdIn
from projections.selection import Selection

MAX_LISTED = 100
MAX_FOUND = 50
MAX_DELETED = 1_000

Order = Literal["asc", "desc"]
Mode = Literal["hybrid", "vector", "text", "graph", "keyword"]
MODES: dict[Mode, search.Mode] = {
    "hybrid": "hybrid",
    "vector": "vector",
    "text": "keyword",
    "keyword": "keyword",
    "graph": "hybrid",
}
TOLD_MODES = {"hybrid": "hybrid", "vector": "vector", "keyword": "text"}
"""Ours → the SDK's. Nothing is searched along the graph, so `graph` is answered as the `hybrid` it was."""


# --- bodies -----------------------------------------------------------------------------------------


class UpdateRequest(Body, frozen=True, kw_only=True):
    content: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"\S")] | None = None
    memory_type: Id | None = None
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    metadata: dict[str, Any] | None = None
    """Merged by key; a null removes its key."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        if all(getattr(self, name) is None for name in self.__struct_fields__):
            raise ValueError("nothing to update: send content, memory_type, confidence or metadata")


class DeleteRequest(Body, frozen=True, kw_only=True):
    memory_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_DELETED)]
    hard: bool = False


# --- answers ----------------------------------------------------------------------------------------


class ListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    count: int
    """Of this page."""
    next_cursor: str | None
    results: list[MemoryAnswer]


class AgentListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    count: int
    next_cursor: str | None
    data: list[MemoryAnswer]


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    count: int
    mode: str
    """The one that was searched by."""
    results: list[FoundAnswer]


class OneAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    memory: MemoryAnswer


class DeleteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    deleted_count: int
    hard_delete: bool


# --- listing ----------------------------------------------------------------------------------------


@get(
    "/api/v1/memories",
    operation_id="memorystackListMemories",
    opt={"scope": "memories:read"},
    responses=answers(),
    dependencies=SELECTED,
    tags=TAGS,
    summary="List memories page by page, newest first",
)
async def listing(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    selection: NamedDependency[Selection],
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)] = 20,
    cursor: FromQuery[str | None] = None,
    order: FromQuery[Order] = "desc",
    include_embedding: FromQuery[bool] = False,
    min_position: MinPosition = None,
) -> ListAnswer:
    after = place_of(cursor)
    page = await memories.listing(engine, asked, selection, limit + 1, ascending=order == "asc", after=after)
    told, next_cursor = _page(page, limit)
    if include_embedding:
        told = await _with_embeddings(asked, engine, told)
    return ListAnswer(success=True, count=len(told), next_cursor=next_cursor, results=told)


@get(
    "/api/v1/memories/agents",
    operation_id="memorystackListAgentMemories",
    opt={"scope": "memories:read"},
    responses=answers(),
    tags=TAGS,
    summary="List an agent's memories, and those of the teams and projects that it has written for",
)
async def of_agent(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    agent_id: Annotated[str, QueryParameter(min_length=1, max_length=255)],
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)] = 50,
    include_team: FromQuery[bool] = True,
    include_project: FromQuery[bool] = True,
    cursor: FromQuery[str | None] = None,
    min_position: MinPosition = None,
) -> AgentListAnswer:
    after = place_of(cursor)
    page = await memories.around_agent(
        engine, asked, agent_id, limit + 1, teams=include_team, projects=include_project, after=after
    )
    told, next_cursor = _page(page, limit)
    return AgentListAnswer(success=True, count=len(told), next_cursor=next_cursor, data=told)


def _page(page: list[Memory], limit: int) -> tuple[list[MemoryAnswer], str | None]:
    """The memories of a page that was asked for one more, and where the next one begins."""
    next_cursor = cursor_after(page[limit - 1]) if len(page) > limit else None
    return [MemoryAnswer(**flat(memory)) for memory in page[:limit]], next_cursor


async def _with_embeddings(asked: Asked, engine: Engine, told: list[MemoryAnswer]) -> list[MemoryAnswer]:
    found = await memories.vectors_of(engine, asked, [UUID(memory.id) for memory in told])
    return [msgspec.structs.replace(memory, embedding=found.get(UUID(memory.id))) for memory in told]


# --- searching --------------------------------------------------------------------------------------


@get(
    "/api/v1/memories/search",
    operation_id="memorystackSearchMemories",
    opt={"scope": "memories:read", "search": True},
    responses=answers(),
    response_headers=[SHORTENED],
    dependencies=SELECTED,
    tags=TAGS,
    summary="Find memories by meaning and by words",
)
async def find(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    selection: NamedDependency[Selection],
    sought: Annotated[str, QueryParameter(name="query")],
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_FOUND)] = 10,
    mode: FromQuery[Mode] = "hybrid",
    threshold: Annotated[float, QueryParameter(ge=0, le=1, description="Lowest score")] = 0.0,
    min_position: MinPosition = None,
) -> Response[SearchAnswer]:
    try:
        check_text(sought)
    except ValueError as error:
        raise wrong("query", str(error)) from None
    asks = search.Query(selection=selection, text=sought, limit=limit, threshold=threshold, mode=MODES[mode])
    found = await finding.find(engine, asked, asks)
    results = [
        FoundAnswer(**flat(hit.memory), similarity=round(hit.similarity, 4), score=round(hit.score, 4))
        for hit in found.hits
    ]
    answer = SearchAnswer(success=True, count=len(results), mode=TOLD_MODES[MODES[mode]], results=results)
    return Response(answer, headers=if_shortened(found))


# --- one, and many by id ----------------------------------------------------------------------------


@get(
    "/api/v1/memories/{memory_id:str}",
    operation_id="memorystackGetMemory",
    opt={"scope": "memories:read"},
    responses=answers(404),
    tags=TAGS,
    summary="Get a memory",
)
async def get_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> OneAnswer:
    return OneAnswer(
        success=True, memory=MemoryAnswer(**flat(await memories.get(engine, asked, _id(memory_id))))
    )


@patch(
    "/api/v1/memories/{memory_id:str}",
    operation_id="memorystackUpdateMemory",
    opt={"scope": "memories:write"},
    responses=answers(404, 409, 413, 415, 422),
    tags=TAGS,
    summary="Change a memory's content, type, confidence or metadata",
)
async def update(
    memory_id: FromPath[str],
    data: JSONBody[UpdateRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> OneAnswer:
    result = await memories.change(engine, asked, _id(memory_id), lambda memory: _change(memory, data))
    return OneAnswer(success=True, memory=MemoryAnswer(**flat(result.state)))


@delete(
    "/api/v1/memories/{memory_id:str}",
    operation_id="memorystackDeleteMemory",
    opt={"scope": DELETING},
    responses=answers(404, 409, 422),
    dependencies=ONCE,
    status_code=200,
    tags=TAGS,
    summary="Delete a memory; its history stays, unless `hard` erases the words there too",
)
async def delete_one(
    memory_id: FromPath[str],
    once: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    hard: Annotated[bool, QueryParameter(description="Erase it; also one that was deleted before")] = False,
    idempotency_key: IdempotencyKey = None,
) -> DeleteAnswer:
    require(once.caller, "memories:erase" if hard else "memories:write")
    id = _id(memory_id)
    if hard:
        await engine.run(once, erasure.erase, once, [(id, EraseMemory())])
    else:
        await engine.execute(once, [(id, DeleteMemory())])
    return DeleteAnswer(success=True, deleted_count=1, hard_delete=hard)


@delete(
    "/api/v1/memories/batch",
    operation_id="memorystackDeleteMemories",
    opt={"scope": DELETING},
    responses=answers(409, 413, 415, 422),
    dependencies=ONCE,
    status_code=200,
    tags=TAGS,
    summary="Delete the memories that are named; those that are not there are passed over",
)
async def delete_many(
    data: JSONBody[DeleteRequest],
    once: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> DeleteAnswer:
    require(once.caller, "memories:erase" if data.hard else "memories:write")
    named = list({id for text in data.memory_ids if (id := parse(MEMORY_PREFIX, text))})
    # Only those that are there: a receipt does not tell which of its results changed nothing. A repetition
    # finds none.
    if data.hard:
        ids = await erasure.unerased(engine, once, named)
        erasures = [(id, EraseMemory(missing_ok=True)) for id in ids]
        by = anew(once) if ids else once
        results = await engine.run(by, erasure.erase, by, erasures)
        return DeleteAnswer(success=True, deleted_count=_changed(results), hard_delete=True)
    there = selected(once)
    there = msgspec.structs.replace(there, conditions=(IdIn(named),))
    ids = await memories.ids_in(engine, once, there)
    results = await engine.execute(
        anew(once) if ids else once, [(id, DeleteMemory(missing_ok=True)) for id in ids]
    )
    return DeleteAnswer(success=True, deleted_count=_changed(results), hard_delete=False)


ROUTES = [listing, of_agent, find, get_one, update, delete_one, delete_many]


def _change(memory: Memory, data: UpdateRequest) -> UpdateMemory:
    """What changes a memory. Traits are one value: who changes one of them must know what the others are."""
    if data.memory_type is None and data.confidence is None:
        return UpdateMemory(text=data.content, metadata=data.metadata)
    traits = memory.traits
    if data.content not in (None, memory.text):  # what was found in the old words is not known of new ones
        traits = msgspec.structs.replace(traits, happened_on=None, entities=(), relations=())
    if data.memory_type is not None:
        traits = msgspec.structs.replace(traits, type=data.memory_type)
    if data.confidence is not None:
        traits = msgspec.structs.replace(traits, confidence=data.confidence)
    return UpdateMemory(
        text=data.content, metadata=data.metadata, traits=traits, expected_version=memory.version
    )


def _changed(results: Sequence[Result[Memory]]) -> int:
    return sum(result.changed for result in results)


def _id(text: str) -> UUID:
    id = parse(MEMORY_PREFIX, text)
    if id is None:
        raise NotFound("no such memory")
    return id
