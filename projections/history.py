"""The *history* projection: every version a memory ever had, with the time it was true and who made it.

By-id history is read from the log itself; this one answers for a whole scope as of a moment.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.memory import CHANGE_NAMES, NO_TRAITS, Memory
from projections import pieces
from projections.catalogue import Build
from projections.changes import Change
from projections.memories import COLUMNS as MEMORY_COLUMNS
from projections.memories import memory_of, row_of
from projections.projection import Columns, Projection, Row, Stream
from projections.selection import Selection


class _Versions(Projection[Memory], frozen=True, kw_only=True):
    """Rows are added, and stay when their time is over."""

    def apply(self, conn: Connection[Any], build: Build, changes: Sequence[Change[Memory]]) -> None:
        self.load(conn, build, [[change] for change in changes])
        followed = [change for change in changes if change.before]
        conn.execute(
            f"UPDATE {build.table} AS h SET valid_to = n.at"
            " FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[]) AS n(memory_id, version, at)"
            " WHERE h.memory_id = n.memory_id AND h.version = n.version - 1",
            (
                [change.after.id for change in followed],
                [change.after.version for change in followed],
                [change.recorded.occurred_at for change in followed],
            ),
        )
        self.forget(conn, build, [change.after.id for change in changes if change.after.erased])

    def forget(self, conn: Connection[Any], build: Build, ids: Sequence[UUID]) -> None:
        """Take the words of erased memories out of all their versions."""
        if ids:
            conn.execute(
                f"UPDATE {build.table} SET text = '', metadata = '{{}}', tags = '{{}}', traits = '{{}}'"
                " WHERE memory_id = ANY(%s)",
                (list(ids),),
            )


def _rows(stream: Stream[Memory]) -> Iterator[Row]:
    ends = [change.recorded.occurred_at for change in stream[1:]]
    erased = stream[-1].after.erased
    for change, end in zip(stream, [*ends, None], strict=True):
        yield _row(change, _silenced(change.after) if erased else change.after, end)


def _row(change: Change[Memory], memory: Memory, valid_to: datetime | None) -> Row:
    recorded = change.recorded
    context = recorded.context
    return (
        *row_of(memory),
        CHANGE_NAMES[type(recorded.event)], context.actor, context.cause, context.correlation,
        recorded.occurred_at, valid_to,
    )  # fmt: skip


def _silenced(memory: Memory) -> Memory:
    return msgspec.structs.replace(memory, text="", metadata={}, tags=(), traits=NO_TRAITS)


HISTORY = _Versions(
    name="history",
    aggregate="memory",
    columns=MEMORY_COLUMNS
    + Columns(
        event="text NOT NULL",
        actor="text NOT NULL",
        cause="text NOT NULL",
        correlation="text NOT NULL",
        valid_from="timestamptz NOT NULL",
        valid_to="timestamptz",  # null: still true
    ),
    key="memory_id, version",
    indexes=("(owner, user_id, valid_from)",),
    rows=_rows,
    order=30,
)


# --- queries ----------------------------------------------------------------------------------------


async def as_of(
    conn: AsyncConnection[Any], build: Build, selection: Selection, moment: datetime, limit: int, offset: int
) -> tuple[list[Memory], int]:
    """One page of what is selected, as it was at `moment`, newest first, and how many there were then."""
    where, values = selection.where()
    then = (
        f"FROM {build.table} WHERE {where} AND event <> 'DELETE' AND text <> ''"  # no words: erased since
        " AND valid_from <= %(moment)s AND coalesce(valid_to > %(moment)s, true)"
    )
    values["moment"] = moment
    cursor = await conn.cursor(row_factory=class_row(memory_of)).execute(  # type: ignore[arg-type]
        f"SELECT {MEMORY_COLUMNS} {then} ORDER BY memory_id DESC LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    page: list[Memory] = await pieces.all_of(cursor)
    counted = await conn.execute(f"SELECT count(*) {then}", values)
    return page, (await counted.fetchone() or (0,))[0]


async def added_by_day(conn: AsyncConnection[Any], build: Build, owner: str, since: date) -> dict[date, int]:
    """How many memories an owner has got on each day (UTC) from `since` on."""
    cursor = await conn.execute(
        f"SELECT valid_from::date, count(*) FROM {build.table}"
        " WHERE owner = %s AND event = 'ADD' AND valid_from >= %s GROUP BY 1",
        (owner, since),
    )
    return dict(await pieces.all_of(cursor))
