"""The directory of documents: given what was uploaded and removed, then what there is now."""

from uuid import uuid4

import pytest

from domain.ids import new_id
from domain.memory import AddMemory
from domain.scope import Scope
from projections import ALL, documents
from projections.documents import DOCUMENTS
from tests.support.documents import LISBON, indexed, indexing, removing
from tests.support.projections import Given


@pytest.fixture
def ann() -> str:
    """A user of this test's own."""
    return f"ann-{uuid4().hex[:8]}"


def names(given: Given, user: str | None, owner: str = "default") -> list[str]:
    return given.then_answers(DOCUMENTS, documents.names, owner, user, asks=owner)


def test_a_user_has_the_documents_that_were_uploaded_and_not_removed(given: Given, ann: str) -> None:
    gone = indexed(ann, "gone.md")
    there = [indexed(ann, name) for name in ("b.md", "Ä.md", "gone.md", "a/ü.md", "B.md")]
    given(*map(indexing, there), removing(gone))
    assert names(given, ann) == ["B.md", "a/ü.md", "b.md", "Ä.md"]
    assert given.then_answers(DOCUMENTS, documents.count, "default", ann) == 4
    given(indexing(gone))
    assert "gone.md" in names(given, ann)


def test_a_document_is_listed_with_what_is_known_of_it(given: Given, ann: str) -> None:
    notes = indexed(ann, "notes.md", source="github")
    given(indexing(notes))
    (first,) = given.then_answers(DOCUMENTS, documents.listing, "default", ann, 10)
    assert (first.name, first.media_type, first.source) == ("notes.md", "text/markdown", "github")
    assert first.size == len(LISBON.encode())
    assert first.created_at == first.updated_at
    given(indexing(indexed(ann, "notes.md", "short")))
    (second,) = given.then_answers(DOCUMENTS, documents.listing, "default", ann, 10)
    assert (second.size, second.source, second.created_at) == (5, "computer", first.created_at)
    assert second.updated_at > first.updated_at


def test_pages_of_the_directory_follow_each_other(given: Given, ann: str) -> None:
    given(*(indexing(indexed(ann, f"{n}.md")) for n in range(7)))
    pages = [
        given.then_answers(DOCUMENTS, documents.listing, "default", ann, 3, offset) for offset in (0, 3, 6, 9)
    ]
    assert [one.name for page in pages for one in page] == names(given, ann)
    assert [len(page) for page in pages] == [3, 3, 1, 0]


def test_nobody_sees_what_is_another_users_or_owners(given: Given, ann: str) -> None:
    given(
        indexing(indexed(ann, "mine.md")),
        indexing(indexed(f"{ann}-bob", "bobs.md")),
        indexing(indexed(None, f"{ann}-of-the-owner.md")),
    )
    given(indexing(indexed(ann, "theirs.md", owner="another")), owner="another")
    assert names(given, ann) == ["mine.md"]
    assert names(given, f"{ann}-bob") == ["bobs.md"]
    assert f"{ann}-of-the-owner.md" in names(given, None)
    assert not {"mine.md", "bobs.md"} & set(names(given, None))
    assert names(given, ann, owner="another") == ["theirs.md"]


def test_zero_bytes_which_postgresql_refuses_are_left_out(given: Given, ann: str) -> None:
    given(indexing(indexed(ann, "no\0tes.md", source="com\0puter")))
    assert names(given, ann) == ["notes.md"]


def test_a_log_without_documents_is_passed_over(given: Given) -> None:
    given.apply(DOCUMENTS)
    before = given.build(DOCUMENTS).position
    given(*((new_id(), AddMemory(text="likes tea", scope=Scope(owner="default"))) for _ in range(30)))
    given.apply(DOCUMENTS)
    assert given.lag(DOCUMENTS) == 0
    assert given.build(DOCUMENTS).position == before + 30


@pytest.mark.parametrize("name", ["documents", "passages", "memories"])
def test_a_replay_over_a_log_of_many_kinds_gives_the_same_rows(given: Given, ann: str, name: str) -> None:
    given((new_id(), AddMemory(text="likes tea", scope=Scope(owner="default", user_id=ann))))
    for n in range(40):
        day = indexed(ann, f"{n % 9}.md", f"# Day {n}\n\n{LISBON}")
        given(indexing(day), indexing(indexed(None, f"{ann}-{n}.md")))
        if n % 4 == 0:
            given(removing(day))
        if n % 7 == 0:
            given.apply(ALL[name])
    build = given.then_a_replay_changes_nothing(ALL[name])
    assert build.loaded == build.to_load
