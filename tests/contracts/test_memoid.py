"""The Memoid contract: the examples of seed 002 (seeds/002_1d1c91d0ee0dae4a.txt), as it prints them."""

import inspect
import re
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from memoid import MemoryClient

from api.native import adding as memoid
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory, Traits
from domain.recorded import Context, now
from domain.scope import Scope
from tests.support.ingestions import nobody_extracting
from tests.support.service import Service

EXAMPLE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "I love hiking"},
        {"role": "assistant", "content": "Great hobby!"},
    ],
    "user_id": "user_123",
}


def test_adding_answers_results_with_id_memory_and_event(client: httpx.Client) -> None:
    answer = client.post("/v1/memories", json=EXAMPLE)
    assert answer.status_code == 201
    (result,) = answer.json()["results"]
    assert re.fullmatch(r"mem_[0-9a-f]{32}", result["id"])
    assert (result["memory"], result["event"]) == ("User loves hiking", "ADD")
    assert answer.json()["memories"] == answer.json()["results"]


def test_without_extraction_the_event_says_that_nothing_was_extracted(
    client: httpx.Client, user: str
) -> None:
    body = {"messages": EXAMPLE["messages"][:1], "user_id": user, "infer": False}
    id = client.post("/v1/memories", json=body).json()["results"][0]["id"]
    (version,) = client.get(f"/v1/memories/{id}/history").json()["history"]
    assert version["extractor"] is None
    (event,) = client.get("/v1/events", params={"memory_id": id}).json()["results"]
    assert event["data"]["role"] == "user"
    assert "extractor" not in event["data"]


def test_infer_false_keeps_every_message_but_instructions(client: httpx.Client, user: str) -> None:
    messages = [{"role": "system", "content": "Be brief"}, *EXAMPLE["messages"]]
    body = {
        "messages": messages,
        "user_id": user,
        "infer": False,
        "extract_graph": False,
        "metadata": {"a": 1},
    }
    results = client.post("/v1/memories", json=body).json()["results"]
    assert [result["memory"] for result in results] == ["I love hiking", "Great hobby!"]


def test_listing_filters_by_user_and_pages(client: httpx.Client, user: str) -> None:
    said = {"messages": EXAMPLE["messages"][:1], "infer": False}
    ids = [
        client.post("/v1/memories", json={**said, "user_id": user, "agent_id": f"a{n % 2}"}).json()[
            "results"
        ][0]["id"]
        for n in range(5)
    ]
    listed = client.get("/v1/memories", params={"user_id": user, "limit": 10}).json()
    assert listed["total"] == 5
    assert [memory["id"] for memory in listed["results"]] == ids[::-1]
    memory = listed["results"][0]
    assert (memory["memory"], memory["user_id"]) == ("I love hiking", user)
    assert memory["created_at"].endswith("Z")
    datetime.fromisoformat(memory["created_at"])
    page = client.get("/v1/memories", params={"user_id": user, "limit": 2, "offset": 2}).json()
    assert [memory["id"] for memory in page["results"]] == ids[2:0:-1]
    assert client.get("/v1/memories", params={"user_id": user, "agent_id": "a1"}).json()["total"] == 2


def test_getting_updating_and_deleting_one(client: httpx.Client, user: str) -> None:
    id = client.post("/v1/memories", json={**EXAMPLE, "user_id": user}).json()["results"][0]["id"]
    memory = client.get(f"/v1/memories/{id}").json()
    assert memory["id"] == id
    assert memory.keys() >= {
        "id", "memory", "user_id", "agent_id", "run_id", "project_id", "metadata", "created_at", "updated_at",
    }  # fmt: skip
    updated = client.put(
        f"/v1/memories/{id}", json={"memory": "User loves climbing", "metadata": {"a": 1}}
    ).json()
    assert (updated["memory"], updated["metadata"]) == ("User loves climbing", {"a": 1})
    assert client.get(f"/v1/memories/{id}").json() == updated
    assert client.delete(f"/v1/memories/{id}").is_success
    assert client.get(f"/v1/memories/{id}").status_code == 404
    assert client.delete(f"/v1/memories/{id}").status_code == 404


def test_deleting_by_user_or_agent_deletes_theirs_alone(client: httpx.Client, user: str) -> None:
    for agent in ("one", "two"):
        client.post("/v1/memories", json={**EXAMPLE, "user_id": user, "agent_id": f"{user}-{agent}"})
    other = client.post("/v1/memories", json={**EXAMPLE, "user_id": f"{user}-other"}).json()["results"][0][
        "id"
    ]
    assert client.delete("/v1/memories", params={"agent_id": f"{user}-one"}).json()["deleted"] == 1
    assert client.get("/v1/memories", params={"user_id": user}).json()["total"] == 1
    assert client.delete("/v1/memories", params={"user_id": user}).json()["deleted"] == 1
    assert client.get("/v1/memories", params={"user_id": user}).json()["total"] == 0
    assert client.get(f"/v1/memories/{other}").is_success


def test_history_is_newest_first_with_the_keys_of_the_text_and_of_the_sdk(
    client: httpx.Client, user: str
) -> None:
    for said in ("I work at startup", "I now work at Google"):
        body = {"messages": [{"role": "user", "content": said}], "user_id": user}
        id = client.post("/v1/memories", json=body).json()["results"][0]["id"]
    client.delete(f"/v1/memories/{id}")
    history = client.get(f"/v1/memories/{id}/history").json()["history"]
    assert [(entry["memory"], entry["event"]) for entry in history] == [
        ("User works at Google", "DELETE"),
        ("User works at Google", "UPDATE"),
        ("User works at startup", "ADD"),
    ]
    assert [(entry["prev_memory"], entry["new_memory"]) for entry in history] == [
        ("User works at Google", None),
        ("User works at startup", "User works at Google"),
        (None, "User works at startup"),
    ]
    assert all(entry["memory_id"] == id and entry["changed_at"] == entry["created_at"] for entry in history)


def test_search_answers_on_both_paths_and_takes_either_name_of_the_limit(
    client: httpx.Client, user: str
) -> None:
    for text in ("User loves hiking", "User works at Google", "User is allergic to peanuts"):
        message = {"role": "user", "content": text}
        client.post("/v1/memories", json={"messages": [message], "user_id": user, "infer": False})
    for path, limit in (("/v1/search", "limit"), ("/v1/memories/search", "top_k")):
        body = {"query": "What does the user do outdoors?", "user_id": user, limit: 1}
        (hit,) = client.post(path, json=body).json()["results"]
        assert hit["memory"] == "User loves hiking"
        assert 0.5 < hit["score"] <= 1


def test_every_path_is_served_with_and_without_a_trailing_slash(client: httpx.Client, user: str) -> None:
    id = client.post("/v1/memories/", json={**EXAMPLE, "user_id": user}).json()["results"][0]["id"]
    for path in ("/v1/memories/", f"/v1/memories/{id}/", f"/v1/memories/{id}/history/"):
        assert client.get(path).status_code == 200, path


def test_metadata_is_kept_as_it_was_sent_and_a_null_removes_a_key_later(
    client: httpx.Client, user: str
) -> None:
    sent = {"source": "chat", "n": None}
    for more in ({"infer": False}, {}):
        body = {**EXAMPLE, "user_id": f"{user}-{len(more)}", "metadata": sent, **more}
        id = client.post("/v1/memories", json=body).json()["results"][0]["id"]
        assert client.get(f"/v1/memories/{id}").json()["metadata"] == sent
        found = client.get("/v1/memories", params={"user_id": body["user_id"]}).json()["results"]
        assert found[0]["metadata"] == sent
        updated = client.put(f"/v1/memories/{id}", json={"metadata": {"n": None, "m": 1}}).json()
        assert updated["metadata"] == {"source": "chat", "m": 1}


def test_a_revert_brings_a_null_of_the_metadata_back(client: httpx.Client, user: str) -> None:
    body = {**EXAMPLE, "user_id": user, "metadata": {"n": None}, "infer": False}
    id = client.post("/v1/memories", json=body).json()["results"][0]["id"]
    client.put(f"/v1/memories/{id}", json={"metadata": {"n": 5}})
    cause = client.get(f"/v1/memories/{id}/history").json()["history"][0]["cause"]
    client.post("/v1/reverts", json={"cause": cause, "dry_run": False}).raise_for_status()
    assert client.get(f"/v1/memories/{id}").json()["metadata"] == {"n": None}


def test_an_expired_memory_cannot_be_changed(client: httpx.Client, service: Service, user: str) -> None:
    id = new_id()
    yesterday = now().date() - timedelta(days=1)
    scope = Scope(owner="default", user_id=user)
    added = AddMemory(text="x", scope=scope, traits=Traits(expires_on=yesterday))
    context = Context(owner="default", actor="test", cause="test", correlation="")
    service.worker.cells.of("default").writer.submit(Work(context=context, commands=[(id, added)])).result()
    assert client.put(f"/v1/memories/mem_{id.hex}", json={"memory": "y"}).status_code == 404


def test_no_limit_is_too_high(client: httpx.Client, user: str) -> None:
    messages = [{"role": "user", "content": f"Likes tea no. {n}"} for n in range(120)]
    client.post("/v1/memories", json={"messages": messages, "user_id": user, "infer": False})
    for limit in (5_000, 10**30):
        listed = client.get("/v1/memories", params={"user_id": user, "limit": limit})
        assert (listed.status_code, len(listed.json()["results"])) == (200, 120)
        for name in ("limit", "top_k"):
            found = client.post("/v1/search", json={"query": "tea", "user_id": user, name: limit})
            assert (found.status_code, len(found.json()["results"])) == (200, 100)


def test_an_extraction_is_waited_for_no_longer_than_the_sdk_waits(
    client: httpx.Client, service: Service, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = inspect.signature(MemoryClient).parameters["timeout"].default
    assert sdk - 5 >= memoid.WAIT_SECONDS
    monkeypatch.setattr(memoid, "WAIT_SECONDS", 0.05)
    with nobody_extracting(service, user):
        answer = client.post("/v1/memories", json={**EXAMPLE, "user_id": user})
        assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
        assert answer.elapsed.total_seconds() < 5
