"""Replay: build a projection anew beside the live one, switch in one transaction, keep the old one.

A replay reads whole streams up to the head of the moment, copies rows, makes the indexes, then catches
up in order like any build. It resumes nothing: a build that was interrupted is dropped and begun again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import Connection, sql

from domain.eventstore.cells import Cell
from domain.eventstore.mapper import LogEntry
from domain.eventstore.reading import count_of_kind, head, read_kind
from projections import catalogue
from projections.catalogue import Build, add_build, builds
from projections.changes import Change, changes_of_stream
from projections.projection import Projection
from projections.runner import advance, lag, park

READ_EVENTS = 2_000
"""Events fetched at a time: larger pages were not faster."""
SWITCH_LAG = 500
"""One batch: what is left at the switch holds up the live runner for less than 0.1 s."""


class NothingToRollBack(LookupError):
    """No earlier build of the projection is kept."""


def begin(conn: Connection[Any], name: str, model: str | None) -> int:
    """Register a replay and return its version; that of the one under way, when there is one."""
    for build in builds(conn, name):
        if build.state == "building":
            conn.execute(
                "UPDATE projections SET error = NULL WHERE name = %s AND version = %s", (name, build.version)
            )
            return build.version
    return add_build(conn, name, "building", model).version


def replay(
    cell: Cell,
    projection: Projection[Any],
    version: int,
    complete: Callable[[Connection[Any], Build], None] | None = None,
) -> bool:
    """Do the replay that `begin` registered; False when another worker is at it, or it is done.

    `complete` does what must be there before the switch and is no matter of order (vectors).
    """
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        if not _claim(conn, projection.name):
            return False
        build = catalogue.build(conn, projection.name, version)
        if build is None or build.state != "building":
            return False
        _drop_others(conn, projection, version)
        projection.drop(conn, build)
        projection.create(conn, build)
        _load(conn, cell, projection, build)
        projection.index(conn, build)
        conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(build.table)))
        if complete:
            complete(conn, build)
        catch_up_and_switch(conn, cell, projection, version)
        return True


def roll_back(cell: Cell, projection: Projection[Any]) -> int:
    """Make the build before the live one live again, brought up to date first; returns its version."""
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        kept = [build for build in builds(conn, projection.name) if build.state == "retired"]
        if not kept:
            raise NothingToRollBack(f"no earlier build of {projection.name} is kept; only a replay makes one")
        catch_up_and_switch(conn, cell, projection, kept[-1].version)
        return kept[-1].version


def catch_up_and_switch(conn: Connection[Any], cell: Cell, projection: Projection[Any], version: int) -> None:
    """Bring a build that is not live to the head, then swap it with the live one."""
    while (build := catalogue.build(conn, projection.name, version)) and lag(conn, build) > SWITCH_LAG:
        with conn.transaction():
            advance(conn, cell, projection, build)
    with conn.transaction():
        # The live runner waits here, so the new build cannot fall behind the old one while they swap.
        conn.execute(
            "SELECT 1 FROM projections WHERE name = %s AND state = 'live' FOR UPDATE", (projection.name,)
        )
        while (build := catalogue.build(conn, projection.name, version)) and advance(
            conn, cell, projection, build
        ):
            pass
        conn.execute(
            "UPDATE projections SET state = 'retired' WHERE name = %s AND state = 'live'", (projection.name,)
        )
        conn.execute(
            "UPDATE projections SET state = 'live', updated_at = now(), error = NULL"
            " WHERE name = %s AND version = %s",
            (projection.name, version),
        )
        # A runner that skipped the locked row meanwhile would otherwise wait for its next poll.
        conn.execute("SELECT pg_notify(current_schema() || '_log', '')")


def under_way(conn: Connection[Any], name: str) -> bool:
    """Whether a worker is at a replay of this projection right now."""
    if not _claim(conn, name):
        return True
    conn.execute(
        "SELECT pg_advisory_unlock(hashtextextended(current_schema() || %s, 0))", (f".replay.{name}",)
    )
    return False


def _claim(conn: Connection[Any], name: str) -> bool:
    row = conn.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || %s, 0))", (f".replay.{name}",)
    ).fetchone()
    return bool(row and row[0])


def _drop_others(conn: Connection[Any], projection: Projection[Any], version: int) -> None:
    """Retired builds go when the next replay starts: what rolls back is the build live until now."""
    for build in builds(conn, projection.name):
        if build.state == "retired" and build.version != version:
            projection.drop(conn, build)
            for table in ("parked WHERE projection", "projections WHERE name"):
                conn.execute(f"DELETE FROM {table} = %s AND version = %s", (build.name, build.version))


def _load(conn: Connection[Any], cell: Cell, projection: Projection[Any], build: Build) -> None:
    upto = head(conn)
    conn.execute(
        "UPDATE projections SET loaded = 0, position = 0, to_load = %s WHERE name = %s AND version = %s",
        (count_of_kind(conn, projection.aggregate, upto), build.name, build.version),
    )
    # Reading and reporting need connections of their own: COPY keeps this one busy.
    with (
        psycopg.connect(cell.conninfo) as reading,
        psycopg.connect(cell.conninfo, autocommit=True) as reporting,
        conn.transaction(),
    ):
        pages = _pages(reading, cell, projection, upto)
        projection.load(conn, build, _streams(reporting, cell, build, pages))
        conn.execute(
            "UPDATE projections SET position = %s, loaded = to_load WHERE name = %s AND version = %s",
            (upto, build.name, build.version),
        )


def _streams(
    reporting: Connection[Any], cell: Cell, build: Build, pages: Iterable[Sequence[LogEntry]]
) -> Iterator[list[Change[Any]]]:
    """The changes of each stream; progress goes to the catalogue."""
    loaded = 0
    for entries in _grouped(pages):
        try:
            changes = changes_of_stream(cell.log.mapper, entries)
        except Exception as error:  # one unreadable stream must not keep all others from being replayed
            park(reporting, build, entries, f"{type(error).__name__}: {error}")
        else:
            yield changes
        before, loaded = loaded, loaded + len(entries)
        if loaded // READ_EVENTS > before // READ_EVENTS:
            reporting.execute(
                "UPDATE projections SET loaded = %s, updated_at = now() WHERE name = %s AND version = %s",
                (loaded, build.name, build.version),
            )


def _pages(
    reading: Connection[Any], cell: Cell, projection: Projection[Any], upto: int
) -> Iterator[list[LogEntry]]:
    """The streams of one kind, up to a position, with their subjects' keys at hand."""
    size = projection.read_at_once or READ_EVENTS
    for entries in read_kind(reading, projection.aggregate, upto, size):
        cell.subjects.load(reading, [entry.subject_id for entry in entries if entry.subject_id])
        yield entries


def _grouped(pages: Iterable[Sequence[LogEntry]]) -> Iterator[list[LogEntry]]:
    """Entries in order of stream, as one list a stream."""
    stream: list[LogEntry] = []
    for page in pages:
        for entry in page:
            if stream and entry.originator_id != stream[0].originator_id:
                yield stream
                stream = []
            stream.append(entry)
    if stream:
        yield stream
