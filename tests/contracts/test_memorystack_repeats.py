"""The two-minute rule: a repeated request is done once, and what is no repetition is done."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from domain.key import Terms
from tests.support.memorystack import add, listed, make_client
from tests.support.reverts import revert
from tests.support.service import Service, eventually


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with make_client(service, Terms(dialect="memorystack")) as made:
        yield made


@pytest.fixture
def second(service: Service) -> Iterator[httpx.Client]:
    """Another key of the same owner."""
    with make_client(service, Terms(dialect="memorystack")) as made:
        yield made


def bring(client: httpx.Client, user: str, *texts: str) -> list[str]:
    memories = [{"content": text, "user_id": user} for text in texts]
    ids: list[str] = client.post("/api/v1/memories/import", json={"memories": memories}).json()["memory_ids"]
    return ids


def merged(client: httpx.Client, user: str) -> int:
    """How many memories a consolidation has merged."""
    answer = client.post("/api/v1/memories/consolidate", json={"user_id": user}).json()
    assert answer["duplicates_found"] == answer["memories_merged"]
    return int(answer["memories_merged"])


# --- consolidation ------------------------------------------------------------------------------------


def test_a_consolidation_that_found_nothing_is_done_again(client: httpx.Client, user: str) -> None:
    assert merged(client, user) == 0
    bring(client, user, "Ann keeps bees", "ann keeps bees.")
    assert merged(client, user) == 1
    assert len(listed(client, user_id=user)) == 1


def test_a_consolidation_is_done_again_once_memories_have_changed(
    client: httpx.Client, second: httpx.Client, user: str
) -> None:
    bring(client, user, "Ann keeps bees", "ann keeps bees.")
    assert [merged(client, user) for _ in range(2)] == [1, 1]  # a repetition is told the same
    bring(second, user, "Bob keeps cats", "Bob keeps cats!", "bob keeps cats")
    eventually(lambda: len(listed(client, user_id=user)) == 4)
    assert [merged(client, user) for _ in range(2)] == [2, 2]
    bring(client, f"{user}-2", "Cy keeps dogs")
    assert merged(client, user) == 0


# --- changes ------------------------------------------------------------------------------------------


def test_a_change_is_made_again_after_somebody_elses(
    client: httpx.Client, second: httpx.Client, user: str
) -> None:
    path = f"/api/v1/memories/{add(client, 'I love chess', user)}"
    for one, content in ((client, "AAA"), (second, "BBB"), (client, "AAA")):
        assert one.patch(path, json={"content": content}).json()["memory"]["content"] == content
        assert second.get(path).json()["memory"]["content"] == content


def test_the_same_change_twice_is_one_version(service: Service, client: httpx.Client, user: str) -> None:
    id = add(client, "I love chess", user)
    change = {"content": "AAA", "confidence": 0.5, "metadata": {"a": 1}}
    for _ in range(2):
        client.patch(f"/api/v1/memories/{id}", json=change)
    history = service.client.get(f"/v1/memories/{id}/history").json()["history"]
    assert [one["event"] for one in history] == ["UPDATE", "ADD"]


@pytest.mark.parametrize("also", [{}, {"confidence": 0.5}, {"content": "User loves Go"}])
def test_changes_of_different_keys_at_once_are_all_made(
    client: httpx.Client, user: str, also: dict[str, Any]
) -> None:
    path = f"/api/v1/memories/{add(client, 'I love chess', user)}"

    def change(n: int) -> int:
        more = {**also, "confidence": n / 100} if "confidence" in also else also
        return client.patch(path, json={"metadata": {f"key-{n}": n}, **more}).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(change, range(16))) == {200}
    memory = client.get(path).json()["memory"]
    assert memory["metadata"] == {f"key-{n}": n for n in range(16)}


# --- adding and deleting ------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["I love kayaking", "The project ends on Friday"])
@pytest.mark.parametrize("hard", ["true", "false"])
def test_what_another_key_has_deleted_can_be_added_again(
    client: httpx.Client, second: httpx.Client, user: str, said: str, hard: str
) -> None:
    ids = []
    for _ in range(2):
        ids.append(add(client, said, user))
        assert client.get(f"/api/v1/memories/{ids[-1]}").status_code == 200
        assert second.delete(f"/api/v1/memories/{ids[-1]}?hard={hard}").status_code == 200
    assert len(set(ids)) == 2


@pytest.mark.parametrize("hard", ["true", "false"])
def test_what_another_key_has_deleted_can_be_imported_again(
    client: httpx.Client, second: httpx.Client, user: str, hard: str
) -> None:
    ids = bring(client, user, "one", "two")
    assert second.delete(f"/api/v1/memories/{ids[0]}?hard={hard}").status_code == 200
    again = bring(client, user, "one", "two")
    assert not set(again) & set(ids)
    assert {client.get(f"/api/v1/memories/{id}").status_code for id in again} == {200}


def test_what_was_known_and_is_deleted_meanwhile_can_be_added(
    client: httpx.Client, second: httpx.Client, user: str
) -> None:
    known = add(second, "I love kayaking", user)
    body = {"messages": [{"role": "user", "content": "I love kayaking"}], "user_id": user}
    assert client.post("/api/v1/memories", json=body).json()["memories_created"] == 0
    second.delete(f"/api/v1/memories/{known}")
    assert client.post("/api/v1/memories", json=body).json()["memories_created"] == 1
    assert len(listed(client, user_id=user)) == 1


def test_what_others_add_meanwhile_makes_a_repetition_no_other_request(
    client: httpx.Client, second: httpx.Client, user: str
) -> None:
    first = add(client, "I love kayaking", user), bring(client, user, "one")
    add(second, "I love chess", user)
    bring(second, user, "two")
    assert (add(client, "I love kayaking", user), bring(client, user, "one")) == first
    eventually(lambda: len(listed(client, user_id=user)) == 4)


def test_a_deletion_is_done_again_for_what_has_come_back(
    service: Service, client: httpx.Client, user: str
) -> None:
    ids = bring(client, user, "one", "two", "three")
    body = {"memory_ids": ids}
    assert client.delete(f"/api/v1/memories/{ids[1]}").status_code == 200
    batch = [client.request("DELETE", "/api/v1/memories/batch", json=body).json() for _ in range(2)]
    assert [one["deleted_count"] for one in batch] == [2, 2]
    deleted, _ = service.client.get(f"/v1/memories/{ids[1]}/explain").json()["chain"][::-1]
    revert(service.client, cause=deleted["cause"])
    eventually(lambda: [one["id"] for one in listed(client, user_id=user)] == [ids[1]])
    again = client.request("DELETE", "/api/v1/memories/batch", json=body).json()
    assert again["deleted_count"] == 1
    assert listed(client, user_id=user) == []


def test_a_deletion_of_nothing_is_done_again(client: httpx.Client, user: str) -> None:
    (id,) = bring(client, user, "one")
    client.delete(f"/api/v1/memories/{id}")
    body = {"memory_ids": [id]}
    for hard in (False, True):
        batch = client.request("DELETE", "/api/v1/memories/batch", json={**body, "hard": hard}).json()
        assert batch["deleted_count"] == int(hard)
