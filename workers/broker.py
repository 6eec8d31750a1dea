"""The job queue: dramatiq on Redis. A message is a wake-up call that names an id; the log holds the truth."""

from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AgeLimit, Callbacks, Middleware, Retries, ShutdownNotifications, TimeLimit
from redis import Redis

MAX_RETRIES = 5
"""A sweep asks again for whatever is still undone, so a message need not live for days."""
MIN_BACKOFF_MS = 500
MAX_BACKOFF_MS = 60_000
JOB_TIME_LIMIT_MS = 6 * 3_600_000
"""A replay of a large log is one job; every other job ends by its own limits long before."""


def connect(redis_url: str) -> RedisBroker:
    """The broker at `redis_url`, made the one that actors enqueue on."""
    middleware: list[Middleware] = [
        AgeLimit(),
        TimeLimit(time_limit=JOB_TIME_LIMIT_MS),
        ShutdownNotifications(),
        Callbacks(),
        Retries(max_retries=MAX_RETRIES, min_backoff=MIN_BACKOFF_MS, max_backoff=MAX_BACKOFF_MS),
    ]
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        client=Redis.from_url(redis_url), middleware=middleware, namespace="everlog"
    )
    for name in (EMBED, EXTRACT, INDEX, REPLAY):
        broker.declare_queue(name)
    dramatiq.set_broker(broker)
    return broker


EMBED = "embed"
EXTRACT = "extract"
INDEX = "index"
REPLAY = "replay"


def queued(broker: RedisBroker, job: str) -> int:
    """Messages for `job` that no worker has taken; the broker's own count is also of those at work, twice."""
    return int(broker.client.llen(f"{broker.namespace}:{job}"))


def claim(broker: RedisBroker, names: Sequence[str], seconds: int) -> list[bool]:
    """Whether each of these is the caller's for so long: it is unless some worker has claimed it before.

    A claim goes where the queue is, so what loses the one loses the other.
    """
    with broker.client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.set(f"{broker.namespace}:claim:{name}", b"", nx=True, ex=seconds)
        return [bool(claimed) for claimed in pipeline.execute()]


def enqueue(broker: RedisBroker, job: str, *args: str | int | list[str]) -> None:
    """Ask any worker to do `job`, one of the names above, which is also its queue."""
    broker.enqueue(dramatiq.Message(queue_name=job, actor_name=job, args=args, kwargs={}, options={}))
