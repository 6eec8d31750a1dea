"""Explaining a memory: each change with the words it came from, who decided it, and why."""

import httpx
import pytest

from tests.support.ingestions import ingestion, tell
from tests.support.memories import add, explain
from tests.support.problems import is_problem


def test_the_chain_tells_every_change_of_a_memory_oldest_first(client: httpx.Client, user: str) -> None:
    added = tell(client, user, "Good morning!", "I work at a startup")
    id = added["results"][0]["id"]
    updated = tell(client, user, "I now work at Google")
    client.put(f"/v1/memories/{id}", json={"memory": "User works at Google in Zurich"})
    client.delete(f"/v1/memories/{id}")
    deletion = client.get(f"/v1/memories/{id}/history").json()["history"][0]["cause"]
    revert = client.post("/v1/reverts", json={"cause": deletion, "dry_run": False}).json()["id"]

    told = explain(client, id)
    chain = told["chain"]
    assert (told["id"], told["memory"], told["deleted"]) == (id, "User works at Google in Zurich", False)
    assert [(step["event"], step["version"], step["memory"], step["supersedes"]) for step in chain] == [
        ("ADD", 1, "User works at a startup", None),
        ("UPDATE", 2, "User works at Google", "User works at a startup"),
        ("UPDATE", 3, "User works at Google in Zurich", "User works at Google"),
        ("DELETE", 4, "User works at Google in Zurich", None),
        ("ADD", 5, "User works at Google in Zurich", None),
    ]
    by_conversation, by_hand = chain[:2], chain[2:]
    assert [step["ingestion_id"] for step in by_conversation] == [
        added["ingestion_id"],
        updated["ingestion_id"],
    ]
    assert [
        [(source["index"], source["role"], source["content"]) for source in step["sources"]]
        for step in by_conversation
    ] == [[(1, "user", "I work at a startup")], [(0, "user", "I now work at Google")]]
    for step in by_conversation:
        assert (step["extractor"], step["model"], step["prompts"]) == ("rules-1", None, {})
        assert step["reason"]
        assert 0 < step["confidence"] <= 1
    assert by_conversation[0]["reason"] != by_conversation[1]["reason"]
    for step in by_hand:
        assert step["sources"] == []
        assert step["extractor"] is step["confidence"] is step["ingestion_id"] is None
    assert [bool(step["reason"]) for step in by_hand] == [False, False, True]
    assert deletion in by_hand[2]["reason"]
    assert (by_hand[2]["revert_id"], by_hand[1]["revert_id"]) == (revert, None)
    assert [step["cause"] for step in by_hand[1:]] == [deletion, revert]


def test_the_chain_agrees_with_the_history(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at a startup")["results"][0]["id"]
    tell(client, user, "I now work at Google")
    client.put(f"/v1/memories/{id}", json={"metadata": {"sure": True}}, headers={"X-Request-Id": "by-hand"})
    chain = explain(client, id)["chain"]
    history = client.get(f"/v1/memories/{id}/history").json()["history"][::-1]
    for same in ("event", "version", "memory", "actor", "cause", "request_id", "position"):
        assert [step[same] for step in chain] == [entry[same] for entry in history]
    assert [step["at"] for step in chain] == [entry["changed_at"] for entry in history]
    assert chain[-1]["request_id"] == "by-hand"
    assert chain[-1]["supersedes"] is None  # its words did not change


def test_each_statement_of_one_conversation_names_its_own_message(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I love hiking", "How is the weather?", "I work at a startup")
    sources = {
        result["memory"]: [
            source["content"] for source in explain(client, result["id"])["chain"][0]["sources"]
        ]
        for result in told["results"]
    }
    assert sources == {
        "User loves hiking": ["I love hiking"],
        "User works at a startup": ["I work at a startup"],
    }


def test_a_source_was_said_when_its_message_says_so_or_else_when_it_came(
    client: httpx.Client, user: str
) -> None:
    said = {"role": "user", "content": "I love hiking", "timestamp": "2026-01-02T03:04:05Z"}
    body = {"messages": [said, {"role": "user", "content": "I love Paris"}], "user_id": user}
    answer = client.post("/v1/memories", json=body).json()
    received_at = ingestion(client, answer["ingestion_id"])["received_at"]
    moments = {
        source["content"]: source["said_at"]
        for result in answer["results"]
        for source in explain(client, result["id"])["chain"][0]["sources"]
    }
    assert moments == {"I love hiking": "2026-01-02T03:04:05Z", "I love Paris": received_at}


def test_a_memory_that_a_conversation_ended_can_still_be_explained(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at Google")["results"][0]["id"]
    ended = tell(client, user, "I don't work there any more")
    told = explain(client, id)
    assert (told["deleted"], told["memory"]) == (True, "User works at Google")
    last = told["chain"][-1]
    assert (last["event"], last["ingestion_id"]) == ("DELETE", ended["ingestion_id"])
    assert [source["content"] for source in last["sources"]] == ["I don't work there any more"]
    assert "no longer" in last["reason"]


def test_words_kept_as_they_were_sent_have_no_reason(client: httpx.Client, user: str) -> None:
    (step,) = explain(client, add(client, "I love hiking", user))["chain"]
    assert (step["event"], step["memory"], step["supersedes"]) == ("ADD", "I love hiking", None)
    assert step["reason"] is step["extractor"] is step["ingestion_id"] is step["review_id"] is None
    assert step["sources"] == []


def test_anothers_memory_is_not_explained(client: httpx.Client, stranger: httpx.Client, user: str) -> None:
    id = tell(client, user, "I love Zorblax")["results"][0]["id"]
    answer = stranger.get(f"/v1/memories/{id}/explain")
    is_problem(answer, 404)
    assert "Zorblax" not in answer.text


@pytest.mark.parametrize("id", ["mem_01a1fc6c5e7379cfa1c601ec3efede40", "zzz", "mem_", "%00"])
def test_an_unknown_memory_is_not_explained(client: httpx.Client, id: str) -> None:
    is_problem(client.get(f"/v1/memories/{id}/explain"), 404)


@pytest.mark.parametrize("question", ["explain", "history"])
def test_the_id_of_a_conversation_is_no_memorys(client: httpx.Client, user: str, question: str) -> None:
    id = tell(client, user, "I love hiking")["ingestion_id"].replace("ing_", "mem_")
    is_problem(client.get(f"/v1/memories/{id}/{question}"), 404)
