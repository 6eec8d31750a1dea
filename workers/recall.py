"""What is known of a scope, as deciding needs it: never behind what the log holds of its subject."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection

from domain.eventstore.cells import Cell
from domain.memory import Scope
from projections import search
from projections.catalogue import Build, NotBuilt, live
from projections.selection import Selection
from providers.embedding.embedder import Embedder, EmbedderRefused
from providers.embedding.embedders import embedder_for
from runtime.settings import Settings
from workers.extraction.extractor import Known

RECALLED = 20
"""Memories that one statement is compared with: the nearest by words and by meaning."""
BEHIND_SECONDS = 10.0
VECTOR_SECONDS = 1.0
"""How long vectors of the subject's last memories are waited for; words find most of what matters."""
LOOK_SECONDS = 0.005
MAX_TEXT = 2_000
"""A longer memory is a document that somebody put there; no statement updates or deletes it."""
_given_up: dict[UUID, int] = {}
"""Subject → position up to which vectors were waited for in vain: a model may take none of a text."""


class Behind(Exception):
    """The search projection does not reach what is in the log: deciding now could double what is known."""


def recall(
    cell: Cell, settings: Settings, scope: Scope, subject_id: UUID, texts: Sequence[str]
) -> list[list[Known]]:
    """For each text the memories of exactly this scope that are most like it, best first. Raises Behind."""
    if not texts:
        return []
    desk = _desk_for(cell)
    try:
        return desk.loop.run_until_complete(_recall(desk.conn, settings, scope, subject_id, texts))
    except psycopg.OperationalError:
        del _here.desk  # the next recall of this thread connects anew
        raise


class Desk(NamedTuple):
    """What a thread asks with: making both anew took half of the time of a short conversation."""

    conninfo: str
    loop: asyncio.AbstractEventLoop
    conn: AsyncConnection[Any]


_here = threading.local()


def _desk_for(cell: Cell) -> Desk:
    desk: Desk | None = getattr(_here, "desk", None)
    if desk is None or desk.conninfo != cell.conninfo or desk.conn.closed:
        loop = desk.loop if desk else asyncio.new_event_loop()
        _here.desk = desk = Desk(cell.conninfo, loop, loop.run_until_complete(_connected(cell)))
    return desk


async def _connected(cell: Cell) -> AsyncConnection[Any]:
    conn = await AsyncConnection.connect(cell.conninfo, autocommit=True)
    await register_vector_async(conn)
    return conn


async def _recall(
    conn: AsyncConnection[Any], settings: Settings, scope: Scope, subject_id: UUID, texts: Sequence[str]
) -> list[list[Known]]:
    build = await _caught_up(conn, scope, subject_id)
    embedder = embedder_for(build.model, settings)
    vectors = await asyncio.to_thread(_embedded, embedder, texts)
    known = Selection(scope=scope, exact=True)
    found = []
    for text, vector in zip(texts, vectors, strict=True):
        query = search.Query(selection=known, text=text, vector=vector, limit=RECALLED)
        hits = await search.search(conn, build, query, embedder.similarity)
        found.append(
            [
                Known(
                    id=hit.memory.id,
                    version=hit.memory.version,
                    text=hit.memory.text,
                    similarity=hit.similarity,
                )
                for hit in hits
                if len(hit.memory.text) <= MAX_TEXT
            ]
        )
    return found


async def _caught_up(conn: AsyncConnection[Any], scope: Scope, subject_id: UUID) -> Build:
    """The live search build, once it holds what the log holds of the subject."""
    cursor = await conn.execute(
        "SELECT coalesce(max(position), 0) FROM events WHERE subject_id = %s AND type LIKE 'memory.%%'",
        (subject_id,),
    )
    wanted = (await cursor.fetchone() or (0,))[0]
    started = time.monotonic()
    while True:
        build = await _live(conn)
        waited = time.monotonic() - started
        if build.position >= wanted:
            if _given_up.get(subject_id, 0) >= wanted or not await _lacks_vectors(conn, build, scope, wanted):
                return build
            if waited > VECTOR_SECONDS:
                _given_up[subject_id] = wanted
                return build
        if waited > BEHIND_SECONDS:
            raise Behind(f"search is at position {build.position}, not yet at {wanted}")
        await asyncio.sleep(LOOK_SECONDS)


async def _live(conn: AsyncConnection[Any]) -> Build:
    try:
        build, _ = await live(conn, search.name, "")
    except NotBuilt as error:
        raise Behind(str(error)) from None
    return build


async def _lacks_vectors(conn: AsyncConnection[Any], build: Build, scope: Scope, position: int) -> bool:
    cursor = await conn.execute(
        f"SELECT EXISTS (SELECT 1 FROM {search.table(build.version)} WHERE owner = %s"
        " AND user_id IS NOT DISTINCT FROM %s AND position <= %s AND embedding IS NULL)",
        (scope.owner, scope.user_id, position),
    )
    return bool((await cursor.fetchone() or (False,))[0])


def _embedded(embedder: Embedder, texts: Sequence[str]) -> list[NDArray[np.float32] | None]:
    """A vector for each text; None for one that no model takes, which words alone must find."""
    try:
        return list(embedder.embed(texts))
    except EmbedderRefused:
        if len(texts) == 1:
            return [None]
        return [vector for text in texts for vector in _embedded(embedder, [text])]
