"""Owners take turns: however much one has waiting for a slow model, another's conversation is soon read."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.extraction_model import ScriptedModel
from tests.support.service import Service, eventually, free_port, serving

MODEL_SECONDS = 0.2


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    def slow(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        time.sleep(MODEL_SECONDS)
        return []

    model = ScriptedModel(slow)
    yield model
    model.close()


@pytest.fixture(scope="module")
def service(
    model: ScriptedModel, new_database: Callable[[], str], redis_url: str, folder: Path
) -> Iterator[Service]:
    settings = model.settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex),
        port=free_port(), extractor="model", worker_threads=2,
    )  # fmt: skip
    with serving(settings) as running:
        yield running


def send(client: httpx.Client, user: str, text: str) -> None:
    body = {"messages": [{"role": "user", "content": text}], "user_id": user}
    assert client.post("/v1/memories", json=body, headers={"Prefer": "wait=0"}).status_code == 202


def texts(model: ScriptedModel) -> list[str]:
    return [question["messages"][0]["text"] for question in list(model.read)]


def test_one_owners_long_queue_lets_anothers_conversation_pass(
    service: Service, model: ScriptedModel
) -> None:
    for n in range(30):
        send(service.client, f"user-{n}", f"one of many, {n}")
    eventually(lambda: len(model.read) >= 2)
    send(service.stranger, "ann", "alone")
    before = len(model.read)
    eventually(lambda: "alone" in texts(model))
    # Two are at work by then, two are queued behind them, and one may just have been taken.
    assert texts(model).index("alone") <= before + 5
    eventually(lambda: len(model.read) == 31)
