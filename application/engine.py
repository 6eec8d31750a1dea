"""What all use cases stand on: commands into the log, and connections to projections to read from."""

import asyncio
import select
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from application.asked import Asked
from application.callers import Callers
from application.refusals import Behind
from application.waiting import reaching, until
from domain.aggregate import Command
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.writer import Result, Work
from projections import retrieval
from projections.catalogue import Build, live
from projections.vectors import KEYS, VECTORS_OF
from providers.embedding.embedder import Embedder
from providers.embedding.embedders import embedder_for
from runtime.settings import Settings

THREADS = 16
"""For by-id reads and query embedding, which block; more would only queue for two cores."""
READ_CONNECTIONS = 8
WAIT_SECONDS = 3.0
"""How long a read waits for the projection to reach a position; catching up usually takes 20 ms."""
VECTOR_WAIT_SECONDS = 1.0
"""How long a search waits for the vectors of the caller's own latest writes."""


def submit(
    cell: Cell, asked: Asked, commands: Sequence[tuple[UUID, Command]], cause: str | None = None
) -> "Future[list[Result]]":
    """Have all commands done or none; results in their order. The cause is by default the request alone."""
    return cell.writer.submit(Work(context=asked.context(cause), commands=commands, receipt=asked.receipt))


class Engine:
    """Commands and queries of one process."""

    def __init__(self, settings: Settings, cells: Cells) -> None:
        self._settings = settings
        self.ingestion_wait = settings.ingestion_wait
        """Seconds that a request waits for its extraction, unless it says otherwise."""
        self.has_model = settings.has_endpoint
        """Whether a chat model is configured, used by default or not."""
        self.cells = cells
        self.callers = Callers(cells)
        self._pools = {cell.name: _pool(cell) for cell in cells.all.values()}
        self._embedded: dict[tuple[str, str], int] = {}
        """(Who waits, projection) → the position up to which they have vectors, or were waited for."""
        self.searched_by: dict[tuple[str, str], str] = {}
        """(Cell, projection) → the model of the last search there."""
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

    def embedder(self, model: str | None) -> Embedder:
        return embedder_for(model, self._settings)

    async def execute(
        self, asked: Asked, commands: Sequence[tuple[UUID, Command]], cause: str | None = None
    ) -> list[Result]:
        """Do all commands or none, as `submit` says."""
        cell = await self.cell_of(asked.caller.owner)
        return await asyncio.wrap_future(submit(cell, asked, commands, cause))

    @asynccontextmanager
    async def connection(self, owner: str) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection to the cell of an owner, for what is no projection."""
        cell = await self.cell_of(owner)
        async with self._pools[cell.name].connection() as conn:
            yield conn

    @asynccontextmanager
    async def reading(
        self, asked: Asked, name: str, at_least: int = 0
    ) -> AsyncIterator[tuple[AsyncConnection[Any], Build]]:
        """A connection and the live build of a projection that has reached what the caller has written.

        Raises Behind when a position that the caller asked for is not reached in time.
        """
        caller = asked.caller
        cell = await self.cell_of(caller.owner)
        required = max(at_least, asked.min_position or 0)
        pool = self._pools[cell.name]
        async with pool.connection() as conn:
            build, written = await live(conn, name, caller.actor)
            wanted = max(required, written)  # what is written from now on is not waited for
            ready = build.position >= wanted and await self._embeds(conn, build, asked, wanted)
            if ready:
                yield conn, build
        if ready:
            return
        await self._wait(cell, name, asked, wanted)
        async with pool.connection() as conn:
            build, _ = await live(conn, name, caller.actor)
            if build.position < required:
                raise Behind(f"{name} is at position {build.position}, not yet at {required}; try again")
            yield conn, build

    async def _wait(self, cell: Cell, name: str, asked: Asked, wanted: int) -> None:
        """Until a projection is as far as that, with vectors where it has any, or patience ends."""
        started = time.monotonic()
        pool = self._pools[cell.name]

        async def reached() -> bool | None:
            async with pool.connection() as conn:
                build, _ = await live(conn, name, "")
            return build.position >= wanted or None

        async def embedded() -> bool | None:
            async with pool.connection() as conn:
                build, _ = await live(conn, name, "")
                return await self._embeds(conn, build, asked, wanted) or None

        if await until(cell, reaching(name, wanted), reached, WAIT_SECONDS) and name in KEYS:
            left = VECTOR_WAIT_SECONDS - (time.monotonic() - started)
            if not await until(cell, reaching(VECTORS_OF.format(name), 0), embedded, left):
                # Given up once, a vector is not waited for again: the model may be down.
                self._embedded[asked.caller.actor, name] = wanted

    async def _embeds(self, conn: AsyncConnection[Any], build: Build, asked: Asked, wanted: int) -> bool:
        """Whether what the owner wrote up to a position has its vectors, or was waited for before."""
        known = asked.caller.actor, build.name
        if build.name not in KEYS or self._embedded.get(known, 0) >= wanted:
            return True
        if await retrieval.waiting(conn, build, asked.caller.owner, wanted):
            return False
        self._embedded[known] = wanted
        return True


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
