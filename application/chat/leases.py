"""Which turns are being answered: a lock in the database each, which goes when the process goes.

So a retry after a kill -9 is answered, and one while another process is at the turn is not.
"""

import asyncio
import logging
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

Name = tuple[UUID, str]
"""Of a turn: its conversation's id and its own, which clients may choose."""

log = logging.getLogger(__name__)

KEY = "hashtextextended('everlog.turn.' || %s || '.' || %s, 0)"
CONNECT_SECONDS = 2
"""An answer does not wait for a database that is away."""


class Leases:
    """The turns of one process. They hang on one connection; a new one takes them all again."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._held: set[Name] = set()
        self._locked: set[Name] = set()
        """Those of which the connection has the lock; it would count a second one."""
        self._conn: AsyncConnection[Any] | None = None
        self._at_once = asyncio.Lock()
        """One statement at a time."""

    async def take(self, turn: Name) -> None:
        """Without the database there is no lease, and the answer goes on."""
        self._held.add(turn)
        await self._settle()

    async def give_back(self, turn: Name) -> None:
        self._held.discard(turn)
        await self._settle()

    async def close(self) -> None:
        if self._conn:
            await self._conn.close()

    async def _settle(self) -> None:
        """Have the connection hold the locks of the turns that are held, and no others."""
        async with self._at_once:
            try:
                if self._conn is None or self._conn.closed:
                    self._conn, self._locked = await self._connected(), set()
                for turn in self._held - self._locked:
                    self._locked.add(turn)  # before: who is cancelled in between may have the lock
                    await self._conn.execute(f"SELECT pg_try_advisory_lock({KEY})", turn)
                for turn in self._locked - self._held:
                    await self._conn.execute(f"SELECT pg_advisory_unlock({KEY})", turn)
                    self._locked.discard(turn)
            except psycopg.OperationalError as error:
                log.warning("a turn has no lease: %s", type(error).__name__)

    async def _connected(self) -> AsyncConnection[Any]:
        return await AsyncConnection.connect(self._conninfo, autocommit=True, connect_timeout=CONNECT_SECONDS)


async def is_leased(conn: AsyncConnection[Any], turn: Name) -> bool:
    """Whether some process, this one included, is at this turn. Needs another connection than its lease."""
    cursor = await conn.execute(f"SELECT pg_try_advisory_xact_lock({KEY})", turn)
    return await cursor.fetchone() == (False,)
