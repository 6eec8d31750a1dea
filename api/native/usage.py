"""What an owner's requests come to: calls, searches and their time (Memoid's contract)."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import msgspec
import psycopg
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from psycopg_pool import PoolTimeout

from api.errors import refusals
from api.scope import SCOPED
from application.asked import Asked
from application.engine import Engine
from domain.memory import Scope
from projections import history, memories
from projections.selection import Selection

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MAX_DAYS = 366


class Counts(msgspec.Struct):
    calls: int = 0
    searches: int = 0
    milliseconds: float = 0.0


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
                    await conn.execute(
                        "INSERT INTO usage AS u (owner, day, calls, searches, milliseconds)"
                        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (owner, day) DO UPDATE SET"
                        " calls = u.calls + excluded.calls, searches = u.searches + excluded.searches,"
                        " milliseconds = u.milliseconds + excluded.milliseconds",
                        (owner, day, one.calls, one.searches, one.milliseconds),
                    )
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


class StatsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    total_memories: int
    total_searches: int
    total_api_calls: int
    avg_latency_ms: float


class DayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    date: date
    api_calls: int
    memories_added: int
    searches: int
    avg_latency_ms: float


class DailyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    daily: list[DayAnswer]


@get(
    "/v1/usage/stats",
    operation_id="getUsage",
    opt={"scope": "read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="Memories now, and what all requests came to; a second behind at the most",
)
async def stats(
    asked: NamedDependency[Asked], engine: NamedDependency[Engine], within: NamedDependency[Scope]
) -> StatsAnswer:
    async with engine.reading(asked, memories.MEMORIES) as (conn, build):
        total = await memories.count(conn, build, Selection(scope=within))
        cursor = await conn.execute(
            "SELECT coalesce(sum(searches), 0)::bigint, coalesce(sum(calls), 0)::bigint,"
            " coalesce(sum(milliseconds), 0) FROM usage WHERE owner = %s",
            (asked.caller.owner,),
        )
        searches, calls, milliseconds = await cursor.fetchone() or (0, 0, 0.0)
    return StatsAnswer(
        total_memories=total,
        total_searches=searches,
        total_api_calls=calls,
        avg_latency_ms=round(milliseconds / max(1, calls), 2),
    )


@get(
    "/v1/usage/daily",
    operation_id="getDailyUsage",
    opt={"scope": "read"},
    responses=refusals(),
    summary="What requests came to, day by day, oldest first; days without any are left out",
)
async def daily(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    days: Annotated[int, QueryParameter(ge=1, le=MAX_DAYS)] = 30,
) -> DailyAnswer:
    since = datetime.now(UTC).date() - timedelta(days=days - 1)
    owner = asked.caller.owner
    async with engine.reading(asked, history.HISTORY) as (conn, build):
        added = await history.added_by_day(conn, build, owner, since)
        cursor = await conn.execute(
            "SELECT day, calls, searches, milliseconds FROM usage WHERE owner = %s AND day >= %s",
            (owner, since),
        )
        counted = {day: Counts(calls, searches, ms) for day, calls, searches, ms in await cursor.fetchall()}
    return DailyAnswer(
        daily=[_day(day, counted.get(day, Counts()), added.get(day, 0)) for day in sorted({*counted, *added})]
    )


ROUTES = [stats, daily]


def _day(day: date, counts: Counts, added: int) -> DayAnswer:
    return DayAnswer(
        date=day,
        api_calls=counts.calls,
        memories_added=added,
        searches=counts.searches,
        avg_latency_ms=round(counts.milliseconds / max(1, counts.calls), 2),
    )
