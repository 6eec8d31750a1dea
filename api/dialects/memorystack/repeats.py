"""The two-minute rule of MemoryStack: its client repeats a write after a broken connection, and says nowhere
that it is a repetition. So the same request of the same key within two minutes is done once.

Not so where somebody has changed since what the first one made: a client that repeats does not have its
answer yet, and whoever has it may want the same once more. What changes nothing when it is done twice needs
no such rule.
"""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.di import NamedDependency, Provide
from psycopg import AsyncConnection

from application.asked import Asked, Caller
from application.engine import Engine
from domain.eventstore.recorder import Receipt

REPEAT_SECONDS = 120
NUMBER_DIGITS = 8

LATEST = """
    SELECT key, created_at > now() - make_interval(secs => %(seconds)s), results FROM receipts
    WHERE owner = %(owner)s AND actor = %(actor)s AND key BETWEEN %(first)s AND %(last)s
    ORDER BY key DESC LIMIT 1"""

# What a receipt's request made: its results, and the memories that its conversation became. Then whether
# anybody has written any of these once more. A conversation that changed nothing may do so now if memories
# of its user have changed, and a request on all memories if any has.
OVERTAKEN = """
    WITH results AS (
        SELECT e.* FROM events e JOIN unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS r(stream_id, version)
        USING (stream_id, version)
    ), became AS (
        SELECT e.* FROM results said JOIN events e
        ON e.owner = %(owner)s AND e.cause = said.stream_id::text AND e.type LIKE 'memory.%%'
        WHERE said.type LIKE 'ingestion.%%'
    ), barren AS (
        SELECT e.* FROM results said JOIN events e USING (stream_id)
        WHERE e.type LIKE 'ingestion.extracted.%%' AND NOT EXISTS (SELECT FROM became)
    )
    SELECT EXISTS (
        SELECT FROM (TABLE results UNION ALL TABLE became) AS made JOIN events AS e USING (stream_id)
        WHERE e.version > made.version AND e.type LIKE 'memory.%%'
    ) OR EXISTS (
        SELECT FROM barren JOIN events AS e USING (subject_id)
        WHERE e.position > barren.position AND e.type LIKE 'memory.%%'
    ) OR (%(of_all)s AND EXISTS (
        SELECT FROM events WHERE owner = %(owner)s AND type LIKE 'memory.%%'
        AND position > (SELECT max(position) FROM results)
    ))"""


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
    cursor = await conn.execute(
        LATEST,
        {
            "seconds": REPEAT_SECONDS,
            "owner": first.owner,
            "actor": first.actor,
            "first": first.key,
            "last": f"{stem}:{NUMBER_DIGITS * '9'}",
        },
    )
    latest = await cursor.fetchone()
    if latest is None:
        return first
    key, recent, stored = latest
    results = tuple((UUID(id), version) for id, version in stored)
    # What had nothing to do left no trace, and may have something to do now.
    if recent and results and not await _overtaken(conn, first.owner, results, of_all=of_all):
        return msgspec.structs.replace(first, key=key, results=results)
    return msgspec.structs.replace(first, key=_numbered(stem, int(key.rpartition(":")[2]) + 1))


async def _overtaken(
    conn: AsyncConnection[Any], owner: str, results: Sequence[tuple[UUID, int]], *, of_all: bool
) -> bool:
    cursor = await conn.execute(
        OVERTAKEN,
        {
            "ids": [id for id, _ in results],
            "versions": [version for _, version in results],
            "owner": owner,
            "of_all": of_all,
        },
    )
    return bool((await cursor.fetchone() or (False,))[0])


def _numbered(stem: str, number: int) -> str:
    return f"{stem}:{number:0{NUMBER_DIGITS}}"
