"""Versions over HTTP: racing clients lose nothing, conflicts are answers, repeated requests are done once."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from application.engine import WAIT_SECONDS
from domain.eventstore.cells import connection_string
from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import KEY, Service, client_of, eventually


@pytest.mark.parametrize("rounds", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_rounds_of_two_racing_metadata_updates_lose_none(service: Service, user: str, rounds: int) -> None:
    id = add(service.client, "User loves hiking", user)
    with (
        client_of(service.url, KEY) as one,
        client_of(service.url, KEY) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        for round in range(rounds):
            sent = [
                pool.submit(client.put, f"/v1/memories/{id}", json={"metadata": {f"{name}{round}": round}})
                for name, client in (("one", one), ("two", two))
            ]
            assert [each.result().status_code for each in sent] == [200, 200]
            memory = service.client.get(f"/v1/memories/{id}").json()
            assert memory["metadata"][f"one{round}"] == memory["metadata"][f"two{round}"] == round
            newest = service.client.get(f"/v1/memories/{id}/history").json()["history"][0]
            assert (newest["version"], newest["metadata"]) == (memory["version"], memory["metadata"])
    assert memory["version"] == 2 * rounds + 1
    history = service.client.get(f"/v1/memories/{id}/history").json()["history"]
    assert [entry["version"] for entry in history] == list(range(2 * rounds + 1, 0, -1))


def test_if_match_with_an_old_version_is_412_and_changes_nothing(client: httpx.Client, user: str) -> None:
    id = add(client, "User loves hiking", user)
    first = client.get(f"/v1/memories/{id}")
    assert first.headers["ETag"] == '"1"'
    second = client.put(f"/v1/memories/{id}", json={"memory": "two"}, headers={"If-Match": '"1"'})
    assert (second.status_code, second.headers["ETag"]) == (200, '"2"')
    refused = client.put(f"/v1/memories/{id}", json={"memory": "three"}, headers={"If-Match": '"1"'})
    assert (refused.status_code, refused.json()["type"]) == (412, "urn:everlog:problem:version-conflict")
    assert client.delete(f"/v1/memories/{id}", headers={"If-Match": '"1"'}).status_code == 412
    assert client.get(f"/v1/memories/{id}").json()["memory"] == "two"


def test_metadata_is_merged_by_key_and_null_removes_one(client: httpx.Client, user: str) -> None:
    id = add(client, "x", user, metadata={"a": 1, "b": 2})
    answer = client.put(f"/v1/memories/{id}", json={"metadata": {"b": None, "c": {"d": [1]}}})
    assert answer.json()["metadata"] == {"a": 1, "c": {"d": [1]}}


def test_an_older_version_can_be_read(client: httpx.Client, user: str) -> None:
    id = add(client, "one", user)
    client.put(f"/v1/memories/{id}", json={"memory": "two"})
    assert client.get(f"/v1/memories/{id}?version=1").json()["memory"] == "one"
    assert client.get(f"/v1/memories/{id}?version=2").json()["memory"] == "two"


def test_every_write_can_be_repeated_under_an_idempotency_key(client: httpx.Client, user: str) -> None:
    body = {"messages": [{"role": "user", "content": "once"}], "user_id": user, "infer": False}
    key = {"Idempotency-Key": f"add-{user}"}
    answers = [client.post("/v1/memories", json=body, headers=key) for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    id = answers[0].json()["results"][0]["id"]
    key = {"Idempotency-Key": f"put-{user}"}
    answers = [client.put(f"/v1/memories/{id}", json={"memory": "two"}, headers=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    key = {"Idempotency-Key": f"delete-{user}"}
    answers = [client.delete(f"/v1/memories/{id}", headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(client.get(f"/v1/memories/{id}/history").json()["history"]) == 3
    other = client.put(f"/v1/memories/{id}", json={"memory": "3"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:everlog:problem:idempotency-key-reused")


def test_a_repeated_deletion_by_filter_is_answered_alike(client: httpx.Client, user: str) -> None:
    add(client, "one", user)
    add(client, "two", user)
    key = {"Idempotency-Key": f"delete-{user}"}
    answers = [client.delete("/v1/memories", params={"user_id": user}, headers=key).json() for _ in range(2)]
    assert [answer["deleted"] for answer in answers] == [2, 2]


def test_a_key_reads_its_own_writes_in_lists_and_searches(client: httpx.Client, user: str) -> None:
    for n in range(20):
        id = add(client, f"User bought the book number {n}", user)
        listed = client.get("/v1/memories", params={"user_id": user}).json()
        assert (listed["results"][0]["id"], listed["total"]) == (id, n + 1)
        found = client.post(
            "/v1/search", json={"query": "reading", "user_id": user, "mode": "vector", "limit": 100}
        )
        assert id in {hit["id"] for hit in found.json()["results"]}


def test_a_reader_can_wait_for_anothers_write(client: httpx.Client, user: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "user_id": user, "infer": False}
    position = client.post("/v1/memories", json=body).headers["Everlog-Position"]
    listed = client.get("/v1/memories", params={"user_id": user}, headers={"Everlog-Min-Position": position})
    assert listed.json()["total"] == 1
    assert int(listed.headers["Everlog-Position"]) >= int(position)


def test_a_position_that_is_not_reached_in_time_is_503(service: Service, user: str) -> None:
    client = service.client
    add(client, "one", user)
    with psycopg.connect(service.worker.cells.first.conninfo) as conn:  # no runner gets on without its row
        conn.execute("SELECT FROM projections WHERE name = 'memories' AND state = 'live' FOR UPDATE")
        body = {"messages": [{"role": "user", "content": "two"}], "user_id": user, "infer": False}
        written = client.post("/v1/memories", json=body)
        position = {"Everlog-Min-Position": written.headers["Everlog-Position"]}
        behind = client.get("/v1/memories", headers=position)
    assert (behind.status_code, behind.json()["type"]) == (503, "urn:everlog:problem:behind")
    assert behind.headers["Retry-After"] == "1"
    eventually(lambda: client.get("/v1/memories", headers=position).status_code == 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/memories", None, 400),
        ("GET", "/v1/graph?user_id=x", None, 400),
        ("POST", "/v1/search", {"query": "x", "mode": "keyword"}, 400),
        ("POST", "/mem0/v3/memories/search/", {"query": "x", "filters": {"user_id": "x"}}, 400),
        ("GET", "/memokit/v1/memories?userId=x", None, 400),
        ("GET", "/api/v1/memories", None, 400),
        ("GET", "/api/memories", None, 422),  # as Khoj has it for whatever is wrong with a request
    ],
)
def test_a_position_above_the_head_is_refused_at_once(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    began = time.monotonic()
    answer = client.request(method, path, json=body, headers={"Everlog-Min-Position": "999999999999"})
    assert time.monotonic() - began < WAIT_SECONDS
    assert answer.status_code == status
    assert "Retry-After" not in answer.headers
    if path.startswith("/v1/"):
        problem = answer.json()
        assert problem["type"] == "urn:everlog:problem:above-head"
        assert [(fault["source"], fault["key"]) for fault in problem["errors"]] == [
            ("header", "Everlog-Min-Position")
        ]
        assert "the log ends at" in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/ingestions"])
def test_a_page_begins_at_what_a_position_can_be(client: httpx.Client, path: str) -> None:
    assert client.get(path, params={"after": 2**63 - 1}).status_code == 200
    for beyond in (2**63, 10**30, "9" * 5_000):
        is_problem(client.get(path, params={"after": beyond}), 400)


def test_lists_can_be_read_as_of_a_moment(client: httpx.Client, user: str) -> None:
    id = add(client, "one", user)
    first = client.get(f"/v1/memories/{id}").json()["updated_at"]
    second = client.put(f"/v1/memories/{id}", json={"memory": "two"}).json()["updated_at"]
    client.delete(f"/v1/memories/{id}")

    def texts(moment: str) -> list[str]:
        listed = client.get("/v1/memories", params={"user_id": user, "as_of": moment}).json()
        return [memory["memory"] for memory in listed["results"]]

    assert texts(first) == ["one"]
    assert texts(second) == ["two"]
    assert texts("2020-01-01T00:00:00Z") == texts("2999-01-01T00:00:00Z") == []


def test_the_text_of_an_idempotency_key_is_not_kept(service: Service, user: str) -> None:
    body = {"messages": [{"role": "user", "content": "I love hiking"}], "user_id": user, "infer": False}
    once = {"Idempotency-Key": f"Zorblax of {user}"}
    answers = [service.client.post("/v1/memories", json=body, headers=once).json() for _ in range(2)]
    assert answers[0] == answers[1]
    with psycopg.connect(connection_string(service.settings.database_url or "", "everlog")) as conn:
        kept = [key for (key,) in conn.execute("SELECT key FROM receipts")]
        assert kept
        assert not any("Zorblax" in key for key in kept)
        # One from before keys were hashed still counts.
        conn.execute(
            "UPDATE receipts SET key = %s WHERE key = %s",
            (f"Zorblax of {user}", service.worker.cells.first.secrets.hashed(f"Zorblax of {user}")),
        )
    assert service.client.post("/v1/memories", json=body, headers=once).json() == answers[0]
