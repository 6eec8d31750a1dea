"""What clients send that leave nothing out: null is as good as nothing in every body of mem0's contract."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.key import ALL_SCOPES, Terms
from tests.support.mem0 import SAID, client_of, kept, listed
from tests.support.service import Service

ADDING: dict[str, Any] = dict.fromkeys(
    (
        "agent_id", "app_id", "run_id", "filters", "metadata", "custom_instructions", "custom_categories",
        "agent_custom_instructions", "timestamp", "expiration_date", "structured_data_schema",
    )
)  # fmt: skip
SEARCHING = dict.fromkeys(
    (
        "metadata", "top_k", "rerank", "threshold", "fields", "categories", "show_expired", "reference_date",
        "latest_only", "keyword_search",
    )
)  # fmt: skip
LISTING = dict.fromkeys(("start_date", "end_date", "categories", "fields", "show_expired", "latest_only"))


@pytest.fixture(scope="module")
def mem0(service: Service) -> Iterator[httpx.Client]:
    service.worker.cells.create_key("key-of-nulls", "mem0", "nulls", ALL_SCOPES, Terms(dialect="mem0"))
    with client_of(service, "key-of-nulls") as client:
        yield client


def test_adding(mem0: httpx.Client, user: str) -> None:
    queued = mem0.post("/v3/memories/add/", json={"messages": SAID, "user_id": user, **ADDING, "infer": None})
    assert (queued.status_code, queued.json()["status"]) == (200, "PENDING")
    assert kept(mem0, user, **ADDING)


def test_finding_and_listing(mem0: httpx.Client, user: str) -> None:
    ids = [kept(mem0, user, f"User loves hiking in wood {n}") for n in range(12)]
    found = mem0.post(
        "/v3/memories/search/", json={"query": "hiking", "filters": {"user_id": user}, **SEARCHING}
    )
    assert (found.status_code, len(found.json()["results"])) == (200, 10)
    for filters in (None, {"user_id": user}):
        every = mem0.post("/v3/memories/", json={"filters": filters, **LISTING})
        assert every.status_code == 200, every.text
        assert set(ids) <= {memory["id"] for memory in every.json()["results"]}
    assert mem0.post("/v3/memories/search/", json={"query": "a", "filters": None}).status_code == 400


def test_the_last_day_that_there_is(mem0: httpx.Client, user: str) -> None:
    kept(mem0, user)
    for asked in (
        {"end_date": "9999-12-31"},
        {"filters": {"user_id": user, "created_at": {"lte": "9999-12-31"}}},
        {"start_date": "0001-01-01"},
    ):
        answer = mem0.post("/v3/memories/", json={"filters": {"user_id": user}, **asked})
        assert (answer.status_code, answer.json()["count"]) == (200, 1)
    never = {"user_id": user, "created_at": {"gt": "9999-12-31"}}
    assert mem0.post("/v3/memories/", json={"filters": never}).json()["results"] == []


def test_changing(mem0: httpx.Client, user: str) -> None:
    id = kept(mem0, user)
    path = f"/v1/memories/{id}/"
    for body in (
        {"text": "User loves climbing", "metadata": None, "timestamp": None},
        {"text": None, "metadata": {"a": 1}, "timestamp": None},
    ):
        assert mem0.put(path, json=body).status_code == 200
    batch: dict[str, Any] = {"memories": [{"memory_id": id, "text": "User loves tea", "metadata": None}]}
    assert mem0.put("/v1/batch/", json=batch).status_code == 200
    praise = {"memory_id": id, "feedback": "POSITIVE", "feedback_reason": None}
    assert mem0.post("/v1/feedback/", json=praise).status_code == 200
    (memory,) = listed(mem0, user)
    assert (memory["memory"], memory["metadata"]) == ("User loves tea", {"a": 1, "feedback": "POSITIVE"})


def test_exports_and_projects(mem0: httpx.Client, user: str) -> None:
    kept(mem0, user)
    named = {"user_id": user, **dict.fromkeys(("agent_id", "app_id", "run_id", "filters"))}
    made = mem0.post("/v1/exports/", json={"schema": {}, **named}).json()
    for asked in ({"memory_export_id": made["id"], "filters": None}, {"memory_export_id": None, **named}):
        assert mem0.post("/v1/exports/get/", json=asked).json()["count"] == 1
    where = mem0.get("/v1/ping/").json()
    path = f"/api/v1/orgs/organizations/{where['org_id']}/projects/{where['project_id']}/"
    change = {
        "custom_instructions": "Only tea",
        "custom_categories": None,
        "multilingual": None,
        "decay": None,
    }
    assert mem0.patch(path, json=change).status_code == 200
    assert mem0.get(path).json()["custom_instructions"] == "Only tea"
