"""What waits for extraction: a queue for each subject, strictly in order of the log.

The log itself keeps the rows (migrations/0003.extraction.sql); here they are handed out and put off.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection

LEASE_SECONDS = 20
"""After that a worker that took something is thought dead. Another may look: a lock keeps it from working."""
HANDED_OUT = 100
"""At a time, to all workers together; the rest follows when these are done."""


class Waiting(msgspec.Struct, frozen=True):
    """One thing to do, the first of its subject."""

    stream_id: UUID
    kind: str
    """`ingestion` or `review`."""
    attempts: int
    """That failed for reasons of its own."""
    outages: int
    """Attempts that something else made impossible."""
    hours: float
    """Since the first of the outages."""


class Turn(msgspec.Struct, frozen=True):
    """A subject whose turn it is, and what its first thing is like."""

    subject_id: UUID
    size: int
    """Bytes of a conversation."""
    review: bool
    """Many conversations."""


class Extent(msgspec.Struct, frozen=True):
    """All that waits."""

    waiting: int
    put_off: int
    """Of these, what was tried before and failed."""
    error: str | None
    """What the one that waits longest ran into."""


SETTLED = "ingestion"


def settled(stream_id: UUID) -> str:
    """What is told (signals.py) when an ingestion or a review waits no more, or is put off."""
    return f"{SETTLED} {stream_id}"


async def is_waiting(conn: AsyncConnection[Any], stream_id: UUID) -> bool:
    cursor = await conn.execute("SELECT 1 FROM backlog WHERE stream_id = %s", (stream_id,))
    return await cursor.fetchone() is not None


async def is_handed_out(conn: AsyncConnection[Any], stream_id: UUID) -> bool:
    """Whether somebody is at it, or was told to be."""
    cursor = await conn.execute(
        "SELECT handed_out_at IS NOT NULL FROM backlog WHERE stream_id = %s", (stream_id,)
    )
    return await cursor.fetchone() == (True,)


def extent(conn: Connection[Any], owner: str | None = None) -> Extent:
    """How much waits in a cell; the error is one of this owner's, or anybody's for None, the operator."""
    row = conn.execute(
        "SELECT count(*), count(*) FILTER (WHERE attempts + outages > 0),"
        " (SELECT error FROM backlog WHERE error IS NOT NULL AND owner = coalesce(%s, owner)"
        " ORDER BY due_at DESC LIMIT 1) FROM backlog",
        (owner,),
    ).fetchone()
    assert row  # noqa: S101 - an aggregate is one row
    return Extent(*row)


async def learnt(conn: AsyncConnection[Any], owner: str, name_hash: bytes) -> tuple[int, int]:
    """How many conversations of a subject wait for their first attempt, and where its last memory is."""
    cursor = await conn.execute(
        """
        SELECT (SELECT count(*) FROM backlog b
                WHERE b.subject_id = s.subject_id AND b.attempts = 0 AND b.outages = 0),
               (SELECT coalesce(max(e.position), 0) FROM events e
                WHERE e.subject_id = s.subject_id AND e.type LIKE 'memory.%%')
        FROM subjects s WHERE s.owner = %s AND s.name_hash = %s""",
        (owner, name_hash),
    )
    return await cursor.fetchone() or (0, 0)


def attempts_of(
    conn: Connection[Any], stream_ids: Sequence[UUID]
) -> list[tuple[UUID, int, str | None, datetime]]:
    """Of those that wait: the failed attempts so far, what the last ran into, and when the next is due."""
    return conn.execute(
        "SELECT stream_id, attempts + outages, error, due_at FROM backlog WHERE stream_id = ANY(%s)",
        (list(stream_ids),),
    ).fetchall()


# The first of each subject; of these, those that nobody is at, each owner's first before anybody's second.
_HAND_OUT = """
    WITH first AS (
        SELECT DISTINCT ON (subject_id) stream_id, owner, due_at, position,
               coalesce(handed_out_at >= now() - make_interval(secs => %(lease)s), false) AS taken
        FROM backlog ORDER BY subject_id, position
    ), turns AS (
        SELECT stream_id, taken, due_at, position,
               count(*) FILTER (WHERE taken) OVER (PARTITION BY owner)
               + row_number() OVER (PARTITION BY owner, taken ORDER BY due_at, position) AS turn
        FROM first WHERE taken OR due_at <= now()
    ), due AS (
        SELECT stream_id FROM turns WHERE NOT taken ORDER BY turn, due_at, position
        LIMIT (SELECT greatest(0, least(%(most)s, %(in_all)s - count(*))) FROM first WHERE taken)
    )
    UPDATE backlog AS b SET handed_out_at = now() FROM due
    WHERE b.stream_id = due.stream_id
      AND coalesce(b.handed_out_at < now() - make_interval(secs => %(lease)s), true)
    RETURNING b.subject_id, b.size, b.subject_id = b.stream_id"""


def hand_out(conn: Connection[Any], most: int = HANDED_OUT) -> list[Turn]:
    """The subjects whose turn it is, at most so many, marked as handed out.

    Owners take turns: however much one has waiting, another's first comes before their next.
    """
    rows = conn.execute(_HAND_OUT, {"most": most, "in_all": HANDED_OUT, "lease": LEASE_SECONDS}).fetchall()
    return [Turn(*row) for row in rows]


def claim(conn: Connection[Any], subject_id: UUID) -> bool:
    """Take a subject's queue for this connection; False while another has it."""
    row = conn.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_lock(subject_id),)
    ).fetchone()
    return row == (True,)


def release(conn: Connection[Any], subject_id: UUID) -> None:
    conn.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_lock(subject_id),))


def first(conn: Connection[Any], subject_id: UUID) -> Waiting | None:
    """The first thing of a subject's queue, if it is due: a later one never overtakes it."""
    row = conn.execute(
        """
        SELECT b.stream_id, split_part(e.type, '.', 1), b.attempts, b.outages,
               coalesce(extract(epoch FROM now() - b.failing_since)::float8 / 3600, 0), b.due_at <= now()
        FROM backlog b JOIN events e USING (position) WHERE b.subject_id = %s ORDER BY b.position LIMIT 1""",
        (subject_id,),
    ).fetchone()
    return Waiting(*row[:-1]) if row and row[-1] else None


def put_off(conn: Connection[Any], stream_id: UUID, seconds: float, error: str, outage: bool = False) -> None:
    """Try again after so many seconds; `error` is what the operator reads."""
    counts = (
        "outages = outages + 1, failing_since = coalesce(failing_since, now())"
        if outage
        else "attempts = attempts + 1"
    )
    conn.execute(
        f"WITH put_off AS (UPDATE backlog SET {counts}, handed_out_at = NULL, error = %s,"
        " due_at = now() + make_interval(secs => %s) WHERE stream_id = %s RETURNING 1)"
        " SELECT pg_notify(current_schema() || '_told', %s) FROM put_off",
        (error[:500], seconds, stream_id, settled(stream_id)),
    )


def postpone(conn: Connection[Any], stream_id: UUID, seconds: float) -> None:
    """Let others go first for so many seconds."""
    conn.execute(
        "UPDATE backlog SET handed_out_at = NULL, due_at = now() + make_interval(secs => %s)"
        " WHERE stream_id = %s",
        (seconds, stream_id),
    )


def keep(conn: Connection[Any], stream_id: UUID) -> None:
    """Say that somebody is at it, so that it is not handed out again."""
    conn.execute("UPDATE backlog SET handed_out_at = now() WHERE stream_id = %s", (stream_id,))


def hand_back(conn: Connection[Any], stream_id: UUID) -> None:
    """Nobody is at it any more."""
    conn.execute("UPDATE backlog SET handed_out_at = NULL WHERE stream_id = %s", (stream_id,))


def claim_slot(conn: Connection[Any]) -> bool:
    """Take the one place that there is for reviews; False while another has it. Goes with `release_slot`."""
    row = conn.execute(
        "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '.review', 0))"
    ).fetchone()
    return row == (True,)


def release_slot(conn: Connection[Any]) -> None:
    conn.execute("SELECT pg_advisory_unlock(hashtextextended(current_schema() || '.review', 0))")


def _lock(subject_id: UUID) -> str:
    return f"subject.{subject_id}"
