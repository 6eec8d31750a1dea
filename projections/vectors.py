"""The vector cache: what each model makes of each text of an owner, whichever build has rows of it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import Connection


def text_hash(text: str) -> bytes:
    """SHA-256 of the text: a vector belongs to a text, never to a memory or a passage."""
    return hashlib.sha256(text.encode()).digest()


Key = tuple[str, bytes]
"""Owner and text hash: what a model's vector belongs to."""


def cached(conn: Connection[Any], model: str, wanted: Sequence[Key]) -> dict[Key, bytes | None]:
    """What is known for these keys: vectors in the binary format that COPY takes, None for a refused text."""
    rows = conn.cursor(binary=True).execute(
        "SELECT v.owner, v.text_hash, halfvec_send(v.vector) FROM vectors v"
        " JOIN unnest(%s::text[], %s::bytea[]) AS w(owner, text_hash) USING (owner, text_hash)"
        " WHERE v.model = %s",
        ([owner for owner, _ in wanted], [hash for _, hash in wanted], model),
    )
    return {(owner, hash): vector for owner, hash, vector in rows.fetchall()}


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
