"""Projections: given events, then rows; each event exactly once, in order, whatever happens to the runner."""

from typing import Any
from uuid import UUID

import pytest

from domain.ids import new_id
from domain.memory import AddMemory, DeleteMemory, MemoryCommand, UpdateMemory
from domain.scope import Scope
from projections.catalogue import Build
from projections.history import HISTORY
from projections.memories import MEMORIES
from projections.projection import Projection
from projections.runner import Runner, advance
from projections.search import SEARCH
from tests.support.projections import Given
from tests.support.service import eventually

HERE = Scope(owner="default", user_id="ann", agent_id="bot")


@pytest.mark.parametrize("one_by_one", [True, False], ids=["in batches of one", "in one batch"])
def test_memories_and_search_hold_what_is_there_and_history_what_ever_was(
    given: Given, one_by_one: bool
) -> None:
    kept, gone = new_id(), new_id()
    commands: list[tuple[UUID, MemoryCommand]] = [
        (kept, AddMemory(text="one", scope=HERE, metadata={"a": 1}, tags=("t",))),
        (gone, AddMemory(text="gone", scope=HERE)),
        (kept, UpdateMemory(text="two", metadata={"b": 2})),
        (gone, DeleteMemory()),
        (kept, UpdateMemory(metadata={"a": None})),
    ]
    given(*commands, one_by_one=one_by_one).apply()
    for projection in (MEMORIES, SEARCH):  # nothing is left to apply, so nothing changes
        columns = "text, metadata, tags, user_id, agent_id, version"
        given.then_rows(projection, columns, ("two", {"b": 2}, ["t"], "ann", "bot", 3), memory_id=kept)
        given.then_rows(projection, "text", memory_id=gone)
    given.then_rows(
        HISTORY,
        "event, text, metadata, valid_to IS NULL",
        ("ADD", "one", {"a": 1}, False),
        ("UPDATE", "two", {"a": 1, "b": 2}, False),
        ("UPDATE", "two", {"b": 2}, True),
        memory_id=kept,
    )
    (added, deleted) = given.rows(HISTORY, "event, valid_from, valid_to, actor, cause", memory_id=gone)
    assert (added[0], deleted[0]) == ("ADD", "DELETE")
    assert added[2] == deleted[1]
    assert added[3:] == ("key", "command")


def test_a_failed_batch_leaves_neither_rows_nor_a_new_position(given: Given) -> None:
    id = new_id()
    given((id, AddMemory(text="x", scope=HERE)))
    before = given.build(MEMORIES).position
    with pytest.raises(RuntimeError, match="killed"), given.conn.transaction():
        assert advance(given.conn, given.cell, MEMORIES, given.build(MEMORIES))
        raise RuntimeError("killed before the commit")
    assert given.build(MEMORIES).position == before
    assert given.rows(MEMORIES, "text", memory_id=id) == []
    given.then_rows(MEMORIES, "text", ("x",), memory_id=id)


def test_three_runners_of_one_projection_apply_each_event_once(given: Given) -> None:
    runners = [Runner(given.cell, HISTORY) for _ in range(3)]
    for runner in runners:
        runner.start()
    ids = [new_id() for _ in range(300)]
    for id in ids:
        given((id, AddMemory(text="x", scope=HERE)))
    eventually(lambda: given.lag(HISTORY) == 0)
    table = given.build(HISTORY).table
    counted = given.conn.execute(
        f"SELECT count(*), count(DISTINCT memory_id) FROM {table} WHERE memory_id = ANY(%s)", (ids,)
    ).fetchone()
    assert counted == (300, 300)
    for runner in runners:
        runner.stop()


def test_a_runner_goes_on_after_its_connection_is_killed(given: Given) -> None:
    runner = Runner(given.cell, MEMORIES)
    runner.start()
    for n in range(3):
        id = new_id()
        given((id, AddMemory(text=f"fact {n}", scope=HERE)))
        eventually(lambda id=id: given.rows(MEMORIES, "text", memory_id=id))  # type: ignore[misc]
        given.conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
        )
    runner.stop()


def test_a_poison_event_is_parked_with_its_memory_and_the_rest_goes_on(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, healthy = new_id(), new_id()
    given(
        (poisoned, AddMemory(text="poison", scope=HERE)),
        (healthy, AddMemory(text="healthy", scope=HERE)),
        (poisoned, UpdateMemory(text="later")),
        (healthy, UpdateMemory(text="still healthy")),
    )
    load = Projection.load

    def refusing(self: Projection[Any], conn: Any, build: Build, streams: Any) -> None:
        streams = list(streams)
        if any(change.after.id == poisoned for changes in streams for change in changes):
            raise ValueError("cannot apply this")
        load(self, conn, build, streams)

    with monkeypatch.context() as patched:
        patched.setattr(Projection, "load", refusing)
        given.apply(MEMORIES)
    assert given.lag(MEMORIES) == 0
    assert given.rows(MEMORIES, "text", memory_id=healthy) == [("still healthy",)]
    assert given.rows(MEMORIES, "text", memory_id=poisoned) == []
    parked = given.conn.execute(
        "SELECT stream_id, error FROM parked WHERE projection = 'memories' ORDER BY position"
    ).fetchall()
    assert [stream for stream, _ in parked] == [poisoned, poisoned]
    assert "cannot apply this" in parked[0][1]
    assert "earlier event" in parked[1][1]
