"""The vector cache, and the vectors of projections: copied in from the cache, filled in where it has none."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import Connection

from domain.eventstore.signals import tell
from projections.catalogue import Build
from providers.embedding.embedder import Embedder, EmbedderRefused

KEYS = {"search": "memory_id", "passages": "passage_id"}
"""The projections that hold vectors, in the order they are given them → the column that names a row.

Memories come first: they are short, and who has added one waits for it.
"""
VECTORS_OF = "{}.vectors"
"""What is told (domain/eventstore/signals.py) when rows have got their vectors, or will get none."""
COPY_ROWS = 2_000
"""Rows whose cached vectors are fetched together."""
FILL_TEXTS = 64
"""Texts in one job: about half a second of the local embedder, one request to a remote one."""


def text_hash(text: str) -> bytes:
    """SHA-256 of the text: a vector belongs to a text, never to a memory or a passage."""
    return hashlib.sha256(text.encode()).digest()


Key = tuple[str, bytes]
"""Owner and text hash: what a model's vector belongs to."""

LACKING = """embedding IS NULL AND NOT EXISTS (
    SELECT FROM vectors v
    WHERE v.owner = {table}.owner AND v.model = %(model)s AND v.text_hash = {table}.text_hash
      AND v.vector IS NULL)"""
"""Of the rows of a build: those that will get a vector, as its model has not refused their text."""


def cached(conn: Connection[Any], model: str, wanted: Sequence[Key]) -> dict[Key, bytes | None]:
    """What is known for these keys: vectors in the binary format that COPY takes, None for a refused text."""
    rows = conn.cursor(binary=True).execute(
        "SELECT v.owner, v.text_hash, halfvec_send(v.vector) FROM vectors v"
        " JOIN unnest(%s::text[], %s::bytea[]) AS w(owner, text_hash) USING (owner, text_hash)"
        " WHERE v.model = %s",
        ([owner for owner, _ in wanted], [hash for _, hash in wanted], model),
    )
    return {(owner, hash): vector for owner, hash, vector in rows.fetchall()}


class Text(NamedTuple):
    """A text to be found by, and the values of its row besides hash and vector."""

    owner: str
    text: str
    row: tuple[Any, ...]


def load(
    conn: Connection[Any], build: Build, columns: str, types: Sequence[str], texts: Iterable[Text]
) -> None:
    """Copy rows of these columns into a build, with the vectors that are known already."""
    ahead = iter(texts)
    # The server is busy with the lexemes of one chunk while the next is read and decoded.
    with ThreadPoolExecutor(1) as copying:
        before: Future[None] | None = None
        while chunk := list(islice(ahead, COPY_ROWS)):
            if before:
                before.result()
            before = copying.submit(_copy, conn, build, columns, types, chunk)
        if before:
            before.result()


def _copy(
    conn: Connection[Any], build: Build, columns: str, types: Sequence[str], chunk: Sequence[Text]
) -> None:
    keys = [(owner, text_hash(text)) for owner, text, _ in chunk]
    vectors = cached(conn, build.model or "", keys)
    all_columns = f"{columns}, text_hash, embedding"
    with conn.cursor().copy(f"COPY {build.table} ({all_columns}) FROM STDIN (FORMAT BINARY)") as copy:
        # A vector is written in its own binary format, which COPY takes from bytea as it is.
        copy.set_types((*types, "bytea", "bytea"))
        for (_, _, row), key in zip(chunk, keys, strict=True):
            copy.write_row((*row, key[1], vectors.get(key)))


class Waiting(NamedTuple):
    """A row that has no vector yet."""

    id: UUID
    position: int


def waiting(conn: Connection[Any], build: Build, limit: int) -> list[Waiting]:
    """Rows that have no vector yet, the latest first: who has just written one waits for it."""
    rows = conn.execute(
        f"SELECT {KEYS[build.name]}, position FROM {build.table} WHERE {LACKING.format(table=build.table)}"
        " ORDER BY position DESC LIMIT %(limit)s",
        {"model": build.model, "limit": limit},
    )
    return [Waiting(*row) for row in rows]


def fill(conn: Connection[Any], build: Build, embedder: Embedder, ids: Sequence[UUID]) -> int:
    """Embed what the rows `ids` still lack and return how many of them got a vector. May run twice.

    Raises EmbedderUnavailable. A row whose text changed meanwhile keeps waiting for its own vector; one
    whose text the model refuses stays without, and is found by its words.
    """
    key = KEYS[build.name]
    rows = conn.execute(
        f"SELECT owner, text FROM {build.table} WHERE {key} = ANY(%s) AND embedding IS NULL", (list(ids),)
    ).fetchall()
    texts = {(owner, text_hash(text)): text for owner, text in rows}
    known = cached(conn, embedder.model, list(texts))
    _embed(conn, embedder, build, ids, {pair: text for pair, text in texts.items() if pair not in known})
    with conn.transaction():
        updated = conn.execute(
            f"UPDATE {build.table} AS s SET embedding = v.vector FROM vectors v"
            f" WHERE s.{key} = ANY(%s) AND s.embedding IS NULL"
            " AND v.owner = s.owner AND v.model = %s AND v.text_hash = s.text_hash",
            (list(ids), embedder.model),
        )
        if updated.rowcount:  # also where the model refuses a text: nobody need wait for that
            tell(conn, f"{VECTORS_OF.format(build.name)} {build.position}")
    return updated.rowcount


def _embed(
    conn: Connection[Any],
    embedder: Embedder,
    build: Build,
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
        if len(texts) > 1:  # one text spoils the request for all: each by itself, so that it spoils no other
            for key, text in texts.items():
                _embed(conn, embedder, build, ids, {key: text})
            return
        vectors = dict.fromkeys(texts)
    with conn.transaction():
        # A model takes its time: a memory that was erased meanwhile must leave nothing in the cache.
        rows = conn.execute(
            f"SELECT owner, text_hash FROM {build.table} WHERE {KEYS[build.name]} = ANY(%s)"
            " FOR KEY SHARE SKIP LOCKED",
            (list(ids),),
        ).fetchall()
        store(conn, embedder.model, {key: vectors[key] for key in rows if key in vectors})


def store(conn: Connection[Any], model: str, vectors: Mapping[Key, NDArray[np.float32] | None]) -> None:
    """Remember vectors, and of which texts there is none."""
    register_vector(conn)
    conn.execute(
        "INSERT INTO vectors (owner, model, text_hash, vector)"
        " SELECT owner, %s, text_hash, vector"
        " FROM unnest(%s::text[], %s::bytea[], %s::halfvec[]) AS n(owner, text_hash, vector)"
        " ON CONFLICT DO NOTHING",
        (
            model,
            [owner for owner, _ in vectors],
            [hash for _, hash in vectors],
            [None if vector is None else HalfVector(vector) for vector in vectors.values()],
        ),
    )


def forget_refusals(conn: Connection[Any], model: str) -> None:
    """Let a model be asked again for the texts that it did not take."""
    conn.execute("DELETE FROM vectors WHERE model = %s AND vector IS NULL", (model,))


def forget(conn: Connection[Any], keys: Iterable[Key]) -> None:
    """Forget the vectors of texts by owner and hash, of all models."""
    of_owner: defaultdict[str, list[bytes]] = defaultdict(list)
    for owner, hash in keys:
        of_owner[owner].append(hash)
    for owner, hashes in of_owner.items():
        conn.execute("DELETE FROM vectors WHERE owner = %s AND text_hash = ANY(%s)", (owner, hashes))
