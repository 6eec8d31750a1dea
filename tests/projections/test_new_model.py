"""Changing the embedding model is a replay: the old model answers until the new vectors are there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import psycopg
import pytest

from projections.catalogue import builds
from projections.search import SEARCH
from runtime.commands.replay import replay
from runtime.settings import Settings
from tests.support.endpoint import Endpoint
from tests.support.memories import add
from tests.support.service import Service, free_port, serving


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A model of 7 dimensions that tells what has an `e` in it from what has not, and refuses one word."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if any("unspeakable" in text for text in body["input"]):
            return 400, {"error": {"message": "this text is not allowed"}}
        vectors = [np.eye(7)[0 if "e" in text else 1].tolist() for text in body["input"]]
        rows = [{"index": n, "object": "embedding", "embedding": v} for n, v in enumerate(vectors)]
        return 200, {"object": "list", "model": body["model"], "data": rows, "usage": {}}

    endpoint = Endpoint(answer)
    yield endpoint
    endpoint.server.shutdown()


@pytest.fixture
def service(
    endpoint: Endpoint, new_database: Callable[[], str], redis_url: str, folder: Path
) -> Iterator[Service]:
    """API and worker know the endpoint, and embed locally until a replay says otherwise."""
    settings = Settings(
        database_url=new_database(),
        redis_url=redis_url,
        data_dir=str(folder / uuid4().hex),
        port=free_port(),
        openai_base_url=endpoint.url,
        openai_api_key="k",
        extractor="rules",
    )
    with serving(settings) as running:
        yield running


def test_a_replay_to_another_model_of_other_dimensions(
    service: Service, endpoint: Endpoint, user: str
) -> None:
    without, with_e = add(service.client, "fog turns into rain", user), add(service.client, "tea", user)
    changed = msgspec.structs.replace(service.settings, embedding_model="tiny")
    refused = add(service.client, "unspeakable", user)
    before = service.client.post("/v1/search", json={"query": "weather", "user_id": user, "mode": "vector"})
    assert before.json()["results"][0]["id"] == without
    replay(changed, "search", roll_back=False, as_json=True)
    with psycopg.connect(service.worker.cells.of("default").conninfo) as conn:
        live = next(build for build in builds(conn, SEARCH.name) if build.state == "live")
    assert live.model == "openai/tiny"
    later = add(service.client, "coffee", user)
    assert endpoint.asked
    body = {"query": "e", "user_id": user, "mode": "vector", "threshold": 0.5}
    hits = service.client.post("/v1/search", json=body).json()["results"]
    assert {hit["id"] for hit in hits} == {with_e, later}
    assert without not in {hit["id"] for hit in hits}
    body = {"query": "unspeakable", "user_id": user, "mode": "keyword"}
    assert [hit["id"] for hit in service.client.post("/v1/search", json=body).json()["results"]] == [refused]
