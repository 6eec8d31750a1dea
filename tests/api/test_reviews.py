"""Reviews over HTTP: past conversations are read again, and nothing changes until somebody says so."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from domain import review
from domain.eventstore.writer import Work
from domain.ids import REVIEW_PREFIX, new_id, spell
from domain.recorded import Context
from domain.scope import Scope
from tests.support.ingestions import failed_ingestion, ingestion, tell
from tests.support.memories import add, explain, last_change, texts
from tests.support.problems import is_problem
from tests.support.reverts import revert
from tests.support.reviews import OF_OLD, SAID, read_of_old, review_of
from tests.support.service import KEY, Service, client_of, eventually, head


def proposed(told: dict[str, Any]) -> set[tuple[str, str, str | None]]:
    return {(one["event"], one["memory"], one["prev_memory"]) for one in told["proposals"]}


def numbers(told: dict[str, Any], event: str) -> list[int]:
    return [one["number"] for one in told["proposals"] if one["event"] == event]


def apply(client: httpx.Client, told: dict[str, Any], which: list[int] | str = "all") -> httpx.Response:
    return client.post(f"/v1/reviews/{told['id']}/apply", json={"proposals": which})


# --- proposals ----------------------------------------------------------------------------------------


def test_the_same_extractor_proposes_nothing_new(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at a startup", "I love hiking")
    tell(client, user, "I now work at Google")
    tell(client, user, "I love hiking", "I love Paris")
    tell(client, user, "I don't work there any more")
    told = review_of(client, user_id=user)
    assert (told["extractor"], told["ingestions"], told["proposals"]) == ("rules-1", 4, [])


def test_another_reading_proposes_what_would_have_to_change(service: Service, user: str) -> None:
    conversation, _ = read_of_old(service, user)
    told = review_of(service.client, user_id=user)
    assert proposed(told) == {
        ("ADD", "User has a dog called Rex", None),
        ("UPDATE", "User loves hiking", "User loves to go hiking"),
        ("DELETE", "User owns three castles", "User owns three castles"),
    }
    assert (told["extractor"], told["model"], told["ingestions"]) == ("rules-1", None, 1)
    assert sorted(one["number"] for one in told["proposals"]) == [1, 2, 3]
    for one in told["proposals"]:
        assert one["reason"]
        assert one["applied"] is False
        assert one["ingestion_id"] == (None if one["event"] == "DELETE" else conversation)


def test_a_review_by_itself_changes_nothing(service: Service, user: str) -> None:
    _, ids = read_of_old(service, user)
    before = head(service.client)
    review_of(service.client, user_id=user)
    assert head(service.client) == before + 2  # that it was asked for, and what it proposes
    assert {last_change(service.client, id)["version"] for id in ids.values()} == {1}


def test_what_could_not_be_read_before_is_proposed_now(service: Service, user: str) -> None:
    conversation = failed_ingestion(service, user, "I love hiking")
    told = review_of(service.client, user_id=user)
    assert proposed(told) == {("ADD", "User loves hiking", None)}
    assert told["proposals"][0]["ingestion_id"] == conversation


def test_what_was_reverted_is_proposed_again(client: httpx.Client, user: str) -> None:
    revert(client, cause=tell(client, user, "I love hiking")["ingestion_id"])
    assert proposed(review_of(client, user_id=user)) == {("ADD", "User loves hiking", None)}


def test_several_conversations_are_read_as_one_story(service: Service, user: str) -> None:
    read_of_old(service, user, "I work at a startup", "User works at a startup")
    read_of_old(service, user, "I now work at Google", "User works at Google")
    assert proposed(review_of(service.client, user_id=user)) == {
        ("DELETE", "User works at a startup", "User works at a startup")
    }


def test_only_what_is_asked_for_is_read_again(service: Service, user: str) -> None:
    client = service.client
    read_of_old(service, user, "I love hiking", "User owns a boat")
    second, _ = read_of_old(service, user, "I love Paris", "User owns a plane")
    read_of_old(service, f"{user}-other", "I love Rome", "User owns a tank")
    until = ingestion(client, second)["received_at"]
    for within, texts_read in (
        ({"user_id": user}, {"User loves hiking", "User loves Paris"}),
        ({"user_id": user, "until": until}, {"User loves hiking"}),
        ({"user_id": user, "since": until}, {"User loves Paris"}),
        ({"user_id": user, "agent_id": "nobody"}, set()),
        ({"user_id": f"{user}-other"}, {"User loves Rome"}),
    ):
        told = review_of(client, **within)
        assert {one["memory"] for one in told["proposals"] if one["event"] == "ADD"} == texts_read
        assert told["ingestions"] == len(texts_read)


def test_a_review_is_of_one_user_or_of_what_was_sent_without_one(client: httpx.Client, user: str) -> None:
    of_user = tell(client, user, "I work at a startup", agent_id=user)
    without = tell(client, None, "I now work at Google", agent_id=user)
    revert(client, cause=of_user["ingestion_id"])
    revert(client, cause=without["ingestion_id"])
    told = review_of(client, agent_id=user, user_id=user)
    assert proposed(told) == {("ADD", "User works at a startup", None)}
    told = review_of(client, agent_id=user)
    assert proposed(told) == {("ADD", "User works at Google", None)}


def test_a_review_keeps_no_conversation_waiting(service: Service, user: str) -> None:
    client = service.client
    for n in range(30):
        read_of_old(service, user, f"I love the city number {n}", f"User loves the city number {n}")
    location = client.post("/v1/reviews", json={"user_id": user}).headers["Location"]
    tell(client, f"{user}-other", "I love hiking")  # is answered 201: it has not waited for 30 others
    eventually(lambda: client.get(location).json()["status"] == "proposed")


# --- what people changed ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"memory": "User owns four castles"}, {"metadata": {"sure": True}}])
def test_what_was_changed_by_hand_is_never_proposed_for_deletion(
    service: Service, user: str, change: dict[str, Any]
) -> None:
    _, ids = read_of_old(service, user)
    service.client.put(f"/v1/memories/{ids['User owns three castles']}", json=change)
    assert proposed(review_of(service.client, user_id=user)) == {
        ("ADD", "User has a dog called Rex", None),
        ("UPDATE", "User loves hiking", "User loves to go hiking"),
    }


def test_what_was_corrected_by_hand_stays_corrected(client: httpx.Client, user: str) -> None:
    id = tell(client, user, "I work at a startup")["results"][0]["id"]
    client.put(f"/v1/memories/{id}", json={"memory": "User works at Google"})
    assert proposed(review_of(client, user_id=user)) == set()


def test_what_was_added_by_hand_is_not_ended_by_what_was_said_before(client: httpx.Client, user: str) -> None:
    tell(client, user, "I don't work at Google any more")
    add(client, "User works at Google", user)
    assert proposed(review_of(client, user_id=user)) == set()


def test_later_conversations_that_are_not_read_again_are_not_taken_back(
    client: httpx.Client, user: str
) -> None:
    tell(client, user, "I work at a startup")
    later = tell(client, user, "I now work at Google")["ingestion_id"]
    until = ingestion(client, later)["received_at"]
    assert proposed(review_of(client, user_id=user, until=until)) == set()


def test_earlier_conversations_that_are_not_read_again_are_known(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at a startup")
    later = tell(client, user, "I now work at Google", "I love hiking")["ingestion_id"]
    since = ingestion(client, later)["received_at"]
    told = review_of(client, user_id=user, since=since)
    assert (told["ingestions"], told["proposals"]) == (1, [])


# --- applying -----------------------------------------------------------------------------------------


def test_all_proposals_are_taken_over_at_once(service: Service, user: str) -> None:
    client = service.client
    _, ids = read_of_old(service, user)
    answer = apply(client, review_of(client, user_id=user))
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    assert all(one["applied"] for one in answer.json()["proposals"])
    assert texts(client, user) == {"User loves hiking", "User has a dog called Rex"}
    hike = client.get(f"/v1/memories/{ids['User loves to go hiking']}").json()
    assert (hike["memory"], hike["version"]) == ("User loves hiking", 2)
    assert review_of(client, user_id=user)["proposals"] == []


def test_some_proposals_are_taken_over_now_and_the_rest_later(service: Service, user: str) -> None:
    client = service.client
    read_of_old(service, user)
    told = review_of(client, user_id=user)
    some = numbers(told, "ADD")
    answer = apply(client, told, some)
    assert answer.status_code == 200
    assert {one["number"] for one in answer.json()["proposals"] if one["applied"]} == set(some)
    assert texts(client, user) == {*OF_OLD, "User has a dog called Rex"}
    assert all(one["applied"] for one in apply(client, told).json()["proposals"])
    assert texts(client, user) == {"User loves hiking", "User has a dog called Rex"}


def test_a_proposal_is_taken_over_once(service: Service, user: str) -> None:
    client = service.client
    _, ids = read_of_old(service, user)
    told = review_of(client, user_id=user)
    some = numbers(told, "UPDATE")
    assert apply(client, told, [*some, *some]).status_code == 200
    before = head(client)
    assert apply(client, told, some).status_code == 200  # it is as they want it
    assert head(client) == before
    assert apply(client, told, [*numbers(told, "ADD"), *some]).status_code == 200
    assert apply(client, told).status_code == 200
    before = head(client)
    assert all(one["applied"] for one in apply(client, told).json()["proposals"])
    assert head(client) == before
    assert last_change(client, ids["User loves to go hiking"])["version"] == 2


def test_two_who_take_over_the_same_at_once_change_it_once(service: Service, user: str) -> None:
    client = service.client
    _, ids = read_of_old(service, user)
    told = review_of(client, user_id=user)
    with client_of(service.url, KEY) as other, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: apply(one, told, numbers(told, "UPDATE")), (client, other)))
    assert sorted(answer.status_code for answer in answers) in ([200, 200], [200, 409], [200, 412])
    assert last_change(client, ids["User loves to go hiking"])["version"] == 2


def test_taking_over_repeated_under_an_idempotency_key_is_answered_alike(service: Service, user: str) -> None:
    read_of_old(service, user)
    told = review_of(service.client, user_id=user)
    body, key = {"proposals": numbers(told, "ADD")}, {"Idempotency-Key": f"apply-{user}"}
    answers = [
        service.client.post(f"/v1/reviews/{told['id']}/apply", json=body, headers=key) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
def test_what_was_changed_by_hand_meanwhile_is_412_and_nothing_changes(
    service: Service, user: str, event: str
) -> None:
    client = service.client
    read_of_old(service, user)
    told = review_of(client, user_id=user)
    (changed,) = (one["memory_id"] for one in told["proposals"] if one["event"] == event)
    client.put(f"/v1/memories/{changed}", json={"metadata": {"sure": True}})
    before = head(client)
    for which in ("all", numbers(told, event), numbers(told, "ADD") + numbers(told, event)):
        refused = apply(client, told, which)
        is_problem(refused, 412)
        assert refused.json()["type"] == "urn:everlog:problem:version-conflict"
    assert head(client) == before
    assert texts(client, user) == set(OF_OLD)
    assert apply(client, told, numbers(told, "ADD")).status_code == 200


def test_what_was_deleted_meanwhile_is_refused_and_nothing_changes(service: Service, user: str) -> None:
    client = service.client
    _, ids = read_of_old(service, user)
    told = review_of(client, user_id=user)
    client.delete(f"/v1/memories/{ids['User owns three castles']}")
    before = head(client)
    assert apply(client, told).status_code == 409
    assert head(client) == before


@pytest.mark.parametrize("which", [[99], [0], [-1], [1, 99]])
def test_unknown_proposals_are_404_and_nothing_changes(service: Service, user: str, which: list[int]) -> None:
    read_of_old(service, user)
    told = review_of(service.client, user_id=user)
    before = head(service.client)
    is_problem(apply(service.client, told, which), 404)
    assert head(service.client) == before


# --- why ----------------------------------------------------------------------------------------------


def test_the_review_is_the_cause_and_explains_what_it_changed(service: Service, user: str) -> None:
    client = service.client
    conversation, ids = read_of_old(service, user)
    told = review_of(client, user_id=user)
    apply(client, told)
    for one in told["proposals"]:
        step = explain(client, one["memory_id"])["chain"][-1]
        assert step["event"] == one["event"]
        assert step["review_id"] == told["id"]
        assert spell(REVIEW_PREFIX, UUID(step["cause"])) == told["id"]
        assert (step["reason"], step["extractor"]) == (one["reason"], "rules-1")
        if one["event"] == "DELETE":
            assert (step["ingestion_id"], step["sources"]) == (None, [])
        else:
            assert step["ingestion_id"] == conversation
            assert [source["content"] for source in step["sources"]] == [SAID]
    first = explain(client, ids["User owns three castles"])["chain"][0]
    assert (first["reason"], first["extractor"], first["review_id"]) == ("of old", "old-1", None)
    assert last_change(client, ids["User owns three castles"])["extractor"] == "rules-1"


def test_a_review_that_was_applied_can_be_undone(service: Service, user: str) -> None:
    client = service.client
    read_of_old(service, user)
    told = review_of(client, user_id=user)
    apply(client, told)
    done = revert(client, cause=told["id"])
    assert done["events"] == 3
    assert texts(client, user) == set(OF_OLD)


def test_added_memories_keep_what_was_sent_with_the_conversation(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I love hiking", metadata={"a": 1}, tags=["t"], run_id="run-1")
    revert(client, cause=told["ingestion_id"])
    again = review_of(client, user_id=user)
    apply(client, again)
    memory = client.get(f"/v1/memories/{again['proposals'][0]['memory_id']}").json()
    assert (memory["memory"], memory["metadata"], memory["tags"]) == ("User loves hiking", {"a": 1}, ["t"])
    assert (memory["user_id"], memory["run_id"], memory["type"]) == (user, "run-1", "preference")


# --- requests -----------------------------------------------------------------------------------------


def test_a_review_without_proposals_cannot_be_applied(service: Service, user: str) -> None:
    id = new_id()
    requested = review.Requested(scope=Scope(owner="default", user_id=user))
    work = Work(
        context=Context(owner="default", actor="key_test", cause="test", correlation="test"),
        commands=[(id, review.Request(requested=requested)), (id, review.FailReview(reason="refused"))],
    )
    service.worker.cells.of("default").writer.submit(work).result()
    told = service.client.get(f"/v1/reviews/{spell(REVIEW_PREFIX, id)}").json()
    assert (told["status"], told["reason"], told["proposals"]) == ("failed", "refused", [])
    is_problem(apply(service.client, told), 409)


def test_a_review_asked_for_twice_under_an_idempotency_key_is_one(client: httpx.Client, user: str) -> None:
    key = {"Idempotency-Key": f"review-{user}"}
    answers = [client.post("/v1/reviews", json={"user_id": user}, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("body", [
    {"extractor": "oracle"}, {"user_id": 7}, {"user_id": ""}, {"since": "yesterday"}, {"agent_id": "a\0"}, [],
])  # fmt: skip
def test_bad_reviews_are_422(client: httpx.Client, body: Any) -> None:
    is_problem(client.post("/v1/reviews", json=body), 422)


@pytest.mark.parametrize("proposals", ["some", ["a"], [1.5], None, 1, {}])
def test_bad_choices_are_422(client: httpx.Client, user: str, proposals: Any) -> None:
    told = review_of(client, user_id=user)
    is_problem(apply(client, told, proposals), 422)


@pytest.mark.parametrize("id", ["rev_01a1fc6c5e7379cfa1c601ec3efede40", "zzz", "rev_", "%00"])
def test_unknown_reviews_are_404(client: httpx.Client, id: str) -> None:
    is_problem(client.get(f"/v1/reviews/{id}"), 404)
    is_problem(client.post(f"/v1/reviews/{id}/apply", json={"proposals": "all"}), 404)


def test_anothers_reviews_and_conversations_are_out_of_reach(service: Service, user: str) -> None:
    client, stranger = service.client, service.stranger
    read_of_old(service, user)
    told = review_of(client, user_id=user)
    is_problem(stranger.get(f"/v1/reviews/{told['id']}"), 404)
    is_problem(apply(stranger, told), 404)
    assert client.get(f"/v1/reviews/{told['id']}").json() == told
    theirs = review_of(stranger, user_id=user)
    assert (theirs["ingestions"], theirs["proposals"]) == (0, [])
