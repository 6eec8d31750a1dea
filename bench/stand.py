"""What a bench stands on: embedded servers of its own, an API process, and a worker when wanted."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from application import keys
from runtime.composition import cells_of
from runtime.servers.migrate import migrate
from runtime.servers.postgres import Postgres
from runtime.servers.processes import start
from runtime.servers.valkey import Valkey
from runtime.settings import Settings, load, variable_of


class Stand(msgspec.Struct):
    """A service of a bench's own."""

    settings: Settings
    url: str
    key: str
    processes: dict[str, list["subprocess.Popen[bytes]"]]

    def run(self, part: str) -> None:
        """Start `api` or `worker`."""
        values = {variable_of(name): value for name, value in msgspec.structs.asdict(self.settings).items()}
        env = os.environ | {name: str(value) for name, value in values.items() if value is not None}
        count = self.settings.api_processes if part == "api" else 1
        command = [sys.executable, "-m", "runtime.cli", part]
        self.processes[part] = [start(command, env=env) for _ in range(count)]

    def end(self, part: str) -> None:
        for process in (ended := self.processes.pop(part)):
            process.terminate()
        for process in ended:
            process.wait(10)


@contextmanager
def stand(**more: Any) -> Iterator[Stand]:
    """Servers in a temporary folder, migrated, with a key; the API is running, no worker is.

    `more` are settings of its own.
    """
    with tempfile.TemporaryDirectory(prefix="everlog-bench-") as folder:
        Path(folder).chmod(0o755)
        data_dir = Path(folder) / "data"
        postgres, valkey = Postgres(data_dir), Valkey(data_dir)
        settings = load(
            data_dir=str(data_dir),
            database_url=postgres.start(),
            redis_url=valkey.start(),
            port=free_port(),
            **more,
        )
        migrate(settings, contract=True)
        with closing(cells_of(settings)) as cells:
            key = keys.create(cells, "bench", "bench", ("read", "write")).key
        made = Stand(settings, f"http://127.0.0.1:{settings.port}", key, {})
        try:
            made.run("api")
            answers(f"{made.url}/health/live")
            yield made
        finally:
            for part in list(made.processes):
                made.end(part)
            valkey.stop()
            postgres.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, seconds: float = 60) -> None:
    """Wait until `url` answers with 200."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - ours
            return
        time.sleep(0.05)
    raise TimeoutError(url)
