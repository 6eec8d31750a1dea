"""Sharing: a snapshot for all who know its address, copies of it, and taking it back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from domain import share
from domain.conversation import Ask, Asked, AttachedFile, Conversation, Step
from domain.ids import new_id
from runtime.settings import Settings
from tests.support.conversations import ALL_REFERENCES, MEMORY, PIXEL, Person, assert_missing, either
from tests.support.service import Service, free_port, serving

SECRETS = ("called Zorblax", "Zorblax is a cat", "pets.md", MEMORY.id.hex, "A secret thought")


def shared(person: Person, id: str) -> str:
    """The slug of a new share of the conversation: the last part of its address, as clients read it."""
    answer = person.client.post("/api/chat/share", params={"conversation_id": id})
    assert answer.status_code == 200, answer.text
    url = urlsplit(answer.json()["url"])
    return unquote(url.path.rstrip("/").rpartition("/")[2])


def public(service: Service, slug: str, **params: Any) -> httpx.Response:
    """What somebody without any key gets."""
    named = {"public_conversation_slug": slug, **params}
    return httpx.get(f"{service.url}/api/chat/share/history", params=named)


def said(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [message["message"] for message in answer.json()["response"]["chat"]]


def assert_gone(answer: httpx.Response, slug: str) -> None:
    assert answer.status_code == 404, answer.text
    message = f"Conversation: {slug} not found"
    assert answer.json() == {"status": "error", "error": message, "message": message}


@pytest.fixture
def id(ann: Person) -> str:
    """A conversation with one turn."""
    id = ann.begins()
    ann.asks(id, "What is my cat called?", "Zorblax.")
    return id


# --- sharing ----------------------------------------------------------------------------------------


def test_a_share_has_an_address_on_the_host_that_was_asked(service: Service, ann: Person, id: str) -> None:
    for answer in either(ann.client, "POST", "/api/chat/share", {"conversation_id": id}):
        assert answer.status_code == 200
        assert answer.json().keys() == {"status", "url"}
        assert answer.json()["url"].startswith(f"{service.url}/share/chat/what-is-my-cat-called-")
        assert answer.json()["url"].endswith("/")


@pytest.mark.parametrize(
    ("headers", "begins"),
    [
        ({"Host": "everlog.example"}, "https://everlog.example/share/chat/"),
        ({"Host": "everlog.example:8443"}, "https://everlog.example:8443/share/chat/"),
        ({"Host": "8.8.8.8"}, "https://8.8.8.8/share/chat/"),
        ({"Host": "localhost:8000"}, "http://localhost:8000/share/chat/"),
        ({"Host": "192.168.1.5:8000"}, "http://192.168.1.5:8000/share/chat/"),
        ({"Host": "[::1]:8000"}, "http://[::1]:8000/share/chat/"),
        ({"Host": "nas"}, "http://nas/share/chat/"),
        ({"Host": "nas.local:8000"}, "http://nas.local:8000/share/chat/"),
        ({"Host": "nas.local", "X-Forwarded-Proto": "https"}, "https://nas.local/share/chat/"),
        ({"Host": "nas.local", "X-Forwarded-Proto": "HTTPS, http"}, "https://nas.local/share/chat/"),
        ({"Host": "everlog.example", "X-Forwarded-Proto": "http"}, "http://everlog.example/share/chat/"),
        ({"Host": "everlog.example", "X-Forwarded-Proto": "javascript"}, "https://everlog.example/share/"),
    ],
)
def test_a_share_is_at_https_behind_a_proxy_and_where_the_host_is_not_local(
    ann: Person, id: str, headers: dict[str, str], begins: str
) -> None:
    answer = ann.client.post("/api/chat/share", json={"conversation_id": id}, headers=headers)
    assert answer.json()["url"].startswith(begins)


@pytest.mark.parametrize("host", ["evil.example/x?", "a@evil.example", "<script>", "a b", "a\\b", "[::1"])
def test_what_is_no_host_is_in_no_link(service: Service, ann: Person, id: str, host: str) -> None:
    answer = ann.client.post("/api/chat/share", json={"conversation_id": id}, headers={"Host": host})
    assert answer.status_code == 422 or answer.json()["url"].startswith(f"{service.url}/share/chat/")


def test_a_share_begins_with_the_address_that_is_configured(
    new_database: Callable[[], str], redis_url: str, folder: Path
) -> None:
    settings = Settings(
        database_url=new_database(),
        redis_url=redis_url,
        data_dir=str(folder / uuid4().hex),
        port=free_port(),
        public_url="https://everlog.example/memory/",
    )
    with serving(settings) as running:
        id = running.client.post("/api/chat/sessions").json()["conversation_id"]
        for headers in ({}, {"Host": "evil.example", "X-Forwarded-Proto": "http"}):
            answer = running.client.post("/api/chat/share", params={"conversation_id": id}, headers=headers)
            assert answer.json()["url"].startswith("https://everlog.example/memory/share/chat/")


def test_anybody_reads_a_share_as_the_history_it_was(service: Service, ann: Person, id: str) -> None:
    slug = shared(ann, id)
    ann.asks(id, "And my dog?", "Rex.")
    answer = public(service, slug)
    assert said(answer) == ["What is my cat called?", "Zorblax."]
    response = answer.json()["response"]
    own = ann.history(id)
    assert response.keys() == own.keys()
    assert response["chat"] == own["chat"][:2]
    assert response["agent"] == own["agent"]
    assert (response["slug"], response["is_owner"]) == ("What is my cat called?", False)
    assert type(response["conversation_id"]) is int
    assert 0 <= response["conversation_id"] < 2**53
    assert public(service, slug).json()["response"]["conversation_id"] == response["conversation_id"]
    assert said(public(service, slug, n=1)) == ["Zorblax."]
    assert said(public(service, slug, n=-1)) == ["What is my cat called?"]
    assert public(service, slug, n="many").status_code == 422


def test_the_owner_is_known_by_the_key_and_a_wrong_key_is_as_none(
    service: Service, ann: Person, id: str, stranger: httpx.Client
) -> None:
    named = {"public_conversation_slug": shared(ann, id)}
    unknown = httpx.Client(base_url=service.url, headers={"Authorization": "Bearer unknown"})
    with unknown:
        for client, is_owner in ((ann.client, True), (stranger, False), (unknown, False)):
            answer = client.get("/api/chat/share/history", params=named)
            assert answer.json()["response"]["is_owner"] is is_owner


def test_nothing_of_memories_documents_and_thoughts_is_public(
    service: Service, ann: Person, stranger: httpx.Client
) -> None:
    id = ann.begins()
    files = (AttachedFile(name="a.txt", content="Attached"),)
    steps = (Step(type="thought", data="A secret thought"), Step(type="status", data="Found pets.md"))
    ann.asks(id, "Cats?", "Here.", references=ALL_REFERENCES, steps=steps, images=(PIXEL,), diagram="graph")
    ann.does(UUID(id), Ask(asked=Asked(turn_id="t2", question="This?", images=(PIXEL,), files=files)))
    own = ann.client.get("/api/chat/history", params={"conversation_id": id})
    assert all(secret in own.text for secret in SECRETS)
    slug = shared(ann, id)
    answer = public(service, slug)
    for shown in (
        answer,
        ann.client.get("/api/chat/share/history", params={"public_conversation_slug": slug}),
        _forked(stranger, slug),
    ):
        assert not [secret for secret in SECRETS if secret in shown.text]
        _, khoj, you = shown.json()["response"]["chat"]
        assert (khoj["context"], khoj["memories"], khoj["trainOfThought"]) == ([], [], [])
        assert khoj["intent"]["inferred-queries"] == []
        assert khoj["onlineContext"]
        assert khoj["codeContext"] == {}
        assert (khoj["images"], khoj["mermaidjsDiagram"]) == ([PIXEL], "graph")
        assert you["images"] == [PIXEL]
        assert you["queryFiles"] is None


def test_the_snapshot_itself_holds_nothing_that_is_not_public(service: Service, ann: Person) -> None:
    id = ann.begins()
    ann.asks(id, "Cats?", references=ALL_REFERENCES, steps=(Step(type="thought", data="A secret thought"),))
    slug = shared(ann, id)
    (recorded,) = service.worker.cells.of(ann.owner).log.stream(share.id_of(slug))
    assert not [secret for secret in SECRETS if secret in str(recorded.event)]


def _forked(client: httpx.Client, slug: str) -> httpx.Response:
    forked = client.post("/api/chat/share/fork", params={"public_conversation_slug": slug}).json()
    return client.get("/api/chat/history", params={"conversation_id": forked["conversation_id"]})


def test_an_empty_conversation_and_one_in_another_script_can_be_shared(service: Service, ann: Person) -> None:
    for title in ("", "Моя кошка", "🐈🐈", "../../etc/passwd?x=1#y", "x" * 200):
        id = ann.begins()
        ann.client.patch("/api/chat/title", params={"conversation_id": id, "title": title})
        url = ann.client.post("/api/chat/share", json={"conversation_id": id}).json()["url"]
        assert url.isascii()
        for slug in (url.rstrip("/").rpartition("/")[2], shared(ann, id)):
            assert said(public(service, slug)) == []


def test_sharing_again_makes_another_copy(service: Service, ann: Person, id: str) -> None:
    first = shared(ann, id)
    ann.asks(id, "And my dog?", "Rex.")
    second = shared(ann, id)
    assert first != second
    assert (len(said(public(service, first))), len(said(public(service, second)))) == (2, 4)


def test_a_repeated_request_makes_no_other_copy(service: Service, ann: Person, id: str) -> None:
    once = {"Idempotency-Key": uuid4().hex}
    urls = [
        ann.client.post("/api/chat/share", json={"conversation_id": id}, headers=once).json()["url"]
        for _ in range(2)
    ]
    assert urls[0] == urls[1]
    assert len(said(public(service, urls[1].rstrip("/").rpartition("/")[2]))) == 2
    forks = [
        ann.client.post("/api/chat/share/fork", params={"public_conversation_slug": slug}, headers=once)
        for slug in [urls[0].rstrip("/").rpartition("/")[2]] * 2
    ]
    assert [answer.status_code for answer in forks] == [422, 422]  # the key was used for another request
    assert len(ann.sessions()) == 1


def test_a_share_outlives_its_conversation(service: Service, ann: Person, id: str) -> None:
    slug = shared(ann, id)
    ann.client.delete("/api/chat/history", params={"conversation_id": id})
    assert said(public(service, slug)) == ["What is my cat called?", "Zorblax."]


@pytest.mark.parametrize(
    "slug",
    ["", "what-is-my-cat-called", "abc123xyz", "%00", "\x00", "' OR 1=1 --", "../x", "9" * 3000, "🦾", "%25"],
)
def test_a_slug_that_is_guessed_is_404(service: Service, ann: Person, id: str, slug: str) -> None:
    real = shared(ann, id)
    for guess in (slug, real[:-1], real + "0", real.upper(), str(share.id_of(real))):
        assert_gone(public(service, guess), guess)


def test_a_share_needs_a_slug(service: Service, ann: Person) -> None:
    assert httpx.get(f"{service.url}/api/chat/share/history").status_code == 422
    for method, path in (("POST", "/api/chat/share/fork"), ("DELETE", "/api/chat/share")):
        for answer in either(ann.client, method, path, {}):
            assert answer.status_code == 422
    for answer in either(ann.client, "POST", "/api/chat/share", {}):
        assert answer.status_code == 422


# --- forking ----------------------------------------------------------------------------------------


def test_a_fork_is_a_conversation_of_ones_own(
    service: Service, ann: Person, id: str, stranger: httpx.Client
) -> None:
    ann.client.patch("/api/chat/title", params={"conversation_id": id, "title": "my-cat"})
    slug = shared(ann, id)
    for answer in either(stranger, "POST", "/api/chat/share/fork", {"public_conversation_slug": slug}):
        assert answer.status_code == 200
        forked = answer.json()["conversation_id"]
        assert answer.json() == {"status": "ok", "next_url": "/chat", "conversation_id": forked}
        history = stranger.get("/api/chat/history", params={"conversation_id": forked}).json()["response"]
        assert [one["message"] for one in history["chat"]] == ["What is my cat called?", "Zorblax."]
        assert (history["slug"], history["is_owner"]) == ("my cat", True)
        assert ann.client.get("/api/chat/history", params={"conversation_id": forked}).status_code == 404
        state = service.worker.cells.of("another").log.get(Conversation, UUID(forked))
        assert (state.scope.owner, state.files) == ("another", ())
    assert len(ann.sessions()) == 1


def test_one_may_fork_ones_own_and_go_on_in_it(ann: Person, id: str) -> None:
    slug = shared(ann, id)
    body = {"public_conversation_slug": slug, "user_id": "bob"}
    forked = ann.client.post("/api/chat/share/fork", json=body).json()["conversation_id"]
    ann.asks(forked, "And my dog?", "Rex.")
    assert ann.said(forked) == ["What is my cat called?", "Zorblax.", "And my dog?", "Rex."]
    assert ann.said(id) == ["What is my cat called?", "Zorblax."]
    assert [one["conversation_id"] for one in ann.sessions(user_id="bob")] == [forked]


def test_what_is_not_shared_cannot_be_forked(ann: Person, id: str) -> None:
    for slug in ("abc123xyz", id, "", "\x00"):
        named = {"public_conversation_slug": slug}
        for answer in either(ann.client, "POST", "/api/chat/share/fork", named):
            assert_missing(answer)
    assert len(ann.sessions()) == 1


# --- unsharing --------------------------------------------------------------------------------------


def test_an_unshared_conversation_is_gone_and_its_forks_stay(
    service: Service, ann: Person, id: str, stranger: httpx.Client
) -> None:
    slug = shared(ann, id)
    fork = _forked(stranger, slug)
    named = {"public_conversation_slug": slug}
    answer = ann.client.delete("/api/chat/share", params=named)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert_gone(public(service, slug), slug)
    assert_missing(stranger.post("/api/chat/share/fork", params=named))
    assert_missing(ann.client.delete("/api/chat/share", params=named))
    kept = fork.json()["response"]["conversation_id"]
    assert len(said(stranger.get("/api/chat/history", params={"conversation_id": kept}))) == 2
    assert len(ann.said(id)) == 2


@pytest.mark.parametrize(
    ("params", "headers"),
    [
        ({"client": "web"}, {}),
        ({}, {"Accept": "text/html,*/*;q=0.8"}),
        ({}, {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}),
    ],
)
def test_browsers_are_redirected_to_something_that_is_there(
    service: Service, ann: Person, id: str, params: dict[str, str], headers: dict[str, str]
) -> None:
    slug = shared(ann, id)
    named = {"public_conversation_slug": slug, **params}
    answer = ann.client.delete("/api/chat/share", params=named, headers=headers, follow_redirects=True)
    (redirect,) = answer.history  # as `response.redirected` of fetch has it
    assert redirect.status_code == 303
    assert (answer.status_code, answer.request.method) == (200, "GET")
    assert_gone(public(service, slug), slug)


def test_a_slug_may_come_in_the_body(service: Service, ann: Person, id: str) -> None:
    slug = shared(ann, id)
    body = {"public_conversation_slug": slug}
    assert ann.client.request("DELETE", "/api/chat/share", json=body).status_code == 200
    assert_gone(public(service, slug), slug)


def test_only_the_owner_unshares(service: Service, ann: Person, id: str, stranger: httpx.Client) -> None:
    slug = shared(ann, id)
    for client, named in (
        (stranger, {"public_conversation_slug": slug}),
        (ann.client, {"public_conversation_slug": slug, "user_id": "bob"}),
        (ann.client, {"public_conversation_slug": "abc123xyz"}),
        (ann.client, {"public_conversation_slug": str(new_id())}),
    ):
        for params in (named, {**named, "client": "web"}):
            assert_missing(client.delete("/api/chat/share", params=params))
    assert len(said(public(service, slug))) == 2


def test_a_share_of_a_users_conversation_says_nothing_of_the_user(service: Service, ann: Person) -> None:
    user = f"user-{uuid4().hex}"
    id = ann.begins(user_id=user)
    ann.asks(id, "What is my cat called?")
    answer = public(service, shared(ann, id))
    assert answer.status_code == 200
    assert not [name for name in (user, ann.owner, id, ann.actor) if name in answer.text]
