"""Passages: given documents, then what is found in them, by words and by meaning, and by whom."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from pgvector import HalfVector

from application import documents, finding
from application.asked import Asked, Caller
from application.engine import Engine
from application.reader import Reader
from domain.document import DocumentIndexed, id_of
from domain.eventstore.cells import Cell, Cells
from domain.ids import new_id
from domain.key import ALL_SCOPES
from domain.memory import AddMemory
from domain.scope import Scope
from projections import ALL, passages, rebuild, retrieval
from projections.catalogue import builds
from projections.documents import selection_of
from projections.graph import GRAPH
from projections.history import HISTORY
from projections.memories import MEMORIES
from projections.passages import PASSAGES, Mentions, Passage
from projections.search import SEARCH
from projections.searched import FILL_TEXTS
from providers.documents.documents import passages_of
from providers.embedding.local import LocalEmbedder
from runtime.composition import embedders_of, engine_of, readers_of, worker_of
from runtime.settings import Settings
from tests.support.documents import indexed, indexing, remove, removing, upload
from tests.support.projections import Given, live_build, projecting
from tests.support.service import KEY, Service, eventually, free_port
from workers import broker
from workers.jobs import Jobs
from workers.means import Means
from workers.recall import Recaller

TRAVEL = (
    "# Travel\n\nOn the last day we went hiking in the Serra de Sintra.\n\n# Keys\n\nThe code is Xq7-Zorblax."
)
COOKING = (
    "# Kitchen\n\nBoil the spaghetti for nine minutes.\n\n# Cellar\n\nThe red wine lies under the stairs."
)
LONG = "\n\n".join(f"# Chapter {n}\n\n" + f"In this chapter number {n} is praised. " * 3 for n in range(40))


@pytest.fixture
def ann() -> str:
    """A user of this test's own."""
    return f"ann-{uuid4().hex[:8]}"


# --- rows, without a worker -------------------------------------------------------------------------


def texts(given: Given, one: DocumentIndexed) -> list[str]:
    """The passages of a document, in order."""
    document = {"owner": one.scope.owner, "name": one.name, "user_id": one.scope.user_id}
    rows = sorted(given.rows(PASSAGES, "number, text", **document))
    assert [number for number, _ in rows] == list(range(len(rows)))
    return [text for _, text in rows]


@pytest.mark.parametrize("one_by_one", [True, False], ids=["in batches of one", "in one batch"])
def test_the_passages_are_those_of_the_documents_that_are_there_now(
    given: Given, ann: str, one_by_one: bool
) -> None:
    changed, shorter, gone = (
        indexed(ann, "a.md", TRAVEL),
        indexed(ann, "b.md", LONG),
        indexed(ann, "c.md", LONG),
    )
    given(*map(indexing, (changed, shorter, gone)), removing(gone), one_by_one=one_by_one)
    given(indexing(indexed(ann, "a.md", COOKING)), indexing(indexed(ann, "b.md", TRAVEL)))
    given.apply(PASSAGES)
    assert texts(given, changed) == passages_of("a.md", COOKING)
    assert texts(given, shorter) == passages_of("b.md", TRAVEL)
    assert texts(given, gone) == []
    assert len(passages_of("b.md", LONG)) > len(passages_of("b.md", TRAVEL)) > 1


def test_a_passage_has_one_id_however_often_it_is_made(given: Given, ann: str) -> None:
    def ids() -> set[UUID]:
        document = id_of("default", ann, "a.md")
        return {id for (id,) in given.rows(PASSAGES, "passage_id", document_id=document)}

    given(indexing(indexed(ann, "a.md", TRAVEL)))
    given.apply(PASSAGES)
    before = ids()
    given(indexing(indexed(ann, "a.md", COOKING)))
    given.apply(PASSAGES)
    assert len(before) == 2
    assert ids() == before


def test_a_document_that_cannot_be_applied_is_parked_alone_until_a_replay_can(
    given: Given, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(name: str, text: str) -> list[str]:
        if name == "poison.md":
            raise ValueError("cannot make passages of this")
        return passages_of(name, text)

    poison, healthy = indexed(ann, "poison.md"), indexed(ann, "healthy.md")
    given(indexing(poison), indexing(healthy), indexing(indexed(ann, "poison.md", "later")))
    with monkeypatch.context() as patched:
        patched.setattr(passages, "passages_of", refusing)
        given.apply(PASSAGES)
    build = given.build(PASSAGES)
    assert given.lag(PASSAGES) == 0
    assert texts(given, healthy) == passages_of("healthy.md", healthy.text)
    assert texts(given, poison) == []
    parked = given.conn.execute(
        "SELECT stream_id FROM parked WHERE projection = 'passages' AND version = %s", (build.version,)
    ).fetchall()
    assert parked == [(id_of("default", ann, "poison.md"),)] * 2
    assert rebuild.replay(given.cell, PASSAGES, rebuild.begin(given.conn, "passages", LocalEmbedder.model))
    assert texts(given, poison) == passages_of("poison.md", "later")


def test_zero_bytes_which_postgresql_refuses_are_left_out(given: Given, ann: str) -> None:
    given(indexing(indexed(ann, "no\0tes.md", "zero\0byte")))
    given.apply(PASSAGES)
    (text,) = texts(given, indexed(ann, "notes.md"))
    assert "\0" not in text


def test_every_passage_of_a_long_document_is_waiting_until_it_is_filled(given: Given, ann: str) -> None:
    given(indexing(indexed(ann, "long.md", LONG)))
    given.apply(PASSAGES)
    build = given.build(PASSAGES)
    passages = len(passages_of("long.md", LONG))
    assert len(PASSAGES.waiting(given.conn, build, 10_000)) >= passages > 14
    while rows := PASSAGES.waiting(given.conn, build, 7):
        assert PASSAGES.fill(given.conn, build, LocalEmbedder(), [row.id for row in rows]) == len(rows)


def test_a_text_is_embedded_once_and_a_replay_finds_its_vector(given: Given, ann: str) -> None:
    class Counting(LocalEmbedder):
        asked = 0

        def embed(self, texts: Any) -> Any:
            Counting.asked += len(texts)
            return super().embed(texts)

    def fill() -> None:
        given.apply(PASSAGES)
        build = given.build(PASSAGES)
        while rows := PASSAGES.waiting(given.conn, build, 64):
            assert PASSAGES.fill(given.conn, build, Counting(), [row.id for row in rows])

    fill()
    Counting.asked = 0
    unique = f"# Only {ann}\n\nA text that nobody else has: {ann}."
    given(indexing(indexed(ann, "one.md", unique)), indexing(indexed(ann, "copy.md", unique)))
    fill()
    assert Counting.asked == 1
    given(removing(indexed(ann, "one.md", unique)))
    given(indexing(indexed(ann, "back.md", unique)))
    fill()
    assert Counting.asked == 1
    build = given.then_a_replay_changes_nothing(PASSAGES, LocalEmbedder.model)
    assert PASSAGES.waiting(given.conn, build, 10) == []


def test_a_passage_is_selected_by_the_words_and_the_days_in_its_text(given: Given, ann: str) -> None:
    dated = {
        "iso.md": "Log of 2024-01-31T10:00:00Z, backup_2019-05-05.tar",
        "slashes.md": "due 2024/2/1 or 3.2.2024",
        "words.md": "On the 4th February, 2024 we met; on Feb 5 2024 again.",
        "month.md": "Plans for MARCH 2024",
        "none.md": "No day: 2024-13-01, 12024-01-311, 31 Marble 2024, 45.45.2024, 2024",
    }
    given(*map(indexing, (indexed(ann, name, text) for name, text in dated.items())))
    given(indexing(indexed(f"{ann}-bob", "theirs.md", "2024-01-31")))
    given.apply(PASSAGES)

    def selected(names: Sequence[str] | None = None, **mentions: Any) -> set[str]:
        selection = passages.selection_of("default", ann, names, Mentions(**mentions))
        where, values = selection.where()
        table = given.build(PASSAGES).table
        return {name for (name,) in given.conn.execute(f"SELECT name FROM {table} WHERE {where}", values)}

    def on(day: date) -> set[str]:
        return selected(since=day, until=day)

    assert selected() == dated.keys()
    assert on(date(2024, 1, 31)) == on(date(2019, 5, 5)) == {"iso.md"}
    assert on(date(2024, 2, 1)) == on(date(2024, 2, 3)) == {"slashes.md"}
    assert on(date(2024, 2, 4)) == on(date(2024, 2, 5)) == {"words.md"}
    assert on(date(2024, 3, 1)) == {"month.md"}
    assert selected(since=date(1, 1, 2)) == dated.keys() - {"none.md"}
    assert selected(until=date(2024, 1, 31)) == {"iso.md"}
    assert selected(since=date(2024, 2, 2), until=date(2024, 1, 1)) == set()
    assert selected(words=("PLANS", "march"), not_words=("log",)) == {"month.md"}
    assert selected(not_words=("2024-", "due", "met")) == {"month.md"}
    assert selected(["iso.md", "none.md", "theirs.md"], words=("2024",)) == {"iso.md", "none.md"}


def test_many_passages_answer_by_their_indexes(
    given: Given, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "EXACT_ROWS", 200)
    monkeypatch.setattr(retrieval, "COMMON_ROWS", 50)
    book = "\n\n".join(f"# Entry {n}\n\nThis entry speaks of word{n} alone." for n in range(300))
    given(indexing(indexed(ann, "book.md", book)), indexing(indexed(ann, "other.md", book)))
    given.apply(PASSAGES)
    build = given.build(PASSAGES)
    # Vectors of no model: embedding 600 texts would take seconds and show nothing more.
    points = np.random.default_rng(7).normal(size=(300, 384)).astype(np.float32)
    given.conn.execute(
        f"UPDATE {build.table} p SET embedding = v.e FROM unnest(%s::int[], %s::halfvec[]) AS v(number, e)"
        " WHERE p.number = v.number AND p.name = 'book.md' AND p.user_id = %s",
        (list(range(300)), [HalfVector(point) for point in points], ann),
    )
    retrieval.index_large_scopes(given.conn, build)
    indexes = given.conn.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename = %s", (build.table,)
    ).fetchall()
    assert {(f"{build.table}_hnsw",), (f"{build.table}_terms",)} <= set(indexes)

    def ask(text: str, names: Sequence[str] | None, number: int) -> list[Passage]:
        vector = points[number] / np.linalg.norm(points[number])
        query = retrieval.Query(
            selection=selection_of("default", ann, names), text=text, vector=vector, limit=10
        )
        return given.then_answers(PASSAGES, passages.search, query, LocalEmbedder().similarity).hits

    assert (ask("", None, 217)[0].name, ask("", None, 217)[0].number) == ("book.md", 217)
    assert "word123 " in ask("word123", ["other.md"], 217)[0].text
    assert {one.name for one in ask("word123", ["other.md"], 217)} == {"other.md"}


# --- the whole way, with a worker and an engine -----------------------------------------------------


def find(
    service: Service,
    text: str,
    user: str | None,
    names: Sequence[str] | None = None,
    owner: str = "default",
    limit: int = 10,
) -> list[Passage]:
    """What the engine finds for a caller whose key is named after the user."""

    async def ask(engine: Engine) -> list[Passage]:
        answer = await finding.find_passages(
            engine, _asked(owner, user), text, user_id=user, names=names, limit=limit
        )
        return answer.hits

    found: list[Passage] = _with_engine(service, ask)
    return found


def _asked(owner: str, actor: str | None) -> Asked:
    return Asked(Caller(owner, str(actor), ("read",)), "request")


def _with_engine(service: Service, ask: Any) -> Any:
    async def go() -> Any:
        engine = engine_of(service.settings)
        await engine.open()
        try:
            return await ask(engine)
        finally:
            await engine.close()

    return asyncio.run(go())


@pytest.fixture
def home(service: Service) -> Cell:
    """Where the worker of the service works."""
    return service.worker.cells.of("default")


def test_words_find_what_meaning_does_not_and_the_other_way_round(
    service: Service, home: Cell, ann: str
) -> None:
    upload(home, indexed(ann, "travel.md", TRAVEL), indexed(ann, "cooking.md", COOKING), actor=ann)
    word = find(service, "Zorblax", ann)[0]
    assert (word.name, word.number) == ("travel.md", 1)
    assert "Xq7-Zorblax" in word.text
    pasta = find(service, "how long does pasta cook?", ann)
    assert pasta[0].text == passages_of("cooking.md", COOKING)[0]
    assert pasta[0].score > 0.5
    assert [one.score for one in pasta] == sorted((one.score for one in pasta), reverse=True)
    assert len(find(service, "pasta", ann, limit=1)) == 1


def test_a_search_sees_what_its_caller_has_just_uploaded_or_removed(
    service: Service, home: Cell, ann: str
) -> None:
    for n in range(5):
        text = f"# Day {n}\n\nThe password of the day is quokka{n}."
        upload(home, indexed(ann, f"{n}.md", text), actor=ann)
        assert find(service, f"quokka{n}", ann)[0].name == f"{n}.md"
        remove(home, indexed(ann, f"{n}.md"), actor=ann)
        assert find(service, f"quokka{n}", ann) == []


def test_files_that_are_named_limit_the_search(service: Service, home: Cell, ann: str) -> None:
    upload(home, *(indexed(ann, name, TRAVEL) for name in ("a.md", "b.md", "c.md")), actor=ann)

    def names(limited: Sequence[str] | None) -> set[str]:
        return {one.name for one in find(service, "hiking", ann, limited)}

    assert names(None) == {"a.md", "b.md", "c.md"}
    assert names(["a.md", "c.md", "unknown.md"]) == {"a.md", "c.md"}
    assert names(["unknown.md"]) == names([]) == set()


def test_nobody_finds_what_is_another_users_or_owners(service: Service, home: Cell, ann: str) -> None:
    bob = f"{ann}-bob"
    text = f"# Secret\n\nThe word is {ann.replace('-', '')}."
    upload(home, indexed(ann, "mine.md", text), actor=ann)
    word = ann.replace("-", "")
    assert [one.name for one in find(service, word, ann)] == ["mine.md"]
    assert find(service, word, bob) == find(service, word, None) == []
    assert find(service, word, bob, ["mine.md"]) == []
    assert find(service, word, ann, owner="another") == []


def test_the_engine_names_the_documents_of_a_user(service: Service, home: Cell, ann: str) -> None:
    upload(home, indexed(ann, "b.md"), indexed(ann, "a.md"), actor=ann)

    async def ask(engine: Engine) -> list[list[str]]:
        return [
            await documents.names(engine, _asked("default", ann), ann),
            await documents.names(engine, _asked("another", ann), ann),
            await documents.names(engine, _asked("default", ann), f"{ann}-bob"),
        ]

    assert _with_engine(service, ask) == [["a.md", "b.md"], [], []]


def test_a_long_document_gets_its_vectors_by_jobs(service: Service, home: Cell, ann: str) -> None:
    words = [f"{ann} speaks of number {n} and of nothing else" for n in range(FILL_TEXTS + 30)]
    text = "\n\n".join(f"# Chapter {n}\n\n{line}." for n, line in enumerate(words))
    upload(home, indexed(ann, "long.md", text), actor=ann)
    with psycopg.connect(home.conninfo, autocommit=True) as conn:
        table = live_build(conn, "passages").table

        def embedded() -> tuple[int, int]:
            row = conn.execute(
                f"SELECT count(*), count(embedding) FROM {table} WHERE user_id = %s", (ann,)
            ).fetchone()
            assert row
            return row[0], row[1]

        eventually(lambda: embedded() == (len(words), len(words)))


# --- from an earlier Everlog ------------------------------------------------------------------------


def test_a_job_that_an_earlier_everlog_asked_for_is_done(cells: Cells, given: Given, redis_url: str) -> None:
    given((new_id(), AddMemory(text="likes tea", scope=Scope(owner="default")))).apply(SEARCH)
    build = given.build(SEARCH)
    ids = [str(row.id) for row in SEARCH.waiting(given.conn, build, 10)]
    assert ids
    embedders = embedders_of(Settings())
    means = Means(readers_of(Settings()), embedders, Recaller(Reader(cells), embedders))
    jobs = Jobs(means, cells, broker.connect(redis_url), threads=2)
    jobs.embed(given.cell.name, build.version, ids)
    assert SEARCH.waiting(given.conn, build, 10) == []
    jobs.index(given.cell.name, build.version)


def test_a_database_of_an_earlier_everlog_gets_its_new_projections_when_a_worker_starts(
    new_database: Callable[[], str], redis_url: str, folder: Path
) -> None:
    settings = Settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex), port=free_port()
    )
    worker = worker_of(settings)
    worker.cells.create_key(KEY, "test", "default", ALL_SCOPES)
    home = worker.cells.of("default")
    with projecting(home, MEMORIES, SEARCH, HISTORY, GRAPH) as given:
        given((new_id(), AddMemory(text="likes tea", scope=Scope(owner="default"))))
        position = upload(home, indexed("ann", "old.md", TRAVEL))
        worker.start()
        eventually(lambda: {one.name for one in builds(given.conn) if one.position == position} == ALL.keys())
        build = given.build(PASSAGES)
        eventually(lambda: not PASSAGES.waiting(given.conn, build, 10))
        assert texts(given, indexed("ann", "old.md")) == passages_of("old.md", TRAVEL)
        worker.stop()
