"""The graph over HTTP: the entities that memories speak of, as long as the memories say so."""

from typing import Any

import httpx
import pytest

from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory, Entity, Relation, Traits
from domain.recorded import Context
from domain.scope import Scope
from tests.support.ingestions import ingestion, tell
from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import KEY, Service, client_of


def graph(client: httpx.Client, **scope: Any) -> dict[str, Any]:
    answer = client.get("/v1/graph", params=scope)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    for entity in found["entities"]:
        assert entity.pop("id").startswith("ent_")
    totals = found.pop("total_entities"), found.pop("total_relations")
    assert totals == (len(found["entities"]), len(found["relations"]))
    return found


def names(client: httpx.Client, **scope: Any) -> dict[str, str]:
    """The entities of a scope: name → type."""
    return {entity["name"]: entity["type"] for entity in graph(client, **scope)["entities"]}


def relations(client: httpx.Client, **scope: Any) -> set[tuple[str, str, str]]:
    return {(one["source"], one["relation"], one["target"]) for one in graph(client, **scope)["relations"]}


def test_entities_and_relations_are_found_where_they_are_asked_for(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I work at Google", extract_graph=True)
    assert graph(client, user_id=user) == {
        "entities": [
            {"name": "Google", "type": "organization", "memories": 1},
            {"name": "User", "type": "person", "memories": 1},
        ],
        "relations": [
            {
                "source": "User", "relation": "works_at", "target": "Google",
                "memory_ids": [told["results"][0]["id"]],
            }
        ],
    }  # fmt: skip
    (decision,) = ingestion(client, told["ingestion_id"])["decisions"]
    assert {entity["name"] for entity in decision["entities"]} == {"User", "Google"}
    assert decision["relations"] == [{"source": "User", "relation": "works_at", "target": "Google"}]


@pytest.mark.parametrize("more", [{}, {"extract_graph": False}])
def test_without_being_asked_for_there_is_no_graph(
    client: httpx.Client, user: str, more: dict[str, Any]
) -> None:
    told = tell(client, user, "I work at Google", **more)
    assert graph(client, user_id=user) == {"entities": [], "relations": []}
    (decision,) = ingestion(client, told["ingestion_id"])["decisions"]
    assert decision["entities"] == decision["relations"] == []


def test_words_that_are_kept_as_they_were_sent_have_no_graph(client: httpx.Client, user: str) -> None:
    add(client, "I work at Google", user, extract_graph=True)
    assert graph(client, user_id=user) == {"entities": [], "relations": []}


def test_the_graph_follows_what_conversations_change(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at Google", "I live in Zurich", extract_graph=True)
    assert names(client, user_id=user).keys() == {"User", "Google", "Zurich"}
    tell(client, user, "I now work at Apple", extract_graph=True)
    assert relations(client, user_id=user) == {("User", "works_at", "Apple"), ("User", "lives_in", "Zurich")}
    assert names(client, user_id=user).keys() == {"User", "Apple", "Zurich"}
    tell(client, user, "I don't work there any more")
    assert relations(client, user_id=user) == {("User", "lives_in", "Zurich")}


def test_what_a_deleted_memory_said_is_gone(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I work at Google", "I live in Zurich", extract_graph=True)
    ids = {result["memory"]: result["id"] for result in told["results"]}
    client.delete(f"/v1/memories/{ids['User works at Google']}")
    assert names(client, user_id=user).keys() == {"User", "Zurich"}
    client.delete("/v1/memories", params={"user_id": user})
    assert graph(client, user_id=user) == {"entities": [], "relations": []}


def test_what_was_found_in_other_words_is_gone_when_the_words_change(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I work at Google", extract_graph=True)
    path = f"/v1/memories/{told['results'][0]['id']}"
    client.put(path, json={"metadata": {"sure": True}})
    assert relations(client, user_id=user) == {("User", "works_at", "Google")}
    client.put(path, json={"memory": "User works at home"})
    assert graph(client, user_id=user) == {"entities": [], "relations": []}


def test_what_a_revert_brings_back_is_in_the_graph_again(client: httpx.Client, user: str) -> None:
    told = tell(client, user, "I work at Google", extract_graph=True)
    before = graph(client, user_id=user)
    undone = client.post("/v1/reverts", json={"cause": told["ingestion_id"], "dry_run": False}).json()
    assert graph(client, user_id=user) == {"entities": [], "relations": []}
    client.post("/v1/reverts", json={"cause": undone["id"], "dry_run": False})
    assert graph(client, user_id=user) == before


def test_entities_are_listed_the_most_spoken_of_first(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at Google", "I live in Zurich", "I love Zurich", extract_graph=True)
    answer = client.get("/v1/entities", params={"user_id": user})
    assert [(one["name"], one["memories"]) for one in answer.json()["entities"]] == [
        ("User", 3), ("Zurich", 2), ("Google", 1),
    ]  # fmt: skip
    pages = [
        client.get("/v1/entities", params={"user_id": user, "limit": 2, "offset": offset}).json()["entities"]
        for offset in (0, 2, 4)
    ]
    assert [one for page in pages for one in page] == answer.json()["entities"]
    assert [len(page) for page in pages] == [2, 1, 0]


def test_a_name_counts_once_however_it_is_written(client: httpx.Client, user: str) -> None:
    tell(client, user, "I love Zurich", extract_graph=True)
    tell(client, user, "I live in ZURICH", extract_graph=True)
    entities = client.get("/v1/entities", params={"user_id": user}).json()["entities"]
    assert [(one["name"].lower(), one["memories"]) for one in entities] == [("user", 2), ("zurich", 2)]


def test_the_graph_is_read_by_every_id_of_a_scope(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at Google", agent_id=f"{user}-a", run_id=f"{user}-r", extract_graph=True)
    tell(client, user, "I live in Zurich", project_id=f"{user}-p", extract_graph=True)
    assert names(client, user_id=user).keys() == {"User", "Google", "Zurich"}
    assert names(client, agent_id=f"{user}-a").keys() == {"User", "Google"}
    assert names(client, run_id=f"{user}-r").keys() == {"User", "Google"}
    assert names(client, project_id=f"{user}-p").keys() == {"User", "Zurich"}
    assert names(client, user_id=user, agent_id=f"{user}-p") == {}


def test_users_see_what_their_own_memories_speak_of(client: httpx.Client, user: str) -> None:
    tell(client, user, "I work at Google", extract_graph=True)
    tell(client, f"{user}-other", "I work at Apple", extract_graph=True)
    assert names(client, user_id=user).keys() == {"User", "Google"}
    assert names(client, user_id=f"{user}-other").keys() == {"User", "Apple"}


def test_a_stranger_sees_nothing(client: httpx.Client, stranger: httpx.Client, user: str) -> None:
    tell(client, user, "I work at Zorblax", extract_graph=True)
    assert graph(stranger, user_id=user) == {"entities": [], "relations": []}
    for path in ("/v1/graph", "/v1/entities"):
        assert "Zorblax" not in stranger.get(path, params={"limit": 1000}).text
    tell(stranger, user, "I work at Apple", extract_graph=True)
    assert names(client, user_id=user).keys() == {"User", "Zorblax"}


@pytest.mark.parametrize("path", ["/v1/graph", "/v1/entities"])
@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "user_id="])
def test_bad_parameters_are_400(client: httpx.Client, path: str, query: str) -> None:
    is_problem(client.get(f"{path}?{query}"), 400)


def test_the_whole_graph_is_told_unless_a_limit_is_named(
    client: httpx.Client, service: Service, user: str
) -> None:
    position = remember(service, user, *(("User", f"Friend {n:03}") for n in range(122)))
    client = client_of(service.url, KEY)
    client.headers["Everlog-Min-Position"] = str(position)
    whole = client.get("/v1/graph", params={"user_id": user}).json()
    assert (len(whole["entities"]), len(whole["relations"])) == (123, 122)
    assert (whole["total_entities"], whole["total_relations"]) == (123, 122)
    assert len(client.get("/v1/entities", params={"user_id": user}).json()["entities"]) == 123
    for path in ("/v1/graph", "/v1/entities"):
        for limit in (1_001, 10**30):
            told = client.get(path, params={"user_id": user, "limit": limit}).json()
            assert (told["total_entities"], len(told["entities"])) == (123, 123)
    part = client.get("/v1/graph", params={"user_id": user, "limit": 100}).json()
    assert (part["total_entities"], part["total_relations"]) == (123, 122)
    named = {entity["name"] for entity in part["entities"]}
    assert len(named) == 100
    assert len(part["relations"]) == 99
    assert {end for one in part["relations"] for end in (one["source"], one["target"])} <= named


def test_the_ends_of_every_relation_are_listed_and_spelled_alike(
    client: httpx.Client, service: Service, user: str
) -> None:
    position = remember(service, user, ("User", "Zurich"), ("USER", "zurich"), ("Bob", "Eve"), entities=2)
    answer = client.get(
        "/v1/graph", params={"user_id": user}, headers={"Everlog-Min-Position": str(position)}
    ).json()
    named = {entity["name"].lower(): entity["name"] for entity in answer["entities"]}
    (relation,) = answer["relations"]
    assert (relation["source"], relation["target"]) == (named["user"], named["zurich"])
    assert len(relation["memory_ids"]) == 2
    assert (answer["total_entities"], answer["total_relations"]) == (2, 1)


def remember(service: Service, user: str, *pairs: tuple[str, str], entities: int = 1_000) -> int:
    """Adds a memory for each pair of names that know each other, the first of them with the entities.

    The position of the last one.
    """
    commands = [
        (
            new_id(),
            AddMemory(
                text="x",
                scope=Scope(owner="default", user_id=user),
                traits=Traits(
                    entities=tuple(Entity(name) for name in pair) if number < entities else (),
                    relations=(Relation(pair[0], "knows", pair[1]),),
                ),
            ),
        )
        for number, pair in enumerate(pairs)
    ]
    context = Context(owner="default", actor="test", cause="test", correlation="")
    results = service.worker.cells.of("default").writer.submit(Work(context=context, commands=commands))
    return results.result()[-1].state.position


@pytest.mark.parametrize("path", ["/v1/graph", "/v1/entities"])
def test_a_reader_can_wait_for_what_the_graph_is_to_hold(client: httpx.Client, user: str, path: str) -> None:
    body = {"messages": [{"role": "user", "content": "I work at Google"}], "user_id": user}
    position = client.post("/v1/memories", json={**body, "extract_graph": True}).headers["Everlog-Position"]
    answer = client.get(path, params={"user_id": user}, headers={"Everlog-Min-Position": position})
    assert len(answer.json()["entities"]) == 2
    assert int(answer.headers["Everlog-Position"]) >= int(position)
