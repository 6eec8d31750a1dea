"""An API and a worker go on beside the schema of a release to come, until it is contracted.

The release to come is ours with more migrations; the programs are real processes of this one.
"""

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from domain.eventstore.cells import Cells
from domain.eventstore.formats import READS
from domain.eventstore.mapper import record
from domain.ids import MEMORY_PREFIX, new_id, parse
from domain.key import ALL_SCOPES
from domain.recorded import Context, Event
from runtime.servers.migrate import StillConnected, migrate
from runtime.settings import Settings
from tests.support.memories import add, texts
from tests.support.processes import Command
from tests.support.releases import NEXT, RAISE, Release
from tests.support.service import KEY, MASTER, client_of, eventually, free_port

EXPAND = """
ALTER TABLE events ADD COLUMN note text;
CREATE INDEX events_with_notes ON events (position) WHERE note IS NOT NULL;
CREATE TABLE links (a uuid, b uuid);"""
TOO_NEW = f"the log in this database is of format {NEXT}, and this Everlog reads up to {READS}"
CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")


class Linked(Event, frozen=True, kw_only=True):
    """An event of a memory that only the release to come knows."""

    TYPE: ClassVar[str] = "memory.linked.v1"
    FORMAT: ClassVar[int] = NEXT
    to: str = "another memory"


class Bookmarked(Event, frozen=True, kw_only=True):
    """An event of an aggregate that only the release to come knows."""

    TYPE: ClassVar[str] = "bookmark.added.v1"
    FORMAT: ClassVar[int] = NEXT


def settings_of(url: str, redis_url: str, folder: Path) -> Settings:
    return Settings(
        database_url=url,
        redis_url=redis_url,
        master_key=base64.b64encode(bytes(32)).decode(),
        data_dir=str(folder / uuid4().hex),
        port=free_port(),
    )


class Programs:
    """An API and a worker."""

    def __init__(self, settings: Settings) -> None:
        with closing(Cells(settings.database_url or "", MASTER)) as cells:
            cells.create_key(KEY, "test", "default", ALL_SCOPES)
        self.api, self.worker = Command(settings, "api"), Command(settings, "worker")
        self.client = client_of(f"http://127.0.0.1:{settings.port}", KEY)
        eventually(lambda: self.ready() == 200, "the API does not get ready")

    def ready(self) -> int:
        try:
            return self.client.get("/health/ready").status_code
        except httpx.TransportError:
            return 0

    def statuses(self) -> dict[str, dict[str, Any]]:
        found = self.client.get("/v1/status").json()["projections"]
        return {status["name"]: status for status in found if status["state"] != "retired"}

    def stop(self) -> None:
        for part in (self.api, self.worker):
            part.stop()


@pytest.fixture(scope="module")
def settings(new_database: Callable[[], str], redis_url: str, folder: Path) -> Settings:
    """Of a database that the tests of this module expand and, the last of them, contract."""
    return settings_of(new_database(), redis_url, folder)


@pytest.fixture(scope="module")
def programs(settings: Settings) -> Iterator[Programs]:
    running = Programs(settings)
    yield running
    running.stop()


class Writing(threading.Thread):
    """Adds memories without pause, and remembers what it was answered."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.over = threading.Event()
        self.answered: list[int] = []

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            body = {"messages": [{"role": "user", "content": f"{number}"}], "user_id": "load", "infer": False}
            self.answered.append(self._client.post("/v1/memories", json=body).status_code)


def append(url: str, event: Event, stream_id: UUID, version: int) -> None:
    """As a program of the release to come does it."""
    with closing(Cells(url, MASTER)) as cells, cells.first.pool.connection() as conn:
        cells.first.subjects.ensure(conn, [("default", "bob")])
        stored = record(event, stream_id=stream_id, version=version, context=CONTEXT, user_id="bob")
        cells.first.log.save(stored)


def test_they_write_read_and_extract_beside_an_expanded_schema(
    settings: Settings, programs: Programs, release: Release
) -> None:
    client = programs.client
    add(client, "from before", "ann")
    writing = Writing(client)
    writing.start()
    eventually(lambda: len(writing.answered) > 20)
    migrate(settings, folder=release(links__expand=EXPAND, links__contract=RAISE))
    migrated_at = len(writing.answered)
    eventually(lambda: len(writing.answered) > migrated_at + 20)
    writing.over.set()
    writing.join()
    assert set(writing.answered) == {201}
    add(client, "from after", "ann")
    said = {"messages": [{"role": "user", "content": "I love cycling"}], "user_id": "ann"}
    assert client.post("/v1/memories", json=said).json()["results"]
    assert texts(client, "ann") == {"from before", "from after", "User loves cycling"}
    assert {(s["state"], s["parked"]) for s in programs.statuses().values()} == {("live", 0)}
    # And what is started beside it is no worse off than what ran already.
    again = Command(settings, "keys", "list")
    assert again.ended()[0] == 0, again.output


def test_an_event_that_they_do_not_know_holds_up_its_own_stream_alone(
    settings: Settings, programs: Programs, release: Release
) -> None:
    """No program should write one before the contract. Should one do so, the others lose nothing else."""
    client, url = programs.client, settings.database_url or ""
    migrate(settings, folder=release(links__expand=EXPAND))
    linked, other = add(client, "linked", "bob"), add(client, "other", "bob")
    append(url, Linked(), parse(MEMORY_PREFIX, linked) or new_id(), 2)
    append(url, Bookmarked(), new_id(), 1)
    client.put(f"/v1/memories/{other}", json={"memory": "other, changed"}).raise_for_status()
    assert add(client, "a third", "bob")
    eventually(lambda: texts(client, "bob") == {"linked", "other, changed", "a third"})
    statuses = programs.statuses()
    assert {name for name, s in statuses.items() if s["parked"]} >= {"memories", "search", "history"}
    assert {s["parked"] for s in statuses.values()} == {0, 1}
    assert {s["error"] for s in statuses.values()} == {None}
    assert programs.ready() == 200


def test_a_contract_waits_for_them_and_then_they_do_not_start_any_more(
    settings: Settings, programs: Programs, release: Release
) -> None:
    folder = release(links__expand=EXPAND, links__contract=RAISE)
    with pytest.raises(StillConnected) as refused:
        migrate(settings, folder=folder, contract=True)
    named = str(refused.value)
    assert f"api, which reads up to {READS}" in named
    assert f"worker, which reads up to {READS}" in named
    assert "no name" not in named
    add(programs.client, "still here", "ann")
    programs.api.process.terminate()
    programs.worker.process.terminate()
    programs.api.process.wait(30)
    programs.worker.process.wait(30)

    def contracted() -> bool:
        try:
            return migrate(settings, folder=folder, contract=True) == []
        except StillConnected:  # connections that were closed are there for a moment still
            return False

    eventually(contracted)
    for command in (
        ["api"],
        ["worker"],
        ["keys", "list"],
        ["export"],
        ["migrate"],
        ["migrate", "--contract"],
    ):
        status, output = Command(settings, *command).ended()
        assert status == 2, output
        assert output.startswith(f"everlog: {TOO_NEW}"), output
        assert output.count("\n") == 1, output
    assert TOO_NEW in Command(settings, "doctor").ended()[1]


def test_with_force_they_are_cut_off_and_say_why(
    url: str, redis_url: str, folder: Path, release: Release
) -> None:
    settings = settings_of(url, redis_url, folder)
    programs = Programs(settings)
    steps = release(links__expand=EXPAND, links__contract=RAISE)
    migrate(settings, folder=steps, contract=True, force=True)
    status, output = programs.worker.ended()
    assert status == 2
    assert TOO_NEW in output.splitlines()[-1]
    eventually(lambda: f"format {NEXT}" in programs.client.get("/health/ready").text)
    answer = programs.client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "incompatible")
    body = {"messages": [{"role": "user", "content": "too late"}], "user_id": "ann", "infer": False}
    assert programs.client.post("/v1/memories", json=body).status_code == 503
    programs.stop()


@pytest.mark.parametrize("command", [["api"], ["worker"], ["status"]])
def test_before_the_migration_they_say_what_is_to_be_done(
    settings: Settings, empty_database: Callable[[], str], command: list[str]
) -> None:
    settings = msgspec.structs.replace(settings, database_url=empty_database())
    status, output = Command(settings, *command).ended()
    assert (status, output) == (
        2,
        "everlog: the schema of this database is of an older Everlog: run `everlog migrate` first\n",
    )
