"""The two-minute rule of MemoryStack: its client repeats a write after a broken connection, and says nowhere
that it is a repetition. So the same request of the same key within two minutes is done once.

Not so where somebody has changed since what the first one made: a client that repeats does not have its
answer yet, and whoever has it may want the same once more. What changes nothing when it is done twice needs
no such rule.
"""

import hashlib
from typing import Any

import msgspec
from litestar import Request
from litestar.di import NamedDependency, Provide
from psycopg import AsyncConnection

from application.asked import Asked, Caller
from application.engine import Engine
from domain.eventstore.receipts import Receipt, are_overtaken, latest

REPEAT_SECONDS = 120
NUMBER_DIGITS = 8


async def provide_once(
    request: Request[Any, Caller, Any], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Asked:
    """What is asked, with a receipt that a repetition of the request shares."""
    return await _once(request, asked, engine, of_all=False)


async def provide_once_of_all(
    request: Request[Any, Caller, Any], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Asked:
    """The same for a request on all memories, which is another one as soon as any of them has changed."""
    return await _once(request, asked, engine, of_all=True)


ONCE = {"once": Provide(provide_once)}
ONCE_OF_ALL = {"once": Provide(provide_once_of_all)}


def anew(once: Asked) -> Asked:
    """The same, as no repetition: one that finds something left to do."""
    if once.receipt is None or not once.receipt.results:
        return once
    stem, _, number = once.receipt.key.rpartition(":")
    receipt = msgspec.structs.replace(once.receipt, key=_numbered(stem, int(number) + 1), results=())
    return once._replace(receipt=receipt)


async def _once(request: Request[Any, Caller, Any], asked: Asked, engine: Engine, *, of_all: bool) -> Asked:
    if asked.receipt:
        return asked  # its Idempotency-Key says more
    told = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    told.update(await request.body())
    caller, fingerprint = asked.caller, told.digest()
    first = Receipt(
        owner=caller.owner,
        actor=caller.actor,
        key=_numbered(f"repeat:{fingerprint.hex()}", 0),
        fingerprint=fingerprint,
    )
    async with engine.connection(caller.owner) as conn:
        return asked._replace(receipt=await _latest(conn, first, of_all=of_all))


async def _latest(conn: AsyncConnection[Any], first: Receipt, *, of_all: bool) -> Receipt:
    """The receipt of the latest such request, with its results if this repeats it; else the one after it.

    Numbered, not dated: two requests at once always find the same number, at whatever second.
    """
    stem = first.key.rpartition(":")[0]
    found = await latest(conn, first, f"{stem}:{NUMBER_DIGITS * '9'}", REPEAT_SECONDS)
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
