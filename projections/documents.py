"""The *documents* projection: the directory of the documents that are there now."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from domain.document import Document
from domain.scope import Scope
from projections import pieces
from projections.catalogue import Build
from projections.conditions import Condition, Parameters
from projections.projection import Columns, Projection, Row, of_last_state, storable
from projections.selection import Selection

READ_AT_ONCE = 10
"""One event holds the whole text of a document, which can be a book."""


def _rows(document: Document) -> list[Row]:
    row = (
        document.id, document.scope.owner, document.scope.user_id, document.name, document.media_type,
        document.size, document.source, document.created_at, document.updated_at, document.position,
    )  # fmt: skip
    return [storable(row)]


DOCUMENTS: Projection[Document] = Projection(
    name="documents",
    aggregate="document",
    columns=Columns(
        document_id="uuid NOT NULL",
        owner="text NOT NULL",
        user_id="text",  # null: the owner's own
        name="text NOT NULL",
        media_type="text",
        size="bigint NOT NULL",  # bytes as uploaded
        source="text NOT NULL",
        created_at="timestamptz NOT NULL",
        updated_at="timestamptz NOT NULL",
        position="bigint NOT NULL",
    ),
    key="document_id",
    indexes=("(owner, user_id)",),
    rows=of_last_state(_rows),
    order=60,
    read_at_once=READ_AT_ONCE,
)


# --- queries ----------------------------------------------------------------------------------------


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What the directory says of a document."""

    name: str
    media_type: str | None
    size: int
    """Bytes as uploaded."""
    source: str
    created_at: datetime
    updated_at: datetime


class _Named(Condition, frozen=True):
    names: Sequence[str]

    def sql(self, parameter: Parameters) -> str:
        return f"name = ANY({parameter(list(self.names), 'text[]')})"


def selection_of(owner: str, user_id: str | None, names: Sequence[str] | None = None) -> Selection:
    """The documents of one user, or with None the owner's own; with `names`, of those alone."""
    return Selection(
        scope=Scope(owner=owner, user_id=user_id),
        without_user=user_id is None,
        with_expired=True,  # a document does not expire
        conditions=() if names is None else (_Named(names),),
    )


async def names(conn: AsyncConnection[Any], build: Build, owner: str, user_id: str | None) -> list[str]:
    """The names of all documents of a user, sorted."""
    where, values = selection_of(owner, user_id).where()
    cursor = await conn.execute(f"SELECT name FROM {build.table} WHERE {where}", values)
    return sorted(name for (name,) in await pieces.all_of(cursor))


async def listing(
    conn: AsyncConnection[Any], build: Build, owner: str, user_id: str | None, limit: int, offset: int = 0
) -> list[Listed]:
    """One page of the documents of a user, in order of their names."""
    where, values = selection_of(owner, user_id).where()
    cursor = await conn.cursor(row_factory=class_row(Listed)).execute(
        f"SELECT name, media_type, size, source, created_at, updated_at FROM {build.table} WHERE {where}"
        ' ORDER BY name COLLATE "C" LIMIT %(limit)s OFFSET %(offset)s',
        {**values, "limit": limit, "offset": offset},
    )
    return await pieces.all_of(cursor)


async def count(conn: AsyncConnection[Any], build: Build, owner: str, user_id: str | None) -> int:
    """How many documents a user has."""
    where, values = selection_of(owner, user_id).where()
    counted = await conn.execute(f"SELECT count(*) FROM {build.table} WHERE {where}", values)
    return (await counted.fetchone() or (0,))[0]
