"""The published client of Memoid (`memoid` 0.2.0), unchanged, against a live server."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from memoid import AsyncMemoryClient, MemoryClient

from api.native import adding as dialect
from tests.support.ingestions import nobody_extracting
from tests.support.service import KEY, Service

HIKING = [
    {"role": "user", "content": "I love hiking"},
    {"role": "assistant", "content": "Great hobby!"},
]


@pytest.fixture
def memoid(service: Service) -> Iterator[MemoryClient]:
    with MemoryClient(KEY, base_url=service.url) as client:
        yield client


def test_memories_are_added_listed_found_changed_and_deleted(memoid: MemoryClient, user: str) -> None:
    (added,) = memoid.add(HIKING, user_id=user, agent_id="a", metadata={"source": "chat"})
    assert added.memory == "User loves hiking"
    got = memoid.get(added.id)
    assert (got.id, got.memory, got.user_id) == (added.id, "User loves hiking", user)
    assert [memory.id for memory in memoid.get_all(user_id=user, agent_id="a")] == [added.id]
    (found,) = memoid.search("What do they do outdoors?", user_id=user, limit=3, threshold=0.2)
    assert (found.memory, found.score > 0.2) == ("User loves hiking", True)
    updated = memoid.update(added.id, "User loves trail running", metadata={"sure": True})
    assert (updated.memory, updated.metadata) == (
        "User loves trail running",
        {"source": "chat", "sure": True},
    )
    events = [(entry.event, entry.prev_memory, entry.new_memory) for entry in memoid.history(added.id)]
    assert events == [
        ("UPDATE", "User loves hiking", "User loves trail running"),
        ("ADD", None, "User loves hiking"),
    ]
    assert memoid.delete(added.id)
    with pytest.raises(httpx.HTTPStatusError) as gone:
        memoid.get(added.id)
    assert gone.value.response.status_code == 404


def test_delete_all_deletes_a_users_and_never_everything(memoid: MemoryClient, user: str) -> None:
    memoid.add(HIKING, user_id=user)
    assert memoid.delete_all(user_id=user)
    assert memoid.get_all(user_id=user) == []
    with pytest.raises(httpx.HTTPStatusError) as refused:
        memoid.delete_all()
    assert refused.value.response.status_code == 400


def test_many_memories_are_changed_and_deleted_at_once_or_not_at_all(memoid: MemoryClient, user: str) -> None:
    messages = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    ids = [memory.id for memory in memoid.add(messages, user_id=user, infer=False)]
    changes = [{"id": ids[0], "memory": "uno"}, {"id": ids[1], "memory": "dos", "metadata": {"a": 1}}]
    assert [memory.memory for memory in memoid.batch_update(changes)] == ["uno", "dos"]
    with pytest.raises(httpx.HTTPStatusError):
        memoid.batch_update([{"id": ids[0], "memory": "eins"}, {"id": "mem_" + "0" * 32, "memory": "x"}])
    assert memoid.get(ids[0]).memory == "uno"
    assert memoid.batch_delete(memory_ids=ids[:2])
    assert [memory.memory for memory in memoid.get_all(user_id=user)] == ["three"]
    assert memoid.batch_delete(user_id=user)
    assert memoid.get_all(user_id=user) == []
    with pytest.raises(httpx.HTTPStatusError):
        memoid.batch_delete()


def test_projects_hold_instructions_and_categories(memoid: MemoryClient, user: str) -> None:
    made = memoid.create_project(user, custom_instructions="Only hobbies", custom_categories=["hiking"])
    assert (made.name, made.custom_instructions, made.custom_categories) == (user, "Only hobbies", ["hiking"])
    assert made.id in {project.id for project in memoid.get_projects()}
    changed = memoid.update_project(made.id, custom_categories=["sports", "hiking"])
    assert changed.custom_categories == ["sports", "hiking"]
    (added,) = memoid.add(HIKING, user_id=user, project_id=made.id)
    assert [memory.id for memory in memoid.get_all(project_id=made.id)] == [added.id]
    assert memoid.delete_project(made.id)
    assert made.id not in {project.id for project in memoid.get_projects()}


def test_the_graph_is_of_what_was_asked_to_be_graphed(memoid: MemoryClient, user: str) -> None:
    memoid.add([{"role": "user", "content": "I work at Google"}], user_id=user, extract_graph=True)
    graph = memoid.get_graph(user_id=user)
    relations = [(one.source, one.relation, one.target) for one in graph["relations"]]
    assert relations == [("User", "works_at", "Google")]
    entities = {(one.name, one.type) for one in memoid.get_entities(user_id=user)}
    assert entities == {("User", "person"), ("Google", "organization")}
    assert all(one.id for one in graph["entities"])


def test_a_limit_above_the_highest_is_no_error(memoid: MemoryClient, user: str) -> None:
    (added,) = memoid.add(HIKING, user_id=user)
    assert [memory.id for memory in memoid.get_all(user_id=user, limit=50_000)] == [added.id]
    assert [found.id for found in memoid.search("hiking", user_id=user, limit=5_000)] == [added.id]


def test_a_conversation_that_is_still_read_raises_nothing(
    memoid: MemoryClient, service: Service, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "WAIT_SECONDS", 0.05)
    with nobody_extracting(service, user):
        assert memoid.add(HIKING, user_id=user) == []
    assert [memory.memory for memory in memoid.get_all(user_id=user)] == ["User loves hiking"]


def test_usage_is_told(memoid: MemoryClient, user: str) -> None:
    memoid.add(HIKING, user_id=user)
    assert memoid.get_usage_stats().total_memories >= 1
    assert memoid.get_usage_daily(days=2)[-1].memories_added >= 1


def test_the_async_client_works_alike(service: Service, user: str) -> None:
    async def run() -> list[str]:
        async with AsyncMemoryClient(KEY, base_url=service.url) as client:
            await client.add(HIKING, user_id=user)
            return [memory.memory for memory in await client.get_all(user_id=user)]

    assert asyncio.run(run()) == ["User loves hiking"]
