"""The chain over the log: each event's link is made of the link before it and of the event's digest."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from domain.eventstore.reading import COLUMNS, entry_of

PAGE_EVENTS = 500
"""Some events are as long as a book."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def leaf_of(digest: bytes, position: int, recorded_at: datetime) -> bytes:
    """An event's leaf, as `append` makes it: hashed as RFC 9162 says (2.1.1)."""
    moment = (recorded_at - EPOCH) // timedelta(microseconds=1)
    return hashlib.sha256(b"\x00" + digest + position.to_bytes(8) + moment.to_bytes(8)).digest()


def broken_link(conn: Connection[Any]) -> int | None:
    """The position of the first event that is gone, whose link does not follow, or whose leaf is not its own.

    None while the log is as it was written.

    Of an event that was redacted the digest is kept, so its link follows still; what stands there instead
    of its words is not proven.
    """
    link, after = b"", 0
    query = f"SELECT {COLUMNS}, digest, link, leaf FROM events WHERE position > %s ORDER BY position LIMIT %s"
    while rows := conn.cursor(binary=True).execute(query, (after, PAGE_EVENTS)).fetchall():
        for *row, redacted, stored, leaf in rows:
            entry = entry_of(row)
            if entry.position != after + 1:
                return after + 1
            digest = redacted or entry.digest()
            link, after = hashlib.sha256(link + digest).digest(), entry.position
            assert entry.recorded_at  # noqa: S101 - it was read
            if link != stored or (leaf and leaf != leaf_of(digest, after, entry.recorded_at)):
                return after
    return None
