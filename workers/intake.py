"""Follows the log for conversations that wait: the few and short are extracted at once, others become jobs.

The backlog, which the log keeps, is what counts. Neither this nor the broker can lose anything of it.
"""

import logging
from typing import Any

from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection
from redis.exceptions import RedisError

from domain.eventstore import backlog
from domain.eventstore.backlog import SETTLED, Turn
from domain.eventstore.cells import Cell
from domain.eventstore.follower import Follower
from projections.search import SEARCH
from projections.searched import VECTORS_OF
from workers import attempts
from workers.broker import EXTRACT, enqueue, queued
from workers.means import Means

log = logging.getLogger(__name__)

AT_ONCE_BYTES = 4_000
"""Few statements fit into that: deciding on them takes 50 ms."""
AT_ONCE_TURNS = 8
"""What is more is shared out among all workers."""
POLL_SECONDS = 1.0
"""For what is due again."""


class Intake(Follower):
    """The intake of one cell. Any number may run: each conversation is extracted once."""

    poll_seconds = POLL_SECONDS
    # What waited for vectors can go on when some have come; and what is done makes room for others.
    topics = (VECTORS_OF.format(SEARCH.name), SETTLED)

    def __init__(self, cell: Cell, means: Means, broker: RedisBroker, threads: int) -> None:
        """`threads`: how many of this worker take jobs."""
        super().__init__(cell, "intake")
        self._means = means
        self._broker = broker
        self._threads = threads
        self._local = means.readers.of().local and means.embedders.of().local

    def step(self, conn: Connection[Any]) -> bool:
        turns = backlog.hand_out(conn, self._room())
        short = [turn for turn in turns if turn.size <= AT_ONCE_BYTES and not turn.review]
        at_once = short[:AT_ONCE_TURNS] if self._local else []
        worked = len(at_once) < len(turns)
        # Jobs first, so that others are at work on them meanwhile.
        for turn in sorted(turns, key=lambda turn: turn in at_once):
            if turn in at_once or not self._enqueued(turn):
                worked |= attempts.work_off(conn, self.cell, self._means, turn.subject_id)
        return worked

    def _room(self) -> int:
        """How many turns can be worked off soon. Jobs queue in order, so no more than that have been handed
        out before somebody else has their turn.
        """
        here = AT_ONCE_TURNS if self._local else 0
        try:
            return here + max(0, self._threads - queued(self._broker, EXTRACT))
        except RedisError:
            return AT_ONCE_TURNS

    def _enqueued(self, turn: Turn) -> bool:
        """Whether a turn became a job; without a queue, what can be done here is done here."""
        try:
            enqueue(self._broker, EXTRACT, self.cell.name, str(turn.subject_id))
            return True  # handed out again when its lease is over
        except RedisError as error:
            log.warning("%s: the queue cannot be reached: %s", self.name, str(error).partition("\n")[0])
            return not self._local
