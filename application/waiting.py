"""The one way to wait for those who work behind the log: no connection is held, and what they tell wakes."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from domain.eventstore.cells import Cell
from domain.eventstore.signals import parsed, told_of

T = TypeVar("T")

POLL_SECONDS = 0.25
"""Between two looks when nobody tells anything: for what was told while the listener had no connection."""


class Concern(NamedTuple):
    """What is told and is worth a look."""

    topic: str
    """Its first word."""
    holds: Callable[[str], bool] = lambda _: True


def reaching(name: str, position: int) -> Concern:
    """Somebody tells that `name` is as far as `position`."""

    def holds(payload: str) -> bool:
        something = parsed(payload)
        return something is not None and something.position >= position

    return Concern(name, holds)


async def until(
    cell: Cell, concern: Concern, look: Callable[[], Awaitable[T | None]], seconds: float
) -> T | None:
    """What `look` finds: at once, or when the cell tells something that concerns it; None after `seconds`."""
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()

    def hear(payload: str) -> None:
        if not payload or concern.holds(payload):
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(rung.set)

    deadline = time.monotonic() + seconds
    # Before the first look: nothing is missed.
    end = cell.signals.listen(told_of(cell.name), hear, concern.topic)
    try:
        while (found := await look()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, POLL_SECONDS)):
                    await rung.wait()
            rung.clear()
        return found
    finally:
        end()
