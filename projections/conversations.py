"""The *conversations* projection: a row for each conversation that is there, for lists and counts.

What was said in one is read from the log itself.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.conversation import Conversation
from domain.memory import Scope
from projections.catalogue import Build
from projections.changes import Change
from projections.rows import renew, storable

name = "conversations"
aggregate = "conversation"

COLUMNS = "conversation_id, owner, user_id, agent, slug, turns, created_at, updated_at, position"
TYPES = ("uuid", "text", "text", "text", "text", "int4", "timestamptz", "timestamptz", "int8")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as it is listed."""

    conversation_id: UUID
    owner: str
    user_id: str | None
    agent: str
    slug: str
    turns: int
    created_at: datetime
    updated_at: datetime
    position: int


def table(version: int) -> str:
    return f"conversations_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"""
        CREATE TABLE {table(version)} (
            conversation_id uuid        NOT NULL,
            owner           text        NOT NULL,
            user_id         text,
            agent           text        NOT NULL,
            slug            text        NOT NULL,
            turns           integer     NOT NULL,
            created_at      timestamptz NOT NULL,
            updated_at      timestamptz NOT NULL,
            position        bigint      NOT NULL
        )""")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (conversation_id)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id, updated_at, position)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id, created_at, conversation_id)")


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change[Conversation]]) -> None:
    renew(conn, build, "conversation_id", changes, load)


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Conversation]]]) -> None:
    with conn.cursor().copy(f"COPY {table(build.version)} ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for changes in streams:
            if not changes[-1].after.deleted:
                copy.write_row(storable(_row(changes[-1].after)))


def _row(one: Conversation) -> tuple[Any, ...]:
    return (
        one.id, one.scope.owner, one.scope.user_id, one.agent, one.slug, len(one.turns), one.created_at,
        one.updated_at, one.position,
    )  # fmt: skip


# --- queries ----------------------------------------------------------------------------------------


async def listing(
    conn: AsyncConnection[Any], version: int, scope: Scope, limit: int | None = None
) -> list[Row]:
    """The user's conversations, the last changed first; of no user where the scope names none."""
    return await _rows(conn, version, scope, "updated_at DESC, position DESC", limit, 0)


async def latest(conn: AsyncConnection[Any], version: int, scope: Scope) -> UUID | None:
    """The conversation that was changed last."""
    rows = await listing(conn, version, scope, 1)
    return rows[0].conversation_id if rows else None


async def page(conn: AsyncConnection[Any], version: int, scope: Scope, limit: int, offset: int) -> list[Row]:
    """One page, the newest first: an order that no change to a conversation disturbs."""
    order = "created_at DESC, conversation_id DESC"
    return await _rows(conn, version, scope, order, limit, offset)


async def ids(conn: AsyncConnection[Any], version: int, scope: Scope) -> list[UUID]:
    """All of the user's conversations."""
    where, values = _within(scope)
    cursor = await conn.execute(f"SELECT conversation_id FROM {table(version)} WHERE {where}", values)
    return [id for (id,) in await cursor.fetchall()]


async def count(conn: AsyncConnection[Any], version: int, scope: Scope) -> int:
    """How many conversations the user has."""
    where, values = _within(scope)
    cursor = await conn.execute(f"SELECT count(*) FROM {table(version)} WHERE {where}", values)
    return (await cursor.fetchone() or (0,))[0]


def _within(scope: Scope) -> tuple[str, dict[str, Any]]:
    user = "user_id IS NULL" if scope.user_id is None else "user_id = %(user_id)s"
    return f"owner = %(owner)s AND {user}", {"owner": scope.owner, "user_id": scope.user_id}


async def _rows(
    conn: AsyncConnection[Any],
    version: int,
    scope: Scope,
    order: str,
    limit: int | None,
    offset: int,
) -> list[Row]:
    where, values = _within(scope)
    cursor = await conn.cursor(row_factory=class_row(Row)).execute(
        f"SELECT {COLUMNS} FROM {table(version)} WHERE {where}"
        f" ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    return await cursor.fetchall()
