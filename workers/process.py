"""The worker process: for each cell an intake, a runner for each projection and the tree over the log, and
threads that take jobs."""

import signal
import threading

from dramatiq import Worker
from dramatiq.brokers.redis import RedisBroker

from application.reader import Reader
from domain.eventstore.cells import Cells
from domain.eventstore.follower import Follower
from projections import ALL, SEARCHED
from projections.runner import Runner
from providers.embedding.embedders import Embedders
from workers.extraction.readers import Readers
from workers.intake import Intake
from workers.jobs import Jobs
from workers.means import Means
from workers.recall import Recaller
from workers.tree import Publish, Tree

LOOK_SECONDS = 1.0
"""Between looks whether the log can be read still."""


class WorkerProcess:
    """All that a worker does, startable within a test as well."""

    def __init__(
        self,
        cells: Cells,
        queue: RedisBroker,
        readers: Readers,
        embedders: Embedders,
        threads: int,
        publish: Publish,
    ) -> None:
        """`threads`: how many take jobs. It closes the cells and the queue when it is stopped."""
        self.cells = cells
        self._queue = queue
        self._recaller = Recaller(Reader(cells), embedders)
        self.means = Means(readers, embedders, self._recaller)
        self._jobs = Jobs(self.means, cells, queue, threads)
        self._followers: list[Follower] = [
            Runner(
                cell,
                projection,
                embedders.default if projection.name in SEARCHED else None,
                self._jobs.vectors_wanted if projection.name in SEARCHED else None,
            )
            for cell in cells.all.values()
            for projection in ALL.values()
        ]
        self._followers += [Intake(cell, self.means, queue, threads) for cell in cells.all.values()]
        self._followers += [Tree(cell, publish) for cell in cells.all.values()]
        self._takers = Worker(queue, worker_threads=threads, worker_timeout=200)
        # No more than are at work: what is fetched ahead has overtaken whoever has their turn by then.
        self._takers.queue_prefetch = threads

    def start(self) -> None:
        self._recaller.start()
        for follower in self._followers:
            follower.start()
        self._jobs.start()
        self._takers.start()

    def stop(self) -> None:
        for follower in self._followers:
            follower.stop()
        self._jobs.stop()
        self._takers.stop(timeout=5_000)
        for follower in self._followers:
            follower.join(timeout=5)
        self._recaller.stop()
        self.cells.close()
        self._queue.close()


def run(process: WorkerProcess) -> None:
    """Work until told to stop by SIGTERM or SIGINT. Raises Incompatible once the log is of a newer format."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    process.start()
    try:
        while not told.wait(LOOK_SECONDS):
            for cell in process.cells.all.values():
                if cell.format.refusal:
                    raise cell.format.refusal
    finally:
        process.stop()
