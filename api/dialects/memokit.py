"""The MemoKit contract (seed 001): texts are kept word for word, names are in camelCase.

Served below /memokit, and below /v1 for its own keys. What was not set is left out of answers.
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, ParameterKwarg, QueryParameter

from api.body import Body
from api.dialect import Dialect
from api.errors import Problem, Refusal
from application import finding, memories
from application.asked import Asked
from application.engine import Engine
from application.storable import MAX_TAGS_WANTED, Id, Tag, TagsWanted, check_metadata, check_text
from domain.errors import NotFound
from domain.ids import MEMORY_PREFIX, new_id, parse, spell
from domain.memory import AddMemory, DeleteMemory, Memory
from domain.scope import Scope
from projections import search
from projections.selection import Selection

MAX_CONTENT = 10_000
"""Characters; the contract's number."""
MAX_PAGE = 100
DEFAULT_THRESHOLD = 0.5
"""The contract's number, as those of the default limits are."""


# --- bodies -----------------------------------------------------------------------------------------


class CreateMemory(Body, frozen=True, kw_only=True, rename="camel"):
    content: Annotated[str, msgspec.Meta(max_length=MAX_CONTENT)]
    user_id: Id
    agent_id: Id | None = None
    tags: list[Tag] | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(self.content)
        check_metadata(self.metadata)
        _check_tags(self.tags or [])


def _check_tags(tags: list[str]) -> None:
    """Raises ValueError for a tag that no list could be filtered by: there, commas separate them."""
    if any("," in tag or tag != tag.strip() for tag in tags):
        raise ValueError("tags: a tag has no comma, and no space at its ends: send `a,b` as two tags")


class SearchMemories(Body, frozen=True, kw_only=True, rename="camel"):
    query: str
    user_id: Id | None = None
    agent_id: Id | None = None
    tags: TagsWanted | None = None
    """All of them must be there."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 10
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = DEFAULT_THRESHOLD
    """Lowest score of a result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(self.query)


# --- answers ----------------------------------------------------------------------------------------


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every answer tells of a memory; a null is left out."""

    id: str
    content: str
    user_id: str | None = None
    """Absent where another contract added the memory without one."""
    agent_id: str | None = None
    tags: list[str] | None = None
    created_at: datetime


class SearchResult(Told, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    score: float
    """0..1; higher is more relevant."""


class Item(Told, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    updated_at: datetime


class WholeMemory(Item, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    metadata: dict[str, Any] | None = None


class SearchResults(msgspec.Struct, frozen=True, kw_only=True):
    results: list[SearchResult]


class Pagination(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    page: int
    limit: int
    total: int
    total_pages: int


class Page(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Item]
    pagination: Pagination


class DeletedMemory(msgspec.Struct, frozen=True, kw_only=True):
    success: Literal[True] = True
    id: str


class Fault(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    code: str
    message: str
    retry_after: int | None = None
    """Seconds; of RATE_LIMIT_EXCEEDED."""
    current_usage: int | None = None
    """Requests of this month; this and the next two are of QUOTA_EXCEEDED."""
    limit: int | None = None
    reset_at: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    error: Fault


# --- errors -----------------------------------------------------------------------------------------

CODES = {
    "no-key": "UNAUTHORIZED",
    "unknown-scheme": "UNAUTHORIZED",
    "two-keys": "UNAUTHORIZED",
    "invalid-key": "INVALID_API_KEY",
    "revoked-key": "API_KEY_REVOKED",
    "expired-key": "API_KEY_EXPIRED",
    "scope-missing": "FORBIDDEN",
    "wrong-dialect": "FORBIDDEN",
    "invalid": "VALIDATION_ERROR",
    "above-head": "VALIDATION_ERROR",
    "malformed": "VALIDATION_ERROR",
    "unstorable": "VALIDATION_ERROR",
    "not-json": "UNSUPPORTED_MEDIA_TYPE",
    "quota-exceeded": "QUOTA_EXCEEDED",
    "rate-limited": "RATE_LIMIT_EXCEEDED",
    "internal": "INTERNAL_ERROR",
}
"""Kind of a problem → the contract's code; any other kind is its own, in capitals."""
TOLD = {
    "QUOTA_EXCEEDED": ("currentUsage", "limit", "resetAt"),
    "RATE_LIMIT_EXCEEDED": ("retryAfter",),
}
"""Code → what its body tells beside the message."""
STATUSES = {"QUOTA_EXCEEDED": HTTPStatus.FORBIDDEN, "IDEMPOTENCY_KEY_REUSED": HTTPStatus.CONFLICT}
"""Where the contract's status, or what is nearest to it, is not the problem's own."""


def shaped(problem: Problem, more: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """A problem in the contract's words; what is wrong with a request is always 400."""
    code = _code(problem)
    status = STATUSES.get(code, problem.status)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    told = {name: more[name] for name in TOLD.get(code, ()) if name in more}
    return status, {"error": {"code": code, "message": problem.detail, **told}}


def _code(problem: Problem) -> str:
    kind = problem.type.rpartition(":")[2]
    if kind == "not-found" and problem.detail == MISSING:
        return "MEMORY_NOT_FOUND"
    for wrong in problem.errors or ():
        key, message = wrong.get("key"), wrong.get("message", "")
        if key == "userId" or "`userId`" in message:
            return "INVALID_USER_ID"
        if key == "content" and "length <=" in message:
            return "CONTENT_TOO_LONG"
    return CODES.get(kind, kind.upper().replace("-", "_"))


MISSING = "no such memory"
"""What the domain says, too; an unknown route says something else."""


def _refusals(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(ErrorAnswer, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({400, 401, 403, 429, 503, *statuses})
    }


# --- routes -----------------------------------------------------------------------------------------

EXAMPLE = {
    "content": "The user mentioned they prefer Python for data science work",
    "userId": "user_123",
    "agentId": "agent_456",
    "tags": ["preference", "programming"],
    "metadata": {"source": "chat", "sessionId": "sess_789"},
}


@post(
    "/memokit/v1/memories",
    operation_id="memokitCreateMemory",
    opt={"scope": "memories:write"},
    responses=_refusals(409, 413, 415),
    tags=["MemoKit"],
    summary="Keep a text as a memory",
)
async def create(
    data: Annotated[CreateMemory, BodyKwarg(examples=[Example(value=EXAMPLE)])],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> WholeMemory:
    command = AddMemory(
        text=data.content,
        scope=_scope(asked, data.user_id, data.agent_id),
        metadata=data.metadata or {},
        tags=tuple(data.tags or ()),
    )
    (result,) = await engine.execute(asked, [(new_id(), command)])
    return _whole(result.state)


@post(
    "/memokit/v1/memories/search",
    operation_id="memokitSearchMemories",
    opt={"scope": "memories:read", "search": True},
    responses=_refusals(413, 415),
    status_code=200,
    tags=["MemoKit"],
    summary="Find memories by meaning",
)
async def find(
    data: Annotated[
        SearchMemories,
        BodyKwarg(
            examples=[
                Example(
                    value={
                        "query": "What programming languages does the user prefer?",
                        "userId": "user_123",
                        "limit": 5,
                        "threshold": 0.6,
                    }
                )
            ]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> SearchResults:
    query = search.Query(
        selection=Selection(scope=_scope(asked, data.user_id, data.agent_id), tags=tuple(data.tags or ())),
        text=data.query,
        limit=data.limit,
        threshold=data.threshold,
        mode="vector",  # the contract's score is the semantic similarity, and nothing else
    )
    found = await finding.find(engine, asked, query)
    results = [SearchResult(**_fields(hit.memory), score=round(hit.score, 4)) for hit in found.hits]
    return SearchResults(results=results)


def _of(name: str) -> ParameterKwarg:
    """A filter by an id, which has the bounds of `Id`."""
    return QueryParameter(name=name, min_length=1, max_length=255, pattern=r"^[^\x00]*$")


@get(
    "/memokit/v1/memories",
    operation_id="memokitListMemories",
    opt={"scope": "memories:read"},
    responses=_refusals(),
    tags=["MemoKit"],
    summary="List memories, newest first",
)
async def listing(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: Annotated[str | None, _of("userId")] = None,
    agent_id: Annotated[str | None, _of("agentId")] = None,
    tags: Annotated[str, QueryParameter(description="Separated by commas; all of them must be there")] = "",
    page: Annotated[int, QueryParameter(ge=1, le=2**31)] = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 20,
) -> Page:
    wanted = tuple(tag.strip() for tag in tags.split(",") if tag.strip())
    if len(wanted) > MAX_TAGS_WANTED:
        fault = {"key": "tags", "source": "query", "message": f"at most {MAX_TAGS_WANTED} tags"}
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", f"tags: {fault['message']}", errors=[fault])
    selection = Selection(scope=_scope(asked, user_id, agent_id), tags=wanted)
    found, total, _ = await memories.page(engine, asked, selection, limit, (page - 1) * limit)
    return Page(
        items=[Item(**_fields(memory), updated_at=memory.updated_at) for memory in found],
        pagination=Pagination(page=page, limit=limit, total=total, total_pages=ceil(total / limit)),
    )


@get(
    "/memokit/v1/memories/{memory_id:str}",
    operation_id="memokitGetMemory",
    opt={"scope": "memories:read"},
    responses=_refusals(404),
    tags=["MemoKit"],
    summary="Get a memory",
)
async def get_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> WholeMemory:
    return _whole(await memories.get(engine, asked, _id(memory_id)))


@delete(
    "/memokit/v1/memories/{memory_id:str}",
    operation_id="memokitDeleteMemory",
    opt={"scope": "memories:write"},
    responses=_refusals(404, 409),
    status_code=200,
    tags=["MemoKit"],
    summary="Delete a memory; its history stays",
)
async def delete_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Response[DeletedMemory]:
    (result,) = await engine.execute(asked, [(_id(memory_id), DeleteMemory())])
    return Response(DeletedMemory(id=spell(MEMORY_PREFIX, result.state.id)))


DIALECT = Dialect(
    name="memokit",
    prefixes=["/memokit/"],
    base="HOST/memokit, or HOST with a key that begins with mk_",
    routes=[create, find, listing, get_one, delete_one],
    errors={"/memokit": shaped},
    key_beginning="mk_",  # as its documentation has it
    always_limited=True,  # its contract names the headers without condition
)


# --- shaping ----------------------------------------------------------------------------------------


def _fields(memory: Memory) -> dict[str, Any]:
    return {
        "id": spell(MEMORY_PREFIX, memory.id),
        "content": memory.text,
        "user_id": memory.scope.user_id,
        "agent_id": memory.scope.agent_id,
        "tags": list(memory.tags) or None,
        "created_at": memory.created_at,
    }


def _whole(memory: Memory) -> WholeMemory:
    return WholeMemory(**_fields(memory), updated_at=memory.updated_at, metadata=memory.metadata or None)


def _scope(asked: Asked, user_id: str | None, agent_id: str | None) -> Scope:
    return Scope(owner=asked.caller.owner, user_id=user_id, agent_id=agent_id)


def _id(text: str) -> UUID:
    id = parse(MEMORY_PREFIX, text)
    if id is None:
        raise NotFound(MISSING)
    return id
