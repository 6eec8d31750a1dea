"""The Khoj contract for memories: the requests of seed 000, as it prints them, and Khoj's web client."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.key import ALL_SCOPES, Terms
from tests.support.service import Service, client_of

SEED = ["User prefers concise responses", "User is a software engineer working with Python"]


@pytest.fixture
def khoj(service: Service) -> Iterator[httpx.Client]:
    """A client with an owner of this test's own: a list is all that its owner has."""
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "khoj", f"owner-{uuid4().hex}", ALL_SCOPES, Terms(dialect="khoj"))
    with client_of(service.url, secret) as client:
        yield client


def added(client: httpx.Client, raw: str) -> dict[str, Any]:
    answer = client.post("/api/memories", json={"raw": raw})
    assert answer.status_code == 201
    memory: dict[str, Any] = answer.json()
    return memory


def assert_error(answer: httpx.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"status", "error", "message", "detail"}
    assert body["status"] == "error"
    assert body["error"] and body["error"] == body["message"]
    assert body["detail"]
    if message:
        assert body["error"] == body["detail"] == message


def test_the_list_is_a_bare_array_in_the_order_of_its_numbers(khoj: httpx.Client) -> None:
    assert khoj.get("/api/memories").json() == []
    memories = [added(khoj, raw) for raw in SEED]
    answer = khoj.get("/api/memories")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == memories
    assert [memory["raw"] for memory in memories] == SEED
    for memory in memories:
        assert memory.keys() == {"id", "raw", "created_at"}
        assert type(memory["id"]) is int
        assert memory["created_at"].endswith("Z")
        age = datetime.now(UTC) - datetime.fromisoformat(memory["created_at"])
        assert abs(age) < timedelta(minutes=5)
    assert memories[0]["id"] < memories[1]["id"]


def test_an_update_keeps_number_and_creation_time(khoj: httpx.Client) -> None:
    before, other = (added(khoj, raw) for raw in SEED)
    answer = khoj.put(
        f"/api/memories/{before['id']}", json={"raw": "User prefers detailed technical explanations"}
    )
    assert answer.status_code == 200
    assert answer.json() == {**before, "raw": "User prefers detailed technical explanations"}
    assert khoj.get("/api/memories").json() == [answer.json(), other]


def test_the_web_client_sends_the_number_in_the_body_too(khoj: httpx.Client) -> None:
    before = added(khoj, SEED[0])
    answer = khoj.put(f"/api/memories/{before['id']}", json={"raw": SEED[1], "memory_id": before["id"]})
    assert answer.json() == {**before, "raw": SEED[1]}


def test_a_deleted_memory_is_gone(khoj: httpx.Client) -> None:
    gone, kept = (added(khoj, raw) for raw in SEED)
    answer = khoj.delete(f"/api/memories/{gone['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert khoj.get("/api/memories").json() == [kept]
    assert_error(khoj.delete(f"/api/memories/{gone['id']}"), 404, "Memory not found")
    assert_error(khoj.put(f"/api/memories/{gone['id']}", json={"raw": "x"}), 404, "Memory not found")


def test_a_restored_memory_keeps_its_number(client: httpx.Client) -> None:
    before = added(client, f"User likes the number {uuid4().hex}")
    assert client.delete(f"/api/memories/{before['id']}").status_code == 204
    (deletion,) = [
        event
        for event in client.get("/v1/events", params={"after": before["id"]}).json()["results"]
        if event["event"] == "DELETE"
    ]
    revert = client.post("/v1/reverts", json={"cause": deletion["cause"], "dry_run": False})
    assert revert.is_success, revert.text
    assert before in client.get("/api/memories").json()
    changed = client.put(f"/api/memories/{before['id']}", json={"raw": "User likes no number"})
    assert changed.json() == {**before, "raw": "User likes no number"}


def test_memories_of_every_user_and_agent_of_the_owner_are_listed(client: httpx.Client, user: str) -> None:
    said = {"messages": [{"role": "user", "content": f"I am {user}"}], "infer": False}
    client.post("/v1/memories", json={**said, "user_id": user, "agent_id": "a"})
    assert f"I am {user}" in [memory["raw"] for memory in client.get("/api/memories").json()]


def test_another_owners_memory_is_not_found_and_not_changed(
    khoj: httpx.Client, stranger: httpx.Client
) -> None:
    memory = added(khoj, SEED[0])
    path = f"/api/memories/{memory['id']}"
    assert_error(stranger.put(path, json={"raw": "User was here"}), 404, "Memory not found")
    assert_error(stranger.delete(path), 404, "Memory not found")
    assert memory not in stranger.get("/api/memories").json()
    assert khoj.get("/api/memories").json() == [memory]


@pytest.mark.parametrize("number", ["0", "-1", "1", "999999999999", str(2**63), "9" * 5000])
def test_a_number_that_is_no_memorys_is_404(khoj: httpx.Client, number: str) -> None:
    assert_error(khoj.put(f"/api/memories/{number}", json={"raw": "x"}), 404, "Memory not found")
    assert_error(khoj.delete(f"/api/memories/{number}"), 404, "Memory not found")


def test_the_position_of_a_later_event_is_no_number(khoj: httpx.Client) -> None:
    memory = added(khoj, SEED[0])
    khoj.put(f"/api/memories/{memory['id']}", json={"raw": SEED[1]})
    for later in range(memory["id"] + 1, memory["id"] + 4):
        assert khoj.delete(f"/api/memories/{later}").status_code == 404
    assert len(khoj.get("/api/memories").json()) == 1


@pytest.mark.parametrize("number", ["abc", "1.5", "1e3", "%C2%B2", "mem_1"])
def test_what_is_no_integer_is_422(khoj: httpx.Client, number: str) -> None:
    assert_error(khoj.put(f"/api/memories/{number}", json={"raw": "x"}), 422)
    assert_error(khoj.delete(f"/api/memories/{number}"), 422)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"[]", b"null", b'{"raw": ""}', b'{"raw": " \\n"}', b'{"raw": null}', b'{"raw": 5}',
     b'{"raw": "a\\u0000"}', b'{"raw": "\xff"}'],
)  # fmt: skip
def test_a_bad_body_is_422_and_changes_nothing(khoj: httpx.Client, body: bytes) -> None:
    memory = added(khoj, SEED[0])
    headers = {"Content-Type": "application/json"}
    assert_error(khoj.put(f"/api/memories/{memory['id']}", content=body, headers=headers), 422)
    assert_error(khoj.post("/api/memories", content=body, headers=headers), 422)
    assert khoj.get("/api/memories").json() == [memory]


def test_a_missing_field_is_told_as_fastapi_does(khoj: httpx.Client) -> None:
    (fault,) = khoj.post("/api/memories", json={}).json()["detail"]
    assert fault == {"type": "missing", "loc": ["body", "raw"], "msg": "Field required", "input": None}
    (fault,) = khoj.post("/api/memories", json={"raw": 5}).json()["detail"]
    assert fault["loc"] == ["body", "raw"]
    assert (fault["type"], fault["msg"]) == ("string_type", "Input should be a valid string")


BOOLEAN = "Input should be a valid boolean, unable to interpret input"
INTEGER = "Input should be a valid integer, unable to parse string as an integer"


@pytest.mark.parametrize(
    ("method", "path", "content", "fault"),
    [
        ("PATCH", "/api/user/memory?enable_memory=maybe", None,
         ("bool_parsing", ["query", "enable_memory"], BOOLEAN, "maybe")),
        ("PATCH", "/api/user/memory", None, ("missing", ["query", "enable_memory"], "Field required", None)),
        ("DELETE", "/api/memories/abc", None, ("int_parsing", ["path", "memory_id"], INTEGER, "abc")),
        ("PUT", "/api/memories/1.5", b'{"raw": "x"}', ("int_parsing", ["path", "memory_id"], INTEGER, "1.5")),
        ("POST", "/api/memories", b"", ("missing", ["body"], "Field required", None)),
        ("PUT", "/api/memories/1", b"", ("missing", ["body"], "Field required", None)),
        ("POST", "/api/memories", b"{", ("json_invalid", ["body"], "JSON decode error", None)),
        ("POST", "/api/memories", b'{"raw": "\xff"}', ("json_invalid", ["body"], "JSON decode error", None)),
        ("POST", "/api/memories", b"[" * 9_000, ("json_invalid", ["body"], "JSON decode error", None)),
        ("GET", "/api/chat/history?n=x", None, ("int_parsing", ["query", "n"], INTEGER, "x")),
        ("DELETE", "/api/content/files", b"", ("missing", ["body"], "Field required", None)),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_every_fault_of_a_request_is_told_as_fastapi_does(
    khoj: httpx.Client, method: str, path: str, content: bytes | None, fault: tuple[Any, ...]
) -> None:
    headers = {"Content-Type": "application/json"} if content is not None else {}
    answer = khoj.request(method, path, content=content, headers=headers)
    assert_error(answer, 422)
    type, loc, msg, input = fault
    assert answer.json()["detail"] == [{"type": type, "loc": loc, "msg": msg, "input": input}]


def test_no_fault_repeats_what_a_body_says(khoj: httpx.Client) -> None:
    for body in ({"raw": ["a secret"]}, {"raw": {"a secret": 1}}, ["a secret"], "a secret"):
        answer = khoj.post("/api/memories", json=body)
        assert_error(answer, 422)
        assert "secret" not in answer.text


def test_json_that_calls_itself_text_is_422(khoj: httpx.Client) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = khoj.post("/api/memories", content=b'{"raw": "x"}', headers=headers)
    assert_error(answer, 422)
    (fault,) = answer.json()["detail"]
    assert (fault["type"], fault["loc"]) == ("model_attributes_type", ["body"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/memories"),
        ("POST", "/api/memories"),
        ("PUT", "/api/memories/1"),
        ("DELETE", "/api/memories/1"),
        ("PATCH", "/api/user/memory?enable_memory=true"),
        ("GET", "/api/settings?detailed=true"),
        ("GET", "/api/v1/user"),
    ],
)
def test_without_a_key_or_with_an_unknown_one_all_is_401(service: Service, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer kk-unknown"}):
        answer = httpx.request(method, service.url + path, headers=headers)
        assert_error(answer, 401)
        assert answer.json()["detail"] == "Forbidden"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_of_another_contract_is_403_in_this_ones_shape(service: Service) -> None:
    secret = f"key-{uuid4().hex}"
    service.worker.cells.create_key(secret, "m", "default", ALL_SCOPES, Terms(dialect="memoid"))
    with client_of(service.url, secret) as client:
        assert_error(client.get("/api/memories"), 403)


def test_a_wrong_method_and_an_unknown_path_answer_in_shape(khoj: httpx.Client) -> None:
    answer = khoj.get("/api/memories/1")
    assert_error(answer, 405, "Method Not Allowed")
    assert set(re.split(", ?", answer.headers["Allow"])) >= {"PUT", "DELETE"}
    assert_error(khoj.get("/api/memories/1/2"), 404, "Not Found")
    assert_error(khoj.get("/api/nothing"), 404, "Not Found")


def test_every_path_is_served_with_and_without_a_trailing_slash(khoj: httpx.Client) -> None:
    memory = khoj.post("/api/memories/", json={"raw": SEED[0]}).json()
    assert khoj.get("/api/memories/").json() == [memory]
    assert khoj.put(f"/api/memories/{memory['id']}/", json={"raw": SEED[1]}).status_code == 200
    assert khoj.delete(f"/api/memories/{memory['id']}/").status_code == 204


# --- the web client ---------------------------------------------------------------------------------


def test_memory_is_switched_off_and_on_and_the_settings_say_so(
    khoj: httpx.Client, stranger: httpx.Client
) -> None:
    def enabled() -> bool:
        settings = khoj.get("/api/settings", params={"detailed": "true"}).json()
        assert settings["server_memory_mode"] == "enabled_default_on"
        return settings["enable_memory"] is True

    memory = added(khoj, SEED[0])
    assert enabled()
    for wanted in ("false", "false", "true"):
        answer = khoj.patch("/api/user/memory", params={"enable_memory": wanted})
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "enable_memory": wanted == "true"}
        assert enabled() is (wanted == "true")
        assert khoj.get("/api/memories").json() == [memory]  # also while it is off
    assert khoj.patch("/api/user/memory", params={"enable_memory": "false"}).is_success
    assert stranger.get("/api/settings", params={"detailed": "true"}).json()["enable_memory"] is True


def test_switching_is_an_event_only_when_it_changes_something(khoj: httpx.Client, service: Service) -> None:
    owner = khoj.get("/api/settings").json()["username"]
    log = service.worker.cells.first.log
    versions = [log.owner(owner).version]
    for wanted in ("true", "true", "false", "false", "true"):  # the first is a choice: it was the server's
        khoj.patch("/api/user/memory", params={"enable_memory": wanted})
        versions.append(log.owner(owner).version)
    assert versions == [1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("query", ["", "?enable_memory=", "?enable_memory=perhaps"])
def test_switching_to_nothing_is_422(khoj: httpx.Client, query: str) -> None:
    assert_error(khoj.patch(f"/api/user/memory{query}"), 422)
    assert khoj.get("/api/settings?detailed=true").json()["enable_memory"] is True


def test_the_settings_have_what_the_web_client_reads(khoj: httpx.Client) -> None:
    few = khoj.get("/api/settings").json()
    assert few.keys() == {"username", "user_photo", "is_active", "has_documents", "khoj_version"}
    many = khoj.get("/api/settings?detailed=true").json()
    assert few.items() <= many.items()
    assert many.keys() >= {
        "given_name", "phone_number", "enabled_content_source", "search_model_options", "chat_model_options",
        "paint_model_options", "voice_model_options", "subscription_state", "billing_enabled",
        "is_eleven_labs_enabled", "is_twilio_enabled", "anonymous_mode", "notion_oauth_url",
    }  # fmt: skip
    assert "detail" not in many


def test_the_user_is_the_owner_of_the_key(client: httpx.Client) -> None:
    user = client.get("/api/v1/user").json()
    assert user.keys() == {"email", "username", "photo", "is_active", "has_documents", "khoj_version"}
    assert (user["email"], user["username"]) == ("default", "default")


def test_one_user_of_a_key_is_asked_for_by_name(khoj: httpx.Client) -> None:
    for user in ("zed", "kim"):
        khoj.post("/api/memories", params={"user_id": user}, json={"raw": f"{user} has a horse"})
    listed = khoj.get("/api/memories", params={"user_id": "zed"}).json()
    assert [memory["raw"] for memory in listed] == ["zed has a horse"]


def test_what_has_expired_is_not_listed(client: httpx.Client, user: str) -> None:
    said = {"messages": [{"role": "user", "content": "The sale ends soon"}], "infer": False, "user_id": user}
    for more in ({"expiration_date": "2020-01-01"}, {}):
        assert client.post("/mem0/v3/memories/add/", json={**said, **more}).is_success
    assert len(client.get("/api/memories", params={"user_id": user}).json()) == 1
