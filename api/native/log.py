"""The log itself: the audit trail in order of position, and how far the projections are."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.body import IdParameter
from api.errors import Refusal, refusals
from api.position import After
from application.asked import Asked
from application.engine import Engine
from application.events import LoggedEvent, page
from application.status import StatusAnswer, status_of
from domain.eventstore.reading import Filter
from domain.ids import MEMORY_PREFIX, parse

MAX_PAGE = 1_000


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[LoggedEvent]
    next_after: int
    """The `after` of the next page."""


@get(
    "/v1/events",
    operation_id="listEvents",
    opt={"scope": "log:read"},
    responses=refusals(),
    summary="The audit log, in order",
)
async def events(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    after: After = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
    memory_id: IdParameter = None,
    user_id: IdParameter = None,
    actor: IdParameter = None,
    cause: IdParameter = None,
    since: Annotated[datetime | None, QueryParameter(description="Recorded at or after (RFC 3339)")] = None,
    until: Annotated[datetime | None, QueryParameter(description="Recorded before (RFC 3339)")] = None,
) -> EventsAnswer:
    only = Filter(owner=asked.caller.owner, actor=actor, cause=cause, since=since, until=until)
    if memory_id is not None:
        only = only._replace(stream_id=parse(MEMORY_PREFIX, memory_id))
        if only.stream_id is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "malformed", f"{memory_id!r} is not the id of a memory")
    results = await engine.run(asked, page, only, user_id, after, limit)
    return EventsAnswer(results=results, next_after=results[-1].position if results else after)


@get(
    "/v1/status",
    operation_id="getStatus",
    opt={"scope": "log:read"},
    responses=refusals(),
    summary="How far the projections are",
)
async def status(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> StatusAnswer:
    return await engine.run(asked, status_of, asked.caller.owner)


ROUTES = [events, status]
