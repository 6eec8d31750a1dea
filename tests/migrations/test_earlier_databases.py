"""A database of each earlier schema, made by the program of that time, is brought up to date and read.

What that program answered, this one answers; dumps and answers are made by make_dumps.py.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from domain.eventstore.cells import Cells, connection_string
from domain.eventstore.chain import broken_link
from domain.eventstore.formats import Incompatible
from domain.eventstore.reading import read_log
from projections import ALL
from runtime.servers.migrate import MIGRATIONS, migrate
from runtime.settings import Settings
from tests.support.projections import live_build, replayed
from tests.support.service import MASTER, Service, eventually, free_port, serving, settled

DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.sql"))
SCHEMA = [
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
    " WHERE table_schema = 'everlog' AND table_name !~ '_v[0-9]+$'",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'everlog' AND tablename !~ '_v[0-9]+$'",
    "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'everlog'::regnamespace",
    "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'everlog'::regnamespace AND conrelid::regclass::text !~ '_v[0-9]+$'",
]
STATES = [dump.stem for dump in DUMPS]


@pytest.fixture(scope="module", params=DUMPS, ids=STATES)
def dump(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def answers(dump: Path) -> dict[str, Any]:
    """Path → what the program of that time answered."""
    read: dict[str, Any] = json.loads(dump.with_suffix(".json").read_text())
    return read


@pytest.fixture(scope="module")
def url(dump: Path, empty_database: Callable[[], str]) -> str:
    """The database as it was then."""
    url = empty_database()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector WITH SCHEMA public")
        conn.execute(dump.read_text().encode())
    return url


@pytest.fixture(scope="module")
def service(url: str, redis_url: str, folder: Path) -> Iterator[Service]:
    """An API and a worker of today on it."""
    with pytest.raises(Incompatible, match="run `everlog migrate` first"):
        Cells(url, MASTER)
    settings = Settings(
        database_url=url,
        redis_url=redis_url,
        master_key=base64.b64encode(bytes(32)).decode(),
        data_dir=str(folder / uuid4().hex),
        port=free_port(),
    )
    migrate(settings, contract=True)
    with serving(settings) as running:
        eventually(lambda: settled(running.client))
        yield running


def test_there_is_a_dump_of_every_schema_from_before_log_formats() -> None:
    assert STATES[:6] == [file.stem[:4] for file in sorted(MIGRATIONS.glob("*.sql"))[:6]]


def test_what_was_answered_is_answered(service: Service, answers: dict[str, Any]) -> None:
    assert_answers(service.client, answers)


def test_every_event_is_read_and_the_chain_holds(service: Service, answers: dict[str, Any]) -> None:
    cell = service.worker.cells.of("default")
    with cell.pool.connection() as conn:
        entries = read_log(conn, 0, 1_000)
        assert broken_link(conn) is None
    assert {entry.topic for entry in entries} >= {
        e["type"] for e in answers["/v1/events?limit=1000"]["results"]
    }
    for entry in entries:
        cell.log.mapper.to_domain_event(entry)


def test_no_projection_is_behind_or_has_set_anything_aside(service: Service) -> None:
    statuses = service.client.get("/v1/status").json()["projections"]
    live = {p["name"]: p for p in statuses if p["state"] in ("live", "degraded", "failed")}
    assert live.keys() == ALL.keys()
    assert {(p["state"], p["parked"], p["error"]) for p in live.values()} == {("live", 0, None)}


@pytest.mark.parametrize("name", ALL)
def test_a_replay_gives_the_same_rows(service: Service, name: str) -> None:
    with psycopg.connect(service.worker.cells.of("default").conninfo, autocommit=True) as conn:
        before = rows(conn, name)
        replayed(service, name)
        assert rows(conn, name) == before


def test_the_schema_is_that_of_a_new_database(service: Service, new_database: Callable[[], str]) -> None:
    """Migrations were changed after their first use: what those who had used them lack is made up for."""
    assert schema(service.settings.database_url or "") == schema(new_database())


def test_life_goes_on(service: Service, answers: dict[str, Any]) -> None:
    """After a replay all is as it was; a receipt from before counts; and what is new is written and found."""
    assert_answers(service.client, answers)
    first = next(a for path, a in answers.items() if path.startswith("/v1/memories/"))
    said = next(
        e["data"]["text"]
        for e in answers["/v1/events?limit=1000"]["results"]
        if e["memory_id"] == first["id"] and e["event"] == "ADD"
    )
    body: dict[str, Any] = {"messages": [{"role": "user", "content": said}], "user_id": "ann", "infer": False}
    body["metadata"] = {"n": 1, "nested": {"a": [1, None]}}
    again = service.client.post("/v1/memories", json=body, headers={"Idempotency-Key": said})
    assert again.json()["results"][0]["id"] == first["id"], again.text
    new = service.client.post(
        "/v1/memories", json={**body, "messages": [{"role": "user", "content": "Sails"}]}
    )
    assert new.status_code == 201
    listed = service.client.get("/v1/memories", params={"user_id": "ann"}).json()["results"]
    assert "Sails" in {memory["memory"] for memory in listed}


def rows(conn: psycopg.Connection[Any], name: str) -> list[str]:
    """Of the live build; columns that a migration added stand behind the others."""
    table = live_build(conn, name).table
    return [row for (row,) in conn.execute(f"SELECT to_jsonb(r)::text FROM {table} r ORDER BY 1")]


def schema(url: str) -> set[tuple[str, ...]]:
    """All that migrations make."""
    with psycopg.connect(connection_string(url, "everlog")) as conn:
        return {tuple(row) for query in SCHEMA for row in conn.execute(query).fetchall()}


def assert_answers(client: httpx.Client, answers: dict[str, Any]) -> None:
    for path, before in answers.items():
        answer = client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert_within(before, answer.json(), path)


def assert_within(before: Any, now: Any, where: str) -> None:
    """All that was said before is said now; there may be more."""
    if isinstance(before, dict):
        for name, value in before.items():
            assert name in now, f"{where}.{name}"
            assert_within(value, now[name], f"{where}.{name}")
    elif isinstance(before, list):
        assert len(now) >= len(before), where
        for number, (old, new) in enumerate(zip(before, now, strict=False)):
            assert_within(old, new, f"{where}[{number}]")
    else:
        assert before == now, where
