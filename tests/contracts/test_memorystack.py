"""The MemoryStack contract: the requests and answers of seed 003 (seeds/003_*.txt), as it prints them."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from domain.key import ALL_SCOPES, Terms
from tests.support.memorystack import add, listed, make_client
from tests.support.service import OTHER_KEY, Service, client_of

EXAMPLE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "I love TypeScript"},
        {"role": "assistant", "content": "TypeScript is great!"},
    ],
    "user_id": "user_123",
    "metadata": {"source": "chat", "session_id": "sess_xyz"},
}
SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A key of the dialect, and of this test: what another test sent is no repetition here."""
    with make_client(service, Terms(dialect="memorystack")) as made:
        yield made


# --- the seed ---------------------------------------------------------------------------------------


def test_creating_answers_as_the_seed(client: httpx.Client) -> None:
    answer = client.post("/api/v1/memories", json=EXAMPLE)
    assert answer.status_code == 201
    (id,) = answer.json()["memory_ids"]
    assert str(UUID(id)) == id
    assert answer.json() == {
        "success": True,
        "memories_created": 1,
        "memory_ids": [id],
        "owner_id": "default",
        "user_id": "user_123",
    }


def test_listing_answers_as_the_seed(client: httpx.Client, user: str) -> None:
    id = client.post("/api/v1/memories", json={**EXAMPLE, "user_id": user}).json()["memory_ids"][0]
    answer = client.get(f"/api/v1/memories?user_id={user}&limit=20").json()
    for name in ("created_at", "updated_at"):
        assert SECOND.fullmatch(answer["results"][0].pop(name))
    assert answer == {
        "success": True,
        "count": 1,
        "next_cursor": None,
        "results": [
            {
                "id": id,
                "owner_clerk_id": "default",
                "end_user_id": user,
                "content": "User loves TypeScript",
                "memory_type": "preference",
                "confidence": 0.90,
                "metadata": {"source": "chat", "session_id": "sess_xyz"},
                "source_type": "text",
            }
        ],
    }


def test_an_unknown_key_is_401_as_in_the_seed(service: Service) -> None:
    with client_of(service.url, "nobody's") as unknown:
        answers = [
            unknown.get("/api/v1/memories"),
            unknown.post("/api/v1/memories", json=EXAMPLE),
            httpx.get(f"{service.url}/api/v1/stats"),
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()) == (401, {"error": "Invalid API key"})


def test_a_used_up_month_is_429_as_in_the_seed(service: Service) -> None:
    with make_client(service, Terms(per_month=1)) as client:
        assert client.get("/api/v1/memories").status_code == 200
        answer = client.get("/api/v1/memories")
    assert (answer.status_code, answer.json()) == (429, {"error": "Monthly API limit exceeded"})


def test_too_many_a_minute_are_429_with_integer_headers(service: Service) -> None:
    with make_client(service, Terms(per_minute=1)) as client:
        assert client.get("/api/v1/memories").status_code == 200
        answer = client.get("/api/v1/memories")
    assert (answer.status_code, answer.json()) == (429, {"error": "Rate limit exceeded"})
    told = [int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")]
    assert told[:2] == [1, 0]
    assert told[2] >= int(time.time())


def test_missing_messages_are_400_as_in_the_seed(client: httpx.Client) -> None:
    answer = client.post("/api/v1/memories", json={})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Invalid request payload",
        "details": {"fieldErrors": {"messages": ["Required"]}},
    }


# --- adding -----------------------------------------------------------------------------------------


def test_only_what_was_added_or_changed_counts(client: httpx.Client, user: str) -> None:
    first = add(client, "I work at Initech", user)
    changed = client.post(
        "/api/v1/memories",
        json={"messages": [{"role": "user", "content": "I now work at Google"}], "user_id": user},
    ).json()
    assert (changed["memories_created"], changed["memory_ids"]) == (1, [first])
    known = {"messages": [{"role": "user", "content": "I work at Google, you know"}], "user_id": user}
    answer = client.post("/api/v1/memories", json=known)
    assert answer.status_code == 201
    assert (answer.json()["memories_created"], answer.json()["memory_ids"]) == (0, [])
    assert answer.json()["message"] == "nothing new was found in these messages"


def test_what_says_whence_messages_are_is_kept_and_can_be_filtered_by(
    client: httpx.Client, user: str
) -> None:
    origin = {"team_id": "t", "session_id": "s", "conversation_id": "c", "agent_type": "support"}
    id = add(client, "I love climbing", user, agent_id="bot", metadata={"a": 1}, **origin)
    (memory,) = listed(client, user_id=user)
    assert memory["metadata"] == {"a": 1, **origin}
    assert memory["agent_id"] == "bot"
    for params in ({"agent_id": "bot"}, {"team_id": "t"}, {"session_id": "s"}, {"conversation_id": "c"}):
        assert [one["id"] for one in listed(client, user_id=user, **params)] == [id]
        (name,) = params
        assert listed(client, user_id=user, **{name: "another"}) == []


def test_a_lone_statement_that_the_rules_do_not_know_is_kept_as_it_is(
    client: httpx.Client, user: str
) -> None:
    id = add(client, "The project ends on Friday", user, metadata={"source": "app"})
    (memory,) = listed(client, user_id=user)
    assert (memory["id"], memory["content"]) == (id, "The project ends on Friday")
    assert (memory["memory_type"], memory["confidence"]) == ("fact", 1.0)
    for said in ("What is my favourite colour?", "Hello world", "the project ENDS on Friday"):
        body = {"messages": [{"role": "user", "content": said}], "user_id": user}
        assert client.post("/api/v1/memories", json=body).json()["memories_created"] == 0
    assert len(listed(client, user_id=user)) == 1


def test_an_agent_is_known_by_its_name(client: httpx.Client, user: str) -> None:
    name = f"Support of {user}"
    body = {**EXAMPLE, "user_id": user, "agent_name": name, "agent_type": "support"}
    answer = client.post("/api/v1/memories/agents", json=body).json()
    assert answer["agent_id"] == name
    found = client.get("/api/v1/memories/agents", params={"agent_id": name}).json()
    assert (found["success"], found["count"]) == (True, 1)
    assert [one["id"] for one in found["data"]] == answer["memory_ids"]


def test_an_agents_team_is_those_it_has_written_for(client: httpx.Client, user: str) -> None:
    team = f"team-{user}"
    own = add(client, "I love climbing", user, agent_id=f"{user}-1", team_id=team)
    others = add(client, "I love chess", user, agent_id=f"{user}-2", team_id=team)
    params = {"agent_id": f"{user}-1"}
    data = client.get("/api/v1/memories/agents", params=params).json()["data"]
    assert [one["id"] for one in data] == [others, own]
    params["include_team"] = "false"
    data = client.get("/api/v1/memories/agents", params=params).json()["data"]
    assert [one["id"] for one in data] == [own]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": EXAMPLE["messages"] * 51}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({**EXAMPLE, "user_id": 5}, "user_id"),
        ({**EXAMPLE, "user_id": "all"}, "user_id"),
        ({**EXAMPLE, "user_id": "x" * 256}, "user_id"),
        ({**EXAMPLE, "metadata": []}, "metadata"),
    ],
)
def test_bad_input_is_told_by_field(client: httpx.Client, body: Any, field: str) -> None:
    answer = client.post("/api/v1/memories", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid request payload"
    assert list(answer.json()["details"]["fieldErrors"]) == [field]


def test_a_batch_deletion_without_a_body_misses_its_field(client: httpx.Client) -> None:
    bodies: tuple[dict[str, Any] | None, ...] = (None, {})
    for body in bodies:
        answer = client.request("DELETE", "/api/v1/memories/batch", json=body)
        assert answer.status_code == 400
        assert answer.json()["details"] == {"fieldErrors": {"memory_ids": ["Required"]}}


def test_what_concerns_no_field_is_a_form_error(client: httpx.Client) -> None:
    for content in (b"{", b"[]", b'{"messages": [{"role": "user", "content": "\\u0000 a b"}]}'):
        answer = client.post(
            "/api/v1/memories", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, content
        assert answer.json()["details"]["formErrors"]


def test_parts_of_a_message_may_stand_alone(client: httpx.Client, user: str) -> None:
    part = {"type": "text", "text": "I love climbing"}
    for content in (part, [part, {"type": "image", "data": "aGk=", "mimeType": "image/png"}]):
        body = {"messages": [{"role": "user", "content": content}], "user_id": user}
        assert client.post("/api/v1/memories", json=body).status_code == 201
    assert [one["content"] for one in listed(client, user_id=user)] == ["User loves climbing"]


# --- listing and searching --------------------------------------------------------------------------


def test_listing_pages_in_both_orders(client: httpx.Client, user: str) -> None:
    ids = [add(client, f"I love {what}", user) for what in ("chess", "climbing", "opera", "tea", "Oslo")]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        params: dict[str, Any] = {"user_id": user, "limit": 2, "order": order}
        found: list[str] = []
        while True:
            page = client.get("/api/v1/memories", params=params).json()
            assert page["count"] == len(page["results"]) <= 2
            found += [one["id"] for one in page["results"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert found == expected


def test_self_is_nobody_and_all_is_everybody(client: httpx.Client, user: str) -> None:
    agent = f"agent-{user}"
    mine = add(client, "I love chess", None, agent_id=agent)
    also_mine = add(client, "I love tea", "self", agent_id=agent)
    theirs = add(client, "I love opera", user, agent_id=agent)

    def ids(**params: Any) -> list[str]:
        return [one["id"] for one in listed(client, agent_id=agent, **params)]

    assert ids(user_id="self") == [also_mine, mine]
    assert ids(user_id=user) == [theirs]
    assert ids(user_id="all") == ids() == [theirs, also_mine, mine]


def test_filters_by_type_and_confidence(client: httpx.Client, user: str) -> None:
    loves, works = add(client, "I love chess", user), add(client, "I work at Initech", user)
    assert [one["id"] for one in listed(client, user_id=user, memory_type="preference")] == [loves]
    assert [one["id"] for one in listed(client, user_id=user, memory_type="fact")] == [works]
    assert listed(client, user_id=user, memory_type="no such type") == []
    client.patch(f"/api/v1/memories/{works}", json={"confidence": 0.3})
    assert [one["id"] for one in listed(client, user_id=user, min_confidence=0.5)] == [loves]


def test_embeddings_come_when_asked_for(client: httpx.Client, user: str) -> None:
    add(client, "I love chess", user)
    (memory,) = listed(client, user_id=user, include_embedding="true")
    assert len(memory["embedding"]) > 100
    assert abs(sum(x * x for x in memory["embedding"]) - 1) < 0.01
    assert "embedding" not in listed(client, user_id=user)[0]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("memories?limit=0", "limit"),
        ("memories?limit=101", "limit"),
        ("memories?order=up", "order"),
        ("memories?min_confidence=2", "min_confidence"),
        ("memories?cursor=nonsense", "cursor"),
        ("memories?cursor=eyJpZCI6IjEyMyJ9", "cursor"),
        ("memories?metadata=x", "metadata"),
        ("memories/search", "query"),
        ("memories/search?query=x&limit=51", "limit"),
        ("memories/search?query=x&mode=psychic", "mode"),
        ("memories/search?query=%20", "query"),
        ("memories/search?query=x&metadata=%5B1%5D", "metadata"),
        ("memories/agents", "agent_id"),
    ],
)
def test_bad_parameters_are_told_by_field(client: httpx.Client, path: str, field: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid request payload"
    assert list(answer.json()["details"]["fieldErrors"]) == [field]


def test_searching_in_every_mode(client: httpx.Client, user: str) -> None:
    loves = add(client, "I love hiking", user, metadata={"source": "chat", "n": 1})
    add(client, "I work at Initech", user, metadata={"source": "mail"})
    for mode, told in (("hybrid", "hybrid"), ("vector", "vector"), ("text", "text"), ("graph", "hybrid")):
        params: dict[str, Any] = {"query": "hiking outdoors", "user_id": user, "limit": 1, "mode": mode}
        answer = client.get("/api/v1/memories/search", params=params).json()
        assert (answer["success"], answer["count"], answer["mode"]) == (True, 1, told)
        (hit,) = answer["results"]
        assert (hit["id"], hit["content"]) == (loves, "User loves hiking")
        assert 0.5 < hit["score"] <= 1
        assert 0.5 < hit["similarity"] <= 1 or mode == "text"
    params = {"query": "the user", "user_id": user, "metadata": '{"source":"mail"}'}
    found = client.get("/api/v1/memories/search", params=params).json()["results"]
    assert [one["content"] for one in found] == ["User works at Initech"]


# --- one memory -------------------------------------------------------------------------------------


def test_getting_changing_and_deleting_one(client: httpx.Client, user: str) -> None:
    id = add(client, "I love chess", user, metadata={"a": 1})
    path = f"/api/v1/memories/{id}"
    assert client.get(path).json()["memory"] == listed(client, user_id=user)[0]
    change = {"content": "User loves Go", "memory_type": "goal", "confidence": 0.5, "metadata": {"b": 2}}
    memory = client.patch(path, json=change).json()["memory"]
    assert memory["content"] == "User loves Go"
    assert (memory["memory_type"], memory["confidence"]) == ("goal", 0.5)
    assert memory["metadata"] == {"a": 1, "b": 2}
    assert client.get(path).json()["memory"] == memory
    assert client.delete(path).json() == {"success": True, "deleted_count": 1, "hard_delete": False}
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Memory not found"})


def test_new_words_lose_what_was_found_in_the_old(client: httpx.Client, user: str) -> None:
    id = add(client, "I work at Google", user)

    def mentioned() -> list[str]:
        links = client.get("/api/v1/graph").json()["links"]
        return [one["target"] for one in links if one["source"] == id]

    assert "entity:google" in mentioned()
    client.patch(f"/api/v1/memories/{id}", json={"content": "User likes tea", "confidence": 1})
    assert mentioned() == []


def left_of(service: Service, id: str) -> list[str]:
    """The words that a memory ever had, oldest first, as far as the log still has them."""
    versions = service.client.get(f"/v1/memories/{id}/history").json()["history"]
    return [version["memory"] for version in versions[::-1]]


def test_a_hard_deletion_erases_the_history_too(service: Service, client: httpx.Client, user: str) -> None:
    ids = [add(client, f"I love {what}", user) for what in ("chess", "tea", "opera")]
    client.patch(f"/api/v1/memories/{ids[0]}", json={"content": "User loves Go"})
    first = client.delete(f"/api/v1/memories/{ids[0]}?hard=true")
    assert first.json() == {"success": True, "deleted_count": 1, "hard_delete": True}
    body = {"memory_ids": [ids[1], ids[0], str(uuid4()), "nonsense"], "hard": True}
    second = client.request("DELETE", "/api/v1/memories/batch", json=body)
    assert second.json() == {"success": True, "deleted_count": 1, "hard_delete": True}
    assert [one["id"] for one in listed(client, user_id=user)] == ids[2:]
    assert [left_of(service, id) for id in ids] == [["", "", ""], ["", ""], ["User loves opera"]]


def test_what_was_deleted_softly_can_be_deleted_hard(
    service: Service, client: httpx.Client, user: str
) -> None:
    ids = [add(client, f"I love {what}", user) for what in ("chess", "tea")]
    for id in ids:
        assert client.delete(f"/api/v1/memories/{id}").json()["hard_delete"] is False
    assert left_of(service, ids[0]) == ["User loves chess", "User loves chess"]
    body = {"memory_ids": ids[1:], "hard": True}
    for answer in (
        client.delete(f"/api/v1/memories/{ids[0]}?hard=true"),
        client.request("DELETE", "/api/v1/memories/batch", json=body),
    ):
        assert answer.json() == {"success": True, "deleted_count": 1, "hard_delete": True}
    assert [left_of(service, id) for id in ids] == [["", "", ""]] * 2


def test_a_hard_deletion_repeated_within_two_minutes_is_answered_alike(
    client: httpx.Client, user: str
) -> None:
    ids = [add(client, f"I love {what}", user) for what in ("chess", "tea", "opera")]
    body = {"memory_ids": ids[1:], "hard": True}
    for _ in range(2):
        one = client.delete(f"/api/v1/memories/{ids[0]}?hard=true")
        assert one.json() == {"success": True, "deleted_count": 1, "hard_delete": True}
        many = client.request("DELETE", "/api/v1/memories/batch", json=body)
        assert many.json() == {"success": True, "deleted_count": 2, "hard_delete": True}


def test_hard_deletions_pass_over_what_is_anothers(service: Service, client: httpx.Client, user: str) -> None:
    id = add(client, "I love chess", user)
    service.worker.cells.create_key(
        f"another-{user}", "memorystack", "another", ALL_SCOPES, Terms(dialect="memorystack")
    )
    with client_of(service.url, f"another-{user}") as stranger:
        assert stranger.delete(f"/api/v1/memories/{id}?hard=true").status_code == 404
        body = {"memory_ids": [id], "hard": True}
        answer = stranger.request("DELETE", "/api/v1/memories/batch", json=body)
        assert answer.json() == {"success": True, "deleted_count": 0, "hard_delete": True}
    assert left_of(service, id) == ["User loves chess"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": ""}, "content"),
        ({"content": "  "}, "content"),
        ({"confidence": 2}, "confidence"),
        ({"metadata": "x"}, "metadata"),
    ],
)
def test_a_bad_change_is_told_by_field(client: httpx.Client, user: str, body: Any, field: str) -> None:
    id = add(client, "I love chess", user)
    answer = client.patch(f"/api/v1/memories/{id}", json=body)
    assert answer.status_code == 400
    assert list(answer.json()["details"]["fieldErrors"]) == [field]


def test_changing_nothing_is_refused(client: httpx.Client, user: str) -> None:
    answer = client.patch(f"/api/v1/memories/{add(client, 'I love chess', user)}", json={})
    assert answer.status_code == 400
    assert "nothing to update" in answer.json()["details"]["formErrors"][0]


def test_what_is_not_there_is_404_in_shape(client: httpx.Client) -> None:
    for id in (str(uuid4()), "nonsense"):
        for answer in (
            client.get(f"/api/v1/memories/{id}"),
            client.patch(f"/api/v1/memories/{id}", json={"content": "x"}),
            client.delete(f"/api/v1/memories/{id}"),
        ):
            assert (answer.status_code, answer.json()) == (404, {"error": "Memory not found"})
    answer = client.get("/api/v1/nowhere")
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_other_refusals_are_in_shape(service: Service, client: httpx.Client) -> None:
    big = client.post("/api/v1/memories", json={**EXAMPLE, "metadata": {"a": "x" * 3_000_000}})
    assert (big.status_code, list(big.json())) == (413, ["error"])
    assert client.put("/api/v1/memories", json={}).json().keys() == {"error"}
    with make_client(service, Terms(dialect="memoid")) as wrong:
        answer = wrong.get("/api/v1/memories")
        assert (answer.status_code, list(answer.json())) == (403, ["error"])


def test_a_stranger_sees_and_changes_nothing(client: httpx.Client, stranger: httpx.Client, user: str) -> None:
    id = add(client, "I love chess", user)
    path = f"/api/v1/memories/{id}"
    for answer in (
        stranger.get(path),
        stranger.patch(path, json={"content": "User hates chess"}),
        stranger.patch(path, json={"confidence": 0.1}),
        stranger.delete(path),
    ):
        assert (answer.status_code, answer.json()) == (404, {"error": "Memory not found"})
    batch = stranger.request("DELETE", "/api/v1/memories/batch", json={"memory_ids": [id]})
    assert batch.json()["deleted_count"] == 0
    assert listed(stranger, user_id=user) == []
    assert (
        stranger.get("/api/v1/memories/search", params={"query": "chess", "user_id": user}).json()["results"]
        == []
    )
    exported = stranger.post("/api/v1/memories/export", json={"user_id": user}).json()
    assert exported["memories"] == []
    assert id not in stranger.get("/api/v1/graph").text
    assert id not in stranger.post("/api/v1/memories/reflect", json={}).text
    assert client.get(path).json()["memory"]["content"] == "User loves chess"


def test_every_path_is_served_with_a_trailing_slash(client: httpx.Client, user: str) -> None:
    body = {**EXAMPLE, "user_id": user}
    (id,) = client.post("/api/v1/memories/", json=body).json()["memory_ids"]
    for path in ("memories/", "memories/search/?query=x", f"memories/{id}/", "stats/", "graph/"):
        assert client.get(f"/api/v1/{path}").status_code == 200, path


# --- many -------------------------------------------------------------------------------------------


def test_stats_count_what_is_there(client: httpx.Client, user: str) -> None:
    before = client.get("/api/v1/stats").json()
    add(client, "I love chess", user)
    after = client.get("/api/v1/stats").json()
    assert (after["success"], after["owner_id"], after["plan_tier"]) == (True, "default", None)
    assert after["totals"]["total_memories"] == before["totals"]["total_memories"] + 1
    assert after["totals"]["total_users"] == before["totals"]["total_users"] + 1
    assert after["usage"]["current_month_api_calls"] >= before["usage"]["current_month_api_calls"]
    assert after["storage"]["content_bytes"] == before["storage"]["content_bytes"] + len("User loves chess")


def test_the_graph_links_owner_users_memories_and_entities(client: httpx.Client, user: str) -> None:
    id = add(client, "I work at Google", user)
    graph = client.get("/api/v1/graph").json()
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert nodes[id]["content"] == "User works at Google"
    assert nodes[f"user:{user}"]["type"] == "enduser"
    links = {(link["source"], link["target"], link["label"]) for link in graph["links"]}
    assert links >= {
        ("owner:default", f"user:{user}", "has_user"),
        (f"user:{user}", id, "has_memory"),
        (id, "entity:google", "mentions"),
        ("entity:user", "entity:google", "works_at"),
    }
    assert {end for source, target, _ in links for end in (source, target)} <= nodes.keys()


def test_reflection_tells_what_memories_have_in_common(client: httpx.Client, user: str) -> None:
    ids = [add(client, said, user) for said in ("I love hiking", "I hate hiking in winter", "I love Oslo")]
    body = {"timeWindowDays": 1, "analysisDepth": "deep", "minPatternStrength": 0, "user_id": user}
    answer = client.post("/api/v1/memories/reflect", json=body).json()
    assert (answer["success"], answer["memories_analyzed"], answer["insights_generated"]) == (True, 3, 0)
    patterns = {(one["kind"], one["name"]): one for one in answer["patterns"]}
    assert set(patterns[("type", "preference")]["memory_ids"]) == set(ids)
    assert set(patterns[("word", "hike")]["memory_ids"]) == set(ids[:2])
    assert answer["patterns_detected"] == len(answer["patterns"])
    strict = client.post("/api/v1/memories/reflect", json={**body, "minPatternStrength": 1}).json()
    assert all(one["strength"] == 1 for one in strict["patterns"])
    assert client.post("/api/v1/memories/reflect").status_code == 200
    wrong = client.post("/api/v1/memories/reflect", json={"timeWindowDays": 91}).json()
    assert list(wrong["details"]["fieldErrors"]) == ["timeWindowDays"]


def test_consolidation_deletes_what_another_memory_says_too(client: httpx.Client, user: str) -> None:
    said = [
        "Ann has two sons and a daughter",
        "ann has two sons, and a daughter.",
        "Ann has two sons and a tall daughter",
        "Ann has three sons and a daughter",
        "Ann has two sons and not a daughter",
    ]
    memories = [{"content": text, "user_id": user} for text in said]
    memories.append({"content": said[0], "user_id": f"{user}-2"})
    ids = client.post("/api/v1/memories/import", json={"memories": memories}).json()["memory_ids"]
    body = {"user_id": user, "dry_run": True}
    dry = client.post("/api/v1/memories/consolidate", json=body).json()
    assert (dry["duplicates_found"], dry["memories_merged"]) == (2, 0)
    assert len(listed(client, user_id=user)) == 5
    answers = [client.post("/api/v1/memories/consolidate", json={**body, "dry_run": False}) for _ in range(2)]
    answer = answers[0].json()
    assert (answer["success"], answer["duplicates_found"], answer["memories_merged"]) == (True, 2, 2)
    (group,) = answer["groups"]
    assert group["kept"] == {"id": ids[2], "content": said[2]}
    assert {one["id"] for one in group["duplicates"]} == set(ids[:2])
    assert [one["id"] for one in listed(client, user_id=user, order="asc")] == ids[2:5]
    assert len(listed(client, user_id=f"{user}-2")) == 1
    assert answers[1].json() == answer  # a repetition is told the same


def test_consolidation_without_redundancy_takes_the_same_words_alone(client: httpx.Client, user: str) -> None:
    said = ["Ann has two sons and a daughter", "Ann has two sons and a tall daughter"]
    memories = [{"content": text, "user_id": user} for text in [*said, said[0]]]
    ids = client.post("/api/v1/memories/import", json={"memories": memories}).json()["memory_ids"]
    body = {"user_id": user, "check_redundancy": False}
    answer = client.post("/api/v1/memories/consolidate", json=body).json()
    assert answer["memories_merged"] == 1
    assert [one["id"] for one in listed(client, user_id=user, order="asc")] == ids[:2]


def test_an_export_can_be_imported(client: httpx.Client, user: str, service: Service) -> None:
    add(client, "I love chess", user, metadata={"a": 1}, agent_id="bot")
    add(client, "I work at Initech", user)
    exported = client.post("/api/v1/memories/export", json={"format": "json", "user_id": user}).json()
    assert (exported["success"], exported["count"], exported["next_cursor"]) == (True, 2, None)
    assert [one["content"] for one in exported["memories"]] == ["User loves chess", "User works at Initech"]
    with client_of(service.url, OTHER_KEY) as other:
        answer = other.post("/api/v1/memories/import", json=exported)
        assert answer.status_code == 201
        assert (answer.json()["imported"], answer.json()["failed"]) == (2, 0)
        taken = listed(other, user_id=user, order="asc")
    assert [one["id"] for one in taken] == answer.json()["memory_ids"]
    for before, after in zip(exported["memories"], taken, strict=True):
        for name in ("content", "memory_type", "confidence", "end_user_id"):
            assert after[name] == before[name]
        former = {"original_id": before["id"], "original_created_at": before["created_at"]}
        assert after["metadata"] == {**before["metadata"], **former}
    assert taken[0]["agent_id"] == "bot"


def test_an_export_comes_in_pages_and_as_a_table(client: httpx.Client, user: str) -> None:
    for what in ("chess", "tea", "opera"):
        add(client, f"I love {what}", user)
    first = client.post("/api/v1/memories/export", json={"user_id": user, "limit": 2}).json()
    rest = {"user_id": user, "limit": 2, "cursor": first["next_cursor"]}
    second = client.post("/api/v1/memories/export", json=rest).json()
    assert [one["count"] for one in (first, second)] == [2, 1]
    assert second["next_cursor"] is None
    table = client.post("/api/v1/memories/export", json={"user_id": user, "format": "csv"}).json()
    names, *rows = table["data"].splitlines()
    assert names.startswith("id,end_user_id,")
    assert len(rows) == table["count"] == 3


def test_an_import_is_one_cause_and_all_or_nothing(client: httpx.Client, user: str) -> None:
    memories = [{"content": "a b c", "user_id": user, "id": 7}, {"memory": "d e f", "user_id": user}]
    body = {"memories": [*memories, {"content": " "}]}
    answer = client.post("/api/v1/memories/import", json=body)
    assert answer.status_code == 400
    assert list(answer.json()["details"]["fieldErrors"]) == ["memories"]
    assert listed(client, user_id=user) == []
    client.post("/api/v1/memories/import", json={"memories": memories})
    assert {one["metadata"].get("original_id") for one in listed(client, user_id=user)} == {7, None}


# --- automatic maintenance --------------------------------------------------------------------------


def test_nothing_is_maintained_automatically_and_who_asks_for_it_is_told_so(client: httpx.Client) -> None:
    path = "/api/v1/auto-maintenance/config"
    off = {
        "success": True,
        "consolidation_enabled": False,
        "consolidation_frequency": None,
        "reflection_enabled": False,
        "reflection_frequency": None,
    }
    stays: list[dict[str, Any]] = [{}, {"reflection_enabled": False, "reflection_frequency": "daily"}]
    for answer in (client.get(path), *(client.post(path, json=body) for body in stays)):
        assert (answer.status_code, answer.json()) == (200, off)
    for body in ({"consolidation_enabled": True}, {"reflection_frequency": "weekly"}):
        refused = client.post(path, json=body)
        assert (refused.status_code, list(refused.json())) == (501, ["error"])
        assert "POST /api/v1/memories/consolidate" in refused.json()["error"]
    wrong = client.post(path, json={"reflection_frequency": "hourly"})
    assert list(wrong.json()["details"]["fieldErrors"]) == ["reflection_frequency"]


# --- repetitions ------------------------------------------------------------------------------------


def test_the_same_post_within_two_minutes_is_done_once(client: httpx.Client, user: str) -> None:
    for said in ("I love chess", "The project ends on Friday"):  # extracted, and kept as it is
        body = {"messages": [{"role": "user", "content": said}], "user_id": user}
        answers = [client.post("/api/v1/memories", json=body) for _ in range(3)]
        assert len({answer.headers["X-Request-Id"] for answer in answers}) == 3
        assert answers[0].json() == answers[1].json() == answers[2].json()
        assert answers[0].json()["memories_created"] == 1
    assert len(listed(client, user_id=user)) == 2


def test_the_same_many_times_at_once_is_done_once(client: httpx.Client, user: str) -> None:
    body = {"memories": [{"content": "a b c", "user_id": user}]}
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(client.post, "/api/v1/memories/import", json=body) for _ in range(16)]
    assert len({tuple(one.result().json()["memory_ids"]) for one in sent}) == 1
    assert len(listed(client, user_id=user)) == 1


def test_after_two_minutes_it_is_another_request(service: Service, client: httpx.Client, user: str) -> None:
    body = {"memories": [{"content": "a b c", "user_id": user}]}

    def imported() -> str:
        return str(client.post("/api/v1/memories/import", json=body).json()["memory_ids"][0])

    first = imported()
    assert imported() == first
    with psycopg.connect(service.settings.database_url or "", autocommit=True) as conn:
        conn.execute("UPDATE receipts SET created_at = created_at - interval '2 minutes'")
    second = imported()
    assert second != first
    assert imported() == second


def test_the_same_of_another_key_is_another_request(
    service: Service, client: httpx.Client, user: str
) -> None:
    body = {"memories": [{"content": "a b c", "user_id": user}]}
    with make_client(service, Terms()) as other:
        ids = [one.post("/api/v1/memories/import", json=body).json()["memory_ids"] for one in (client, other)]
    assert ids[0] != ids[1]


def test_who_has_changed_what_came_of_a_request_does_not_repeat_it(client: httpx.Client, user: str) -> None:
    for said in ("I love chess", "The project ends on Friday"):
        first = add(client, said, user)
        client.delete(f"/api/v1/memories/{first}")
        second = add(client, said, user)
        assert second != first
        assert client.get(f"/api/v1/memories/{second}").status_code == 200
    path = f"/api/v1/memories/{second}"
    for content in ("one", "two", "one"):
        assert client.patch(path, json={"content": content}).json()["memory"]["content"] == content
    assert client.get(path).json()["memory"]["content"] == "one"


def test_deletions_are_repeated_alike(client: httpx.Client, user: str) -> None:
    ids = [add(client, f"I love {what}", user) for what in ("chess", "tea", "opera")]
    once = [client.delete(f"/api/v1/memories/{ids[0]}") for _ in range(2)]
    body = {"memory_ids": ids}
    batch = [client.request("DELETE", "/api/v1/memories/batch", json=body) for _ in range(2)]
    for first, second in (once, batch):
        assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert batch[0].json()["deleted_count"] == 2
