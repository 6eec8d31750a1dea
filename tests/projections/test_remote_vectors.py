"""Vectors of a model behind an endpoint: made by jobs, right behind the rows, each text asked for once."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import psycopg
import pytest

from projections import vectors
from projections.catalogue import builds
from projections.search import SEARCH
from runtime.commands.replay import replay
from runtime.settings import Settings
from tests.support.endpoint import Answer, Endpoint
from tests.support.ingestions import tell
from tests.support.memories import add
from tests.support.service import Service, eventually, free_port, serving
from workers import recall


class Model:
    """An endpoint that keeps the texts with `slow` in them waiting, and takes none with `unspeakable`."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.endpoint = Endpoint(self._answer)

    def asked_for(self, word: str) -> int:
        return sum(any(word in text for text in body["input"]) for body in self.endpoint.asked)

    def _answer(self, body: dict[str, Any]) -> Answer:
        texts = body["input"]
        if any("slow" in text for text in texts):
            self.released.wait(60)
        if any("unspeakable" in text for text in texts):
            return 400, {"error": {"message": "this text is not allowed"}}
        rows = [
            {"index": n, "object": "embedding", "embedding": np.eye(5)[0].tolist()} for n in range(len(texts))
        ]
        return 200, {"object": "list", "model": body["model"], "data": rows, "usage": {}}


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.released.set()
    model.endpoint.close()


@pytest.fixture
def service(model: Model, new_database: Callable[[], str], redis_url: str, folder: Path) -> Iterator[Service]:
    settings = Settings(
        database_url=new_database(),
        redis_url=redis_url,
        data_dir=str(folder / uuid4().hex),
        port=free_port(),
        embedding_model=f"model-of-{uuid4().hex}",  # a process has one embedder of a name
        openai_base_url=model.endpoint.url,
        openai_api_key="k",
        extractor="rules",
    )
    with serving(settings) as running:
        yield running


def has_vector(service: Service, memory_id: str) -> bool:
    with psycopg.connect(service.worker.cells.of("default").conninfo) as conn:
        (build,) = [build for build in builds(conn, SEARCH.name) if build.state == "live"]
        return (
            conn.execute(
                f"SELECT 1 FROM {build.table} WHERE memory_id = %s AND embedding IS NOT NULL",
                (memory_id.removeprefix("mem_"),),
            ).fetchone()
            is not None
        )


def waiting(service: Service) -> int:
    return sum(p["vectors_waiting"] for p in service.client.get("/v1/status").json()["projections"])


def test_a_new_text_does_not_wait_for_the_one_that_the_model_is_at(
    service: Service, model: Model, user: str
) -> None:
    slow = add(service.client, "a slow text", user)
    eventually(lambda: model.asked_for("slow"))
    quick = add(service.client, "a quick text", user)
    eventually(lambda: has_vector(service, quick))
    assert not has_vector(service, slow)
    model.released.set()
    eventually(lambda: has_vector(service, slow))
    assert model.asked_for("slow") == 1


def test_texts_gather_for_one_request_while_all_threads_wait_for_the_model(
    service: Service, model: Model, user: str
) -> None:
    for number in range(service.settings.worker_threads):
        add(service.client, f"slow text {number}", user)
        eventually(lambda number=number: model.asked_for(f"slow text {number}"))  # type: ignore[misc]
    gathered = [add(service.client, f"text {number}", user) for number in range(20)]
    eventually(lambda: service.client.get("/v1/status").json()["projections"][-1]["lag"] == 0)
    model.released.set()
    eventually(lambda: all(has_vector(service, id) for id in gathered))
    assert len(model.endpoint.asked) <= 8, "a worker takes two jobs a thread ahead of time"


def test_a_new_text_goes_before_the_many_that_somebody_else_has_brought(
    service: Service, model: Model, user: str
) -> None:
    for start in range(0, 2_000, 100):
        messages = [{"role": "user", "content": f"slow text {start + n}"} for n in range(100)]
        body = {"messages": messages, "user_id": "importer", "infer": False}
        assert service.client.post("/v1/memories", json=body).status_code == 201
    eventually(lambda: model.asked_for("slow") >= service.settings.worker_threads)
    new = add(service.client, "a new text", user)
    model.released.set()
    eventually(lambda: has_vector(service, new))
    eventually(lambda: not waiting(service))
    order = ["a new text" in body["input"] for body in model.endpoint.asked]
    assert len(order) > 25
    assert order.index(True) < 12, "behind the jobs that were taken already"


def test_a_text_that_the_model_refuses_is_asked_for_once_and_again_by_a_replay(
    service: Service, model: Model, user: str
) -> None:
    refused = add(service.client, "an unspeakable text", user)
    eventually(lambda: model.asked_for("unspeakable") and not waiting(service))
    other = add(service.client, "another text", user)
    eventually(lambda: has_vector(service, other))
    assert model.asked_for("unspeakable") == 1
    body = {"query": "text", "user_id": user, "mode": "keyword"}
    found = {hit["id"] for hit in service.client.post("/v1/search", json=body).json()["results"]}
    assert found == {refused, other}, "its words find it"
    replay(msgspec.structs.replace(service.settings), "search", roll_back=False, as_json=True)
    assert model.asked_for("unspeakable") == 2
    assert not waiting(service)
    with psycopg.connect(service.worker.cells.of("default").conninfo) as conn:
        (live,) = [build for build in builds(conn, SEARCH.name) if build.state == "live"]
        assert not SEARCH.waiting(conn, live, 10)
        vectors.forget_refusals(conn, live.model or "")
        assert [row.id.hex for row in SEARCH.waiting(conn, live, 10)] == [refused.removeprefix("mem_")]


# --- deciding behind vectors ------------------------------------------------------------------------


def test_no_extraction_waits_for_a_vector_that_the_model_has_refused(
    service: Service, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "VECTOR_SECONDS", 1_000.0)
    add(service.client, "an unspeakable text", user)
    assert tell(service.client, user, "I live in Bern")["status"] == "extracted"


def test_nobody_waits_for_the_vectors_of_another_user(
    service: Service, model: Model, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "VECTOR_SECONDS", 1_000.0)
    monkeypatch.setattr(recall, "BEHIND_SECONDS", 1_000.0)
    add(service.client, "a slow text", user)
    eventually(lambda: model.asked_for("slow"))  # and so one of the two threads that take jobs is busy
    kept = service.client.post(
        "/v1/memories",
        json={"messages": [{"role": "user", "content": "I live in Rome"}], "user_id": user},
        headers={"Prefer": "respond-async"},
    ).json()["ingestion_id"]
    assert tell(service.client, f"{user}-other", "I live in Bern")["status"] == "extracted"
    assert service.client.get(f"/v1/ingestions/{kept}").json()["status"] == "waiting"
    model.released.set()
    eventually(lambda: service.client.get(f"/v1/ingestions/{kept}").json()["status"] == "extracted")
