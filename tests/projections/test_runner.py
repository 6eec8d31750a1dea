"""Projections: given events, then rows; each event exactly once, in order, whatever happens to the runner."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from domain.eventstore.cells import Cell
from domain.ids import new_id
from domain.memory import AddMemory, DeleteMemory, MemoryCommand, UpdateMemory
from domain.scope import Scope
from projections import ALL, SEARCHED
from projections.catalogue import Build
from projections.projection import Projection
from projections.runner import Runner, advance, ensure_live, lag
from tests.support.projections import MODEL, applied, build_of, given
from tests.support.service import eventually

HERE = Scope(owner="default", user_id="ann", agent_id="bot")


def rows(conn: psycopg.Connection[Any], name: str, columns: str, id: UUID) -> list[Any]:
    version = build_of(conn, name).version
    return conn.execute(
        f"SELECT {columns} FROM {name}_v{version} WHERE memory_id = %s ORDER BY version", (id,)
    ).fetchall()


@pytest.fixture
def conn(cell: Cell) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        for projection in ALL.values():
            ensure_live(conn, projection, MODEL if projection.name in SEARCHED else None)
            applied(conn, cell, projection)
        yield conn


@pytest.mark.parametrize("one_by_one", [True, False], ids=["in batches of one", "in one batch"])
def test_memories_and_search_hold_what_is_there_and_history_what_ever_was(
    cell: Cell, conn: psycopg.Connection[Any], one_by_one: bool
) -> None:
    kept, gone = new_id(), new_id()
    commands: list[tuple[UUID, MemoryCommand]] = [
        (kept, AddMemory(text="one", scope=HERE, metadata={"a": 1}, tags=("t",))),
        (gone, AddMemory(text="gone", scope=HERE)),
        (kept, UpdateMemory(text="two", metadata={"b": 2})),
        (gone, DeleteMemory()),
        (kept, UpdateMemory(metadata={"a": None})),
    ]
    for command in commands:
        given(cell, command)
        if one_by_one:
            for projection in ALL.values():
                applied(conn, cell, projection)
    for projection in ALL.values():
        applied(conn, cell, projection)
        applied(conn, cell, projection)  # nothing is left to apply, so nothing changes
    for name in ("memories", "search"):
        assert rows(conn, name, "text, metadata, tags, user_id, agent_id, version", kept) == [
            ("two", {"b": 2}, ["t"], "ann", "bot", 3)
        ]
        assert rows(conn, name, "text", gone) == []
    assert rows(conn, "history", "event, text, metadata, valid_to IS NULL", kept) == [
        ("ADD", "one", {"a": 1}, False),
        ("UPDATE", "two", {"a": 1, "b": 2}, False),
        ("UPDATE", "two", {"b": 2}, True),
    ]
    (added, deleted) = rows(conn, "history", "event, valid_from, valid_to, actor, cause", gone)
    assert (added[0], deleted[0]) == ("ADD", "DELETE")
    assert added[2] == deleted[1]
    assert added[3:] == ("key", "command")


def test_a_failed_batch_leaves_neither_rows_nor_a_new_position(
    cell: Cell, conn: psycopg.Connection[Any]
) -> None:
    id = new_id()
    given(cell, (id, AddMemory(text="x", scope=HERE)))
    before = build_of(conn, "memories").position
    with pytest.raises(RuntimeError, match="killed"), conn.transaction():
        assert advance(conn, cell, ALL["memories"], build_of(conn, "memories"))
        raise RuntimeError("killed before the commit")
    assert build_of(conn, "memories").position == before
    assert rows(conn, "memories", "text", id) == []
    applied(conn, cell, ALL["memories"])
    assert rows(conn, "memories", "text", id) == [("x",)]


def test_three_runners_of_one_projection_apply_each_event_once(
    cell: Cell, conn: psycopg.Connection[Any]
) -> None:
    runners = [Runner(cell, ALL["history"]) for _ in range(3)]
    for runner in runners:
        runner.start()
    ids = [new_id() for _ in range(300)]
    for id in ids:
        given(cell, (id, AddMemory(text="x", scope=HERE)))
    eventually(lambda: lag(conn, build_of(conn, "history")) == 0)
    version = build_of(conn, "history").version
    counted = conn.execute(
        f"SELECT count(*), count(DISTINCT memory_id) FROM history_v{version} WHERE memory_id = ANY(%s)",
        (ids,),
    ).fetchone()
    assert counted == (300, 300)
    for runner in runners:
        runner.stop()


def test_a_runner_goes_on_after_its_connection_is_killed(cell: Cell, conn: psycopg.Connection[Any]) -> None:
    runner = Runner(cell, ALL["memories"])
    runner.start()
    for n in range(3):
        id = new_id()
        given(cell, (id, AddMemory(text=f"fact {n}", scope=HERE)))
        eventually(lambda id=id: rows(conn, "memories", "text", id))
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        )
    runner.stop()


def test_a_poison_event_is_parked_with_its_memory_and_the_rest_goes_on(
    cell: Cell, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, healthy = new_id(), new_id()
    given(
        cell,
        (poisoned, AddMemory(text="poison", scope=HERE)),
        (healthy, AddMemory(text="healthy", scope=HERE)),
        (poisoned, UpdateMemory(text="later")),
        (healthy, UpdateMemory(text="still healthy")),
    )
    memories = ALL["memories"]
    load = Projection.load

    def refusing(self: Projection[Any], conn: Any, build: Build, streams: Any) -> None:
        streams = list(streams)
        if any(change.after.id == poisoned for changes in streams for change in changes):
            raise ValueError("cannot apply this")
        load(self, conn, build, streams)

    with monkeypatch.context() as patched:
        patched.setattr(Projection, "load", refusing)
        applied(conn, cell, memories)
    build = build_of(conn, "memories")
    assert lag(conn, build) == 0
    assert rows(conn, "memories", "text", healthy) == [("still healthy",)]
    assert rows(conn, "memories", "text", poisoned) == []
    parked = conn.execute(
        "SELECT stream_id, error FROM parked WHERE projection = 'memories' ORDER BY position"
    ).fetchall()
    assert [stream for stream, _ in parked] == [poisoned, poisoned]
    assert "cannot apply this" in parked[0][1]
    assert "earlier event" in parked[1][1]
