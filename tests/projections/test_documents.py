"""The directory of documents: given what was uploaded and removed, then what there is now."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory
from domain.recorded import Context
from domain.scope import Scope
from projections import ALL, documents, rebuild
from projections.catalogue import Build
from projections.runner import ensure_live, lag
from tests.support.documents import LISBON, indexed, remove, upload
from tests.support.projections import applied, build_of, checksum

DOCUMENTS = ALL["documents"]


@pytest.fixture(autouse=True)
def conn(cell: Cell) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        ensure_live(conn, DOCUMENTS, None)
        yield conn


@pytest.fixture
def ann() -> str:
    """A user of this test's own."""
    return f"ann-{uuid4().hex[:8]}"


def asked(cell: Cell, query: Any, *args: Any) -> Any:
    """What the live build answers once it holds all that is in the log."""

    async def ask(build: Build) -> Any:
        async with await psycopg.AsyncConnection.connect(cell.conninfo, autocommit=True) as asking:
            return await query(asking, build, *args)

    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        applied(conn, cell, DOCUMENTS)
        return asyncio.run(ask(build_of(conn, "documents")))


def names(cell: Cell, user: str | None, owner: str = "default") -> list[str]:
    found: list[str] = asked(cell, documents.names, owner, user)
    return found


def test_a_user_has_the_documents_that_were_uploaded_and_not_removed(cell: Cell, ann: str) -> None:
    gone = indexed(ann, "gone.md")
    upload(
        cell, indexed(ann, "b.md"), indexed(ann, "Ä.md"), gone, indexed(ann, "a/ü.md"), indexed(ann, "B.md")
    )
    remove(cell, gone)
    assert names(cell, ann) == ["B.md", "a/ü.md", "b.md", "Ä.md"]
    assert asked(cell, documents.count, "default", ann) == 4
    upload(cell, gone)
    assert "gone.md" in names(cell, ann)


def test_a_document_is_listed_with_what_is_known_of_it(cell: Cell, ann: str) -> None:
    notes = indexed(ann, "notes.md", source="github")
    upload(cell, notes)
    (first,) = asked(cell, documents.listing, "default", ann, 10)
    assert (first.name, first.media_type, first.source) == ("notes.md", "text/markdown", "github")
    assert first.size == len(LISBON.encode())
    assert first.created_at == first.updated_at
    upload(cell, indexed(ann, "notes.md", "short"))
    (second,) = asked(cell, documents.listing, "default", ann, 10)
    assert (second.size, second.source, second.created_at) == (5, "computer", first.created_at)
    assert second.updated_at > first.updated_at


def test_pages_of_the_directory_follow_each_other(cell: Cell, ann: str) -> None:
    upload(cell, *(indexed(ann, f"{n}.md") for n in range(7)))
    pages = [asked(cell, documents.listing, "default", ann, 3, offset) for offset in (0, 3, 6, 9)]
    assert [one.name for page in pages for one in page] == names(cell, ann)
    assert [len(page) for page in pages] == [3, 3, 1, 0]


def test_nobody_sees_what_is_another_users_or_owners(cell: Cell, ann: str) -> None:
    upload(
        cell,
        indexed(ann, "mine.md"),
        indexed(f"{ann}-bob", "bobs.md"),
        indexed(None, f"{ann}-of-the-owner.md"),
        indexed(ann, "theirs.md", owner="another"),
    )
    assert names(cell, ann) == ["mine.md"]
    assert names(cell, f"{ann}-bob") == ["bobs.md"]
    assert f"{ann}-of-the-owner.md" in names(cell, None)
    assert not {"mine.md", "bobs.md"} & set(names(cell, None))
    assert names(cell, ann, owner="another") == ["theirs.md"]


def test_zero_bytes_which_postgresql_refuses_are_left_out(cell: Cell, ann: str) -> None:
    upload(cell, indexed(ann, "no\0tes.md", source="com\0puter"))
    assert names(cell, ann) == ["notes.md"]


def test_a_log_without_documents_is_passed_over(cell: Cell, conn: psycopg.Connection[Any]) -> None:
    applied(conn, cell, DOCUMENTS)
    before = build_of(conn, "documents").position
    commands: list[Any] = [
        (new_id(), AddMemory(text="likes tea", scope=Scope(owner="default"))) for _ in range(30)
    ]
    context = Context(owner="default", actor="key", cause="command", correlation="request")
    cell.writer.submit(Work(context=context, commands=commands)).result(30)
    applied(conn, cell, DOCUMENTS)
    build = build_of(conn, "documents")
    assert lag(conn, build) == 0
    assert build.position == before + 30


@pytest.mark.parametrize("name", ["documents", "passages", "memories"])
def test_a_replay_over_a_log_of_many_kinds_gives_the_same_rows(
    cell: Cell, conn: psycopg.Connection[Any], ann: str, name: str
) -> None:
    projection = ALL[name]
    ensure_live(conn, projection, None)
    for n in range(40):
        upload(cell, indexed(ann, f"{n % 9}.md", f"# Day {n}\n\n{LISBON}"), indexed(None, f"{ann}-{n}.md"))
        if n % 4 == 0:
            remove(cell, indexed(ann, f"{n % 9}.md"))
        if n % 7 == 0:
            applied(conn, cell, projection)
    applied(conn, cell, projection)
    before = checksum(conn, name)
    assert not before.startswith("0")
    version = rebuild.begin(conn, name, None)
    assert rebuild.replay(cell, projection, version)
    build = build_of(conn, name)
    assert (build.version, checksum(conn, name)) == (version, before)
    assert build.loaded == build.to_load
    assert lag(conn, build) == 0
