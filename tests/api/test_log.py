"""The audit log, status, health, metrics and documents over HTTP."""

from typing import Any

import httpx
import pytest

from api import docs, health, metrics
from projections import ALL
from tests.support.memories import add
from tests.support.service import Service, eventually


def test_the_log_tells_every_change_in_order_with_actor_cause_and_request(
    client: httpx.Client, user: str
) -> None:
    id = add(client, "one", user)
    put = client.put(f"/v1/memories/{id}", json={"memory": "two"}, headers={"X-Request-Id": "my-request"})
    client.delete(f"/v1/memories/{id}")
    events = client.get("/v1/events", params={"memory_id": id}).json()["results"]
    assert [event["event"] for event in events] == ["ADD", "UPDATE", "DELETE"]
    assert [event["version"] for event in events] == [1, 2, 3]
    positions = [event["position"] for event in events]
    assert positions == sorted(positions)
    assert events[1]["position"] == int(put.headers["Everlog-Position"])
    assert events[1]["data"] == {"text": "two"}
    assert events[1]["request_id"] == put.headers["X-Request-Id"] == "my-request"
    assert {event["actor"] for event in events} == {events[0]["actor"]}
    assert events[0]["actor"].startswith("key_")


def test_the_log_is_read_in_pages_without_gaps_or_repeats(client: httpx.Client, user: str) -> None:
    for n in range(7):
        add(client, f"fact {n}", user)
    after, texts = 0, []
    while page := (
        answer := client.get("/v1/events", params={"user_id": user, "after": after, "limit": 3}).json()
    )["results"]:
        texts += [event["data"]["text"] for event in page]
        after = answer["next_after"]
    assert texts == [f"fact {n}" for n in range(7)]


def test_the_log_is_filtered_by_actor_cause_and_time(client: httpx.Client, user: str) -> None:
    messages = [{"role": "user", "content": f"fact {n}"} for n in range(3)]
    client.post("/v1/memories", json={"messages": messages, "user_id": user, "infer": False})
    events = client.get("/v1/events", params={"user_id": user}).json()["results"]
    first = events[0]
    assert len({event["cause"] for event in events}) == 1
    assert len(client.get("/v1/events", params={"cause": first["cause"]}).json()["results"]) == 3
    assert client.get("/v1/events", params={"user_id": user, "actor": "key_x"}).json()["results"] == []
    since = {"user_id": user, "since": first["recorded_at"]}
    assert len(client.get("/v1/events", params=since).json()["results"]) == 3
    until = {"user_id": user, "until": first["recorded_at"]}
    assert client.get("/v1/events", params=until).json()["results"] == []


def test_status_tells_the_head_and_how_far_each_projection_is(client: httpx.Client, user: str) -> None:
    add(client, "x", user)
    eventually(lambda: all(p["lag"] == 0 for p in client.get("/v1/status").json()["projections"]))
    status = client.get("/v1/status").json()
    assert {p["name"] for p in status["projections"]} == ALL.keys()
    for projection in status["projections"]:
        assert projection["position"] == status["head"]
        assert projection["state"] == "live"


def test_health_and_metrics_need_no_key_and_tell_nothing_personal(service: Service, user: str) -> None:
    add(service.client, "Zorblax", user)
    assert httpx.get(f"{service.url}/health/live").json()["status"] == "ok"
    assert httpx.get(f"{service.url}/health/ready").json()["status"] == "ok"
    metrics = httpx.get(f"{service.url}/metrics").text
    assert 'everlog_requests_total{method="POST",route="/v1/memories",status="201"}' in metrics
    assert 'everlog_projection_position{cell="everlog",projection="search"}' in metrics
    assert "Zorblax" not in metrics
    assert user not in metrics


def test_the_openapi_document_has_examples_and_the_page_shows_every_operation(service: Service) -> None:
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert document["openapi"].startswith("3.")
    page = httpx.get(f"{service.url}/docs").text
    for path in ("/v1/memories", "/v1/memories/{memory_id}", "/v1/search", "/v1/events", "/v1/status"):
        assert path in document["paths"]
        assert path in page
    assert "I love hiking" in page
    assert "http" not in page.replace(service.url, "")  # nothing is loaded from anywhere else
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            if path.startswith("/v1/"):
                assert "application/problem+json" in operation["responses"]["401"]["content"]
    ids = [operation["operationId"] for verbs in document["paths"].values() for operation in verbs.values()]
    assert len(ids) == len(set(ids))


def test_a_request_id_that_could_split_a_header_is_replaced(client: httpx.Client) -> None:
    answer = client.get("/health/live", headers={"X-Request-Id": "a b"})
    assert answer.headers["X-Request-Id"] != "a b"


def test_what_anybody_may_ask_for_is_made_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(path: str) -> str:
        answer = httpx.get(f"{service.url}{path}")
        assert answer.status_code == 200
        return answer.text

    document, page = get("/openapi.json"), get("/docs")
    monkeypatch.setattr(docs, "_page", None)  # which would be a 500
    assert (get("/openapi.json"), get("/docs")) == (document, page)

    made: list[bytes] = []
    make = metrics.page

    def noted(*args: Any) -> bytes:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(metrics, "page", noted)
    monkeypatch.setattr(health, "FRESH_SECONDS", 60.0)
    eventually(lambda: get("/metrics") and made)
    assert get("/metrics") == made[0].decode()
    assert len(made) == 1
