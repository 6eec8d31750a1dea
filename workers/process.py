"""The worker process: for each cell an intake and a runner for each projection, and threads
that take jobs."""

import signal
import threading
from pathlib import Path

from dramatiq import Worker

from application.reader import Reader
from domain.eventstore.cells import Cells
from domain.eventstore.cipher import master_key
from domain.eventstore.follower import Follower
from projections import ALL, SEARCHED
from projections.runner import Runner
from providers.embedding.embedders import embedder_for
from runtime.settings import Settings
from workers import broker
from workers.intake import Intake
from workers.jobs import Jobs
from workers.means import Means
from workers.recall import Recaller


class WorkerProcess:
    """All that a worker does, startable within a test as well."""

    def __init__(self, settings: Settings) -> None:
        assert settings.database_url and settings.redis_url  # noqa: S101 - `serve` and `worker` see to it
        self.cells = Cells(settings.database_url, master_key(settings.master_key, Path(settings.data_dir)))
        self._broker = broker.connect(settings.redis_url)
        self._recaller = Recaller(Reader(self.cells), settings)
        self.means = Means(settings, self._recaller)
        self._jobs = Jobs(self.means, self.cells, self._broker)
        model = embedder_for(None, settings).model
        self._followers: list[Follower] = [
            Runner(
                cell,
                projection,
                model if projection.name in SEARCHED else None,
                self._jobs.vectors_wanted if projection.name in SEARCHED else None,
            )
            for cell in self.cells.all.values()
            for projection in ALL.values()
        ]
        self._followers += [Intake(cell, self.means, self._broker) for cell in self.cells.all.values()]
        self._takers = Worker(self._broker, worker_threads=settings.worker_threads, worker_timeout=200)

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
        self._broker.close()


def run(settings: Settings) -> None:
    """Work until told to stop by SIGTERM or SIGINT."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    process = WorkerProcess(settings)
    process.start()
    told.wait()
    process.stop()
