"""mem0's own client, unchanged, against this server: every call of it."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

# Before the import: nothing leaves this machine, and nothing is written to the home directory.
os.environ["MEM0_TELEMETRY"] = "False"
os.environ.setdefault("MEM0_DIR", tempfile.mkdtemp(prefix="everlog-mem0-"))
mem0 = pytest.importorskip("mem0")

from mem0.client.types import (  # noqa: E402
    AddMemoryOptions,
    DeleteAllMemoryOptions,
    GetAllMemoryOptions,
    SearchMemoryOptions,
    UpdateMemoryOptions,
)
from mem0.exceptions import (  # noqa: E402
    AuthenticationError,
    MemoryError,
    MemoryNotFoundError,
    MemoryQuotaExceededError,
    RateLimitError,
    ValidationError,
)

from domain.key import ALL_SCOPES, Terms  # noqa: E402
from tests.support.service import Service, eventually  # noqa: E402

NOBODY = "0190a6f0-0000-7000-8000-000000000000"
PAST = "2024-01-01"
NEXT_YEAR = (datetime.now(UTC) + timedelta(days=365)).date().isoformat()


def sdk_of(service: Service, secret: str, owner: str = "mem0-owner", **terms: Any) -> Any:
    service.worker.cells.create_key(secret, "sdk", owner, ALL_SCOPES, Terms(dialect="mem0", **terms))
    return mem0.MemoryClient(api_key=secret, host=f"{service.url}/mem0")


@pytest.fixture(scope="module")
def sdk(service: Service) -> Iterator[Any]:
    yield sdk_of(service, "key-of-mem0-sdk")


@pytest.fixture(scope="module")
def foreign(service: Service) -> Any:
    """The client of another owner."""
    return sdk_of(service, "key-of-mem0-stranger", "mem0-stranger")


def event(sdk: Any, event_id: str) -> dict[str, Any]:
    """The client has no call for it; its users poll."""
    answer = sdk.client.get(f"/v1/event/{event_id}/")
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def extracted(sdk: Any, messages: Any, **more: Any) -> list[dict[str, Any]]:
    """What an add has made, once it is done."""
    queued = sdk.add(messages, **more)
    assert queued.keys() == {"message", "status", "event_id"}
    assert queued["status"] == "PENDING"
    eventually(lambda: event(sdk, queued["event_id"])["status"] == "SUCCEEDED")
    results: list[dict[str, Any]] = event(sdk, queued["event_id"])["results"]
    return results


def kept(sdk: Any, text: str, **more: Any) -> str:
    """The id of a memory that is kept as it is."""
    answer = sdk.add(text, infer=False, **more)
    assert answer["status"] == "SUCCEEDED"
    (result,) = answer["results"]
    assert (result["memory"], result["data"], result["event"]) == (text, {"memory": text}, "ADD")
    id: str = result["id"]
    return id


def texts(answer: dict[str, Any]) -> list[str]:
    return [memory["memory"] for memory in answer["results"]]


def test_the_client_knows_its_organization_and_project(sdk: Any) -> None:
    assert sdk.org_id and sdk.project_id
    assert (sdk.project.org_id, sdk.project.project_id) == (sdk.org_id, sdk.project_id)


def test_a_bad_key_is_refused_at_construction(service: Service) -> None:
    with pytest.raises(ValueError, match="API key is unknown"):
        mem0.MemoryClient(api_key="nonsense", host=f"{service.url}/mem0")


def test_adding_extracts_facts_behind_the_answer(sdk: Any, user: str) -> None:
    messages = [
        {"role": "user", "content": "I love TypeScript"},
        {"role": "assistant", "content": "TypeScript is great!"},
    ]
    (result,) = extracted(sdk, messages, user_id=user, metadata={"source": "chat"})
    assert (result["memory"], result["event"]) == ("User loves TypeScript", "ADD")
    assert result["data"] == {"memory": "User loves TypeScript"}
    memory = sdk.get(result["id"])
    assert (memory["memory"], memory["user_id"], memory["metadata"]) == (
        "User loves TypeScript", user, {"source": "chat"},
    )  # fmt: skip
    assert extracted(sdk, "I love TypeScript", user_id=user) == []


def test_one_message_words_alone_and_options(sdk: Any, user: str) -> None:
    (one,) = extracted(sdk, {"role": "user", "content": "I live in Bern"}, user_id=user)
    assert one["memory"] == "User lives in Bern"
    options = AddMemoryOptions(
        filters={"user_id": user}, infer=False, metadata={"a": 1}, timestamp=1_700_000_000,
        expiration_date=NEXT_YEAR, custom_instructions="names", custom_categories=[{"pets": "animals"}],
    )  # fmt: skip
    (two,) = sdk.add("Whiskers is a cat", options=options)["results"]
    memory = sdk.get(two["id"])
    assert (memory["user_id"], memory["metadata"], memory["expiration_date"]) == (user, {"a": 1}, NEXT_YEAR)


def test_the_four_entities_are_the_scope(sdk: Any, user: str) -> None:
    scope = {"user_id": user, "agent_id": "a", "app_id": "shop", "run_id": "r"}
    memory = sdk.get(kept(sdk, "User loves hiking", **scope))
    assert {name: memory[name] for name in scope} == scope
    with pytest.raises(ValidationError, match="user_id"):
        sdk.add("I love hiking")


def test_search(sdk: Any, user: str) -> None:
    for text in ("User loves hiking", "User works at Google", "User is allergic to peanuts"):
        kept(sdk, text, user_id=user, metadata={"n": len(text)})
    found = sdk.search("What does the user do outdoors?", filters={"user_id": user})["results"]
    assert found[0]["memory"] == "User loves hiking"
    assert 0.1 <= found[0]["score"] <= 1
    assert found[0].keys() == {
        "id", "memory", "user_id", "agent_id", "app_id", "run_id", "score", "metadata", "categories",
        "expiration_date", "created_at", "updated_at",
    }  # fmt: skip
    assert len(sdk.search("user", filters={"user_id": user}, top_k=1, threshold=0.0)["results"]) == 1
    assert sdk.search("user", filters={"user_id": user}, threshold=1.0)["results"] == []
    options = SearchMemoryOptions(
        filters={"AND": [{"user_id": user}]}, metadata={"n": 20}, fields=["memory"], rerank=True
    )
    (hit,) = sdk.search("company", options=options)["results"]
    assert (hit["memory"], hit.keys()) == ("User works at Google", {"id", "memory"})
    with pytest.raises(ValidationError, match="user_id"):
        sdk.search("hiking", filters={"metadata": {"n": 1}})
    with pytest.raises(ValidationError, match="no operator"):
        sdk.search("hiking", filters={"user_id": {"like": "%"}})


def test_get_all_filters_and_pages(sdk: Any, user: str) -> None:
    ids = [kept(sdk, f"Note {n}", user_id=user, metadata={"n": n}) for n in range(5)]
    filters = {"AND": [{"user_id": user}, {"created_at": {"gte": PAST}}]}
    everything = sdk.get_all(filters=filters)
    assert (everything["count"], everything["next"], everything["previous"]) == (5, None, None)
    assert [memory["id"] for memory in everything["results"]] == ids[::-1]
    second = sdk.get_all(options=GetAllMemoryOptions(filters=filters, page=2, page_size=2))
    assert [memory["id"] for memory in second["results"]] == ids[2:0:-1]
    assert second["next"].endswith("/mem0/v3/memories/?page=3&page_size=2")
    assert second["previous"].endswith("/mem0/v3/memories/?page=1&page_size=2")
    third = sdk.client.post(second["next"], json={"filters": filters}).json()
    assert [memory["id"] for memory in third["results"]] == [ids[0]]
    assert texts(sdk.get_all(filters={"user_id": user, "n": {"in": [1, 3]}})) == ["Note 3", "Note 1"]
    assert sdk.get_all(filters={"user_id": user}, categories=["work"])["results"] == []
    assert sdk.get_all(filters={"user_id": user}, start_date=NEXT_YEAR)["results"] == []
    assert sdk.get_all(filters={"user_id": user}, start_date=PAST, end_date=NEXT_YEAR)["count"] == 5


def test_update(sdk: Any, user: str) -> None:
    id = kept(sdk, "User loves hiking", user_id=user, metadata={"a": 1})
    updated = sdk.update(id, text="User loves climbing", metadata={"b": 2})
    assert (updated["memory"], updated["metadata"]) == ("User loves climbing", {"a": 1, "b": 2})
    assert sdk.get(id) == updated
    sdk.update(id, UpdateMemoryOptions(timestamp=1_700_000_000))
    sdk.update(id, timestamp="2024-05-17T10:00:00Z", text="User loves swimming")
    assert sdk.get(id)["memory"] == "User loves swimming"
    assert sdk.update(id, expiration_date=NEXT_YEAR)["expiration_date"] == NEXT_YEAR
    assert sdk.update(id, text="User loves diving")["expiration_date"] == NEXT_YEAR
    assert sdk.update(id, expiration_date=None)["expiration_date"] is None
    with pytest.raises(ValidationError):
        sdk.update(id, expiration_date="soon")
    with pytest.raises(ValidationError, match="timestamp"):
        sdk.update(id, timestamp="soon")


def test_delete_and_history(sdk: Any, user: str) -> None:
    for said in ("I work at startup", "I now work at Google"):
        (result,) = extracted(sdk, said, user_id=user, run_id="r1")
    id = result["id"]
    assert sdk.delete(id, delete_linked=True) == {"message": "Memory deleted successfully!"}
    with pytest.raises(MemoryNotFoundError):
        sdk.get(id)
    with pytest.raises(MemoryNotFoundError):
        sdk.delete(id)
    history = sdk.history(id)
    assert [(row["event"], row["old_memory"], row["new_memory"]) for row in history] == [
        ("ADD", None, "User works at startup"),
        ("UPDATE", "User works at startup", "User works at Google"),
        ("DELETE", "User works at Google", None),
    ]
    assert [row["input"] for row in history] == [
        [{"role": "user", "content": "I work at startup"}],
        [{"role": "user", "content": "I now work at Google"}],
        [],
    ]
    assert history[0].keys() == {
        "id", "memory_id", "input", "old_memory", "new_memory", "event", "user_id", "agent_id", "app_id",
        "session_id", "categories", "metadata", "created_at", "updated_at",
    }  # fmt: skip
    assert {(row["memory_id"], row["user_id"], row["session_id"]) for row in history} == {(id, user, "r1")}
    (first,) = sdk.history(kept(sdk, "As it is", user_id=user))
    assert first["input"] == [{"role": "user", "content": "As it is"}]


def test_delete_all_needs_a_name(sdk: Any, user: str) -> None:
    for agent in ("one", "two"):
        kept(sdk, f"Of agent {agent}", user_id=user, agent_id=f"{user}-{agent}")
    with pytest.raises(ValidationError, match="nothing is deleted"):
        sdk.delete_all()
    gone = sdk.delete_all(agent_id=f"{user}-one")
    assert gone["message"] == "Memories deleted successfully!"
    assert [result["event"] for result in event(sdk, gone["event_id"])["results"]] == ["DELETE"]
    assert texts(sdk.get_all(filters={"user_id": user})) == ["Of agent two"]
    sdk.delete_all(options=DeleteAllMemoryOptions(filters={"user_id": user}))
    assert sdk.get_all(filters={"user_id": user})["count"] == 0


def test_users_and_their_deletion(sdk: Any, user: str) -> None:
    names = {"user": f"{user}/a b", "agent": f"{user}-agent", "app": f"{user}-app", "run": f"{user}-run"}
    kept(sdk, "Of everybody", **{f"{type}_id": name for type, name in names.items()})
    kept(sdk, "Of the agent alone", agent_id=names["agent"])
    listed = sdk.users()
    assert listed["count"] == len(listed["results"])
    mine = {entity["type"]: entity for entity in listed["results"] if entity["name"] in names.values()}
    assert {type: entity["name"] for type, entity in mine.items()} == names
    assert mine["agent"]["total_memories"] == 2
    assert mine["agent"]["id"]
    assert sdk.delete_users(user_id=names["user"]) == {"message": "Entity deleted successfully."}
    assert texts(sdk.get_all(filters={"agent_id": names["agent"]})) == ["Of the agent alone"]
    for type in ("agent", "app", "run"):
        sdk.delete_users(**{f"{type}_id": names[type]})
    assert not {entity["name"] for entity in sdk.users()["results"]} & set(names.values())


def test_users_whose_names_differ_by_slashes_are_deleted_each_by_itself(sdk: Any, user: str) -> None:
    names = [user, f"{user}/", f"/{user}", f"{user}/b", f"{user}//b"]
    for name in names:
        kept(sdk, "Of one alone", user_id=name)
    while names:
        sdk.delete_users(user_id=names.pop())
        listed = {entity["name"] for entity in sdk.users()["results"]}
        assert {name for name in listed if user in name} == set(names)


def test_when_it_happened(sdk: Any, user: str) -> None:
    kept(sdk, "User met Ann", user_id=user, timestamp=1_700_000_000)
    kept(sdk, "User met Bob", user_id=user)

    def found(**asked: Any) -> list[str]:
        return texts(sdk.get_all(filters={"AND": [{"user_id": user}, asked]}))

    for field in ("timestamp", "created_at"):
        assert found(**{field: {"lte": PAST}}) == ["User met Ann"]
        assert found(**{field: {"gt": PAST}}) == ["User met Bob"]
        assert found(**{field: {"gte": 1_700_000_000, "lte": 1_700_000_000}}) == ["User met Ann"]
    (ann,) = sdk.get_all(filters={"user_id": user}, end_date=PAST)["results"]
    assert ann["created_at"] == "2023-11-14T22:13:20Z"
    (hit,) = sdk.search("met", filters={"user_id": user, "timestamp": {"lt": PAST}})["results"]
    assert hit["created_at"] == ann["created_at"]
    sdk.update(ann["id"], timestamp="2025-01-01T00:30:00+02:00")
    assert found(timestamp={"gte": PAST, "lte": "2024-12-31"}) == ["User met Ann"]


def test_reset_deletes_all_of_its_owner_and_no_more(service: Service, sdk: Any, user: str) -> None:
    other = kept(sdk, "Of another owner", user_id=user)
    mine = sdk_of(service, "key-of-mem0-reset", "mem0-reset")
    kept(mine, "Of user and agent", user_id=user, agent_id="a")
    kept(mine, "Of a run", run_id="r")
    assert "successful" in mine.reset()["message"]
    assert mine.users() == {"count": 0, "next": None, "previous": None, "results": []}
    assert mine.get_all(filters={"OR": [{"user_id": "*"}, {"run_id": "*"}]})["count"] == 0
    assert sdk.get(other)["memory"] == "Of another owner"


def test_batches_are_done_whole_or_not_at_all(sdk: Any, user: str) -> None:
    ids = [kept(sdk, f"Note {n}", user_id=user) for n in range(3)]
    done = sdk.batch_update([
        {"memory_id": ids[0], "text": "Note zero"}, {"memory_id": ids[1], "metadata": {"a": 1}}
    ])  # fmt: skip
    assert done == {"message": "Successfully updated 2 memories"}
    assert sdk.get(ids[0])["memory"] == "Note zero"
    assert sdk.get(ids[1])["metadata"] == {"a": 1}
    with pytest.raises(MemoryNotFoundError):
        sdk.batch_update([{"memory_id": ids[0], "text": "no"}, {"memory_id": NOBODY, "text": "no"}])
    assert sdk.get(ids[0])["memory"] == "Note zero"
    with pytest.raises(MemoryNotFoundError):
        sdk.batch_delete([{"memory_id": ids[0]}, {"memory_id": NOBODY}])
    assert sdk.batch_delete([{"memory_id": id} for id in ids]) == {
        "message": "Successfully deleted 3 memories"
    }
    assert sdk.get_all(filters={"user_id": user})["count"] == 0
    with pytest.raises(ValidationError):
        sdk.batch_delete([{"memory_id": NOBODY}] * 1_001)
    with pytest.raises(ValidationError):
        sdk.batch_update([])


def test_feedback_is_kept_with_the_memory(sdk: Any, user: str) -> None:
    id = kept(sdk, "User loves hiking", user_id=user)
    assert sdk.feedback(id, feedback="positive", feedback_reason="so true") == {
        "id": id, "feedback": "POSITIVE", "feedback_reason": "so true",
    }  # fmt: skip
    assert texts(sdk.get_all(filters={"user_id": user, "feedback": "POSITIVE"})) == ["User loves hiking"]
    sdk.feedback(id)
    assert sdk.get(id)["metadata"] == {}
    with pytest.raises(MemoryNotFoundError):
        sdk.feedback(NOBODY, feedback="NEGATIVE")


def test_exports(sdk: Any, user: str) -> None:
    kept(sdk, "User loves hiking", user_id=user)
    made = sdk.create_memory_export(schema='{"type": "object"}', user_id=user)
    assert made.keys() == {"message", "id"}
    for asked in (
        {"memory_export_id": made["id"]},
        {"user_id": user},
        {"filters": {"AND": [{"user_id": user}]}},
    ):
        export = sdk.get_memory_export(**asked)
        assert (export["status"], export["count"]) == ("SUCCEEDED", 1)
        assert [memory["memory"] for memory in export["memories"]] == ["User loves hiking"]
    with pytest.raises(MemoryNotFoundError):
        sdk.get_memory_export(memory_export_id="nonsense")
    with pytest.raises(ValidationError):
        sdk.get_memory_export()
    with pytest.raises(ValidationError):
        sdk.create_memory_export(schema="{}", filters={"user_id": {"like": "a"}})


def test_projects(service: Service, user: str) -> None:
    sdk = sdk_of(service, "key-of-mem0-project", "mem0-project")
    assert sdk.project.get(fields=["custom_instructions"]) == {"custom_instructions": None}
    sdk.project.update(custom_instructions="Only food", custom_categories=[{"food": "what they eat"}])
    told = sdk.get_project()
    assert told["custom_instructions"] == "Only food"
    assert told["custom_categories"] == [{"food": "what they eat"}]
    sdk.update_project(custom_instructions="Only drinks")
    assert sdk.project.get()["custom_instructions"] == "Only drinks"
    sdk.add("I love tea", user_id=user)
    eventually(
        lambda: texts(sdk.get_all(filters={"user_id": user})) == ["User loves tea"], "nothing was extracted"
    )
    made = sdk.project.create(name="another")
    assert made["project_id"] != sdk.project_id
    with pytest.raises(MemoryError, match="only"):
        sdk.project.update(multilingual=True)
    with pytest.raises(MemoryError, match="multilingual and decay cannot be set here"):
        sdk.project.update(custom_instructions="Only games", multilingual=True, decay=False)
    assert sdk.project.get()["custom_instructions"] == "Only drinks"
    with pytest.raises(ValidationError, match="entities"):
        sdk.project.delete()
    for call in (sdk.project.get_members, lambda: sdk.project.add_member("a@example.org")):
        with pytest.raises(MemoryError, match="not offered"):
            call()


def test_what_is_not_offered_says_so(sdk: Any, user: str) -> None:
    assert sdk.get_profile(user)["status"] == "not_enabled"
    assert sdk.get_profile_settings()["enabled"] is False
    for call in (
        lambda: sdk.get_summary(filters={"user_id": user}),
        lambda: sdk.generate_profile(user),
        sdk.sample_profiles,
        lambda: sdk.get_profile_job("1"),
        lambda: sdk.update_profile_settings(enabled=True),
        lambda: sdk.get_webhooks(sdk.project_id),
        lambda: sdk.create_webhook("https://example.org", "hook", sdk.project_id, ["memory_add"]),
        lambda: sdk.update_webhook(1, name="hook"),
        lambda: sdk.delete_webhook(1),
    ):
        with pytest.raises(MemoryError, match=r"offered|no profiles"):
            call()


def test_a_strangers_client_finds_and_changes_nothing(sdk: Any, foreign: Any, user: str) -> None:
    id = kept(sdk, "User loves hiking", user_id=user)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: foreign.get(id),
        lambda: foreign.update(id, text="no"),
        lambda: foreign.delete(id),
        lambda: foreign.history(id),
        lambda: foreign.feedback(id, feedback="NEGATIVE"),
        lambda: foreign.batch_update([{"memory_id": id, "text": "no"}]),
        lambda: foreign.batch_delete([{"memory_id": id}]),
        lambda: foreign.client.get(f"/api/v1/orgs/organizations/{sdk.org_id}/").raise_for_status(),
    )
    for call in calls:
        with pytest.raises(Exception, match=r"(?i)no such|not found"):
            call()
    for filters in ({"user_id": user}, {"OR": [{"user_id": "*"}, {"NOT": {"user_id": "x"}}]}):
        assert foreign.get_all(filters=filters)["count"] == 0
        assert foreign.search("hiking", filters=filters)["results"] == []
    foreign.delete_all(user_id=user)
    foreign.delete_users(user_id=user)
    assert user not in [entity["name"] for entity in foreign.users()["results"]]
    assert len(sdk.history(id)) == 1


def test_its_exceptions(service: Service, sdk: Any) -> None:
    with pytest.raises(MemoryNotFoundError, match="no such memory"):
        sdk.get(NOBODY)
    with pytest.raises(MemoryNotFoundError):
        sdk.get("not an id")
    service.worker.cells.create_key("key-of-mem0-reader", "sdk", "mem0-owner", ("read",))
    reader = mem0.MemoryClient(api_key="key-of-mem0-reader", host=f"{service.url}/mem0")
    with pytest.raises(AuthenticationError, match="scope"):
        reader.add("I love hiking", user_id="ann")
    slow = sdk_of(service, "key-of-mem0-slow", per_minute=1)
    with pytest.raises(RateLimitError) as refused:
        slow.users()
    assert refused.value.debug_info["retry_after"] >= 1
    poor = sdk_of(service, "key-of-mem0-poor", per_month=1)
    with pytest.raises(MemoryQuotaExceededError, match="month"):
        poor.users()


def test_the_async_client(service: Service, sdk: Any, user: str) -> None:
    async def use() -> None:
        client = mem0.AsyncMemoryClient(api_key="key-of-mem0-sdk", host=f"{service.url}/mem0")
        (added,) = (await client.add("User loves hiking", user_id=user, infer=False))["results"]
        id = added["id"]
        filters = {"user_id": user}
        assert (await client.add("I love tea", user_id=f"{user}-2"))["status"] == "PENDING"
        assert texts(await client.get_all(filters=filters, page=1, page_size=10)) == ["User loves hiking"]
        assert texts(await client.search("outdoors", filters=filters)) == ["User loves hiking"]
        assert (await client.update(id, text="User loves climbing"))["memory"] == "User loves climbing"
        assert (await client.get(id))["memory"] == "User loves climbing"
        assert [row["event"] for row in await client.history(id)] == ["ADD", "UPDATE"]
        assert (await client.feedback(id, feedback="POSITIVE"))["feedback"] == "POSITIVE"
        await client.batch_update([{"memory_id": id, "metadata": {"a": 1}}])
        made = await client.create_memory_export(schema="{}", user_id=user)
        assert (await client.get_memory_export(memory_export_id=made["id"]))["count"] == 1
        assert user in [entity["name"] for entity in (await client.users())["results"]]
        assert (await client.project.get())["id"] == client.project_id
        await client.batch_delete([{"memory_id": id}])
        with pytest.raises(MemoryNotFoundError):
            await client.delete(id)
        await client.delete_all(user_id=user)
        await client.delete_users(user_id=f"{user}-2")
        with pytest.raises(MemoryError, match="offered"):
            await client.get_summary()

    asyncio.run(use())
