"""What mem0's client asks for and fetches later: the events of its writes, and exports."""

import base64
import contextlib
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal, TypedDict
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.body import Body
from api.dialects.mem0.account import TAGS, faults
from api.dialects.mem0.bodies import Filters, Remembered, Result, remembered, result, selection_of
from api.dialects.mem0.filters import ENTITIES
from api.errors import Refusal
from application import ingestions, memories
from application.asked import Asked
from application.engine import Engine
from application.events import changes_by
from application.storable import Id
from domain.errors import NotFound
from domain.ids import named_id, parse
from domain.ingestion import Ingestion
from domain.memory import CHANGE_NAMES
from projections.selection import Selection

MAX_EXPORTED = 10_000
MAX_RESULTS = 1_000
"""Of an event; more were deleted at once, perhaps, but nobody reads them one by one."""


# --- events -----------------------------------------------------------------------------------------

EventStatus = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    event_type: str
    status: EventStatus
    results: list[Result]
    error: str | None = None
    """Why it failed."""
    created_at: datetime | None = None
    """null, as is the next: of a write that found nothing to do nothing was kept."""
    updated_at: datetime | None = None


@get(
    "/mem0/v1/event/{event_id:str}",
    operation_id="mem0GetEvent",
    opt={"scope": "memories:read"},
    responses=faults(404),
    tags=TAGS,
    summary="What became of a write",
)
async def get_event(
    event_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> EventAnswer:
    id = parse("", event_id)
    if id is None:
        raise NotFound("no such event")
    with contextlib.suppress(NotFound):
        ingestion = await ingestions.settled(engine, asked, id, 0)
        return _of_ingestion(ingestion, await _status(asked, engine, ingestion))
    changes = await engine.run(asked, changes_by, asked.caller.owner, str(id), MAX_RESULTS)
    if not changes and id == idle_id(asked.caller.owner, id):
        return EventAnswer(id=id, event_type="NONE", status="SUCCEEDED", results=[])
    if not changes:
        raise NotFound("no such event")
    return EventAnswer(
        id=id,
        event_type=CHANGE_NAMES[type(changes[0].event)],
        status="SUCCEEDED",
        results=[
            result(one.originator_id, getattr(one.event, "text", None), CHANGE_NAMES[type(one.event)])
            for one in changes
        ],
        created_at=changes[0].occurred_at,
        updated_at=changes[-1].occurred_at,
    )


def idle_id(owner: str, id: UUID) -> UUID:
    """An id that says of itself that its write changed nothing: its second half follows from the first.

    The log knows nothing of such a write, and its event can be told all the same. Of an idle id it is that
    id; one that is made up tells its maker nothing.
    """
    head = id.bytes[:8]
    return UUID(bytes=head + named_id("mem0.idle", f"{owner}:{head.hex()}").bytes[8:])


def _of_ingestion(ingestion: Ingestion, status: EventStatus) -> EventAnswer:
    decisions = ingestion.extracted.decisions if ingestion.extracted else ()
    return EventAnswer(
        id=ingestion.id,
        event_type="ADD",
        status=status,
        results=[
            result(one.memory_id, one.text, one.action)
            for one in decisions
            if one.memory_id and one.action != "NONE"
        ],
        error=ingestion.failed.reason if ingestion.failed else None,
        created_at=ingestion.received_at,
        updated_at=ingestion.updated_at,
    )


async def _status(asked: Asked, engine: Engine, ingestion: Ingestion) -> EventStatus:
    if ingestion.status == "extracted":
        return "SUCCEEDED"
    if ingestion.status == "failed":
        return "FAILED"
    return "RUNNING" if await ingestions.is_under_way(engine, asked, ingestion.id) else "PENDING"


# --- exports ----------------------------------------------------------------------------------------


class Tree(TypedDict):
    """All that an export is asked for."""

    AND: list[Filters]


class ExportRequest(Body, frozen=True, kw_only=True):
    """Which memories: of the entities named, and as the filters say."""

    user_id: Id | None = None
    agent_id: Id | None = None
    app_id: Id | None = None
    run_id: Id | None = None
    filters: Filters | None = None

    def tree(self) -> Tree:
        named = {name: getattr(self, name) for name in ENTITIES if getattr(self, name) is not None}
        return {"AND": [one for one in (named, self.filters) if one]}


class NewExportRequest(ExportRequest, frozen=True, kw_only=True):
    schema: str | dict[str, Any]
    """Taken and passed over: memories are exported as they are."""


class ExportedRequest(ExportRequest, frozen=True, kw_only=True):
    memory_export_id: str | None = None


class ExportCreated(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    id: str


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    status: EventStatus
    count: int
    """Of all memories that the filters select; of which at most 10,000 follow."""
    memories: list[Remembered]


@post(
    "/mem0/v1/exports",
    operation_id="mem0CreateExport",
    opt={"scope": "memories:read"},
    responses=faults(),
    tags=TAGS,
    summary="Ask for memories as one object",
)
async def create_export(data: JSONBody[NewExportRequest], asked: NamedDependency[Asked]) -> ExportCreated:
    """Nothing is made or kept: the id holds the filters, and the export shows what there is by then."""
    selection_of(asked, *data.tree()["AND"])
    id = base64.urlsafe_b64encode(msgspec.json.encode(data.tree())).decode().rstrip("=")
    return ExportCreated(message="Memory export request received. The export is ready.", id=id)


@post(
    "/mem0/v1/exports/get",
    operation_id="mem0GetExport",
    opt={"scope": "memories:read"},
    responses=faults(404),
    status_code=200,
    tags=TAGS,
    summary="The memories that were asked for",
)
async def get_export(
    data: JSONBody[ExportedRequest], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Exported:
    if data.memory_export_id is not None:
        selection = _exported(asked, data.memory_export_id)
    elif data.tree()["AND"]:
        selection, _ = selection_of(asked, *data.tree()["AND"])
    else:
        raise Refusal(HTTPStatus.BAD_REQUEST, "filter-missing", "name a memory_export_id or filters")
    found, total, _ = await memories.page(engine, asked, selection, MAX_EXPORTED)
    return Exported(status="SUCCEEDED", count=total, memories=[remembered(one) for one in found])


def _exported(asked: Asked, export_id: str) -> Selection:
    """What an id of ours holds. Raises NotFound for one that somebody else has made."""
    padded = export_id + "=" * (-len(export_id) % 4)
    try:
        tree = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Tree)
        return selection_of(asked, *tree["AND"])[0]
    except (ValueError, RecursionError, Refusal):
        raise NotFound("no such export") from None


ROUTES = [get_event, create_export, get_export]
