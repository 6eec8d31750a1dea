"""The *passages* projection: what is needed to find a passage of a document by its words and its meaning."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid5

import msgspec
from psycopg import AsyncConnection, Connection

from domain.document import Document
from projections import retrieval, vectors
from projections.catalogue import Build
from projections.changes import Change
from projections.ranking import Floats
from projections.retrieval import Query
from projections.rows import renew, storable
from providers.documents import passages_of

name = "passages"
aggregate = "document"

COLUMNS = "passage_id, document_id, number, owner, user_id, name, text, position"
TYPES = ("uuid", "uuid", "int4", "text", "text", "text", "text", "int8")


def table(version: int) -> str:
    return f"passages_v{version}"


def create(conn: Connection[Any], version: int) -> None:
    conn.execute(f"""
        CREATE TABLE {table(version)} (
            passage_id  uuid   NOT NULL,
            document_id uuid   NOT NULL,
            number      int    NOT NULL,         -- from 0, in the order of the document
            owner       text   NOT NULL,
            user_id     text,                    -- null: the owner's own
            name        text   NOT NULL,         -- of the document
            text        text   NOT NULL,
            position    bigint NOT NULL,
            {retrieval.DEFINITIONS}
        )""")


def index(conn: Connection[Any], version: int) -> None:
    made = table(version)
    conn.execute(f"ALTER TABLE {made} ADD PRIMARY KEY (passage_id)")
    conn.execute(f"CREATE INDEX ON {made} (document_id)")
    conn.execute(f"CREATE INDEX ON {made} (owner, user_id, name)")
    retrieval.index_waiting(conn, made)


def drop(conn: Connection[Any], version: int) -> None:
    conn.execute(f"DROP TABLE IF EXISTS {table(version)}")


def apply(conn: Connection[Any], build: Build, changes: Sequence[Change[Document]]) -> None:
    renew(conn, build, "document_id", changes, load)


def load(conn: Connection[Any], build: Build, streams: Iterable[Sequence[Change[Document]]]) -> None:
    present = (changes[-1].after for changes in streams if not changes[-1].after.deleted)
    texts = (text for document in present for text in _texts(document))
    vectors.load(conn, build, COLUMNS, TYPES, texts)


def _texts(document: Document) -> Iterator[vectors.Text]:
    owner, user_id = document.scope.owner, document.scope.user_id
    name, whole = storable((document.name, document.text))
    for number, text in enumerate(passages_of(name, whole)):
        id = uuid5(document.id, str(number))
        row = (id, document.id, number, owner, user_id, name, text, document.position)
        yield vectors.Text(owner, text, row)


# --- queries ----------------------------------------------------------------------------------------


class Passage(msgspec.Struct, frozen=True):
    """A found passage."""

    name: str
    """Of its document."""
    number: int
    """From 0, in the order of the document."""
    text: str
    score: float
    """0..1, what it is ranked by."""


async def search(
    conn: AsyncConnection[Any], build: Build, query: Query, similarity: Callable[[Floats], Floats]
) -> list[Passage]:
    """The passages that fit the query best, best first, none below its threshold."""
    fits = await retrieval.best(conn, build, query, similarity)
    cursor = await conn.execute(
        f"SELECT passage_id, name, number, text FROM {table(build.version)} WHERE passage_id = ANY(%s)",
        (list(fits),),
    )
    found = {id: (name, number, text) for id, name, number, text in await cursor.fetchall()}
    return [Passage(*found[id], fit.score) for id, fit in fits.items() if id in found]
