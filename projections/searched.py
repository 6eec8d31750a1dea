"""Projections whose rows have vectors: copied in from the cache, filled in where it has none."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection

from domain.eventstore.signals import tell
from projections.catalogue import Build
from projections.projection import Columns, Projection, Row, S
from projections.vectors import Key, cached, store, text_hash
from providers.embedding.embedder import Embedder, EmbedderRefused

COPY_ROWS = 2_000
"""Rows whose cached vectors are fetched together."""
FILL_TEXTS = 64
"""Texts in one job: about half a second of the local embedder, one request to a remote one."""

VECTORS_OF = "{}.vectors"
"""What is told (domain/eventstore/signals.py) when rows have got their vectors, or will get none."""

FOUND_BY = Columns(
    text_hash="bytea NOT NULL",
    embedding="halfvec",  # null until computed; its model is the build's
    terms="jsonb NOT NULL GENERATED ALWAYS AS (terms_of(text)) STORED",
)
"""What rows with an `owner`, a `text` and a `position` have besides, to be found by."""
LACKING = """embedding IS NULL AND NOT EXISTS (
    SELECT FROM vectors v
    WHERE v.owner = {table}.owner AND v.model = %(model)s AND v.text_hash = {table}.text_hash
      AND v.vector IS NULL)"""
"""Of the rows of a build: those that will get a vector, as its model has not refused their text."""


class Waiting(NamedTuple):
    """A row that has no vector yet."""

    id: UUID
    position: int


class Searched(Projection[S], frozen=True, kw_only=True):
    """A projection of texts, found by their words and by their meaning: see `projections.retrieval`.

    Its columns hold an `owner`, a `text` and a `position`.
    """

    key: str
    """The one column that names a row."""

    def create(self, conn: Connection[Any], build: Build) -> None:
        self._create(conn, build, self.columns + FOUND_BY)

    def index(self, conn: Connection[Any], build: Build) -> None:
        super().index(conn, build)
        conn.execute(
            f"CREATE INDEX {build.table}_waiting ON {build.table} (owner, position) WHERE embedding IS NULL"
        )

    def write(self, conn: Connection[Any], build: Build, rows: Iterable[Row]) -> None:
        """Copy rows into the table, with the vectors that are known already."""
        ahead = iter(rows)
        # The server is busy with the lexemes of one chunk while the next is read and decoded.
        with ThreadPoolExecutor(1) as copying:
            before: Future[None] | None = None
            while chunk := list(islice(ahead, COPY_ROWS)):
                if before:
                    before.result()
                before = copying.submit(self._copy, conn, build, chunk)
            if before:
                before.result()

    def _copy(self, conn: Connection[Any], build: Build, chunk: Sequence[Row]) -> None:
        owner, text = (self.columns.names.index(name) for name in ("owner", "text"))
        keys = [(row[owner], text_hash(row[text])) for row in chunk]
        vectors = cached(conn, build.model or "", keys)
        columns = f"{self.columns}, text_hash, embedding"
        with conn.cursor().copy(f"COPY {build.table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            # A vector is written in its own binary format, which COPY takes from bytea as it is.
            copy.set_types((*self.columns.types, "bytea", "bytea"))
            for row, key in zip(chunk, keys, strict=True):
                copy.write_row((*row, key[1], vectors.get(key)))

    def waiting(self, conn: Connection[Any], build: Build, limit: int) -> list[Waiting]:
        """Rows that have no vector yet, the latest first: who has just written one waits for it."""
        rows = conn.execute(
            f"SELECT {self.key}, position FROM {build.table} WHERE {LACKING.format(table=build.table)}"
            " ORDER BY position DESC LIMIT %(limit)s",
            {"model": build.model, "limit": limit},
        )
        return [Waiting(*row) for row in rows]

    def count_waiting(self, conn: Connection[Any], build: Build) -> int:
        """How many rows `waiting` could give."""
        row = conn.execute(
            f"SELECT count(*) FROM {build.table} WHERE {LACKING.format(table=build.table)}",
            {"model": build.model},
        ).fetchone()
        return row[0] if row else 0

    def fill(self, conn: Connection[Any], build: Build, embedder: Embedder, ids: Sequence[UUID]) -> int:
        """Embed what the rows `ids` still lack and return how many of them got a vector. May run twice.

        Raises EmbedderUnavailable. A row whose text changed meanwhile keeps waiting for its own vector; one
        whose text the model refuses stays without, and is found by its words.
        """
        rows = conn.execute(
            f"SELECT owner, text FROM {build.table} WHERE {self.key} = ANY(%s) AND embedding IS NULL",
            (list(ids),),
        ).fetchall()
        texts = {(owner, text_hash(text)): text for owner, text in rows}
        known = cached(conn, embedder.model, list(texts))
        new = {pair: text for pair, text in texts.items() if pair not in known}
        self._embed(conn, build, embedder, ids, new)
        with conn.transaction():
            updated = conn.execute(
                f"UPDATE {build.table} AS s SET embedding = v.vector FROM vectors v"
                f" WHERE s.{self.key} = ANY(%s) AND s.embedding IS NULL"
                " AND v.owner = s.owner AND v.model = %s AND v.text_hash = s.text_hash",
                (list(ids), embedder.model),
            )
            if updated.rowcount:  # also where the model refuses a text: nobody need wait for that
                tell(conn, f"{VECTORS_OF.format(self.name)} {build.position}")
        return updated.rowcount

    def _embed(
        self,
        conn: Connection[Any],
        build: Build,
        embedder: Embedder,
        ids: Sequence[UUID],
        texts: dict[Key, str],
    ) -> None:
        """Embed texts of the rows `ids`, and remember what came of those that are still there."""
        if not texts:
            return
        vectors: dict[Key, NDArray[np.float32] | None]
        try:
            vectors = dict(zip(texts, embedder.embed(list(texts.values())), strict=True))
        except EmbedderRefused:
            if (
                len(texts) > 1
            ):  # one text spoils the request for all: each by itself, so that it spoils no other
                for key, text in texts.items():
                    self._embed(conn, build, embedder, ids, {key: text})
                return
            vectors = dict.fromkeys(texts)
        with conn.transaction():
            # A model takes its time: a memory that was erased meanwhile must leave nothing in the cache.
            rows = conn.execute(
                f"SELECT owner, text_hash FROM {build.table} WHERE {self.key} = ANY(%s)"
                " FOR KEY SHARE SKIP LOCKED",
                (list(ids),),
            ).fetchall()
            store(conn, embedder.model, {key: vectors[key] for key in rows if key in vectors})
