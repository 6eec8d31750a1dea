"""One damaged event costs that event: all else is answered, and its position is told."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from domain.eventstore.cells import connection_string
from runtime.settings import Settings
from tests.support.memories import add, texts
from tests.support.problems import is_problem
from tests.support.service import Service, eventually, free_port, serving

FLIP = "UPDATE events SET payload = set_byte(payload, 30, get_byte(payload, 30) # 1) WHERE position = %s"


@pytest.fixture(scope="module")
def service(new_database: Callable[[], str], redis_url: str, folder: Path) -> Iterator[Service]:
    """A service of the module's own, whose log will be damaged."""
    settings = Settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    with serving(settings) as running:
        yield running


@pytest.fixture(scope="module")
def position(service: Service) -> int:
    """Of a memory's change; a byte of it is another one now."""
    id = add(service.client, "likes tea", "ann")
    changed = service.client.put(f"/v1/memories/{id}", json={"memory": "likes coffee"})
    add(service.client, "likes hiking", "ann")
    eventually(lambda: texts(service.client, "ann") == {"likes coffee", "likes hiking"})
    position = int(changed.headers["Everlog-Position"])
    with psycopg.connect(connection_string(service.settings.database_url or "", "everlog")) as conn:
        conn.execute(FLIP, (position,))
    return position


def test_pages_of_the_log_have_all_others_and_name_it(client: httpx.Client, position: int) -> None:
    events = client.get("/v1/events", params={"limit": 1_000}).json()["results"]
    damaged = [event for event in events if "damaged" in event]
    assert [(event["position"], event["data"], event["damaged"]) for event in damaged] == [
        (position, None, True)
    ]
    assert damaged[0]["type"] == "memory.updated.v1"
    assert len(events) > 3


def test_what_is_made_of_it_is_an_error_that_names_it(client: httpx.Client, position: int) -> None:
    events = client.get("/v1/events", params={"limit": 1_000}).json()["results"]
    stream = next(event["stream_id"] for event in events if event["position"] == position)
    answer = client.get(f"/v1/memories/mem_{stream.replace('-', '')}")
    is_problem(answer, 500)
    assert answer.json()["type"].endswith(":damaged")
    assert f"position {position} " in answer.json()["detail"]


def test_all_else_goes_on(client: httpx.Client, position: int) -> None:
    assert texts(client, "ann") == {"likes coffee", "likes hiking"}
    other = add(client, "likes chess", "ann")
    assert client.get(f"/v1/memories/{other}").json()["memory"] == "likes chess"
    eventually(lambda: texts(client, "ann") == {"likes coffee", "likes hiking", "likes chess"})


def test_the_worker_finds_it_by_itself(client: httpx.Client, service: Service, position: int) -> None:
    for follower in service.worker._followers:
        if follower.name.endswith("-tree"):
            follower._check_due = 0.0  # type: ignore[attr-defined]  # else in ten minutes
    add(client, "likes sailing", "ann")
    eventually(lambda: client.get("/v1/status").json()["log"]["fault"])
    assert client.get("/v1/status").json()["log"]["fault"].startswith(f"position {position}: ")
