"""The *conversations* projection: a row for each conversation that is there, for lists and counts.

What was said in one is read from the log itself.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from domain.conversation import Conversation
from domain.scope import Scope
from projections import pieces
from projections.catalogue import Build
from projections.projection import Columns, Projection, Row, of_last_state, storable


class Listed(msgspec.Struct, frozen=True, kw_only=True):
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


def _rows(one: Conversation) -> list[Row]:
    row = (
        one.id, one.scope.owner, one.scope.user_id, one.agent, one.slug, len(one.turns), one.created_at,
        one.updated_at, one.position,
    )  # fmt: skip
    return [storable(row)]


CONVERSATIONS: Projection[Conversation] = Projection(
    name="conversations",
    aggregate="conversation",
    columns=Columns(
        conversation_id="uuid NOT NULL",
        owner="text NOT NULL",
        user_id="text",
        agent="text NOT NULL",
        slug="text NOT NULL",
        turns="integer NOT NULL",
        created_at="timestamptz NOT NULL",
        updated_at="timestamptz NOT NULL",
        position="bigint NOT NULL",
    ),
    key="conversation_id",
    indexes=("(owner, user_id, updated_at, position)", "(owner, user_id, created_at, conversation_id)"),
    rows=of_last_state(_rows),
    order=50,
    read_at_once=50,  # one event can hold images
)


# --- queries ----------------------------------------------------------------------------------------


async def listing(
    conn: AsyncConnection[Any], build: Build, scope: Scope, limit: int | None = None
) -> list[Listed]:
    """The user's conversations, the last changed first; of no user where the scope names none."""
    return await _select(conn, build, scope, "updated_at DESC, position DESC", limit, 0)


async def latest(conn: AsyncConnection[Any], build: Build, scope: Scope) -> UUID | None:
    """The conversation that was changed last."""
    rows = await listing(conn, build, scope, 1)
    return rows[0].conversation_id if rows else None


async def page(
    conn: AsyncConnection[Any], build: Build, scope: Scope, limit: int, offset: int
) -> list[Listed]:
    """One page, the newest first: an order that no change to a conversation disturbs."""
    order = "created_at DESC, conversation_id DESC"
    return await _select(conn, build, scope, order, limit, offset)


async def ids(conn: AsyncConnection[Any], build: Build, scope: Scope) -> list[UUID]:
    """All of the user's conversations."""
    where, values = _within(scope)
    cursor = await conn.execute(f"SELECT conversation_id FROM {build.table} WHERE {where}", values)
    return [id for (id,) in await pieces.all_of(cursor)]


async def count(conn: AsyncConnection[Any], build: Build, scope: Scope) -> int:
    """How many conversations the user has."""
    where, values = _within(scope)
    cursor = await conn.execute(f"SELECT count(*) FROM {build.table} WHERE {where}", values)
    return (await cursor.fetchone() or (0,))[0]


def _within(scope: Scope) -> tuple[str, dict[str, Any]]:
    user = "user_id IS NULL" if scope.user_id is None else "user_id = %(user_id)s"
    return f"owner = %(owner)s AND {user}", {"owner": scope.owner, "user_id": scope.user_id}


async def _select(
    conn: AsyncConnection[Any],
    build: Build,
    scope: Scope,
    order: str,
    limit: int | None,
    offset: int,
) -> list[Listed]:
    where, values = _within(scope)
    cursor = await conn.cursor(row_factory=class_row(Listed)).execute(
        f"SELECT {CONVERSATIONS.columns} FROM {build.table} WHERE {where}"
        f" ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s",
        {**values, "limit": limit, "offset": offset},
    )
    return await pieces.all_of(cursor)
