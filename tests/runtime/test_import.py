"""Importing: from the API of each service, from files, twice, after an interruption, and taken back."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from application import imports
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory, Entity, Relation, Traits
from domain.recorded import Context
from domain.scope import Scope
from runtime.cli import main
from runtime.commands.sources import NAMES, site
from tests.support.service import Service, client_of, eventually

SECRET = "key-of-there"
Answer = tuple[int, Any, dict[str, str]]
"""Status, body (bytes as they are, else as JSON; None: what is usual) and headers."""
USUAL: Answer = (200, None, {})


class Asked(msgspec.Struct):
    path: str
    query: dict[str, str]
    body: Any
    authorization: str | None
    at: float


class There:
    """A service elsewhere: `answers` are used up one by one, then `usual` answers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Answer] = []
        self.usual: Callable[[Asked], Any] = khoj
        there = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else None
                key = self.headers.get("Authorization")
                asked = Asked(parts.path, dict(parse_qsl(parts.query)), body, key, time.monotonic())
                there.asked.append(asked)
                status, said, headers = there.answers.pop(0) if there.answers else USUAL
                if said is None:
                    said = there.usual(asked)
                told = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def there() -> Iterator[There]:
    server = There()
    yield server
    server.close()


@pytest.fixture
def owner(service: Service, user: str) -> str:
    """An owner of this test's own."""
    service.worker.cells.create_key(f"key-of-{user}", "test", user, ("read", "write"))
    return user


@pytest.fixture
def listed(service: Service, owner: str) -> Callable[[], list[dict[str, Any]]]:
    """Reads all memories of the owner, once the projections have them."""

    def read() -> list[dict[str, Any]]:
        with client_of(service.url, f"key-of-{owner}") as client:
            head = str(client.get("/v1/status").json()["head"])
            answer = client.get("/v1/memories?limit=1000", headers={"Everlog-Min-Position": head})
            results: list[dict[str, Any]] = answer.json()["results"]
            return results

    return read


@pytest.fixture
def run(
    service: Service, owner: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Runs `everlog … --owner O --json` and gives what it printed, with its exit code as `code`."""
    assert service.settings.database_url
    assert service.settings.redis_url
    monkeypatch.setenv("EVERLOG_DATABASE_URL", service.settings.database_url)
    monkeypatch.setenv("EVERLOG_REDIS_URL", service.settings.redis_url)
    monkeypatch.setenv("EVERLOG_DATA_DIR", service.settings.data_dir)
    monkeypatch.setenv("EVERLOG_IMPORT_KEY", SECRET)
    monkeypatch.setattr(site, "PAUSE_SECONDS", 0.01)

    def call(*command: str) -> dict[str, Any]:
        capsys.readouterr()
        code: Any = 0
        try:
            main([*command, "--owner", owner, "--json"])
        except SystemExit as end:
            code = end.code
        printed, error = capsys.readouterr()
        told: dict[str, Any] = json.loads(printed) if printed.strip() else {}
        return told | {"code": code, "error": error}

    return call


Run = Callable[..., dict[str, Any]]
Listed = Callable[[], list[dict[str, Any]]]


def by_text(memories: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {memory["memory"]: memory for memory in memories}


# --- the five sources -------------------------------------------------------------------------------


def mem0(asked: Asked) -> Any:
    page = int(asked.query["page"])
    rows = [
        {
            "id": f"a{page}{n}",
            "memory": f"Likes tea no. {page}{n}",
            "user_id": "ann",
            "app_id": "kitchen",
            "run_id": None,
            "metadata": {"cups": n},
            "categories": ["food", "habits"],
            "created_at": "2024-07-20T01:30:36.275141-07:00",
        }
        for n in range(2)
    ]
    garbage = ["nothing", {"id": "empty", "memory": "  "}] if page == 1 else [None]
    more = f"https://elsewhere.example/v3/memories/?page={page + 1}" if page == 1 else None
    return {"count": 7, "next": more, "previous": None, "results": [*rows, *garbage]}


def memoid(asked: Asked) -> Any:
    offset = int(asked.query["offset"])
    every: list[dict[str, Any]] = [
        {
            "id": f"mem_{n}",
            "memory": f"Likes tea no. {n}",
            "user_id": "ann",
            "metadata": None,
            "created_at": "2024-01-15T10:30:00Z",
        }
        for n in range(4)
    ]
    every[1] = {"id": "mem_1", "memory": 7, "user_id": "ann"}
    return {"results": every[offset : offset + 2], "total": 4}


def memorystack(asked: Asked) -> Any:
    assert asked.query["user_id"] == "all"
    second = asked.query.get("cursor") == "two"
    row = {
        "id": f"69e0deb6-88d8-49a7-9da7-26a9c8f08d4{int(second)}",
        "owner_clerk_id": "user_abc123",
        "end_user_id": "ann",
        "content": f"The user loves TypeScript {int(second)}.",
        "memory_type": "preference",
        "confidence": 0.9,
        "metadata": {"source": "chat"},
        "source_type": "text",
        "created_at": "2024-11-15T10:30:00Z",
    }
    more = {} if second else {"next_cursor": "two"}
    return {"success": True, "count": 2, "results": [row, {"id": "x", "content": "a\x00b"}], **more}


def khoj(_: Asked) -> Any:
    return [
        {"id": 123, "raw": "User prefers concise responses", "created_at": "2024-03-15T10:30:00Z"},
        {"id": 124, "raw": "x" * 100_001, "created_at": "2024-03-16T14:22:00Z"},
        {"id": 125, "raw": None},
    ]


def test_mem0_is_read_page_by_page_and_a_refusal_for_its_rate_is_waited_out(
    there: There, run: Run, listed: Listed
) -> None:
    there.usual = mem0
    there.answers = [USUAL, (429, {"detail": "slow down"}, {"Retry-After": "1"})]
    told = run("import", "--from", "mem0", "--url", there.url)
    assert (told["imported"], told["existed"], told["unusable"], told["code"]) == (4, 0, 3, 0)
    assert told["complete"]
    assert told["reasons"] == [
        "row 3: it is not a JSON object",
        "row 4: the text is empty",
        "row 7: it is not a JSON object",
    ]
    assert [(asked.path, asked.query["page"]) for asked in there.asked] == [
        ("/v3/memories/", "1"), ("/v3/memories/", "2"), ("/v3/memories/", "2"),
    ]  # fmt: skip
    assert there.asked[2].at - there.asked[1].at >= 1
    assert all(asked.authorization == f"Token {SECRET}" for asked in there.asked)
    assert {"user_id": "*"} in there.asked[0].body["filters"]["OR"]
    memory = by_text(listed())["Likes tea no. 11"]
    assert (memory["user_id"], memory["project_id"], memory["run_id"]) == ("ann", "kitchen", None)
    assert memory["categories"] == ["food", "habits"]
    assert memory["metadata"] == {
        "cups": 1,
        "imported_from": "mem0",
        "imported_id": "a11",
        "imported_created_at": "2024-07-20T01:30:36.275141-07:00",
    }


def test_memoid_is_read_by_offset(there: There, run: Run, listed: Listed) -> None:
    there.usual = memoid
    moment = formatdate(time.time() - 5, usegmt=True)
    there.answers = [(503, b"", {}), USUAL, (429, b"", {"Retry-After": moment})]
    told = run("import", "--from", "memoid", "--url", there.url + "/v1/")
    assert (told["imported"], told["unusable"], told["complete"]) == (3, 1, True)
    assert [asked.query["offset"] for asked in there.asked] == ["0", "0", "2", "2"]
    assert {asked.authorization for asked in there.asked} == {f"Bearer {SECRET}"}
    assert by_text(listed()).keys() == {f"Likes tea no. {n}" for n in (0, 2, 3)}


def test_memorystack_is_read_by_cursor(there: There, run: Run, listed: Listed) -> None:
    there.usual = memorystack
    there.answers = [USUAL, (429, {"error": "Monthly API limit exceeded"}, {"Retry-After": "0"})]
    told = run("import", "--from", "memorystack", "--url", there.url)
    assert (told["imported"], told["unusable"]) == (2, 2)
    assert "U+0000" in told["reasons"][0]
    memory = by_text(listed())["The user loves TypeScript 1."]
    assert (memory["user_id"], memory["type"], memory["confidence"]) == ("ann", "preference", 0.9)
    assert memory["metadata"]["source"] == "chat"


def test_khoj_is_read_at_once_for_the_user_that_is_named(there: There, run: Run, listed: Listed) -> None:
    there.usual = khoj
    there.answers = [(429, {"detail": "no"}, {"Retry-After": "0"})]
    asked = ("import", "--from", "khoj", "--url", there.url, "--user-id")
    told = run(*asked, "ann")
    assert (told["imported"], told["unusable"]) == (1, 2)
    assert "longer than 100000" in told["reasons"][0]
    assert "no text" in told["reasons"][1]
    # Another account's numbers mean other memories, so they are imported for another user.
    assert run(*asked, "bob")["imported"] == 1
    assert run(*asked, "bob")["imported"] == 0
    assert {(memory["user_id"], memory["metadata"]["imported_id"]) for memory in listed()} == {
        ("ann", "123"),
        ("bob", "123"),
    }


@pytest.mark.parametrize("source", ["mem0", "memoid", "memorystack", "khoj"])
def test_everlog_itself_is_read_in_each_of_its_dialects(
    service: Service, run: Run, listed: Listed, user: str, source: str
) -> None:
    secret = f"key-of-many-{user}"
    service.worker.cells.create_key(secret, "test", f"many-{user}", ("read", "write"))
    bodies = [
        {"messages": [{"role": "user", "content": f"{who} says {n}"} for n in range(75)], "user_id": who}
        for who in ("ann", "bob")
    ]
    with client_of(service.url, secret) as client:
        for body in bodies:
            added = client.post("/v1/memories", json=body | {"infer": False, "metadata": {"a": 1}})
            added.raise_for_status()
        head = added.headers["Everlog-Position"]
        client.get("/v1/memories", headers={"Everlog-Min-Position": head}).raise_for_status()
    url = service.url + ("/mem0" if source == "mem0" else "")
    told = run("import", "--from", source, "--url", url, "--key", secret)
    assert (told["imported"], told["existed"], told["unusable"]) == (150, 0, 0)
    memory = by_text(listed())["ann says 7"]
    if source != "khoj":  # which tells no more than the words
        assert (memory["user_id"], memory["metadata"]["a"]) == ("ann", 1)


def test_an_owner_s_own_memories_are_known(service: Service, run: Run, owner: str) -> None:
    said = [{"role": "user", "content": f"Thing {n}"} for n in range(150)]
    with client_of(service.url, f"key-of-{owner}") as client:
        client.post("/v1/memories", json={"messages": said, "infer": False}).raise_for_status()
    told = run("import", "--from", "memoid", "--url", service.url, "--key", f"key-of-{owner}")
    assert (told["imported"], told["existed"]) == (0, 150)


# --- when it came to be -----------------------------------------------------------------------------

LIVED = ["2024-05-01T10:00:00Z", "2023-01-01T00:00:00+02:00", "2025-02-03 04:05:06", 1_600_000_000, None]
"""When the rows of `lived` came to be: the one without a time counts as the oldest."""
IN_ORDER = ["Old 2", "Old 0", "Old 1", "Old 3", "Old 4"]


def lived(tmp_path: Path, *more: dict[str, Any]) -> str:
    rows = [
        {"id": str(n), "memory": f"Old {n}", "user_id": "ann", "created_at": at} for n, at in enumerate(LIVED)
    ]
    path = tmp_path / "lived.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, *more])))
    return str(path)


def test_every_dialect_lists_new_notes_before_imported_ones_and_these_by_their_time(
    run: Run, listed: Listed, service: Service, owner: str, tmp_path: Path
) -> None:
    assert run("import", "--from", "jsonl", "--file", lived(tmp_path))["imported"] == 5
    said = [{"role": "user", "content": f"New {n}"} for n in range(3)]
    newest_first = ["New 2", "New 1", "New 0", *IN_ORDER]
    with client_of(service.url, f"key-of-{owner}") as client:
        added = client.post("/v1/memories", json={"messages": said, "user_id": "ann", "infer": False})
        client.headers["Everlog-Min-Position"] = added.headers["Everlog-Position"]
        assert [memory["memory"] for memory in listed()] == newest_first
        memokit = client.get("/memokit/v1/memories", params={"userId": "ann"}).json()
        assert [memory["content"] for memory in memokit["items"]] == newest_first
        for order, wanted in (("desc", newest_first), ("asc", newest_first[::-1])):
            stack = client.get("/api/v1/memories", params={"user_id": "ann", "order": order}).json()
            assert [memory["content"] for memory in stack["results"]] == wanted
        mem0 = client.post("/mem0/v3/memories/", json={"filters": {"user_id": "ann"}}).json()
        assert [memory["memory"] for memory in mem0["results"]] == newest_first
        # Khoj's are numbered as they came here, oldest first.
        khoj = [memory["raw"] for memory in client.get("/api/memories").json()]
        assert khoj[-3:] == newest_first[2::-1]


def test_an_imported_memory_was_created_when_its_source_says_and_its_history_tells_of_now(
    run: Run, listed: Listed, service: Service, owner: str, tmp_path: Path
) -> None:
    run("import", "--from", "jsonl", "--file", lived(tmp_path))
    memories = by_text(listed())
    assert memories["Old 0"]["created_at"] == "2024-05-01T10:00:00Z"
    assert memories["Old 1"]["created_at"] == "2022-12-31T22:00:00Z"
    assert memories["Old 2"]["created_at"] == "2025-02-03T04:05:06Z"
    assert memories["Old 3"]["created_at"] == "2020-09-13T12:26:40Z"
    assert memories["Old 4"]["created_at"] == memories["Old 4"]["updated_at"]
    assert memories["Old 1"]["metadata"]["imported_created_at"] == "2023-01-01T00:00:00+02:00"
    with client_of(service.url, f"key-of-{owner}") as client:
        (version,) = client.get(f"/v1/memories/{memories['Old 0']['id']}/history").json()["history"]
        assert version["changed_at"] == memories["Old 0"]["updated_at"] > "2025"
        asked = {"AND": [{"user_id": "ann"}, {"created_at": {"lt": "2024-01-01"}}]}
        before = client.post("/mem0/v3/memories/", json={"filters": asked}).json()["results"]
        assert [memory["memory"] for memory in before] == ["Old 1", "Old 3"]


@pytest.mark.parametrize(
    "at", ["soon", "", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "2999-01-01", 1e300, -5, 10**300]
)
def test_a_time_that_cannot_be_makes_the_oldest_memory_and_hides_no_newer_one(
    run: Run, listed: Listed, tmp_path: Path, at: Any
) -> None:
    path = lived(tmp_path, {"id": "odd", "memory": "Odd", "user_id": "ann", "created_at": at})
    assert run("import", "--from", "jsonl", "--file", path)["imported"] == 6
    assert run("import", "--from", "jsonl", "--file", path)["existed"] == 6
    memories = listed()
    assert {memory["memory"] for memory in memories[-2:]} == {"Odd", "Old 4"}
    assert by_text(memories)["Odd"]["created_at"] == by_text(memories)["Odd"]["updated_at"]


def test_a_memory_whose_time_was_still_to_come_is_known_when_it_has_come(
    run: Run, listed: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lived(tmp_path)
    with monkeypatch.context() as earlier:
        earlier.setattr(imports, "now", lambda: datetime(2024, 1, 1, tzinfo=UTC))
        run("import", "--from", "jsonl", "--file", path)
    assert run("import", "--from", "jsonl", "--file", path)["existed"] == 5
    assert len(listed()) == 5


def test_a_time_that_is_told_more_exactly_is_the_same_time(run: Run, listed: Listed, tmp_path: Path) -> None:
    """A service's export tells seconds, its API microseconds."""
    row = {"id": "1", "memory": "Likes tea", "user_id": "ann"}
    for at in ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00.987654Z", "2024-05-01T12:00:00+02:00"):
        path = tmp_path / "one.jsonl"
        path.write_text(json.dumps(row | {"created_at": at}))
        run("import", "--from", "jsonl", "--file", str(path))
    assert len(listed()) == 1


# --- what a source says beside ----------------------------------------------------------------------


def test_what_has_no_place_here_is_kept_under_its_own_name(run: Run, listed: Listed, tmp_path: Path) -> None:
    told = {
        "id": "1",
        "memory": "Likes tea",
        "metadata": {"hash": "mine", "n": None, "imported_source_type": "mine too"},
        "hash": "abc",
        "immutable": False,
        "structured_attributes": {"day": 20, "is_weekend": True},
        "updatedAt": "2024-07-21T00:00:00Z",
        "source_type": "text",
        "from": "nowhere",
        "expiration_date": None,
        "version": 3,
        "position": 9,
    }
    bad = {"id": "2", "memory": "Likes coffee", "updated_at": {"odd": "\x00"}, "vector": "x" * 70_000}
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(told) + "\n" + json.dumps(bad))
    assert run("import", "--from", "mem0", "--file", str(path))["imported"] == 2
    memories = by_text(listed())
    assert memories["Likes tea"]["metadata"] == {
        "hash": "mine",
        "n": None,
        "imported_from": "mem0",
        "imported_id": "1",
        "imported_updated_at": "2024-07-21T00:00:00Z",
        "imported_hash": "abc",
        "imported_immutable": False,
        "imported_structured_attributes": {"day": 20, "is_weekend": True},
        "imported_source_type": "mine too",
    }
    assert memories["Likes coffee"]["metadata"] == {"imported_from": "mem0", "imported_id": "2"}


def test_an_everlog_that_runs_tells_all_that_its_memories_have(
    run: Run, listed: Listed, service: Service, user: str
) -> None:
    there = f"there-{user}"
    service.worker.cells.create_key(f"key-of-{there}", "test", there, ("read", "write"))
    traits = Traits(
        type="fact",
        entities=(Entity("User", "person"), Entity("Google")),
        relations=(Relation("User", "works_at", "Google"),),
        expires_on=date(2999, 1, 1),
    )
    added = AddMemory(text="Works at Google", scope=Scope(owner=there), traits=traits)
    context = Context(owner=there, actor="test", cause="test", correlation="")
    work = Work(context=context, commands=[(new_id(), added)])
    result = service.worker.cells.of(there).writer.submit(work).result()[0]
    with client_of(service.url, f"key-of-{there}") as client:
        client.headers["Everlog-Min-Position"] = str(result.state.position)
        (before,) = client.get("/v1/memories").json()["results"]
    run("import", "--from", "memoid", "--url", service.url, "--key", f"key-of-{there}")
    (after,) = listed()
    assert after["expires_on"] == "2999-01-01"
    assert after["entities"] == [{"name": "User", "type": "person"}, {"name": "Google"}]
    assert after["relations"] == [{"source": "User", "relation": "works_at", "target": "Google"}]
    for name in ("expires_on", "entities", "relations", "type", "created_at"):
        assert after[name] == before[name]


def test_what_few_memories_have_is_told_of_those_alone(run: Run, listed: Listed, tmp_path: Path) -> None:
    run("import", "--from", "jsonl", "--file", lived(tmp_path))
    assert all(memory.keys().isdisjoint({"expires_on", "entities", "relations"}) for memory in listed())


# --- what goes wrong on the way ---------------------------------------------------------------------


def test_an_import_that_broke_off_goes_on_and_doubles_nothing(there: There, run: Run, listed: Listed) -> None:
    there.usual = memoid
    there.answers = [USUAL, (404, {"error": "gone"}, {})]
    broken = run("import", "--from", "memoid", "--url", there.url)
    assert (broken["imported"], broken["complete"], broken["code"]) == (1, False, 2)
    assert "answers 404" in broken["error"]
    again = run("import", "--from", "memoid", "--url", there.url)
    assert (again["imported"], again["existed"], again["complete"]) == (2, 1, True)
    third = run("import", "--from", "memoid", "--url", there.url)
    assert (third["imported"], third["existed"]) == (0, 3)
    assert len(listed()) == 3


def test_an_import_is_taken_back_by_its_cause_and_can_be_made_again(
    there: There, run: Run, listed: Listed
) -> None:
    there.usual = memoid
    cause = run("import", "--from", "memoid", "--url", there.url)["cause"]
    assert cause.startswith("import_")
    dry = run("revert", "--cause", cause)
    assert (dry["dry_run"], dry["events"], len(listed())) == (True, 3, 3)
    run("revert", "--cause", cause, "--apply")
    assert listed() == []
    again = run("import", "--from", "memoid", "--url", there.url)
    assert (again["imported"], again["existed"]) == (3, 0)
    assert by_text(listed())["Likes tea no. 0"]["metadata"]["imported_id"] == "mem_0"
    run("revert", "--cause", again["cause"], "--apply")
    assert listed() == []


def test_what_was_deleted_here_does_not_come_back(
    there: There, run: Run, listed: Listed, service: Service, owner: str
) -> None:
    there.usual = memoid
    run("import", "--from", "memoid", "--url", there.url)
    with client_of(service.url, f"key-of-{owner}") as client:
        client.delete(f"/v1/memories/{listed()[0]['id']}").raise_for_status()
    assert run("import", "--from", "memoid", "--url", there.url)["imported"] == 0
    assert len(listed()) == 2


def test_the_key_follows_no_redirect(there: There, run: Run) -> None:
    other = There()
    there.answers = [(307, b"", {"Location": f"{other.url}/v1/memories"})]
    told = run("import", "--from", "memoid", "--url", there.url)
    assert told["code"] == 2
    assert f"redirects to {other.url}" in told["error"]
    assert SECRET not in told["error"]
    assert other.asked == []
    other.close()


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ((401, {"error": "Invalid API key"}, {}), "refuses the key (401)"),
        ((429, b"", {"Retry-After": "3600"}), "come back in 3600 s"),
        ((200, b"<html>", {}), "not JSON"),
        ((200, {"ok": True}, {}), "without a list"),
    ],
)
def test_what_cannot_be_waited_out_ends_at_once(there: There, run: Run, answer: Answer, wanted: str) -> None:
    there.answers = [answer]
    told = run("import", "--from", "memoid", "--url", there.url)
    assert (told["code"], len(there.asked)) == (2, 1)
    assert wanted in told["error"]


def test_tries_end(there: There, run: Run) -> None:
    there.answers = [(500, b"", {})] * 20
    told = run("import", "--from", "memoid", "--url", there.url)
    assert told["code"] == 2
    assert len(there.asked) == site.TRIES
    assert f"given up after {site.TRIES} tries" in told["error"]


def test_a_server_that_knows_no_pages_is_read_once(there: There, run: Run) -> None:
    row = {"id": "1", "memory": "Likes tea"}
    there.usual = lambda _: {"results": [row], "memories": [row], "next": "yes", "next_cursor": "same"}
    for source in ("mem0", "memoid", "memorystack"):
        told = run("import", "--from", source, "--url", there.url)
        assert (told["imported"], told["complete"]) == (1, True), source


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--from", "jsonl", "--url", "http://127.0.0.1:9"], "reads a --file"),
        (["--from", "memoid", "--url", "file:///etc/passwd"], "an address such as"),
        (["--from", "memoid", "--url", "http://127.0.0.1:9", "--key", "a\nb"], "printable ASCII"),
        (["--from", "jsonl", "--file", "/nowhere/at/all"], "cannot read /nowhere/at/all"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_line(run: Run, arguments: list[str], wanted: str) -> None:
    told = run("import", *arguments)
    assert told["code"] == 2
    assert wanted in told["error"]


def test_an_owner_that_there_is_not_is_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("{}")
    with pytest.raises(SystemExit):
        main(["import", "--from", "jsonl", "--file", str(tmp_path / "a"), "--owner", "nobody-at-all"])
    assert "there is no 'nobody-at-all'" in capsys.readouterr().err


def test_the_command_names_the_sources_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    assert f"--from {{{','.join(NAMES)}}}" in capsys.readouterr().out


# --- files ------------------------------------------------------------------------------------------

ROWS = [
    {"id": 1, "memory": "Likes tea", "user_id": "ann", "tags": ["drink"], "type": "preference"},
    {"id": 2, "content": "Works at Google", "userId": 42, "createdAt": "2024-01-15T10:30:00Z"},
    {"text": "Has no id"},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"results": ROWS, "relations": []}),
        json.dumps({"memories": ROWS}, indent=4),
        "\ufeff" + json.dumps(ROWS, indent=1),
        "\n".join(map(json.dumps, ROWS)),
        "\n\n" + "\r\n".join(map(json.dumps, ROWS)) + "\n",
        "\ufeff" + "\n".join(json.dumps({"memories": [row]}) for row in ROWS),
    ],
    ids=["array", "pretty", "results", "memories", "mark", "lines", "crlf", "pages"],
)
def test_every_common_form_of_a_file_is_read(run: Run, listed: Listed, tmp_path: Path, text: str) -> None:
    path = tmp_path / "export"
    path.write_text(text)
    told = run("import", "--from", "jsonl", "--file", str(path), "--user-id", "bob")
    assert (told["imported"], told["unusable"]) == (3, 0)
    memories = by_text(listed())
    assert {text: memory["user_id"] for text, memory in memories.items()} == {
        "Likes tea": "ann",
        "Works at Google": "42",
        "Has no id": "bob",
    }
    assert (memories["Likes tea"]["tags"], memories["Likes tea"]["type"]) == (["drink"], "preference")
    assert memories["Has no id"]["metadata"] == {"imported_from": "jsonl"}
    assert run("import", "--from", "jsonl", "--file", str(path), "--user-id", "bob")["existed"] == 3


def test_bad_rows_are_counted_and_ten_of_them_told(run: Run, listed: Listed, tmp_path: Path) -> None:
    bad: list[Any] = [
        {"memory": "x", "user_id": "u" * 300},
        {"memory": "x", "metadata": {"a": "\x00"}},
        {"memory": "x", "metadata": "words"},
        {"memory": "x", "metadata": {"a": "b" * 70_000}},
        {"memory": "x", "type": "a\x00"},
        {"memory": {"a": 1}},
        {"memory": "x", "expiration_date": "2020-01-01T00:00:00Z"},
        [1],
    ]
    lines = [
        "{broken",
        *map(json.dumps, bad),
        '{"memory": "\\ud800"}',
        '{"memory": NaN}',
        '{"a":' * 5000,
        json.dumps(
            {
                "id": 1,
                "memory": "Good",
                "confidence": 90,
                "categories": [1],
                "entities": [{}],
                "items": ["no rows"],
                "session_id": "s",
            }
        ),
        json.dumps({"id": 1, "memory": "Good, but again"}),
    ]
    path = tmp_path / "bad.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"memory": "\xff"}')
    told = run("import", "--from", "jsonl", "--file", str(path))
    assert (told["imported"], told["existed"], told["unusable"]) == (1, 1, 13)
    assert len(told["reasons"]) == 10
    (memory,) = listed()
    assert memory["confidence"] is None
    assert memory["categories"] == []
    assert memory["metadata"]["session_id"] == "s"


def test_a_large_file_comes_in_batches_and_is_told_for_people(
    run: Run, owner: str, listed: Listed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"id": n, "memory": f"Fact {n}"}) + "\n" for n in range(450)))
    main(["import", "--from", "jsonl", "--file", str(path), "--owner", owner])
    printed = capsys.readouterr().out
    assert "450 memories imported, 0 were there before, 0 could not be used" in printed
    assert f"--owner {owner} --apply` takes it back" in printed
    eventually(lambda: len(listed()) == 450)


def test_two_imports_at_once_double_nothing(run: Run, service: Service, owner: str, tmp_path: Path) -> None:
    from runtime.commands.import_memories import import_memories, pages_of

    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"id": n, "memory": f"Fact {n}"}) + "\n" for n in range(1000)))

    def again() -> None:
        import_memories(
            service.settings, owner, "jsonl", pages_of("jsonl", str(path), None, None), None, True
        )

    threads = [threading.Thread(target=again) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with service.worker.cells.of(owner).pool.connection() as conn:
        row = conn.execute("SELECT count(*) FROM events WHERE owner = %s AND type LIKE 'memory.%%'", (owner,))
        assert row.fetchone() == (1000,)
