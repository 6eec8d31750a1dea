"""The jobs: what any worker on any machine can be asked to do. Each may run twice with one effect."""

import contextlib
import logging
import threading
import time
from typing import Any
from uuid import UUID

import dramatiq
import psycopg
from dramatiq import Broker, MessageProxy, Middleware
from dramatiq.brokers.redis import RedisBroker
from psycopg import Connection
from redis.exceptions import RedisError

from application.asked import asked_by
from application.engine import submit
from domain.errors import VersionConflict
from domain.eventstore import receipts
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.erasure import under_way
from domain.ids import new_id
from domain.memory import EraseMemory
from projections import ALL, SEARCHED, catalogue, erasure, memories, rebuild, retrieval, search, vectors
from projections.catalogue import Build, builds
from projections.searched import FILL_TEXTS, Waiting
from providers.embedding.embedder import EmbedderUnavailable
from workers import attempts
from workers.broker import EMBED, EXTRACT, INDEX, REPLAY, claim, enqueue, queued
from workers.means import Means

log = logging.getLogger(__name__)

AT_ONCE_TEXTS = FILL_TEXTS
"""Waiting texts up to which the local embedder fills them right behind the row: half a second at most."""
BACKLOG_TEXTS = 50 * FILL_TEXTS
"""Texts that a sweep looks at: as many as may have been handed out before and are not done yet."""
CLAIM_SECONDS = 60
"""How long rows belong to the job that they were handed out in; then it is taken for lost."""
SWEEP_SECONDS = 5.0
INDEX_SECONDS = 600.0
"""Looking for scopes that want indexes counts every row; they take longer than that to grow so large."""
EXPIRY_SECONDS = 60.0
"""Looking for what has expired reads every row; lists and searches leave it out by themselves."""
EXPIRED_AT_ONCE = 1_000
RECEIPT_HOURS = 48
"""How long an Idempotency-Key is remembered; clients retry within minutes."""


class Jobs:
    """The jobs of one worker process, and the sweep that asks for what a lost broker forgot."""

    def __init__(self, means: Means, cells: Cells, broker: RedisBroker, threads: int) -> None:
        """`threads`: how many take jobs."""
        self._means = means
        self._threads = threads
        self._cells = cells
        self._broker = broker
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._index_due: dict[tuple[str, str], float] = {}
        self._expiry_due: dict[str, float] = {}
        self._sweeper = threading.Thread(target=self._sweep_on, name="sweep", daemon=True)
        broker.add_middleware(_Done(self._wake))
        dramatiq.actor(actor_name=EMBED, queue_name=EMBED, broker=broker)(self.embed)
        dramatiq.actor(actor_name=EXTRACT, queue_name=EXTRACT, broker=broker)(self.extract)
        dramatiq.actor(actor_name=INDEX, queue_name=INDEX, broker=broker)(self.index)
        dramatiq.actor(actor_name=REPLAY, queue_name=REPLAY, broker=broker)(self.replay)

    def start(self) -> None:
        self._sweeper.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        self._sweeper.join()

    def vectors_wanted(self, _: Build) -> None:
        """Called after each batch of a projection that holds vectors, from its thread."""
        self._wake.set()

    # --- jobs -----------------------------------------------------------------------------------------

    # The default is what an Everlog that knew of no other meant, whose messages may still be queued.

    def embed(self, cell: str, version: int, ids: list[str], name: str = search.SEARCH.name) -> None:
        """Give these rows of a build their vectors."""
        with psycopg.connect(self._cells.all[cell].conninfo, autocommit=True) as conn:
            build = catalogue.build(conn, name, version)
            if build:
                self._fill(conn, build, [UUID(id) for id in ids])

    def extract(self, cell: str, subject_id: str) -> None:
        """Work off what waits for extraction in one subject's queue."""
        home = self._cells.all[cell]
        with psycopg.connect(home.conninfo, autocommit=True) as conn:
            attempts.work_off(conn, home, self._means, UUID(subject_id))

    def index(self, cell: str, version: int, name: str = search.SEARCH.name) -> None:
        """Make the indexes that a build's large scopes want: minutes, and one worker at a time."""
        with psycopg.connect(self._cells.all[cell].conninfo, autocommit=True) as conn:
            build = catalogue.build(conn, name, version)
            if build and retrieval.claim_indexing(conn, build):
                retrieval.index_large_scopes(conn, build)

    def replay(self, cell: str, name: str, version: int) -> None:
        """Do a registered replay, unless someone else is doing it."""
        try:
            rebuild.replay(self._cells.all[cell], ALL[name], version, self._complete)
        except Exception as error:
            with psycopg.connect(self._cells.all[cell].conninfo, autocommit=True) as conn:
                catalogue.note_error(conn, name, version, f"{type(error).__name__}: {error}")
            raise

    # --- vectors --------------------------------------------------------------------------------------

    def _fill(self, conn: Connection[Any], build: Build, ids: list[UUID]) -> None:
        SEARCHED[build.name].fill(conn, build, self._means.embedders.of(build.model), ids)

    def _complete(self, conn: Connection[Any], build: Build) -> None:
        """Before a replayed build goes live: no row without a vector, and large scopes indexed."""
        if build.name not in SEARCHED:
            return
        vectors.forget_refusals(conn, build.model or "")
        while rows := SEARCHED[build.name].waiting(conn, build, FILL_TEXTS):
            self._fill(conn, build, [row.id for row in rows])
        retrieval.index_large_scopes(conn, build)

    # --- sweep ----------------------------------------------------------------------------------------

    def _sweep_on(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            for cell in self._cells.all.values():
                try:
                    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
                        self._sweep(conn, cell)
                except (psycopg.OperationalError, RedisError, EmbedderUnavailable) as error:
                    log.warning("sweep: %s", str(error).partition("\n")[0])
                except Exception:
                    log.exception("sweep failed")
            self._wake.wait(SWEEP_SECONDS)

    def _sweep(self, conn: Connection[Any], cell: Cell) -> None:
        made = builds(conn)
        for build in made:
            if build.state == "building" and build.error is None and not rebuild.under_way(conn, build.name):
                enqueue(self._broker, REPLAY, cell.name, build.name, build.version)
        live = {build.name: build for build in made if build.state == "live"}
        with_vectors = [live[name] for name in SEARCHED if name in live]
        for build in with_vectors:
            self._hand_out_vectors(cell, build, self._fill_few(conn, build))
            self._ask_for_indexes(cell, build)
        if time.monotonic() > self._expiry_due.get(cell.name, 0.0):
            self._expiry_due[cell.name] = time.monotonic() + EXPIRY_SECONDS
            self.delete_expired(conn, cell)
            erasure.erase_left_behind(conn)
        receipts.discard(conn, RECEIPT_HOURS)
        self.finish_erasures(conn, cell)

    def delete_expired(self, conn: Connection[Any], cell: Cell) -> None:
        """Erase the memories of a cell that have expired; a change meanwhile keeps one for the next time."""
        correlation = str(new_id())
        erased = [
            submit(
                cell,
                asked_by("worker", owner, correlation),
                [(id, EraseMemory(missing_ok=True, expected_version=version))],
                cause="expiration",
            )
            for owner, id, version in memories.expired(conn, EXPIRED_AT_ONCE)
        ]
        for future in erased:
            with contextlib.suppress(VersionConflict):
                future.result()
        self.finish_erasures(conn, cell)

    def finish_erasures(self, conn: Connection[Any], cell: Cell) -> None:
        """Take the words of all memories whose erasure has begun out of what still holds them."""
        for owner, ids in under_way(conn).items():
            erasure.erase(conn, cell.log.mapper, owner, ids)

    def _fill_few(self, conn: Connection[Any], build: Build) -> list[Waiting]:
        """Few texts are embedded at once, when that is cheap; the rows that are too many for that."""
        local = self._means.embedders.of(build.model).local
        while rows := SEARCHED[build.name].waiting(conn, build, BACKLOG_TEXTS):
            if not local or len(rows) > AT_ONCE_TEXTS:
                return rows
            self._fill(conn, build, [row.id for row in rows])
        return []

    def _hand_out_vectors(self, cell: Cell, build: Build, rows: list[Waiting]) -> None:
        """Make jobs of rows that no job is for yet: few at a time, so that new rows need not wait long."""
        if not rows or queued(self._broker, EMBED):
            return
        most = self._threads * FILL_TEXTS
        ids: list[str] = []
        for start in range(0, len(rows), FILL_TEXTS):
            some = rows[start : start + FILL_TEXTS]
            names = [f"{cell.name}:{build.table}:{row.id}:{row.position}" for row in some]
            claimed = claim(self._broker, names, CLAIM_SECONDS)
            ids += [str(row.id) for row, ours in zip(some, claimed, strict=True) if ours]
            if len(ids) >= most:
                break
        for start in range(0, len(ids), FILL_TEXTS):
            job = ids[start : start + FILL_TEXTS]
            enqueue(self._broker, EMBED, cell.name, build.version, job, build.name)

    def _ask_for_indexes(self, cell: Cell, build: Build) -> None:
        asked = cell.name, build.name
        if time.monotonic() > self._index_due.get(asked, 0.0):
            self._index_due[asked] = time.monotonic() + INDEX_SECONDS
            enqueue(self._broker, INDEX, cell.name, build.version, build.name)


class _Done(Middleware):
    """Has the sweep look when no job for vectors is left to take: what has gathered is the next one's."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def after_ack(self, broker: Broker, message: MessageProxy) -> None:
        assert isinstance(broker, RedisBroker)  # noqa: S101 - it was added to one
        if message.queue_name == EMBED and not queued(broker, EMBED):
            self._wake.set()
