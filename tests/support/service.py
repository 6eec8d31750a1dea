"""A running API with a worker, what speaks to it, and patience."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import msgspec
import uvicorn

from api.server import configured
from domain.eventstore.cipher import MasterKey
from domain.key import ALL_SCOPES
from providers.web.page import Browser
from runtime.composition import api_of, worker_of
from runtime.settings import Settings
from workers.process import WorkerProcess

KEY = "test-key-of-default"
OTHER_KEY = "test-key-of-another-owner"
MASTER = MasterKey(bytes(32))
PATIENCE_SECONDS = 120.0
WRONG_KEYS_OF_TESTS = 1_000_000
"""A minute: every route is asked with each kind of wrong key."""


def eventually(condition: Callable[[], object], otherwise: str = "it never came true") -> None:
    """Wait for a condition; a slow machine only makes this slower, never wrong."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service(msgspec.Struct):
    """A running API with a worker, and a client for each of two owners."""

    settings: Settings
    url: str
    client: httpx.Client
    stranger: httpx.Client
    worker: WorkerProcess


@contextmanager
def serving(settings: Settings, browser: Browser | None = None) -> Iterator[Service]:
    """An API and a worker with these settings, until the end of the block."""
    worker = worker_of(settings)
    worker.cells.create_key(KEY, "test", "default", ALL_SCOPES)
    worker.cells.create_key(OTHER_KEY, "test", "another", ALL_SCOPES)
    worker.start()
    api = api_of(settings, browser)
    server = uvicorn.Server(configured(api.app, api.options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{settings.port}"
    with client_of(url, KEY) as client, client_of(url, OTHER_KEY) as stranger:
        eventually(lambda: server.started)
        eventually(lambda: client.get("/health/ready").status_code == 200)
        yield Service(settings, url, client, stranger, worker)
    server.should_exit = True
    thread.join()
    worker.stop()


def client_of(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def settled(client: httpx.Client) -> bool:
    return all(
        p["lag"] == 0 and p["vectors_waiting"] == 0
        for p in client.get("/v1/status").json()["projections"]
        if p["state"] == "live"
    )


def head(client: httpx.Client) -> int:
    return int(client.get("/v1/status").json()["head"])
