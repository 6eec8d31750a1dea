"""Ways to speak MemoryStack's dialect."""

from typing import Any
from uuid import uuid4

import httpx

from domain.key import ALL_SCOPES, Terms
from tests.support.service import Service, client_of


def make_client(service: Service, terms: Terms) -> httpx.Client:
    secret = f"key-{uuid4().hex}"
    service.worker.cells.create_key(secret, "memorystack", "default", ALL_SCOPES, terms)
    return client_of(service.url, secret)


def add(client: httpx.Client, said: str, user: str | None, **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": said}], "user_id": user, **more}
    (id,) = client.post("/api/v1/memories", json=body).json()["memory_ids"]
    return str(id)


def listed(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = client.get("/api/v1/memories", params=params).json()["results"]
    return results
