"""Bad input: a clear problem, never a 5xx, and nothing written."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import head

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def nested(levels: int, open: str = '{"a":', close: str = "}") -> str:
    return open * levels + "1" + close * levels


def message(content: str) -> bytes:
    return b'{"infer":false,"messages":[{"role":"user","content":' + content.encode() + b"}]}"


def with_metadata(metadata: str) -> bytes:
    return b'{"messages":[{"role":"user","content":"x"}],"metadata":' + metadata.encode() + b"}"


BODIES: dict[str, tuple[bytes, int]] = {
    "U+0000 in a text": (message('"a\\u0000b"'), 422),
    "U+0000 in a key of metadata": (with_metadata('{"a\\u0000":1}'), 422),
    "U+0000 deep in metadata": (with_metadata('{"a":[{"b":"\\u0000"}]}'), 422),
    "U+0000 in a user": (json.dumps({**HELLO, "user_id": "a\0"}).encode(), 422),
    "a lone surrogate": (message('"a\\ud800b"'), 400),
    "invalid UTF-8": (b'{"messages":[{"role":"user","content":"\xff\xfe"}]}', 400),
    "10 MB": (message(f'"{"a" * 10_000_000}"'), 413),
    "arrays nested 100,000 deep": (b'{"messages":' + nested(100_000, "[", "]").encode() + b"}", 400),
    "metadata nested 100,000 deep": (with_metadata(nested(100_000)), 400),
    "metadata nested 500 deep": (with_metadata(nested(500)), 422),
    "metadata of 100 kB": (with_metadata(json.dumps({"a": "b" * 100_000})), 422),
    "NaN": (with_metadata('{"a":NaN}'), 400),
    "a number out of range": (with_metadata('{"a":1e999}'), 400),
    "cut off JSON": (b'{"messages":[', 400),
    "no body": (b"", 400),
    "null": (b"null", 422),
    "an array": (b"[]", 422),
    "no messages": (b"{}", 422),
    "empty messages": (b'{"messages":[]}', 422),
    "1,001 messages": (json.dumps({"messages": HELLO["messages"] * 1_001}).encode(), 422),
    "an empty text": (message('""'), 422),
    "a blank text": (message('" \\n "'), 422),
    "a text of 100,001 characters": (message(f'"{"a" * 100_001}"'), 422),
    "a number for a text": (message("5"), 422),
    "an image for a text": (message('[{"type":"image_url","image_url":{"url":"x"}}]'), 422),
    "an unknown role": (b'{"messages":[{"role":"wizard","content":"x"}]}', 422),
    "a number for a user": (json.dumps({**HELLO, "user_id": 7}).encode(), 422),
    "an empty user": (json.dumps({**HELLO, "user_id": ""}).encode(), 422),
    "a user of 9,000 characters": (json.dumps({**HELLO, "user_id": "u" * 9_000}).encode(), 422),
    "a list for metadata": (with_metadata("[1]"), 422),
}


@pytest.mark.parametrize("body, status", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_cannot_be_stored_is_refused(client: httpx.Client, body: bytes, status: int) -> None:
    before = head(client)
    answer = client.post("/v1/memories", content=body, headers={"Content-Type": "application/json"})
    is_problem(answer, status)
    assert head(client) == before


def test_a_form_is_not_json(client: httpx.Client) -> None:
    is_problem(client.post("/v1/memories", data={"a": "b"}), 415)


@pytest.mark.parametrize(
    "content, kept",
    [
        ('"a\\\\u0000b"', "a\\u0000b"),
        ('"\\ud83d\\ude00"', "😀"),
        ('[{"type":"text","text":"parts"}]', "parts"),
    ],
)
def test_what_only_looks_bad_is_kept(client: httpx.Client, content: str, kept: str) -> None:
    answer = client.post(
        "/v1/memories", content=message(content), headers={"Content-Type": "application/json"}
    )
    assert answer.json()["results"][0]["memory"] == kept


def test_unknown_fields_are_ignored(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "x", "name": "n"}], "zzz": 1, "user_id": None}
    assert client.post("/v1/memories", json=body).status_code == 201


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=0", "limit=x", "offset=-1", "as_of=yesterday", "user_id="],
)
def test_bad_parameters_are_400(client: httpx.Client, query: str) -> None:
    is_problem(client.get(f"/v1/memories?{query}"), 400)


def test_a_limit_above_the_highest_is_that(client: httpx.Client) -> None:
    assert client.get("/v1/memories?limit=1001").status_code == 200
    assert client.post("/v1/search", json={"query": "x", "limit": 101}).status_code == 200


def test_a_parameter_that_cannot_be_stored_is_refused(client: httpx.Client) -> None:
    is_problem(client.get("/v1/memories?user_id=%00"), 422)


@pytest.mark.parametrize("id", ["mem_01a1fc6c5e7379cfa1c601ec3efede40", "zzz", "%00", "mem_", "..%2f"])
def test_unknown_ids_are_404(client: httpx.Client, id: str) -> None:
    is_problem(client.get(f"/v1/memories/{id}"), 404)
    is_problem(client.put(f"/v1/memories/{id}", json={"memory": "x"}), 404)
    is_problem(client.delete(f"/v1/memories/{id}"), 404)
    is_problem(client.get(f"/v1/memories/{id}/history"), 404)


@pytest.mark.parametrize(
    "body", [{}, {"memory": ""}, {"memory": 5}, {"metadata": []}, {"tags": [""]}, {"memory": "a\0"}]
)
def test_bad_updates_are_422(client: httpx.Client, user: str, body: dict[str, Any]) -> None:
    id = add(client, "x", user)
    is_problem(client.put(f"/v1/memories/{id}", json=body), 422)
    assert client.get(f"/v1/memories/{id}").json()["version"] == 1


@pytest.mark.parametrize("tag", ["zz", '"x"', "-1", ""])
def test_an_if_match_that_is_no_version_is_400(client: httpx.Client, user: str, tag: str) -> None:
    id = add(client, "x", user)
    is_problem(client.put(f"/v1/memories/{id}", json={"memory": "y"}, headers={"If-Match": tag}), 400)


def test_an_idempotency_key_has_1_to_255_characters(client: httpx.Client) -> None:
    for key in ("", "k" * 256):
        is_problem(client.post("/v1/memories", json=HELLO, headers={"Idempotency-Key": key}), 400)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"query": ""}, {"query": 1}, {"query": "x", "mode": "zz"}, {"query": "x", "limit": 0},
        {"query": "x", "limit": "x"}, {"query": "x", "threshold": 2}, {"query": "x", "tags": "a"},
        {"query": "a\0"}, {"query": "x", "metadata": [1]},
    ],
)  # fmt: skip
def test_bad_searches_are_422(client: httpx.Client, body: dict[str, Any]) -> None:
    is_problem(client.post("/v1/search", json=body), 422)


@pytest.mark.parametrize(
    "query", ["the of and", "!!! ???", "x " * 40_000, "'; DROP TABLE events; --", "%s {0} \\"]
)
def test_odd_queries_are_searched_for(client: httpx.Client, query: str) -> None:
    assert client.post("/v1/search", json={"query": query}).status_code == 200


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "since=yesterday", "memory_id=zzz"])
def test_bad_pages_of_the_log_are_400(client: httpx.Client, query: str) -> None:
    is_problem(client.get(f"/v1/events?{query}"), 400)


def test_deleting_without_a_filter_is_400(client: httpx.Client, user: str) -> None:
    id = add(client, "x", user)
    is_problem(client.delete("/v1/memories"), 400)
    assert client.get(f"/v1/memories/{id}").status_code == 200


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    is_problem(client.get("/v1/nothing"), 404)
    is_problem(client.patch("/v1/memories", json={}), 405)


# --- in every dialect -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", iter([b""])], ids=["no body", "an empty stream"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/batch"), ("PUT", "/v1/batch"), ("POST", "/v1/memories"), ("POST", "/v1/search")],
)
def test_a_missing_body_is_told_so_whatever_the_method(
    client: httpx.Client, method: str, path: str, content: Any
) -> None:
    answer = client.request(method, path, content=content)
    is_problem(answer, 400)
    assert answer.json()["detail"] == "a JSON body is missing"


def test_a_missing_body_is_told_in_each_dialects_shape(client: httpx.Client) -> None:
    for method, path in (("DELETE", "/mem0/v1/batch/"), ("POST", "/mem0/v3/memories/search/")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["detail"]) == (400, "a JSON body is missing")
    for method, path, field in (
        ("DELETE", "/api/v1/memories/batch", "memory_ids"),
        ("POST", "/api/v1/memories", "messages"),
    ):
        answer = client.request(method, path)
        assert answer.status_code == 400
        assert answer.json() == {
            "error": "Invalid request payload",
            "details": {"fieldErrors": {field: ["Required"]}},
        }
    answer = client.post("/memokit/v1/memories")
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": "VALIDATION_ERROR", "message": "a JSON body is missing"}}
    answer = client.delete("/api/content/files")
    assert (answer.status_code, answer.json()["error"]) == (422, "a JSON body is missing")


def test_a_body_to_delete_by_that_is_no_json_is_415(client: httpx.Client) -> None:
    is_problem(client.request("DELETE", "/v1/batch", data={"memory_ids": "x"}), 415)


@pytest.mark.parametrize(
    "body", [5, [], {"messages": 5}, {"messages": [5]}, {"messages": [], "user_id": "\0"}]
)
@pytest.mark.parametrize(
    "path",
    ["/v1/memories", "/memokit/v1/memories", "/mem0/v3/memories/add/", "/api/v1/memories", "/api/chat"],
)
def test_no_answer_names_a_type_as_python_does(client: httpx.Client, path: str, body: Any) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code in (400, 422)
    assert not re.search(r"\b(str|int|float|bool|dict|ParamType|regex)\b|'data'", answer.text)


@pytest.mark.parametrize(
    ("path", "headers", "named"),
    [
        ("/v1/memories", {"Everlog-Min-Position": "x"}, "Everlog-Min-Position"),
        ("/memokit/v1/memories?userId=", {}, "userId"),
        ("/api/v1/memories/search", {}, "query"),
        ("/api/v1/memories/search?query=x&limit=x", {}, "limit"),
        ("/api/search", {}, "q"),
    ],
)
def test_a_parameter_has_its_name_of_the_wire(
    client: httpx.Client, path: str, headers: dict[str, str], named: str
) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code in (400, 422)
    assert named in answer.text
    for inner in ("min_position", "user_id", "sought", "for path", "ParamType"):
        assert inner not in answer.text


@pytest.mark.parametrize("path", ["/v1/ingestions?status=", "/api/v1/memories?order=", "/api/search?q=x&t="])
def test_what_is_not_one_of_a_few_values_is_not_repeated(client: httpx.Client, path: str) -> None:
    answer = client.get(f"{path}secret")
    assert answer.status_code in (400, 422)
    assert "Invalid enum value" not in answer.text
    assert "secret" not in answer.json().get("detail", "")
