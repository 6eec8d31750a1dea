"""What an owner's requests come to: calls, searches and their time (Memoid's contract)."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.errors import refusals
from api.scope import SCOPED
from application import usage
from application.asked import Asked
from application.engine import Engine
from domain.scope import Scope

MAX_DAYS = 366


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
    opt={"scope": "memories:read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="Memories now, and what all requests came to; a second behind at the most",
)
async def stats(
    asked: NamedDependency[Asked], engine: NamedDependency[Engine], within: NamedDependency[Scope]
) -> StatsAnswer:
    memories, counts = await usage.total(engine, asked, within)
    return StatsAnswer(
        total_memories=memories,
        total_searches=counts.searches,
        total_api_calls=counts.calls,
        avg_latency_ms=counts.latency,
    )


@get(
    "/v1/usage/daily",
    operation_id="getDailyUsage",
    opt={"scope": "memories:read"},
    responses=refusals(),
    summary="What requests came to, day by day, oldest first; days without any are left out",
)
async def daily(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    days: Annotated[int, QueryParameter(ge=1, le=MAX_DAYS)] = 30,
) -> DailyAnswer:
    since = datetime.now(UTC).date() - timedelta(days=days - 1)
    return DailyAnswer(
        daily=[
            DayAnswer(
                date=day.date,
                api_calls=day.counts.calls,
                memories_added=day.added,
                searches=day.counts.searches,
                avg_latency_ms=day.counts.latency,
            )
            for day in await usage.daily(engine, asked, since)
        ]
    )


ROUTES = [stats, daily]
