"""The graph: given what memories say, then which entities and relations a scope knows of."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.aggregate import Command
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import (
    AddMemory,
    DeleteMemory,
    Entity,
    Memory,
    MemoryCommand,
    Relation,
    RestoreMemory,
    Traits,
    UpdateMemory,
)
from domain.recorded import Context
from domain.scope import Scope
from projections import ALL, graph, rebuild
from projections.catalogue import Build
from projections.graph import Edge, Node
from projections.runner import ensure_live
from tests.support.projections import applied, build_of, checksum, given

GRAPH = ALL["graph"]
ANN, GOOGLE = Entity("Ann", "person"), Entity("Google", "organization")
WORKS = Traits(entities=(ANN, GOOGLE), relations=(Relation("Ann", "works_at", "Google"),))
LIVES = Traits(entities=(ANN, Entity("Bern", "place")), relations=(Relation("Ann", "lives_in", "Bern"),))

T = TypeVar("T")


@pytest.fixture(autouse=True)
def conn(cell: Cell) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        ensure_live(conn, GRAPH, None)
        yield conn


@pytest.fixture
def here() -> Scope:
    """A scope of this test's own."""
    return Scope(owner="default", user_id=f"user-{uuid4().hex[:8]}")


def says(scope: Scope, traits: Traits) -> AddMemory:
    return AddMemory(text="some words", scope=scope, extractor="rules-1", traits=traits)


def added(cell: Cell, scope: Scope, *traits: Traits) -> list[UUID]:
    """One memory for each of `traits`; their ids."""
    ids = [new_id() for _ in traits]
    given(cell, *((id, says(scope, one)) for id, one in zip(ids, traits, strict=True)))
    return ids


def asked(cell: Cell, query: Callable[..., Awaitable[T]], scope: Scope, limit: int, offset: int) -> T:
    """What the live build answers once it holds all that is in the log."""

    async def ask(build: Build) -> T:
        async with await psycopg.AsyncConnection.connect(cell.conninfo, autocommit=True) as asking:
            return await query(asking, build, scope, limit, offset)

    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        applied(conn, cell, GRAPH)
        return asyncio.run(ask(build_of(conn, "graph")))


def entities(cell: Cell, scope: Scope, limit: int = 100, offset: int = 0) -> list[tuple[str, str, int]]:
    nodes: list[Node] = asked(cell, graph.entities, scope, limit, offset)
    return [(node.name, node.type, node.memories) for node in nodes]


def relations(cell: Cell, scope: Scope, limit: int = 100, offset: int = 0) -> list[Edge]:
    return asked(cell, graph.relations, scope, limit, offset)


def names(cell: Cell, scope: Scope) -> set[str]:
    return {name for name, _, _ in entities(cell, scope)}


# --- rows follow memories ---------------------------------------------------------------------------


@pytest.mark.parametrize("one_by_one", [True, False], ids=["in batches of one", "in one batch"])
def test_rows_are_what_memories_say_now(
    cell: Cell, conn: psycopg.Connection[Any], here: Scope, one_by_one: bool
) -> None:
    kept, by_hand, gone, back = (new_id() for _ in range(4))
    commands: list[tuple[UUID, MemoryCommand]] = [
        *((id, says(here, WORKS)) for id in (kept, by_hand, gone, back)),
        (kept, UpdateMemory(text="other words", traits=LIVES, extractor="rules-1")),
        (by_hand, UpdateMemory(text="words of which nothing is known")),
        (gone, DeleteMemory()),
        (back, DeleteMemory()),
    ]
    for command in commands:
        given(cell, command)
        if one_by_one:
            applied(conn, cell, GRAPH)
    given(cell, (back, RestoreMemory(to=cell.log.get(Memory, back, 1), expected_version=2)))
    assert entities(cell, here) == [("Ann", "person", 2), ("Bern", "place", 1), ("Google", "organization", 1)]
    assert relations(cell, here) == [
        Edge(source="Ann", relation="lives_in", target="Bern", memory_ids=[kept]),
        Edge(source="Ann", relation="works_at", target="Google", memory_ids=[back]),
    ]


def test_a_change_that_leaves_the_words_leaves_the_rows(cell: Cell, here: Scope) -> None:
    (id,) = added(cell, here, WORKS)
    before = entities(cell, here), relations(cell, here)
    given(cell, (id, UpdateMemory(metadata={"k": 1}, tags=("t",))))
    assert (entities(cell, here), relations(cell, here)) == before
    assert before[0] == [("Ann", "person", 1), ("Google", "organization", 1)]


def test_a_memory_that_is_told_of_later_gets_its_rows_then(cell: Cell, here: Scope) -> None:
    (id,) = added(cell, here, Traits())
    assert entities(cell, here) == []
    given(cell, (id, UpdateMemory(traits=WORKS, extractor="rules-1")))
    assert names(cell, here) == {"Ann", "Google"}


# --- what is counted --------------------------------------------------------------------------------


def test_an_entity_counts_the_memories_that_name_it_and_the_most_named_comes_first(
    cell: Cell, here: Scope
) -> None:
    added(cell, here, WORKS, LIVES, Traits(entities=(Entity("Bern", "place"), ANN)))
    assert entities(cell, here) == [("Ann", "person", 3), ("Bern", "place", 2), ("Google", "organization", 1)]


def test_names_that_differ_in_case_alone_are_one(cell: Cell, here: Scope) -> None:
    added(
        cell,
        here,
        Traits(entities=(Entity("Émile", "person"), Entity("ÉMILE", "person"), Entity("émile", "thing"))),
        Traits(entities=(Entity("émile", "person"),)),
    )
    ((name, type, memories),) = entities(cell, here)
    assert (name.lower(), type, memories) == ("émile", "person", 2)


def test_a_relation_names_all_memories_that_say_so_however_they_spell_it(cell: Cell, here: Scope) -> None:
    one, two, _ = added(
        cell,
        here,
        Traits(relations=(Relation("Ann", "works_at", "Google"),)),
        Traits(relations=(Relation("ann", "works_at", "GOOGLE"), Relation("ANN", "works_at", "google"))),
        Traits(relations=(Relation("Google", "works_at", "Ann"),)),
    )
    back, forth = sorted(relations(cell, here), key=lambda edge: len(edge.memory_ids))
    assert sorted(forth.memory_ids) == [one, two]
    assert (forth.source.lower(), forth.relation, forth.target.lower()) == ("ann", "works_at", "google")
    assert (back.source, back.target) == ("Google", "Ann")


def test_a_relation_alone_makes_no_entity_and_an_entity_no_relation(cell: Cell, here: Scope) -> None:
    added(cell, here, Traits(entities=(ANN,)), Traits(relations=(Relation("Bob", "knows", "Eve"),)))
    assert names(cell, here) == {"Ann"}
    assert [(edge.source, edge.target) for edge in relations(cell, here)] == [("Bob", "Eve")]


def test_pages_follow_each_other(cell: Cell, here: Scope) -> None:
    traits = Traits(
        entities=tuple(Entity(f"E{n}") for n in range(7)),
        relations=tuple(Relation(f"E{n}", "follows", f"E{n + 1}") for n in range(7)),
    )
    added(cell, here, traits)
    paged = [node for offset in (0, 3, 6, 9) for node in entities(cell, here, 3, offset)]
    assert paged == entities(cell, here)
    assert [name for name, _, _ in paged] == [f"E{n}" for n in range(7)]
    edges = [edge for offset in (0, 3, 6, 9) for edge in relations(cell, here, 3, offset)]
    assert [edge.source for edge in edges] == [f"E{n}" for n in range(7)]


# --- whose they are ---------------------------------------------------------------------------------


def test_a_scope_sees_what_has_all_ids_it_names(cell: Cell, here: Scope) -> None:
    ids = {"agent_id": "bot", "run_id": "run", "project_id": "shop"}
    user = {"owner": here.owner, "user_id": here.user_id}
    added(cell, here, Traits(entities=(Entity("everywhere"),)))
    for name, id in ids.items():
        added(cell, Scope(**user, **{name: id}), Traits(entities=(Entity(name),)))
    assert names(cell, here) == {"everywhere", *ids}
    for name, id in ids.items():
        assert names(cell, Scope(**user, **{name: id})) == {name}
        assert names(cell, Scope(**user, **{name: "other"})) == set()
    assert names(cell, Scope(**user, **ids)) == set()
    assert names(cell, Scope(owner="default", user_id="somebody-else")) == set()


def test_another_owner_sees_nothing_of_it(cell: Cell, here: Scope) -> None:
    another = Scope(owner="another", user_id=here.user_id)
    added(cell, here, WORKS)
    assert entities(cell, another) == relations(cell, another) == []
    theirs = Context(owner="another", actor="key", cause="command", correlation="request")
    work = Work(context=theirs, commands=[(new_id(), says(another, LIVES))])
    cell.writer.submit(work).result(30)
    assert names(cell, another) == {"Ann", "Bern"}
    assert names(cell, here) == {"Ann", "Google"}


# --- replay -----------------------------------------------------------------------------------------


def test_a_replay_gives_the_same_rows(cell: Cell, conn: psycopg.Connection[Any], here: Scope) -> None:
    chance = random.Random(7)
    ids = added(cell, here, *[WORKS] * 30)
    for turn in range(300):
        id = chance.choice(ids)
        memory = cell.log.get(Memory, id)
        change: Command[Memory] = chance.choice(
            [
                UpdateMemory(text=f"words {turn}", traits=chance.choice([WORKS, LIVES, Traits()])),
                UpdateMemory(text=f"words by hand {turn}"),
                UpdateMemory(metadata={"turn": turn}),
                DeleteMemory(),
            ]
        )
        if memory.deleted:
            change = RestoreMemory(to=cell.log.get(Memory, id, 1), expected_version=memory.version)
        given(cell, (id, change))
        if chance.random() < 0.1:
            applied(conn, cell, GRAPH)
    live = entities(cell, here), relations(cell, here)
    rows = checksum(conn, "graph")
    version = rebuild.begin(conn, "graph", None)
    assert rebuild.replay(cell, GRAPH, version)
    assert build_of(conn, "graph").version == version
    assert checksum(conn, "graph") == rows
    assert (entities(cell, here), relations(cell, here)) == live
    assert live[0] and live[1]
