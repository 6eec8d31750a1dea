"""The job queue: dramatiq on Redis. A message is a wake-up call that names an id; the log holds the truth."""

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


def enqueue(broker: RedisBroker, job: str, *args: str | int | list[str]) -> None:
    """Ask any worker to do `job`, one of the names above, which is also its queue."""
    broker.enqueue(dramatiq.Message(queue_name=job, actor_name=job, args=args, kwargs={}, options={}))
