"""The log itself: the audit trail in order of position, and how far the projections are."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

import anyio.to_thread
import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.body import IdParameter
from api.errors import Refusal, refusals
from application.asked import Asked
from application.engine import Engine
from domain.eventstore import backlog
from domain.eventstore.cells import Cell
from domain.eventstore.mapper import LogEntry
from domain.eventstore.reading import Filter, head
from domain.ids import MEMORY_PREFIX, read, spell
from domain.memory import CHANGE_NAMES
from domain.recorded import Recorded
from projections import SEARCHED
from projections.catalogue import Build, builds
from projections.searched import LACKING

MAX_PAGE = 1_000


class LoggedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the log, as the owner may read it."""

    position: int
    id: str
    type: str
    event: str | None
    """ADD, UPDATE or DELETE; null for what did not happen to a memory."""
    memory_id: str | None
    stream_id: str
    """Of the memory, ingestion, review or project that it happened to."""
    version: int
    actor: str
    cause: str
    request_id: str
    occurred_at: datetime
    recorded_at: datetime | None
    data: Any


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[LoggedEvent]
    next_after: int
    """The `after` of the next page."""


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: int
    position: int
    lag: int
    """Events of the log that are not applied yet."""
    state: Literal["live", "building", "retired", "degraded", "failed"]
    parked: int
    """Events set aside because they could not be applied."""
    vectors_waiting: int
    """Rows without a vector; a text that the model refuses waits for none."""
    model: str | None
    error: str | None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations and reviews that wait for extraction."""

    waiting: int
    put_off: int
    """Of those, how many have failed before and are tried again."""
    error: str | None
    """What the last of these ran into."""


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    head: int
    extraction: Backlog
    projections: list[ProjectionStatus]


@get(
    "/v1/events",
    operation_id="listEvents",
    opt={"scope": "read"},
    responses=refusals(),
    summary="The audit log, in order",
)
async def events(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    after: Annotated[int, QueryParameter(ge=0, description="Positions above this one")] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
    memory_id: IdParameter = None,
    user_id: IdParameter = None,
    actor: IdParameter = None,
    cause: IdParameter = None,
    since: Annotated[datetime | None, QueryParameter(description="Recorded at or after (RFC 3339)")] = None,
    until: Annotated[datetime | None, QueryParameter(description="Recorded before (RFC 3339)")] = None,
) -> EventsAnswer:
    cell = await engine.cell_of(asked.caller.owner)
    only = Filter(owner=asked.caller.owner, actor=actor, cause=cause, since=since, until=until)
    if memory_id is not None:
        only = only._replace(stream_id=read(MEMORY_PREFIX, memory_id))
        if only.stream_id is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "malformed", f"{memory_id!r} is not the id of a memory")
    page = await anyio.to_thread.run_sync(_page, cell, only, user_id, after, limit)
    results = [_logged(entry, recorded) for entry, recorded in page]
    return EventsAnswer(results=results, next_after=results[-1].position if results else after)


@get(
    "/v1/status",
    operation_id="getStatus",
    opt={"scope": "read"},
    responses=refusals(),
    summary="How far the projections are",
)
async def status(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> StatusAnswer:
    return await anyio.to_thread.run_sync(status_of, await engine.cell_of(asked.caller.owner))


ROUTES = [events, status]


def status_of(cell: Cell) -> StatusAnswer:
    """The log's head and each build of a cell."""
    with cell.pool.connection() as conn:
        last = head(conn)
        parked: dict[tuple[str, int], int] = {
            (name, version): count
            for name, version, count in conn.execute(
                "SELECT projection, version, count(*) FROM parked GROUP BY projection, version"
            ).fetchall()
        }
        waiting: dict[str, int] = {}
        for build in builds(conn):
            if build.state == "live" and build.name in SEARCHED:
                row = conn.execute(
                    f"SELECT count(*) FROM {build.table} WHERE {LACKING.format(table=build.table)}",
                    {"model": build.model},
                ).fetchone()
                waiting[build.name] = row[0] if row else 0
        extent = backlog.extent(conn)
        return StatusAnswer(
            head=last,
            extraction=Backlog(waiting=extent.waiting, put_off=extent.put_off, error=extent.error),
            projections=[
                ProjectionStatus(
                    name=build.name,
                    version=build.version,
                    position=build.position,
                    lag=max(0, last - build.position),
                    state=_state(build, parked.get((build.name, build.version), 0)),
                    parked=parked.get((build.name, build.version), 0),
                    vectors_waiting=waiting.get(build.name, 0) if build.state == "live" else 0,
                    model=build.model,
                    error=build.error,
                )
                for build in builds(conn)
            ],
        )


def _state(build: Build, parked: int) -> Literal["live", "building", "retired", "degraded", "failed"]:
    if build.error:
        return "failed"
    return "degraded" if parked and build.state == "live" else build.state


def _page(
    cell: Cell, only: Filter, user_id: str | None, after: int, limit: int
) -> list[tuple[LogEntry, Recorded]]:
    if user_id is not None:
        with cell.pool.connection() as conn:
            subject_id = cell.subjects.find(conn, only.owner or "", user_id)
        if subject_id is None:
            return []
        only = only._replace(subject_id=subject_id)
    return cell.log.page(after, limit, only)


def _logged(entry: LogEntry, recorded: Recorded) -> LoggedEvent:
    event = CHANGE_NAMES.get(type(recorded.event))
    return LoggedEvent(
        position=recorded.position,
        id=str(recorded.event_id),
        type=entry.topic,
        event=event,
        memory_id=spell(MEMORY_PREFIX, recorded.originator_id) if event else None,
        stream_id=str(recorded.originator_id),
        version=recorded.originator_version,
        actor=recorded.context.actor,
        cause=recorded.context.cause,
        request_id=recorded.context.correlation,
        occurred_at=recorded.occurred_at,
        recorded_at=entry.recorded_at,
        data=msgspec.to_builtins(recorded.event),
    )
