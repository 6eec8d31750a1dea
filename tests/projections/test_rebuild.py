"""Replay: the same rows as before, beside running reads and writes, with a way back."""

import threading

import psycopg
import pytest

from bench.replay import fill
from domain.eventstore.cells import Cell
from projections import ALL, rebuild
from projections.catalogue import builds
from runtime.settings import SettingsError
from tests.support.memories import add
from tests.support.projections import checksum, replayed
from tests.support.service import KEY, Service, client_of, eventually, settled


@pytest.fixture(scope="module")
def filled(service: Service) -> Cell:
    for n in range(300):
        body = {
            "messages": [
                {"role": "user", "content": f"Fact {n} of user {u} is about hiking"} for u in range(4)
            ],
            "user_id": f"user-{n % 7}",
            "metadata": {"n": n},
            "infer": False,
        }
        answer = service.client.post("/v1/memories", json=body).json()
        id = answer["results"][0]["id"]
        if n % 3 == 0:
            service.client.put(f"/v1/memories/{id}", json={"memory": f"Fact {n} has changed"})
        if n % 5 == 0:
            service.client.delete(f"/v1/memories/{id}")
    for name in ("Google", "Paris", "Ann"):
        message = {"role": "user", "content": f"I love {name}"}
        body = {"messages": [message], "user_id": "user-1", "extract_graph": True}
        assert service.client.post("/v1/memories", json=body).json()["results"]
    eventually(lambda: settled(service.client))
    return service.worker.cells.of("default")


@pytest.mark.parametrize("name", ALL)
def test_a_replay_gives_the_same_rows(service: Service, filled: Cell, name: str) -> None:
    with psycopg.connect(filled.conninfo, autocommit=True) as conn:
        before = checksum(conn, name)
        replayed(service, name)
        assert checksum(conn, name) == before


class Busy:
    """Searches and writes that go on until told to stop, and whatever went wrong with them."""

    def __init__(self, service: Service, user: str) -> None:
        self.wrong: list[str] = []
        self.written: list[str] = []
        self.searches = 0
        self._over = threading.Event()
        self._service = service
        self._user = user
        self._threads = [threading.Thread(target=self._search), threading.Thread(target=self._write)]

    def __enter__(self) -> "Busy":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _search(self) -> None:
        body = {"query": "hiking or flights", "user_id": self._user, "limit": 60}
        with client_of(self._service.url, KEY) as client:
            while not self._over.is_set():
                answer = client.post("/v1/search", json=body)
                self.searches += 1
                if answer.status_code != 200 or len(answer.json()["results"]) != 60:
                    self.wrong.append(answer.text[:200])

    def _write(self) -> None:
        with client_of(self._service.url, KEY) as client:
            while not self._over.is_set():
                text = f"Written during the replay: {len(self.written)}"
                self.written.append(add(client, text, f"{self._user}-writer"))


def test_reads_and_writes_go_on_during_a_replay_and_no_search_fails_or_is_empty(
    service: Service, filled: Cell
) -> None:
    with Busy(service, "user-1") as busy:
        for name in ALL:
            replayed(service, name)
    assert busy.searches
    assert not busy.wrong
    listed = service.client.get("/v1/memories", params={"user_id": "user-1-writer", "limit": 1000}).json()
    assert [memory["id"] for memory in listed["results"]] == busy.written[::-1][:1000]
    _replays_alike(service, filled)


@pytest.mark.slow
def test_a_replay_of_20_000_events_under_load(service: Service, filled: Cell) -> None:
    fill(filled, 20_000, "default")
    eventually(lambda: settled(service.client))
    with Busy(service, "user-1") as busy:
        for name in ALL:
            replayed(service, name)
    assert busy.searches > 20
    assert not busy.wrong
    _replays_alike(service, filled)


def _replays_alike(service: Service, cell: Cell) -> None:
    eventually(lambda: settled(service.client))
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        before = {name: checksum(conn, name) for name in ALL}
        for name in ALL:
            replayed(service, name)
        assert {name: checksum(conn, name) for name in ALL} == before


def test_a_rollback_brings_the_build_before_back_up_to_date(service: Service, filled: Cell) -> None:
    with psycopg.connect(filled.conninfo, autocommit=True) as conn:
        replayed(service, "memories")
        old, new = (b.version for b in builds(conn, "memories"))
        id = add(service.client, "Written after the replay", "back")
        assert rebuild.roll_back(filled, ALL["memories"]) == old
        assert {b.version: b.state for b in builds(conn, "memories")} == {old: "live", new: "retired"}
        listed = service.client.get("/v1/memories", params={"user_id": "back"}).json()
        assert [memory["id"] for memory in listed["results"]] == [id]


def test_a_replay_that_was_cut_off_is_taken_up_again_without_anyone_asking(
    service: Service, filled: Cell
) -> None:
    with psycopg.connect(filled.conninfo, autocommit=True) as conn:
        # What a worker leaves behind that was killed in the middle: a registered build and half its table.
        version = rebuild.begin(conn, "history", None)
        conn.execute(f"CREATE TABLE history_v{version} (half int)")
        eventually(lambda: next(b for b in builds(conn, "history") if b.version == version).state == "live")


def test_an_unknown_projection_is_named(service: Service) -> None:
    with pytest.raises(SettingsError, match="there are memories, search, history"):
        replayed(service, "nothing")
