"""Who may do what: no key, wrong keys, scopes, and another owner's memories."""

import httpx
import pytest
from litestar.handlers import BaseRouteHandler

from api.spoken import SPOKEN
from domain.ids import MEMORY_PREFIX, parse
from domain.key import KeyScope
from tests.support.memories import add
from tests.support.problems import is_problem
from tests.support.service import KEY, OTHER_KEY, Service, client_of

ROUTES = [
    ("POST", "/v1/memories"), ("GET", "/v1/memories"), ("DELETE", "/v1/memories?user_id=u"),
    ("GET", "/v1/memories/{id}"), ("PUT", "/v1/memories/{id}"), ("DELETE", "/v1/memories/{id}"),
    ("GET", "/v1/memories/{id}/history"), ("POST", "/v1/search"), ("POST", "/v1/memories/search"),
    ("GET", "/v1/events"), ("GET", "/v1/status"), ("GET", "/v1/memories/{id}/explain"),
    ("GET", "/v1/graph"), ("GET", "/v1/entities"), ("GET", "/v1/ingestions"), ("GET", "/v1/ingestions/{id}"),
    ("POST", "/v1/ingestions/{id}/retry"), ("GET", "/v1/usage/stats"), ("GET", "/v1/usage/daily"),
    ("GET", "/v1/projects"), ("POST", "/v1/projects"),
    ("PATCH", "/v1/projects/{id}"), ("DELETE", "/v1/projects/{id}"), ("POST", "/v1/reverts"),
    ("POST", "/v1/reviews"), ("GET", "/v1/reviews/{id}"), ("POST", "/v1/reviews/{id}/apply"),
]  # fmt: skip
OPEN = {"/api/chat/options", "/api/chat/share/history", "/api/chat/ws", "/api/health"}
"""Of the contracts' paths: what is published or no secret, and a socket that looks at keys itself."""
BODIES = {
    "/v1/memories": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/memories/{id}": {"memory": "changed"},
    "/v1/search": {"query": "x"},
    "/v1/memories/search": {"query": "x"},
    "/v1/projects/{id}": {"name": "changed"},
    "/v1/reviews/{id}/apply": {"proposals": "all"},
}


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer nope"}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {KEY}"},
    {"X-API-Key": "nope"}, {"Authorization": f"Bearer {KEY}", "X-API-Key": OTHER_KEY},
])  # fmt: skip
@pytest.mark.parametrize("method, path", ROUTES)
def test_without_one_valid_key_every_route_is_401(
    service: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = httpx.request(method, service.url + path.format(id="mem_x"), headers=headers)
    is_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_route_of_a_contract_needs_a_scope_but_a_few() -> None:
    unscoped: set[str] = set()
    for dialect in SPOKEN.all.values():
        for route in (*dialect.routes, *dialect.uploads):
            assert isinstance(route, BaseRouteHandler)
            unscoped.update(() if route.opt.get("scope") else route.paths)
    assert unscoped == OPEN


def test_a_key_comes_in_either_header_or_in_both(service: Service) -> None:
    for headers in (
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"Token {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": f"Bearer {KEY}", "X-API-Key": KEY},
    ):
        assert httpx.get(f"{service.url}/v1/memories", headers=headers).status_code == 200


@pytest.mark.parametrize("method, path", ROUTES)
def test_a_key_without_the_scope_is_403(service: Service, method: str, path: str) -> None:
    reads = method == "GET" or path.endswith("search")
    other: KeyScope = "write" if reads else "read"
    service.worker.cells.create_key(f"key-with-{other}", other, "default", (other,))
    answer = httpx.request(
        method, service.url + path.format(id="mem_x"), headers={"X-API-Key": f"key-with-{other}"}
    )
    is_problem(answer, 403)


def test_anothers_memory_is_404_on_every_route_and_stays_as_it_is(
    client: httpx.Client, stranger: httpx.Client, user: str
) -> None:
    id = add(client, "mine", user)
    before = client.get(f"/v1/memories/{id}/history").json()
    for method, path in ROUTES:
        if "{id}" in path:
            answer = stranger.request(method, path.format(id=id), json=BODIES.get(path))
            is_problem(answer, 404)
    assert client.get(f"/v1/memories/{id}/history").json() == before


def test_nothing_of_another_owner_is_listed_found_logged_or_deleted(
    client: httpx.Client, stranger: httpx.Client, user: str
) -> None:
    id = add(client, "Zorblax is my cat", user)
    assert stranger.get("/v1/memories", params={"user_id": user}).json()["total"] == 0
    for mode in ("hybrid", "vector", "keyword"):
        body = {"query": "Zorblax", "mode": mode, "limit": 100}
        assert "Zorblax" not in stranger.post("/v1/search", json=body).text
    assert stranger.get("/v1/events", params={"memory_id": id}).json()["results"] == []
    assert stranger.get("/v1/events", params={"user_id": user}).json()["results"] == []
    assert "Zorblax" not in stranger.get("/v1/events", params={"limit": 1000}).text
    assert stranger.delete("/v1/memories", params={"user_id": user}).json()["deleted"] == 0
    assert client.get(f"/v1/memories/{id}").status_code == 200


def test_a_revoked_key_is_refused_within_a_second_or_so(service: Service) -> None:
    from tests.support.service import eventually

    key = service.worker.cells.create_key("key-to-revoke", "x", "default", ("read",))
    with client_of(service.url, "key-to-revoke") as client:
        assert client.get("/v1/memories").status_code == 200
        service.worker.cells.revoke_key(key.id)
        eventually(lambda: client.get("/v1/memories").status_code == 401)


NARROW: list[tuple[str, str, KeyScope]] = [
    ("GET", "/v1/memories", "memories:read"), ("GET", "/v1/memories/{id}", "memories:read"),
    ("POST", "/v1/search", "memories:read"), ("GET", "/v1/graph", "memories:read"),
    ("GET", "/v1/events", "log:read"), ("GET", "/v1/status", "log:read"),
    ("GET", "/v1/ingestions", "log:read"),
    ("GET", "/v1/memories/{id}/history", "log:read"), ("GET", "/v1/memories/{id}/explain", "log:read"),
    ("GET", "/mem0/v1/memories/{uuid}/history", "log:read"),
    ("PUT", "/v1/memories/{id}", "memories:write"), ("POST", "/v1/memories", "memories:write"),
    ("DELETE", "/v1/memories/{id}", "memories:write"),
    ("DELETE", "/api/v1/memories/{uuid}", "memories:write"),
    ("DELETE", "/v1/memories/{id}?erase=true", "memories:erase"),
    ("DELETE", "/api/v1/memories/{uuid}?hard=true", "memories:erase"),
    ("GET", "/auth/token", "admin"),
]  # fmt: skip
SCOPES: dict[KeyScope, set[KeyScope]] = {
    "read": {"memories:read", "log:read"}, "write": {"memories:write", "memories:erase"}, "admin": {"admin"},
    "memories:read": {"memories:read"}, "log:read": {"log:read"},
    "memories:write": {"memories:write"}, "memories:erase": {"memories:erase"},
}  # fmt: skip


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("method", "path", "needed"), NARROW)
def test_a_scope_opens_what_it_says_and_nothing_else(
    service: Service, user: str, scope: KeyScope, method: str, path: str, needed: KeyScope
) -> None:
    id = add(service.client, "User likes tea", user)
    secret = f"key-for-{scope}"
    service.worker.cells.create_key(secret, scope, "default", (scope,))
    uuid = parse(MEMORY_PREFIX, id)
    url = service.url + path.format(id=id, uuid=uuid)
    body = BODIES.get(path)
    answer = httpx.request(method, url, headers={"X-API-Key": secret}, json=body)
    if needed in SCOPES[scope]:
        assert answer.is_success, answer.text
    else:
        assert answer.status_code == 403, answer.text
        assert "scope" in answer.text


def test_how_memories_were_is_history(service: Service, client: httpx.Client, user: str) -> None:
    id = add(client, "User likes tea", user)
    service.worker.cells.create_key("key-for-now", "now", "default", ("memories:read",))
    with client_of(service.url, "key-for-now") as reading:
        assert reading.get(f"/v1/memories/{id}").is_success
        is_problem(reading.get(f"/v1/memories/{id}", params={"version": 1}), 403)
        is_problem(reading.get("/v1/memories", params={"as_of": "2030-01-01T00:00:00Z"}), 403)
