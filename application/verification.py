"""Whether a log is as it was written: each event, the tree over all, and what was signed of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from psycopg import Connection

from domain.errors import Damaged
from domain.eventstore import merkle, tree
from domain.eventstore.cells import Cell
from domain.eventstore.chain import broken_link
from domain.eventstore.checkpoints import Checkpoint, Forged, opened, public_key
from domain.eventstore.reading import head, read_log
from domain.eventstore.tree import Fault, Tiles

READ_EVENTS = 1_000


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` has found."""

    events: int
    """Of the log, all of which were compared unless there is a fault."""
    checkpoints: int
    """Signed ones that the log agrees with."""
    unreadable: int
    """Events of users who were erased: proven to be there, and read by nobody."""
    fault: str | None
    """Where the log is not as it was written, and why; None: it is."""


class _Roots:
    """The roots of the trees of the first leaves, in order, without keeping the leaves."""

    def __init__(self) -> None:
        self._whole: list[tuple[int, bytes]] = []
        """(level, hash) of the largest whole subtrees, from the left."""

    def add(self, leaf: bytes) -> None:
        self._whole.append((0, leaf))
        while len(self._whole) > 1 and self._whole[-1][0] == self._whole[-2][0]:
            (level, left), (_, right) = self._whole[-2:]
            self._whole[-2:] = [(level + 1, merkle.above(left, right))]

    def root(self) -> bytes:
        if not self._whole:
            return merkle.EMPTY
        made = self._whole[-1][1]
        for _, left in reversed(self._whole[:-1]):
            made = merkle.above(left, made)
        return made


def verify(
    cell: Cell, elsewhere: Sequence[str] = (), progress: Callable[[int], None] = lambda _: None
) -> Verified:
    """Compare a log with all that was said of it. `elsewhere`: checkpoints kept out of the database.

    `progress` is told the positions that it has come to.
    """
    with cell.pool.connection() as conn:
        last, agreed, unreadable, fault = head(conn), 0, 0, None
        try:
            signed = _checkpoints(conn, cell, elsewhere)
            unreadable = _read(conn, cell, progress)
            agreed = _agree(conn, signed, last)
        except Fault as found:
            fault = str(found)
        else:
            if conn.execute("SELECT has_table_privilege('log_check', 'DELETE')").fetchone() == (True,):
                tree.forget(conn)
    return Verified(events=last, checkpoints=agreed, unreadable=unreadable, fault=fault)


def _checkpoints(conn: Connection[Any], cell: Cell, elsewhere: Sequence[str]) -> list[Checkpoint]:
    """All that were signed, by size. Raises Fault for one that was not."""
    key = public_key(cell.name, cell.secrets.signing)
    try:
        found = {opened(note, key) for note in [*tree.notes(conn), *elsewhere]}
    except Forged as error:
        raise Fault(0, f"a checkpoint is not ours: {error}") from None
    return sorted(found, key=lambda checkpoint: checkpoint.size)


def _read(conn: Connection[Any], cell: Cell, progress: Callable[[int], None]) -> int:
    """Open every event: a payload that cannot be, or whose surroundings were changed, is a fault."""
    if (position := broken_link(conn)) is not None:
        raise Fault(position, "the event does not follow from the one before it")
    after = unreadable = 0
    while entries := read_log(conn, after, READ_EVENTS):
        cell.subjects.load(conn, [entry.subject_id for entry in entries if entry.subject_id])
        for entry in entries:
            try:
                cell.log.mapper.to_domain_event(entry)
            except Damaged:
                raise Fault(entry.position, "the payload, or what stands beside it, was changed") from None
            except LookupError:
                unreadable += 1
        after = entries[-1].position
        progress(after)
    return unreadable


def _agree(conn: Connection[Any], signed: Sequence[Checkpoint], last: int) -> int:
    """How many checkpoints the log agrees with. Raises Fault."""
    roots, waiting = _Roots(), iter(signed)
    ahead = next(waiting, None)
    node, in_tree = Tiles(conn), tree.size(conn)
    agreed = 0
    for position, leaf in enumerate(_leaves(conn), 1):
        roots.add(leaf)
        if position <= in_tree and node(0, position - 1) != leaf:
            raise Fault(position, "the event is not the one that the tree has")
        while ahead and ahead.size == position:
            if ahead.root != roots.root():
                raise Fault(position, "of the events up to here another root was signed")
            agreed += 1
            ahead = next(waiting, None)
    if ahead:
        raise Fault(last + 1, f"the log ends before it, and one of {ahead.size:,} events was signed")
    if in_tree > last:
        raise Fault(last + 1, f"the log ends before it, and the tree has {in_tree:,} events")
    return agreed


def _leaves(conn: Connection[Any]) -> Iterator[bytes]:
    after = 0
    while some := tree.leaves(conn, after, READ_EVENTS):
        yield from some
        after += len(some)
