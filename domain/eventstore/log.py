"""The event-sourced application of one cell: its log, read and written through eventsourcing."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import StoredEvent
from psycopg import Connection
from psycopg_pool import ConnectionPool

from domain import key, owner
from domain.aggregate import S
from domain.aggregates import name_of, project_stream
from domain.errors import Damaged, NotFound
from domain.eventstore.cipher import Subjects
from domain.eventstore.formats import LogFormat
from domain.eventstore.mapper import EventMapper, LogEntry
from domain.eventstore.reading import Filter, read_log, read_of_whomever
from domain.eventstore.recorder import LogRecorder
from domain.eventstore.roles import on_behalf_of
from domain.recorded import Event, Recorded

T = TypeVar("T")
Project = Callable[[T | None, Iterable[Recorded]], T | None]
"""What the events of a stream, or of its rest, add up to."""


class EventLog(Application[UUID]):
    """Saves and loads the streams of one cell. `save(*events, receipts=…)` appends all or none."""

    # Ours replace all that the library's persistence module would construct.
    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": "eventsourcing.popo"}
    mapper: EventMapper

    def __init__(
        self,
        pool: "ConnectionPool[Connection[Any]]",
        appending: "ConnectionPool[Connection[Any]]",
        subjects: Subjects,
        log_format: LogFormat,
    ) -> None:
        """`appending`: where no statement is broken off that reads alone may not take so long."""
        self._pool = pool
        self._appending = appending
        self._subjects = subjects
        self._format = log_format
        super().__init__()

    def construct_mapper(self) -> EventMapper:
        return _LoadingMapper(self._subjects, self._format, self._pool)

    def construct_recorder(self) -> LogRecorder:
        return LogRecorder(self._pool, self._appending)

    def require_written(self, event: Event) -> None:
        """Raises NotYetWritten for an event that programs which read this log may not know."""
        self._format.require_written(self._pool, event)

    def get(self, kind: type[S], id: UUID, version: int | None = None) -> S:
        """The state as of `version`, or now; also of what is deleted. With State, of whatever kind it is.

        Raises NotFound, in the same words for what is something else: nobody learns that it is.
        """
        name = name_of(kind)
        state = self._projected(name, id, project_stream, version)
        if not isinstance(state, kind):
            raise NotFound(f"no such {name}")
        return state

    def key(self, id: UUID) -> key.Key:
        """Whoever's it is. Raises NotFound."""
        found = key.project(None, self.of_whomever(id))
        if found is None:
            raise NotFound("no such key")
        return found

    def owner(self, name: str) -> owner.Owner:
        return self._projected("owner", owner.id_of(name), owner.project)

    def of_whomever(self, id: UUID) -> list[Recorded]:
        """The events of a stream that is for who knows its id, whoever owns it: of a key or a share."""
        with self._pool.connection() as conn:
            entries = read_of_whomever(conn, id)
        if not entries:
            return []
        with on_behalf_of(entries[0].context.owner):
            return [self.mapper.to_domain_event(entry) for entry in entries]

    def stream(self, id: UUID) -> list[Recorded]:
        """All events of one stream, in order."""
        recorded: Iterable[Any] = self.events.get(id)  # the library asks no more of an event than an id
        return list(recorded)

    def page(self, after: int, limit: int, only: Filter) -> list[tuple[LogEntry, Recorded | None]]:
        """At most `limit` events above position `after` with their entries; None for a damaged one."""
        with self._pool.connection() as conn:
            entries = read_log(conn, after, limit, only)
        return [(entry, self._readable(entry)) for entry in entries]

    def _readable(self, entry: LogEntry) -> Recorded | None:
        try:
            return self.mapper.to_domain_event(entry)
        except Damaged:
            return None

    def _projected(self, kind: str, id: UUID, project: Project[T], version: int | None = None) -> T:
        # The library would have aggregates of its own making, and is content with ours.
        projector: Any = project
        try:
            projected: T = self.repository.get(id, version=version, projector_func=projector)
        except (AggregateNotFoundError, ValueError):
            # ValueError: the stream is of another kind of aggregate.
            raise NotFound(f"no such {kind}") from None
        return projected


class _LoadingMapper(EventMapper):
    """Loads a subject's key when an event needs one that is not known yet."""

    def __init__(
        self, subjects: Subjects, log_format: LogFormat, pool: "ConnectionPool[Connection[Any]]"
    ) -> None:
        super().__init__(subjects, log_format)
        self._pool = pool

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        subject_id = getattr(stored_event, "subject_id", None)
        if subject_id and not self.subjects.known_id(subject_id):
            with self._pool.connection() as conn:
                self.subjects.load(conn, [subject_id])
        return super().to_domain_event(stored_event)
