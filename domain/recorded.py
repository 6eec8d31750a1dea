"""An event with what surrounds it: whose it is, who caused it, when, and where it stands in the log."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact, as its stream stores it. `TYPE` is its stable stored name: it never follows a rename."""

    TYPE: ClassVar[str]
    FORMAT: ClassVar[int] = 1
    """The log format from which on it may be written (domain/eventstore/formats.py)."""
    LATER_FIELDS: ClassVar[Mapping[str, int]] = {}
    """Fields that may be filled only from a higher one on → that format."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something, on whose behalf and why: the same for all events of one request."""

    owner: str
    actor: str
    """The key (`key_…`) or the worker that acts."""
    cause: str
    """The command, ingestion or turn that this follows from."""
    correlation: str
    """The request's id."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one stream. `position` is 0 until the log has given it one.

    The two `originator_` names are those the eventsourcing library looks for: stream and version.
    """

    originator_id: UUID
    originator_version: int
    event: Any
    context: Context
    user_id: str | None
    """With the owner, the subject under whose key a new event is encrypted; None on one read back."""
    event_id: UUID
    occurred_at: datetime
    position: int = 0


EVENT_TYPES: dict[str, type[Event]] = {}
"""Stored name → struct, of the newest version of every event."""

UPCASTERS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""Stored name of an old version → (name of the next version, pure function from its fields to the next's)."""


def register(cls: type[Event]) -> type[Event]:
    """Make an event known under its stored name."""
    if cls.TYPE in EVENT_TYPES:
        raise ValueError(f"two events are stored as {cls.TYPE}")
    EVENT_TYPES[cls.TYPE] = cls
    return cls


def stored_names(prefix: str) -> list[str]:
    """All names, of old versions too, under which events of this kind may be stored: `memory.`."""
    return sorted(name for name in EVENT_TYPES.keys() | UPCASTERS.keys() if name.startswith(prefix))


def format_of(event: Event) -> int:
    """The log format from which on an event with these fields may be written."""
    if not event.LATER_FIELDS:
        return event.FORMAT
    filled = msgspec.to_builtins(event).keys()  # defaults are left out, there and in the log
    return max(event.FORMAT, *(format for name, format in event.LATER_FIELDS.items() if name in filled), 1)


def encode(event: Event) -> bytes:
    """The event's fields as JSON; its type and ids are columns of the log."""
    return msgspec.json.encode(event)


def decode(type_name: str, payload: bytes) -> Event:
    """The event that was stored, brought up to its newest version."""
    cls = EVENT_TYPES.get(type_name)
    if cls is not None:
        return msgspec.json.decode(payload, type=cls)
    fields: dict[str, Any] = msgspec.json.decode(payload)
    while type_name in UPCASTERS:
        type_name, upcast = UPCASTERS[type_name]
        fields = upcast(fields)
    if type_name not in EVENT_TYPES:
        raise LookupError(f"no event is stored as {type_name!r}: this log was written by a newer Everlog")
    return msgspec.convert(fields, EVENT_TYPES[type_name])


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)
