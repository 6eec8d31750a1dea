"""The Owner aggregate: a tenant, and the cell in which all that is theirs lives."""

from collections.abc import Iterable
from typing import ClassVar
from uuid import UUID

import msgspec

from domain.ids import named_id
from domain.recorded import Event, Recorded, register


@register
class OwnerCreated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "owner.created.v1"
    owner: str
    cell: str


@register
class MemorySwitched(Event, frozen=True, kw_only=True):
    """Whether conversations are to be remembered from now on; what is remembered stays."""

    TYPE: ClassVar[str] = "owner.memory_switched.v1"
    on: bool


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    version: int
    name: str
    cell: str
    memory_on: bool | None = None
    """None: never switched, so as the server has it."""


def project(owner: Owner | None, events: Iterable[Recorded]) -> Owner | None:
    """The owner after `events` of its stream."""
    for recorded in events:
        match recorded.event:
            case OwnerCreated() as created:
                owner = Owner(
                    id=recorded.originator_id,
                    version=recorded.originator_version,
                    name=created.owner,
                    cell=created.cell,
                )
            case MemorySwitched() as switched if owner:
                owner = msgspec.structs.replace(
                    owner, version=recorded.originator_version, memory_on=switched.on
                )
    return owner


def switch_memory(owner: Owner, on: bool) -> MemorySwitched | None:
    """The event that switching takes; None when it is so already."""
    return None if owner.memory_on == on else MemorySwitched(on=on)


def id_of(owner: str) -> UUID:
    """The stream of the owner with this name."""
    return named_id("owner", owner)
