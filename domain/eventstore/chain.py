"""The chain over the log: each event's link is made of the link before it and of the event's digest."""

import hashlib
from typing import Any

from psycopg import Connection

from domain.eventstore.reading import COLUMNS, entry_of

PAGE_EVENTS = 500
"""Some events are as long as a book."""


def broken_link(conn: Connection[Any]) -> int | None:
    """The position of the first event whose link does not follow; None while the log is as it was written.

    Of an event that was redacted the digest is kept, so its link follows still; what stands there instead
    of its words is not proven.
    """
    link, after = b"", 0
    query = f"SELECT {COLUMNS}, digest, link FROM events WHERE position > %s ORDER BY position LIMIT %s"
    while rows := conn.cursor(binary=True).execute(query, (after, PAGE_EVENTS)).fetchall():
        for *row, digest, stored in rows:
            entry = entry_of(row)
            link, after = hashlib.sha256(link + (digest or entry.digest())).digest(), entry.position
            if link != stored:
                return after
    return None
