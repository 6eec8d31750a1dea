"""What tests stand on: the real PostgreSQL and the real queue, embedded; the real API and worker on them."""

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import hypothesis
import msgspec
import psycopg
import pytest
import uvicorn

from api.app import configured, create_app
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.cipher import MasterKey
from domain.key import ALL_SCOPES
from providers.web.page import Browser
from runtime.servers.migrate import migrate
from runtime.servers.postgres import Postgres
from runtime.servers.valkey import Valkey
from runtime.settings import Settings
from workers.process import WorkerProcess

# A shared machine is at times slow, which makes no test wrong.
hypothesis.settings.register_profile("everlog", deadline=None)
hypothesis.settings.load_profile("everlog")

KEY = "test-key-of-default"
OTHER_KEY = "test-key-of-another-owner"
MASTER = MasterKey(bytes(32))
PATIENCE_SECONDS = 120.0


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


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="everlog-test-"))
    path.chmod(0o755)  # as root the servers run as nobody, who must get in
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Postgres]:
    postgres = Postgres(folder / "data")
    postgres.start()
    yield postgres
    postgres.stop()


@pytest.fixture(scope="session")
def redis_url(folder: Path) -> Iterator[str]:
    valkey = Valkey(folder / "data")
    yield valkey.start()
    valkey.stop()


@pytest.fixture(scope="session")
def new_database(server: Postgres) -> Callable[[], str]:
    """Makes an empty, migrated database and returns its URL."""

    def make() -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}")
        url = server.url.replace("/everlog?", f"/{name}?")
        migrate(Settings(database_url=url))
        return url

    return make


@pytest.fixture(scope="module")
def cells(new_database: Callable[[], str]) -> Iterator[Cells]:
    """The cells of a database of the module's own, with an owner `default`."""
    opened = Cells(new_database(), MASTER)
    opened.create_key(KEY, "test", "default", ALL_SCOPES)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def cell(cells: Cells) -> Cell:
    return cells.of("default")


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
    worker = WorkerProcess(settings)
    worker.cells.create_key(KEY, "test", "default", ALL_SCOPES)
    worker.cells.create_key(OTHER_KEY, "test", "another", ALL_SCOPES)
    worker.start()
    server = uvicorn.Server(configured(create_app(settings, browser), settings))
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


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str], redis_url: str, folder: Path) -> Iterator[Service]:
    settings = Settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    with serving(settings) as running:
        yield running


def client_of(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


@pytest.fixture
def client(service: Service) -> httpx.Client:
    return service.client


@pytest.fixture
def stranger(service: Service) -> httpx.Client:
    """A client with another owner's key."""
    return service.stranger


@pytest.fixture
def user() -> str:
    """A user of this test's own."""
    return f"user-{uuid4().hex[:8]}"
