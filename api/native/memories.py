"""The native API: the Memoid contract (seed 002) with versions, search modes and time.

Where the contract's text and its SDK name a list differently, both names are answered.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, QueryParameter

from api.body import Body
from api.errors import Refusal, refusals
from api.ids import id_of
from api.position import at_position, at_results
from api.request import IdempotencyKey, IfMatch, MinPosition, Prefer, expected_version, patience
from api.scope import SCOPED
from application import erasure, finding, ingestions, memories
from application.asked import Asked
from application.engine import Engine
from application.memories import FlatMemory, fields_of
from application.projects import guidance_of
from application.storable import Id, Tag, check_metadata, check_text
from application.versions import Version, versions
from domain.aggregate import Command
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, new_id, spell
from domain.ingestion import Ingestion, Message, Received, Role, Status
from domain.memory import AddMemory, DeleteMemory, EraseMemory, Memory, UpdateMemory
from domain.scope import Scope
from projections import search
from projections.selection import Selection

MAX_MESSAGES = 1_000
MAX_LIMIT = 10_000
"""Of a list. The contract knows no highest limit, so whoever wants more gets as many."""
MAX_FOUND = 100
"""Of a search, alike."""
WAIT_SECONDS = 25.0
"""For extraction, at the most: the SDK gives up a request after 30 s, and would not learn that it is kept."""

Limit = Annotated[
    int, QueryParameter(ge=1, description=f"At most so many; more than {MAX_LIMIT} is {MAX_LIMIT}")
]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31)]


# --- bodies -----------------------------------------------------------------------------------------


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message: text, or something that has none, such as an image."""

    type: str
    text: str | None = None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation, as chat models take it."""

    role: Literal["user", "assistant", "system", "tool", "developer", "function"]
    content: str | list[Part] | None = None
    """null: the assistant only called tools."""
    timestamp: datetime | None = None
    """When it was said; by default, now."""

    @property
    def text(self) -> str:
        if not isinstance(self.content, list):
            return self.content or ""
        return "\n".join(f"[{part.type}]" if part.text is None else part.text for part in self.content)

    def message(self) -> Message:
        """The turn as the log keeps it: what has no text leaves its kind in brackets."""
        role = ROLES.get(self.role, self.role)
        return Message(role=cast("Role", role), text=self.text, at=self.timestamp)


ROLES = {"developer": "system", "function": "tool"}
"""Newer and older names of the same roles."""


class AddRequest(Body, frozen=True, kw_only=True):
    messages: Annotated[list[Said], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    user_id: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    infer: bool = True
    """Extract facts; else each message becomes a memory as it is."""
    extract_graph: bool = False
    metadata: dict[str, Any] | None = None
    tags: list[Tag] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        for said in self.messages:
            if (said.role in ("user", "system") or not self.infer) and not said.text.strip():
                raise ValueError("a message has no content")
            if not self.infer:
                check_text(said.text)
                if isinstance(said.content, list) and any(part.text is None for part in said.content):
                    raise ValueError(
                        "only text can be kept as it is; with `infer` other parts are passed over"
                    )


class UpdateRequest(Body, frozen=True, kw_only=True):
    memory: str | None = None
    metadata: dict[str, Any] | None = None
    """Merged by key; a null removes its key."""
    tags: list[Tag] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        if self.memory is not None:
            check_text(self.memory)
        if self.memory is None and self.metadata is None and self.tags is None:
            raise ValueError("nothing to update: send `memory`, `metadata` or `tags`")


class SearchRequest(Body, frozen=True, kw_only=True):
    query: str
    user_id: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    tags: list[Tag] = msgspec.field(default_factory=list)
    """All of them must be there."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """All of these pairs must be there."""
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Lowest score of a hit; none by default."""
    limit: Annotated[int, msgspec.Meta(ge=1, description=f"More than {MAX_FOUND} is {MAX_FOUND}")] = 10
    top_k: Annotated[int, msgspec.Meta(ge=1, description="Another name of `limit`")] | None = None
    mode: search.Mode = "hybrid"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        check_text(self.query)


# --- answers ----------------------------------------------------------------------------------------


class FoundMemory(FlatMemory, frozen=True, kw_only=True):
    score: float


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    memory: str
    event: Literal["ADD", "UPDATE", "DELETE", "NONE"]


class AddAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    results: list[Changed]
    memories: list[Changed]
    ingestion_id: str | None = None
    """Where the conversation and all decisions on it are: `GET /v1/ingestions/{ingestion_id}`."""
    status: Status | None = None
    """Of the ingestion: `waiting` with a 202."""
    reason: str | None = None
    """Why it failed."""


class ListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[FlatMemory]
    memories: list[FlatMemory]
    total: int


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[FoundMemory]


class DeleteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    deleted: int


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    history: list[Version]


# --- routes -----------------------------------------------------------------------------------------


@post(
    "/v1/memories",
    operation_id="addMemories",
    opt={"scope": "write"},
    responses={
        202: ResponseSpec(AddAnswer, description="Kept; extraction goes on at the Location"),
        **refusals(409, 413, 415),
    },
    summary="Add memories from messages",
)
async def add(
    data: Annotated[
        AddRequest,
        BodyKwarg(
            examples=[
                Example(
                    value={
                        "messages": [
                            {"role": "user", "content": "I love hiking"},
                            {"role": "assistant", "content": "Great hobby!"},
                        ],
                        "user_id": "user_123",
                    }
                )
            ]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response[AddAnswer]:
    if data.infer:
        received = await _received(asked, engine, data)
        ingestion = await ingestions.receive(
            engine, asked, received, min(patience(engine, prefer), WAIT_SECONDS)
        )
        return told(ingestion)
    commands: list[tuple[UUID, Command[Memory]]] = [
        (
            new_id(),
            AddMemory(
                text=message.text,
                scope=_scope(asked, data),
                metadata=data.metadata or {},
                tags=tuple(data.tags),
                role=message.role,
            ),
        )
        for message in (said.message() for said in data.messages)
        if message.role != "system"
    ]
    results = await engine.execute(asked, commands)
    changed = [
        Changed(id=spell(MEMORY_PREFIX, r.state.id), memory=r.state.text, event="ADD") for r in results
    ]
    return Response(
        AddAnswer(results=changed, memories=changed), status_code=201, headers=at_results(results)
    )


@get(
    "/v1/memories",
    operation_id="listMemories",
    opt={"scope": "read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="List memories, newest first",
)
async def listing(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    limit: Limit = 100,
    offset: Offset = 0,
    as_of: Annotated[
        datetime | None, QueryParameter(description="As the memories were at this moment (RFC 3339)")
    ] = None,
    min_position: MinPosition = None,
) -> Response[ListAnswer]:
    limit = min(limit, MAX_LIMIT)
    page = await memories.page(engine, asked, Selection(scope=within), limit, offset, as_of)
    flat = [FlatMemory(**fields_of(memory)) for memory in page.memories]
    answer = ListAnswer(results=flat, memories=flat, total=page.total)
    return Response(answer, headers=at_position(page.position))


@post(
    ["/v1/search", "/v1/memories/search"],
    operation_id=lambda _, __, path: "searchMemories" if len(path) == 2 else "searchMemoriesToo",
    opt={"scope": "read", "search": True},
    responses=refusals(413, 415),
    status_code=200,
    summary="Find memories by meaning and by words",
)
async def find(
    data: Annotated[
        SearchRequest,
        BodyKwarg(
            examples=[Example(value={"query": "What does the user do outdoors?", "user_id": "user_123"})]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    min_position: MinPosition = None,
) -> Response[SearchAnswer]:
    query = search.Query(
        selection=Selection(scope=_scope(asked, data), tags=tuple(data.tags), metadata=data.metadata),
        text=data.query,
        limit=min(data.top_k or data.limit, MAX_FOUND),
        threshold=data.threshold or 0.0,
        mode=data.mode,
    )
    hits, position = await finding.find(engine, asked, query)
    found = [FoundMemory(**fields_of(hit.memory), score=round(hit.score, 4)) for hit in hits]
    return Response(SearchAnswer(results=found), headers=at_position(position))


@get(
    "/v1/memories/{memory_id:str}",
    operation_id="getMemory",
    opt={"scope": "read"},
    responses=refusals(404),
    summary="Get a memory",
)
async def get_one(
    memory_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    version: Annotated[int | None, QueryParameter(ge=1, description="As it was at this version")] = None,
) -> Response[FlatMemory]:
    return _one(await memories.get(engine, asked, id_of(MEMORY_PREFIX, memory_id), version))


@put(
    "/v1/memories/{memory_id:str}",
    operation_id="updateMemory",
    opt={"scope": "write"},
    responses=refusals(404, 409, 412, 413, 415),
    summary="Change a memory's text, metadata or tags",
)
async def update(
    memory_id: FromPath[str],
    data: Annotated[
        UpdateRequest,
        BodyKwarg(
            examples=[Example(value={"memory": "User loves trail running", "metadata": {"sure": True}})]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[FlatMemory]:
    command = UpdateMemory(
        text=data.memory,
        metadata=data.metadata,
        tags=None if data.tags is None else tuple(data.tags),
        expected_version=expected_version(if_match),
    )
    (result,) = await engine.execute(asked, [(id_of(MEMORY_PREFIX, memory_id), command)])
    return _one(result.state)


@delete(
    "/v1/memories/{memory_id:str}",
    operation_id="deleteMemory",
    opt={"scope": "write"},
    responses=refusals(404, 409, 412),
    status_code=200,
    summary="Delete a memory; its history stays, unless `erase` takes the words out of it too",
)
async def delete_one(
    memory_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    erase: Annotated[bool, QueryParameter(description="For good; also one that was deleted before")] = False,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[DeleteAnswer]:
    id, expected = id_of(MEMORY_PREFIX, memory_id), expected_version(if_match)
    if erase:
        results = await engine.run(
            asked, erasure.erase, asked, [(id, EraseMemory(expected_version=expected))]
        )
    else:
        results = await engine.execute(asked, [(id, DeleteMemory(expected_version=expected))])
    message = "Memory erased" if erase else "Memory deleted"
    return Response(DeleteAnswer(message=message, deleted=1), headers=at_results(results))


@delete(
    "/v1/memories",
    operation_id="deleteMemories",
    opt={"scope": "write"},
    responses=refusals(409),
    dependencies=SCOPED,
    status_code=200,
    summary="Delete all memories of a user, agent, run or project",
)
async def delete_many(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    idempotency_key: IdempotencyKey = None,
) -> Response[DeleteAnswer]:
    if within == Scope(owner=within.owner):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "filter-missing",
            "name a user_id, agent_id, run_id or project_id: without a filter nothing is deleted",
        )
    ids = await memories.ids_in(engine, asked, Selection(scope=within))
    results = await engine.execute(asked, [(id, DeleteMemory(missing_ok=True)) for id in ids])
    deleted = sum(result.changed for result in results)
    return Response(
        DeleteAnswer(message=f"{deleted} memories deleted", deleted=deleted), headers=at_results(results)
    )


@get(
    "/v1/memories/{memory_id:str}/history",
    operation_id="getMemoryHistory",
    opt={"scope": "read"},
    responses=refusals(404),
    summary="Every change of a memory, newest first",
)
async def get_history(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> HistoryAnswer:
    return HistoryAnswer(
        history=versions(await memories.events_of(engine, asked, id_of(MEMORY_PREFIX, memory_id)))
    )


ROUTES = [add, listing, find, get_one, update, delete_one, delete_many, get_history]


async def _received(asked: Asked, engine: Engine, data: AddRequest) -> Received:
    guidance = await guidance_of(engine, asked, data.project_id)
    return Received(
        scope=_scope(asked, data),
        messages=tuple(said.message() for said in data.messages),
        metadata=data.metadata or {},
        tags=tuple(data.tags),
        extract_graph=data.extract_graph,
        instructions=guidance.custom_instructions,
        categories=guidance.custom_categories,
    )


# --- shaping ----------------------------------------------------------------------------------------


def told(ingestion: Ingestion) -> Response[AddAnswer]:
    """What has become of a conversation: 201 with the changes, or 202 with where to ask for them."""
    decisions = ingestion.extracted.decisions if ingestion.extracted else ()
    changed = [
        Changed(id=spell(MEMORY_PREFIX, d.memory_id), memory=d.text, event=d.action)
        for d in decisions
        if d.memory_id and d.action != "NONE"
    ]
    id = spell(INGESTION_PREFIX, ingestion.id)
    answer = AddAnswer(
        results=changed,
        memories=changed,
        ingestion_id=id,
        status=ingestion.status,
        reason=ingestion.failed.reason if ingestion.failed else None,
    )
    headers = at_position(ingestion.position)
    if ingestion.status == "extracted":
        return Response(answer, status_code=201, headers=headers)
    return Response(answer, status_code=202, headers={**headers, "Location": f"/v1/ingestions/{id}"})


def _one(memory: Memory) -> Response[FlatMemory]:
    headers = {"ETag": f'"{memory.version}"', **at_position(memory.position)}
    return Response(FlatMemory(**fields_of(memory)), headers=headers)


def _scope(asked: Asked, body: AddRequest | SearchRequest) -> Scope:
    return Scope(
        owner=asked.caller.owner,
        user_id=body.user_id,
        agent_id=body.agent_id,
        run_id=body.run_id,
        project_id=body.project_id,
    )
