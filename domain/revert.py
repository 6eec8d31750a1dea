"""The Revert aggregate: that somebody undid something, what was asked, and what it did. Pure."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound
from domain.recorded import Event, Recorded, register
from domain.scope import Scope


class Undone(msgspec.Struct, frozen=True):
    """What a revert did to one memory; its words are in the memory's own stream."""

    memory_id: UUID
    action: Literal["DELETE", "RESTORE", "UPDATE", "CONFLICT"]
    """CONFLICT: nothing, as others have built on what was to be undone."""
    version: int
    """Of the memory before."""


@register
class Reverted(Event, frozen=True, kw_only=True):
    """All that fits what was asked is undone, by events appended with this one."""

    TYPE: ClassVar[str] = "revert.done.v1"
    owner: str
    cause: str | None = None
    actor: str | None = None
    extractor: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    events: int = 0
    """How many were undone."""
    results: tuple[Undone, ...] = ()


class Revert(State, frozen=True, kw_only=True):
    reverted: Reverted

    @property
    def scope(self) -> Scope:
        """The owner alone."""
        return Scope(owner=self.reverted.owner)


class RecordRevert(Command[Revert], frozen=True, kw_only=True):
    """Goes with the commands that undo."""

    reverted: Reverted


def evolve(revert: Revert | None, recorded: Recorded) -> Revert:
    """The revert after its one event."""
    if revert is not None or not isinstance(recorded.event, Reverted):
        raise ValueError(f"{type(recorded.event).__name__} cannot follow in stream {recorded.originator_id}")
    return Revert(
        id=recorded.originator_id,
        version=recorded.originator_version,
        position=recorded.position,
        reverted=recorded.event,
    )


def decide(revert: Revert | None, command: RecordRevert, owner: str) -> Event:
    """The event that `command` makes of this state. Raises NotFound."""
    if revert is not None or command.reverted.owner != owner:
        raise NotFound("no such revert")
    return command.reverted


AGGREGATE = Aggregate(
    name="revert",
    state=Revert,
    commands=RecordRevert,
    begun_by=RecordRevert,
    decide=decide,
    evolve=evolve,
)
