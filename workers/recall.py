"""What is known of a scope, as deciding needs it: never behind what the log holds of its subject."""

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from application.reader import Reader, Wanted
from application.refusals import Behind
from domain.eventstore.cells import Cell
from domain.eventstore.memories import last_of_subject
from domain.scope import Scope
from projections import search
from projections.catalogue import Build, NotBuilt, live
from projections.search import SEARCH
from projections.selection import Selection
from providers.embedding.embedder import Embedder, EmbedderRefused
from providers.embedding.embedders import Embedders
from workers.extraction.extractor import Known

RECALLED = 20
"""Memories that one statement is compared with: the nearest by words and by meaning."""
BEHIND_SECONDS = 10.0
VECTOR_SECONDS = 1.0
"""How long vectors of the subject's last memories are waited for; words find most of what matters."""
NOW_SECONDS = 0.1
"""How long somebody waits who has others to serve meanwhile: most vectors are there within 40 ms."""
MAX_TEXT = 2_000
"""A longer memory is a document that somebody put there; no statement updates or deletes it."""

T = TypeVar("T")


class NotYet(Exception):
    """Rows or vectors of the subject's last memories are still to come: others can be served meanwhile."""


class Recaller:
    """Recalls for all threads of a worker: they share a loop, and its connections."""

    def __init__(self, reader: Reader, embedders: Embedders) -> None:
        self._reader = reader
        self._embedders = embedders
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recall", daemon=True)
        self._since: dict[UUID, tuple[int, float]] = {}
        """Subject → the position whose vectors are waited for, and since when."""

    def start(self) -> None:
        self._thread.start()
        self._wait_for(self._reader.open())

    def stop(self) -> None:
        self._wait_for(self._reader.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def require(self, cell: Cell, scope: Scope, subject_id: UUID) -> None:
        """Raises NotYet where recalling would have to wait and nobody has waited long enough; then Behind."""
        self._wait_for(self._require(cell, scope, subject_id))

    def recall(self, cell: Cell, scope: Scope, subject_id: UUID, texts: Sequence[str]) -> list[list[Known]]:
        """For each text the memories of exactly this scope most like it, best first. Raises Behind."""
        return self._wait_for(self._recall(cell, scope, subject_id, texts)) if texts else []

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _require(self, cell: Cell, scope: Scope, subject_id: UUID) -> None:
        wanted, build = await self._look(cell, scope, subject_id)
        if build:
            return
        reached = await self._reached(cell, wanted, NOW_SECONDS)
        if reached and await self._reader.embedded(cell, SEARCH.name, wanted, NOW_SECONDS):
            self._since.pop(subject_id, None)
            return
        position, since = self._since.get(subject_id, (0, 0.0))
        if position != wanted.position:
            since = time.monotonic()
            self._since[subject_id] = wanted.position, since
        if time.monotonic() - since < (VECTOR_SECONDS if reached else BEHIND_SECONDS):
            raise NotYet
        self._since.pop(subject_id, None)
        if not reached:
            raise _behind(wanted)
        self._reader.give_up(SEARCH.name, wanted)

    async def _recall(
        self, cell: Cell, scope: Scope, subject_id: UUID, texts: Sequence[str]
    ) -> list[list[Known]]:
        wanted, build = await self._look(cell, scope, subject_id)
        if build is None:
            build = await self._wait(cell, wanted)
        embedder = self._embedders.of(build.model)
        vectors = await asyncio.to_thread(_embedded, embedder, texts)
        known = Selection(scope=scope, exact=True)
        found: list[list[Known]] = []
        async with self._reader.connection(cell) as conn:
            for text, vector in zip(texts, vectors, strict=True):
                query = search.Query(selection=known, text=text, vector=vector, limit=RECALLED)
                like_it = await search.search(conn, build, query, embedder.similarity)
                found.append(_known(like_it.hits))
        return found

    async def _look(self, cell: Cell, scope: Scope, subject_id: UUID) -> tuple[Wanted, Build | None]:
        """How far search must be, and its build if it is."""
        async with self._reader.connection(cell) as conn:
            position = await last_of_subject(conn, subject_id)
            wanted = Wanted(position, scope, by=str(subject_id), of_user_alone=True)
            try:
                build, _ = await live(conn, SEARCH.name, "")
            except NotBuilt as error:
                raise Behind(str(error)) from None
            return wanted, build if await self._reader.is_ready(conn, build, wanted) else None

    async def _wait(self, cell: Cell, wanted: Wanted) -> Build:
        if not await self._reached(cell, wanted, BEHIND_SECONDS):
            raise _behind(wanted)
        if not await self._reader.embedded(cell, SEARCH.name, wanted, VECTOR_SECONDS):
            self._reader.give_up(SEARCH.name, wanted)
        async with self._reader.connection(cell) as conn:
            build, _ = await live(conn, SEARCH.name, "")
        return build

    async def _reached(self, cell: Cell, wanted: Wanted, seconds: float) -> bool:
        try:
            return await self._reader.reached(cell, SEARCH.name, wanted.position, seconds)
        except NotBuilt as error:
            raise Behind(str(error)) from None


def _behind(wanted: Wanted) -> Behind:
    return Behind(f"search is not yet at position {wanted.position}")


def _known(hits: Sequence[search.Hit]) -> list[Known]:
    return [
        Known(id=hit.memory.id, version=hit.memory.version, text=hit.memory.text, similarity=hit.similarity)
        for hit in hits
        if len(hit.memory.text) <= MAX_TEXT
    ]


def _embedded(embedder: Embedder, texts: Sequence[str]) -> list[NDArray[np.float32] | None]:
    """A vector for each text; None for one that no model takes, which words alone must find."""
    try:
        return list(embedder.embed(texts))
    except EmbedderRefused:
        if len(texts) == 1:
            return [None]
        return [vector for text in texts for vector in _embedded(embedder, [text])]
