"""Between domain events and log entries: stable names, upcasting, encryption. An eventsourcing Mapper.

An entry has a format, which is what its payload is bound to: only there can it be decrypted.
1: its place, so that it cannot be moved to another.
2: all that the writer knows of the event, so that nobody can change whose it is, who did it, why or when.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from eventsourcing.persistence import Mapper, StoredEvent

from domain.errors import Damaged
from domain.eventstore.cipher import Subjects
from domain.eventstore.formats import LogFormat
from domain.ids import new_id
from domain.recorded import Context, Event, Recorded, decode, encode, now

PLACED, SEALED = 1, 2
"""Formats of entries; the latter is written where the log is of that format, or a higher one."""


@dataclass(frozen=True)
class LogEntry(StoredEvent):
    """A stored event with the columns of our log."""

    originator_id: UUID
    event_id: UUID
    context: Context
    subject_id: UUID | None
    occurred_at: datetime
    position: int = 0
    recorded_at: datetime | None = None
    format: int = PLACED

    def digest(self) -> bytes:
        """SHA-256 over all that the writer knows of the event; the chain of these proves the log."""
        head = self._said()
        return hashlib.sha256(len(head).to_bytes(4) + head + self.state).digest()

    def bound_to(self) -> bytes:
        """What the payload is bound to."""
        if self.format >= SEALED:
            return self._said()
        return f"{self.originator_id}|{self.originator_version}|{self.topic}".encode()

    def _said(self) -> bytes:
        """All but the payload, each part ending where a byte stands that is in none of them."""
        context = self.context
        parts = (
            str(self.originator_id), str(self.originator_version), self.topic, str(self.event_id),
            context.owner, str(self.subject_id), context.actor, context.cause, context.correlation,
            f"{self.occurred_at.timestamp():.6f}",
        )  # fmt: skip
        return "\x00".join(parts if self.format < SEALED else (*parts, str(self.format))).encode()


class EventMapper(Mapper[UUID]):
    """Encodes under the subject's key; decodes every version of every event ever stored."""

    def __init__(self, subjects: Subjects, log_format: LogFormat) -> None:
        self.subjects = subjects
        self._log_format = log_format

    def to_stored_event(self, domain_event: Any) -> LogEntry:
        recorded: Recorded = domain_event
        subject = self.subjects.known(recorded.context.owner, recorded.user_id)
        assert subject is not None, "a subject's key is made before its first event"  # noqa: S101
        entry = LogEntry(
            originator_id=recorded.originator_id,
            originator_version=recorded.originator_version,
            topic=recorded.event.TYPE,
            state=b"",
            event_id=recorded.event_id,
            context=recorded.context,
            subject_id=subject.id,
            occurred_at=recorded.occurred_at,
            format=SEALED if self._log_format.known >= SEALED else PLACED,
        )
        return replace(entry, state=subject.encrypt(encode(recorded.event), entry.bound_to()))

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        """Raises Damaged, and LookupError for an event of a newer Everlog or without its key."""
        entry = stored_event
        assert isinstance(entry, LogEntry)  # noqa: S101 - our recorder makes nothing else
        return Recorded(
            originator_id=entry.originator_id,
            originator_version=entry.originator_version,
            event=self._event(entry),
            context=entry.context,
            user_id=None,
            event_id=entry.event_id,
            occurred_at=entry.occurred_at,
            position=entry.position,
        )

    def replaced(self, entry: LogEntry, event: Event) -> LogEntry:
        """An entry with another event in its place, under the same subject's key, which must be loaded."""
        new = replace(entry, topic=event.TYPE, state=encode(event))
        if entry.subject_id is None:
            return new
        subject = self.subjects.known_id(entry.subject_id)
        assert subject is not None, "what was read can be written"  # noqa: S101
        return replace(new, state=subject.encrypt(new.state, new.bound_to()))

    def _event(self, entry: LogEntry) -> Event:
        if entry.subject_id is None:
            return decode(entry.topic, entry.state)
        subject = self.subjects.known_id(entry.subject_id)
        if subject is None:
            raise LookupError(f"the key of subject {entry.subject_id} is not loaded, or gone")
        try:
            return decode(entry.topic, subject.decrypt(entry.state, entry.bound_to()))
        except (InvalidTag, ValueError) as error:
            raise Damaged(entry.position) from error


def record(
    event: Event, *, stream_id: UUID, version: int, context: Context, user_id: str | None = None
) -> Recorded:
    """`event` as the next of its stream, happening now."""
    return Recorded(
        originator_id=stream_id,
        originator_version=version,
        event=event,
        context=context,
        user_id=user_id,
        event_id=new_id(),
        occurred_at=now(),
    )
