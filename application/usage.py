"""What an owner's requests come to: calls, searches and their time."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from application.asked import Asked
from application.engine import Engine
from domain.scope import Scope
from projections import history, memories
from projections.memories import Extent
from projections.selection import Selection

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
ADD = """
    INSERT INTO usage AS u (owner, day, calls, searches, milliseconds) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (owner, day) DO UPDATE SET
        calls = u.calls + excluded.calls, searches = u.searches + excluded.searches,
        milliseconds = u.milliseconds + excluded.milliseconds"""
TOTAL = """
    SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(searches), 0)::bigint, coalesce(sum(milliseconds), 0)
    FROM usage WHERE owner = %s AND day >= coalesce(%s::date, day)"""
BY_DAY = "SELECT day, calls, searches, milliseconds FROM usage WHERE owner = %s AND day >= %s"


class Counts(msgspec.Struct):
    calls: int = 0
    searches: int = 0
    milliseconds: float = 0.0

    @property
    def latency(self) -> float:
        """Milliseconds that a call takes on average."""
        return round(self.milliseconds / max(1, self.calls), 2)


class Usage:
    """The counts of one API process, added to the database once a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counts: defaultdict[tuple[str, date], Counts] = defaultdict(Counts)
        self._flushing: asyncio.Task[None] | None = None

    def count(self, owner: str, seconds: float, search: bool) -> None:
        """Note one answered request."""
        counts = self._counts[(owner, datetime.now(UTC).date())]
        counts.calls += 1
        counts.searches += search
        counts.milliseconds += seconds * 1000

    def open(self) -> None:
        self._flushing = asyncio.create_task(self._flush_on())

    async def close(self) -> None:
        if self._flushing:
            self._flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flushing
        await self.flush()

    async def flush(self) -> None:
        """Add what was counted since the last time; what cannot be added now is kept."""
        counts, self._counts = self._counts, defaultdict(Counts)
        for (owner, day), one in counts.items():
            try:
                async with self._engine.connection(owner) as conn:
                    await conn.execute(ADD, (owner, day, one.calls, one.searches, one.milliseconds))
            except (psycopg.OperationalError, PoolTimeout) as error:
                log.warning("usage is not written: %s", str(error).partition("\n")[0])
                kept = self._counts[(owner, day)]
                kept.calls += one.calls
                kept.searches += one.searches
                kept.milliseconds += one.milliseconds

    async def _flush_on(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if self._counts:
                await self.flush()


class Day(msgspec.Struct, frozen=True):
    """What one day's requests came to, and how many memories were added in it."""

    date: date
    counts: Counts
    added: int


async def total(engine: Engine, asked: Asked, within: Scope) -> tuple[int, Counts]:
    """How many memories are in a scope now, and what all requests of the caller's owner came to."""
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        there = await memories.count(conn, build, Selection(scope=within))
        return there, await _total_since(conn, asked.caller.owner, None)


async def extent(engine: Engine, asked: Asked, since: date) -> tuple[Extent, Counts]:
    """How much the caller's owner has now, and what the requests came to from a day on."""
    owner = asked.caller.owner
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        return await memories.extent(conn, build, owner), await _total_since(conn, owner, since)


async def _total_since(conn: AsyncConnection[Any], owner: str, since: date | None) -> Counts:
    """What an owner's requests came to from a day on; with None since ever."""
    row = await (await conn.execute(TOTAL, (owner, since))).fetchone()
    return Counts(*row) if row else Counts()


async def daily(engine: Engine, asked: Asked, since: date) -> list[Day]:
    """Day by day, oldest first; days without any requests or memories are left out."""
    owner = asked.caller.owner
    async with engine.reading(asked, history.HISTORY) as (conn, build):
        added = await history.added_by_day(conn, build, owner, since)
        rows = await (await conn.execute(BY_DAY, (owner, since))).fetchall()
    counted = {day: Counts(*counts) for day, *counts in rows}
    return [Day(day, counted.get(day, Counts()), added.get(day, 0)) for day in sorted({*counted, *added})]
