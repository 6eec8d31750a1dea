"""Applies the log to the live build of a projection: in order, in batches, each event exactly once.

The row of the live build in the catalogue is the lease. A batch locks it, applies the events above its
position and moves the position in the same transaction, so two runners, a crash or a redelivery can
neither apply twice nor skip; and a lost lease cannot go unnoticed, as the lock goes with the transaction.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from domain.eventstore.cells import Cell
from domain.eventstore.follower import Follower
from domain.eventstore.mapper import LogEntry
from domain.eventstore.reading import Filter, head, read_log
from projections.catalogue import COLUMNS, Build, add_build, builds, set_position
from projections.changes import changes_of
from projections.projection import Projection

log = logging.getLogger(__name__)

BATCH_EVENTS = 500
"""More in one transaction gained nothing (10,500 events a second against 10,100 with 2,000)."""


class Runner(Follower):
    """Follows the log for one projection. Any number may run; one at a time applies."""

    def __init__(
        self,
        cell: Cell,
        projection: Projection[Any],
        model: str | None = None,
        after_batch: Callable[[Build], None] | None = None,
    ) -> None:
        super().__init__(cell, projection.name)
        self._projection = projection
        self._model = model
        self._after_batch = after_batch

    def begin(self, conn: Connection[Any]) -> None:
        ensure_live(conn, self._projection, self._model)

    def step(self, conn: Connection[Any]) -> bool:
        """Apply one batch; False when there was nothing to apply, or another runner is at it."""
        with conn.transaction():
            row = conn.execute(
                f"SELECT {COLUMNS} FROM projections WHERE name = %s AND state = 'live'"
                " FOR UPDATE SKIP LOCKED",
                (self._projection.name,),
            ).fetchone()
            build = Build(*row) if row else None
            advanced = build is not None and advance(conn, self.cell, self._projection, build)
        if build and advanced and self._after_batch:
            self._after_batch(build)
        return advanced

    def failed(self, error: Exception) -> None:
        """Leave the reason where status shows it; the next batch that works clears it."""
        try:
            with psycopg.connect(self.cell.conninfo, autocommit=True) as conn:
                conn.execute(
                    "UPDATE projections SET error = %s, updated_at = now()"
                    " WHERE name = %s AND state = 'live'",
                    (str(error), self._projection.name),
                )
        except psycopg.Error:
            log.warning("%s: could not report its error", self.name)


def ensure_live(conn: Connection[Any], projection: Projection[Any], model: str | None) -> None:
    """Make the first build of a projection, live and empty, unless there is one."""
    with conn.transaction():
        conn.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || %s, 0))", (projection.name,)
        )
        if not builds(conn, projection.name):
            build = add_build(conn, projection.name, "live", model)
            projection.create(conn, build)
            projection.index(conn, build)


def advance(conn: Connection[Any], cell: Cell, projection: Projection[Any], build: Build) -> bool:
    """Apply the next batch above the build's position; False when there is none. Needs a transaction."""
    last = head(conn)
    if last <= build.position:
        return False
    # Conversations are a thousand times as large as memories: each projection fetches its own kind alone.
    most = projection.read_at_once or BATCH_EVENTS
    entries = read_log(conn, build.position, most, Filter(kind=projection.aggregate), last)
    if entries:
        _apply_all(conn, cell, projection, build, entries)
    set_position(conn, build, entries[-1].position if len(entries) == most else last)
    return True


def lag(conn: Connection[Any], build: Build) -> int:
    """Events of the log that the build has not applied yet."""
    return max(0, head(conn) - build.position)


def _apply_all(
    conn: Connection[Any], cell: Cell, projection: Projection[Any], build: Build, entries: Sequence[LogEntry]
) -> None:
    try:
        _apply(conn, cell, projection, build, _without_parked(conn, build, entries))
    except psycopg.OperationalError:
        raise
    except Exception:
        log.warning("%s: a batch failed; applying its events one by one", projection.name)
        _apply_singly(conn, cell, projection, build, entries)


def _apply(
    conn: Connection[Any], cell: Cell, projection: Projection[Any], build: Build, entries: Sequence[LogEntry]
) -> None:
    with conn.transaction():  # a savepoint: what fails leaves no trace
        changes = changes_of(conn, cell.log.mapper, entries)
        if changes:
            projection.apply(conn, build, changes)


def _apply_singly(
    conn: Connection[Any], cell: Cell, projection: Projection[Any], build: Build, entries: Sequence[LogEntry]
) -> None:
    """Park what cannot be applied, and with it the later events of its stream; apply the rest."""
    for entry in entries:
        for attempt in (1, 2, 3):
            try:
                _apply(conn, cell, projection, build, _without_parked(conn, build, [entry]))
                break
            except psycopg.OperationalError:
                raise
            except Exception as error:
                if attempt == 3:
                    log.error("%s: parked the event at position %d", projection.name, entry.position)
                    park(conn, build, [entry], f"{type(error).__name__}: {error}")


def _without_parked(conn: Connection[Any], build: Build, entries: Sequence[LogEntry]) -> list[LogEntry]:
    """The entries of streams that are not parked; the others are parked too, to keep their order."""
    rows = conn.execute(
        "SELECT DISTINCT stream_id FROM parked WHERE projection = %s AND version = %s",
        (build.name, build.version),
    ).fetchall()
    blocked: set[UUID] = {stream_id for (stream_id,) in rows}
    if not blocked:
        return list(entries)
    park(conn, build, [e for e in entries if e.originator_id in blocked], "an earlier event of it is parked")
    return [entry for entry in entries if entry.originator_id not in blocked]


def park(conn: Connection[Any], build: Build, entries: Sequence[LogEntry], reason: str) -> None:
    for entry in entries:
        conn.execute(
            "INSERT INTO parked (projection, version, stream_id, position, error) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (build.name, build.version, entry.originator_id, entry.position, reason),
        )
