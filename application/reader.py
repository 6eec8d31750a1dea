"""Projections as far as a reader wants them, and connections to read by. Who waits holds none."""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from application.waiting import reaching, until
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.roles import AsyncShown, show
from domain.scope import Scope
from projections import SEARCHED, retrieval
from projections.catalogue import Build, live
from projections.searched import VECTORS_OF

CONNECTIONS = 8
"""For each cell of a process."""


class Wanted(NamedTuple):
    """How far a projection must be: that position, and with the vectors of what was written up to there."""

    position: int
    scope: Scope
    """Whose vectors: the owner's."""
    by: str
    """Who wants them. For each, vectors up to a position are waited for once: the model may be down."""
    of_user_alone: bool = False
    """Only those of the scope's user, or of nobody where it names none."""


class Reader:
    """Reads the projections of all cells of one process."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._pools = {cell.name: _pool(cell) for cell in cells.all.values()}
        self._embedded: dict[tuple[str, str], int] = {}
        """(Who wants them, projection) → the position up to which vectors are there, or were waited for."""

    async def open(self) -> None:
        for cell in self._cells.all.values():
            await asyncio.to_thread(cell.signals.start)
        for pool in self._pools.values():
            await pool.open()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    @asynccontextmanager
    async def connection(self, cell: Cell, owner: str = "") -> AsyncIterator[AsyncConnection[Any]]:
        """One that shows the rows of this owner, where its role does not show those of all."""
        async with self._pools[cell.name].connection() as conn:
            await show(conn, owner)
            yield conn

    async def is_ready(self, conn: AsyncConnection[Any], build: Build, wanted: Wanted) -> bool:
        """Whether a build is as far as wanted."""
        return build.position >= wanted.position and await self._is_embedded(conn, build, wanted)

    async def reached(self, cell: Cell, name: str, position: int, seconds: float) -> bool:
        """Wait, at most that long, until a projection is at a position."""

        async def reached() -> bool | None:
            async with self.connection(cell) as conn:
                build, _ = await live(conn, name, "")
            return build.position >= position or None

        return bool(await until(cell, reaching(name, position), reached, seconds))

    async def embedded(self, cell: Cell, name: str, wanted: Wanted, seconds: float) -> bool:
        """Wait, at most that long, for the vectors of a projection that has reached the position."""

        async def embedded() -> bool | None:
            async with self.connection(cell, wanted.scope.owner) as conn:
                build, _ = await live(conn, name, "")
                return await self._is_embedded(conn, build, wanted) or None

        return bool(await until(cell, reaching(VECTORS_OF.format(name), 0), embedded, seconds))

    def give_up(self, name: str, wanted: Wanted) -> None:
        """Wait for these vectors no more."""
        self._embedded[wanted.by, name] = wanted.position

    async def _is_embedded(self, conn: AsyncConnection[Any], build: Build, wanted: Wanted) -> bool:
        if build.name not in SEARCHED or self._embedded.get((wanted.by, build.name), 0) >= wanted.position:
            return True
        if await retrieval.waiting(conn, build, wanted.scope, wanted.position, wanted.of_user_alone):
            return False
        self.give_up(build.name, wanted)
        return True


async def _require_alive(conn: AsyncConnection[Any]) -> None:
    """Refuse a connection that the server has closed; the pool then takes another.

    An idle connection has nothing to say, so what can be read is its end. The pool's own check asks the
    server, and takes a tenth of a search for it.
    """
    if conn.closed or select.select([conn.fileno()], [], [], 0)[0]:
        await conn.close()  # else the pool, which has not noticed, would offer it again
        raise psycopg.OperationalError("the server has closed this connection")


def _pool(cell: Cell) -> "AsyncConnectionPool[AsyncShown]":
    return AsyncConnectionPool(
        cell.reading,
        min_size=1,
        max_size=CONNECTIONS,
        timeout=5.0,
        kwargs={"autocommit": True},
        connection_class=AsyncShown,
        configure=register_vector_async,
        check=_require_alive,
        open=False,
        name=f"reads-{cell.name}",
    )
