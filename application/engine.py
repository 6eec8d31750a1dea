"""What all use cases stand on: commands into the log, and connections to projections to read from."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

import anyio.to_thread
from psycopg import AsyncConnection

from application.asked import Asked
from application.callers import Callers
from application.files import Files
from application.reader import Reader, Wanted
from application.refusals import AboveHead, Behind
from domain.aggregate import Commands, S
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.reading import head_now
from domain.eventstore.roles import on_behalf_of
from domain.eventstore.writer import Result, Work
from domain.scope import Scope
from projections.catalogue import Build, live
from projections.projection import Projection
from providers.embedding.embedder import Embedder
from providers.embedding.embedders import Embedders

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
"""For by-id reads and query embedding, which block; more would only queue for two cores."""
WAIT_SECONDS = 3.0
"""How long a read waits for the projection to reach a position; catching up usually takes 20 ms."""
VECTOR_WAIT_SECONDS = 1.0
"""How long a search waits for the vectors of the caller's own latest writes."""


def submit(
    cell: Cell, asked: Asked, commands: Commands[S], cause: str | None = None
) -> "Future[list[Result[S]]]":
    """Have all commands done or none; results in their order. The cause is by default the request alone."""
    return cell.writer.submit(Work(context=asked.context(cause), commands=commands, receipt=asked.receipt))


def _state(cell: Cell, kind: type[S], id: UUID, version: int | None) -> S:
    return cell.log.get(kind, id, version)


class Engine:
    """Commands and queries of one process."""

    def __init__(self, cells: Cells, embedders: Embedders, ingestion_wait: float, has_model: bool) -> None:
        self._embedders = embedders
        self.ingestion_wait = ingestion_wait
        """Seconds that a request waits for its extraction, unless it says otherwise."""
        self.has_model = has_model
        """Whether a chat model is configured, used by default or not."""
        self.cells = cells
        self.callers = Callers(cells)
        self._reader = Reader(cells)
        self.searched_by: dict[tuple[str, str], str] = {}
        """(Cell, projection) → the model of the last search there."""
        self.files = Files()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

    async def open(self) -> None:
        asyncio.get_running_loop().set_default_executor(self._threads)
        await self._reader.open()
        # The model takes half a second to load: better now than in the first search.
        await asyncio.to_thread(self.embedder, None)

    async def close(self) -> None:
        await self._reader.close()
        await asyncio.to_thread(self.cells.close)

    async def cell_of(self, owner: str) -> Cell:
        if home := self.cells.home(owner):
            return home
        return await asyncio.to_thread(self.cells.of, owner)

    def embedder(self, model: str | None) -> Embedder:
        return self._embedders.of(model)

    async def execute(self, asked: Asked, commands: Commands[S], cause: str | None = None) -> list[Result[S]]:
        """Do all commands or none, as `submit` says."""
        cell = await self.cell_of(asked.caller.owner)
        return await asyncio.wrap_future(submit(cell, asked, commands, cause))

    async def run(
        self, asked: Asked, use_case: Callable[Concatenate[Cell, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """A use case over the log, in a thread, on the cell of who asks."""
        cell = await self.cell_of(asked.caller.owner)
        with on_behalf_of(asked.caller.owner):
            return await anyio.to_thread.run_sync(partial(use_case, cell, *args, **kwargs))

    async def state(self, asked: Asked, kind: type[S], id: UUID, version: int | None = None) -> S:
        """An aggregate of who asks, as `EventLog.get` has it. Raises NotFound."""
        return await self.run(asked, _state, kind, id, version)

    @asynccontextmanager
    async def connection(self, owner: str) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection to the cell of an owner, for what is no projection."""
        async with self._reader.connection(await self.cell_of(owner), owner) as conn:
            yield conn

    @asynccontextmanager
    async def reading(
        self, asked: Asked, projection: Projection[Any], at_least: int = 0
    ) -> AsyncIterator[tuple[AsyncConnection[Any], Build]]:
        """A connection and the live build of a projection that has reached what the caller has written.

        Raises Behind when a position that the caller asked for is not reached in time, AboveHead when the
        log does not go so far.
        """
        name, caller = projection.name, asked.caller
        cell = await self.cell_of(caller.owner)
        required = max(at_least, asked.min_position or 0)
        async with self._reader.connection(cell, caller.owner) as conn:
            build, written = await live(conn, name, caller.actor)
            # What is written from now on is not waited for.
            wanted = Wanted(max(required, written), Scope(owner=caller.owner), by=caller.actor)
            ready = await self._reader.is_ready(conn, build, wanted)
            if ready:
                yield conn, build
            elif build.position < required:
                await _require_reachable(conn, asked.min_position)
        if ready:
            return
        await self._wait(cell, name, wanted)
        async with self._reader.connection(cell, caller.owner) as conn:
            build, _ = await live(conn, name, caller.actor)
            if build.position < required:
                raise Behind(f"{name} is at position {build.position}, not yet at {required}; try again")
            yield conn, build

    async def _wait(self, cell: Cell, name: str, wanted: Wanted) -> None:
        """Until a projection is as far as wanted, or patience ends."""
        started = time.monotonic()
        if await self._reader.reached(cell, name, wanted.position, WAIT_SECONDS):
            left = VECTOR_WAIT_SECONDS - (time.monotonic() - started)
            if not await self._reader.embedded(cell, name, wanted, left):
                self._reader.give_up(name, wanted)


async def _require_reachable(conn: AsyncConnection[Any], position: int | None) -> None:
    """Raises AboveHead for a position that nothing has been written at."""
    if position and position > (last := await head_now(conn)):
        raise AboveHead(f"there is no position {position} yet: the log ends at {last}")
