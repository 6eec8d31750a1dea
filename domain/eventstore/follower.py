"""A thread that follows one cell's log, woken by NOTIFY, until it is stopped."""

import logging
import threading
from typing import Any

import psycopg
from psycopg import Connection

from domain.eventstore.cells import Cell

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""For what no NOTIFY told of: an event committed before LISTEN was active, a lease that became free."""
RECONNECT_SECONDS = 0.5
WAKE_SECONDS = 1.0


def wake(cell: Cell) -> None:
    """Have all followers of a cell look up, such as those that were stopped. Raises OperationalError."""
    with cell.pool.connection(timeout=WAKE_SECONDS) as conn:
        conn.execute("SELECT pg_notify(%s, '')", (f"{cell.name}_log",))


class Follower(threading.Thread):
    """Does `step` as long as it finds something to do, then waits for the log to grow."""

    poll_seconds = POLL_SECONDS

    def __init__(self, cell: Cell, name: str) -> None:
        super().__init__(name=f"{cell.name}-{name}", daemon=True)
        self.cell = cell
        self._stopping = threading.Event()

    def step(self, conn: Connection[Any]) -> bool:
        """One piece of work; False when there is none. Any number may follow: it says who does it."""
        raise NotImplementedError

    def begin(self, conn: Connection[Any]) -> None:
        """What each new connection begins with."""

    def failed(self, error: Exception) -> None:
        """An error that is not the database's was logged; the thread tries again."""

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self.cell.conninfo, autocommit=True) as conn:
                    self.begin(conn)
                    self._follow(conn)
            except psycopg.OperationalError as error:
                log.warning(
                    "%s: lost the database, reconnecting: %s", self.name, str(error).partition("\n")[0]
                )
            except Exception as error:
                log.exception("%s: stopped by an error, trying again", self.name)
                self.failed(error)
            self._stopping.wait(RECONNECT_SECONDS)

    def _follow(self, conn: Connection[Any]) -> None:
        conn.execute(f"LISTEN {self.cell.name}_log")
        while not self._stopping.is_set():
            if not self.step(conn):
                # One notification is enough: a step finds all that is there.
                for _ in conn.notifies(timeout=self.poll_seconds, stop_after=1):
                    pass
