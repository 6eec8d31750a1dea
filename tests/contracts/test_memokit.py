"""The MemoKit contract: the requests and answers of seed 001, as it prints them, on both mounts."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.key import ALL_SCOPES, KeyScope, Terms
from tests.support.service import Service, client_of

CREATE = {
    "content": "The user mentioned they prefer Python for data science work",
    "userId": "user_123",
    "agentId": "agent_456",
    "tags": ["preference", "programming"],
    "metadata": {"source": "chat", "sessionId": "sess_789"},
}
CREATED = {
    "id": "mem_abc123def456",
    "content": "The user mentioned they prefer Python for data science work",
    "userId": "user_123",
    "agentId": "agent_456",
    "tags": ["preference", "programming"],
    "metadata": {"source": "chat", "sessionId": "sess_789"},
    "createdAt": "2024-01-15T10:30:00Z",
    "updatedAt": "2024-01-15T10:30:00Z",
}
SECOND = {
    "content": "User said they use JavaScript for web development",
    "userId": "user_123",
    "tags": ["programming"],
}
SEARCH = {
    "query": "What programming languages does the user prefer?",
    "userId": "user_123",
    "limit": 5,
    "threshold": 0.6,
}
FOUND = {
    "results": [
        {
            "id": "mem_abc123def456",
            "content": "The user mentioned they prefer Python for data science work",
            "score": 0.87,
            "userId": "user_123",
            "agentId": "agent_456",
            "tags": ["preference", "programming"],
            "createdAt": "2024-01-15T10:30:00Z",
        },
        {
            "id": "mem_xyz789",
            "content": "User said they use JavaScript for web development",
            "score": 0.74,
            "userId": "user_123",
            "tags": ["programming"],
            "createdAt": "2024-01-14T15:20:00Z",
        },
    ]
}
LISTED_ITEM = {
    "id": "mem_abc123def456",
    "content": "The user mentioned they prefer Python for data science work",
    "userId": "user_123",
    "agentId": "agent_456",
    "tags": ["preference", "programming"],
    "createdAt": "2024-01-15T10:30:00Z",
    "updatedAt": "2024-01-15T10:30:00Z",
}


def key_of(
    service: Service,
    terms: Terms = Terms(dialect="memokit"),  # noqa: B008 - frozen
    scopes: tuple[KeyScope, ...] = ALL_SCOPES,
    prefix: str = "mk_",
    owner: str | None = None,
) -> str:
    """A new key; by default of an owner of its own."""
    secret = f"{prefix}{uuid4().hex}"
    service.worker.cells.create_key(secret, "memokit", owner or f"owner-{uuid4().hex}", scopes, terms)
    return secret


@pytest.fixture(params=["", "/memokit"], ids=["by key", "by prefix"])
def kit(service: Service, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A MemoKit client with an owner of this test's own, on each of the two mounts."""
    with client_of(service.url + request.param, key_of(service)) as client:
        yield client


def added(kit: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = kit.post("/v1/memories", json={"userId": "user_123", **fields})
    assert answer.status_code == 201, answer.text
    memory: dict[str, Any] = answer.json()
    return memory


def normalised(value: Any) -> Any:
    """Ids, times and scores of an answer or an example, as the kind of thing they are."""
    if isinstance(value, list):
        return [normalised(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    said = {key: normalised(inner) for key, inner in value.items()}
    for key in ("createdAt", "updatedAt"):
        if key in said:
            assert said[key].endswith("Z")
            said[key] = type(datetime.fromisoformat(said[key]))
    if "id" in said:
        assert re.fullmatch(r"mem_[a-z0-9]+", said["id"])
        said["id"] = "mem_"
    if "score" in said:
        assert 0 < said["score"] <= 1
        said["score"] = float
    return said


def assert_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code, error
    assert error["message"]
    return error


# --- the seed's examples ----------------------------------------------------------------------------


def test_creating_answers_as_the_contract_prints_it(kit: httpx.Client) -> None:
    answer = kit.post("/v1/memories", json=CREATE)
    assert answer.status_code == 201
    assert normalised(answer.json()) == normalised(CREATED)
    assert answer.json()["createdAt"] == answer.json()["updatedAt"]
    age = datetime.now(UTC) - datetime.fromisoformat(answer.json()["createdAt"])
    assert abs(age) < timedelta(minutes=5)


def test_searching_answers_as_the_contract_prints_it(kit: httpx.Client) -> None:
    ids = [kit.post("/v1/memories", json=body).json()["id"] for body in (CREATE, SECOND)]
    added(kit, content="User is allergic to peanuts")
    answer = kit.post("/v1/memories/search", json=SEARCH)
    assert answer.status_code == 200
    assert normalised(answer.json()) == normalised(FOUND)
    assert [result["id"] for result in answer.json()["results"]] == ids
    scores = [result["score"] for result in answer.json()["results"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.6


def test_listing_answers_as_the_contract_prints_it(kit: httpx.Client) -> None:
    for n in range(45):
        added(kit, **{**CREATE, "content": f"Number {n}"})
    answer = kit.get("/v1/memories?userId=user_123&limit=10")
    assert answer.status_code == 200
    body = answer.json()
    assert body["pagination"] == {"page": 1, "limit": 10, "total": 45, "totalPages": 5}
    assert [item["content"] for item in body["items"]] == [f"Number {n}" for n in range(44, 34, -1)]
    shown = {**LISTED_ITEM, "content": "Number 44"}
    assert normalised(body["items"][0]) == normalised(shown)


def test_getting_answers_as_the_contract_prints_it(kit: httpx.Client) -> None:
    created = kit.post("/v1/memories", json=CREATE).json()
    answer = kit.get(f"/v1/memories/{created['id']}")
    assert answer.status_code == 200
    assert answer.json() == created
    assert normalised(answer.json()) == normalised(CREATED)


def test_deleting_answers_as_the_contract_prints_it(kit: httpx.Client) -> None:
    id = kit.post("/v1/memories", json=CREATE).json()["id"]
    answer = kit.delete(f"/v1/memories/{id}")
    assert (answer.status_code, answer.json()) == (200, {"success": True, "id": id})
    assert_error(kit.get(f"/v1/memories/{id}"), 404, "MEMORY_NOT_FOUND")
    assert_error(kit.delete(f"/v1/memories/{id}"), 404, "MEMORY_NOT_FOUND")
    assert kit.get("/v1/memories").json()["items"] == []
    assert kit.post("/v1/memories/search", json=SEARCH).json() == {"results": []}


# --- what the contract's words say ------------------------------------------------------------------


def test_what_was_not_set_is_absent(kit: httpx.Client) -> None:
    created = added(kit, content="User likes tea", tags=[], metadata={}, agentId=None)
    assert created.keys() == {"id", "content", "userId", "createdAt", "updatedAt"}
    assert kit.get(f"/v1/memories/{created['id']}").json() == created
    assert kit.get("/v1/memories").json()["items"] == [created]
    (result,) = kit.post("/v1/memories/search", json={"query": "tea"}).json()["results"]
    assert result.keys() == {"id", "content", "score", "userId", "createdAt"}


@pytest.mark.parametrize("content", ["I love hiking", "  two\n\nlines\t ", "x", "é🙂" * 5_000, "/v1 <b>&"])
def test_content_is_kept_word_for_word(kit: httpx.Client, content: str) -> None:
    id = added(kit, content=content)["id"]
    assert kit.get(f"/v1/memories/{id}").json()["content"] == content


def test_unknown_fields_are_ignored(kit: httpx.Client) -> None:
    added(kit, content="User likes tea", importance=5)
    body = {"query": "tea", "includeMetadata": True}
    assert len(kit.post("/v1/memories/search", json=body).json()["results"]) == 1
    assert len(kit.get("/v1/memories?sort=asc").json()["items"]) == 1


def test_lists_filter_by_user_by_agent_and_by_all_tags(kit: httpx.Client) -> None:
    added(kit, content="one", userId="u1", agentId="a1", tags=["x", "y"])
    added(kit, content="two", userId="u1", agentId="a2", tags=["x"])
    added(kit, content="three", userId="u2")

    def listed(**params: str) -> list[str]:
        answer = kit.get("/v1/memories", params=params).json()
        assert answer["pagination"]["total"] == len(answer["items"])
        return [item["content"] for item in answer["items"]]

    assert listed() == ["three", "two", "one"]
    assert listed(userId="u1") == ["two", "one"]
    assert listed(userId="u1", agentId="a1") == ["one"]
    assert listed(agentId="a2") == ["two"]
    assert listed(tags="x") == ["two", "one"]
    assert listed(tags="y, x") == ["one"]
    assert listed(tags="x,z") == []
    assert listed(tags="") == ["three", "two", "one"]
    assert listed(userId="nobody") == []


def test_pages_do_not_overlap_and_end(kit: httpx.Client) -> None:
    ids = [added(kit, content=f"Number {n}")["id"] for n in range(5)]
    pages = [kit.get("/v1/memories", params={"page": page, "limit": 2}).json() for page in (1, 2, 3, 4)]
    assert [[item["id"] for item in page["items"]] for page in pages] == [
        ids[:2:-1],
        ids[2:0:-1],
        ids[:1],
        [],
    ]
    assert [page["pagination"]["totalPages"] for page in pages] == [3] * 4
    default = kit.get("/v1/memories").json()["pagination"]
    assert default == {"page": 1, "limit": 20, "total": 5, "totalPages": 1}
    empty = kit.get("/v1/memories?userId=nobody").json()
    assert empty == {"items": [], "pagination": {"page": 1, "limit": 20, "total": 0, "totalPages": 0}}


def test_searches_filter_by_user_by_agent_and_by_all_tags(kit: httpx.Client) -> None:
    added(kit, content="User likes green tea", userId="u1", agentId="a1", tags=["x", "y"])
    added(kit, content="User likes black tea", userId="u1", tags=["x"])
    added(kit, content="User likes white tea", userId="u2")

    def found(**fields: Any) -> set[str]:
        body = {"query": "Which tea does the user like?", "threshold": 0, **fields}
        results = kit.post("/v1/memories/search", json=body).json()["results"]
        return {result["content"].split()[2] for result in results}

    assert found() == {"green", "black", "white"}
    assert found(userId="u1") == {"green", "black"}
    assert found(agentId="a1") == {"green"}
    assert found(tags=["x"]) == {"green", "black"}
    assert found(tags=["y", "x"]) == {"green"}
    assert found(tags=["x", "z"]) == set()
    assert len(found(limit=1)) == 1


def test_without_a_threshold_nothing_below_a_half_is_found(kit: httpx.Client) -> None:
    added(kit, content="User prefers Python for data science work")
    added(kit, content="User is allergic to peanuts")
    query = {"query": SEARCH["query"]}
    results = kit.post("/v1/memories/search", json=query).json()["results"]
    assert [result["content"] for result in results] == ["User prefers Python for data science work"]
    everything = kit.post("/v1/memories/search", json={**query, "threshold": 0}).json()["results"]
    assert [result["score"] >= 0.5 for result in everything] == [True, False]
    assert kit.post("/v1/memories/search", json={**query, "threshold": 1}).json()["results"] == []


def test_ten_are_found_unless_told_otherwise(kit: httpx.Client) -> None:
    for n in range(12):
        added(kit, content=f"User likes tea number {n}")
    body = {"query": "Which tea does the user like?"}
    assert len(kit.post("/v1/memories/search", json=body).json()["results"]) == 10
    assert len(kit.post("/v1/memories/search", json={**body, "limit": 100}).json()["results"]) == 12


def test_every_path_is_served_with_and_without_a_trailing_slash(kit: httpx.Client) -> None:
    id = kit.post("/v1/memories/", json=CREATE).json()["id"]
    assert kit.get("/v1/memories/").json()["pagination"]["total"] == 1
    assert len(kit.post("/v1/memories/search/", json=SEARCH).json()["results"]) == 1
    assert kit.get(f"/v1/memories/{id}/").status_code == 200
    assert kit.delete(f"/v1/memories/{id}/").status_code == 200


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"content": "a" * 10_001, "userId": "u"}, "CONTENT_TOO_LONG"),
        ({"content": "a" * 10_001}, "CONTENT_TOO_LONG"),
        ({"content": "a"}, "INVALID_USER_ID"),
        ({"content": "a", "userId": ""}, "INVALID_USER_ID"),
        ({"content": "a", "userId": None}, "INVALID_USER_ID"),
        ({"content": "a", "userId": 5}, "INVALID_USER_ID"),
        ({"content": "a", "userId": "u" * 256}, "INVALID_USER_ID"),
        ({"content": "a", "userId": "u\0"}, "INVALID_USER_ID"),
        ({}, "VALIDATION_ERROR"),
        ({"userId": "u"}, "VALIDATION_ERROR"),
        ({"content": "", "userId": "u"}, "VALIDATION_ERROR"),
        ({"content": " \n", "userId": "u"}, "VALIDATION_ERROR"),
        ({"content": 5, "userId": "u"}, "VALIDATION_ERROR"),
        ({"content": "a\0", "userId": "u"}, "VALIDATION_ERROR"),
        ({"content": "a", "userId": "u", "tags": "x"}, "VALIDATION_ERROR"),
        ({"content": "a", "userId": "u", "tags": [""]}, "VALIDATION_ERROR"),
        ({"content": "a", "userId": "u", "metadata": []}, "VALIDATION_ERROR"),
        ({"content": "a", "userId": "u", "metadata": {"k": "v" * 70_000}}, "VALIDATION_ERROR"),
        ([], "VALIDATION_ERROR"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_memory_is_400_and_not_kept(kit: httpx.Client, body: Any, code: str) -> None:
    assert_error(kit.post("/v1/memories", json=body), 400, code)
    assert kit.get("/v1/memories").json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": 5},
        {"query": "a", "limit": 0},
        {"query": "a", "limit": 101},
        {"query": "a", "threshold": -0.1},
        {"query": "a", "threshold": 1.1},
        {"query": "a", "tags": "x"},
    ],
    ids=str,
)
def test_a_bad_search_is_400(kit: httpx.Client, body: dict[str, Any]) -> None:
    assert_error(kit.post("/v1/memories/search", json=body), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "page=0", "page=-1", f"page={9**30}"])
def test_a_bad_list_is_400(kit: httpx.Client, query: str) -> None:
    assert_error(kit.get(f"/v1/memories?{query}"), 400, "VALIDATION_ERROR")


def test_a_filter_that_is_no_id_lists_nothing_of_others(kit: httpx.Client) -> None:
    added(kit, content="User likes tea")
    for query in ("userId=", "userId=%00", f"userId={'u' * 256}"):
        error = assert_error(kit.get(f"/v1/memories?{query}"), 400, "INVALID_USER_ID")
        assert error["message"].startswith("userId: ")
    for query in ("agentId=", "agentId=%00", f"agentId={'u' * 256}"):
        error = assert_error(kit.get(f"/v1/memories?{query}"), 400, "VALIDATION_ERROR")
        assert error["message"].startswith("agentId: ")


@pytest.mark.parametrize(
    "query", ["limit=x", "page=x", "limit=0", "page=0", "agentId=", "userId=", "tags=%00"]
)
def test_a_fault_is_told_in_the_words_of_the_wire(kit: httpx.Client, query: str) -> None:
    told = kit.get(f"/v1/memories?{query}").json()["error"]["message"]
    for inner in ("user_id", "agent_id", "memory_id", "`str`", "`int`", "ParamType", "regex"):
        assert inner not in told


@pytest.mark.parametrize("tag", ["a,b", ",", " a", "a ", " ", "\ta", "\u00a0a"])
def test_a_tag_that_no_list_could_be_filtered_by_is_refused(kit: httpx.Client, tag: str) -> None:
    body = {"content": "User likes tea", "userId": "u", "tags": ["ok", tag]}
    error = assert_error(kit.post("/v1/memories", json=body), 400, "VALIDATION_ERROR")
    assert "tags" in error["message"]
    assert kit.get("/v1/memories").json()["items"] == []


@pytest.mark.parametrize("tag", ["a", "two words", "a;b", "é🙂", "x" * 255, "%2C", "a\\b", "'"])
def test_every_tag_that_is_taken_can_be_listed_by(kit: httpx.Client, tag: str) -> None:
    created = added(kit, content="User likes tea", tags=["other", tag])
    (item,) = kit.get("/v1/memories", params={"tags": tag}).json()["items"]
    assert item["id"] == created["id"]


def test_a_body_that_is_no_json_is_told_so(kit: httpx.Client) -> None:
    for content in (b"", b"{", b"\xff", iter([b""])):
        answer = kit.post("/v1/memories", content=content, headers={"Content-Type": "application/json"})
        assert "data" not in assert_error(answer, 400, "VALIDATION_ERROR")["message"]
    answer = kit.post("/v1/memories", content=b"a=1", headers={"Content-Type": "text/plain"})
    assert_error(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_what_is_not_there_is_404(kit: httpx.Client) -> None:
    for id in ("mem_abc123def456", "x", "mem_" + "0" * 32, "%00"):
        assert_error(kit.get(f"/v1/memories/{id}"), 404, "MEMORY_NOT_FOUND")
        assert_error(kit.delete(f"/v1/memories/{id}"), 404, "MEMORY_NOT_FOUND")
    assert_error(kit.get("/v1/nothing"), 404, "NOT_FOUND")
    assert_error(kit.put("/v1/memories"), 405, "METHOD_NOT_ALLOWED")


def test_another_owners_memory_is_not_found_and_not_changed(kit: httpx.Client, service: Service) -> None:
    created = kit.post("/v1/memories", json=CREATE).json()
    with client_of(service.url, key_of(service)) as stranger:
        assert_error(stranger.get(f"/v1/memories/{created['id']}"), 404, "MEMORY_NOT_FOUND")
        assert_error(stranger.delete(f"/v1/memories/{created['id']}"), 404, "MEMORY_NOT_FOUND")
        assert stranger.get("/v1/memories?userId=user_123").json()["items"] == []
        assert stranger.post("/v1/memories/search", json=SEARCH).json()["results"] == []
    assert kit.get(f"/v1/memories/{created['id']}").json() == created


def test_keys_that_open_nothing_are_401(service: Service) -> None:
    for url in (f"{service.url}/v1/memories", f"{service.url}/memokit/v1/memories"):
        answer = httpx.get(url, headers={"Authorization": "Bearer mk_unknown"})
        assert_error(answer, 401, "INVALID_API_KEY")
    assert_error(httpx.get(f"{service.url}/memokit/v1/memories"), 401, "UNAUTHORIZED")
    basic = httpx.get(f"{service.url}/memokit/v1/memories", headers={"Authorization": "Basic eDp5"})
    assert_error(basic, 401, "UNAUTHORIZED")
    revoked = key_of(service)
    cells = service.worker.cells
    cells.revoke_key(cells.key_of(revoked).id)
    with client_of(service.url, revoked) as client:
        assert_error(client.get("/v1/memories"), 401, "API_KEY_REVOKED")


def test_a_key_that_may_only_read_is_403(service: Service) -> None:
    with client_of(service.url, key_of(service, scopes=("read",))) as reader:
        assert_error(reader.post("/v1/memories", json=CREATE), 403, "FORBIDDEN")
        assert reader.get("/v1/memories").status_code == 200


def test_a_used_up_month_is_403_with_what_was_used(service: Service) -> None:
    with client_of(service.url, key_of(service, Terms(dialect="memokit", per_month=2))) as kit:
        answers = [kit.get("/v1/memories"), kit.post("/v1/memories", json=CREATE), kit.get("/v1/memories")]
    assert [answer.status_code for answer in answers] == [200, 201, 403]
    assert [answer.headers["X-Quota-Used"] for answer in answers] == ["1", "2", "2"]
    assert {answer.headers["X-Quota-Limit"] for answer in answers} == {"2"}
    assert int(answers[-1].headers["X-Quota-Reset"]) > time.time()
    error = assert_error(answers[-1], 403, "QUOTA_EXCEEDED")
    assert error.keys() == {"code", "message", "currentUsage", "limit", "resetAt"}
    assert (error["currentUsage"], error["limit"]) == (2, 2)
    assert error["resetAt"].endswith("Z")
    assert datetime.fromisoformat(error["resetAt"]) > datetime.now(UTC)


def test_too_many_requests_a_minute_are_429_with_when_to_come_back(service: Service) -> None:
    with client_of(service.url, key_of(service, Terms(dialect="memokit", per_minute=2))) as kit:
        answers = [kit.get("/v1/memories") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"2"}
    assert "X-RateLimit-Reset" in answers[-1].headers
    error = assert_error(answers[-1], 429, "RATE_LIMIT_EXCEEDED")
    assert error.keys() == {"code", "message", "retryAfter"}
    assert str(error["retryAfter"]) == answers[-1].headers["Retry-After"]


HEADERS = [
    "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    "X-Quota-Limit", "X-Quota-Used", "X-Quota-Reset",
]  # fmt: skip


@pytest.mark.parametrize(
    "terms",
    [Terms(), Terms(dialect="memokit"), Terms(per_minute=100), Terms(per_month=100)],
    ids=["no terms", "no limits", "a minute", "a month"],
)
def test_every_answer_has_all_six_headers_and_what_has_no_limit_says_so(
    service: Service, terms: Terms
) -> None:
    with client_of(service.url, key_of(service, terms)) as kit:
        for n, answer in enumerate((kit.get("/v1/memories"), kit.get("/v1/memories/x")), start=1):
            told = [int(answer.headers[name]) for name in HEADERS]
            rate, remaining, full_at, quota, used, month_ends = told
            assert rate == (terms.per_minute or 2**31 - 1)
            assert rate - n <= remaining < rate
            assert quota == (terms.per_month or 2**31 - 1)
            assert used == n
            assert time.time() - 1 <= full_at <= time.time() + 62
            assert month_ends > time.time()


def test_a_used_up_month_leaves_the_minute_as_it_is(service: Service) -> None:
    terms = Terms(dialect="memokit", per_minute=100, per_month=3)
    with client_of(service.url, key_of(service, terms)) as kit:
        answers = [kit.get("/v1/memories") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 403, 403]
    remaining = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers]
    assert remaining[:3] == [99, 98, 97]
    assert min(remaining[3:]) >= 97  # what is refused costs nothing
    assert [answer.headers["X-Quota-Used"] for answer in answers] == ["1", "2", "3", "3", "3"]


def test_a_repeated_request_with_the_same_idempotency_key_is_done_once(kit: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    first, again = (kit.post("/v1/memories", json=CREATE, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert kit.get("/v1/memories").json()["pagination"]["total"] == 1
    other = kit.post("/v1/memories", json=SECOND, headers=headers)
    assert_error(other, 409, "IDEMPOTENCY_KEY_REUSED")


# --- beside the other contracts ---------------------------------------------------------------------


def test_the_key_may_come_as_x_api_key(service: Service) -> None:
    headers = {"X-API-Key": key_of(service)}
    answer = httpx.get(f"{service.url}/v1/memories", headers=headers)
    assert answer.json()["pagination"]["total"] == 0


def test_any_other_key_speaks_memoid_on_v1_and_memokit_below_its_prefix(service: Service, user: str) -> None:
    with client_of(service.url, key_of(service, Terms(), prefix="ev_")) as client:
        body = {"messages": [{"role": "user", "content": "User likes tea"}], "user_id": user, "infer": False}
        added = client.post("/v1/memories", json=body).json()["results"]
        assert client.get("/v1/memories").json()["results"][0]["memory"] == "User likes tea"
        assert client.get("/v1/memories/x").json()["type"] == "urn:everlog:problem:not-found"
        (item,) = client.get("/memokit/v1/memories").json()["items"]
        assert (item["id"], item["content"], item["userId"]) == (added[0]["id"], "User likes tea", user)


def test_a_memory_without_a_user_has_no_user_id(service: Service) -> None:
    with client_of(service.url, key_of(service, Terms(), prefix="ev_")) as client:
        body = {"messages": [{"role": "user", "content": "User likes tea"}], "infer": False}
        client.post("/v1/memories", json=body)
        (item,) = client.get("/memokit/v1/memories").json()["items"]
        assert item.keys() == {"id", "content", "createdAt", "updatedAt"}


def test_a_key_made_for_memoid_is_told_where_it_belongs(service: Service) -> None:
    with client_of(service.url, key_of(service, Terms(dialect="memoid"), prefix="ev_")) as client:
        assert_error(client.get("/memokit/v1/memories"), 403, "FORBIDDEN")
