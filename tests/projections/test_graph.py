"""The graph: given what memories say, then which entities and relations a scope knows of."""

import random
from uuid import UUID, uuid4

import msgspec
import pytest

from domain.aggregate import Command
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
from domain.scope import Scope
from projections import graph
from projections.graph import GRAPH, Edge
from tests.support.projections import Given

ANN, GOOGLE = Entity("Ann", "person"), Entity("Google", "organization")
WORKS = Traits(entities=(ANN, GOOGLE), relations=(Relation("Ann", "works_at", "Google"),))
LIVES = Traits(entities=(ANN, Entity("Bern", "place")), relations=(Relation("Ann", "lives_in", "Bern"),))


@pytest.fixture
def here() -> Scope:
    """A scope of this test's own."""
    return Scope(owner="default", user_id=f"user-{uuid4().hex[:8]}")


def says(scope: Scope, traits: Traits) -> AddMemory:
    return AddMemory(text="some words", scope=scope, extractor="rules-1", traits=traits)


def added(given: Given, scope: Scope, *traits: Traits) -> list[UUID]:
    """One memory for each of `traits`; their ids."""
    ids = [new_id() for _ in traits]
    given(*((id, says(scope, one)) for id, one in zip(ids, traits, strict=True)))
    return ids


def entities(given: Given, scope: Scope, limit: int = 100, offset: int = 0) -> list[tuple[str, str, int]]:
    nodes = given.then_answers(GRAPH, graph.entities, scope, limit, offset, asks=scope.owner)
    return [(node.name, node.type, node.memories) for node in nodes]


def relations(given: Given, scope: Scope, limit: int = 100, offset: int = 0) -> list[Edge]:
    return given.then_answers(GRAPH, graph.relations, scope, limit, offset, asks=scope.owner)


def names(given: Given, scope: Scope) -> set[str]:
    return {name for name, _, _ in entities(given, scope)}


# --- rows follow memories ---------------------------------------------------------------------------


@pytest.mark.parametrize("one_by_one", [True, False], ids=["in batches of one", "in one batch"])
def test_rows_are_what_memories_say_now(given: Given, here: Scope, one_by_one: bool) -> None:
    kept, by_hand, gone, back = (new_id() for _ in range(4))
    commands: list[tuple[UUID, MemoryCommand]] = [
        *((id, says(here, WORKS)) for id in (kept, by_hand, gone, back)),
        (kept, UpdateMemory(text="other words", traits=LIVES, extractor="rules-1")),
        (by_hand, UpdateMemory(text="words of which nothing is known")),
        (gone, DeleteMemory()),
        (back, DeleteMemory()),
    ]
    given(*commands, one_by_one=one_by_one)
    given((back, RestoreMemory(to=given.cell.log.get(Memory, back, 1), expected_version=2)))
    assert entities(given, here) == [
        ("Ann", "person", 2),
        ("Bern", "place", 1),
        ("Google", "organization", 1),
    ]
    assert relations(given, here) == [
        Edge(source="Ann", relation="lives_in", target="Bern", memory_ids=[kept]),
        Edge(source="Ann", relation="works_at", target="Google", memory_ids=[back]),
    ]


def test_a_change_that_leaves_the_words_leaves_the_rows(given: Given, here: Scope) -> None:
    (id,) = added(given, here, WORKS)
    before = entities(given, here), relations(given, here)
    given((id, UpdateMemory(metadata={"k": 1}, tags=("t",))))
    assert (entities(given, here), relations(given, here)) == before
    assert before[0] == [("Ann", "person", 1), ("Google", "organization", 1)]


def test_a_memory_that_is_told_of_later_gets_its_rows_then(given: Given, here: Scope) -> None:
    (id,) = added(given, here, Traits())
    assert entities(given, here) == []
    given((id, UpdateMemory(traits=WORKS, extractor="rules-1")))
    assert names(given, here) == {"Ann", "Google"}


# --- what is counted --------------------------------------------------------------------------------


def test_an_entity_counts_the_memories_that_name_it_and_the_most_named_comes_first(
    given: Given, here: Scope
) -> None:
    added(given, here, WORKS, LIVES, Traits(entities=(Entity("Bern", "place"), ANN)))
    assert entities(given, here) == [
        ("Ann", "person", 3),
        ("Bern", "place", 2),
        ("Google", "organization", 1),
    ]


def test_names_that_differ_in_case_alone_are_one(given: Given, here: Scope) -> None:
    added(
        given,
        here,
        Traits(entities=(Entity("Émile", "person"), Entity("ÉMILE", "person"), Entity("émile", "thing"))),
        Traits(entities=(Entity("émile", "person"),)),
    )
    ((name, type, memories),) = entities(given, here)
    assert (name.lower(), type, memories) == ("émile", "person", 2)


def test_a_relation_names_all_memories_that_say_so_however_they_spell_it(given: Given, here: Scope) -> None:
    one, two, _ = added(
        given,
        here,
        Traits(relations=(Relation("Ann", "works_at", "Google"),)),
        Traits(relations=(Relation("ann", "works_at", "GOOGLE"), Relation("ANN", "works_at", "google"))),
        Traits(relations=(Relation("Google", "works_at", "Ann"),)),
    )
    back, forth = sorted(relations(given, here), key=lambda edge: len(edge.memory_ids))
    assert sorted(forth.memory_ids) == [one, two]
    assert (forth.source.lower(), forth.relation, forth.target.lower()) == ("ann", "works_at", "google")
    assert (back.source, back.target) == ("Google", "Ann")


def test_a_relation_alone_makes_no_entity_and_an_entity_no_relation(given: Given, here: Scope) -> None:
    added(given, here, Traits(entities=(ANN,)), Traits(relations=(Relation("Bob", "knows", "Eve"),)))
    assert names(given, here) == {"Ann"}
    assert [(edge.source, edge.target) for edge in relations(given, here)] == [("Bob", "Eve")]


def test_pages_follow_each_other(given: Given, here: Scope) -> None:
    traits = Traits(
        entities=tuple(Entity(f"E{n}") for n in range(7)),
        relations=tuple(Relation(f"E{n}", "follows", f"E{n + 1}") for n in range(7)),
    )
    added(given, here, traits)
    paged = [node for offset in (0, 3, 6, 9) for node in entities(given, here, 3, offset)]
    assert paged == entities(given, here)
    assert [name for name, _, _ in paged] == [f"E{n}" for n in range(7)]
    edges = [edge for offset in (0, 3, 6, 9) for edge in relations(given, here, 3, offset)]
    assert [edge.source for edge in edges] == [f"E{n}" for n in range(7)]


# --- whose they are ---------------------------------------------------------------------------------


def test_a_scope_sees_what_has_all_ids_it_names(given: Given, here: Scope) -> None:
    ids = {"agent_id": "bot", "run_id": "run", "project_id": "shop"}
    added(given, here, Traits(entities=(Entity("everywhere"),)))
    for name, id in ids.items():
        added(given, msgspec.structs.replace(here, **{name: id}), Traits(entities=(Entity(name),)))
    assert names(given, here) == {"everywhere", *ids}
    for name, id in ids.items():
        assert names(given, msgspec.structs.replace(here, **{name: id})) == {name}
        assert names(given, msgspec.structs.replace(here, **{name: "other"})) == set()
    assert names(given, msgspec.structs.replace(here, **ids)) == set()
    assert names(given, Scope(owner="default", user_id="somebody-else")) == set()


def test_another_owner_sees_nothing_of_it(given: Given, here: Scope) -> None:
    another = Scope(owner="another", user_id=here.user_id)
    added(given, here, WORKS)
    assert (entities(given, another), relations(given, another)) == ([], [])
    given((new_id(), says(another, LIVES)), owner="another")
    assert names(given, another) == {"Ann", "Bern"}
    assert names(given, here) == {"Ann", "Google"}


# --- replay -----------------------------------------------------------------------------------------


def test_a_replay_gives_the_same_rows(given: Given, here: Scope) -> None:
    chance = random.Random(7)
    ids = added(given, here, *[WORKS] * 30)
    for turn in range(300):
        id = chance.choice(ids)
        memory = given.cell.log.get(Memory, id)
        change: Command[Memory] = chance.choice(
            [
                UpdateMemory(text=f"words {turn}", traits=chance.choice([WORKS, LIVES, Traits()])),
                UpdateMemory(text=f"words by hand {turn}"),
                UpdateMemory(metadata={"turn": turn}),
                DeleteMemory(),
            ]
        )
        if memory.deleted:
            change = RestoreMemory(to=given.cell.log.get(Memory, id, 1), expected_version=memory.version)
        given((id, change))
        if chance.random() < 0.1:
            given.apply(GRAPH)
    live = entities(given, here), relations(given, here)
    given.then_a_replay_changes_nothing(GRAPH)
    assert (entities(given, here), relations(given, here)) == live
    assert live[0] and live[1]
