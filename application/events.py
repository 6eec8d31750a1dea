"""The log itself: the audit trail in order of position."""

from datetime import datetime
from typing import Any

import msgspec

from domain.eventstore.cells import Cell
from domain.eventstore.mapper import LogEntry
from domain.eventstore.reading import Filter
from domain.ids import MEMORY_PREFIX, spell
from domain.memory import CHANGE_NAMES, Added, Deleted, Erased, Updated
from domain.recorded import Recorded


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
    damaged: bool | msgspec.UnsetType = msgspec.UNSET
    """True, and no data: it is not as it was written. The others tell nothing of this."""


def page(cell: Cell, only: Filter, user_id: str | None, after: int, limit: int) -> list[LoggedEvent]:
    """At most `limit` events above position `after`; with a `user_id` only those of that user."""
    if user_id is not None:
        with cell.pool.connection() as conn:
            subject_id = cell.subjects.find(conn, only.owner or "", user_id)
        if subject_id is None:
            return []
        only = only._replace(subject_id=subject_id)
    return [_logged(entry, recorded) for entry, recorded in cell.log.page(after, limit, only)]


def changes_by(cell: Cell, owner: str, cause: str, most: int) -> list[Recorded]:
    """The changes of memories that one cause has made, in order; at most `most`."""
    types = [change.TYPE for change in (Added, Updated, Deleted, Erased)]
    page = cell.log.page(0, most, Filter(owner=owner, cause=cause, types=types))
    return [recorded for _, recorded in page if recorded]


def _logged(entry: LogEntry, recorded: Recorded | None) -> LoggedEvent:
    event = CHANGE_NAMES.get(type(recorded.event)) if recorded else None
    return LoggedEvent(
        position=entry.position,
        id=str(entry.event_id),
        type=entry.topic,
        event=event,
        memory_id=spell(MEMORY_PREFIX, entry.originator_id) if event else None,
        stream_id=str(entry.originator_id),
        version=entry.originator_version,
        actor=entry.context.actor,
        cause=entry.context.cause,
        request_id=entry.context.correlation,
        occurred_at=entry.occurred_at,
        recorded_at=entry.recorded_at,
        data=msgspec.to_builtins(recorded.event) if recorded else None,
        damaged=msgspec.UNSET if recorded else True,
    )
