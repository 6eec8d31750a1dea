"""The two-minute rule of MemoryStack: its client repeats a write after a broken connection, and says nowhere
that it is a repetition. So the same request of the same key within two minutes is done once.

Not so where the same key has changed since what the first one made: a client that repeats does not have its
answer yet, so that one has moved on, and says again what it once said.
"""

import hashlib
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.di import NamedDependency, Provide
from psycopg import AsyncConnection

from api.auth import Caller
from api.engine import Asked, Engine
from domain.eventstore.recorder import Receipt

REPEAT_SECONDS = 120
NUMBER_DIGITS = 8

LATEST = """
    SELECT key, created_at > now() - make_interval(secs => %(seconds)s), results FROM receipts
    WHERE owner = %(owner)s AND actor = %(actor)s AND key BETWEEN %(first)s AND %(last)s
    ORDER BY key DESC LIMIT 1"""

# What a receipt's request made: its results, and the memories that its conversation became. Then whether
# the key has written any of these once more.
OVERTAKEN = """
    WITH results AS (
        SELECT * FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS r(stream_id, version)
    ), made AS (
        SELECT * FROM results UNION ALL
        SELECT e.stream_id, e.version
        FROM results JOIN events AS said USING (stream_id, version)
        JOIN events AS e ON e.actor = %(actor)s AND e.position > said.position
                        AND e.cause = said.stream_id::text AND e.type LIKE 'memory.%%'
        WHERE said.type LIKE 'ingestion.%%'
    )
    SELECT EXISTS (
        SELECT 1 FROM made JOIN events AS e USING (stream_id)
        WHERE e.version > made.version AND e.actor = %(actor)s AND e.type LIKE 'memory.%%'
    )"""


async def provide_once(
    request: Request[Any, Caller, Any], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Asked:
    """What is asked, with a receipt that a repetition of the request shares."""
    if asked.receipt:
        return asked  # its Idempotency-Key says more
    told = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    told.update(await request.body())
    caller, fingerprint = asked.caller, told.digest()
    async with engine.connection(caller.owner) as conn:
        key = await _key(conn, caller, fingerprint)
    receipt = Receipt(owner=caller.owner, actor=caller.actor, key=key, fingerprint=fingerprint)
    return asked._replace(receipt=receipt)


ONCE = {"once": Provide(provide_once)}


def beside(asked: Asked, what: str) -> Asked:
    """The same, with the receipt of a second piece of work of the same request."""
    if asked.receipt is None:
        return asked
    receipt = asked.receipt
    key = hashlib.sha256(f"{what} of {receipt.key}".encode()).hexdigest()
    return asked._replace(
        receipt=Receipt(owner=receipt.owner, actor=receipt.actor, key=key, fingerprint=receipt.fingerprint)
    )


async def _key(conn: AsyncConnection[Any], caller: Caller, fingerprint: bytes) -> str:
    """The receipt's key: that of the latest such request, or the one after it.

    Numbered, not dated: two requests at once always find the same number, at whatever second.
    """
    stem = f"repeat:{fingerprint.hex()}:"
    cursor = await conn.execute(
        LATEST,
        {
            "seconds": REPEAT_SECONDS,
            "owner": caller.owner,
            "actor": caller.actor,
            "first": stem + NUMBER_DIGITS * "0",
            "last": stem + NUMBER_DIGITS * "9",
        },
    )
    latest = await cursor.fetchone()
    if latest is None:
        return stem + NUMBER_DIGITS * "0"
    key, recent, results = latest
    if recent and not await _overtaken(conn, caller, [(UUID(id), version) for id, version in results]):
        return str(key)
    return f"{stem}{int(key.removeprefix(stem)) + 1:0{NUMBER_DIGITS}}"


async def _overtaken(conn: AsyncConnection[Any], caller: Caller, results: list[tuple[UUID, int]]) -> bool:
    cursor = await conn.execute(
        OVERTAKEN,
        {
            "ids": [id for id, _ in results],
            "versions": [version for _, version in results],
            "actor": caller.actor,
        },
    )
    return bool((await cursor.fetchone() or (False,))[0])
