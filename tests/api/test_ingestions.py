"""Ingestions over HTTP: a conversation is kept first, then read; what was decided on it can be asked for."""

from typing import Any

import httpx
import pytest

from tests.support.ingestions import conversation, failed_ingestion, ingestion, nobody_extracting, tell
from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import Service, eventually


def decisions(client: httpx.Client, told: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    found = ingestion(client, told["ingestion_id"])["decisions"]
    return [(one["event"], one["memory"], one["prev_memory"]) for one in found]


# --- states and decisions -----------------------------------------------------------------------------


def test_a_conversation_is_kept_as_it_was_sent_with_each_decision_on_it(
    client: httpx.Client, user: str
) -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "I love hiking", "timestamp": "2026-01-02T03:04:05Z"},
            {"role": "assistant", "content": "Great hobby!"},
        ],
        "user_id": user,
        "agent_id": "guide",
        "run_id": "run-1",
    }
    answer = client.post("/v1/memories", json=body)
    (result,) = answer.json()["results"]
    kept = ingestion(client, answer.json()["ingestion_id"])
    assert kept["status"] == answer.json()["status"] == "extracted"
    assert kept["messages"] == [
        {"role": "system", "content": "Be brief", "at": None},
        {"role": "user", "content": "I love hiking", "at": "2026-01-02T03:04:05Z"},
        {"role": "assistant", "content": "Great hobby!", "at": None},
    ]
    assert (kept["user_id"], kept["agent_id"], kept["run_id"], kept["project_id"]) == (
        user, "guide", "run-1", None,
    )  # fmt: skip
    assert (kept["extractor"], kept["model"], kept["prompts"]) == ("rules-1", None, {})
    assert (kept["usage"]["calls"], kept["attempts"], kept["reason"], kept["next_try_at"]) == (
        0,
        0,
        None,
        None,
    )
    (decision,) = kept["decisions"]
    assert decision["memory_id"] == result["id"]
    assert (decision["event"], decision["memory"]) == ("ADD", "User loves hiking")
    assert (decision["sources"], decision["type"]) == ([1], "preference")
    assert 0 < decision["confidence"] <= 1
    assert decision["reason"]
    assert str(kept["position"]) == answer.headers["Everlog-Position"]


def test_what_changes_and_what_ends_is_decided_against_what_is_known(client: httpx.Client, user: str) -> None:
    first = tell(client, user, "I work at a startup")
    second = tell(client, user, "I now work at Google")
    third = tell(client, user, "I don't work there any more")
    assert decisions(client, first) == [("ADD", "User works at a startup", None)]
    assert decisions(client, second) == [("UPDATE", "User works at Google", "User works at a startup")]
    assert decisions(client, third) == [("DELETE", "User works at Google", "User works at Google")]
    ids = {told["results"][0]["id"] for told in (first, second, third)}
    assert len(ids) == 1
    history = client.get(f"/v1/memories/{ids.pop()}/history").json()["history"]
    assert [entry["event"] for entry in history] == ["DELETE", "UPDATE", "ADD"]
    assert {entry["extractor"] for entry in history} == {"rules-1"}


def test_what_is_known_already_changes_nothing_and_the_decision_says_why(
    client: httpx.Client, user: str
) -> None:
    id = tell(client, user, "I love hiking")["results"][0]["id"]
    again = tell(client, user, "I love hiking")
    assert again["results"] == []
    (decision,) = ingestion(client, again["ingestion_id"])["decisions"]
    assert (decision["event"], decision["memory_id"]) == ("NONE", id)
    assert "known" in decision["reason"]
    assert client.get(f"/v1/memories/{id}").json()["version"] == 1


def test_a_conversation_that_states_nothing_is_extracted_with_no_decisions(
    client: httpx.Client, user: str
) -> None:
    told = tell(client, user, "What is the capital of France?")
    assert told["results"] == []
    kept = ingestion(client, told["ingestion_id"])
    assert (kept["status"], kept["decisions"]) == ("extracted", [])


def test_the_users_of_an_owner_share_nothing(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at a startup")
    other = tell(client, f"{user}-other", "I now work at Google")
    assert decisions(client, other) == [("ADD", "User works at Google", None)]


# --- waiting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "handling=lenient, Wait=0"])
def test_who_prefers_not_to_wait_gets_202_and_where_to_ask(service: Service, user: str, prefer: str) -> None:
    client = service.client
    with nobody_extracting(service, user):
        answer = client.post(
            "/v1/memories", json=conversation(user, "I love hiking"), headers={"Prefer": prefer}
        )
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["results"]) == ("waiting", [])
        location = answer.headers["Location"]
        assert location == f"/v1/ingestions/{answer.json()['ingestion_id']}"
        assert client.get(location).json()["status"] == "waiting"
    kept = client.get(location).json()
    assert (kept["status"], kept["decisions"][0]["memory"]) == ("extracted", "User loves hiking")
    assert client.get("/v1/memories", params={"user_id": user}).json()["total"] == 1


def test_what_nobody_waits_for_is_extracted_all_the_same(client: httpx.Client, user: str) -> None:
    answer = client.post(
        "/v1/memories", json=conversation(user, "I love hiking"), headers={"Prefer": "respond-async"}
    )
    id = answer.json()["ingestion_id"]
    eventually(lambda: ingestion(client, id)["status"] == "extracted")


def test_who_prefers_to_wait_longer_still_gets_an_answer_as_soon_as_there_is_one(
    client: httpx.Client, user: str
) -> None:
    answer = client.post(
        "/v1/memories", json=conversation(user, "I love hiking"), headers={"Prefer": "wait=9999999999"}
    )
    assert answer.status_code == 201


def test_conversations_that_wait_are_read_in_the_order_they_came(service: Service, user: str) -> None:
    with nobody_extracting(service, user):
        for text in ("I work at a startup", "I now work at Google", "I don't work there any more"):
            service.client.post(
                "/v1/memories", json=conversation(user, text), headers={"Prefer": "respond-async"}
            )
        waiting = service.client.get("/v1/ingestions", params={"user_id": user, "status": "waiting"}).json()
        assert len(waiting["results"]) == 3
    kept = service.client.get("/v1/ingestions", params={"user_id": user}).json()["results"]
    assert [decision["event"] for one in kept for decision in one["decisions"]] == ["ADD", "UPDATE", "DELETE"]


# --- repeating and retrying ---------------------------------------------------------------------------


def test_a_repeated_idempotency_key_is_answered_alike_and_makes_one_ingestion(
    client: httpx.Client, user: str
) -> None:
    body, key = conversation(user, "I love hiking"), {"Idempotency-Key": f"tell-{user}"}
    answers = [client.post("/v1/memories", json=body, headers=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.content for answer in answers}) == 1
    assert len(client.get("/v1/ingestions", params={"user_id": user}).json()["results"]) == 1
    assert client.get("/v1/memories", params={"user_id": user}).json()["total"] == 1
    other = client.post("/v1/memories", json=conversation(user, "I hate hiking"), headers=key)
    is_problem(other, 422)


def test_who_did_not_wait_can_repeat_the_request_to_hear_how_it_went(service: Service, user: str) -> None:
    body, key = conversation(user, "I love hiking"), {"Idempotency-Key": f"tell-{user}"}
    with nobody_extracting(service, user):
        kept = service.client.post("/v1/memories", json=body, headers={**key, "Prefer": "respond-async"})
    again = service.client.post("/v1/memories", json=body, headers=key)
    assert (kept.status_code, again.status_code) == (202, 201)
    assert kept.json()["ingestion_id"] == again.json()["ingestion_id"]
    assert again.json()["results"][0]["memory"] == "User loves hiking"


def test_a_failed_ingestion_tells_why_and_can_be_tried_again(service: Service, user: str) -> None:
    client, id = service.client, failed_ingestion(service, user, "I love hiking")
    kept = ingestion(client, id)
    assert (kept["status"], kept["reason"], kept["attempts"]) == ("failed", "refused", 3)
    assert (kept["extractor"], kept["model"], kept["decisions"]) == ("model-1", "gpt", [])
    again = client.post(f"/v1/ingestions/{id}/retry")
    assert (again.status_code, again.json()["status"]) == (200, "extracted")
    kept = ingestion(client, id)
    assert (kept["extractor"], kept["reason"], kept["attempts"]) == ("rules-1", None, 0)
    assert [one["memory"] for one in kept["decisions"]] == ["User loves hiking"]


def test_a_retry_repeated_under_an_idempotency_key_is_one_retry(service: Service, user: str) -> None:
    id, key = failed_ingestion(service, user, "I love hiking"), {"Idempotency-Key": f"retry-{user}"}
    answers = [service.client.post(f"/v1/ingestions/{id}/retry", headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


def test_only_what_has_failed_can_be_tried_again(service: Service, user: str) -> None:
    client = service.client
    with nobody_extracting(service, user):
        answer = client.post(
            "/v1/memories", json=conversation(user, "I love hiking"), headers={"Prefer": "wait=0"}
        )
        retry = f"/v1/ingestions/{answer.json()['ingestion_id']}/retry"
        is_problem(client.post(retry), 409)
    refused = client.post(retry)
    is_problem(refused, 409)
    assert refused.json()["type"] == "urn:everlog:problem:not-waiting"
    assert client.get("/v1/memories", params={"user_id": user}).json()["total"] == 1


# --- lists --------------------------------------------------------------------------------------------


def test_a_users_conversations_are_listed_in_pages_oldest_first(client: httpx.Client, user: str) -> None:
    told = [tell(client, user, f"I bought the book number {n}")["ingestion_id"] for n in range(5)]
    tell(client, f"{user}-other", "I love hiking")
    after, ids = 0, []
    while after is not None:
        page = client.get("/v1/ingestions", params={"user_id": user, "limit": 2, "after": after}).json()
        assert len(page["results"]) <= 2
        ids += [one["id"] for one in page["results"]]
        after = page["next_after"]
    assert ids == told


def test_conversations_are_listed_by_status_and_by_every_id_of_their_scope(
    service: Service, user: str
) -> None:
    client = service.client
    failed = failed_ingestion(service, user, "I love hiking")
    extracted = tell(client, user, "I love climbing", agent_id="guide", run_id="one")["ingestion_id"]

    def listed(**only: str) -> list[str]:
        page = client.get("/v1/ingestions", params={"user_id": user, **only}).json()
        return [one["id"] for one in page["results"]]

    assert listed() == [failed, extracted]
    assert listed(status="failed") == [failed]
    assert listed(status="extracted") == listed(agent_id="guide") == listed(run_id="one") == [extracted]
    assert listed(status="waiting") == listed(agent_id="other") == listed(project_id="other") == []


@pytest.mark.parametrize("query", ["status=odd", "after=-1", "limit=0", "limit=201", "user_id="])
def test_bad_pages_of_conversations_are_400(client: httpx.Client, query: str) -> None:
    is_problem(client.get(f"/v1/ingestions?{query}"), 400)


# --- whose they are -----------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["ing_01a1fc6c5e7379cfa1c601ec3efede40", "zzz", "ing_", "%00", "..%2f"])
def test_unknown_conversations_are_404(client: httpx.Client, id: str) -> None:
    is_problem(client.get(f"/v1/ingestions/{id}"), 404)
    is_problem(client.post(f"/v1/ingestions/{id}/retry"), 404)


def test_the_id_of_a_memory_is_no_conversations(client: httpx.Client, user: str) -> None:
    id = add(client, "x", user).replace("mem_", "ing_")
    is_problem(client.get(f"/v1/ingestions/{id}"), 404)
    is_problem(client.post(f"/v1/ingestions/{id}/retry"), 404)


def test_anothers_conversations_are_404_and_in_no_list(service: Service, user: str) -> None:
    extracted = tell(service.client, user, "I love Zorblax")["ingestion_id"]
    failed = failed_ingestion(service, user, "I love Zorblax")
    for id in (extracted, failed):
        is_problem(service.stranger.get(f"/v1/ingestions/{id}"), 404)
        is_problem(service.stranger.post(f"/v1/ingestions/{id}/retry"), 404)
    assert ingestion(service.client, failed)["status"] == "failed"
    assert service.stranger.get("/v1/ingestions", params={"user_id": user}).json()["results"] == []
    assert "Zorblax" not in service.stranger.get("/v1/ingestions", params={"limit": 200}).text


def test_the_same_user_of_another_owner_is_another_user(
    client: httpx.Client, stranger: httpx.Client, user: str
) -> None:
    tell(client, user, "I work at a startup")
    theirs = tell(stranger, user, "I now work at Google")
    assert decisions(stranger, theirs) == [("ADD", "User works at Google", None)]
    assert len(stranger.get("/v1/ingestions", params={"user_id": user}).json()["results"]) == 1
