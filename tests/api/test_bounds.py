"""What a request may cost: one that costs more is refused, and the limit is named."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from application import ingestions
from domain.eventstore import cells
from runtime.settings import Settings
from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import free_port, serving


def test_a_read_that_the_database_is_not_done_with_in_time_is_503(
    new_database: Callable[[], str], redis_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "READ_SECONDS", 0.5)
    database, data = new_database(), str(folder / uuid4().hex)
    settings = Settings(database_url=database, redis_url=redis_url, data_dir=data, port=free_port())
    with serving(settings) as service, psycopg.connect(database) as conn:
        id = add(service.client, "x", "ann")
        conn.execute("LOCK TABLE everlog.memories_v1 IN ACCESS EXCLUSIVE MODE")
        for path in ("/v1/memories", "/api/v1/memories", "/memokit/v1/memories"):
            answer = service.client.get(path)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert "was not done" in answer.text
        is_problem(service.client.get("/v1/memories"), 503)
        assert service.client.get("/v1/memories").json()["type"] == "urn:everlog:problem:too-slow"
        conn.rollback()
        conn.execute("LOCK TABLE everlog.events IN ACCESS EXCLUSIVE MODE")
        for path in ("/v1/events", f"/v1/memories/{id}/explain", f"/v1/memories/{id}"):
            assert service.client.get(path).json()["type"] == "urn:everlog:problem:too-slow"
        conn.rollback()
        assert service.client.get("/v1/memories").status_code == 200


def test_more_tags_than_are_looked_for_are_refused(client: httpx.Client) -> None:
    tags = [f"t{n}" for n in range(1_001)]
    for path in ("/v1/search", "/memokit/v1/memories/search"):
        answer = client.post(path, json={"query": "x", "tags": tags})
        assert answer.status_code in (400, 422)
        assert "1000" in answer.text
    listed = client.get("/memokit/v1/memories", params={"tags": ",".join(tags)})
    assert listed.status_code == 400
    assert "1000" in listed.text


def test_a_page_of_ingestions_is_looked_for_among_so_many(
    client: httpx.Client, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestions, "MOST_EVENTS", ingestions.PAGE_EVENTS)
    for n in range(ingestions.PAGE_EVENTS + 5):
        said = {"messages": [{"role": "user", "content": f"I love tea number {n}"}], "user_id": user}
        assert client.post("/v1/memories", json=said).status_code < 300
    wanted = {"user_id": user, "status": "failed"}
    page = client.get("/v1/ingestions", params=wanted).json()
    assert page["results"] == []
    assert page["next_after"]
    after = client.get("/v1/ingestions", params={**wanted, "after": page["next_after"]}).json()
    assert after == {"results": [], "next_after": None}
