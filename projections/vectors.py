"""The vector cache, and filling in the vectors that search rows still lack."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import Connection

from projections.catalogue import Build
from providers.embedder import Embedder, EmbedderRefused

FILL_TEXTS = 64
"""Texts in one job: about half a second of the local embedder, one request to a remote one."""


def text_hash(text: str) -> bytes:
    """SHA-256 of the text: a vector belongs to a text, never to a memory."""
    return hashlib.sha256(text.encode()).digest()


def cached(
    conn: Connection[Any], model: str, wanted: Sequence[tuple[str, bytes]]
) -> dict[tuple[str, bytes], bytes]:
    """The vectors known for (owner, text hash), in the binary format that COPY takes."""
    rows = conn.cursor(binary=True).execute(
        "SELECT v.owner, v.text_hash, halfvec_send(v.vector) FROM vectors v"
        " JOIN unnest(%s::text[], %s::bytea[]) AS w(owner, text_hash) USING (owner, text_hash)"
        " WHERE v.model = %s",
        ([owner for owner, _ in wanted], [hash for _, hash in wanted], model),
    )
    return {(owner, hash): vector for owner, hash, vector in rows.fetchall()}


def waiting(conn: Connection[Any], build: Build, limit: int, after: int = 0) -> list[tuple[UUID, int]]:
    """(memory, position) of rows above a position that have no vector yet, in order."""
    return conn.execute(
        f"SELECT memory_id, position FROM search_v{build.version}"
        " WHERE embedding IS NULL AND position > %s ORDER BY position LIMIT %s",
        (after, limit),
    ).fetchall()


def fill(conn: Connection[Any], build: Build, embedder: Embedder, memory_ids: Sequence[UUID]) -> int:
    """Embed what `memory_ids` still lack and return how many rows got a vector. May run twice.

    Raises EmbedderUnavailable. A row whose text changed meanwhile keeps waiting for its own vector; one
    whose text no model takes stays without, and is found by its words.
    """
    table = f"search_v{build.version}"
    rows = conn.execute(
        f"SELECT owner, text FROM {table} WHERE memory_id = ANY(%s) AND embedding IS NULL",
        (list(memory_ids),),
    ).fetchall()
    texts = {(owner, text_hash(text)): text for owner, text in rows}
    known = cached(conn, embedder.model, list(texts))
    _embed(conn, embedder, {key: text for key, text in texts.items() if key not in known})
    updated = conn.execute(
        f"UPDATE {table} AS s SET embedding = v.vector FROM vectors v"
        " WHERE s.memory_id = ANY(%s) AND s.embedding IS NULL"
        " AND v.owner = s.owner AND v.model = %s AND v.text_hash = s.text_hash",
        (list(memory_ids), embedder.model),
    )
    return updated.rowcount


def _embed(conn: Connection[Any], embedder: Embedder, texts: dict[tuple[str, bytes], str]) -> None:
    if not texts:
        return
    try:
        store(conn, embedder.model, list(texts), embedder.embed(list(texts.values())))
    except EmbedderRefused:
        # One text spoils the request for all: each by itself, so that it spoils no other.
        if len(texts) > 1:
            for key, text in texts.items():
                _embed(conn, embedder, {key: text})


def store(
    conn: Connection[Any], model: str, keys: Sequence[tuple[str, bytes]], vectors: NDArray[np.float32]
) -> None:
    """Remember vectors by owner and text hash."""
    register_vector(conn)
    conn.execute(
        "INSERT INTO vectors (owner, model, text_hash, vector)"
        " SELECT owner, %s, text_hash, vector"
        " FROM unnest(%s::text[], %s::bytea[], %s::halfvec[]) AS n(owner, text_hash, vector)"
        " ON CONFLICT DO NOTHING",
        (model, [owner for owner, _ in keys], [hash for _, hash in keys], [HalfVector(v) for v in vectors]),
    )
