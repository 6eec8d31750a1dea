"""Memories by whose they are, and by what they say (Memoid's contract).

Where the contract's text and its SDK name a list differently, both names are answered.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, QueryParameter

from api.auth import require
from api.body import Body
from api.errors import refusals
from api.position import at_position
from api.request import MinPosition
from api.scope import SCOPED
from api.shortened import SHORTENED, if_shortened
from application import finding, memories
from application.asked import Asked
from application.engine import Engine
from application.memories import FlatMemory, fields_of
from application.storable import Id, TagsWanted, check_metadata, check_text
from domain.scope import Scope
from projections import search
from projections.selection import Selection

MAX_LIMIT = 10_000
"""Of a list. The contract knows no highest limit, so whoever wants more gets as many."""
MAX_FOUND = 100
"""Of a search, alike."""

Limit = Annotated[
    int, QueryParameter(ge=1, description=f"At most so many; more than {MAX_LIMIT} is {MAX_LIMIT}")
]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31)]


class SearchRequest(Body, frozen=True, kw_only=True):
    query: str
    user_id: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    tags: TagsWanted = msgspec.field(default_factory=list)
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


class FoundMemory(FlatMemory, frozen=True, kw_only=True):
    score: float


class ListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[FlatMemory]
    memories: list[FlatMemory]
    total: int


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[FoundMemory]


@get(
    "/v1/memories",
    operation_id="listMemories",
    opt={"scope": "memories:read"},
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
    if as_of is not None:
        require(asked.caller, "log:read")
    limit = min(limit, MAX_LIMIT)
    page = await memories.page(engine, asked, Selection(scope=within), limit, offset, as_of)
    flat = [FlatMemory(**fields_of(memory)) for memory in page.memories]
    answer = ListAnswer(results=flat, memories=flat, total=page.total)
    return Response(answer, headers=at_position(page.position))


@post(
    ["/v1/search", "/v1/memories/search"],
    operation_id=lambda _, __, path: "searchMemories" if len(path) == 2 else "searchMemoriesToo",
    opt={"scope": "memories:read", "search": True},
    responses=refusals(413, 415),
    response_headers=[SHORTENED],
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
    scope = Scope(
        owner=asked.caller.owner,
        user_id=data.user_id,
        agent_id=data.agent_id,
        run_id=data.run_id,
        project_id=data.project_id,
    )
    query = search.Query(
        selection=Selection(scope=scope, tags=tuple(data.tags), metadata=data.metadata),
        text=data.query,
        limit=min(data.top_k or data.limit, MAX_FOUND),
        threshold=data.threshold or 0.0,
        mode=data.mode,
    )
    found = await finding.find(engine, asked, query)
    results = [FoundMemory(**fields_of(hit.memory), score=round(hit.score, 4)) for hit in found.hits]
    headers = at_position(found.position) | if_shortened(found)
    return Response(SearchAnswer(results=results), headers=headers)


ROUTES = [listing, find]
