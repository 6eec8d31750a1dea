"""Keys that a key makes: for the same owner, never wider than itself, and told once (khoj.md, 1.5)."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from application import keys
from domain.ids import KEY_PREFIX, spell
from domain.key import ALL_SCOPES, NO_TERMS, KeyScope, Terms
from tests.support.service import Service, client_of, eventually

TOKEN = "/auth/token"


def client_with(
    service: Service, owner: str, scopes: tuple[KeyScope, ...] = ALL_SCOPES, terms: Terms = NO_TERMS
) -> httpx.Client:
    secret = uuid4().hex
    service.worker.cells.create_key(secret, "mine", owner, scopes, terms)
    return client_of(service.url, secret)


@pytest.fixture
def owner() -> str:
    return f"owner-{uuid4().hex}"


@pytest.fixture
def admin(service: Service, owner: str) -> Iterator[httpx.Client]:
    """A client with a key that may administer, of an owner of its own."""
    with client_with(service, owner) as client:
        yield client


def made(client: httpx.Client, name: str) -> str:
    answer = client.post(TOKEN, params={"token_name": name})
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"token", "name"}
    assert answer.json()["name"] == name
    return str(answer.json()["token"])


def names(client: httpx.Client) -> list[str]:
    answer = client.get(TOKEN)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()]


def status(service: Service, secret: str, path: str = "/api/chat/sessions") -> int:
    with client_of(service.url, secret) as client:
        return client.get(path).status_code


def assert_refused(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"status", "error", "message", "detail"}
    assert answer.json()["status"] == "error"


def test_a_key_that_was_made_reads_and_writes_what_its_owner_has(
    service: Service, owner: str, admin: httpx.Client
) -> None:
    secret = made(admin, "obsidian")
    id = admin.post("/api/chat/sessions").json()["conversation_id"]
    with client_of(service.url, secret) as client:
        assert client.get("/api/chat/history", params={"conversation_id": id}).is_success
        assert client.post("/api/chat/sessions").is_success
        assert client.get("/api/v1/user").json()["username"] == owner
        for method in ("POST", "GET", "DELETE"):  # it makes no further ones
            assert_refused(client.request(method, TOKEN, params={"token_name": "more"}), 403)


def test_a_key_without_a_name_is_given_one(admin: httpx.Client) -> None:
    first, second = (admin.post(TOKEN).json() for _ in range(2))
    assert first["name"] != second["name"]
    assert names(admin) == ["mine", first["name"], second["name"]]


def test_what_a_key_is_is_told_once(admin: httpx.Client) -> None:
    answer = admin.post(TOKEN, params={"token_name": "obsidian"})
    assert answer.headers["Cache-Control"] == "no-store"
    listed = admin.get(TOKEN)
    assert answer.json()["token"] not in listed.text
    assert [one["token"].startswith("key_") for one in listed.json()] == [True, True]


@pytest.mark.parametrize("spelled", ["token_name", "id", "text"])
def test_a_key_is_deleted_by_its_name_its_id_and_its_text(
    service: Service, admin: httpx.Client, spelled: str
) -> None:
    secret = made(admin, "obsidian")
    kept = made(admin, "emacs")
    assert status(service, secret) == 200
    id = next(one["token"] for one in admin.get(TOKEN).json() if one["name"] == "obsidian")
    params = {"token_name": {"token_name": "obsidian"}, "id": {"token": id}, "text": {"token": secret}}
    answer = admin.delete(TOKEN, params=params[spelled])
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert names(admin) == ["mine", "emacs"]
    eventually(lambda: status(service, secret) == 401)
    assert status(service, kept) == 200
    assert_refused(admin.delete(TOKEN, params=params[spelled]), 404)
    assert made(admin, "obsidian") != secret


def test_no_key_deletes_itself_and_none_is_deleted_by_nothing(admin: httpx.Client) -> None:
    assert_refused(admin.delete(TOKEN, params={"token_name": "mine"}), 409)
    assert_refused(admin.delete(TOKEN), 422)
    assert names(admin) == ["mine"]


def test_a_name_is_given_once_and_is_one(admin: httpx.Client) -> None:
    made(admin, "obsidian")
    assert_refused(admin.post(TOKEN, params={"token_name": "obsidian"}), 409)
    for name in ("", "x" * 101, "a\nb", "a\x00b"):
        assert_refused(admin.post(TOKEN, params={"token_name": name}), 422)
    assert names(admin) == ["mine", "obsidian"]


def test_keys_of_another_owner_are_not_there(
    service: Service, admin: httpx.Client, stranger: httpx.Client
) -> None:
    secret = made(admin, "obsidian")
    (_, listed) = admin.get(TOKEN).json()
    assert "obsidian" not in names(stranger)
    for params in ({"token_name": "obsidian"}, {"token": secret}, {"token": listed["token"]}):
        assert_refused(stranger.delete(TOKEN, params=params), 404)
    assert status(service, secret) == 200


@pytest.mark.parametrize("scopes", [("read",), ("read", "write")])
def test_a_key_that_may_not_administer_makes_none(
    service: Service, owner: str, scopes: tuple[KeyScope, ...]
) -> None:
    with client_with(service, owner, scopes) as client:
        for method in ("POST", "GET", "DELETE"):
            answer = client.request(method, TOKEN, params={"token_name": "more"})
            assert_refused(answer, 403)
            assert answer.json()["detail"] == "Forbidden"
    with httpx.Client(base_url=service.url) as nobody:
        assert_refused(nobody.get(TOKEN), 401)


def test_a_key_is_no_wider_than_the_one_that_makes_it(service: Service, owner: str) -> None:
    with client_with(service, owner, ("admin",), Terms(dialect="khoj", plan="free")) as client:
        secret = made(client, "powerless")
    key = service.worker.cells.key_of(secret)
    assert (key.scopes, key.terms, key.owner) == ((), Terms(dialect="khoj", plan="free"), owner)


@pytest.mark.parametrize("terms", [Terms(per_minute=100), Terms(per_month=100)])
def test_a_key_with_limits_makes_none_that_would_have_as_much_again(
    service: Service, owner: str, terms: Terms
) -> None:
    with client_with(service, owner, terms=terms) as client:
        assert_refused(client.post(TOKEN), 403)
        assert names(client) == ["mine"]


def test_a_key_for_one_dialect_sees_and_deletes_none_that_may_more(
    service: Service, owner: str, admin: httpx.Client
) -> None:
    made(admin, "wide")
    with client_with(service, owner, terms=Terms(dialect="khoj")) as client:
        made(client, "narrow")
        assert names(client) == ["mine", "narrow"]
        assert_refused(client.delete(TOKEN, params={"token_name": "wide"}), 404)
    assert "narrow" in names(admin)


def test_there_are_only_so_many_keys(admin: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    made(admin, "obsidian")
    assert_refused(admin.post(TOKEN), 409)
    assert admin.delete(TOKEN, params={"token_name": "obsidian"}).is_success
    made(admin, "emacs")


def test_the_log_says_who_made_and_who_deleted_a_key(
    service: Service, owner: str, admin: httpx.Client
) -> None:
    secret = made(admin, "obsidian")
    cells = service.worker.cells
    mine = next(key for key in cells.keys(owner) if key.name == "mine")
    id = cells.key_of(secret).id
    assert admin.delete(TOKEN, params={"token_name": "obsidian"}).is_success
    recorded = cells.first.log.stream(id)
    assert [(each.event.TYPE, each.context.actor) for each in recorded] == [
        ("key.created.v1", spell(KEY_PREFIX, mine.id)),
        ("key.revoked.v1", spell(KEY_PREFIX, mine.id)),
    ]
    assert secret not in str(recorded)
