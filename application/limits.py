"""Rate limits and quotas of keys, shared by all API processes through Redis."""

import contextlib
import logging
import time
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from application.asked import Caller
from domain.errors import Refused
from domain.key import Terms

log = logging.getLogger(__name__)

UNLIMITED = 2**31 - 1
"""What stands for no limit where clients are always told one: no key meets it, any client can read it."""
REMEMBERED_DAYS = 62
"""How long a month's count is kept: that month and the next."""

# One step for all processes: a token bucket that holds a minute's worth, and a month's count. What is
# refused costs nothing. Times are Redis' own, so that no process's clock matters.
TAKE = """
local now = redis.call('TIME')
local seconds = tonumber(now[1]) + tonumber(now[2]) / 1e6
local rate, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
local tokens, used = rate, 0
if rate > 0 then
    local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
    if kept[1] then tokens = math.min(rate, tonumber(kept[1]) + (seconds - tonumber(kept[2])) * rate / 60) end
end
if quota > 0 then
    used = tonumber(redis.call('GET', KEYS[2]) or '0')
    if used >= quota then return {'quota', tostring(tokens), used} end
end
if rate > 0 then
    if tokens < 1 then return {'rate', tostring(tokens), used} end
    tokens = tokens - 1
    redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(seconds))
    redis.call('EXPIRE', KEYS[1], 120)
end
if quota > 0 then
    used = redis.call('INCR', KEYS[2])
    redis.call('EXPIRE', KEYS[2], ARGV[3])
end
return {'ok', tostring(tokens), used}
"""


# A day's count, which grows only while it is allowed to.
TAKE_OF_DAY = """
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used >= tonumber(ARGV[1]) then return 0 end
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], 172800)
return 1
"""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a key stands after one more request."""

    per_minute: int | None
    remaining: int
    full_at: int
    """When the minute's worth is whole again; Unix seconds."""
    per_month: int | None
    used: int
    month_ends: int
    """Unix seconds."""


class LimitReached(Refused):
    """One more request than a key's limits allow; `retry_after` in seconds."""

    def __init__(self, standing: Standing, of_month: bool, retry_after: int) -> None:
        super().__init__(
            f"the {standing.per_month} requests of this month are used up"
            if of_month
            else f"more than {standing.per_minute} requests a minute; try again in {retry_after} s"
        )
        self.standing = standing
        self.of_month = of_month
        self.retry_after = retry_after


class Limits:
    """Counts the requests of keys that have limits. Without Redis nobody is refused."""

    def __init__(self, redis_url: str | None) -> None:
        self._redis = Redis.from_url(redis_url) if redis_url else None
        self._take = self._redis.register_script(TAKE) if self._redis else None
        self._take_of_day = self._redis.register_script(TAKE_OF_DAY) if self._redis else None

    async def close(self) -> None:
        if self._redis:
            await self._redis.aclose()

    async def take(self, caller: Caller, always: bool = False) -> Standing | None:
        """Count one request. Raises LimitReached.

        None for a key without limits, unless it is to be told `always`: then a limit that it does not have
        is UNLIMITED. None too without Redis, as nothing is counted then.
        """
        terms = caller.terms
        if always:
            terms = msgspec.structs.replace(
                terms,
                per_minute=terms.per_minute or UNLIMITED,
                per_month=terms.per_month or UNLIMITED,
            )
        if self._take is None or not (terms.per_minute or terms.per_month):
            return None
        now = datetime.now(UTC)
        keys = [f"everlog:rate:{caller.actor}", f"everlog:quota:{caller.actor}:{now:%Y-%m}"]
        asked = [terms.per_minute or 0, terms.per_month or 0, REMEMBERED_DAYS * 86_400]
        try:
            outcome, tokens, used = await self._take(keys=keys, args=asked)
        except (RedisError, OSError) as error:
            log.warning("limits are not kept: %s", error)
            return None
        standing = _standing(terms, now, float(tokens), int(used))
        if outcome != b"ok":
            raise _reached(standing, outcome == b"quota", float(tokens))
        return standing

    async def take_of_day(self, owner: str, what: str, most: int) -> bool:
        """Count one more of something; False when an owner has had `most` of it today, UTC."""
        if self._take_of_day is None:
            return True
        try:
            return bool(await self._take_of_day(keys=[_of_day(owner, what)], args=[most]))
        except (RedisError, OSError) as error:
            log.warning("limits are not kept: %s", error)
            return True

    async def give_back_of_day(self, owner: str, what: str) -> None:
        """Take back one that was counted just now."""
        if self._redis:
            with contextlib.suppress(RedisError, OSError):
                await self._redis.decr(_of_day(owner, what))


def _of_day(owner: str, what: str) -> str:
    return f"everlog:day:{datetime.now(UTC):%Y-%m-%d}:{what}:{owner}"


def _standing(terms: Terms, now: datetime, tokens: float, used: int) -> Standing:
    rate = terms.per_minute
    whole = (rate - tokens) * 60 / rate if rate else 0
    next_month = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    return Standing(
        per_minute=rate,
        remaining=int(tokens),
        full_at=int(time.time() + whole) + 1,
        per_month=terms.per_month,
        used=used,
        month_ends=int(next_month.timestamp()),
    )


def _reached(standing: Standing, of_month: bool, tokens: float) -> LimitReached:
    wait = (
        standing.month_ends - int(time.time())
        if of_month
        else round((1 - tokens) * 60 / (standing.per_minute or 1) + 0.5)
    )
    return LimitReached(standing, of_month, max(1, wait))
