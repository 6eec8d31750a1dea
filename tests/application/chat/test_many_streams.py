"""Many streams at once: none mixed with another, none lost, and the process no larger for it.

The long form (`-m slow`) runs `everlog api` as a process of its own and reads its resident memory from
/proc/PID/status once a second.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import msgspec
import pytest

from domain.key import ALL_SCOPES
from runtime.composition import worker_of
from runtime.servers.processes import start, stop
from runtime.settings import Settings, variable_of
from tests.support.chat import history
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.service import KEY, OTHER_KEY, Service, client_of, eventually, free_port

Json = dict[str, Any]
STREAMS = 50
MARKER = re.compile(r"marker-[0-9a-f]+")
WARM_SECONDS = 15
"""After which the process has all its threads, connections and caches."""
GROWTH_KB = 25_000
"""Less than half a megabyte a stream, were it all kept; the noise of the allocator is some megabytes."""


class Murmuring(ScriptedChat):
    """Says the marker of the question again and again, a small piece at a time."""

    pause = 0.05
    pieces = 20

    def _handler(self) -> Any:
        usual = super()._handler()

        def write(handler: Any, event: bytes, byte_wise: bool) -> None:
            self.closed.wait(self.pause)
            usual._write(handler, event, byte_wise)

        return type("Handler", (usual,), {"_write": write})

    def murmur(self, body: Json) -> Scripted:
        *_, marker = MARKER.findall(body["messages"][-1]["content"])
        return Scripted(pieces=[f"{marker}:{number} " for number in range(self.pieces)])


@pytest.fixture(scope="module")
def model() -> Iterator[Murmuring]:
    murmuring = Murmuring()
    yield murmuring
    murmuring.close()


@pytest.fixture(autouse=True)
def rested(model: Murmuring) -> None:
    model.reply, model.answers = model.murmur, []
    model.asked.clear()
    model.pause, model.pieces = Murmuring.pause, Murmuring.pieces


class Said(NamedTuple):
    """One stream, as it came."""

    marker: str
    key: str
    conversation: str
    text: str
    types: list[str]


async def stream(client: httpx.AsyncClient, key: str, marker: str, **more: Any) -> Said:
    body = {"q": f"Say {marker}", **more}
    events: list[Json] = []
    headers = {"Authorization": f"Bearer {key}"}
    async with client.stream("POST", "/api/chat", json=body, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            events.append(json.loads(line))  # noqa: PERF401 - a comprehension hides what came before a failure
    text = "".join(event["data"] for event in events if event["type"] == "message")
    conversation = events[0]["data"]["conversationId"]
    return Said(marker, key, conversation, text, [event["type"] for event in events])


async def streams(url: str, rounds: int = 1) -> list[Said]:
    """STREAMS at once, each followed by the next until there were `rounds`; of two owners, in turn."""
    limits = httpx.Limits(max_connections=STREAMS, max_keepalive_connections=STREAMS)

    async def one_by_one(key: str) -> list[Said]:
        return [await stream(client, key, f"marker-{uuid4().hex}") for _ in range(rounds)]

    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        keys = [(KEY, OTHER_KEY)[number % 2] for number in range(STREAMS)]
        return [said for each in await asyncio.gather(*map(one_by_one, keys)) for said in each]


def assert_whole_and_unmixed(url: str, model: Murmuring, said: list[Said]) -> None:
    """Each stream has its own text and all of it, and so has its conversation afterwards."""
    assert len({each.conversation for each in said}) == len(said) == len(model.asked)
    with client_of(url, KEY) as client, client_of(url, OTHER_KEY) as other:
        for each in said:
            whole = "".join(f"{each.marker}:{number} " for number in range(model.pieces))
            assert each.text == whole
            assert each.types[0] == "metadata"
            assert each.types[-1] == "end_response"
            assert "error" not in each.types
            mine, theirs = (client, other) if each.key == KEY else (other, client)
            kept = [message["message"] for message in history(mine, each.conversation)]
            assert kept == [f"Say {each.marker}", whole]
        refused = theirs.get("/api/chat/history", params={"conversation_id": said[-1].conversation})
        assert refused.status_code == 404


def test_fifty_streams_at_once_are_whole_and_unmixed(service: Service, model: Murmuring) -> None:
    said = asyncio.run(streams(service.url))
    assert_whole_and_unmixed(service.url, model, said)


def test_streams_that_are_left_in_the_middle_take_no_others_with_them(
    service: Service, model: Murmuring
) -> None:
    async def leave(client: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        body = {"q": f"Say marker-{uuid4().hex}"}
        async with client.stream("POST", "/api/chat", json=body, headers=headers) as answer:
            async for line in answer.aiter_lines():
                if '"message"' in line:
                    return

    async def both() -> list[Said]:
        async with httpx.AsyncClient(base_url=service.url, timeout=120) as client:
            leaving = [asyncio.create_task(leave(client)) for _ in range(10)]
            said = await streams(service.url)
            await asyncio.gather(*leaving)
            return said

    said = asyncio.run(both())
    eventually(lambda: model.disconnected == 10)
    model.asked = [body for body in model.asked if any(s.marker in str(body) for s in said)]
    assert_whole_and_unmixed(service.url, model, said)


def test_one_conversation_that_is_asked_from_many_sides_keeps_every_turn(
    service: Service, model: Murmuring
) -> None:
    model.pieces, model.pause = 5, 0.02

    async def asked() -> tuple[str, list[Said]]:
        async with httpx.AsyncClient(base_url=service.url, timeout=120) as client:
            first = await stream(client, KEY, f"marker-{uuid4().hex}")
            id = first.conversation
            more = [stream(client, KEY, f"marker-{uuid4().hex}", conversation_id=id) for _ in range(10)]
            return id, [first, *await asyncio.gather(*more)]

    id, said = asyncio.run(asked())
    assert {each.conversation for each in said} == {id}
    kept = [message["message"] for message in history(service.client, id)]
    turns = set(zip(kept[::2], kept[1::2], strict=True))
    assert turns == {(f"Say {each.marker}", each.text) for each in said}
    for each in said:
        assert each.text == "".join(f"{each.marker}:{number} " for number in range(model.pieces))


# --- for a minute -----------------------------------------------------------------------------------------


class Process(NamedTuple):
    url: str
    pid: int

    def resident_kb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]


@pytest.fixture
def process(
    new_database: Callable[[], str], redis_url: str, folder: Path, model: Murmuring
) -> Iterator[Process]:
    """`everlog api` as it is run by `everlog serve`."""
    settings = model.settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    with _worked(settings), _run(settings) as pid:
        url = f"http://127.0.0.1:{settings.port}"
        with client_of(url, KEY) as client:
            eventually(lambda: _is_ready(client))
        yield Process(url, pid)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize(
    ("rounds", "pieces", "pause"), [(1, 300, 0.2), (20, 20, 0.1)], ids=["long streams", "one after another"]
)
def test_fifty_streams_for_a_minute_leave_the_process_as_large_as_it_was(
    process: Process, model: Murmuring, rounds: int, pieces: int, pause: float
) -> None:
    model.pieces, model.pause = pieces, pause
    sizes: list[int] = []

    async def measure() -> None:
        while True:
            sizes.append(process.resident_kb())
            await asyncio.sleep(1)

    async def measured() -> list[Said]:
        measuring = asyncio.create_task(measure())
        try:
            return await streams(process.url, rounds)
        finally:
            measuring.cancel()

    said = asyncio.run(measured())
    print("resident memory of the API, kB, once a second:", sizes)
    assert_whole_and_unmixed(process.url, model, said)
    assert len(sizes) > 2 * WARM_SECONDS
    assert max(sizes[WARM_SECONDS:]) - sizes[WARM_SECONDS] < GROWTH_KB


@contextmanager
def _worked(settings: Settings) -> Iterator[None]:
    worker = worker_of(settings)
    for key, owner in ((KEY, "default"), (OTHER_KEY, "another")):
        worker.cells.create_key(key, "test", owner, ALL_SCOPES)
    worker.start()
    yield
    worker.stop()


@contextmanager
def _run(settings: Settings) -> Iterator[int]:
    values = {variable_of(name): value for name, value in msgspec.structs.asdict(settings).items()}
    env = os.environ | {name: str(value) for name, value in values.items() if value is not None}
    process = start([sys.executable, "-m", "runtime.cli", "api"], env=env)
    yield process.pid
    stop(process, signal.SIGTERM, 5)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False
