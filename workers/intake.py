"""Follows the log for conversations that wait: the few and short are extracted at once, others become jobs.

The backlog, which the log keeps, is what counts. Neither this nor the broker can lose anything of it.
"""

import logging
import threading
from typing import Any

import psycopg
from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection
from redis.exceptions import RedisError

from domain.cells import Cell
from runtime.settings import Settings
from workers import attempts, backlog
from workers.backlog import Turn
from workers.broker import EXTRACT, enqueue
from workers.extraction.readers import reader_for

log = logging.getLogger(__name__)

AT_ONCE_BYTES = 50_000
"""A conversation of that size is read by rules in 50 ms."""
AT_ONCE_TURNS = 8
"""More at a time are shared out among all workers."""
POLL_SECONDS = 1.0
"""For what is due again, and for what no NOTIFY told of."""
RECONNECT_SECONDS = 0.5


class Intake(threading.Thread):
    """The intake of one cell. Any number may run: each conversation is extracted once."""

    def __init__(self, cell: Cell, settings: Settings, broker: RedisBroker) -> None:
        super().__init__(name=f"{cell.name}-intake", daemon=True)
        self._cell = cell
        self._settings = settings
        self._broker = broker
        self._local = reader_for(settings).local
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._cell.conninfo, autocommit=True) as conn:
                    self._follow(conn)
            except (psycopg.OperationalError, RedisError) as error:
                log.warning("%s: %s", self.name, str(error).partition("\n")[0])
            except Exception:
                log.exception("%s: stopped by an error, trying again", self.name)
            self._stopping.wait(RECONNECT_SECONDS)

    def _follow(self, conn: Connection[Any]) -> None:
        conn.execute(f"LISTEN {self._cell.name}_log")
        while not self._stopping.is_set():
            if turns := backlog.hand_out(conn):
                self._take(conn, turns)
            else:
                # One notification is enough: what is handed out next is all that is due.
                for _ in conn.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass

    def _take(self, conn: Connection[Any], turns: list[Turn]) -> None:
        few = len(turns) <= AT_ONCE_TURNS
        for turn in turns:
            if self._local and few and turn.size <= AT_ONCE_BYTES and not turn.review:
                attempts.work_off(conn, self._cell, self._settings, turn.subject_id)
            else:
                enqueue(self._broker, EXTRACT, self._cell.name, str(turn.subject_id))
