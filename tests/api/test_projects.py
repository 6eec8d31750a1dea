"""Projects over HTTP: what an application wants remembered goes with every conversation that names it."""

from typing import Any

import httpx
import pytest

from tests.support.ingestions import tell
from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import head

CATEGORIES = {"sports": "hiking, climbing and running", "work": "jobs and employers"}


def create(client: httpx.Client, **body: Any) -> dict[str, Any]:
    """Make a project; the answer."""
    answer = client.post("/v1/projects", json={"name": "Companion", **body})
    assert answer.status_code == 201, answer.text
    project: dict[str, Any] = answer.json()
    return project


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    projects: list[dict[str, Any]] = client.get("/v1/projects").json()["projects"]
    return projects


def categories(client: httpx.Client, told: dict[str, Any]) -> dict[str, list[str]]:
    """The categories of each memory that a conversation added, by its text."""
    memories = [client.get(f"/v1/memories/{result['id']}").json() for result in told["results"]]
    return {memory["memory"]: memory["categories"] for memory in memories}


def guidance(client: httpx.Client, user: str) -> list[tuple[Any, Any]]:
    """The instructions and categories that each conversation of a user was kept with."""
    events = client.get("/v1/events", params={"user_id": user}).json()["results"]
    return [
        (event["data"].get("instructions"), event["data"].get("categories"))
        for event in events
        if event["type"].startswith("ingestion.received")
    ]


# --- projects -----------------------------------------------------------------------------------------


def test_a_project_is_made_listed_changed_and_deleted(client: httpx.Client) -> None:
    made = create(client, custom_instructions="Remember sports", custom_categories=CATEGORIES)
    assert made["id"].startswith("proj_")
    assert (made["name"], made["custom_instructions"]) == ("Companion", "Remember sports")
    assert made["custom_categories"] == [{name: text} for name, text in CATEGORIES.items()]
    assert made["created_at"] == made["updated_at"]
    assert made in listed(client)

    changed = client.patch(f"/v1/projects/{made['id']}", json={"name": "Coach"})
    assert changed.status_code == 200
    assert changed.json() == {**made, "name": "Coach", "updated_at": changed.json()["updated_at"]}
    assert changed.json()["updated_at"] > made["updated_at"]
    assert changed.json() in listed(client)

    assert client.delete(f"/v1/projects/{made['id']}").status_code == 200
    assert made["id"] not in {project["id"] for project in listed(client)}
    is_problem(client.delete(f"/v1/projects/{made['id']}"), 404)
    is_problem(client.patch(f"/v1/projects/{made['id']}", json={"name": "Coach"}), 404)


@pytest.mark.parametrize(
    "sent, kept",
    [
        (["sports", "work"], ["sports", "work"]),
        ([{"sports": "hiking"}, {"work": "jobs"}], [{"sports": "hiking"}, {"work": "jobs"}]),
        ([{"sports": "hiking", "work": "jobs"}], [{"sports": "hiking"}, {"work": "jobs"}]),
        (["sports", {"work": "jobs"}], ["sports", {"work": "jobs"}]),
        ({"sports": "hiking", "work": "jobs"}, [{"sports": "hiking"}, {"work": "jobs"}]),
        ([], []),
        ({}, []),
        (None, []),
    ],
)
def test_categories_are_names_or_names_with_descriptions(client: httpx.Client, sent: Any, kept: Any) -> None:
    made = create(client, custom_categories=sent)
    assert made["custom_categories"] == kept
    changed = client.patch(f"/v1/projects/{made['id']}", json={"custom_categories": ["other"]})
    assert changed.json()["custom_categories"] == ["other"]
    again = client.patch(f"/v1/projects/{made['id']}", json={"custom_categories": sent})
    assert again.json()["custom_categories"] == (kept if sent is not None else ["other"])


def test_a_change_touches_what_it_names_and_nothing_else(client: httpx.Client) -> None:
    made = create(client, custom_instructions="Remember sports", custom_categories=CATEGORIES)
    path = f"/v1/projects/{made['id']}"
    changed = client.patch(path, json={"custom_instructions": "Remember music"}).json()
    assert (changed["name"], changed["custom_instructions"]) == ("Companion", "Remember music")
    assert changed["custom_categories"] == [{name: text} for name, text in CATEGORIES.items()]
    cleared = client.patch(path, json={"custom_instructions": "", "custom_categories": []}).json()
    assert (cleared["custom_instructions"] or None, cleared["custom_categories"]) == (None, [])


def test_a_change_that_changes_nothing_writes_nothing(client: httpx.Client) -> None:
    made = create(client, custom_categories=CATEGORIES)
    before = head(client)
    for body in ({}, {"name": "Companion"}, {"custom_categories": CATEGORIES}):
        answer = client.patch(f"/v1/projects/{made['id']}", json=body)
        assert (answer.status_code, answer.json()) == (200, made)
    assert head(client) == before


def test_projects_are_listed_oldest_first(client: httpx.Client) -> None:
    ids = [create(client, name=f"Project {n}")["id"] for n in range(3)]
    client.patch(f"/v1/projects/{ids[0]}", json={"name": "Changed since"})
    assert [project["id"] for project in listed(client)][-3:] == ids


def test_every_write_can_be_repeated_under_an_idempotency_key(client: httpx.Client, user: str) -> None:
    key = {"Idempotency-Key": f"create-{user}"}
    answers = [client.post("/v1/projects", json={"name": user}, headers=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert [project["name"] for project in listed(client)].count(user) == 1
    path, key = f"/v1/projects/{answers[0].json()['id']}", {"Idempotency-Key": f"delete-{user}"}
    assert [client.delete(path, headers=key).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"name": ""}, {"name": "  "}, {"name": None}, {"name": 7}, {"name": "n" * 256}, {"name": "a\0"},
        {"name": "x", "custom_categories": "sports"}, {"name": "x", "custom_categories": [7]},
        {"name": "x", "custom_categories": {"sports": 7}}, {"name": "x", "custom_categories": ["a\0"]},
        {"name": "x", "custom_categories": [f"c{n}" for n in range(101)]},
        {"name": "x", "custom_instructions": "i" * 10_001}, {"name": "x", "custom_instructions": ["i"]}, [],
    ],
)  # fmt: skip
def test_bad_projects_are_422(client: httpx.Client, body: Any) -> None:
    before = head(client)
    is_problem(client.post("/v1/projects", json=body), 422)
    assert head(client) == before


@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": "  "}, {"name": 7}, {"custom_categories": "sports"}, []]
)
def test_bad_changes_are_422(client: httpx.Client, body: Any) -> None:
    made = create(client)
    is_problem(client.patch(f"/v1/projects/{made['id']}", json=body), 422)
    assert made in listed(client)


@pytest.mark.parametrize("id", ["proj_01a1fc6c5e7379cfa1c601ec3efede40", "zzz", "proj_", "%00"])
def test_unknown_projects_are_404(client: httpx.Client, id: str) -> None:
    is_problem(client.patch(f"/v1/projects/{id}", json={"name": "x"}), 404)
    is_problem(client.delete(f"/v1/projects/{id}"), 404)


def test_the_id_of_a_memory_is_no_projects(client: httpx.Client, user: str) -> None:
    id = add(client, "x", user)
    is_problem(client.delete(f"/v1/projects/{id.replace('mem_', 'proj_')}"), 404)
    assert client.get(f"/v1/memories/{id}").status_code == 200


# --- what they tell extraction --------------------------------------------------------------------------


def test_a_conversation_is_kept_with_what_its_project_wants(client: httpx.Client, user: str) -> None:
    made = create(client, custom_instructions="Remember sports", custom_categories=CATEGORIES)
    told = tell(client, user, "I love hiking", "I work at a startup", "I love Paris", project_id=made["id"])
    assert guidance(client, user) == [("Remember sports", CATEGORIES)]
    assert client.get(f"/v1/ingestions/{told['ingestion_id']}").json()["project_id"] == made["id"]
    assert categories(client, told) == {
        "User loves hiking": ["sports"],
        "User works at a startup": ["work"],
        "User loves Paris": [],
    }


def test_the_memories_of_a_project_are_listed_and_found_under_its_id(client: httpx.Client, user: str) -> None:
    made = create(client)
    tell(client, user, "I love hiking", project_id=made["id"])
    tell(client, user, "I love Paris")
    (memory,) = client.get("/v1/memories", params={"project_id": made["id"]}).json()["results"]
    assert (memory["memory"], memory["project_id"]) == ("User loves hiking", made["id"])
    found = client.post("/v1/search", json={"query": "hiking", "project_id": made["id"]}).json()["results"]
    assert [hit["id"] for hit in found] == [memory["id"]]


def test_what_a_project_wants_counts_from_the_moment_that_it_says_so(client: httpx.Client, user: str) -> None:
    made = create(client, custom_categories=["sports"])
    first = tell(client, user, "I love hiking", project_id=made["id"])
    client.patch(f"/v1/projects/{made['id']}", json={"custom_categories": {"fun": "climbing"}})
    second = tell(client, user, "I love climbing", project_id=made["id"])
    assert categories(client, first) == {"User loves hiking": []}
    assert categories(client, second) == {"User loves climbing": ["fun"]}


def test_the_memories_of_a_deleted_project_stay_and_its_wishes_are_gone(
    client: httpx.Client, user: str
) -> None:
    made = create(client, custom_categories=CATEGORIES)
    first = tell(client, user, "I love hiking", project_id=made["id"])
    client.delete(f"/v1/projects/{made['id']}")
    second = tell(client, user, "I love climbing", project_id=made["id"])
    assert categories(client, first) == {"User loves hiking": ["sports"]}
    assert categories(client, second) == {"User loves climbing": []}
    assert client.get("/v1/memories", params={"project_id": made["id"]}).json()["total"] == 2


@pytest.mark.parametrize("name", ["my-app", "proj_01a1fc6c5e7379cfa1c601ec3efede40", "x" * 255])
def test_a_project_id_may_be_a_name_that_the_client_chose(client: httpx.Client, user: str, name: str) -> None:
    told = tell(client, user, "I love hiking", project_id=name)
    assert categories(client, told) == {"User loves hiking": []}
    memories = client.get("/v1/memories", params={"user_id": user, "project_id": name}).json()
    assert memories["total"] == 1


# --- whose they are -------------------------------------------------------------------------------------


def test_anothers_project_cannot_be_seen_changed_or_deleted(
    client: httpx.Client, stranger: httpx.Client
) -> None:
    made = create(client, name="Zorblax")
    assert made["id"] not in {project["id"] for project in listed(stranger)}
    is_problem(stranger.patch(f"/v1/projects/{made['id']}", json={"name": "Mine"}), 404)
    is_problem(stranger.delete(f"/v1/projects/{made['id']}"), 404)
    assert made in listed(client)


def test_anothers_project_tells_extraction_nothing(
    client: httpx.Client, stranger: httpx.Client, user: str
) -> None:
    made = create(client, custom_instructions="Remember Zorblax", custom_categories=CATEGORIES)
    told = tell(stranger, user, "I love hiking", project_id=made["id"])
    assert categories(stranger, told) == {"User loves hiking": []}
    assert guidance(stranger, user) == [(None, None)]
    assert client.get("/v1/memories", params={"project_id": made["id"]}).json()["total"] == 0
