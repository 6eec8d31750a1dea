"""Ways to add memories by the native API, and to ask about them."""

from typing import Any

import httpx


def explain(client: httpx.Client, id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/memories/{id}/explain")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def texts(client: httpx.Client, user: str) -> set[str]:
    listed = client.get("/v1/memories", params={"user_id": user}).json()["results"]
    return {memory["memory"] for memory in listed}


def last_change(client: httpx.Client, id: str) -> dict[str, Any]:
    entry: dict[str, Any] = client.get(f"/v1/memories/{id}/history").json()["history"][0]
    return entry


def add(client: httpx.Client, text: str, user: str, **more: Any) -> str:
    """Add one memory as it is; its id."""
    body = {"messages": [{"role": "user", "content": text}], "user_id": user, "infer": False, **more}
    answer = client.post("/v1/memories", json=body)
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["results"][0]["id"]
    return id
