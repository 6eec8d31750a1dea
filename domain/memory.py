"""The Memory aggregate: what can happen to a memory, and what is allowed. Pure."""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.errors import NotFound, VersionConflict
from domain.recorded import Event, Recorded, register


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a memory belongs. Only the owner (the tenant, from the API key) is always there."""

    owner: str
    user_id: str | None = None
    agent_id: str | None = None
    run_id: str | None = None
    project_id: str | None = None


# --- events -----------------------------------------------------------------------------------------


@register
class Added(Event, frozen=True, kw_only=True):
    """A memory came to be, or came back after its deletion."""

    TYPE: ClassVar[str] = "memory.added.v1"
    text: str
    scope: Scope
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: tuple[str, ...] = ()
    role: str | None = None
    """Who said it, when it was a message."""
    extractor: str | None = None
    """What distilled the text from a conversation; None: nothing was extracted, the words are as sent."""


@register
class Updated(Event, frozen=True, kw_only=True):
    """A memory changed; None is what stayed. `metadata` is merged by key, a null in it removes the key."""

    TYPE: ClassVar[str] = "memory.updated.v1"
    text: str | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None


@register
class Deleted(Event, frozen=True, kw_only=True):
    """A memory is gone from lists and searches; its history stays."""

    TYPE: ClassVar[str] = "memory.deleted.v1"


CHANGE_NAMES: dict[type[Event], str] = {Added: "ADD", Updated: "UPDATE", Deleted: "DELETE"}
"""What the contracts call each event."""


# --- state ------------------------------------------------------------------------------------------


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A memory as of one version."""

    id: UUID
    version: int
    scope: Scope
    text: str
    metadata: dict[str, Any]
    tags: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    position: int
    """Where the log holds the event that made this version."""
    deleted: bool = False


def evolve(memory: Memory | None, recorded: Recorded) -> Memory:
    """The memory after one more of its events."""
    match recorded.event:
        case Added() as added:
            return Memory(
                id=recorded.originator_id,
                version=recorded.originator_version,
                scope=added.scope,
                text=added.text,
                metadata=added.metadata,
                tags=added.tags,
                created_at=memory.created_at if memory else recorded.occurred_at,
                updated_at=recorded.occurred_at,
                position=recorded.position,
            )
        case Updated() as updated if memory:
            return msgspec.structs.replace(
                memory,
                version=recorded.originator_version,
                text=memory.text if updated.text is None else updated.text,
                metadata=merged(memory.metadata, updated.metadata or {}),
                tags=memory.tags if updated.tags is None else updated.tags,
                updated_at=recorded.occurred_at,
                position=recorded.position,
            )
        case Deleted() if memory:
            return msgspec.structs.replace(
                memory,
                version=recorded.originator_version,
                updated_at=recorded.occurred_at,
                position=recorded.position,
                deleted=True,
            )
    raise ValueError(f"{type(recorded.event).__name__} cannot follow in stream {recorded.originator_id}")


def project(memory: Memory | None, events: Iterable[Recorded]) -> Memory | None:
    """The memory after all `events` of its stream, in order."""
    return reduce(evolve, events, memory)


def merged(metadata: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`metadata` with each key of `changes` set, or removed where its value is null."""
    after = {**metadata, **changes}
    return {key: value for key, value in after.items() if value is not None}


# --- commands ---------------------------------------------------------------------------------------


class AddMemory(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    scope: Scope
    metadata: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    role: str | None = None


class UpdateMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Changes by key; None leaves as it is. With `expected_version`, only that version may be changed."""

    text: str | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    expected_version: int | None = None


class DeleteMemory(msgspec.Struct, frozen=True, kw_only=True):
    expected_version: int | None = None
    missing_ok: bool = False
    """Of many: one that has gone meanwhile is no error."""


Command = AddMemory | UpdateMemory | DeleteMemory


def decide(memory: Memory | None, command: Command, owner: str) -> Event | None:
    """The event that `command` makes of this state; None when it changes nothing.

    Raises NotFound for a memory that is absent, deleted or another owner's, and VersionConflict.
    """
    if isinstance(command, AddMemory):
        return _added(memory, command, owner)
    if memory is None or memory.deleted or memory.scope.owner != owner:
        if isinstance(command, DeleteMemory) and command.missing_ok:
            return None
        raise NotFound("no such memory")
    expected = command.expected_version
    if expected is not None and expected != memory.version:
        raise VersionConflict(expected, memory.version)
    return Deleted() if isinstance(command, DeleteMemory) else _updated(memory, command)


def _added(memory: Memory | None, command: AddMemory, owner: str) -> Event:
    if command.scope.owner != owner or (memory and memory.scope.owner != owner):
        raise NotFound("no such memory")
    if memory and not memory.deleted:
        raise VersionConflict(0, memory.version)
    return Added(
        text=command.text,
        scope=command.scope,
        metadata=merged({}, command.metadata),
        tags=command.tags,
        role=command.role,
    )


def _updated(memory: Memory, command: UpdateMemory) -> Event | None:
    changes = {
        key: value for key, value in (command.metadata or {}).items() if memory.metadata.get(key) != value
    }
    event = Updated(
        text=None if command.text == memory.text else command.text,
        metadata=changes or None,
        tags=None if command.tags == memory.tags else command.tags,
    )
    return None if event == Updated() else event
