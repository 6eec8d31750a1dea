"""A thread that follows one cell's log, woken by what the cell tells, until it is stopped."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import Connection

from domain.eventstore.cells import Cell
from domain.eventstore.formats import Incompatible
from domain.eventstore.signals import log_of, told_of

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""For what nobody told of: a lease that became free, a job that is due again."""
RECONNECT_SECONDS = 0.5


class Follower(threading.Thread):
    """Does `step` as long as it finds something to do, then waits for the log to grow."""

    poll_seconds = POLL_SECONDS
    topics: Sequence[str] = ()
    """What to step for, too, of what those tell who work behind the log (signals.py)."""

    def __init__(self, cell: Cell, name: str) -> None:
        super().__init__(name=f"{cell.name}-{name}", daemon=True)
        self.cell = cell
        self._stopping = threading.Event()
        self._told = threading.Event()

    def step(self, conn: Connection[Any]) -> bool:
        """One piece of work; False when there is none. Any number may follow: it says who does it."""
        raise NotImplementedError

    def begin(self, conn: Connection[Any]) -> None:
        """What each new connection begins with."""

    def failed(self, error: Exception) -> None:
        """An error that is not the database's was logged; the thread tries again."""

    def stop(self) -> None:
        self._stopping.set()
        self._told.set()

    def run(self) -> None:
        signals, name = self.cell.signals, self.cell.name
        signals.start()
        ends = [
            signals.listen(log_of(name), lambda _: self._told.set()),
            *(signals.listen(told_of(name), lambda _: self._told.set(), topic) for topic in self.topics),
        ]
        try:
            self._run()
        finally:
            for end in ends:
                end()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self.cell.conninfo, autocommit=True) as conn:
                    self.cell.format.look(conn)
                    self.begin(conn)
                    self._follow(conn)
            except psycopg.OperationalError as error:
                log.warning(
                    "%s: lost the database, reconnecting: %s", self.name, str(error).partition("\n")[0]
                )
            except Incompatible as error:
                log.error("%s: %s", self.name, error)
                self._stopping.wait(POLL_SECONDS)
            except Exception as error:
                log.exception("%s: stopped by an error, trying again", self.name)
                self.failed(error)
            self._stopping.wait(RECONNECT_SECONDS)

    def _follow(self, conn: Connection[Any]) -> None:
        while not self._stopping.is_set():
            self._told.clear()  # before the step: what is told while it works is not lost
            if not self.step(conn):
                self._told.wait(self.poll_seconds)
