"""Ways to speak mem0's dialect."""

from typing import Any

import httpx

from tests.support.service import Service

SAID = [{"role": "user", "content": "I love hiking"}]


def client_of(service: Service, key: str) -> httpx.Client:
    headers = {"Authorization": f"Token {key}"}
    return httpx.Client(base_url=f"{service.url}/mem0", headers=headers, timeout=30)


def kept(mem0: httpx.Client, user: str, text: str = "User loves hiking", **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": text}], "user_id": user, "infer": False, **more}
    answer = mem0.post("/v3/memories/add/", json=body)
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["results"][0]["id"]
    return id


def listed(mem0: httpx.Client, user: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = mem0.post("/v3/memories/", json={"filters": {"user_id": user}}).json()[
        "results"
    ]
    return found
