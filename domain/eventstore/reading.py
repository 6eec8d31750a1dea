"""Reading the log: by stream, and in order of position. Rows come in binary, by keyset."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection, Cursor

from domain.eventstore.mapper import LogEntry
from domain.recorded import Context

COLUMNS = (
    "position, stream_id, version, type, payload, event_id, owner, subject_id, actor, cause, correlation,"
    " occurred_at, recorded_at, format"
)


class Filter(NamedTuple):
    """What to leave out of a page of the log; None leaves out nothing."""

    owner: str | None = None
    stream_id: UUID | None = None
    subject_id: UUID | None = None
    actor: str | None = None
    cause: str | None = None
    since: datetime | None = None
    """Recorded at or after this moment."""
    until: datetime | None = None
    """Recorded before this moment."""
    types: Sequence[str] | None = None
    kind: str | None = None
    """The aggregate: `memory`."""


CONDITIONS = {
    "owner": "owner = %(owner)s",
    "stream_id": "stream_id = %(stream_id)s",
    "subject_id": "subject_id = %(subject_id)s",
    "actor": "actor = %(actor)s",
    "cause": "cause = %(cause)s",
    "since": "recorded_at >= %(since)s",
    "until": "recorded_at < %(until)s",
    "types": "type = ANY(%(types)s)",
    "kind": "starts_with(type, %(kind)s || '.')",
}
EVERYTHING = Filter()
_OF_KIND = f"{CONDITIONS['kind']} AND position <= %(upto)s"
LAST_OF_ACTOR = "SELECT last_of_actor(%s)"
"""For a subquery: the position of the last event that somebody has written; 0 where there is none."""


def read_log(
    conn: Connection[Any],
    after: int,
    limit: int,
    only: Filter = EVERYTHING,
    upto: int | None = None,
) -> list[LogEntry]:
    """At most `limit` entries with positions above `after` (and not above `upto`), in order."""
    given = {name: value for name, value in only._asdict().items() if value is not None}
    conditions = ["position > %(after)s", *(CONDITIONS[name] for name in given)]
    if upto is not None:
        conditions.append("position <= %(upto)s")
    return _entries(
        conn.cursor(binary=True).execute(
            f"SELECT {COLUMNS} FROM events WHERE {' AND '.join(conditions)}"
            " ORDER BY position LIMIT %(limit)s",
            {**given, "after": after, "upto": upto, "limit": limit},
        )
    )


def read_stream(
    conn: Connection[Any],
    stream_id: UUID,
    *,
    gt: int | None = None,
    lte: int | None = None,
    desc: bool = False,
    limit: int | None = None,
) -> list[LogEntry]:
    """The entries of one stream with versions in (gt, lte]."""
    return _entries(
        conn.cursor(binary=True).execute(
            f"SELECT {COLUMNS} FROM events WHERE stream_id = %s AND version > %s AND version <= %s"
            f" ORDER BY version {'DESC' if desc else 'ASC'} LIMIT %s",
            (stream_id, gt if gt is not None else -1, lte if lte is not None else 2**62, limit),
        )
    )


def read_streams(conn: Connection[Any], stream_ids: Sequence[UUID]) -> list[LogEntry]:
    """All entries of some streams, each stream's together and in order."""
    return _entries(
        conn.cursor(binary=True).execute(
            f"SELECT {COLUMNS} FROM events WHERE stream_id = ANY(%s) ORDER BY stream_id, version",
            (list(stream_ids),),
        )
    )


def read_of_whomever(conn: Connection[Any], id: UUID) -> list[LogEntry]:
    """The entries of the stream of a key or a share, whoever owns it; none of what is something else."""
    return _entries(conn.cursor(binary=True).execute(f"SELECT {COLUMNS} FROM events_of_whomever(%s)", (id,)))


def leaf_parts(conn: Connection[Any], owner: str, position: int) -> tuple[bytes, datetime] | None:
    """The digest of an owner's event and when it was recorded, which its leaf is made of."""
    row = (
        conn.cursor(binary=True)
        .execute(
            f"SELECT {COLUMNS}, digest FROM events WHERE position = %s AND owner = %s", (position, owner)
        )
        .fetchone()
    )
    if row is None:
        return None
    *columns, redacted = row
    entry = entry_of(columns)
    assert entry.recorded_at  # noqa: S101 - it was read
    return redacted or entry.digest(), entry.recorded_at


def marks_of_keys(conn: Connection[Any]) -> frozenset[bytes]:
    """The marks (`key.mark_of`) of all keys that are not revoked."""
    return frozenset(mark for (mark,) in conn.execute("SELECT marks_of_keys()"))


def head(conn: Connection[Any]) -> int:
    """The last position of the log; 0 while it is empty."""
    row = conn.execute("SELECT log_head()").fetchone()
    return row[0] if row else 0


async def head_now(conn: AsyncConnection[Any]) -> int:
    """As `head`."""
    row = await (await conn.execute("SELECT log_head()")).fetchone()
    return row[0] if row else 0


def count_of_kind(conn: Connection[Any], kind: str, upto: int) -> int:
    """How many events the aggregates of one kind have, up to a position."""
    row = conn.execute(
        f"SELECT count(*) FROM events WHERE {_OF_KIND}", {"kind": kind, "upto": upto}
    ).fetchone()
    return row[0] if row else 0


def read_kind(conn: Connection[Any], kind: str, upto: int, limit: int) -> Iterator[list[LogEntry]]:
    """All of these in pages of `limit` entries, each stream's together and in order.

    Keeps its transaction, and a cursor in it, as long as there are more.
    """
    with conn.cursor("log", binary=True) as cursor:
        cursor.itersize = limit
        cursor.execute(
            f"SELECT {COLUMNS} FROM events WHERE {_OF_KIND} ORDER BY stream_id, version",
            {"kind": kind, "upto": upto},
        )
        while rows := cursor.fetchmany(limit):
            yield [entry_of(row) for row in rows]


def entry_of(row: Sequence[Any]) -> LogEntry:
    """A row of COLUMNS as a log entry."""
    (position, stream, version, type_name, payload, event_id, owner, subject, actor, cause, correlation,
     occurred, recorded, format) = row  # fmt: skip
    return LogEntry(
        stream, version, type_name, payload, event_id,
        Context(owner=owner, actor=actor, cause=cause, correlation=correlation),
        subject, occurred, position, recorded, format,
    )  # fmt: skip


def _entries(cursor: Cursor[Any]) -> list[LogEntry]:
    return [entry_of(row) for row in cursor.fetchall()]
