"""Log formats: which events may be in a log, so that every program that reads it understands them.

The log format is a number in the database that only contract steps of migrations raise. A release reads the
events of a format before any program writes them, and a program refuses a log of a higher one than it reads:
docs/decisions/log-format.md.
"""

import re
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool

from domain.errors import Unavailable
from domain.recorded import Event, format_of

READS = 2
"""The highest log format that this Everlog reads: 1, and one more for each contract step in migrations/."""
NEWEST_STEP = "0016.marks_of_keys.expand"
"""The last expand step in migrations/, which this Everlog needs."""

# While a contract step is under way this waits for its end, so that no program slips in beside it.
_OPENING = """
    SELECT format, EXISTS (SELECT FROM _yoyo_migration WHERE migration_id = %s) FROM log_format FOR SHARE"""
_CONNECTED = """
    SELECT application_name, count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    GROUP BY 1 ORDER BY 1"""
_NAME = re.compile(r"everlog-(?P<what>[a-z]+)/(?P<reads>\d+)")
MIGRATE = "migrate"
"""The program that raises log formats; it reads no events."""


class Incompatible(Exception):
    """This program and this database do not go together; the text says what to do about it."""


class NotYetWritten(Unavailable):
    """An event that programs may be connected for which cannot read it yet."""


class LogFormat:
    """The log format of one cell, as far as this process knows; it only grows."""

    def __init__(self) -> None:
        self.known = 1
        self.refusal: Incompatible | None = None
        """Why the last connection was of no use."""

    def look(self, conn: Connection[Any]) -> None:
        """What each connection for events begins with. Raises Incompatible."""
        try:
            self.known = _opened(conn)
        except Incompatible as error:
            self.refusal = error
            raise
        self.refusal = None

    def require_written(self, pool: "ConnectionPool[Connection[Any]]", event: Event) -> None:
        """Raises NotYetWritten for an event that programs which read this log may not know.

        The database is asked only about one that could not be written when this process last looked.
        """
        if (wanted := format_of(event)) <= self.known:
            return
        with pool.connection() as conn:
            self.known = current(conn)
        if wanted > self.known:
            raise NotYetWritten(
                f"{event.TYPE} is written from log format {wanted} on, and this log is of {self.known}: run"
                " `everlog migrate --contract` once all programs are of this release"
            )


class Program(NamedTuple):
    """A program that is connected to the database, as its connections call themselves."""

    what: str
    """`api`, `worker`, …; empty for one that gives no name, such as an Everlog from before log formats."""
    reads: int
    connections: int

    def __str__(self) -> str:
        who = f"{self.what}, which reads up to {self.reads}" if self.what else "one that gives no name"
        return f"{who} (connections: {self.connections})"


def application_name(program: str) -> str:
    """What the connections of a program call themselves, for `programs`."""
    return f"everlog-{program}/{READS}"


def current(conn: Connection[Any]) -> int:
    """The log format of a cell."""
    row = conn.execute("SELECT format FROM log_format").fetchone()
    assert row  # noqa: S101 - the table has one row
    return int(row[0])


def require_readable(format: int) -> None:
    """Raises Incompatible for a log format that this program does not read."""
    if format > READS:
        raise Incompatible(
            f"the log in this database is of format {format}, and this Everlog reads up to {READS}: run the"
            " release that was installed when `everlog migrate --contract` was run on it, or a newer one"
        )


def programs_below(conn: Connection[Any], format: int) -> list[Program]:
    """The connected programs that do not read this log format, or do not say that they do."""
    found: list[Program] = []
    for name, connections in conn.execute(_CONNECTED).fetchall():
        match = _NAME.fullmatch(name)
        if match and match["what"] != MIGRATE and int(match["reads"]) < format:
            found.append(Program(match["what"], int(match["reads"]), connections))
        elif not name:
            found.append(Program("", 0, connections))
    return found


def cut_off(conn: Connection[Any], format: int) -> None:
    """Close the connections of programs below this format: connecting again, they find that they are."""
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = ANY(%s)",
        ([f"everlog-{p.what}/{p.reads}" for p in programs_below(conn, format) if p.what],),
    )


def _opened(conn: Connection[Any]) -> int:
    try:
        row = conn.execute(_OPENING, (NEWEST_STEP,)).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    format, prepared = row or (1, False)
    require_readable(format)
    if not prepared:
        raise Incompatible("the schema of this database is of an older Everlog: run `everlog migrate` first")
    return int(format)
