"""The Memory aggregate: what can happen to a memory, and what is allowed. Pure, but for the clock."""

from collections.abc import Iterable
from datetime import date, datetime
from functools import reduce
from typing import Any, ClassVar

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound, VersionConflict
from domain.recorded import Event, Recorded, now, register
from domain.scope import Scope


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something with a name that a memory speaks of."""

    name: str
    type: str = "thing"


class Relation(msgspec.Struct, frozen=True):
    """What a memory says of two entities: Ann works_at Google."""

    source: str
    relation: str
    target: str


class Traits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What extraction found out about a memory beside its words."""

    type: str | None = None
    """`preference`, `fact`, `experience`, `goal` or `relationship`."""
    confidence: float | None = None
    """0..1."""
    categories: tuple[str, ...] = ()
    happened_on: date | None = None
    """The day it speaks of, where the conversation named one, if only as "last Friday"."""
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    expires_on: date | None = None
    """The first day (UTC) on which it is gone; None: it stays."""

    def expired(self, today: date) -> bool:
        return self.expires_on is not None and self.expires_on <= today


NO_TRAITS = Traits()


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
    traits: Traits = NO_TRAITS
    created_at: datetime | None = None
    """When it came to be elsewhere; None: with this event."""


@register
class Updated(Event, frozen=True, kw_only=True):
    """A memory changed; None is what stayed. `metadata` is merged by key, a null in it removes the key."""

    TYPE: ClassVar[str] = "memory.updated.v1"
    text: str | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    extractor: str | None = None
    traits: Traits | None = None
    nulls: tuple[str, ...] = ()
    """Keys of the metadata that have the value null again, as they had when the memory was added."""


@register
class Deleted(Event, frozen=True, kw_only=True):
    """A memory is gone from lists and searches; its history stays."""

    TYPE: ClassVar[str] = "memory.deleted.v1"
    extractor: str | None = None


@register
class Erased(Event, frozen=True, kw_only=True):
    """A memory is gone for good: the words of its earlier events are taken out of the log."""

    TYPE: ClassVar[str] = "memory.erased.v1"


def redacted(event: Event) -> Event:
    """What is left of an event of a memory that is erased: that it happened, and where."""
    match event:
        case Added():
            return msgspec.structs.replace(event, text="", metadata={}, tags=(), traits=NO_TRAITS)
        case Updated():
            return msgspec.structs.replace(
                event,
                text=None if event.text is None else "",
                metadata=None if event.metadata is None else {},
                tags=None if event.tags is None else (),
                traits=None if event.traits is None else NO_TRAITS,
                nulls=(),
            )
    return event


def is_of_memory(recorded: Recorded) -> bool:
    """Whether an event is one of a memory's stream."""
    return isinstance(recorded.event, Added | Updated | Deleted | Erased)


CHANGE_NAMES: dict[type[Event], str] = {
    Added: "ADD",
    Updated: "UPDATE",
    Deleted: "DELETE",
    Erased: "DELETE",
}
"""What the contracts call each event; they know of no erasure."""


# --- state ------------------------------------------------------------------------------------------


class Memory(State, frozen=True, kw_only=True):
    """A memory as of one version."""

    scope: Scope
    text: str
    metadata: dict[str, Any]
    tags: tuple[str, ...]
    traits: Traits = NO_TRAITS
    created_at: datetime
    updated_at: datetime
    deleted: bool = False
    erased: bool = False
    """Deleted for good, and without its words."""


def evolve(memory: Memory | None, recorded: Recorded) -> Memory:
    """The memory after one more of its events."""
    match recorded.event:
        case Added() as added if not (memory and memory.erased):
            return Memory(
                id=recorded.originator_id,
                version=recorded.originator_version,
                scope=added.scope,
                text=added.text,
                metadata=added.metadata,
                tags=added.tags,
                traits=added.traits,
                created_at=memory.created_at if memory else added.created_at or recorded.occurred_at,
                updated_at=recorded.occurred_at,
                position=recorded.position,
            )
        case Updated() as updated if memory and not memory.deleted:
            return msgspec.structs.replace(
                memory,
                version=recorded.originator_version,
                text=memory.text if updated.text is None else updated.text,
                metadata=merged(memory.metadata, updated.metadata or {}) | dict.fromkeys(updated.nulls),
                tags=memory.tags if updated.tags is None else updated.tags,
                traits=memory.traits if updated.traits is None else updated.traits,
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
        case Erased() if memory:
            return msgspec.structs.replace(
                memory,
                version=recorded.originator_version,
                text="",
                metadata={},
                tags=(),
                traits=NO_TRAITS,
                updated_at=recorded.occurred_at,
                position=recorded.position,
                deleted=True,
                erased=True,
            )
    raise ValueError(f"{type(recorded.event).__name__} cannot follow in stream {recorded.originator_id}")


def project(memory: Memory | None, events: Iterable[Recorded]) -> Memory | None:
    """The memory after all `events` of its stream, in order."""
    return reduce(evolve, events, memory)


def merged(metadata: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`metadata` with each key of `changes` set, or removed where its value is null."""
    after = {**metadata, **changes}
    return {key: value for key, value in after.items() if value is not None or key not in changes}


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; to Python, true is 1 and 1 is 1.0."""
    return one == other and msgspec.json.encode(one, order="sorted") == msgspec.json.encode(
        other, order="sorted"
    )


# --- commands ---------------------------------------------------------------------------------------


class AddMemory(Command[Memory], frozen=True, kw_only=True):
    text: str
    scope: Scope
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: tuple[str, ...] = ()
    role: str | None = None
    extractor: str | None = None
    traits: Traits = NO_TRAITS
    created_at: datetime | None = None
    """When it came to be elsewhere; None: with this event."""


class UpdateMemory(Command[Memory], frozen=True, kw_only=True):
    """Changes by key; None leaves as it is. With `expected_version`, only that version may be changed."""

    text: str | None = None
    metadata: dict[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    extractor: str | None = None
    traits: Traits | None = None
    """All but `expires_on`, which has a field of its own: extraction must not prolong a memory's life."""
    expires_on: date | msgspec.UnsetType | None = msgspec.UNSET
    """null: it stays."""
    expected_version: int | None = None


class DeleteMemory(Command[Memory], frozen=True, kw_only=True):
    extractor: str | None = None
    expected_version: int | None = None
    missing_ok: bool = False
    """Of many: one that has gone meanwhile is no error."""


class EraseMemory(Command[Memory], frozen=True, kw_only=True):
    """Delete for good; also what was deleted before, as its words are still in the log."""

    expected_version: int | None = None
    missing_ok: bool = False
    """Of many: one that has gone meanwhile is no error."""


class RestoreMemory(Command[Memory], frozen=True, kw_only=True):
    """Make a memory again what it was, deleted or not meanwhile."""

    to: Memory
    expected_version: int


MemoryCommand = AddMemory | UpdateMemory | DeleteMemory | EraseMemory | RestoreMemory


def decide(memory: Memory | None, command: MemoryCommand, owner: str) -> Event | None:
    """The event that `command` makes of this state; None when it changes nothing.

    Raises NotFound for a memory that is absent, deleted or another owner's, and VersionConflict. A deleted
    one can still be erased or come back; an erased one cannot. One that has expired can only go.
    """
    if isinstance(command, AddMemory):
        return _added(memory, command, owner)
    if isinstance(command, RestoreMemory):
        return _restored(memory, command, owner)
    if memory is None or _is_gone(memory, command) or memory.scope.owner != owner:
        if isinstance(command, DeleteMemory | EraseMemory) and command.missing_ok:
            return None
        raise NotFound("no such memory")
    expected = command.expected_version
    if expected is not None and expected != memory.version:
        raise VersionConflict(expected, memory.version)
    if isinstance(command, DeleteMemory):
        return Deleted(extractor=command.extractor)
    if isinstance(command, EraseMemory):
        return Erased()
    return _updated(memory, command)


def _is_gone(memory: Memory, command: MemoryCommand) -> bool:
    if isinstance(command, EraseMemory):
        return memory.erased
    return memory.deleted or (isinstance(command, UpdateMemory) and memory.traits.expired(now().date()))


def _added(memory: Memory | None, command: AddMemory, owner: str) -> Event:
    if command.scope.owner != owner or (memory and (memory.erased or memory.scope.owner != owner)):
        raise NotFound("no such memory")
    if memory and not memory.deleted:
        raise VersionConflict(0, memory.version)
    return Added(
        text=command.text,
        scope=command.scope,
        metadata=command.metadata,
        tags=command.tags,
        role=command.role,
        extractor=command.extractor,
        traits=command.traits,
        created_at=command.created_at,
    )


def _updated(memory: Memory, command: UpdateMemory, nulls: tuple[str, ...] = ()) -> Event | None:
    changes = {
        key: value
        for key, value in (command.metadata or {}).items()
        if (key in memory.metadata if value is None else not alike(memory.metadata.get(key), value))
    }
    text = None if command.text == memory.text else command.text
    traits = command.traits or memory.traits
    if command.traits is None and text is not None:
        # What was found in the old words is not known of the new ones.
        traits = msgspec.structs.replace(memory.traits, happened_on=None, entities=(), relations=())
    expires_on = memory.traits.expires_on if command.expires_on is msgspec.UNSET else command.expires_on
    traits = msgspec.structs.replace(traits, expires_on=expires_on)
    event = Updated(
        text=text,
        metadata=changes or None,
        tags=None if command.tags == memory.tags else command.tags,
        traits=None if traits == memory.traits else traits,
        nulls=nulls,
    )
    if event == Updated():
        return None
    return msgspec.structs.replace(event, extractor=command.extractor)


def _restored(memory: Memory | None, command: RestoreMemory, owner: str) -> Event | None:
    if memory is None or memory.erased or memory.scope.owner != owner:
        raise NotFound("no such memory")
    if memory.version != command.expected_version:
        raise VersionConflict(command.expected_version, memory.version)
    to = command.to
    if memory.deleted:
        return Added(text=to.text, scope=to.scope, metadata=to.metadata, tags=to.tags, traits=to.traits)
    gone = {key: None for key in memory.metadata if key not in to.metadata}
    # In a change null removes its key, so those that are to have it for a value are named apart.
    nulls = {key for key, value in to.metadata.items() if value is None}
    back = UpdateMemory(
        text=to.text,
        metadata={**gone, **{key: value for key, value in to.metadata.items() if key not in nulls}},
        tags=to.tags,
        traits=to.traits,
        expires_on=to.traits.expires_on,
    )
    return _updated(
        memory, back, tuple(sorted(key for key in nulls if memory.metadata.get(key, 0) is not None))
    )


AGGREGATE = Aggregate(
    name="memory",
    state=Memory,
    commands=MemoryCommand,
    begun_by=AddMemory,
    decide=decide,
    evolve=evolve,
)
