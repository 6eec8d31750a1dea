"""Ways to undo by the native API."""

from typing import Any

import httpx


def revert(client: httpx.Client, **what: Any) -> dict[str, Any]:
    """Undo something, unless told to run dry; the answer."""
    answer = client.post("/v1/reverts", json={"dry_run": False, **what})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told
