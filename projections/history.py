"""The *history* projection: every version a memory ever had, with the time it was true and who made it.

By-id history is read from the log itself; this one answers for a whole scope as of a moment.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.memory import CHANGE_NAMES, NO_TRAITS, Memory
from projections.catalogue import Build
from projections.changes import Change
from projections.memories import COLUMNS as MEMORY_COLUMNS
from projections.memories import DEFINITIONS as MEMORY_DEFINITIONS
from projections.memories import TYPES as MEMORY_TYPES
from projections.memories import memory_of, row_of
from projections.selection import Selection

name = "history"
aggregate = "memory"

COLUMNS = f"{MEMORY_COLUMNS}, event, actor, cause, correlation, valid_from, valid_to"
TYPES = (*MEMORY_TYPES, "text", "text", "text", "text", "timestamptz", "timestamptz")


def table(version: int) -> str:
    return f"history_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"""
        CREATE TABLE {table(version)} ({MEMORY_DEFINITIONS},
            event       text        NOT NULL,
            actor       text        NOT NULL,
            cause       text        NOT NULL,
            correlation text        NOT NULL,
            valid_from  timestamptz NOT NULL,
            valid_to    timestamptz              -- null: still true
        )""")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (memory_id, version)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id, valid_from)")


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change[Memory]]) -> None:
    load(conn, build, [[change] for change in changes])
    followed = [change for change in changes if change.before]
    conn.execute(
        f"UPDATE {table(build.version)} AS h SET valid_to = n.at"
        " FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[]) AS n(memory_id, version, at)"
        " WHERE h.memory_id = n.memory_id AND h.version = n.version - 1",
        (
            [change.after.id for change in followed],
            [change.after.version for change in followed],
            [change.recorded.occurred_at for change in followed],
        ),
    )
    silence(conn, build, [change.after.id for change in changes if change.after.erased])


def silence(conn: Connection[Any], build: Build, ids: Sequence[UUID]) -> None:
    """Take the words of erased memories out of all their versions."""
    if ids:
        conn.execute(
            f"UPDATE {table(build.version)} SET text = '', metadata = '{{}}', tags = '{{}}', traits = '{{}}'"
            " WHERE memory_id = ANY(%s)",
            (list(ids),),
        )


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Memory]]]) -> None:
    with conn.cursor().copy(f"COPY {table(build.version)} ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for changes in streams:
            ends = [change.recorded.occurred_at for change in changes[1:]]
            erased = changes[-1].after.erased
            for change, end in zip(changes, [*ends, None], strict=True):
                copy.write_row(_row(change, _silenced(change.after) if erased else change.after, end))


def _row(change: Change[Memory], memory: Memory, valid_to: datetime | None) -> tuple[Any, ...]:
    recorded = change.recorded
    context = recorded.context
    return (
        *row_of(memory),
        CHANGE_NAMES[type(recorded.event)], context.actor, context.cause, context.correlation,
        recorded.occurred_at, valid_to,
    )  # fmt: skip


def _silenced(memory: Memory) -> Memory:
    return msgspec.structs.replace(memory, text="", metadata={}, tags=(), traits=NO_TRAITS)


# --- queries ----------------------------------------------------------------------------------------


async def as_of(
    conn: AsyncConnection[Any], version: int, selection: Selection, moment: datetime, limit: int, offset: int
) -> tuple[list[Memory], int]:
    """One page of what is selected, as it was at `moment`, newest first, and how many there were then."""
    where, values = selection.where()
    then = (
        f"FROM {table(version)} WHERE {where} AND event <> 'DELETE' AND text <> ''"  # no words: erased since
        " AND valid_from <= %(moment)s AND coalesce(valid_to > %(moment)s, true)"
    )
    values["moment"] = moment
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {MEMORY_COLUMNS} {then} ORDER BY memory_id DESC LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    page: list[Memory] = await cursor.fetchall()
    counted = await conn.execute(f"SELECT count(*) {then}", values)
    return page, (await counted.fetchone() or (0,))[0]


async def added_by_day(conn: AsyncConnection[Any], version: int, owner: str, since: date) -> dict[date, int]:
    """How many memories an owner has got on each day (UTC) from `since` on."""
    cursor = await conn.execute(
        f"SELECT valid_from::date, count(*) FROM {table(version)}"
        " WHERE owner = %s AND event = 'ADD' AND valid_from >= %s GROUP BY 1",
        (owner, since),
    )
    return dict(await cursor.fetchall())
