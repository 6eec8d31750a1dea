"""The event log as an eventsourcing ApplicationRecorder.

The library's own PostgreSQL recorder is not used: its pipelined append can hang holding its table lock,
and it has no room for owner, actor, cause and the chain. Ours appends with one call of one SQL function.
"""

from collections.abc import Sequence
from typing import Any, Never, cast
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.persistence import ApplicationRecorder, IntegrityError, Notification, StoredEvent
from psycopg import Connection
from psycopg_pool import ConnectionPool

from domain.eventstore.mapper import LogEntry
from domain.eventstore.reading import Filter, head, read_log, read_stream
from domain.eventstore.receipts import Receipt
from domain.ids import new_id
from domain.recorded import Context, now

APPEND = (
    "SELECT append(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::uuid[], %b::text[], %b::uuid[],"
    " %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::smallint[], %b::bytea[],"
    " %b::text[], %b::text[], %b::text[], %b::bytea[], %s::jsonb[])"
)


class LogRecorder(ApplicationRecorder):
    """Appends to and reads from the log of one cell."""

    def __init__(
        self,
        pool: "ConnectionPool[Connection[Any]]",
        appending: "ConnectionPool[Connection[Any]] | None" = None,
    ) -> None:
        """`appending` None: appends by the pool that it reads by."""
        self.pool = pool
        self._appending = appending or pool

    def insert_events(
        self, stored_events: Sequence[StoredEvent], *, receipts: Sequence[Receipt] = (), **_: Any
    ) -> Sequence[int] | None:
        """Append all, or none; the positions given. Raises IntegrityError when a version is taken."""
        if not stored_events and not receipts:
            return None
        entries = [_as_entry(event) for event in stored_events]
        try:
            # In autocommit this statement is the whole transaction: one round trip, one commit.
            with self._appending.connection() as conn:
                row = conn.execute(APPEND, [*_columns(entries), *_receipt_columns(receipts)]).fetchone()
        except psycopg.errors.UniqueViolation as error:
            raise IntegrityError(str(error)) from error
        first = cast("tuple[int]", row)[0]
        return list(range(first, first + len(entries))) if entries else None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        with self.pool.connection() as conn:
            return read_stream(conn, cast("UUID", originator_id), gt=gt, lte=lte, desc=desc, limit=limit)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = 0 if start is None else start - inclusive_of_start
        with self.pool.connection() as conn:
            entries = read_log(conn, after, limit, Filter(types=topics or None), stop)
        return [
            Notification(e.originator_id, e.originator_version, e.topic, e.state, e.position) for e in entries
        ]

    def max_notification_id(self) -> int | None:
        with self.pool.connection() as conn:
            return head(conn) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Never:
        # The library's subscription dies with its connection; projections/runner.py follows the log.
        raise NotImplementedError


def _as_entry(event: StoredEvent) -> LogEntry:
    if isinstance(event, LogEntry):
        return event
    nobody = Context(owner="", actor="", cause="", correlation="")
    return LogEntry(
        cast("UUID", event.originator_id), event.originator_version, event.topic, event.state, new_id(),
        nobody, None, now(),
    )  # fmt: skip


def _columns(entries: Sequence[LogEntry]) -> list[list[Any]]:
    return [
        [e.originator_id for e in entries],
        [e.originator_version for e in entries],
        [e.topic for e in entries],
        [e.state for e in entries],
        [e.event_id for e in entries],
        [e.context.owner for e in entries],
        [e.subject_id for e in entries],
        [e.context.actor for e in entries],
        [e.context.cause for e in entries],
        [e.context.correlation for e in entries],
        [e.occurred_at for e in entries],
        [e.format for e in entries],
        [e.digest() for e in entries],
    ]


def _receipt_columns(receipts: Sequence[Receipt]) -> list[list[Any]]:
    return [
        [r.owner for r in receipts],
        [r.actor for r in receipts],
        [r.key for r in receipts],
        [r.fingerprint for r in receipts],
        [msgspec.json.encode(r.results).decode() for r in receipts],
    ]
