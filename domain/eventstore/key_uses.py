"""When keys were last used: to the minute, and in no event, as nothing is decided by it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection

EVERY_SECONDS = 60.0
"""How old what is written may be: no key is written more often, by however many processes."""
_NOTE = """
    INSERT INTO key_uses AS u (key_id, owner, used_at) VALUES (%(id)s, %(owner)s, now())
    ON CONFLICT (key_id) DO UPDATE SET used_at = excluded.used_at
    WHERE u.used_at <= excluded.used_at - make_interval(secs => %(every)s)"""


def note(conn: Connection[Any], id: UUID, owner: str) -> None:
    """A key is used now; written unless it was within EVERY_SECONDS."""
    conn.execute(_NOTE, {"id": id, "owner": owner, "every": EVERY_SECONDS})


def last_uses(conn: Connection[Any], owner: str | None) -> dict[UUID, datetime]:
    """Of all keys that were ever used, or those of one owner."""
    query = "SELECT key_id, used_at FROM key_uses WHERE owner = coalesce(%s, owner)"
    return dict(conn.execute(query, (owner,)).fetchall())
