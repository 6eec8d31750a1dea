"""The conversations projection: what its rows say, and that a replay changes nothing that anybody sees."""

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection, Connection

from domain.conversation import (
    AddFiles,
    Answer,
    Answered,
    Ask,
    Asked,
    Conversation,
    ConversationCommand,
    DeleteConversation,
    RemoveTurn,
    Start,
    Started,
    Title,
)
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.recorded import Context
from domain.scope import Scope
from projections import ALL, conversations
from projections.catalogue import Build, builds
from projections.conversations import Listed
from projections.runner import advance, ensure_live
from tests.support.conversations import ALL_REFERENCES, Person
from tests.support.projections import checksum, replayed
from tests.support.service import Service, eventually, settled


@pytest.fixture
def scope() -> Scope:
    """A user of this test's own."""
    return Scope(owner="default", user_id=f"user-{new_id().hex}")


def does(cell: Cell, id: UUID, *commands: ConversationCommand) -> None:
    context = Context(owner="default", actor="test", cause=str(new_id()), correlation="test")
    work = Work(context=context, commands=[(id, command) for command in commands])
    cell.writer.submit(work).result(30)


def begun(cell: Cell, scope: Scope) -> UUID:
    id = new_id()
    does(cell, id, Start(started=Started(scope=scope, agent="khoj")))
    return id


def asked(turn_id: str, question: str) -> Ask:
    return Ask(asked=Asked(turn_id=turn_id, question=question))


def answered(turn_id: str, text: str) -> Answer:
    return Answer(answered=Answered(turn_id=turn_id, text=text, model="small"))


def live(conn: Connection[Any], cell: Cell) -> Build:
    """The live build, brought up to date here: no worker runs."""
    ensure_live(conn, ALL["conversations"], None)
    more = True
    while more:
        (build,) = (one for one in builds(conn, "conversations") if one.state == "live")
        with conn.transaction():
            more = advance(conn, cell, ALL["conversations"], build)
    return build


def seen(cell: Cell, query: Any, scope: Scope, *rest: Any) -> Any:
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        build = live(conn, cell)

    async def queried() -> Any:
        async with await AsyncConnection.connect(cell.conninfo, autocommit=True) as reading:
            return await query(reading, build, scope, *rest)

    return asyncio.run(queried())


# --- rows -------------------------------------------------------------------------------------------


def test_a_row_says_how_a_conversation_is_listed(cell: Cell, scope: Scope) -> None:
    id = begun(cell, scope)
    does(
        cell,
        id,
        asked("t1", "What is my cat called?"),
        answered("t1", "Zorblax."),
        asked("t2", "And my dog?"),
    )
    state = cell.log.get(Conversation, id)
    assert seen(cell, conversations.listing, scope) == [
        Listed(
            conversation_id=id, owner="default", user_id=scope.user_id, agent="khoj", slug="And my dog?",
            turns=2, created_at=state.created_at, updated_at=state.updated_at, position=state.position,
        )
    ]  # fmt: skip


def test_each_change_is_seen(cell: Cell, scope: Scope) -> None:
    id = begun(cell, scope)
    for command, slug, turns in (
        (asked("t1", "Cats?"), "Cats?", 1),
        (Title(title="Pets", by="model"), "Pets", 1),
        (Title(title="My zoo"), "My zoo", 1),
        (AddFiles(files=("a.md",)), "My zoo", 1),
        (RemoveTurn(turn_id="t1"), "My zoo", 0),
        (Title(title=""), "Pets", 0),
    ):
        does(cell, id, command)
        (row,) = seen(cell, conversations.listing, scope)
        state = cell.log.get(Conversation, id)
        assert (row.slug, row.turns) == (slug, turns)
        assert (row.updated_at, row.position) == (state.updated_at, state.position)


def test_the_last_changed_comes_first_and_pages_keep_the_order_of_creation(cell: Cell, scope: Scope) -> None:
    ids = [begun(cell, scope) for _ in range(4)]
    assert seen(cell, conversations.latest, scope) == ids[3]
    does(cell, ids[1], asked("t1", "Cats?"))
    listed = [row.conversation_id for row in seen(cell, conversations.listing, scope)]
    assert listed == [ids[1], ids[3], ids[2], ids[0]]
    assert len(seen(cell, conversations.listing, scope, 2)) == 2
    assert seen(cell, conversations.latest, scope) == ids[1]
    paged = []
    for offset in (0, 3, 6):
        paged += [row.conversation_id for row in seen(cell, conversations.page, scope, 3, offset)]
        does(cell, ids[0], Title(title=f"Changed {offset}"))
    assert paged == list(reversed(ids))


def test_a_deleted_conversation_has_no_row(cell: Cell, scope: Scope) -> None:
    kept, gone = begun(cell, scope), begun(cell, scope)
    assert seen(cell, conversations.count, scope) == 2
    does(cell, gone, asked("t1", "Cats?"), DeleteConversation())
    assert seen(cell, conversations.ids, scope) == [kept]
    assert seen(cell, conversations.count, scope) == 1
    does(cell, kept, DeleteConversation())
    assert seen(cell, conversations.latest, scope) is None


def test_users_have_their_own_and_so_has_nobody(cell: Cell, scope: Scope) -> None:
    nobody = Scope(owner="default")
    of_user, of_nobody = begun(cell, scope), begun(cell, nobody)
    assert seen(cell, conversations.ids, scope) == [of_user]
    assert seen(cell, conversations.ids, nobody) == [of_nobody]
    assert seen(cell, conversations.ids, Scope(owner="another", user_id=scope.user_id)) == []


def test_what_no_column_can_hold_is_left_out_of_the_row(cell: Cell, scope: Scope) -> None:
    id = begun(cell, scope)
    does(cell, id, asked("t1", "a\x00b"))
    (row,) = seen(cell, conversations.listing, scope)
    assert row.slug == "ab"


# --- replay -----------------------------------------------------------------------------------------


def shown(person: Person) -> list[bytes]:
    """All that anybody can see of conversations, byte for byte."""
    client, answers = person.client, []
    for params in ({}, {"user_id": "bob"}):
        listed = client.get("/api/chat/sessions", params=params)
        answers += [listed, client.get("/api/chat/export", params={**params, "limit": 100})]
        for one in listed.json():
            named = {"conversation_id": one["conversation_id"]}
            answers.append(client.get("/api/chat/history", params=named))
    assert all(answer.status_code == 200 for answer in answers)
    return [answer.content for answer in answers]


def test_a_replay_changes_no_byte_of_sessions_and_histories(service: Service, ann: Person) -> None:
    for n in range(12):
        id = ann.begins(**({"user_id": "bob"} if n % 3 == 0 else {}))
        turns = [ann.asks(id, f"Question {n} {m}?", "Zorblax.", references=ALL_REFERENCES) for m in range(3)]
        ann.does(UUID(id), Title(title=f"Title {n}", by="user" if n % 2 else "model"))
        if n % 4 == 0:
            ann.does(UUID(id), RemoveTurn(turn_id=turns[0]))
        if n % 5 == 0:
            ann.does(UUID(id), DeleteConversation())
    eventually(lambda: settled(service.client))
    before = shown(ann)
    assert len(before) == 4 + 9
    cell = service.worker.cells.of(ann.owner)
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        rows = checksum(conn, "conversations")
        replayed(service, "conversations")
        assert checksum(conn, "conversations") == rows
    assert shown(ann) == before
