"""Erasing memories: their words out of the log, and with them out of what was built from it.

Live builds follow the log by themselves. The vector cache belongs to no build, a retired build stands still,
and so does a parked stream.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

import projections
from domain.eventstore.erasure import redact
from domain.eventstore.mapper import EventMapper
from domain.eventstore.memories import ERASED
from projections import vectors
from projections.catalogue import builds
from projections.memories import MEMORIES
from projections.vectors import text_hash

LEFT_BEHIND = f"""
    SELECT e.stream_id FROM ({ERASED}) e
    WHERE (%(retired)s AND e.position > %(position)s OR e.stream_id IN (
          SELECT p.stream_id FROM parked p WHERE p.projection = %(name)s AND p.version = %(version)s))"""


def erase(conn: Connection[Any], mapper: EventMapper, owner: str, ids: Sequence[UUID]) -> None:
    """Do what the `Erased` events of an owner's memories ask for. May run twice, and at once.

    A vector goes even if another memory has the same words: that one keeps its own in its row, and only a
    later replay embeds them anew.
    """
    with conn.transaction():
        texts = redact(conn, mapper, owner, ids)
        vectors.forget(conn, [(owner, text_hash(text)) for text in texts])
        erase_left_behind(conn, ids)


def erase_left_behind(conn: Connection[Any], ids: Sequence[UUID] | None = None) -> None:
    """Erase these memories, or all that were erased, from the rows that no runner comes to."""
    for build in builds(conn):
        projection = projections.ALL.get(build.name)
        if projection and projection.aggregate == MEMORIES.aggregate and build.state != "building":
            rows = conn.execute(
                LEFT_BEHIND + ("" if ids is None else " AND e.stream_id = ANY(%(ids)s)"),
                {
                    "ids": list(ids or ()),
                    "retired": build.state == "retired",
                    "position": build.position,
                    "name": build.name,
                    "version": build.version,
                },
            ).fetchall()
            if rows:
                projection.forget(conn, build, [id for (id,) in rows])
