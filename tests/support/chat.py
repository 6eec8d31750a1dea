"""Ways to converse with a running service."""

import json
from typing import Any

import httpx

from tests.support.service import eventually

Json = dict[str, Any]


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
