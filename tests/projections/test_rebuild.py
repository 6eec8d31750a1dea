"""Replay: the same rows as before, beside running reads and writes, with a way back."""

import threading
from typing import Any

import httpx
import psycopg
import pytest

from domain.cells import Cell
from projections import ALL, rebuild
from projections.catalogue import builds
from runtime.settings import SettingsError
from tests.api.test_versions import add
from tests.conftest import Service, eventually


def checksum(conn: psycopg.Connection[Any], name: str) -> str:
    """One hash over all rows of the live build."""
    version = next(b.version for b in builds(conn, name) if b.state == "live")
    row = conn.execute(
        "SELECT count(*) || md5(coalesce(string_agg(r::text, '|' ORDER BY r::text), ''))"
        f" FROM {name}_v{version} r"
    ).fetchone()
    return str(row and row[0])


def settled(client: httpx.Client) -> bool:
    return all(
        p["lag"] == 0 and p["vectors_waiting"] == 0
        for p in client.get("/v1/status").json()["projections"]
        if p["state"] == "live"
    )


def replayed(service: Service, name: str) -> None:
    from runtime.replay import replay

    replay(service.settings, name, roll_back=False, as_json=True)


@pytest.fixture(scope="module")
def filled(service: Service) -> Cell:
    for n in range(300):
        body = {
            "messages": [
                {"role": "user", "content": f"Fact {n} of user {u} is about hiking"} for u in range(4)
            ],
            "user_id": f"user-{n % 7}",
            "metadata": {"n": n},
        }
        answer = service.client.post("/v1/memories", json=body).json()
        id = answer["results"][0]["id"]
        if n % 3 == 0:
            service.client.put(f"/v1/memories/{id}", json={"memory": f"Fact {n} has changed"})
        if n % 5 == 0:
            service.client.delete(f"/v1/memories/{id}")
    eventually(lambda: settled(service.client))
    return service.worker.cells.of("default")


@pytest.mark.parametrize("name", ALL)
def test_a_replay_gives_the_same_rows(service: Service, filled: Cell, name: str) -> None:
    with psycopg.connect(filled.conninfo, autocommit=True) as conn:
        before = checksum(conn, name)
        replayed(service, name)
        assert checksum(conn, name) == before


def test_reads_and_writes_go_on_during_a_replay_and_no_search_fails_or_is_empty(
    service: Service, filled: Cell
) -> None:
    over = threading.Event()
    wrong: list[str] = []
    written: list[str] = []

    def search() -> None:
        with httpx.Client(base_url=service.url, headers=service.client.headers, timeout=30) as client:
            while not over.is_set():
                answer = client.post("/v1/search", json={"query": "hiking", "user_id": "user-1", "limit": 60})
                if answer.status_code != 200 or len(answer.json()["results"]) != 60:
                    wrong.append(answer.text[:200])

    def write() -> None:
        with httpx.Client(base_url=service.url, headers=service.client.headers, timeout=30) as client:
            while not over.is_set():
                written.append(add(client, f"Written during the replay: {len(written)}", "writer"))

    threads = [threading.Thread(target=search), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for name in ALL:
        replayed(service, name)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    listed = service.client.get("/v1/memories", params={"user_id": "writer", "limit": 1000}).json()
    assert [memory["id"] for memory in listed["results"]] == written[::-1]
    with psycopg.connect(filled.conninfo, autocommit=True) as conn:
        eventually(lambda: settled(service.client))
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
