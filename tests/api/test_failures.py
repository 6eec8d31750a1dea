"""Wrong keys: who sends too many waits, and nobody with a good one does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from api.addresses import Proxies, network_of
from api.failures import REMEMBERED, Failures
from domain.key import ALL_SCOPES
from runtime.settings import Settings
from tests.support.problems import is_problem
from tests.support.service import KEY, Service, eventually, free_port, serving

A_MINUTE = 5
PATHS = {
    "/v1/memories": {"type", "title", "status", "detail"},
    "/api/v1/memories": {"error"},
    "/mem0/v1/ping/": set(),
    "/api/chat/sessions": {"status", "error", "message", "detail"},
}
"""Path → the fields of an error in the words of its contract."""


@pytest.fixture
def start(new_database: Callable[[], str], redis_url: str, folder: Path) -> Iterator[Callable[..., Service]]:
    """Starts a service of this test's own, where nobody has failed yet."""
    running = []

    def make(trusted_proxies: str = "", max_failed_keys: int = A_MINUTE) -> Service:
        settings = Settings(
            database_url=new_database(),
            redis_url=redis_url,
            data_dir=str(folder / uuid4().hex),
            port=free_port(),
            max_failed_keys=max_failed_keys,
            trusted_proxies=trusted_proxies,
        )
        running.append(serving(settings))
        return running[-1].__enter__()

    yield make
    for service in running:
        service.__exit__(None, None, None)


def ask(service: Service, key: str | None = None, came_by: str | None = None) -> httpx.Response:
    """By default with a wrong key of its own."""
    headers = {"Authorization": f"Bearer {key or uuid4().hex}"}
    if came_by:
        headers["X-Forwarded-For"] = came_by
    return httpx.get(f"{service.url}/v1/memories", headers=headers, timeout=5)


def use_up(service: Service, came_by: str | None = None) -> None:
    eventually(lambda: ask(service, came_by=came_by).status_code == 429)


def test_after_too_many_wrong_keys_the_next_is_429_in_the_words_of_the_contract(
    start: Callable[..., Service],
) -> None:
    service = start()
    answers = [ask(service) for _ in range(A_MINUTE + 1)]
    assert [answer.status_code for answer in answers] == [401] * A_MINUTE + [429]
    is_problem(answers[-1], 429)
    assert answers[-1].json()["type"] == "urn:everlog:problem:too-many-failures"
    assert "EVERLOG_MAX_FAILED_KEYS" in answers[-1].json()["detail"]
    for path, fields in PATHS.items():
        use_up(service)
        answer = httpx.get(service.url + path, headers={"Authorization": "Token another"})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60 / A_MINUTE
        assert answer.json().keys() >= fields
    assert 'everlog_refused_total{kind="too-many-failures"}' in httpx.get(f"{service.url}/metrics").text


def test_good_keys_go_on_at_the_same_address_those_included_that_were_never_used(
    start: Callable[..., Service],
) -> None:
    service = start()
    for number in range(3):
        service.worker.cells.create_key(f"{uuid4().hex}-{number}", "other", "default", ALL_SCOPES)
    service.worker.cells.create_key("never-used", "new", "default", ALL_SCOPES)
    use_up(service)
    assert ask(service, KEY).status_code == 200
    assert ask(service, "never-used").status_code == 200
    assert ask(service).status_code == 429


def test_a_key_that_is_made_meanwhile_is_good_within_seconds(start: Callable[..., Service]) -> None:
    service = start()
    use_up(service)
    service.worker.cells.create_key("made-now", "new", "default", ALL_SCOPES)
    eventually(lambda: ask(service, "made-now").status_code == 200)


def test_a_revoked_key_is_a_wrong_one(start: Callable[..., Service]) -> None:
    service = start()
    service.worker.cells.revoke_key(service.worker.cells.create_key("gone", "x", "default", ALL_SCOPES).id)
    assert [ask(service, "gone").status_code for _ in range(A_MINUTE)] == [401] * A_MINUTE
    eventually(lambda: ask(service, "gone").status_code == 429)


def test_no_key_at_all_is_no_failure(start: Callable[..., Service]) -> None:
    service = start()
    for _ in range(3 * A_MINUTE):
        assert httpx.get(f"{service.url}/v1/memories").status_code == 401
    assert ask(service).status_code == 401


def test_who_waits_costs_the_database_nothing(start: Callable[..., Service]) -> None:
    service = start(max_failed_keys=1)
    use_up(service)
    with psycopg.connect(service.settings.database_url or "") as conn:
        conn.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")  # who reads it would wait
        assert [ask(service).status_code for _ in range(5)] == [429] * 5


def test_a_websocket_is_told_so_too(start: Callable[..., Service]) -> None:
    service = start()
    use_up(service)
    url, origin = service.url.replace("http", "ws") + "/api/chat/ws", Origin("http://localhost")
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(url, origin=origin, additional_headers={"Authorization": "Bearer another-one"}),
    ):
        pass
    assert refused.value.response.status_code == 429
    assert int(refused.value.response.headers["Retry-After"]) >= 1


def test_what_a_stranger_says_of_who_they_are_is_not_believed(start: Callable[..., Service]) -> None:
    service = start()
    answers = [ask(service, came_by=f"198.51.100.{number}").status_code for number in range(2 * A_MINUTE)]
    assert answers.count(401) <= A_MINUTE + 1
    assert answers[-1] == 429


def test_behind_a_trusted_proxy_clients_are_told_apart_by_what_it_added(
    start: Callable[..., Service],
) -> None:
    service = start(trusted_proxies="127.0.0.0/8, 10.0.0.0/8")
    use_up(service, "198.51.100.1")
    assert ask(service, came_by="198.51.100.1, 10.1.2.3").status_code == 429  # by two proxies
    made_up = "203.0.113.9"
    assert ask(service, came_by=f"{made_up}, 198.51.100.1").status_code == 429
    assert ask(service, came_by="198.51.100.2").status_code == 401


def test_who_guesses_one_key_from_many_addresses_is_stopped_at_its_beginning(
    start: Callable[..., Service],
) -> None:
    service = start(trusted_proxies="127.0.0.1")
    asked = [ask(service, f"ev_abcde{number}", f"198.51.100.{number}") for number in range(A_MINUTE + 2)]
    assert [answer.status_code for answer in asked][-1] == 429
    assert ask(service, "ev_another", "198.51.100.99").status_code == 401


# --- the parts --------------------------------------------------------------------------------------------


def test_what_is_remembered_of_failures_has_an_end() -> None:
    failures = Failures(1)
    for number in range(3 * REMEMBERED):
        failures.count(f"address {number}", f"{number:08}")
    assert len(failures) <= 2 * REMEMBERED
    assert failures.wait(f"address {3 * REMEMBERED - 1}", "x") > 0
    assert failures.wait("address 0", "x") == 0


def test_failures_are_forgiven_with_time() -> None:
    failures = Failures(600)
    for _ in range(600):
        failures.count("address", "secret")
    assert failures.wait("address", "another")
    eventually(lambda: failures.wait("address", "another") == 0)


@pytest.mark.parametrize(
    "told, client",
    [
        ([], "10.0.0.1"),
        (["198.51.100.7"], "198.51.100.7"),
        (["203.0.113.5, 198.51.100.7"], "198.51.100.7"),
        (["203.0.113.5", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["198.51.100.7, garbage"], "10.0.0.1"),
        (["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        (["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
    ],
)
def test_the_client_is_the_rightmost_that_is_no_proxy_of_ours(told: list[str], client: str) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in told]
    scope = {"client": ("10.0.0.1", 1), "headers": headers}
    assert Proxies(["10.0.0.0/8"]).client_of(scope) == client  # type: ignore[arg-type]
    assert Proxies().client_of(scope) == "10.0.0.1"  # type: ignore[arg-type]


def test_addresses_of_one_network_count_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
