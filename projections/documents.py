"""The *documents* projection: the directory of the documents that are there now."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from domain.document import Document
from domain.memory import Scope
from projections.catalogue import Build
from projections.changes import Change
from projections.rows import renew, storable
from projections.selection import Selection

name = "documents"
aggregate = "document"

COLUMNS = "document_id, owner, user_id, name, media_type, size, source, created_at, updated_at, position"
TYPES = ("uuid", "text", "text", "text", "text", "int8", "text", "timestamptz", "timestamptz", "int8")


def table(version: int) -> str:
    return f"documents_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"""
        CREATE TABLE {table(version)} (
            document_id uuid        NOT NULL,
            owner       text        NOT NULL,
            user_id     text,                    -- null: the owner's own
            name        text        NOT NULL,
            media_type  text,
            size        bigint      NOT NULL,    -- bytes as uploaded
            source      text        NOT NULL,
            created_at  timestamptz NOT NULL,
            updated_at  timestamptz NOT NULL,
            position    bigint      NOT NULL
        )""")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (document_id)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id)")


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change[Document]]) -> None:
    renew(conn, build, "document_id", changes, load)


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Document]]]) -> None:
    with conn.cursor().copy(f"COPY {table(build.version)} ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for changes in streams:
            if not changes[-1].after.deleted:
                copy.write_row(storable(_row(changes[-1].after)))


def _row(document: Document) -> tuple[Any, ...]:
    return (
        document.id, document.scope.owner, document.scope.user_id, document.name, document.media_type,
        document.size, document.source, document.created_at, document.updated_at, document.position,
    )  # fmt: skip


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


def selection_of(owner: str, user_id: str | None, names: Sequence[str] | None = None) -> Selection:
    """The documents of one user, or with None the owner's own; with `names`, of those alone."""
    return Selection(
        scope=Scope(owner=owner, user_id=user_id),
        without_user=user_id is None,
        with_expired=True,  # a document does not expire
        also=None if names is None else "name = ANY(%(names)s::text[])",
        values={} if names is None else {"names": list(names)},
    )


async def names(conn: AsyncConnection[Any], version: int, owner: str, user_id: str | None) -> list[str]:
    """The names of all documents of a user, sorted."""
    where, values = selection_of(owner, user_id).where()
    cursor = await conn.execute(f"SELECT name FROM {table(version)} WHERE {where}", values)
    return sorted(name for (name,) in await cursor.fetchall())


async def listing(
    conn: AsyncConnection[Any], version: int, owner: str, user_id: str | None, limit: int, offset: int = 0
) -> list[Listed]:
    """One page of the documents of a user, in order of their names."""
    where, values = selection_of(owner, user_id).where()
    cursor = await conn.cursor(row_factory=class_row(Listed)).execute(
        f"SELECT name, media_type, size, source, created_at, updated_at FROM {table(version)} WHERE {where}"
        ' ORDER BY name COLLATE "C" LIMIT %(limit)s OFFSET %(offset)s',
        {**values, "limit": limit, "offset": offset},
    )
    return await cursor.fetchall()


async def count(conn: AsyncConnection[Any], version: int, owner: str, user_id: str | None) -> int:
    """How many documents a user has."""
    where, values = selection_of(owner, user_id).where()
    counted = await conn.execute(f"SELECT count(*) FROM {table(version)} WHERE {where}", values)
    return (await counted.fetchone() or (0,))[0]
