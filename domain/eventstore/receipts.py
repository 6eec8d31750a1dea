"""Receipts: what requests that may come twice have done, stored with their events."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection

Results = tuple[tuple[UUID, int], ...]
"""(stream, version) of each result, in the order of the answer."""

# Whether anybody has written what a request made once more: its results, and the memories that its
# conversation became. A conversation that changed nothing is overtaken if memories of its user have changed,
# and a request on all memories if any has.
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


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one command with an Idempotency-Key did, stored with its events."""

    owner: str
    actor: str
    key: str
    fingerprint: bytes
    results: Results = ()
    text: str | None = None
    """What the key is a hash of: receipts once had it as it was sent, and those still count."""

    @property
    def id(self) -> tuple[str, str, str]:
        """A key is one of its actor's."""
        return self.owner, self.actor, self.key


class Latest(NamedTuple):
    """The last of many receipts."""

    key: str
    recent: bool
    results: Results


def stored(conn: Connection[Any], asked: Sequence[Receipt]) -> dict[tuple[str, str, str], Receipt]:
    """The receipts with the ids of these that there are."""
    if not asked:
        return {}
    sought = {(r.owner, r.actor, key): r for r in asked for key in (r.key, r.text) if key}
    rows = conn.execute(
        "SELECT owner, actor, key, fingerprint, results::text FROM receipts"
        " JOIN unnest(%s::text[], %s::text[], %s::text[]) AS asked(owner, actor, key)"
        " USING (owner, actor, key)",
        tuple(map(list, zip(*sought, strict=True))),
    ).fetchall()
    found: dict[tuple[str, str, str], Receipt] = {}
    for owner, actor, key, fingerprint, results in rows:
        one = sought[owner, actor, key]
        found[one.id] = msgspec.structs.replace(
            one, fingerprint=fingerprint, results=msgspec.json.decode(results, type=Results)
        )
    return found


async def latest(
    conn: AsyncConnection[Any], first: Receipt, last_key: str, recent_seconds: float
) -> Latest | None:
    """Of the receipts of one actor from `first` to the one with `last_key`, the last by its key."""
    cursor = await conn.execute(
        "SELECT key, created_at > now() - make_interval(secs => %s), results::text FROM receipts"
        " WHERE owner = %s AND actor = %s AND key BETWEEN %s AND %s ORDER BY key DESC LIMIT 1",
        (recent_seconds, first.owner, first.actor, first.key, last_key),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    key, recent, results = row
    return Latest(key, recent, msgspec.json.decode(results, type=Results))


async def are_overtaken(
    conn: AsyncConnection[Any], owner: str, results: Iterable[tuple[UUID, int]], *, of_all: bool
) -> bool:
    """Whether somebody has changed since what a request with these results made; with `of_all`, anything."""
    ids, versions = zip(*results, strict=True)
    cursor = await conn.execute(
        OVERTAKEN, {"ids": list(ids), "versions": list(versions), "owner": owner, "of_all": of_all}
    )
    return bool((await cursor.fetchone() or (False,))[0])


def discard(conn: Connection[Any], hours: int) -> None:
    """Forget those that are older."""
    conn.execute("DELETE FROM receipts WHERE created_at < now() - make_interval(hours => %s)", (hours,))
