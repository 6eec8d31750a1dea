"""The event-sourced application of one cell: its log, read and written through eventsourcing."""

from typing import Any, ClassVar, TypeVar, cast
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import StoredEvent
from psycopg import Connection
from psycopg_pool import ConnectionPool

from domain import aggregate, key, memory, owner
from domain.aggregate import State
from domain.conversation import Conversation
from domain.document import Document
from domain.errors import NotFound
from domain.eventstore.cipher import Subjects
from domain.eventstore.mapper import EventMapper, LogEntry
from domain.eventstore.reading import Filter, read_log
from domain.eventstore.recorder import LogRecorder
from domain.ingestion import Ingestion
from domain.project import Project
from domain.recorded import Recorded
from domain.revert import Revert
from domain.review import Review
from domain.share import Share

_S = TypeVar("_S")


class EventLog(Application[UUID]):
    """Saves and loads the streams of one cell. `save(*events, receipts=…)` appends all or none."""

    # Ours replace all that the library's persistence module would construct.
    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": "eventsourcing.popo"}
    mapper: EventMapper

    def __init__(self, pool: "ConnectionPool[Connection[Any]]", subjects: Subjects) -> None:
        self._pool = pool
        self._subjects = subjects
        super().__init__()

    def construct_mapper(self) -> EventMapper:
        return _LoadingMapper(self._subjects, self._pool)

    def construct_recorder(self) -> LogRecorder:
        return LogRecorder(self._pool)

    def memory(self, id: UUID, version: int | None = None) -> memory.Memory:
        """The memory as of `version`, or now. Raises NotFound where there has never been one."""
        return cast("memory.Memory", self._get("memory", id, memory.project, version))

    def ingestion(self, id: UUID) -> Ingestion:
        """Raises NotFound."""
        return self._state(Ingestion, id)

    def conversation(self, id: UUID) -> Conversation:
        """Also a deleted one. Raises NotFound."""
        return self._state(Conversation, id)

    def share(self, id: UUID) -> Share:
        """Also a withdrawn one. Raises NotFound."""
        return self._state(Share, id)

    def document(self, id: UUID) -> Document:
        """Also a removed one. Raises NotFound."""
        return self._state(Document, id)

    def project(self, id: UUID) -> Project:
        """Also a deleted one. Raises NotFound."""
        return self._state(Project, id)

    def revert(self, id: UUID) -> Revert:
        """Raises NotFound."""
        return self._state(Revert, id)

    def review(self, id: UUID) -> Review:
        """Raises NotFound."""
        return self._state(Review, id)

    def state(self, id: UUID, version: int | None = None) -> State:
        """The memory, ingestion, project, revert or review as of `version`, or now. Raises NotFound."""
        return cast("State", self._get("thing", id, aggregate.project_stream, version))

    def key(self, id: UUID) -> key.Key:
        return cast("key.Key", self._get("key", id, key.project))

    def owner(self, name: str) -> owner.Owner:
        return cast("owner.Owner", self._get("owner", owner.id_of(name), owner.project))

    def stream(self, id: UUID) -> list[Recorded]:
        """All events of one stream, in order."""
        return cast("list[Recorded]", list(self.events.get(id)))

    def page(self, after: int, limit: int, only: Filter) -> list[tuple[LogEntry, Recorded]]:
        """At most `limit` events above position `after`, each with its entry."""
        with self._pool.connection() as conn:
            entries = read_log(conn, after, limit, only)
        return [(entry, self.mapper.to_domain_event(entry)) for entry in entries]

    def _state(self, kind: type[_S], id: UUID) -> _S:
        name = kind.__name__.lower()
        state = self._get(name, id, aggregate.project_stream)
        if not isinstance(state, kind):
            raise NotFound(f"no such {name}")  # in the same words: nobody learns that it is something else
        return state

    def _get(self, kind: str, id: UUID, project: Any, version: int | None = None) -> Any:
        try:
            return self.repository.get(id, version=version, projector_func=project)
        except (AggregateNotFoundError, ValueError):
            # ValueError: the stream is of another kind of aggregate.
            raise NotFound(f"no such {kind}") from None


class _LoadingMapper(EventMapper):
    """Loads a subject's key when an event needs one that is not known yet."""

    def __init__(self, subjects: Subjects, pool: "ConnectionPool[Connection[Any]]") -> None:
        super().__init__(subjects)
        self._pool = pool

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        subject_id = getattr(stored_event, "subject_id", None)
        if subject_id and not self.subjects.known_id(subject_id):
            with self._pool.connection() as conn:
                self.subjects.load(conn, [subject_id])
        return super().to_domain_event(stored_event)
