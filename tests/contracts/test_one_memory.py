"""One memory through all dialects: each shows what any of them has made, changed or deleted."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from domain.ids import KEY_PREFIX, MEMORY_PREFIX, spell
from domain.key import ALL_SCOPES, Terms
from domain.recorded import now
from tests.support.service import Service, client_of

USER = "ann"


class Spoken(NamedTuple):
    """What clients of one dialect do with a memory; ids are spelled as the dialect does."""

    add: Callable[[httpx.Client, str], str]
    texts: Callable[[httpx.Client], dict[str, str]]
    """Id → text of all memories, as the dialect lists them."""
    count: Callable[[httpx.Client], int]
    """As the dialect tells it, where it does."""
    get: Callable[[httpx.Client, str], httpx.Response]
    text: Callable[[httpx.Response], str]
    """Of one memory."""
    delete: Callable[[httpx.Client, str], httpx.Response]
    update: Callable[[httpx.Client, str, str], httpx.Response] | None = None


def said(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "user_id": USER, "infer": False}


MEMOID = Spoken(
    add=lambda c, text: str(c.post("/v1/memories", json=said(text)).json()["results"][0]["id"]),
    texts=lambda c: {one["id"]: one["memory"] for one in c.get("/v1/memories").json()["results"]},
    count=lambda c: int(c.get("/v1/memories").json()["total"]),
    get=lambda c, id: c.get(f"/v1/memories/{id}"),
    text=lambda answer: str(answer.json()["memory"]),
    update=lambda c, id, text: c.put(f"/v1/memories/{id}", json={"memory": text}),
    delete=lambda c, id: c.delete(f"/v1/memories/{id}"),
)
MEMOKIT = Spoken(
    add=lambda c, text: str(
        c.post("/memokit/v1/memories", json={"content": text, "userId": USER}).json()["id"]
    ),
    texts=lambda c: {one["id"]: one["content"] for one in c.get("/memokit/v1/memories").json()["items"]},
    count=lambda c: int(c.get("/memokit/v1/memories").json()["pagination"]["total"]),
    get=lambda c, id: c.get(f"/memokit/v1/memories/{id}"),
    text=lambda answer: str(answer.json()["content"]),
    delete=lambda c, id: c.delete(f"/memokit/v1/memories/{id}"),
)
MEMORYSTACK = Spoken(
    add=lambda c, text: str(
        c.post("/api/v1/memories/import", json={"memories": [{"content": text, "user_id": USER}]}).json()[
            "memory_ids"
        ][0]
    ),
    texts=lambda c: {one["id"]: one["content"] for one in c.get("/api/v1/memories").json()["results"]},
    count=lambda c: int(c.get("/api/v1/stats").json()["totals"]["total_memories"]),
    get=lambda c, id: c.get(f"/api/v1/memories/{id}"),
    text=lambda answer: str(answer.json()["memory"]["content"]),
    update=lambda c, id, text: c.patch(f"/api/v1/memories/{id}", json={"content": text}),
    delete=lambda c, id: c.delete(f"/api/v1/memories/{id}"),
)
KHOJ = Spoken(
    add=lambda c, text: str(c.post("/api/memories", json={"raw": text}).json()["id"]),
    texts=lambda c: {str(one["id"]): one["raw"] for one in c.get("/api/memories").json()},
    count=lambda c: len(c.get("/api/memories").json()),
    # Khoj has no route for one memory: its number is looked up in the list.
    get=lambda c, id: _of_list(c.get("/api/memories"), id),
    text=lambda answer: str(answer.json()["raw"]),
    update=lambda c, id, text: c.put(f"/api/memories/{id}", json={"raw": text}),
    delete=lambda c, id: c.delete(f"/api/memories/{id}"),
)
MEM0 = Spoken(
    add=lambda c, text: str(c.post("/mem0/v3/memories/add/", json=said(text)).json()["results"][0]["id"]),
    texts=lambda c: {
        one["id"]: one["memory"] for one in c.post("/mem0/v3/memories/", json={}).json()["results"]
    },
    count=lambda c: int(c.post("/mem0/v3/memories/", json={}).json()["count"]),
    get=lambda c, id: c.get(f"/mem0/v1/memories/{id}/"),
    text=lambda answer: str(answer.json()["memory"]),
    update=lambda c, id, text: c.put(f"/mem0/v1/memories/{id}/", json={"text": text}),
    delete=lambda c, id: c.delete(f"/mem0/v1/memories/{id}/"),
)
DIALECTS: dict[str, Spoken] = {
    "memoid": MEMOID,
    "memokit": MEMOKIT,
    "memorystack": MEMORYSTACK,
    "khoj": KHOJ,
    "mem0": MEM0,
}
UPDATING: list[str] = [name for name, spoken in DIALECTS.items() if spoken.update]


def _of_list(listed: httpx.Response, id: str) -> httpx.Response:
    for one in listed.json():
        if str(one["id"]) == id:
            return httpx.Response(200, json=one)
    return httpx.Response(404)


class Home(NamedTuple):
    """An owner with a key for each dialect."""

    clients: dict[str, httpx.Client]
    actors: dict[str, str]
    """The keys' ids, as the log has them."""

    def ids(self, id: str) -> dict[str, str]:
        """How each dialect spells the memory with this id, or with this number of Khoj's."""
        known: dict[str, str] = {"khoj": id}
        if not id.isdecimal():
            # The log knows a memory's number, too: the position of its first event.
            hits = self.clients["memoid"].get("/v1/events", params={"memory_id": id}).json()["results"]
            known["khoj"] = str(hits[0]["position"])
        else:
            events = self.clients["memoid"].get("/v1/events", params={"after": int(id) - 1, "limit": 1})
            id = events.json()["results"][0]["memory_id"]
        uuid = UUID(id.removeprefix(MEMORY_PREFIX))
        prefixed, dashed = spell(MEMORY_PREFIX, uuid), str(uuid)
        return known | {"memoid": prefixed, "memokit": prefixed, "memorystack": dashed, "mem0": dashed}

    def catch_up(self) -> None:
        """From now on lists have what any key has written until now; by themselves, what their own has."""
        head = self.clients["memoid"].get("/v1/status").json()["head"]
        for client in self.clients.values():
            client.headers["Everlog-Min-Position"] = str(head)

    def history(self, id: str) -> list[tuple[str, str, str]]:
        """(event, text, actor) of each change, newest first, as Memoid tells it."""
        answer = self.clients["memoid"].get(f"/v1/memories/{self.ids(id)['memoid']}/history")
        return [(one["event"], one["memory"], one["actor"]) for one in answer.json()["history"]]


@pytest.fixture
def home(service: Service) -> Iterator[Home]:
    owner = f"owner-{uuid4().hex}"
    clients: dict[str, httpx.Client] = {}
    actors: dict[str, str] = {}
    for dialect in DIALECTS:
        secret = f"{dialect}-{uuid4().hex}"
        key = service.worker.cells.create_key(secret, dialect, owner, ALL_SCOPES, Terms(dialect=dialect))
        clients[dialect] = client_of(service.url, secret)
        actors[dialect] = spell(KEY_PREFIX, key.id)
    yield Home(clients, actors)
    for client in clients.values():
        client.close()


def assert_everywhere(home: Home, id: str, text: str | None) -> None:
    """Each dialect has the memory with this text, alone or in a list, or with None does not have it."""
    home.catch_up()
    for dialect, spelled in home.ids(id).items():
        spoken, client = DIALECTS[dialect], home.clients[dialect]
        answer = spoken.get(client, spelled)
        if text is None:
            assert answer.status_code == 404, dialect
            assert spelled not in spoken.texts(client), dialect
        else:
            assert spoken.text(answer) == text, dialect
            assert spoken.texts(client)[spelled] == text, dialect


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_one_dialect_adds_all_have(home: Home, dialect: str) -> None:
    id = DIALECTS[dialect].add(home.clients[dialect], "User loves hiking")
    assert home.ids(id)[dialect] == id
    assert_everywhere(home, id, "User loves hiking")
    assert home.history(id) == [("ADD", "User loves hiking", home.actors[dialect])]


def test_any_spelling_of_an_id_will_do(home: Home) -> None:
    id = UUID(MEMOID.add(home.clients["memoid"], "User loves hiking").removeprefix(MEMORY_PREFIX))
    for dialect in ("memoid", "memokit", "memorystack"):
        for spelled in (spell(MEMORY_PREFIX, id), id.hex, str(id)):
            assert DIALECTS[dialect].get(home.clients[dialect], spelled).status_code == 200, dialect
    for spelled in (id.hex, str(id)):
        assert MEM0.get(home.clients["mem0"], spelled).status_code == 200


@pytest.mark.parametrize("adding", DIALECTS)
def test_what_one_dialect_changes_is_changed_in_all(home: Home, adding: str) -> None:
    id = DIALECTS[adding].add(home.clients[adding], "User loves hiking")
    changes = [("ADD", "User loves hiking", home.actors[adding])]
    for dialect in UPDATING:
        update, text = DIALECTS[dialect].update, f"User loves what {dialect} says"
        assert update
        assert update(home.clients[dialect], home.ids(id)[dialect], text).status_code == 200
        assert_everywhere(home, id, text)
        changes.append(("UPDATE", text, home.actors[dialect]))
    assert home.history(id) == changes[::-1]


@pytest.mark.parametrize("deleting", DIALECTS)
def test_what_one_dialect_deletes_is_gone_from_all(home: Home, deleting: str) -> None:
    for adding, adds in DIALECTS.items():
        id = adds.add(home.clients[adding], f"User loves {adding}")
        ids = home.ids(id)
        assert DIALECTS[deleting].delete(home.clients[deleting], ids[deleting]).is_success
        assert_everywhere(home, id, None)
        for dialect, spelled in ids.items():
            spoken, client = DIALECTS[dialect], home.clients[dialect]
            # What MemoryStack's client sends again within two minutes is the same deletion.
            if not dialect == deleting == "memorystack":
                assert spoken.delete(client, spelled).status_code == 404, dialect
            if spoken.update:
                assert spoken.update(client, spelled, "User is back").status_code == 404, dialect
        assert [change[0] for change in home.history(id)] == ["DELETE", "ADD"]
        assert home.history(id)[0][2] == home.actors[deleting]


def test_what_has_expired_is_gone_from_all_at_once(home: Home) -> None:
    """Its words are erased within a minute; until then nobody sees, changes or revives it."""
    yesterday = str((now() - timedelta(days=1)).date())
    body = said("User loves hiking") | {"expiration_date": yesterday}
    answer = home.clients["mem0"].post("/mem0/v3/memories/add/", json=body)
    id = str(answer.json()["results"][0]["id"])
    assert_everywhere(home, id, None)
    for dialect, spelled in home.ids(id).items():
        update = DIALECTS[dialect].update
        assert update is None or update(home.clients[dialect], spelled, "I am back").status_code == 404
    memoid = home.clients["memoid"]
    for path in ("history", "explain"):
        assert "hiking" not in memoid.get(f"/v1/memories/{home.ids(id)['memoid']}/{path}").text
    assert "hiking" not in memoid.get(f"/v1/memories/{home.ids(id)['memoid']}?version=1").text


def test_all_count_alike(home: Home) -> None:
    added = {}
    for dialect, spoken in DIALECTS.items():
        for n in range(2):
            added[spoken.add(home.clients[dialect], f"User knows {n} words of {dialect}")] = dialect
    assert len(added) == 10
    gone, dialect = next(iter(added.items()))
    for expected in (10, 9):
        home.catch_up()
        for name, spoken in DIALECTS.items():
            assert spoken.count(home.clients[name]) == expected, name
            assert len(spoken.texts(home.clients[name])) == expected, name
        DIALECTS[dialect].delete(home.clients[dialect], gone)
    used = home.clients["memoid"].get("/v1/usage/stats").json()
    assert used["total_memories"] == 9
