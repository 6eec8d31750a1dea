"""What tests stand on: the real PostgreSQL and the real queue, embedded; the real API and worker on them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import hypothesis
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from domain.eventstore.cells import Cell, Cells
from domain.key import ALL_SCOPES
from providers.sandbox.sandbox import Sandbox
from runtime.servers.migrate import migrate
from runtime.servers.postgres import Postgres
from runtime.servers.valkey import Valkey
from runtime.settings import Settings
from tests.support.conversations import Person, person_of
from tests.support.service import KEY, MASTER, WRONG_KEYS_OF_TESTS, Service, client_of, free_port, serving

# A shared machine is at times slow, which makes no test wrong.
hypothesis.settings.register_profile("everlog", deadline=None)
hypothesis.settings.load_profile("everlog")


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="everlog-test-"))
    path.chmod(0o755)  # under root the servers have an account of their own, which must get in
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
def copy_of(server: Postgres) -> Callable[[str], str]:
    """Makes a database that is a copy of another and returns its URL."""

    def make(other: str) -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {other}")
        return server.url.replace("/everlog?", f"/{name}?")

    return make


@pytest.fixture(scope="session")
def empty_database(copy_of: Callable[[str], str]) -> Callable[[], str]:
    """Makes a database without any schema of ours and returns its URL."""
    return partial(copy_of, "template1")


@pytest.fixture(scope="session")
def new_database(copy_of: Callable[[str], str], empty_database: Callable[[], str]) -> Callable[[], str]:
    """Makes an empty, migrated database and returns its URL."""
    model = empty_database()
    migrate(Settings(database_url=model), contract=True)  # once: a copy takes a third of the time
    return partial(copy_of, str(conninfo_to_dict(model)["dbname"]))


@pytest.fixture(scope="session")
def compiled(folder: Path) -> Path:
    """A data folder in which CPython is compiled for sandboxes, where the extra `code` is installed.

    Two warm up at once, as two servers may that start together."""
    home = folder / "compiled"
    for warming in [Sandbox(home).warm(), Sandbox(home).warm()]:
        warming.join()
    return home


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


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str], redis_url: str, folder: Path) -> Iterator[Service]:
    settings = Settings(
        database_url=new_database(),
        redis_url=redis_url,
        data_dir=str(folder / uuid4().hex),
        port=free_port(),
        max_failed_keys=WRONG_KEYS_OF_TESTS,
    )
    with serving(settings) as running:
        yield running


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


@pytest.fixture
def ann(service: Service) -> Iterator[Person]:
    """An owner of this test's own, who converses."""
    secret, owner = f"kk-{uuid4().hex}", f"owner-{uuid4().hex}"
    service.worker.cells.create_key(secret, "chat", owner, ALL_SCOPES)
    with client_of(service.url, secret) as client:
        yield person_of(service, client, secret, owner)
