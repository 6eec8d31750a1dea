"""Reverts over HTTP: all that one cause did is undone by new events, and what others did since is kept."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from application import reverts
from domain.errors import VersionConflict
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.key import ALL_SCOPES
from domain.memory import AddMemory
from domain.recorded import Context
from domain.scope import Scope
from tests.support.ingestions import tell
from tests.support.memories import add, last_change, texts
from tests.support.problems import is_problem
from tests.support.reverts import revert
from tests.support.service import KEY, Service, client_of, head


def outcome(told: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(one["action"], one["memory"], one["becomes"]) for one in told["results"]]


def everything(client: httpx.Client, user: str, ids: list[str]) -> tuple[Any, ...]:
    """All that a revert could change."""
    listed = client.get("/v1/memories", params={"user_id": user}).json()
    return listed, [client.get(f"/v1/memories/{id}/history").json() for id in ids], head(client)


# --- what is undone -----------------------------------------------------------------------------------


def test_a_dry_run_tells_what_would_happen_and_changes_nothing(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at a startup", "I love hiking")
    told = tell(client, user, "I now work at Google", "I love Paris")
    before = everything(client, user, [result["id"] for result in told["results"]])
    answer = client.post("/v1/reverts", json={"cause": told["ingestion_id"]})
    assert answer.json()["dry_run"] is True
    assert answer.json()["events"] == 2
    assert set(outcome(answer.json())) == {
        ("UPDATE", "User works at Google", "User works at a startup"),
        ("DELETE", "User loves Paris", None),
    }
    assert everything(client, user, [result["id"] for result in told["results"]]) == before
    done = revert(client, cause=told["ingestion_id"])
    assert (done["dry_run"], done["results"]) == (False, answer.json()["results"])


def test_what_a_conversation_added_is_deleted(client: httpx.Client, user: str) -> None:
    add(client, "User loves climbing", user)
    told = tell(client, user, "I love hiking", "I work at a startup")
    done = revert(client, cause=told["ingestion_id"])
    assert {action for action, _, _ in outcome(done)} == {"DELETE"}
    assert texts(client, user) == {"User loves climbing"}
    assert client.get(f"/v1/memories/{told['results'][0]['id']}").status_code == 404


def test_what_a_conversation_changed_is_as_it_was_before(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at a startup", metadata={"a": 1})["results"][0]["id"]
    before = client.get(f"/v1/memories/{id}").json()
    told = tell(client, user, "I now work at Google", metadata={"a": 2, "b": 2})
    assert client.get(f"/v1/memories/{id}").json()["metadata"] == {"a": 2, "b": 2}
    revert(client, cause=told["ingestion_id"])
    after = client.get(f"/v1/memories/{id}").json()
    assert after["version"] == 3
    for same in ("memory", "metadata", "tags", "type", "confidence", "created_at"):
        assert after[same] == before[same]


def test_what_a_conversation_deleted_is_back(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at Google", metadata={"a": 1}, tags=["t"])["results"][0]["id"]
    before = client.get(f"/v1/memories/{id}").json()
    told = tell(client, user, "I don't work there any more")
    done = revert(client, cause=told["ingestion_id"])
    assert outcome(done) == [("RESTORE", "User works at Google", "User works at Google")]
    after = client.get(f"/v1/memories/{id}").json()
    for same in ("memory", "metadata", "tags", "type", "confidence", "user_id", "created_at"):
        assert after[same] == before[same]
    (hit,) = client.post("/v1/search", json={"query": "Google", "user_id": user}).json()["results"]
    assert hit["id"] == id


def test_a_change_in_the_middle_is_taken_out_from_between_others(client: httpx.Client, user: str) -> None:
    id = add(client, "one", user, metadata={"a": 1})
    client.put(f"/v1/memories/{id}", json={"memory": "two", "metadata": {"b": 2}})
    middle = last_change(client, id)["cause"]
    client.put(f"/v1/memories/{id}", json={"metadata": {"c": 3}})
    done = revert(client, cause=middle)
    assert outcome(done) == [("UPDATE", "two", "one")]
    memory = client.get(f"/v1/memories/{id}").json()
    assert (memory["memory"], memory["metadata"]) == ("one", {"a": 1, "c": 3})


def test_all_that_a_key_did_can_be_undone(service: Service, user: str) -> None:
    client, secret = service.client, f"key-{uuid4().hex}"
    service.worker.cells.create_key(secret, "leaked", "default", ALL_SCOPES)
    kept, changed = add(client, "kept", user), add(client, "changed", user)
    deleted = add(client, "deleted", user)
    with client_of(service.url, secret) as leaked:
        added = add(leaked, "added", user)
        tell(leaked, user, "I love hiking")
        leaked.put(f"/v1/memories/{changed}", json={"memory": "changed by another"})
        leaked.delete(f"/v1/memories/{deleted}")
    actor = last_change(client, added)["actor"]
    done = revert(client, actor=actor)
    assert set(outcome(done)) == {
        ("DELETE", "added", None),
        ("DELETE", "User loves hiking", None),
        ("UPDATE", "changed by another", "changed"),
        ("RESTORE", "deleted", "deleted"),
    }
    assert texts(client, user) == {"kept", "changed", "deleted"}
    assert client.get(f"/v1/memories/{kept}").json()["version"] == 1


def test_all_that_an_extractor_did_can_be_undone(client: httpx.Client, user: str) -> None:
    id = add(client, "User works at a startup", user)
    tell(client, user, "I now work at Google", "I love hiking")
    tell(client, f"{user}-other", "I love hiking")
    assert texts(client, user) == {"User works at Google", "User loves hiking"}
    done = revert(client, extractor="rules-1", user_id=user)
    assert done["events"] == 2
    assert texts(client, user) == {"User works at a startup"}
    assert last_change(client, id)["extractor"] is None
    assert texts(client, f"{user}-other") == {"User loves hiking"}


@pytest.mark.parametrize(
    "named, events",
    [
        ("model", 1),
        ("model:gpt-4.1", 1),
        ("model:gpt-4.1:facts-1", 1),
        ("model:gpt", 0),
        ("mod", 0),
        ("rules-1", 0),
    ],
)
def test_an_extractor_is_named_in_whole_words(service: Service, user: str, named: str, events: int) -> None:
    command = AddMemory(
        text="User loves hiking",
        scope=Scope(owner="default", user_id=user),
        extractor="model:gpt-4.1:facts-1",
    )
    context = Context(owner="default", actor="key_test", cause="test", correlation="test")
    work = Work(context=context, commands=[(new_id(), command)])
    service.worker.cells.of("default").writer.submit(work).result()
    told = revert(service.client, extractor=named, user_id=user, dry_run=True)
    assert told["events"] == events


def test_a_span_of_time_can_be_undone(client: httpx.Client, user: str) -> None:
    for text in ("one", "two", "three", "four"):
        add(client, text, user)
    logged = client.get("/v1/events", params={"user_id": user}).json()["results"]
    moments = [event["recorded_at"] for event in logged]
    done = revert(client, since=moments[1], until=moments[3], user_id=user)
    assert outcome(done) == [("DELETE", "two", None), ("DELETE", "three", None)]
    assert texts(client, user) == {"one", "four"}
    assert revert(client, since=moments[3], until=moments[3], user_id=user)["events"] == 0


def test_all_that_is_named_must_fit(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I love hiking")
    actor = last_change(client, told["results"][0]["id"])["actor"]
    cause = {"cause": told["ingestion_id"]}
    for other in (
        {"actor": "key_other"},
        {"extractor": "rules-2"},
        {"user_id": "nobody"},
        {"until": "2020-01-01T00:00:00Z"},
    ):
        assert revert(client, **cause, **other)["events"] == 0
    assert texts(client, user) == {"User loves hiking"}
    fitting = {"actor": actor, "extractor": "rules-1", "user_id": user, "since": "2020-01-01T00:00:00Z"}
    assert revert(client, **cause, **fitting)["events"] == 1


def test_an_unknown_cause_undoes_nothing(client: httpx.Client) -> None:
    before = head(client)
    for cause in ("zzz", "ing_01a1fc6c5e7379cfa1c601ec3efede40", "revert_zzz"):
        told = revert(client, cause=cause)
        assert (told["events"], told["results"]) == (0, [])
    assert head(client) == before


# --- what others did since ----------------------------------------------------------------------------


def test_a_change_by_hand_on_top_of_what_is_undone_survives(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at a startup")["results"][0]["id"]
    told = tell(client, user, "I now work at Google")
    client.put(f"/v1/memories/{id}", json={"memory": "User works at Google in Zurich"})
    assert outcome(revert(client, cause=told["ingestion_id"])) == []
    memory = client.get(f"/v1/memories/{id}").json()
    assert (memory["memory"], memory["version"]) == ("User works at Google in Zurich", 3)


def test_a_memory_that_was_changed_by_hand_since_it_was_added_is_left_alone(
    client: httpx.Client, user: str
) -> None:
    told = tell(client, user, "I love hiking", "I love Paris")
    ids = {result["memory"]: result["id"] for result in told["results"]}
    id = ids["User loves hiking"]
    client.put(f"/v1/memories/{id}", json={"memory": "User loves climbing"})
    done = revert(client, cause=told["ingestion_id"])
    assert set(outcome(done)) == {
        ("CONFLICT", "User loves climbing", None),
        ("DELETE", "User loves Paris", None),
    }
    memory = client.get(f"/v1/memories/{id}").json()
    assert (memory["memory"], memory["version"]) == ("User loves climbing", 2)
    assert texts(client, user) == {"User loves climbing"}


def test_a_memory_that_was_changed_by_hand_is_deleted_where_that_is_asked_for(
    client: httpx.Client, user: str
) -> None:
    told = tell(client, user, "I love hiking")
    id = told["results"][0]["id"]
    client.put(f"/v1/memories/{id}", json={"memory": "User loves climbing"})
    for dry_run in (True, False):
        assert client.get(f"/v1/memories/{id}").status_code == 200
        done = revert(client, cause=told["ingestion_id"], delete_changed=True, dry_run=dry_run)
        assert outcome(done) == [("DELETE", "User loves climbing", None)]
    assert client.get(f"/v1/memories/{id}").status_code == 404


@pytest.mark.parametrize("delete_changed", [False, True])
def test_what_was_deleted_by_hand_since_it_was_added_needs_no_undoing(
    client: httpx.Client, user: str, delete_changed: bool
) -> None:
    told = tell(client, user, "I love hiking")
    id = told["results"][0]["id"]
    client.delete(f"/v1/memories/{id}")
    assert outcome(revert(client, cause=told["ingestion_id"], delete_changed=delete_changed)) == []
    assert last_change(client, id)["version"] == 2


def test_a_change_between_plan_and_commit_is_never_lost(service: Service, user: str) -> None:
    client, cell = service.client, service.worker.cells.of("default")
    told = tell(client, user, "I love hiking", "I love Paris")
    ids = [result["id"] for result in told["results"]]
    request = reverts.RevertRequest(cause=told["ingestion_id"], dry_run=False, delete_changed=True)
    undos, events = reverts.plan(cell, "default", request)
    client.put(f"/v1/memories/{ids[1]}", json={"metadata": {"kept": True}})
    before = everything(client, user, ids)
    context = Context(owner="default", actor="key_test", cause="revert_test", correlation="test")
    commands = reverts.commands(new_id(), "default", request, undos, events)
    work = Work(context=context, commands=commands)
    with pytest.raises(VersionConflict):  # api/errors.py answers 412
        cell.writer.submit(work).result()
    assert everything(client, user, ids) == before


def test_a_revert_that_races_with_a_change_loses_none(service: Service, user: str) -> None:
    with client_of(service.url, KEY) as other, ThreadPoolExecutor(2) as pool:
        for round in range(10):
            told = tell(service.client, f"{user}-{round}", "I love hiking")
            memory, body = f"/v1/memories/{told['results'][0]['id']}", {"cause": told["ingestion_id"]}
            putting = pool.submit(other.put, memory, json={"metadata": {"round": round}})
            undoing = pool.submit(service.client.post, "/v1/reverts", json={**body, "dry_run": False})
            put, undone = putting.result(), undoing.result()
            assert (put.status_code, undone.status_code) in {(200, 200), (200, 412), (404, 200)}
            now = service.client.get(memory)
            assert (put.status_code, now.status_code) in {(200, 200), (404, 404)}


# --- reverts of reverts -------------------------------------------------------------------------------


def test_a_revert_is_a_cause_and_can_be_undone(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at a startup")["results"][0]["id"]
    told = tell(client, user, "I now work at Google", "I love hiking")
    first = revert(client, cause=told["ingestion_id"])
    assert texts(client, user) == {"User works at a startup"}
    assert last_change(client, id)["cause"] == first["id"]
    second = revert(client, cause=first["id"])
    assert set(outcome(second)) == {
        ("UPDATE", "User works at a startup", "User works at Google"),
        ("RESTORE", "User loves hiking", "User loves hiking"),
    }
    assert texts(client, user) == {"User works at Google", "User loves hiking"}
    revert(client, cause=second["id"])
    assert texts(client, user) == {"User works at a startup"}


def test_what_is_undone_already_is_not_undone_again(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at a startup")
    told = tell(client, user, "I now work at Google", "I love hiking")
    revert(client, cause=told["ingestion_id"])
    before = head(client)
    assert outcome(revert(client, cause=told["ingestion_id"])) == []
    assert head(client) == before


def test_undo_redo_and_undo_again_end_undone(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at a startup")
    told = tell(client, user, "I now work at Google", "I love hiking")
    for _ in range(2):
        undone = revert(client, cause=told["ingestion_id"])
        assert texts(client, user) == {"User works at a startup"}
        revert(client, cause=undone["id"])
        assert texts(client, user) == {"User works at Google", "User loves hiking"}
    revert(client, cause=told["ingestion_id"])
    assert texts(client, user) == {"User works at a startup"}


# --- requests -----------------------------------------------------------------------------------------


def test_a_revert_repeated_under_an_idempotency_key_is_answered_alike(
    client: httpx.Client, user: str
) -> None:
    id = tell(client, user, "I work at a startup")["results"][0]["id"]
    told = tell(client, user, "I now work at Google", "I love hiking")
    body, key = {"cause": told["ingestion_id"], "dry_run": False}, {"Idempotency-Key": f"revert-{user}"}
    answers = [client.post("/v1/reverts", json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert last_change(client, id)["version"] == 3


def test_a_revert_repeated_under_an_idempotency_key_undoes_no_more_and_says_so(
    client: httpx.Client, user: str
) -> None:
    body = {"extractor": "rules-1", "user_id": user, "dry_run": False}
    key = {"Idempotency-Key": f"revert-{user}"}
    tell(client, user, "I love hiking")
    client.post("/v1/reverts", json=body, headers=key)
    tell(client, user, "I love Paris")
    again = client.post("/v1/reverts", json=body, headers=key).json()
    assert texts(client, user) == {"User loves Paris"}
    assert "User loves Paris" not in {one["memory"] for one in again["results"]}


def test_a_reader_can_wait_for_a_revert(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I love hiking")
    done = client.post("/v1/reverts", json={"cause": told["ingestion_id"], "dry_run": False})
    position = last_change(client, told["results"][0]["id"])["position"]
    assert int(done.headers["Everlog-Position"]) == position + 1  # of the event that records the revert
    dry = client.post("/v1/reverts", json={"cause": told["ingestion_id"]})
    assert "Everlog-Position" not in dry.headers


@pytest.mark.parametrize(
    "body",
    [
        {}, {"dry_run": False}, {"user_id": "u"}, {"user_id": "u", "dry_run": False, "delete_changed": True},
        {"cause": ""}, {"cause": None}, {"cause": 7}, {"cause": "a\0"}, {"since": "yesterday"},
        {"until": "soon"}, {"cause": "x", "dry_run": "no"}, {"cause": "x" * 256},
    ],
)  # fmt: skip
def test_a_revert_must_say_what_to_undo(client: httpx.Client, body: dict[str, Any]) -> None:
    before = head(client)
    is_problem(client.post("/v1/reverts", json=body), 422)
    assert head(client) == before


def test_anothers_changes_are_never_undone(client: httpx.Client, stranger: httpx.Client, user: str) -> None:
    told = tell(client, user, "I love Zorblax")
    id = told["results"][0]["id"]
    change = last_change(client, id)
    for what in (
        {"cause": told["ingestion_id"]},
        {"cause": change["cause"]},
        {"actor": change["actor"]},
        {"extractor": "rules-1", "user_id": user},
        {"since": change["changed_at"], "user_id": user},
    ):
        answer = revert(stranger, **what, delete_changed=True)
        assert (answer["events"], answer["results"]) == (0, [])
    assert client.get(f"/v1/memories/{id}").json()["version"] == 1


def test_a_key_that_may_only_read_cannot_undo(service: Service) -> None:
    service.worker.cells.create_key("key-that-reads", "reader", "default", ("read",))
    with client_of(service.url, "key-that-reads") as reader:
        is_problem(reader.post("/v1/reverts", json={"cause": "x"}), 403)


def test_only_memories_are_undone(client: httpx.Client, user: str) -> None:
    """The conversation itself, and what was decided on it, stay in the log."""
    told = tell(client, user, "I love hiking")
    assert revert(client, cause=told["ingestion_id"])["events"] == 1
    kept = client.get(f"/v1/ingestions/{told['ingestion_id']}").json()
    assert (kept["status"], kept["decisions"][0]["memory"]) == ("extracted", "User loves hiking")
