"""Keys with limits: how many requests they have left, what they are told, and what becomes of the rest."""

import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from api.server import SECURITY_HEADERS
from domain.key import ALL_SCOPES, Terms
from tests.support.service import Service, client_of, eventually


def client_with(service: Service, terms: Terms) -> httpx.Client:
    secret = f"key-{uuid4().hex}"
    service.worker.cells.create_key(secret, "limited", "default", ALL_SCOPES, terms)
    return client_of(service.url, secret)


@pytest.fixture
def five_a_minute(service: Service) -> Iterator[httpx.Client]:
    with client_with(service, Terms(per_minute=5)) as client:
        yield client


def test_a_minutes_worth_of_requests_is_let_in_and_the_next_is_429(five_a_minute: httpx.Client) -> None:
    answers = [five_a_minute.get("/v1/memories") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers] == [4, 3, 2, 1, 0, 0]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"5"}
    refused = answers[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 13
    assert time.time() <= int(refused.headers["X-RateLimit-Reset"]) <= time.time() + 62
    assert refused.json()["type"] == "urn:everlog:problem:rate-limited"


def test_a_month_has_its_quota_and_what_is_refused_costs_nothing(service: Service) -> None:
    with client_with(service, Terms(per_month=3)) as client:
        answers = [client.get("/v1/memories") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["X-Quota-Used"] for answer in answers] == ["1", "2", "3", "3", "3"]
    assert answers[-1].json()["type"] == "urn:everlog:problem:quota-exceeded"
    assert int(answers[-1].headers["X-Quota-Reset"]) > time.time()


def test_limits_are_a_keys_own(service: Service, client: httpx.Client, five_a_minute: httpx.Client) -> None:
    while five_a_minute.get("/v1/memories").status_code == 200:
        pass
    answer = client.get("/v1/memories")
    assert answer.status_code == 200
    assert "X-RateLimit-Limit" not in answer.headers
    with client_with(service, Terms(per_minute=5)) as other:
        assert other.get("/v1/memories").status_code == 200


def test_a_key_of_one_dialect_is_told_where_that_is_spoken(service: Service) -> None:
    with client_with(service, Terms(dialect="memorystack")) as client:
        answer = client.get("/v1/memories")
        assert answer.status_code == 403
        told = f"this key speaks memorystack, and here is memoid: its base URL is {service.url}"
        assert answer.json()["detail"] == told
    with client_with(service, Terms(dialect="memoid")) as client:
        assert client.get("/v1/memories").status_code == 200


def test_usage_is_counted_by_owner(service: Service, stranger: httpx.Client, user: str) -> None:
    before = stranger.get("/v1/usage/stats").json()
    for _ in range(3):
        stranger.post("/v1/search", json={"query": "x"})
    body = {"messages": [{"role": "user", "content": "I love hiking"}], "user_id": user}
    stranger.post("/v1/memories", json=body)

    def counted() -> bool:
        now = stranger.get("/v1/usage/stats").json()
        return bool(
            now["total_searches"] == before["total_searches"] + 3
            and now["total_api_calls"] >= before["total_api_calls"] + 4
        )

    eventually(counted)
    now = stranger.get("/v1/usage/stats").json()
    assert now["total_memories"] == before["total_memories"] + 1
    assert now["avg_latency_ms"] > 0
    (today,) = stranger.get("/v1/usage/daily", params={"days": 7}).json()["daily"]
    assert today["searches"] >= 3
    assert stranger.get("/v1/usage/stats", params={"user_id": user}).json()["total_memories"] == 1


def test_pages_of_known_origins_may_call_with_credentials(client: httpx.Client) -> None:
    asked = {"Origin": "app://obsidian.md", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/memories", headers=asked)
    assert answer.is_success
    assert answer.headers["Access-Control-Allow-Origin"] == "app://obsidian.md"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    answer = client.get("/v1/memories", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def exposed(answer: httpx.Response) -> set[str]:
    """The headers that a page of another origin may read."""
    return {name.strip().lower() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}


def test_a_page_may_read_every_header_that_an_answer_tells_by(service: Service, user: str) -> None:
    origin = {"Origin": "app://obsidian.md"}
    said = {"messages": [{"role": "user", "content": "I love hiking"}], "user_id": user}
    with client_with(service, Terms(per_minute=3, per_month=9)) as client:
        asynchronous = {**origin, "Prefer": "respond-async"}
        answers = [client.post("/v1/memories", json=said, headers=asynchronous)]
        answers += [client.get("/v1/memories", headers=origin) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 200, 200, 429]
    for answer in answers:
        plain = {"content-type", "content-length", "date", "server", "vary"}
        plain |= {name.lower() for name in SECURITY_HEADERS}  # which tell browsers, not pages
        told = {name for name in answer.headers if not name.startswith("access-control-")} - plain
        assert told <= exposed(answer)
    assert {"location", "everlog-position", "etag", "retry-after", "x-quota-used"} <= exposed(answers[-1])
    assert answers[0].headers["Location"]
    assert answers[-1].headers["Retry-After"]


def test_a_used_up_month_says_what_is_left_of_the_minute(service: Service) -> None:
    with client_with(service, Terms(per_minute=100, per_month=1)) as client:
        answers = [client.get("/v1/memories") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert all(int(answer.headers["X-RateLimit-Remaining"]) >= 99 for answer in answers)


def test_a_key_with_no_more_than_a_month_has_that_for_its_rate_limit(service: Service) -> None:
    with client_with(service, Terms(per_month=2)) as client:
        answers = [client.get("/v1/memories") for _ in range(3)]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
