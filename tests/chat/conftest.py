"""A running service whose chats talk with a scripted model, and ways to ask it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.chat.model import ScriptedChat
from tests.conftest import Service, eventually, free_port, serving

Json = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedChat]:
    scripted = ScriptedChat()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def service(
    new_database: Callable[[], str], redis_url: str, folder: Path, model: ScriptedChat
) -> Iterator[Service]:
    """As everywhere, with a chat model."""
    settings = model.settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    with serving(settings) as running:
        yield running


@pytest.fixture(autouse=True)
def rested(model: ScriptedChat) -> None:
    """Each test scripts the model anew."""
    model.reply, model.answers = "Hello", []
    model.asked.clear()


def ask(client: httpx.Client, q: str, **more: Any) -> Json:
    """A question, and its answer whole."""
    answer = client.post("/api/chat", json={"q": q, "stream": False, **more})
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def streamed(client: httpx.Client, q: str, **more: Any) -> list[Json]:
    """A question, and all that its stream tells, an object a line."""
    with client.stream("POST", "/api/chat", json={"q": q, "stream": True, **more}) as answer:
        assert answer.status_code == 200
        return [json.loads(line) for line in answer.iter_lines()]


def history(client: httpx.Client, conversation_id: str, **more: Any) -> list[Json]:
    """The messages of a conversation."""
    answer = client.get("/api/chat/history", params={"conversation_id": conversation_id, **more})
    assert answer.status_code == 200, answer.text
    messages: list[Json] = answer.json()["response"]["chat"]
    return messages


def learnt(client: httpx.Client) -> None:
    """Wait until every conversation so far was learnt from."""
    eventually(lambda: not client.get("/v1/ingestions", params={"status": "waiting"}).json()["results"])
