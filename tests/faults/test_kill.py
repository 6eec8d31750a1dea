"""`serve` as an operator runs it, and kill -9 of each of its parts under load."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.support.processes import KEY, Served
from tests.support.sandboxes import share
from tests.support.service import client_of, eventually, free_port


@pytest.fixture(scope="module")
def served(folder: Path, compiled: Path) -> Iterator[Served]:
    share(compiled, folder / "served")
    served = Served(folder / "served")
    yield served
    served.stop()


class Load(threading.Thread):
    """Adds, updates and reads without pause, and remembers what was acknowledged."""

    def __init__(self, url: str, user: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._user = user
        self.over = threading.Event()
        self.added: dict[str, str] = {}
        self.updated: dict[str, int] = {}

    def run(self) -> None:
        number = 0
        with client_of(self._url, KEY) as client:
            while not self.over.is_set():
                number += 1
                try:
                    self._step(client, number)
                except httpx.TransportError:
                    time.sleep(0.02)  # what a client does before it tries again

    def _step(self, client: httpx.Client, number: int) -> None:
        text = f"{self._user} says fact {number}"
        body = {"messages": [{"role": "user", "content": text}], "user_id": self._user, "infer": False}
        answer = client.post("/v1/memories", json=body, headers={"Idempotency-Key": f"{self._user}-{number}"})
        if answer.status_code != 201:
            assert answer.status_code == 503, answer.text
            return
        id = answer.json()["results"][0]["id"]
        self.added[id] = text
        answer = client.put(f"/v1/memories/{id}", json={"metadata": {"n": number}})
        if answer.status_code == 200:
            self.updated[id] = number


class Talk(Load):
    """Sends conversations without pause, and remembers which were acknowledged."""

    def __init__(self, url: str, user: str) -> None:
        super().__init__(url, user)
        self.taken: dict[str, str] = {}

    def _step(self, client: httpx.Client, number: int) -> None:
        body = {"messages": [{"role": "user", "content": f"I love band{number}"}], "user_id": self._user}
        # Half of them do not wait for their extraction, so that some wait whenever something dies.
        headers = {"Prefer": "respond-async"} if number % 2 else {}
        answer = client.post("/v1/memories", json=body, headers=headers)
        if answer.status_code == 503:
            return
        assert answer.status_code in (201, 202), answer.text
        self.taken[answer.json()["ingestion_id"]] = f"User loves band{number}"


PARTS = ["api", "worker", "postgres", "valkey"]


@contextmanager
def under_load(served: Served, name: str) -> Iterator[list[Load]]:
    """In the end no write that was acknowledged is lost, and none was done twice."""
    loads = [Load(served.url, f"{name}-{n}") for n in range(3)]
    talk = Talk(served.url, f"{name}-talk")
    for load in (*loads, talk):
        load.start()
    eventually(lambda: all(len(load.updated) > 20 for load in loads))
    yield loads
    for load in (*loads, talk):
        load.over.set()
    for load in (*loads, talk):
        load.join()
    with client_of(served.url, KEY) as client:
        eventually(lambda: _caught_up(client))
        for load in loads:
            _holds_all(client, load)
        _extracted_once(client, talk)


def kill(served: Served, part: str, loads: list[Load]) -> None:
    """`kill -9` a part that runs; until the work goes on."""
    before = [len(load.updated) for load in loads]
    eventually(lambda: served.pids(part))
    for pid in served.pids(part):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(len(load.updated) > n + 20 for load, n in zip(loads, before, strict=True)))


@pytest.mark.parametrize("part", PARTS)
def test_kill_9_under_load_loses_no_acknowledged_write_and_repeats_none(served: Served, part: str) -> None:
    with under_load(served, part) as loads:
        kill(served, part, loads)


@pytest.mark.slow
def test_kills_of_any_parts_at_any_moments_lose_nothing_either(served: Served, chance: Random) -> None:
    with under_load(served, "any") as loads:
        for _ in range(20):
            part, pause = chance.choice(PARTS), chance.uniform(0, 1)
            print(f"{part} after {pause:.3f} s")
            time.sleep(pause)
            kill(served, part, loads)


def _extracted_once(client: httpx.Client, talk: Talk) -> None:
    """Every conversation that was taken is extracted, and each of its facts is there once."""
    assert talk.taken
    waiting = {"user_id": talk._user, "status": "waiting"}
    eventually(lambda: not client.get("/v1/ingestions", params=waiting).json()["results"])
    texts = [
        memory["memory"] for offset in range(0, 5000, 1000) for memory in _page(client, talk._user, offset)
    ]
    assert len(texts) == len(set(texts))
    assert set(talk.taken.values()) <= set(texts)


def _caught_up(client: httpx.Client) -> bool:
    try:
        answer = client.get("/v1/status")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and all(
        p["lag"] == 0 and p["vectors_waiting"] == 0 for p in answer.json()["projections"]
    )


def _holds_all(client: httpx.Client, load: Load) -> None:
    user = load._user
    listed: list[dict[str, Any]] = []
    while len(page := _page(client, user, len(listed))) > 0:
        listed += page
    ids = [memory["id"] for memory in listed]
    assert len(ids) == len(set(ids))
    held = {memory["id"]: memory for memory in listed}
    texts = [memory["memory"] for memory in listed]
    assert len(texts) == len(set(texts)), "something was done twice"
    for id, text in load.added.items():
        assert held[id]["memory"] == text
    for id, number in load.updated.items():
        assert held[id]["metadata"] == {"n": number}
    for id in list(load.updated)[-10:]:
        history = client.get(f"/v1/memories/{id}/history").json()["history"]
        assert [entry["event"] for entry in history] == ["UPDATE", "ADD"]
        body = {"query": load.added[id], "user_id": user, "limit": 1, "mode": "keyword"}
        assert id in {
            hit["id"] for hit in client.post("/v1/search", json={**body, "limit": 100}).json()["results"]
        }


def _page(client: httpx.Client, user: str, offset: int) -> list[dict[str, Any]]:
    answer = client.get("/v1/memories", params={"user_id": user, "limit": 1000, "offset": offset})
    assert answer.status_code == 200, answer.text
    page: list[dict[str, Any]] = answer.json()["results"]
    return page


def test_after_a_kill_9_of_the_supervisor_nothing_is_left_running_and_a_new_start_has_it_all(
    served: Served,
) -> None:
    with client_of(served.url, KEY) as client:
        body = {"messages": [{"role": "user", "content": "kept"}], "user_id": "supervisor", "infer": False}
        id = client.post("/v1/memories", json=body).json()["results"][0]["id"]
    pids = [pid for part in ("api", "worker", "postgres", "valkey") for pid in served.pids(part)]
    assert len(pids) >= 4
    served.process.kill()
    served.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))
    served.output.write_text("")
    served.start()
    with client_of(served.url, KEY) as client:
        assert client.get(f"/v1/memories/{id}").json()["memory"] == "kept"


def test_a_second_serve_on_the_same_data_says_so(served: Served) -> None:
    command = [sys.executable, "-m", "runtime.cli", "serve", "--port", str(free_port())]
    env = os.environ | {"EVERLOG_DATA_DIR": str(served.data_dir)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "already running" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_before_anything_starts(served: Served, folder: Path) -> None:
    command = [sys.executable, "-m", "runtime.cli", "serve", "--port", str(served.port)]
    env = os.environ | {"EVERLOG_DATA_DIR": str(folder / "unused")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "EVERLOG_PORT" in done.stderr
    assert not (folder / "unused").exists()


def test_the_other_commands_find_the_running_service(served: Served) -> None:
    def everlog(*arguments: str) -> Any:
        command = [
            sys.executable,
            "-m",
            "runtime.cli",
            *arguments,
            "--json",
            "--data-dir",
            str(served.data_dir),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = everlog("keys", "create", "--name", "laptop", "--owner", "acme", "--scopes", "read,write")
    assert made.keys() == {"id", "key", "owner"}
    with client_of(served.url, made["key"]) as client:
        body = {"messages": [{"role": "user", "content": "I love hiking"}]}
        id = client.post("/v1/memories", json=body).json()["results"][0]["id"]
    assert made["id"] in {key["id"] for key in everlog("keys", "list", "--owner", "acme")}
    assert made["key"] not in json.dumps(everlog("keys", "list"))
    assert everlog("history", id)["history"][0]["memory"] == "User loves hiking"
    assert everlog("replay", "memories")["projections"][0]["name"] == "memories"
    assert everlog("status")["everlog"]["head"] > 0
    assert {finding["state"] for finding in everlog("doctor")} <= {"ok", "off"}
    assert everlog("keys", "revoke", made["id"])["revoked_at"]
