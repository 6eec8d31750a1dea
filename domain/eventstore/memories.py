"""What the log knows of memories by what stands around their events, none of which is decoded."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection

NUMBERS = "SELECT stream_id AS memory_id, position AS number FROM events WHERE version = 1"
"""For a join: where each memory began. That never changes, and no two began at one place."""
ERASED = "SELECT stream_id, position FROM events WHERE type LIKE 'memory.erased.%%'"
"""For a subquery: the memories that were erased, and where the log says so."""


class Ended(NamedTuple):
    """A memory's last event."""

    type: str
    """Its stored name."""
    cause: str


class AsOf(NamedTuple):
    """A memory, and how far its stream went at some position."""

    number: int
    """The position of its first event."""
    id: UUID
    next_version: int
    """The first that there was not yet."""


async def numbered(conn: AsyncConnection[Any], owner: str, number: int) -> UUID | None:
    """The owner's memory that began at this position, deleted or not."""
    cursor = await conn.execute(
        "SELECT stream_id FROM events"
        " WHERE position = %s AND owner = %s AND version = 1 AND starts_with(type, 'memory.')",
        (number, owner),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def unerased_of(conn: AsyncConnection[Any], owner: str, ids: Sequence[UUID]) -> list[UUID]:
    """Of these, an owner's memories that are not erased; deleted ones are among them."""
    cursor = await conn.execute(
        "SELECT stream_id FROM events e WHERE stream_id = ANY(%s) AND owner = %s AND version = 1"
        " AND type LIKE 'memory.%%' AND NOT EXISTS (SELECT FROM events l"
        " WHERE l.stream_id = e.stream_id AND l.type LIKE 'memory.erased.%%')",
        (list(ids), owner),
    )
    return [id for (id,) in await cursor.fetchall()]


async def last_of_subject(conn: AsyncConnection[Any], subject_id: UUID) -> int:
    """Where the last event of a subject's memories is; 0 where there is none."""
    cursor = await conn.execute(
        "SELECT coalesce(max(position), 0) FROM events WHERE subject_id = %s AND type LIKE 'memory.%%'",
        (subject_id,),
    )
    return (await cursor.fetchone() or (0,))[0]


def caused_by(conn: Connection[Any], causes: Iterable[str]) -> list[UUID]:
    """The memories that any of these has changed."""
    rows = conn.execute(
        "SELECT DISTINCT stream_id FROM events WHERE cause = ANY(%s) AND type LIKE 'memory.%%'",
        (list(causes),),
    ).fetchall()
    return [id for (id,) in rows]


def ends_of(conn: Connection[Any], owner: str, ids: Iterable[UUID]) -> dict[UUID, Ended]:
    """The last event of each of these memories that the owner has."""
    rows = conn.execute(
        "SELECT DISTINCT ON (stream_id) stream_id, type, cause FROM events"
        " WHERE stream_id = ANY(%s) AND owner = %s ORDER BY stream_id, version DESC",
        (list(ids), owner),
    ).fetchall()
    return {id: Ended(type_name, cause) for id, type_name, cause in rows}


def page_as_of(
    conn: Connection[Any], owner: str, subject_id: UUID | None, upto: int, after: int, limit: int
) -> list[AsOf]:
    """Those of an owner's memories, or of one subject's, that there were at position `upto`.

    In the order in which they began, from behind `after` on; deleted ones are among them.
    """
    rows = conn.execute(
        """
        SELECT position, stream_id,
            (SELECT max(version) + 1 FROM events e
             WHERE e.stream_id = f.stream_id AND e.position <= %(upto)s)
        FROM events f
        WHERE owner = %(owner)s AND position > %(after)s AND position <= %(upto)s AND version = 1
            AND type LIKE 'memory.%%' AND subject_id = coalesce(%(subject)s, subject_id)
        ORDER BY position LIMIT %(limit)s""",
        {"owner": owner, "subject": subject_id, "upto": upto, "after": after, "limit": limit},
    ).fetchall()
    return [AsOf(*row) for row in rows]
