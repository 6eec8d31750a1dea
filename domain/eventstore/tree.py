"""The tree over a cell's log: kept in tiles, compared with the log over and over, and signed.

Leaf n is that of position n + 1. An event whose words were erased keeps the digest that its leaf was made of.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from domain.eventstore.chain import leaf_of
from domain.eventstore.checkpoints import Checkpoint, origin_of, signed
from domain.eventstore.merkle import Node, above, root
from domain.eventstore.reading import COLUMNS, entry_of

HEIGHT = 8
"""Levels in a tile."""
WIDTH = 1 << HEIGHT
HASH = hashlib.sha256().digest_size


class Fault(ValueError):
    """The log is not as it was written; the text says where, and what."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(f"position {position}: {what}")
        self.position = position


class Check(NamedTuple):
    """How far the log was compared with its tree."""

    position: int
    checked_at: datetime
    fault: str | None


# --- reading the log -----------------------------------------------------------------------------------


def leaves(conn: Connection[Any], after: int, limit: int) -> list[bytes]:
    """The leaves of at most `limit` events above a position, made of what stands there. Raises Fault."""
    rows = conn.cursor(binary=True).execute(
        f"SELECT {COLUMNS}, digest, leaf FROM events WHERE position > %s ORDER BY position LIMIT %s",
        (after, limit),
    )
    found: list[bytes] = []
    for expected, (*row, redacted, stored) in enumerate(rows, after + 1):
        entry = entry_of(row)
        if entry.position != expected:
            raise Fault(expected, "there is no event")
        assert entry.recorded_at  # noqa: S101 - it was read
        leaf = leaf_of(redacted or entry.digest(), entry.position, entry.recorded_at)
        if stored not in (None, leaf):  # none: from before there were leaves
            raise Fault(expected, "the event is not the one that was recorded")
        found.append(leaf)
    return found


# --- tiles -----------------------------------------------------------------------------------------------


class Tiles:
    """The nodes of a tree, out of its tiles."""

    def __init__(self, conn: Connection[Any]) -> None:
        self._conn = conn
        self._read: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        first = index << height
        hashes = self.tile(tile_level, first // WIDTH)
        begin = first % WIDTH
        row = [hashes[n * HASH : (n + 1) * HASH] for n in range(begin, begin + (1 << height))]
        if any(len(hash) < HASH for hash in row):
            raise LookupError(f"the tree has no node {index} at level {level}")
        return _folded(row)

    def tile(self, level: int, index: int) -> bytes:
        place = level, index
        if place not in self._read:
            found = self._conn.execute(
                "SELECT hashes FROM tiles WHERE level = %s AND index = %s", place
            ).fetchone()
            self._read[place] = found[0] if found else b""
        return self._read[place]


def size(conn: Connection[Any]) -> int:
    """How many leaves the tree has."""
    row = conn.execute(
        "SELECT index, length(hashes) FROM tiles WHERE level = 0 ORDER BY index DESC LIMIT 1"
    ).fetchone()
    return row[0] * WIDTH + row[1] // HASH if row else 0


def grow(conn: Connection[Any], limit: int) -> int:
    """Add the leaves of at most `limit` events; how many there were. Needs a transaction. Raises Fault."""
    begin = size(conn)
    new = leaves(conn, begin, limit)
    changed = dict(_added(Tiles(conn), begin, new))
    _put(conn, changed)
    return len(new)


def _added(tiles: Tiles, begin: int, hashes: list[bytes]) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The tiles that change when hashes come behind the first `begin` of the lowest level, on all levels."""
    level = 0
    while hashes:
        index, within = divmod(begin, WIDTH)
        row = b"".join([tiles.tile(level, index)[: within * HASH], *hashes])
        whole: list[bytes] = []
        for n in range(0, len(row), WIDTH * HASH):
            tile = row[n : n + WIDTH * HASH]
            yield (level, index + n // (WIDTH * HASH)), tile
            if len(tile) == WIDTH * HASH:
                whole.append(_folded([tile[m : m + HASH] for m in range(0, len(tile), HASH)]))
        level, begin, hashes = level + 1, index, whole


def _put(conn: Connection[Any], tiles: Mapping[tuple[int, int], bytes]) -> None:
    conn.cursor().executemany(
        "INSERT INTO tiles (level, index, hashes) VALUES (%s, %s, %b)"
        " ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes",
        [(level, index, hashes) for (level, index), hashes in tiles.items()],
    )


def _folded(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [above(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


# --- comparing -------------------------------------------------------------------------------------------


def check(conn: Connection[Any], limit: int, anew: bool = False) -> bool:
    """Compare the next `limit` events with the tree, and note how far; False once all were, or one is wrong.

    `anew`: from the first on.
    """
    last = checked(conn)
    if last and last.fault:
        return False
    begin = last.position if last and not anew else 0
    upto = size(conn)
    try:
        after = compare(conn, begin, limit, upto)
    except Fault as fault:
        note(conn, begin, fault)
        return False
    note(conn, after, None)
    return after < upto


def note(conn: Connection[Any], position: int, fault: Fault | None) -> None:
    """Keep how far the log was compared, and the first fault until `forget`."""
    conn.execute(
        "INSERT INTO log_check (position, checked_at, fault) VALUES (%s, now(), %s) ON CONFLICT (one) DO"
        " UPDATE SET position = excluded.position, checked_at = excluded.checked_at,"
        " fault = coalesce(log_check.fault, excluded.fault)",
        (position, str(fault) if fault else None),
    )


def forget(conn: Connection[Any]) -> None:
    """Begin anew: the log was found whole."""
    conn.execute("DELETE FROM log_check")


def compare(conn: Connection[Any], after: int, limit: int, upto: int) -> int:
    """Compare at most `limit` events above a position; the last of them. Raises Fault."""
    node: Node = Tiles(conn)
    found = leaves(conn, after, min(limit, upto - after))
    for position, leaf in enumerate(found, after + 1):
        if node(0, position - 1) != leaf:
            raise Fault(position, "the event is not the one that the tree has")
    if len(found) < min(limit, upto - after):
        raise Fault(after + len(found) + 1, "there is no event, and the tree has one")
    return after + len(found)


def checked(conn: Connection[Any]) -> Check | None:
    row = conn.execute("SELECT position, checked_at, fault FROM log_check").fetchone()
    return Check(*row) if row else None


# --- checkpoints -----------------------------------------------------------------------------------------


def sign(conn: Connection[Any], cell: str, seed: bytes) -> str:
    """Sign the tree as it is, and keep the note; returns it."""
    leaves_there = size(conn)
    note = signed(Checkpoint(origin_of(cell), leaves_there, root(Tiles(conn), leaves_there)), seed)
    conn.execute(
        "INSERT INTO checkpoints (minute, size, note) VALUES (date_trunc('minute', now()), %s, %s)"
        " ON CONFLICT (minute) DO UPDATE SET size = excluded.size, note = excluded.note",
        (leaves_there, note),
    )
    return note


def last_note(conn: Connection[Any]) -> str | None:
    row = conn.execute("SELECT note FROM checkpoints ORDER BY minute DESC LIMIT 1").fetchone()
    return row[0] if row else None


def notes(conn: Connection[Any]) -> list[str]:
    """All that is kept, the oldest first."""
    return [note for (note,) in conn.execute("SELECT note FROM checkpoints ORDER BY minute")]
