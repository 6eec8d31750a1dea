"""Group commit: racing writers lose nothing, repeated commands are done once, a lost reply is no loss."""

from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from domain.errors import IdempotencyMismatch, NotFound, VersionConflict
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.receipts import Receipt
from domain.eventstore.writer import Result, Work
from domain.ids import new_id
from domain.memory import AddMemory, DeleteMemory, Memory, MemoryCommand, UpdateMemory
from domain.recorded import Context
from domain.scope import Scope
from tests.support.service import MASTER

CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
HERE = Scope(owner="default", user_id="ann")


def submit(
    cell: Cell, *commands: tuple[UUID, MemoryCommand], receipt: Receipt | None = None
) -> "Future[list[Result[Memory]]]":
    return cell.writer.submit(Work(context=CONTEXT, commands=commands, receipt=receipt))


def added(cell: Cell, text: str = "start") -> UUID:
    id = new_id()
    submit(cell, (id, AddMemory(text=text, scope=HERE))).result(30)
    return id


def receipt(key: str, fingerprint: bytes = b"same") -> Receipt:
    return Receipt(owner="default", actor="key", key=key, fingerprint=fingerprint)


@pytest.fixture(scope="module")
def other(cells: Cells, cell: Cell) -> "Cell":
    """The same cell as another process has it, with a writer of its own."""
    return Cell(cell.name, cell.conninfo, MASTER, cell.signals, "command")


def test_two_processes_racing_on_one_memory_lose_no_update(cell: Cell, other: Cell) -> None:
    id = added(cell)
    futures = [
        submit(writer, (id, UpdateMemory(metadata={f"{name}{n}": n})))
        for n in range(200)
        for name, writer in (("a", cell), ("b", other))
    ]
    for future in futures:
        future.result(60)
    memory = cell.log.get(Memory, id)
    assert memory.metadata == {f"{name}{n}": n for name in "ab" for n in range(200)}
    assert memory.version == 401
    assert [event.originator_version for event in cell.log.stream(id)] == list(range(1, 402))


def test_commands_of_one_piece_of_work_are_done_together_or_not_at_all(cell: Cell) -> None:
    id, absent, fresh = added(cell), new_id(), new_id()
    with pytest.raises(NotFound):
        submit(
            cell,
            (fresh, AddMemory(text="x", scope=HERE)),
            (id, UpdateMemory(text="changed")),
            (absent, DeleteMemory()),
        ).result(30)
    assert cell.log.get(Memory, id).text == "start"
    with pytest.raises(NotFound):
        cell.log.get(Memory, fresh)


def test_a_refused_member_of_a_group_spoils_no_other(cell: Cell) -> None:
    id = added(cell)
    futures = [submit(cell, (id, UpdateMemory(metadata={f"k{n}": n}))) for n in range(50)]
    refused = submit(cell, (id, UpdateMemory(text="x", expected_version=1)))
    futures += [submit(cell, (id, UpdateMemory(metadata={f"k{n}": n}))) for n in range(50, 100)]
    for future in futures:
        future.result(30)
    with pytest.raises(VersionConflict):
        refused.result(30)
    assert len(cell.log.get(Memory, id).metadata) == 100


def test_a_repeated_idempotency_key_is_answered_alike_and_done_once(cell: Cell, other: Cell) -> None:
    id = new_id()
    once = receipt("once")

    def add_once(writer: Cell) -> list[Result[Memory]]:
        return submit(writer, (new_id(), AddMemory(text="once", scope=HERE)), receipt=once).result(30)

    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(add_once, writer) for writer in (cell, other) * 8]
    answers = {result.state.id for each in tries for result in each.result()}
    assert len(answers) == 1
    with cell.pool.connection() as conn:
        (stored,) = conn.execute("SELECT count(*) FROM receipts WHERE key = 'once'").fetchone() or (0,)
    assert stored == 1
    assert id not in answers


def test_the_answer_to_a_repeated_command_is_the_state_it_led_to_then(cell: Cell) -> None:
    id = added(cell)
    (first,) = submit(cell, (id, UpdateMemory(text="two")), receipt=receipt("then")).result(30)
    submit(cell, (id, UpdateMemory(text="three"))).result(30)
    (again,) = submit(cell, (id, UpdateMemory(text="two")), receipt=receipt("then")).result(30)
    assert (again.state.text, again.state.version) == ("two", first.state.version)
    assert cell.log.get(Memory, id).text == "three"


def test_an_idempotency_key_cannot_be_used_for_something_else(cell: Cell) -> None:
    id = added(cell)
    submit(cell, (id, UpdateMemory(text="two")), receipt=receipt("else")).result(30)
    with pytest.raises(IdempotencyMismatch):
        submit(cell, (id, UpdateMemory(text="3")), receipt=receipt("else", b"other")).result(30)


def test_a_lost_reply_to_a_commit_is_neither_an_error_nor_a_second_event(cell: Cell) -> None:
    id = added(cell)
    insert = cell.log.recorder.insert_events

    def losing(*args: object, **kwargs: object) -> object:
        cell.log.recorder.insert_events = insert  # type: ignore[method-assign]
        insert(*args, **kwargs)  # type: ignore[arg-type]
        raise psycopg.OperationalError("the connection was lost")

    cell.log.recorder.insert_events = losing  # type: ignore[assignment,method-assign]
    (result,) = submit(cell, (id, UpdateMemory(text="stored"))).result(30)
    assert result.state.version == 2
    assert [event.originator_version for event in cell.log.stream(id)] == [1, 2]
    assert cell.log.stream(id)[-1].position == result.state.position


def test_connections_killed_under_load_lose_and_repeat_nothing(cell: Cell) -> None:
    id = added(cell)
    futures = []
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        for n in range(300):
            futures.append(submit(cell, (id, UpdateMemory(metadata={f"k{n}": n}))))
            if n % 30 == 0:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                futures[-1].result(60)
    for future in futures:
        future.result(60)
    memory = cell.log.get(Memory, id)
    assert memory.metadata == {f"k{n}": n for n in range(300)}
    assert memory.version == 301
