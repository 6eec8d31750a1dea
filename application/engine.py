"""What every dialect stands on: commands into the log, queries out of the projections."""

import asyncio
import logging
import random
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.auth import Authenticator, Caller
from api.errors import Behind
from domain.aggregate import Command
from domain.errors import Contended, NotFound, VersionConflict
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.cipher import master_key
from domain.eventstore.recorder import Receipt
from domain.eventstore.writer import Result, Work
from domain.ids import new_id
from domain.ingestion import Ingestion, Receive, Received
from domain.memory import EraseMemory, Memory, UpdateMemory, is_of_memory, project
from domain.recorded import Context, Recorded, now
from projections import documents, erasure, memories, passages, retrieval, search
from projections.catalogue import Build, live
from projections.passages import ANY_MENTIONS, Mentions, Passage
from projections.ranking import Floats
from projections.retrieval import Query
from projections.selection import Selection
from projections.vectors import KEYS
from providers.embedding.embedder import Embedder, EmbedderUnavailable
from providers.embedding.embedders import embedder_for
from runtime.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")
Retrieve = Callable[[AsyncConnection[Any], Build, Query, Callable[[Floats], Floats]], Awaitable[list[T]]]
"""What a projection that holds vectors is asked by."""

THREADS = 16
"""For by-id reads and query embedding, which block; more would only queue for two cores."""
READ_CONNECTIONS = 8
WAIT_SECONDS = 3.0
"""How long a read waits for the projection to reach a position; catching up usually takes 20 ms."""
VECTOR_WAIT_SECONDS = 1.0
"""How long a search waits for the vectors of the caller's own latest writes."""
CHANGE_TRIES = 50
"""Each time that somebody else changes it first, that one is through."""
CHANGE_PAUSE_SECONDS = 0.002
FIRST_LOOK_SECONDS = 0.003
LAST_LOOK_SECONDS = 0.05
PATIENT_LOOK_SECONDS = 0.2
"""Between looks at an extraction in the end: a model takes seconds."""


class Asked(NamedTuple):
    """What a request says about itself."""

    caller: Caller
    request_id: str
    receipt: Receipt | None = None
    """From its Idempotency-Key."""
    min_position: int | None = None


class Engine:
    """Commands and queries of one API process."""

    def __init__(self, settings: Settings) -> None:
        assert settings.database_url  # noqa: S101 - `serve` and `api` see to it
        self._settings = settings
        self.cells = Cells(settings.database_url, master_key(settings.master_key, Path(settings.data_dir)))
        self.authenticate = Authenticator(self.cells)
        self._pools = {cell.name: _pool(cell) for cell in self.cells.all.values()}
        self._models: dict[tuple[str, str], str] = {}
        """(Cell, projection) → the model of the last search there."""
        self._embedded: dict[tuple[str, str], int] = {}
        """(Key, projection) → the position up to which its own writes have vectors, or were waited for."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

    async def open(self) -> None:
        asyncio.get_running_loop().set_default_executor(self._threads)
        for pool in self._pools.values():
            await pool.open()
        # The model takes half a second to load: better now than in the first search.
        await asyncio.to_thread(self.embedder, None)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        await asyncio.to_thread(self.cells.close)

    async def cell_of(self, owner: str) -> Cell:
        if home := self.cells.home(owner):
            return home
        return await asyncio.to_thread(self.cells.of, owner)

    @property
    def has_model(self) -> bool:
        """Whether a chat model is configured, used by default or not."""
        return self._settings.has_endpoint

    def embedder(self, model: str | None) -> Embedder:
        return embedder_for(model, self._settings)

    # --- commands -----------------------------------------------------------------------------------

    async def execute(
        self, asked: Asked, commands: Sequence[tuple[UUID, Command]], cause: str | None = None
    ) -> list[Result]:
        """Do all commands or none; results in their order. The cause is by default the request alone."""
        caller = asked.caller
        cell = await self.cell_of(caller.owner)
        context = Context(
            owner=caller.owner, actor=caller.actor, cause=cause or str(new_id()), correlation=asked.request_id
        )
        work = Work(context=context, commands=commands, receipt=asked.receipt)
        return await asyncio.wrap_future(cell.writer.submit(work))

    async def change(self, asked: Asked, id: UUID, change: Callable[[Memory], UpdateMemory]) -> Result:
        """Change a memory by what follows from its state; anew where somebody was faster.

        Raises NotFound and Contended.
        """
        for attempt in range(CHANGE_TRIES):
            command = change(await self.memory(asked, id))
            try:
                (result,) = await self.execute(asked, [(id, command)])
            except VersionConflict:
                await asyncio.sleep(random.uniform(0, CHANGE_PAUSE_SECONDS * (attempt + 1)))  # noqa: S311
            else:
                return result
        raise Contended("this memory is being changed too fast by others; try again")

    async def erase(self, asked: Asked, commands: Sequence[tuple[UUID, EraseMemory]]) -> list[Result]:
        """Erase all of these memories or none, and take their words out of the log and what is built of it.

        From the commit of the commands on they are gone; should the rest fail, a worker's sweep does it.
        """
        results = await self.execute(asked, commands)
        cell = await self.cell_of(asked.caller.owner)
        ids = [result.state.id for result in results]
        try:
            await asyncio.to_thread(_redact, cell, asked.caller.owner, ids)
        except (psycopg.OperationalError, PoolTimeout):
            log.warning("an erasure is left to the sweep", exc_info=True)
        return results

    async def ingest(self, asked: Asked, received: Received, wait: float) -> Ingestion:
        """Keep a conversation, then give its extraction `wait` seconds; the ingestion as it is by then."""
        (result,) = await self.execute(asked, [(new_id(), Receive(received=received))])
        kept = result.state
        assert isinstance(kept, Ingestion)  # noqa: S101 - the command was one on an ingestion
        try:
            return await self.settled(asked, kept.id, wait)
        except (psycopg.OperationalError, PoolTimeout):
            return kept  # it is stored: "try again" would double it

    def patience(self, prefer: str | None) -> float:
        """Seconds that a request waits for an extraction: none, or fewer than usual, if it prefers so."""
        preferences = [part.strip().lower() for part in (prefer or "").split(",")]
        if "respond-async" in preferences:
            return 0.0
        asked = [part[5:] for part in preferences if part.startswith("wait=") and part[5:].isdecimal()]
        return min([self._settings.ingestion_wait, *(float(seconds) for seconds in asked[:1])])

    async def settled(self, asked: Asked, id: UUID, wait: float) -> Ingestion:
        """An ingestion of the caller's, once nothing waits for it any more or `wait` seconds are over."""
        cell = await self.cell_of(asked.caller.owner)
        deadline, pause = time.monotonic() + wait, FIRST_LOOK_SECONDS
        while time.monotonic() < deadline and await self._waiting(cell, id):
            await asyncio.sleep(pause)
            pause = min(1.25 * pause, PATIENT_LOOK_SECONDS)
        ingestion = await asyncio.to_thread(cell.log.ingestion, id)
        if ingestion.scope.owner != asked.caller.owner:
            raise NotFound("no such ingestion")
        return ingestion

    async def _waiting(self, cell: Cell, stream_id: UUID) -> bool:
        async with self._pools[cell.name].connection() as conn:
            cursor = await conn.execute("SELECT 1 FROM backlog WHERE stream_id = %s", (stream_id,))
            return await cursor.fetchone() is not None

    # --- queries on the log ---------------------------------------------------------------------------

    async def memory(self, asked: Asked, id: UUID, version: int | None = None) -> Memory:
        """A memory as it is now, or was at `version`. Raises NotFound, also for one that has expired."""
        cell = await self.cell_of(asked.caller.owner)
        current = await asyncio.to_thread(cell.log.memory, id)
        if current.scope.owner != asked.caller.owner or current.erased or _expired(current):
            raise NotFound("no such memory")
        memory = current if version is None else await asyncio.to_thread(cell.log.memory, id, version)
        if memory.deleted:
            raise NotFound("no such memory")
        return memory

    async def history(self, asked: Asked, id: UUID) -> list[Recorded]:
        """All events of a memory, also of a deleted one. Raises NotFound, also for one that has expired."""
        cell = await self.cell_of(asked.caller.owner)
        events = await asyncio.to_thread(cell.log.stream, id)
        if not events or events[0].context.owner != asked.caller.owner or not is_of_memory(events[0]):
            raise NotFound("no such memory")
        memory = project(None, events)
        if memory and _expired(memory):
            raise NotFound("no such memory")
        return events

    async def unerased(self, asked: Asked, ids: Sequence[UUID]) -> list[UUID]:
        """Of these, the caller's memories that can be erased: also those that are deleted."""
        async with self.connection(asked.caller.owner) as conn:
            cursor = await conn.execute(
                "SELECT stream_id FROM events e WHERE stream_id = ANY(%s) AND owner = %s AND version = 1"
                " AND type LIKE 'memory.%%' AND NOT EXISTS (SELECT FROM events l"
                " WHERE l.stream_id = e.stream_id AND l.type LIKE 'memory.erased.%%')",
                (list(ids), asked.caller.owner),
            )
            return [id for (id,) in await cursor.fetchall()]

    # --- queries on projections -----------------------------------------------------------------------

    @asynccontextmanager
    async def reading(
        self, asked: Asked, name: str, at_least: int = 0
    ) -> AsyncIterator[tuple[AsyncConnection[Any], Build]]:
        """A connection and the live build of a projection that has reached what the caller has written.

        Raises Behind when a position that the caller asked for is not reached in time.
        """
        cell = await self.cell_of(asked.caller.owner)
        required = max(at_least, asked.min_position or 0)
        async with self._pools[cell.name].connection() as conn:
            build = await self._reach(conn, name, asked.caller, required)
            if build.position < required:
                raise Behind(f"{name} is at position {build.position}, not yet at {required}; try again")
            yield conn, build

    @asynccontextmanager
    async def connection(self, owner: str) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection to the cell of an owner, for what is neither log nor projection."""
        cell = await self.cell_of(owner)
        async with self._pools[cell.name].connection() as conn:
            yield conn

    async def ids_in(self, asked: Asked, selection: Selection) -> list[UUID]:
        """The ids of all memories that are selected, those included that were added until now."""
        cell = await self.cell_of(asked.caller.owner)
        async with self._pools[cell.name].connection() as conn:
            row = await (await conn.execute("SELECT coalesce(max(position), 0) FROM events")).fetchone()
        async with self.reading(asked, memories.name, row[0] if row else 0) as (conn, build):
            return await memories.ids(conn, build.version, selection)

    async def find(self, asked: Asked, query: search.Query) -> tuple[list[search.Hit], int]:
        """The hits, and the position of the log up to which they hold."""
        return await self._retrieved(asked, search.name, search.search, query)

    async def find_passages(
        self,
        asked: Asked,
        text: str,
        *,
        user_id: str | None,
        names: Sequence[str] | None,
        limit: int,
        mentions: Mentions = ANY_MENTIONS,
    ) -> list[Passage]:
        """What the documents of a user, or of these names alone, say about a text, best first."""
        selection = passages.selection_of(asked.caller.owner, user_id, names, mentions)
        query = Query(selection=selection, text=text, limit=limit)
        found, _ = await self._retrieved(asked, passages.name, passages.search, query)
        return found

    async def documents(self, asked: Asked, user_id: str | None) -> list[str]:
        """The names of a user's documents, sorted; with None those of the owner's own."""
        async with self.reading(asked, documents.name) as (conn, build):
            return await documents.names(conn, build.version, asked.caller.owner, user_id)

    async def _retrieved(
        self, asked: Asked, name: str, retrieve: Retrieve[T], query: Query
    ) -> tuple[list[T], int]:
        cell = await self.cell_of(asked.caller.owner)
        # Embedded before a connection is taken, by the model that was searched last: it hardly ever changes.
        place = cell.name, name
        model = self._models.get(place)
        if model:
            try:
                query = await self._embedded_query(query, model)
            except EmbedderUnavailable:
                self._models.pop(place, None)  # the live build may have another by now
                raise
        async with self.reading(asked, name) as (conn, build):
            if build.model and build.model != model:
                query = await self._embedded_query(query, build.model)
            found = await retrieve(conn, build, query, self.embedder(build.model).similarity)
            self._models[place] = build.model or ""
        return found, build.position

    async def _embedded_query(self, query: Query, model: str) -> Query:
        if query.mode == "keyword":
            return query
        vectors = await asyncio.to_thread(self.embedder(model).embed, [query.text])
        return msgspec.structs.replace(query, vector=vectors[0])

    async def _reach(self, conn: AsyncConnection[Any], name: str, caller: Caller, required: int) -> Build:
        """The live build once it has what the caller wrote and what they require; or as it is, in the end."""
        started, pause = time.monotonic(), FIRST_LOOK_SECONDS
        build, written = await live(conn, name, caller.actor)
        wanted = max(required, written)  # what is written from now on is not waited for
        while True:
            waited = time.monotonic() - started
            if build.position >= wanted:
                if name not in KEYS or self._embedded.get((caller.actor, name), 0) >= wanted:
                    return build
                # Given up once, a vector is not waited for again: the model may be down.
                if waited > VECTOR_WAIT_SECONDS or not await retrieval.waiting(
                    conn, build, caller.owner, wanted
                ):
                    self._embedded[caller.actor, name] = wanted
                    return build
            elif waited > WAIT_SECONDS:
                return build
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK_SECONDS)
            build, _ = await live(conn, name, caller.actor)


def _expired(memory: Memory) -> bool:
    """Whether it is hidden already; a worker erases it within a minute."""
    return memory.traits.expired(now().date())


def _redact(cell: Cell, owner: str, ids: Sequence[UUID]) -> None:
    with cell.pool.connection() as conn:
        erasure.erase(conn, cell.log.mapper, owner, ids)


async def _require_alive(conn: AsyncConnection[Any]) -> None:
    """Refuse a connection that the server has closed; the pool then takes another.

    An idle connection has nothing to say, so what can be read is its end. The pool's own check asks the
    server, and takes a tenth of a search for it.
    """
    if conn.closed or select.select([conn.fileno()], [], [], 0)[0]:
        await conn.close()  # else the pool, which has not noticed, would offer it again
        raise psycopg.OperationalError("the server has closed this connection")


def _pool(cell: Cell) -> "AsyncConnectionPool[AsyncConnection[Any]]":
    return AsyncConnectionPool(
        cell.conninfo,
        min_size=1,
        max_size=READ_CONNECTIONS,
        timeout=5.0,
        kwargs={"autocommit": True},
        configure=register_vector_async,
        check=_require_alive,
        open=False,
        name=f"reads-{cell.name}",
    )
