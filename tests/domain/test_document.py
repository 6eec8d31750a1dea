"""The Document aggregate: given events, when a command, then an event or a refusal."""

from functools import reduce

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.document import (
    Document,
    DocumentCommand,
    DocumentIndexed,
    DocumentRemoved,
    IndexDocument,
    RemoveDocument,
    evolve,
    id_of,
)
from domain.errors import NotFound
from domain.recorded import Event
from domain.scope import Scope
from tests.support.aggregates import HIKING, OWNER, given, stream

NOTES = DocumentIndexed(
    scope=Scope(owner=OWNER, user_id="alice"),
    name="travel/notes.md",
    text="# Lisbon\nThe tram 28",
    media_type="text/markdown",
    size=20,
)
LONGER = msgspec.structs.replace(NOTES, text="# Lisbon\nThe tram 28 and the tram 15", size=36)


def test_a_document_is_indexed_as_it_is() -> None:
    given().when(IndexDocument(indexed=NOTES)).then(NOTES)
    given(NOTES).when(IndexDocument(indexed=LONGER)).then(LONGER)


def test_a_document_that_is_there_already_makes_no_event() -> None:
    given(NOTES).when(IndexDocument(indexed=NOTES)).then_nothing()
    from_elsewhere = msgspec.structs.replace(NOTES, source="github", size=99)
    given(NOTES).when(IndexDocument(indexed=from_elsewhere)).then_nothing()


def test_the_same_text_of_another_kind_is_a_change() -> None:
    plain = msgspec.structs.replace(NOTES, media_type="text/plain")
    given(NOTES).when(IndexDocument(indexed=plain)).then(plain)


def test_a_document_is_removed_once_and_can_come_back() -> None:
    given(NOTES).when(RemoveDocument()).then(DocumentRemoved())
    given(NOTES, DocumentRemoved()).when(RemoveDocument()).then_refused(NotFound)
    given(NOTES, DocumentRemoved()).when(IndexDocument(indexed=NOTES)).then(NOTES)


def test_what_is_absent_cannot_be_removed() -> None:
    given().when(RemoveDocument()).then_refused(NotFound)


@pytest.mark.parametrize("command", [IndexDocument(indexed=LONGER), RemoveDocument()])
def test_what_is_anothers_is_not_found(command: DocumentCommand) -> None:
    given(NOTES).when(command, owner="another").then_refused(NotFound)


def test_nobody_indexes_for_another_owner() -> None:
    given().when(IndexDocument(indexed=NOTES), owner="another").then_refused(NotFound)
    theirs = msgspec.structs.replace(LONGER, scope=Scope(owner="another"))
    given(NOTES).when(IndexDocument(indexed=theirs), owner="another").then_refused(NotFound)


def test_a_stream_of_another_kind_is_no_document() -> None:
    given(HIKING).when(RemoveDocument()).then_refused(NotFound)


def test_a_removed_document_is_remembered_as_it_was() -> None:
    gone = given(NOTES, DocumentRemoved()).state(Document)
    assert (gone.deleted, gone.name, gone.text, gone.version) == (True, NOTES.name, NOTES.text, 2)


def test_it_keeps_the_time_it_was_made() -> None:
    events = stream(NOTES, DocumentRemoved(), LONGER)
    document = reduce(evolve, events, None)
    assert document
    assert not document.deleted
    assert (document.created_at, document.updated_at) == (events[0].occurred_at, events[2].occurred_at)
    assert (document.scope, document.media_type) == (NOTES.scope, "text/markdown")
    assert (document.size, document.source) == (36, "computer")


def test_a_removal_cannot_begin_a_document() -> None:
    with pytest.raises(ValueError, match="cannot follow"):
        given(DocumentRemoved()).state(Document)


words = st.text(max_size=4)


@any_of(st.tuples(words, st.none() | words, words), st.tuples(words, st.none() | words, words))
def test_two_documents_never_share_an_id(
    one: tuple[str, str | None, str], other: tuple[str, str | None, str]
) -> None:
    assert (id_of(*one) == id_of(*other)) == (one == other)
    assert (
        len({id_of("a", "b", "c"), id_of("a", None, "b:c"), id_of("a", "b:c", ""), id_of("a:b", None, "c")})
        == 4
    )


@any_of(
    st.lists(
        st.one_of(
            st.builds(RemoveDocument),
            st.sampled_from([NOTES, LONGER]).map(lambda indexed: IndexDocument(indexed=indexed)),
        )
    )
)
def test_after_any_commands_a_document_is_what_was_indexed_last_unless_it_was_removed_since(
    commands: list[DocumentCommand],
) -> None:
    events: list[Event] = []
    text = None
    for command in commands:
        try:
            made = given(*events).when(command).events
        except NotFound:
            assert text is None
            continue
        assert (not made) == (isinstance(command, IndexDocument) and command.indexed.text == text)
        events += made
        text = command.indexed.text if isinstance(command, IndexDocument) else None
    document = given(*events).state(Document) if events else None
    assert (document.text if document and not document.deleted else None) == text
