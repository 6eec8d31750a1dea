"""mem0's contract on the wire: paths, shapes, errors, and the expiration of memories."""

import base64
import json
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from api.dialects.mem0.account import Fault, shape
from api.errors import Problem
from domain.eventstore import backlog
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.ingestion import Extractor, Fail, Failed, Ingestion, Message, Receive, Received
from domain.key import ALL_SCOPES, Terms
from domain.recorded import Context
from domain.scope import Scope
from tests.support.mem0 import SAID, client_of, kept, listed
from tests.support.service import Service, eventually
from workers import attempts

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
NOBODY = "0190a6f0-0000-7000-8000-000000000000"


def day(offset: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


@pytest.fixture(scope="module")
def mem0(service: Service) -> Iterator[httpx.Client]:
    """A client of the owner `default`, as mem0's authenticates."""
    service.worker.cells.create_key("key-of-mem0", "mem0", "default", ALL_SCOPES, Terms(dialect="mem0"))
    with client_of(service, "key-of-mem0") as client:
        yield client


@pytest.fixture(scope="module")
def foreign(service: Service) -> Iterator[httpx.Client]:
    service.worker.cells.create_key("key-of-other", "mem0", "another", ALL_SCOPES, Terms(dialect="mem0"))
    with client_of(service, "key-of-other") as client:
        yield client


@pytest.fixture
def home(service: Service) -> Cell:
    return service.worker.cells.of("default")


# --- shapes -----------------------------------------------------------------------------------------


def test_adding_is_queued_and_its_event_tells_the_rest(mem0: httpx.Client, user: str) -> None:
    answer = mem0.post("/v3/memories/add/", json={"messages": SAID, "user_id": user})
    assert answer.status_code == 200
    event_id = answer.json()["event_id"]
    assert answer.json() == {
        "message": "Memory processing has been queued for background execution",
        "status": "PENDING",
        "event_id": event_id,
    }
    assert UUID.fullmatch(event_id)
    eventually(lambda: mem0.get(f"/v1/event/{event_id}/").json()["status"] == "SUCCEEDED")
    (result,) = mem0.get(f"/v1/event/{event_id}/").json()["results"]
    assert UUID.fullmatch(result.pop("id"))
    assert result == {"data": {"memory": "User loves hiking"}, "memory": "User loves hiking", "event": "ADD"}


def test_what_is_kept_as_it_is_has_succeeded_at_once(mem0: httpx.Client, user: str) -> None:
    messages = [{"role": "system", "content": "Be brief"}, *SAID, {"role": "assistant", "content": "Great!"}]
    answer = mem0.post(
        "/v3/memories/add/", json={"messages": messages, "user_id": user, "infer": False}
    ).json()
    assert answer["status"] == "SUCCEEDED"
    assert [result["memory"] for result in answer["results"]] == ["I love hiking", "Great!"]
    event = mem0.get(f"/v1/event/{answer['event_id']}/").json()
    assert (event["status"], event["results"]) == ("SUCCEEDED", answer["results"])


def test_a_memory_as_it_is_told(mem0: httpx.Client, user: str) -> None:
    id = kept(mem0, user, agent_id="bot", app_id="shop", run_id="r1", metadata={"a": 1})
    memory = mem0.get(f"/v1/memories/{id}/").json()
    times = [memory.pop("created_at"), memory.pop("updated_at")]
    assert all(moment.endswith("Z") for moment in times)
    assert memory == {
        "id": id, "memory": "User loves hiking", "user_id": user, "agent_id": "bot", "app_id": "shop",
        "run_id": "r1", "metadata": {"a": 1}, "categories": [], "expiration_date": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "of, instructions",
    [
        ({"agent_id": "bot"}, "Only what it can do"),
        ({"agent_id": "bot", "user_id": "ann"}, "Only food"),
        ({"user_id": "ann"}, "Only food"),
    ],
)
def test_what_is_an_agents_alone_has_instructions_of_its_own(
    mem0: httpx.Client, home: Cell, of: dict[str, str], instructions: str
) -> None:
    told = {"custom_instructions": "Only food", "agent_custom_instructions": "Only what it can do"}
    answer = mem0.post("/v3/memories/add/", json={"messages": SAID, **of, **told}).json()
    assert home.log.get(Ingestion, uuid.UUID(answer["event_id"])).received.instructions == instructions


def test_an_app_is_a_project_to_the_others(mem0: httpx.Client, client: httpx.Client, user: str) -> None:
    id = kept(mem0, user, app_id="shop")
    assert client.get(f"/v1/memories/{id}").json()["project_id"] == "shop"


def test_every_path_is_served_without_its_slash_too(mem0: httpx.Client, user: str) -> None:
    id = kept(mem0, user)
    for path in ("/v1/ping", f"/v1/memories/{id}", f"/v1/memories/{id}/history", "/v1/entities"):
        for slash in ("", "/"):
            assert mem0.get(path + slash).status_code == 200, path
    for slash in ("", "/"):
        assert mem0.post(f"/v3/memories{slash}", json={}).status_code == 200
    assert mem0.delete(f"/v2/entities/user/{user}").status_code == 200


def test_everything_is_deleted_only_on_the_word_of_all_four(service: Service, user: str) -> None:
    service.worker.cells.create_key("key-of-wiper", "mem0", "wiper", ALL_SCOPES, Terms(dialect="mem0"))
    with client_of(service, "key-of-wiper") as mem0:
        kept(mem0, user)
        kept(mem0, user, agent_id="bot")
        assert mem0.delete("/v1/memories/", params={"agent_id": "*"}).status_code == 200
        assert len(listed(mem0, user)) == 1
        every = dict.fromkeys(("user_id", "agent_id", "app_id", "run_id"), "*")
        assert mem0.delete("/v1/memories/", params=every).status_code == 200
        assert listed(mem0, user) == []


def test_filters_in_a_query_are_json_or_what_python_prints(mem0: httpx.Client, user: str) -> None:
    for written in ('{"user_id": "%s"}', "{'user_id': '%s'}"):
        kept(mem0, user)
        assert mem0.delete("/v1/memories/", params={"filters": written % user}).status_code == 200
        assert listed(mem0, user) == []
    for nonsense in (
        "[1]",
        "user",
        "{1: 2}",
        "{'a': " * 300,
        "__import__('os')",
        '{"metadata": {"a": 1}}',
        "{}",
    ):
        answer = mem0.delete("/v1/memories/", params={"filters": nonsense})
        assert answer.status_code == 400, nonsense


@pytest.mark.parametrize(
    "spelled, name",
    [
        ("x%2F/", "x/"),
        ("x%2F", "x/"),
        ("x/", "x"),
        ("a%2F%2Fb/", "a//b"),
        ("a//b/", "a//b"),
        ("a/b", "a/b"),
        ("%2Fx/", "/x"),
        ("%2F/", "/"),
        ("100%25%C3%A9%20%3F/", "100%é ?"),
        ("%252F/", "%2F"),
        ("%0A/", "\n"),
    ],
)
def test_the_name_in_a_path_is_the_one_that_was_quoted(service: Service, spelled: str, name: str) -> None:
    owner = f"names-{spelled}"
    service.worker.cells.create_key(f"key-of-{owner}", "mem0", owner, ALL_SCOPES, Terms(dialect="mem0"))
    neighbours = {"x", "x/", "/x", "a/b", "a//b", "/", "//", "%2F", "\n", "100%é ?"}
    with client_of(service, f"key-of-{owner}") as mem0:
        for user in neighbours:
            kept(mem0, user)
        answer = mem0.delete(f"/v2/entities/user/{spelled}")
        assert answer.status_code == 200, answer.text
        left = {entity["name"] for entity in mem0.get("/v1/entities/").json()["results"]}
    assert neighbours - left == {name}


def test_a_name_that_is_no_text_is_refused(mem0: httpx.Client) -> None:
    for spelled, status in (("%FF/", 400), ("", 404), ("%00/", 422)):
        answer = mem0.delete(f"/v2/entities/user/{spelled}")
        assert answer.status_code == status, answer.text
        assert answer.json().keys() == {"detail", "type"}


# --- events -----------------------------------------------------------------------------------------


def test_an_event_runs_while_a_worker_is_at_it(
    service: Service, mem0: httpx.Client, home: Cell, user: str
) -> None:
    kept(mem0, user)
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        subject_id = home.subjects.find(conn, "default", user)
        assert subject_id
        assert backlog.claim(conn, subject_id)
        said = {"messages": [{"role": "user", "content": "I live in Bern"}], "user_id": user}
        event_id = mem0.post("/v3/memories/add/", json=said).json()["event_id"]
        eventually(lambda: mem0.get(f"/v1/event/{event_id}/").json()["status"] == "RUNNING")
        assert mem0.get(f"/v1/event/{event_id}/").json()["results"] == []
        backlog.release(conn, subject_id)
        attempts.work_off(conn, home, service.worker.means, subject_id)
    eventually(lambda: mem0.get(f"/v1/event/{event_id}/").json()["status"] == "SUCCEEDED")


def test_a_failed_event_says_why(mem0: httpx.Client, foreign: httpx.Client, home: Cell, user: str) -> None:
    id = new_id()
    received = Received(
        scope=Scope(owner="default", user_id=user), messages=(Message(role="user", text="I love hiking"),)
    )
    failed = Failed(extractor=Extractor(name="rules-1"), reason="it made no sense", attempts=3)
    context = Context(owner="default", actor="key", cause="test", correlation="test")
    work = Work(context=context, commands=[(id, Receive(received=received)), (id, Fail(failed=failed))])
    home.writer.submit(work).result()
    event = mem0.get(f"/v1/event/{id}/").json()
    assert (event["status"], event["error"], event["results"]) == ("FAILED", "it made no sense", [])
    assert foreign.get(f"/v1/event/{id}/").status_code == 404
    for unknown in (NOBODY, "nonsense"):
        assert mem0.get(f"/v1/event/{unknown}/").status_code == 404


def test_what_found_nothing_to_do_has_succeeded_without_results(
    mem0: httpx.Client, foreign: httpx.Client, user: str
) -> None:
    ruled = {"messages": [{"role": "system", "content": "Be brief"}], "user_id": user, "infer": False}
    once = {"Idempotency-Key": f"once-{user}"}
    answers = [
        mem0.delete("/v1/memories/", params={"user_id": user}),
        mem0.delete("/v1/memories/", params={"user_id": user}, headers=once),
        mem0.delete("/v1/memories/", params={"user_id": user}, headers=once),
        mem0.post("/v3/memories/add/", json=ruled),
    ]
    ids = [answer.json()["event_id"] for answer in answers]
    assert ids[1] == ids[2] and len(set(ids)) == 3
    for id in ids:
        event = mem0.get(f"/v1/event/{id}/").json()
        assert (event["id"], event["status"], event["results"]) == (id, "SUCCEEDED", [])
        assert foreign.get(f"/v1/event/{id}/").status_code == 404


# --- exports ----------------------------------------------------------------------------------------


def exported(mem0: httpx.Client, id: str) -> httpx.Response:
    return mem0.post("/v1/exports/get/", json={"memory_export_id": id})


@pytest.mark.parametrize(
    "id", ["", "nonsense", "é", "e30", "eyJ4IjpbMV19", "bnVsbA", "W10", "eyJBTkQiOls3XX0", "W1t" * 9_999]
)
def test_an_id_that_is_no_exports_is_not_found(mem0: httpx.Client, id: str) -> None:
    assert exported(mem0, id).status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["AND", "OR", "NOT", "user_id", "metadata", "timestamp", "in", "gt"])
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@for_all(tree=JSON | st.fixed_dictionaries({"AND": st.lists(JSON, max_size=3)}))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_made_up_export_breaks_the_server(mem0: httpx.Client, tree: Any) -> None:
    id = base64.urlsafe_b64encode(json.dumps(tree).encode()).decode().rstrip("=")
    assert exported(mem0, id).status_code in (200, 404, 422)


# --- expiration -------------------------------------------------------------------------------------


def sweep(service: Service, home: Cell) -> None:
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        service.worker._jobs.delete_expired(conn, home)


def is_found(mem0: httpx.Client, user: str, id: str) -> bool:
    """Whether a memory is there; all ways of asking must agree."""
    search = {"query": "hiking", "filters": {"user_id": user}}
    asked = [
        mem0.get(f"/v1/memories/{id}/").status_code == 200,
        [memory["id"] for memory in listed(mem0, user)] == [id],
        [hit["id"] for hit in mem0.post("/v3/memories/search/", json=search).json()["results"]] == [id],
        user in [entity["name"] for entity in mem0.get("/v1/entities/").json()["results"]],
    ]
    assert len(set(asked)) == 1, asked
    return asked[0]


def test_what_has_expired_is_nowhere_to_be_found_and_nothing_brings_it_back(
    mem0: httpx.Client, user: str
) -> None:
    id = kept(mem0, user, expiration_date=day(0))
    for method, path, body in (
        ("GET", f"/v1/memories/{id}/", None),
        ("GET", f"/v1/memories/{id}/history/", None),
        ("PUT", f"/v1/memories/{id}/", {"text": "no"}),
        ("PUT", f"/v1/memories/{id}/", {"timestamp": 1_700_000_000}),
        ("PUT", f"/v1/memories/{id}/", {"expiration_date": None}),
        ("PUT", f"/v1/memories/{id}/", {"expiration_date": day(9), "timestamp": 1_700_000_000}),
        ("PUT", "/v1/batch/", {"memories": [{"memory_id": id, "text": "no"}]}),
        ("POST", "/v1/feedback/", {"memory_id": id, "feedback": "POSITIVE"}),
    ):
        assert mem0.request(method, path, json=body).status_code == 404, (method, path, body)
    assert not is_found(mem0, user, id)


@pytest.mark.parametrize("last", [-400, 0])
def test_what_has_expired_is_hidden_at_once_and_then_erased(
    service: Service, mem0: httpx.Client, client: httpx.Client, home: Cell, user: str, last: int
) -> None:
    id = kept(mem0, user, expiration_date=day(last))
    assert not is_found(mem0, user, id)

    def events() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = client.get("/v1/events", params={"memory_id": id}).json()["results"]
        return told

    sweep(service, home)  # the projection has it: it was read
    added, erased = events()
    assert (erased["actor"], erased["cause"]) == ("worker", "expiration")
    assert erased["type"] == "memory.erased.v1"
    assert added["data"] == {"text": "", "scope": {"owner": "default", "user_id": user}, "role": "user"}
    sweep(service, home)
    assert len(events()) == 2
    history = mem0.get(f"/v1/memories/{id}/history/")
    assert [version["event"] for version in history.json()] == ["ADD", "DELETE"]
    assert "hiking" not in history.text


def test_what_expires_later_stays_until_then(
    service: Service, mem0: httpx.Client, home: Cell, user: str
) -> None:
    id = kept(mem0, user, expiration_date=day(1))
    assert is_found(mem0, user, id)
    sweep(service, home)
    assert is_found(mem0, user, id)
    assert mem0.put(f"/v1/memories/{id}/", json={"expiration_date": day(-1)}).status_code == 200
    assert not is_found(mem0, user, id)


def test_a_memory_that_was_given_more_time_meanwhile_is_not_erased(
    service: Service, mem0: httpx.Client, home: Cell, user: str
) -> None:
    """The sweep goes by the projection, which may be behind: it erases only the version it has seen."""
    id = kept(mem0, user, expiration_date=day(1))
    assert is_found(mem0, user, id)
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        conn.execute(
            "UPDATE memories_v1 SET version = version - 1, traits = traits || %s::jsonb WHERE memory_id = %s",
            (f'{{"expires_on": "{day(-1)}"}}', id),
        )
    sweep(service, home)
    assert mem0.get(f"/v1/memories/{id}/").status_code == 200


def test_what_is_extracted_expires_too_and_extraction_does_not_prolong_it(
    mem0: httpx.Client, user: str
) -> None:
    def extracted(text: str, **more: Any) -> str:
        said = {"messages": [{"role": "user", "content": text}], "user_id": user, **more}
        event_id = mem0.post("/v3/memories/add/", json=said).json()["event_id"]
        eventually(lambda: mem0.get(f"/v1/event/{event_id}/").json()["status"] == "SUCCEEDED")
        id: str = mem0.get(f"/v1/event/{event_id}/").json()["results"][0]["id"]
        return id

    def memory() -> dict[str, Any]:
        told: dict[str, Any] = mem0.get(f"/v1/memories/{id}/").json()
        return told

    id = extracted("I work at startup", expiration_date=day(30))
    eventually(lambda: memory()["expiration_date"] == day(30))
    assert extracted("I now work at Google") == id
    assert (memory()["memory"], memory()["expiration_date"]) == ("User works at Google", day(30))


# --- refusals ---------------------------------------------------------------------------------------

BAD: list[tuple[str, str, Any, int]] = [
    ("POST", "/v3/memories/add/", {}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID}, 400),
    ("POST", "/v3/memories/add/", {"messages": [], "user_id": "a"}, 422),
    ("POST", "/v3/memories/add/", {"messages": "I love hiking", "user_id": "a"}, 422),
    ("POST", "/v3/memories/add/", {"messages": [{"role": "user", "content": " "}], "user_id": "a"}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID, "user_id": ""}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID, "user_id": "a\x00"}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID, "filters": {"user_id": 7}}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID, "user_id": "a", "timestamp": 1e300}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID, "user_id": "a", "timestamp": "soon"}, 422),
    ("POST", "/v3/memories/add/", {"messages": SAID, "user_id": "a", "expiration_date": "soon"}, 422),
    (
        "POST",
        "/v3/memories/add/",
        {"messages": SAID, "user_id": "a", "custom_instructions": "x" * 99_999},
        422,
    ),
    ("POST", "/v3/memories/add/", {"messages": SAID, "user_id": "a", "metadata": {"a": "x" * 99_999}}, 422),
    ("POST", "/v3/memories/search/", {"query": "hiking"}, 400),
    ("POST", "/v3/memories/search/", {"query": " ", "filters": {"user_id": "a"}}, 422),
    ("POST", "/v3/memories/search/", {"query": "a", "filters": {"user_id": "a"}, "top_k": 0}, 422),
    ("POST", "/v3/memories/search/", {"query": "a", "filters": {"user_id": "a"}, "threshold": 2}, 422),
    ("POST", "/v3/memories/search/", {"query": "a", "filters": {"user_id": {"=": "a"}}}, 400),
    ("POST", "/v3/memories/search/", {"query": "a", "filters": {"user_id": "a", "n\x00": 1}}, 422),
    ("POST", "/v3/memories/search/", {"query": "a", "filters": ["user_id"]}, 422),
    ("POST", "/v3/memories/?page=0", {}, 400),
    ("POST", "/v3/memories/?page_size=100000", {}, 400),
    ("POST", "/v3/memories/", {"start_date": "soon"}, 400),
    ("GET", f"/v1/memories/{NOBODY}/", None, 404),
    ("GET", "/v1/memories/nonsense/", None, 404),
    ("GET", f"/v1/memories/{NOBODY}/history/", None, 404),
    ("PUT", f"/v1/memories/{NOBODY}/", {"text": "a"}, 404),
    ("PUT", f"/v1/memories/{NOBODY}/", {}, 422),
    ("DELETE", f"/v1/memories/{NOBODY}/", None, 404),
    ("DELETE", "/v1/memories/", None, 400),
    ("PUT", "/v1/batch/", {"memories": [{"memory_id": NOBODY}]}, 422),
    ("DELETE", "/v1/batch/", None, 400),
    ("DELETE", "/v1/batch/", {"memories": None}, 422),
    ("PUT", "/v1/batch/", {"memories": [{"memory_id": "nonsense", "text": "a"}]}, 404),
    ("POST", "/v1/feedback/", {"memory_id": NOBODY, "feedback": "GREAT"}, 422),
    ("DELETE", "/v2/entities/planet/earth/", None, 400),
    ("GET", "/v2/entities/user/ann/", None, 404),
    ("GET", "/v1/summary/", None, 501),
    ("GET", "/v9/unknown/", None, 404),
    ("POST", "/v1/ping/", {}, 405),
]


@pytest.mark.parametrize("method, path, body, status", BAD)
def test_refusals_are_told_in_detail(
    mem0: httpx.Client, method: str, path: str, body: Any, status: int
) -> None:
    answer = mem0.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"detail", "type"}
    assert isinstance(answer.json()["detail"], str) and answer.json()["detail"]
    assert "data" not in answer.json()["detail"].replace("metadata", "")  # our own name for the body


def test_what_is_no_json_is_400(mem0: httpx.Client) -> None:
    for content in (b"{", b"\xff", b"[" * 100_000, b""):
        headers = {"Content-Type": "application/json"}
        answer = mem0.post("/v3/memories/add/", content=content, headers=headers)
        assert answer.status_code == 400, content[:10]
        assert "detail" in answer.json()


def test_keys_are_refused_in_shape(service: Service, mem0: httpx.Client) -> None:
    for headers in ({}, {"Authorization": "Token nonsense"}, {"Authorization": "Basic abc"}):
        answer = httpx.get(f"{service.url}/mem0/v1/ping/", headers=headers)
        assert (answer.status_code, answer.json().keys()) == (401, {"detail", "type"})
    service.worker.cells.create_key("key-of-khoj", "x", "default", ALL_SCOPES, Terms(dialect="khoj"))
    wrong = httpx.get(f"{service.url}/mem0/v1/ping/", headers={"Authorization": "Token key-of-khoj"})
    assert (wrong.status_code, wrong.json().keys()) == (403, {"detail", "type"})
    key = str(mem0.headers["Authorization"]).partition(" ")[2]
    assert httpx.get(f"{service.url}/v1/memories", headers={"X-API-Key": key}).status_code == 403


def test_limits_say_when_to_come_back(service: Service) -> None:
    for terms, status in ((Terms(per_minute=1), 429), (Terms(per_month=1), 413)):
        key = f"key-with-{status}"
        service.worker.cells.create_key(key, "mem0", "default", ALL_SCOPES, terms)
        with client_of(service, key) as limited:
            assert limited.get("/v1/ping/").status_code == 200
            answer = limited.get("/v1/ping/")
        assert answer.status_code == status
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json().keys() == {"detail", "type"}


def test_a_stranger_gets_404_and_changes_nothing(
    mem0: httpx.Client, foreign: httpx.Client, user: str
) -> None:
    id = kept(mem0, user)
    before = mem0.get(f"/v1/memories/{id}/").json()
    for method, path, body in (
        ("GET", f"/v1/memories/{id}/", None),
        ("GET", f"/v1/memories/{id}/history/", None),
        ("PUT", f"/v1/memories/{id}/", {"text": "no"}),
        ("PUT", f"/v1/memories/{id}/", {"timestamp": 1_700_000_000}),
        ("PUT", f"/v1/memories/{id}/", {"expiration_date": "2024-01-01"}),
        ("DELETE", f"/v1/memories/{id}/", None),
        ("PUT", "/v1/batch/", {"memories": [{"memory_id": id, "text": "no"}]}),
        ("DELETE", "/v1/batch/", {"memories": [{"memory_id": id}]}),
        ("POST", "/v1/feedback/", {"memory_id": id, "feedback": "NEGATIVE"}),
    ):
        assert foreign.request(method, path, json=body).status_code == 404, (method, path)
    for filters in ({"memory_ids": [id]}, {"OR": [{"user_id": user}, {"NOT": {"user_id": user}}]}):
        assert id not in [
            m["id"] for m in foreign.post("/v3/memories/", json={"filters": filters}).json()["results"]
        ]
    project = mem0.get("/v1/ping/").json()
    path = f"/api/v1/orgs/organizations/{project['org_id']}/projects/{project['project_id']}/"
    assert mem0.get(path).status_code == 200
    assert foreign.get(path).status_code == 404
    assert foreign.patch(path, json={"custom_instructions": "no"}).status_code == 404
    assert mem0.get(f"/v1/memories/{id}/").json() == before


def test_a_repeated_request_is_done_once(mem0: httpx.Client, user: str) -> None:
    headers = {"Idempotency-Key": f"once-{user}"}
    body = {"messages": SAID, "user_id": user, "infer": False}
    first, second = (mem0.post("/v3/memories/add/", json=body, headers=headers).json() for _ in range(2))
    assert first == second
    assert mem0.get(f"/v1/event/{first['event_id']}/").json()["results"] == first["results"]
    assert len(listed(mem0, user)) == 1
    other = mem0.post("/v3/memories/add/", json={**body, "user_id": "b"}, headers=headers)
    assert (other.status_code, other.json().keys()) == (422, {"detail", "type"})


def test_a_lost_race_is_a_conflict_to_a_client_that_knows_no_412() -> None:
    kind = "urn:everlog:problem:version-conflict"
    problem = Problem(type=kind, title="Precondition Failed", status=412, detail="version 2 is not 1")
    assert shape(problem, {}) == (409, Fault(detail="version 2 is not 1", type=kind))


def test_all_who_change_a_memorys_day_at_once_get_through(mem0: httpx.Client, user: str) -> None:
    id = kept(mem0, user)
    days = [1_700_000_000 + 86_400 * n for n in range(12)]

    def redate(at: int) -> int:
        return mem0.put(f"/v1/memories/{id}/", json={"timestamp": at}).status_code

    with ThreadPoolExecutor(len(days)) as pool:
        assert set(pool.map(redate, days)) == {200}


def test_unknown_fields_are_ignored(mem0: httpx.Client, user: str) -> None:
    id = kept(mem0, user, output_format="v1.1", org_id="x", project_id="y", version="v2", nonsense={"a": 1})
    assert mem0.get(f"/v1/memories/{id}/").json()["app_id"] is None
    assert date.fromisoformat(mem0.get(f"/v1/memories/{id}/").json()["created_at"][:10])
