"""The conversations projection: what its rows say, and that a replay changes nothing that anybody sees."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from domain.conversation import (
    AddFiles,
    Answer,
    Answered,
    Ask,
    Asked,
    Conversation,
    DeleteConversation,
    RemoveTurn,
    Start,
    Started,
    Title,
)
from domain.ids import new_id
from domain.scope import Scope
from projections import conversations
from projections.conversations import CONVERSATIONS, Listed
from tests.support.conversations import ALL_REFERENCES, Person
from tests.support.projections import Given, checksum, replayed
from tests.support.service import Service, eventually, settled

T = TypeVar("T")


@pytest.fixture
def scope() -> Scope:
    """A user of this test's own."""
    return Scope(owner="default", user_id=f"user-{new_id().hex}")


def begun(given: Given, scope: Scope) -> UUID:
    id = new_id()
    given((id, Start(started=Started(scope=scope, agent="khoj"))))
    return id


def asked(turn_id: str, question: str) -> Ask:
    return Ask(asked=Asked(turn_id=turn_id, question=question))


def answered(turn_id: str, text: str) -> Answer:
    return Answer(answered=Answered(turn_id=turn_id, text=text, model="small"))


def seen(given: Given, query: Callable[..., Awaitable[T]], scope: Scope, *rest: Any) -> T:
    return given.then_answers(CONVERSATIONS, query, scope, *rest, asks=scope.owner)


# --- rows -------------------------------------------------------------------------------------------


def test_a_row_says_how_a_conversation_is_listed(given: Given, scope: Scope) -> None:
    id = begun(given, scope)
    given(
        (id, asked("t1", "What is my cat called?")),
        (id, answered("t1", "Zorblax.")),
        (id, asked("t2", "And my dog?")),
    )
    state = given.cell.log.get(Conversation, id)
    assert seen(given, conversations.listing, scope) == [
        Listed(
            conversation_id=id, owner="default", user_id=scope.user_id, agent="khoj", slug="And my dog?",
            turns=2, created_at=state.created_at, updated_at=state.updated_at, position=state.position,
        )
    ]  # fmt: skip


def test_each_change_is_seen(given: Given, scope: Scope) -> None:
    id = begun(given, scope)
    for command, slug, turns in (
        (asked("t1", "Cats?"), "Cats?", 1),
        (Title(title="Pets", by="model"), "Pets", 1),
        (Title(title="My zoo"), "My zoo", 1),
        (AddFiles(files=("a.md",)), "My zoo", 1),
        (RemoveTurn(turn_id="t1"), "My zoo", 0),
        (Title(title=""), "Pets", 0),
    ):
        given((id, command))
        (row,) = seen(given, conversations.listing, scope)
        state = given.cell.log.get(Conversation, id)
        assert (row.slug, row.turns) == (slug, turns)
        assert (row.updated_at, row.position) == (state.updated_at, state.position)


def test_the_last_changed_comes_first_and_pages_keep_the_order_of_creation(
    given: Given, scope: Scope
) -> None:
    ids = [begun(given, scope) for _ in range(4)]
    assert seen(given, conversations.latest, scope) == ids[3]
    given((ids[1], asked("t1", "Cats?")))
    listed = [row.conversation_id for row in seen(given, conversations.listing, scope)]
    assert listed == [ids[1], ids[3], ids[2], ids[0]]
    assert len(seen(given, conversations.listing, scope, 2)) == 2
    assert seen(given, conversations.latest, scope) == ids[1]
    paged = []
    for offset in (0, 3, 6):
        paged += [row.conversation_id for row in seen(given, conversations.page, scope, 3, offset)]
        given((ids[0], Title(title=f"Changed {offset}")))
    assert paged == list(reversed(ids))


def test_a_deleted_conversation_has_no_row(given: Given, scope: Scope) -> None:
    kept, gone = begun(given, scope), begun(given, scope)
    assert seen(given, conversations.count, scope) == 2
    given((gone, asked("t1", "Cats?")), (gone, DeleteConversation()))
    assert seen(given, conversations.ids, scope) == [kept]
    assert seen(given, conversations.count, scope) == 1
    given((kept, DeleteConversation()))
    assert seen(given, conversations.latest, scope) is None


def test_users_have_their_own_and_so_has_nobody(given: Given, scope: Scope) -> None:
    nobody = Scope(owner="default")
    of_user, of_nobody = begun(given, scope), begun(given, nobody)
    assert seen(given, conversations.ids, scope) == [of_user]
    assert seen(given, conversations.ids, nobody) == [of_nobody]
    assert seen(given, conversations.ids, Scope(owner="another", user_id=scope.user_id)) == []


def test_what_no_column_can_hold_is_left_out_of_the_row(given: Given, scope: Scope) -> None:
    id = begun(given, scope)
    given((id, asked("t1", "a\x00b")))
    (row,) = seen(given, conversations.listing, scope)
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
