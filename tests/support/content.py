"""Ways to upload documents as Khoj's clients do, and to search in them."""

from typing import Any

import httpx

Json = dict[str, Any]


def parts(*files: tuple[str, bytes | str] | tuple[str, bytes | str, str]) -> list[tuple[str, Any]]:
    return [("files", file) for file in files]


def sent(client: httpx.Client, *files: Any, method: str = "PATCH", **params: str) -> Json:
    answer = client.request(
        method, "/api/content", params={"client": "web", "t": "all", **params}, files=parts(*files)
    )
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def found(client: httpx.Client, q: str, **params: Any) -> list[Json]:
    answer = client.get("/api/search", params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    hits: list[Json] = answer.json()
    return hits
