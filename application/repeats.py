"""Requests of clients that repeat a write after a broken connection, and say nowhere that it is a repetition.

The same request of the same key within a while is done once. Not so where somebody has changed since what
the first one made: a client that repeats does not have its answer yet, and whoever has it may want the same
once more.
"""

from typing import Any

import msgspec
from psycopg import AsyncConnection

from application.asked import Asked
from application.engine import Engine
from domain.eventstore.receipts import Receipt, are_overtaken, latest

NUMBER_DIGITS = 8


async def once(
    engine: Engine, asked: Asked, fingerprint: bytes, within_seconds: float, *, of_all: bool
) -> Asked:
    """What is asked, with a receipt that a repetition of the request shares.

    A request on all memories (`of_all`) is another one as soon as any of them has changed.
    """
    caller = asked.caller
    first = Receipt(
        owner=caller.owner,
        actor=caller.actor,
        key=_numbered(f"repeat:{fingerprint.hex()}", 0),
        fingerprint=fingerprint,
    )
    async with engine.connection(caller.owner) as conn:
        return asked._replace(receipt=await _latest(conn, first, within_seconds, of_all=of_all))


def anew(once: Asked) -> Asked:
    """The same, as no repetition: one that finds something left to do."""
    if once.receipt is None or not once.receipt.results:
        return once
    stem, _, number = once.receipt.key.rpartition(":")
    receipt = msgspec.structs.replace(once.receipt, key=_numbered(stem, int(number) + 1), results=())
    return once._replace(receipt=receipt)


async def _latest(
    conn: AsyncConnection[Any], first: Receipt, within_seconds: float, *, of_all: bool
) -> Receipt:
    """The receipt of the latest such request, with its results if this repeats it; else the one after it.

    Numbered, not dated: two requests at once always find the same number, at whatever second.
    """
    stem = first.key.rpartition(":")[0]
    found = await latest(conn, first, f"{stem}:{NUMBER_DIGITS * '9'}", within_seconds)
    if found is None:
        return first
    # What had nothing to do left no trace, and may have something to do now.
    if (
        found.recent
        and found.results
        and not await are_overtaken(conn, first.owner, found.results, of_all=of_all)
    ):
        return msgspec.structs.replace(first, key=found.key, results=found.results)
    return msgspec.structs.replace(first, key=_numbered(stem, int(found.key.rpartition(":")[2]) + 1))


def _numbered(stem: str, number: int) -> str:
    return f"{stem}:{number:0{NUMBER_DIGITS}}"
