"""Taking in memories from elsewhere, once each.

A memory's id follows from what it is called there and when it came to be, so taking it in again adds nothing,
and lists have it where its time puts it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any
from uuid import UUID

import msgspec

from application.asked import Asked
from application.engine import submit
from application.storable import Id, Tag, check_metadata, check_storable, check_text
from domain.aggregate import Command, Commands
from domain.errors import Contended, VersionConflict
from domain.eventstore.cells import Cell
from domain.eventstore.memories import Ended, ends_of
from domain.eventstore.states import states_of
from domain.ids import EPOCH, MEMORY_PREFIX, REVERT_PREFIX, dated_id, parse
from domain.memory import NO_TRAITS, AddMemory, Deleted, Memory, RestoreMemory, Traits
from domain.recorded import now
from domain.scope import Scope

TRIES = 5
"""Another import of the same source may run at once and be faster with a batch."""
KIND = "imported memory"
"""What the ids of imported memories are hashed as."""
MAX_ID = 1_000
"""Characters of what a source calls a memory, which is kept in the metadata."""
LATEST_SECONDS = 10**11
"""A larger number of seconds since 1970 is one of milliseconds: it would be the year 5138."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row that can become a memory."""

    id: Annotated[str, msgspec.Meta(max_length=MAX_ID)]
    """The source's own; where it has none, a hash of the row."""
    has_id: bool
    text: str
    user_id: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: tuple[Tag, ...] = ()
    traits: Traits = NO_TRAITS
    role: str | None = None
    created_at: Annotated[str, msgspec.Meta(max_length=MAX_ID)] | int | float | None = None
    others: dict[str, Any] = msgspec.field(default_factory=dict)
    """What has no place here, as metadata."""

    @property
    def created(self) -> datetime | None:
        """When it came to be, UTC; None where that is not told, not understood, or still to come."""
        return _moment(self.created_at)

    def __post_init__(self) -> None:
        check_storable(self)
        check_text(self.text)
        check_metadata(self.metadata)


def take(cell: Cell, asked: Asked, source: str, rows: Sequence[Row], cause: str) -> int:
    """Add those of a source that are not there, in one commit, and tell how many that were.

    The others were imported before, or come twice, where the first counts; or they were deleted here since,
    unless a revert did that. Raises what commands are refused with.
    """
    owner = asked.caller.owner
    wanted: dict[str, Row] = {}
    for row in rows:
        wanted.setdefault(_name(owner, source, row), row)
    for attempt in range(TRIES):
        commands = _commands(cell, owner, source, wanted)
        try:
            submit(cell, asked, commands, cause).result()
        except (Contended, VersionConflict):
            if attempt + 1 == TRIES:
                raise
        else:
            break
    return len(commands)


def _name(owner: str, source: str, row: Row) -> str:
    # The user is part of it: two accounts of a service that numbers its memories are imported for two users.
    return msgspec.json.encode([owner, source, row.user_id, row.id]).decode()


def _ids(name: str, row: Row) -> tuple[UUID, UUID]:
    """The ids that a row may have: by the second in which it came to be, which all of a source's ways to
    tell it agree on, and without a time, as the oldest of all. A time to come is none until it has come.
    """
    undated = dated_id(KIND, name, EPOCH)
    dated = dated_id(KIND, name, row.created.replace(microsecond=0)) if row.created else undated
    return dated, undated


def _commands(cell: Cell, owner: str, source: str, wanted: Mapping[str, Row]) -> Commands[Memory]:
    """What adds those of `wanted` that are not there; what a revert took away comes back."""
    named = {name: _ids(name, row) for name, row in wanted.items()}
    ours = {name: parse(MEMORY_PREFIX, row.id) for name, row in wanted.items()}
    with cell.pool.connection() as conn:
        ids = [*chain.from_iterable(named.values()), *filter(None, ours.values())]
        last = ends_of(conn, owner, ids)
        known = {name: next((id for id in ids if id in last), ids[0]) for name, ids in named.items()}
        reverted = [id for id in known.values() if id in last and _is_reverted(last[id])]
        before = states_of(conn, cell.log.mapper, Memory, reverted)
    commands: list[tuple[UUID, Command[Memory]]] = []
    for name, row in wanted.items():
        id, own = known[name], ours[name]
        memory = before.get(id)
        # An export of this owner's own memories holds the very ids that they have here.
        is_own = own in last and last[own].type != Deleted.TYPE
        if memory:
            commands.append((id, _restored(owner, source, row, memory)))
        elif id not in last and not is_own:
            commands.append((id, _added(owner, source, row)))
    return commands


def _is_reverted(last: Ended) -> bool:
    return last.type == Deleted.TYPE and last.cause.startswith(REVERT_PREFIX)


def _added(owner: str, source: str, row: Row) -> AddMemory:
    scope = Scope(
        owner=owner,
        user_id=row.user_id,
        agent_id=row.agent_id,
        run_id=row.run_id,
        project_id=row.project_id,
    )
    imported = {
        "imported_from": source,
        "imported_id": row.id if row.has_id else None,
        "imported_created_at": row.created_at,
    }
    return AddMemory(
        text=row.text,
        scope=scope,
        # What the row says of itself counts: after a second import it still names the first source.
        metadata=row.others | {k: v for k, v in imported.items() if v is not None} | row.metadata,
        tags=row.tags,
        traits=row.traits,
        role=row.role,
        created_at=row.created,
    )


def _restored(owner: str, source: str, row: Row, memory: Memory) -> RestoreMemory:
    added = _added(owner, source, row)
    to = msgspec.structs.replace(
        memory,
        text=added.text,
        scope=added.scope,
        metadata=added.metadata,
        tags=added.tags,
        traits=added.traits,
    )
    return RestoreMemory(to=to, expected_version=memory.version)


def _moment(value: str | int | float | None) -> datetime | None:
    """The moment that ISO 8601, seconds or milliseconds tell, where it can be one: from 1970 until now."""
    try:
        if isinstance(value, str):
            told = datetime.fromisoformat(value.strip())
            moment = (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
        elif value is not None:
            seconds = value / 1000 if value > LATEST_SECONDS else value
            moment = EPOCH + timedelta(seconds=seconds)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return moment if EPOCH <= moment <= now() else None
