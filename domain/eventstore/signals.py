"""What the cells of a database tell: one listening connection a process, for all who wait or follow.

Two channels a cell. On `CELL_log` the log says that it has grown, with its last position. On `CELL_told` who
works behind it says how far that is, in the transaction that made it so: `search 812` is a projection's
position, `search.vectors 812` that rows of it have got vectors, `ingestion 0190…` one that waits no more.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, Notify

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
GATHER_SECONDS = 0.003
"""Between two turns of the listener, each of which takes one from the event loop, when a thousand things a
second are told: 50 chats at once were answered 44 times a second without it, and 49 times with it."""
STOP_SECONDS = 0.2
"""How often the listener looks whether it is to stop."""
START_SECONDS = 5.0
"""How long a start waits for the connection; without one, all who wait look by themselves."""

EVERYTHING = ""
Hear = Callable[[str], None]
"""Gets what was told; empty: something may have been missed, so look."""


class Told(NamedTuple):
    """Something that is as far as `position` now."""

    name: str
    position: int


def parsed(payload: str) -> Told | None:
    """What a projection tells; None for anything else."""
    name, _, position = payload.partition(" ")
    return Told(name, int(position)) if position.isdecimal() else None


def log_of(cell: str) -> str:
    return f"{cell}_log"


def told_of(cell: str) -> str:
    return f"{cell}_told"


def tell(conn: Connection[Any], payload: str) -> None:
    """Tell all processes, once the connection's transaction is committed."""
    conn.execute("SELECT pg_notify(current_schema() || '_told', %s)", (payload,))


class Signals:
    """Hears all channels of some cells, once it is started."""

    def __init__(self, database_url: str, cells: Sequence[str]) -> None:
        self._database_url = database_url
        self._channels = [channel for cell in cells for channel in (log_of(cell), told_of(cell))]
        self._hearing: defaultdict[tuple[str, str], frozenset[Hear]] = defaultdict(frozenset)
        """(Channel, topic) → who listens to that. Under load a thousand things a second are told."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listening = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen from now on; waits for the connection, though not for long. May be called again."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
                self._thread.start()
        self._listening.wait(START_SECONDS)

    def listen(self, channel: str, hear: Hear, topic: str = EVERYTHING) -> Callable[[], None]:
        """Have `hear` called, from the listener's thread, with what is told; what this returns ends it.

        `topic`: the first word of what is told, where nothing else matters.
        """
        place = channel, topic
        with self._lock:
            self._hearing[place] |= {hear}

        def end() -> None:
            with self._lock:
                self._hearing[place] -= {hear}
                if not self._hearing[place]:
                    del self._hearing[place]

        return end

    def close(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._database_url, autocommit=True) as conn:
                    for channel in self._channels:
                        conn.execute(f'LISTEN "{channel}"')
                    self._listening.set()
                    self._tell_all()
                    self._hear(conn)
            except psycopg.OperationalError as error:
                log.warning("signals: lost the database, reconnecting: %s", str(error).partition("\n")[0])
            except Exception:  # whoever waits would only be woken by their own looks
                log.exception("signals: stopped by an error, trying again")
            self._stopping.wait(RECONNECT_SECONDS)

    def _hear(self, conn: Connection[Any]) -> None:
        while not self._stopping.is_set():
            for notify in conn.notifies(timeout=STOP_SECONDS, stop_after=1):
                self._pass_on(notify)
                # What comes meanwhile is passed on together.
                self._stopping.wait(GATHER_SECONDS)

    def _pass_on(self, notify: Notify) -> None:
        topic = notify.payload.partition(" ")[0]
        with self._lock:
            places = ((notify.channel, topic), (notify.channel, EVERYTHING))
            hearing = [hear for place in places for hear in self._hearing.get(place, ())]
        for hear in hearing:
            hear(notify.payload)

    def _tell_all(self) -> None:
        """What was told before this connection listened is lost: whoever waits looks."""
        with self._lock:
            hearing = [hear for some in self._hearing.values() for hear in some]
        for hear in hearing:
            hear("")
