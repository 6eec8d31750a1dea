"""Builds the tree over the log, right behind it; signs it, and compares the log with it over and over."""

import logging
import time
from collections.abc import Callable
from typing import Any

from psycopg import Connection

from domain.eventstore import tree
from domain.eventstore.cells import Cell
from domain.eventstore.follower import Follower
from domain.eventstore.tree import Fault

log = logging.getLogger(__name__)

GROW_EVENTS = 2_000
CHECK_EVENTS = 500
"""Compared at a time, once a second at most: a million events in half an hour."""
CHECK_SECONDS = 600.0
"""From the end of a comparison of the whole log to the beginning of the next."""
SIGN_SECONDS = 1.0
"""Between two checkpoints, and between two looks for new events: each look writes a tile anew."""

Publish = Callable[[str, str], None]
"""(Cell, note): puts a checkpoint where whoever can change the database cannot."""


class Tree(Follower):
    """The tree of one cell. Any number may run: one at a time builds it."""

    def __init__(self, cell: Cell, publish: Publish) -> None:
        super().__init__(cell, "tree")
        self._publish = publish
        self._check_due = 0.0
        self._comparing = False

    def step(self, conn: Connection[Any]) -> bool:
        began = time.monotonic()
        with conn.transaction():
            if not _claim(conn):
                return False
            more = self._grow(conn) == GROW_EVENTS
            if not more and began >= self._check_due:
                self._compare(conn, began)
        self._stopping.wait(0 if more else SIGN_SECONDS - (time.monotonic() - began))
        return more

    def _compare(self, conn: Connection[Any], now: float) -> None:
        self._comparing = tree.check(conn, CHECK_EVENTS, anew=not self._comparing)
        if not self._comparing:
            self._check_due = now + CHECK_SECONDS

    def _grow(self, conn: Connection[Any]) -> int:
        try:
            grown = tree.grow(conn, GROW_EVENTS)
        except Fault as fault:
            self._tell(conn, fault)
            return 0
        if grown:
            self._publish(self.cell.name, tree.sign(conn, self.cell.name, self.cell.secrets.signing))
        return grown

    def _tell(self, conn: Connection[Any], fault: Fault) -> None:
        """Of the first one, once: each step meets it anew, until `everlog verify` finds the log whole."""
        last = tree.checked(conn)
        if last is None or last.fault is None:
            log.error("%s: the log is not as it was written: %s", self.name, fault)
            tree.note(conn, last.position if last else 0, fault)


def _claim(conn: Connection[Any]) -> bool:
    row = conn.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || '.tree', 0))"
    ).fetchone()
    return row == (True,)
