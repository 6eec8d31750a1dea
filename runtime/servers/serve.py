"""All in one: database, queue, API and workers under one supervisor that restarts whatever dies."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from application import keys
from domain.eventstore.roles import OF_PROGRAM
from runtime.composition import cells_of
from runtime.servers.local_model import Place, for_model, pointed
from runtime.servers.migrate import StillConnected, give_logins, migrate
from runtime.servers.postgres import Postgres
from runtime.servers.processes import start, stop, wait_for
from runtime.servers.running import Running, only_one, publish, withdraw
from runtime.servers.valkey import Valkey
from runtime.settings import Settings, SettingsError, variable_of

READY_SECONDS = 60.0
STOP_SECONDS = 4.0
LOOK_SECONDS = 0.2
BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Pauses before the restarts of a child that keeps dying; a minute of life forgives all."""


class Child:
    """A process of ours, and how to start it again."""

    def __init__(
        self,
        name: str,
        begin: "Callable[[], subprocess.Popen[bytes]]",
        end: "Callable[[subprocess.Popen[bytes]], None]",
    ) -> None:
        self.name = name
        self._begin = begin
        self._end = end
        self._deaths = 0
        self._born = time.monotonic()
        self._due: float | None = None
        self.process = begin()

    def look(self) -> None:
        """Start it again when it has died, after a pause that grows with the deaths."""
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if self._due is None:
            self._deaths = 0 if now - self._born > 60 else self._deaths
            self._due = now + BACKOFF_SECONDS[min(self._deaths, len(BACKOFF_SECONDS) - 1)]
            self._deaths += 1
            _say(f"{self.name} ended (status {self.process.returncode}); starting it again")
        if now >= self._due:
            self._due, self._born = None, now
            self.process = self._begin()

    def end(self) -> None:
        self._end(self.process)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Must run in the main thread: the children die with it."""
    data_dir = Path(settings.data_dir).absolute()
    settings = msgspec.structs.replace(settings, data_dir=str(data_dir))
    _require_port(settings)
    alone = settings.database_url is None
    place = Place(settings) if settings.local_model else None
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with only_one(data_dir):
        children: list[Child] = []
        try:
            settings = _start_servers(settings, data_dir, children)
            if place:
                settings = pointed(settings, place.endpoint)
                children.append(_part("model", for_model(settings), _without_ours()))
            _migrate(settings, alone)
            with closing(cells_of(settings)) as cells:
                first_key = keys.ensure_first(cells, settings.bootstrap_key)
            logins = _logins(settings) if alone else {}
            for part in ["worker", *["api"] * settings.api_processes]:
                url = logins.get(part, settings.database_url)
                children.append(_part(part, msgspec.structs.replace(settings, database_url=url)))
            url = f"http://{_reachable(settings.host)}:{settings.port}"
            chat = place.endpoint if place else None
            publish(data_dir, Running(settings.database_url or "", settings.redis_url or "", chat))
            _wait_until_ready(url, children, told)
            _greet(url, data_dir, first_key, settings)
            while not told.wait(LOOK_SECONDS):
                for child in children:
                    child.look()
        finally:
            withdraw(data_dir)
            for child in children:
                if child.name == "api":  # all at the same time: each lets its open streams end
                    child.process.terminate()
            for child in reversed(children):
                child.end()


def _migrate(settings: Settings, alone: bool) -> None:
    """Contract as well on a database of our own, which no program of another release serves meanwhile."""
    try:
        migrate(settings, contract=alone)
    except StillConnected as error:  # a command of another release; the next start tries again
        _say(f"everlog: {error}")


def _logins(settings: Settings) -> dict[str, str]:
    """Addresses of our own database for API and worker, with passwords that are good for this run."""
    passwords = {program: secrets.token_urlsafe(24) for program in OF_PROGRAM}
    return give_logins(settings.database_url or "", passwords)


def _start_servers(settings: Settings, data_dir: Path, children: list[Child]) -> Settings:
    """The embedded servers for which no URL is configured."""
    if settings.database_url is None:
        postgres = Postgres(data_dir)
        children.append(_server("PostgreSQL", postgres))
        settings = msgspec.structs.replace(settings, database_url=postgres.url)
    if settings.redis_url is None:
        valkey = Valkey(data_dir)
        children.append(_server("Valkey", valkey))
        settings = msgspec.structs.replace(settings, redis_url=valkey.url)
    return settings


def _server(name: str, server: Postgres | Valkey) -> Child:
    def begin() -> "subprocess.Popen[bytes]":
        server.start()
        assert server.process  # noqa: S101 - `start` sets it
        return server.process

    return Child(name, begin, lambda _: server.stop())


def _without_ours() -> dict[str, str]:
    """The environment for a child that reads texts of strangers and needs no secret of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EVERLOG_")}


def _part(part: str, settings: Settings, environ: Mapping[str, str] = os.environ) -> Child:
    # Secrets travel in the environment: a command line can be read by every user.
    values = {variable_of(name): value for name, value in msgspec.structs.asdict(settings).items()}
    env = {**environ} | {name: str(value) for name, value in values.items() if value is not None}
    command = [sys.executable, "-m", "runtime.cli", part]
    return Child(
        part,
        lambda: start(command, env=env),
        lambda process: stop(process, signal.SIGTERM, STOP_SECONDS),
    )


def _require_port(settings: Settings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"EVERLOG_PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror});"
                " choose another with --port"
            ) from None


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _wait_until_ready(url: str, children: list[Child], told: threading.Event) -> None:
    def ready() -> bool:
        for child in children:
            child.look()
        with suppress(OSError), urllib.request.urlopen(f"{url}/health/ready", timeout=2):  # noqa: S310 - ours
            return True
        return told.wait(0.03)

    wait_for(ready, f"the API at {url} does not get ready; its messages are above", READY_SECONDS)


def _greet(url: str, data_dir: Path, first_key: str | None, settings: Settings) -> None:
    _say(f"Everlog serves at {url}")
    _say(f"  API docs   {url}/docs")
    _say(f"  data       {data_dir}")
    if settings.local_model:
        _say(f"  chat model {settings.chat_model}, on this machine; it answers once it is loaded")
    if first_key:
        _say(f"  API key    {first_key}")
        _say("             shown this once; `everlog keys create` makes more")
    elif settings.bootstrap_key:
        _say("  API key    the one in EVERLOG_BOOTSTRAP_KEY")
    _say("Ctrl-C stops it.")


def _say(text: str) -> None:
    print(text, flush=True)
