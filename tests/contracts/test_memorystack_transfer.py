"""What import takes of a row, and that an export comes back whole."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.dialects.memorystack.transfer import MAX_IMPORTED
from domain.recorded import now
from tests.support.memorystack import listed
from tests.support.service import Service

LATER = (now().date() + timedelta(days=400)).isoformat()


def bring(client: httpx.Client, *rows: dict[str, Any]) -> httpx.Response:
    return client.post("/api/v1/memories/import", json={"memories": list(rows)})


def test_all_that_a_row_says_is_kept(service: Service, client: httpx.Client, user: str) -> None:
    row = {
        "content": "a b c", "user_id": user, "team_id": "t", "session_id": "s", "conversation_id": "c",
        "agent_name": "bot", "tags": ["x", "y", "x"], "run_id": "r", "expiration_date": f"{LATER}T10:00:00Z",
        "created_at": "2024-01-01", "updated_at": "2024-02-02", "source_type": "voice",
        "mood": {"now": "good"}, "nothing": None, "embedding": [0.1], "similarity": 1, "metadata": {"a": 1},
    }  # fmt: skip
    assert bring(client, row).status_code == 201
    for params in ({"team_id": "t"}, {"session_id": "s"}, {"conversation_id": "c"}, {"agent_id": "bot"}):
        (memory,) = listed(client, user_id=user, **params)
    assert memory["metadata"] == {
        "a": 1, "team_id": "t", "session_id": "s", "conversation_id": "c", "agent_name": "bot",
        "original_created_at": "2024-01-01", "original_updated_at": "2024-02-02",
        "original_source_type": "voice", "original_mood": {"now": "good"},
    }  # fmt: skip
    kept = service.client.get(f"/v1/memories/{memory['id']}").json()
    assert (kept["tags"], kept["run_id"]) == (["x", "y"], "r")


def test_an_export_comes_back_with_tags_run_and_expiration(
    client: httpx.Client, stranger: httpx.Client, user: str
) -> None:
    rows: list[dict[str, Any]] = [
        {"content": "a b c", "user_id": user, "tags": ["x"], "run_id": "r", "expires_on": LATER},
        {"content": "d e f", "user_id": user},
    ]
    bring(client, *rows)
    exported = client.post("/api/v1/memories/export", json={"user_id": user}).json()["memories"]
    named = [{name: one.get(name) for name in ("tags", "run_id", "expires_on")} for one in exported]
    assert named == [
        {"tags": ["x"], "run_id": "r", "expires_on": LATER},
        {"tags": [], "run_id": None, "expires_on": None},
    ]
    assert bring(stranger, *exported).status_code == 201
    again = stranger.post("/api/v1/memories/export", json={"user_id": user}).json()["memories"]
    assert [{name: one.get(name) for name in ("tags", "run_id", "expires_on")} for one in again] == named
    table = client.post("/api/v1/memories/export", json={"user_id": user, "format": "csv"}).json()["data"]
    assert f'r,"[""x""]",{LATER}' in table


def test_thousands_of_memories_come_back_in_the_pages_that_export_gives(
    client: httpx.Client, stranger: httpx.Client, user: str
) -> None:
    bring(client, *({"content": f"{n} words", "user_id": user} for n in range(2_500)))
    rows: list[str] = []
    cursor = None
    while cursor or not rows:
        asked = {"user_id": user, "limit": 2_000, "cursor": cursor}
        page = client.post("/api/v1/memories/export", json=asked).json()
        assert bring(stranger, *page["memories"]).status_code == 201
        rows += [one["content"] for one in page["memories"]]
        cursor = page["next_cursor"]
    assert rows == [f"{n} words" for n in range(2_500)]
    taken = stranger.post("/api/v1/memories/export", json={"user_id": user}).json()["memories"]
    assert [one["content"] for one in taken] == rows


def test_too_many_or_too_large_is_refused_with_what_to_do(client: httpx.Client, user: str) -> None:
    many = bring(client, *({"content": "a", "user_id": user} for _ in range(MAX_IMPORTED + 1)))
    assert many.status_code == 400
    assert many.json()["details"]["fieldErrors"] == {
        "memories": [f"At most {MAX_IMPORTED} in one request: send several, such as the pages of an export"]
    }
    large = client.post("/api/v1/memories", json={"messages": [{"role": "user", "content": "x" * 3_000_000}]})
    assert (large.status_code, large.json()) == (
        413,
        {"error": "The request is too large: send it as several smaller ones"},
    )
    assert listed(client, user_id=user) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"content": "a b c", "user_id": "all"}, "every user"),
        ({"content": "a b c", "end_user_id": "all"}, "every user"),
        ({"content": "a b c", "tags": "x"}, "tags"),
        ({"content": "a b c", "expires_on": "tomorrow"}, "expires_on"),
        ({"content": "a b c", "expires_on": "2027-02-31"}, "day"),
        ({"content": "a b c", "expires_on": "2020-01-01"}, "expired"),
        ({"content": "a b c", "mood": "x" * 70_000}, "larger"),
        ({"content": "a b c", "mood": "\u0000"}, "U+0000"),
        ({"content": "a b c", "metadata": {"a": "x" * 70_000}}, "larger"),
        ({"user_id": "u"}, "content"),
    ],
)
def test_a_row_that_cannot_be_kept_is_refused_with_the_reason(
    client: httpx.Client, user: str, row: dict[str, Any], said: str
) -> None:
    answer = bring(client, {"content": "fine", "user_id": user}, row)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "Invalid request payload"
    (message,) = answer.json()["details"]["fieldErrors"]["memories"]
    assert message.startswith("[1]")
    assert said in message
    assert listed(client, user_id=user) == []
