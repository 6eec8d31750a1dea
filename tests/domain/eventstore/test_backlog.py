"""The backlog: the log keeps what waits for extraction, and each subject's is worked off in order."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from domain.aggregate import Command, S, State
from domain.errors import NotFound, NotWaiting
from domain.eventstore import backlog
from domain.eventstore.backlog import Turn
from domain.eventstore.cells import Cell
from domain.eventstore.receipts import Receipt
from domain.eventstore.states import states_of
from domain.eventstore.writer import Result, Work
from domain.ids import new_id
from domain.ingestion import (
    Extract,
    Extracted,
    Extractor,
    Fail,
    Failed,
    Ingestion,
    Message,
    Receive,
    Received,
    Retry,
)
from domain.memory import AddMemory, DeleteMemory, Memory, UpdateMemory
from domain.project import ChangeProject, CreateProject, Guidance, Project
from domain.recorded import Context
from domain.review import Apply, FailReview, Propose, Proposed, Request, Requested, Review
from domain.scope import Scope
from tests.support.service import eventually

CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
RULES = Extractor(name="rules-1")
EXTRACT = Extract(extracted=Extracted(extractor=RULES))
FAIL = Fail(failed=Failed(extractor=RULES, reason="the model refused", attempts=1))
CHANGE = UpdateMemory(text="x")


def done(cell: Cell, *commands: tuple[UUID, Command[S]], receipt: Receipt | None = None) -> list[Result[S]]:
    return cell.writer.submit(Work(context=CONTEXT, commands=commands, receipt=receipt)).result(30)


def received(cell: Cell, user: str, text: str = "I love hiking") -> UUID:
    """A conversation of a user, waiting."""
    id = new_id()
    done(cell, (id, receive(user, text)))
    return id


def receive(user: str, text: str = "I love hiking") -> Receive:
    message = Message(role="user", text=text)
    return Receive(received=Received(scope=Scope(owner="default", user_id=user), messages=(message,)))


def requested(cell: Cell, user: str) -> UUID:
    """A review of a user's conversations, waiting."""
    id = new_id()
    done(cell, (id, Request(requested=Requested(scope=Scope(owner="default", user_id=user)))))
    return id


@pytest.fixture
def conn(cell: Cell) -> Iterator[psycopg.Connection[Any]]:
    """A worker's connection; nothing that other tests have left is waiting."""
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        conn.execute("DELETE FROM backlog")
        yield conn


@pytest.fixture
def other(cell: Cell) -> Iterator[psycopg.Connection[Any]]:
    """The connection of another worker."""
    with psycopg.connect(cell.conninfo, autocommit=True) as other:
        yield other


def waiting(conn: psycopg.Connection[Any]) -> list[UUID]:
    """What waits, in order."""
    return [id for (id,) in conn.execute("SELECT stream_id FROM backlog ORDER BY position")]


def subject(conn: psycopg.Connection[Any], cell: Cell, user: str) -> UUID:
    found = cell.subjects.find(conn, "default", user)
    assert found
    return found


def handed_out(conn: psycopg.Connection[Any]) -> set[UUID]:
    """The subjects whose turn it is now."""
    return {turn.subject_id for turn in backlog.hand_out(conn)}


def blocked(cell: Cell, conn: psycopg.Connection[Any]) -> bool:
    """Whether a connection waits for another to end its transaction."""
    with cell.pool.connection() as asking:
        row = asking.execute("SELECT pg_blocking_pids(%s) <> '{}'", (conn.info.backend_pid,)).fetchone()
    return row == (True,)


# --- rows come and go with events ---------------------------------------------------------------------


def test_a_received_conversation_waits_from_the_very_transaction_that_stores_it(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    id = received(cell, user)
    row = conn.execute(
        "SELECT b.stream_id, b.subject_id, b.size, b.attempts, b.error, b.handed_out_at, b.due_at <= now(),"
        "       length(e.payload), b.xmin = e.xmin"
        " FROM backlog b JOIN events e USING (position)"
    ).fetchone()
    assert row
    *asked, size_of_event, same_transaction = row
    assert asked == [id, subject(conn, cell, user), size_of_event, 0, None, None, True]
    assert same_transaction


def test_what_is_not_stored_does_not_wait(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    with pytest.raises(NotFound):
        done(cell, (new_id(), receive(user)), (new_id(), CHANGE))
    assert waiting(conn) == []


def test_memories_and_projects_do_not_wait(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    id = new_id()
    done(cell, (id, AddMemory(text="x", scope=Scope(owner="default", user_id=user))), (id, DeleteMemory()))
    done(cell, (new_id(), CreateProject(name="Support desk", guidance=Guidance())))
    assert waiting(conn) == []


@pytest.mark.parametrize("ending", [EXTRACT, FAIL], ids=["extracted", "failed"])
def test_what_is_done_waits_no_more(
    cell: Cell, conn: psycopg.Connection[Any], user: str, ending: Command[Ingestion]
) -> None:
    one, two = received(cell, user), received(cell, user)
    done(cell, (one, ending))
    assert waiting(conn) == [two]


def test_another_try_queues_at_the_end_with_a_clean_slate(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    one = received(cell, user)
    backlog.put_off(conn, one, 60, "an outage")
    done(cell, (one, FAIL))
    two = received(cell, user)
    done(cell, (one, Retry()))
    assert waiting(conn) == [two, one]
    done(cell, (two, EXTRACT))
    again = backlog.first(conn, subject(conn, cell, user))
    assert again
    assert (again.stream_id, again.attempts) == (one, 0)


def test_a_review_queues_under_its_own_id_so_that_no_conversation_waits_for_it(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    review, conversation = requested(cell, user), received(cell, user)
    assert handed_out(conn) == {review, subject(conn, cell, user)}
    queued, conversing = backlog.first(conn, review), backlog.first(conn, subject(conn, cell, user))
    assert queued and conversing
    assert (queued.kind, queued.stream_id) == ("review", review)
    assert (conversing.kind, conversing.stream_id) == ("ingestion", conversation)


def test_a_review_waits_until_it_has_proposals_or_failed(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    read, failed = requested(cell, user), requested(cell, user)
    done(cell, (read, Propose(proposed=Proposed(extractor=RULES, ingestions=0))))
    assert waiting(conn) == [failed]
    done(cell, (failed, FailReview(reason="the model refused")))
    done(cell, (read, Apply(numbers=())))
    assert waiting(conn) == []


# --- handing out ----------------------------------------------------------------------------------------


def test_each_subject_gets_its_turn_with_the_first_that_waits(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    received(cell, user, "short")
    received(cell, user, "long " * 100)
    received(cell, f"{user}-2", "long " * 100)
    sizes = dict(conn.execute("SELECT position, length(payload) FROM events").fetchall())
    first, _, third = (sizes[p] for (p,) in conn.execute("SELECT position FROM backlog ORDER BY position"))
    assert set(backlog.hand_out(conn)) == {
        Turn(subject(conn, cell, user), first, review=False),
        Turn(subject(conn, cell, f"{user}-2"), third, review=False),
    }


def test_only_what_is_due_gets_its_turn(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    put_off = received(cell, user)
    received(cell, user)
    received(cell, f"{user}-2")
    backlog.put_off(conn, put_off, 60, "an outage")
    assert handed_out(conn) == {subject(conn, cell, f"{user}-2")}
    backlog.put_off(conn, put_off, 0, "an outage")
    assert handed_out(conn) == {subject(conn, cell, user)}


def test_what_was_handed_out_is_not_handed_out_again_until_its_worker_is_thought_dead(
    cell: Cell, conn: psycopg.Connection[Any], user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received(cell, user)
    assert handed_out(conn) == {subject(conn, cell, user)}
    assert handed_out(conn) == set()
    monkeypatch.setattr(backlog, "LEASE_SECONDS", 0)
    assert handed_out(conn) == {subject(conn, cell, user)}


def test_what_a_worker_puts_off_is_handed_out_again_as_soon_as_it_is_due(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    id = received(cell, user)
    assert handed_out(conn) == {subject(conn, cell, user)}
    backlog.put_off(conn, id, 0, "an outage")
    assert handed_out(conn) == {subject(conn, cell, user)}


def test_the_next_of_a_subject_gets_its_turn_once_the_one_before_is_done(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    one = received(cell, user)
    received(cell, user)
    assert handed_out(conn) == {subject(conn, cell, user)}
    assert handed_out(conn) == set()
    done(cell, (one, EXTRACT))
    assert handed_out(conn) == {subject(conn, cell, user)}


def test_of_many_subjects_some_get_their_turn_and_the_rest_when_these_are_done(
    cell: Cell, conn: psycopg.Connection[Any], user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "HANDED_OUT", 2)
    of = {received(cell, f"{user}-{n}"): f"{user}-{n}" for n in range(3)}
    subjects = {id: subject(conn, cell, name) for id, name in of.items()}
    one, two, three = subjects
    assert handed_out(conn) == {subjects[one], subjects[two]}
    assert handed_out(conn) == set()
    done(cell, (one, EXTRACT))
    assert handed_out(conn) == {subjects[three]}


def test_owners_take_turns_whoever_was_first(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    for n in range(3):
        received(cell, f"{user}-{n}")
    of_another = Receive(
        received=Received(
            scope=Scope(owner="another", user_id=user), messages=(Message(role="user", text="I love hiking"),)
        )
    )
    context = msgspec.structs.replace(CONTEXT, owner="another")
    cell.writer.submit(Work(context=context, commands=[(new_id(), of_another)])).result(30)
    theirs = {id for (id,) in conn.execute("SELECT subject_id FROM backlog WHERE owner = 'another'")}
    turns = [{turn.subject_id for turn in backlog.hand_out(conn, 1)} for _ in range(4)]
    assert turns[1] == theirs
    assert len(set.union(*turns)) == 4


def test_of_two_that_hand_out_at_once_only_one_gets_a_turn(
    cell: Cell, conn: psycopg.Connection[Any], other: psycopg.Connection[Any], user: str
) -> None:
    received(cell, user)
    late: list[set[UUID]] = []
    with conn.transaction():
        assert handed_out(conn) == {subject(conn, cell, user)}
        waits = threading.Thread(target=lambda: late.append(handed_out(other)))
        waits.start()
        eventually(lambda: blocked(cell, other))
    waits.join(30)
    assert late == [set()]


# --- in order -------------------------------------------------------------------------------------------


def test_a_later_conversation_never_overtakes(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    one, two = received(cell, user), received(cell, user)
    mine = subject(conn, cell, user)
    backlog.put_off(conn, one, 60, "an outage")
    assert backlog.first(conn, mine) is None
    backlog.put_off(conn, one, 0, "an outage")
    for id in (one, two):
        first = backlog.first(conn, mine)
        assert first
        assert (first.stream_id, first.kind) == (id, "ingestion")
        done(cell, (id, EXTRACT))
    assert backlog.first(conn, mine) is None


def test_nothing_is_first_where_nothing_waits(conn: psycopg.Connection[Any]) -> None:
    assert backlog.first(conn, uuid4()) is None


def test_putting_off_counts_and_tells_why(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    id = received(cell, user)
    for tries in (1, 2, 3):
        backlog.put_off(conn, id, 0, f"outage {tries}: {'x' * 1000}")
        first = backlog.first(conn, subject(conn, cell, user))
        assert first
        assert first.attempts == tries
    (error,) = conn.execute("SELECT error FROM backlog").fetchone() or ("",)
    assert error.startswith("outage 3: x")
    assert len(error) == 500


def test_hours_count_from_the_first_outage_and_not_from_waiting(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    one = received(cell, user)
    conn.execute("UPDATE backlog SET due_at = now() - interval '30 hours'")
    waited = backlog.first(conn, subject(conn, cell, user))
    assert waited is not None
    assert waited.hours == 0
    backlog.put_off(conn, one, 0, "an outage", outage=True)
    conn.execute("UPDATE backlog SET failing_since = failing_since - interval '3 hours'")
    backlog.put_off(conn, one, 0, "an outage", outage=True)
    failing = backlog.first(conn, subject(conn, cell, user))
    assert failing is not None
    assert failing.hours == pytest.approx(3, abs=0.1)
    assert (failing.attempts, failing.outages) == (0, 2)


# --- one worker a subject -------------------------------------------------------------------------------


def test_a_subject_belongs_to_one_worker_at_a_time(
    conn: psycopg.Connection[Any], other: psycopg.Connection[Any]
) -> None:
    one, two = uuid4(), uuid4()
    assert backlog.claim(conn, one)
    assert not backlog.claim(other, one)
    assert backlog.claim(other, two)
    backlog.release(conn, one)
    assert backlog.claim(other, one)
    assert not backlog.claim(conn, one)


def test_a_worker_that_dies_lets_go(cell: Cell, conn: psycopg.Connection[Any]) -> None:
    one = uuid4()
    with psycopg.connect(cell.conninfo, autocommit=True) as dying:
        assert backlog.claim(dying, one)
        assert not backlog.claim(conn, one)
        conn.execute("SELECT pg_terminate_backend(%s, 10000)", (dying.info.backend_pid,))
        assert backlog.claim(conn, one)


# --- what the log tells of them -------------------------------------------------------------------------


def one_of_each(cell: Cell, user: str) -> dict[type[State], UUID]:
    """A memory, an ingestion, a project and a review, each with two events."""
    scope = Scope(owner="default", user_id=user)
    ids: dict[type[State], UUID] = {kind: new_id() for kind in (Memory, Ingestion, Project, Review)}
    done(
        cell,
        (ids[Memory], AddMemory(text="start", scope=scope)),
        (ids[Ingestion], receive(user)),
        (ids[Project], CreateProject(name="Support desk", guidance=Guidance())),
        (ids[Review], Request(requested=Requested(scope=scope))),
        (ids[Memory], UpdateMemory(text="changed")),
        (ids[Ingestion], EXTRACT),
        (ids[Project], ChangeProject(name="Help desk")),
        (ids[Review], FailReview(reason="the model refused")),
    )
    return ids


def test_streams_of_all_kinds_are_read_together(cell: Cell, conn: psycopg.Connection[Any], user: str) -> None:
    ids = one_of_each(cell, user)
    states = states_of(conn, cell.log.mapper, State, [*ids.values(), uuid4()])
    assert {type(state): id for id, state in states.items()} == ids
    assert {state.version for state in states.values()} == {2}
    assert states == {id: cell.log.get(State, id) for id in ids.values()}
    before = states_of(conn, cell.log.mapper, State, list(ids.values()), dict.fromkeys(ids.values(), 2))
    assert before == {id: cell.log.get(State, id, 1) for id in ids.values()}


def test_keys_and_owners_are_no_such_streams(cell: Cell, conn: psycopg.Connection[Any]) -> None:
    rows = conn.execute("SELECT stream_id FROM events WHERE type LIKE 'key.%' OR type LIKE 'owner.%'")
    ids = [id for (id,) in rows.fetchall()]
    assert len(ids) == 2
    assert states_of(conn, cell.log.mapper, State, ids) == {}
    for id in ids:
        with pytest.raises(NotFound):
            cell.log.get(State, id)


def test_each_command_is_answered_with_the_state_it_led_to(cell: Cell, user: str) -> None:
    ids = one_of_each(cell, user)
    (result,) = done(cell, (ids[Project], ChangeProject(name="Desk")))
    assert result.changed
    assert result.state == cell.log.get(Project, ids[Project])
    id = new_id()
    (waits,) = done(cell, (id, receive(user)))
    assert waits.state == cell.log.get(Ingestion, id)
    (ended,) = done(cell, (id, FAIL))
    assert ended.state == cell.log.get(Ingestion, id)
    (same,) = done(cell, (ids[Project], ChangeProject(name="Desk")))
    assert (same.changed, same.state) == (False, result.state)


def test_a_conversation_that_is_sent_twice_is_received_once(
    cell: Cell, conn: psycopg.Connection[Any], user: str
) -> None:
    receipt = Receipt(owner="default", actor="key", key=user, fingerprint=b"same")
    (first,) = done(cell, (new_id(), receive(user)), receipt=receipt)
    done(cell, (first.state.id, EXTRACT))
    (again,) = done(cell, (new_id(), receive(user)), receipt=receipt)
    assert again.state == first.state
    assert waiting(conn) == []


def test_of_two_workers_at_one_conversation_one_comes_too_late(cell: Cell, user: str) -> None:
    id, memory = received(cell, user), new_id()
    add = AddMemory(text="User loves hiking", scope=Scope(owner="default", user_id=user))
    done(cell, (memory, add), (id, EXTRACT))
    late = new_id()
    with pytest.raises(NotWaiting):
        done(cell, (late, add), (id, EXTRACT))
    assert cell.log.get(Memory, memory).text == "User loves hiking"
    with pytest.raises(NotFound):
        cell.log.get(Memory, late)


@pytest.mark.parametrize("kind", [Ingestion, Project, Review], ids=lambda kind: kind.__name__)
def test_a_stream_of_one_kind_is_not_found_as_another(cell: Cell, user: str, kind: type[State]) -> None:
    ids = one_of_each(cell, user)
    assert isinstance(cell.log.get(kind, ids.pop(kind)), kind)
    for id in (*ids.values(), new_id()):
        with pytest.raises(NotFound):
            cell.log.get(kind, id)
