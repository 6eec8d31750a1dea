"""Undo: given what several causes did to a memory, when one is undone, then what the memory becomes."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import Refused, VersionConflict
from domain.eventstore.mapper import record
from domain.ids import new_id
from domain.memory import (
    Added,
    AddMemory,
    Deleted,
    DeleteMemory,
    Entity,
    Erased,
    Memory,
    Relation,
    RestoreMemory,
    Traits,
    Updated,
    UpdateMemory,
    decide,
    project,
)
from domain.recorded import Context, Event, Recorded
from domain.undo import Undo, undo
from tests.support.aggregates import HERE, OWNER

TRAITS = Traits(
    type="fact",
    happened_on=date(2024, 5, 17),
    entities=(Entity("Ann", "person"),),
    relations=(Relation("Ann", "lives_in", "Bern"),),
)
BERN = Added(text="Ann lives in Bern", scope=HERE, metadata={"k": 1}, tags=("home",), traits=TRAITS)
ROME = Updated(text="Ann lives in Rome", traits=Traits(type="fact"))


def stream(*events: tuple[str, Event]) -> list[Recorded]:
    """The events of one memory, each with its cause."""
    id = new_id()
    return [
        record(event, stream_id=id, version=version, context=by(cause))
        for version, (cause, event) in enumerate(events, start=1)
    ]


def by(cause: str) -> Context:
    return Context(owner=OWNER, actor="key", cause=cause, correlation="request")


def of(cause: str, events: Iterable[Recorded]) -> set[Any]:
    return {recorded.event_id for recorded in events if recorded.context.cause == cause}


def undone(cause: str, *events: tuple[str, Event]) -> Undo:
    """What undoing `cause` means after `events`."""
    recorded = stream(*events)
    return undo(recorded, of(cause, recorded))


def content(memory: Memory | None) -> tuple[object, ...] | None:
    """What can be read of a memory; None where it is not there."""
    if memory is None or memory.deleted:
        return None
    return memory.text, memory.metadata, memory.tags, memory.traits, memory.scope


def content_after(events: Iterable[Recorded]) -> tuple[object, ...] | None:
    return content(project(None, events))


def carried_out(events: list[Recorded], one: Undo) -> list[Recorded]:
    """The memory's events after the command that undoes, if there is one."""
    command = one.command()
    event = decide(project(None, events), command, OWNER) if command else None
    if event is None:
        return events
    id, version = events[0].originator_id, len(events) + 1
    return [*events, record(event, stream_id=id, version=version, context=by("undo"))]


# --- cases ------------------------------------------------------------------------------------------


def test_what_was_added_is_deleted() -> None:
    one = undone("ing", ("ing", BERN), ("ing", ROME))
    assert (one.action, one.after) == ("DELETE", None)
    assert one.command() == DeleteMemory(expected_version=2)


def test_what_was_changed_becomes_what_it_was() -> None:
    one = undone("ing", ("human", BERN), ("ing", ROME))
    assert one.action == "UPDATE"
    assert one.before.text == "Ann lives in Rome"
    assert content(one.after) == content_after(stream(("human", BERN)))
    assert one.after
    assert one.command() == RestoreMemory(to=one.after, expected_version=2)


def test_what_was_deleted_is_restored_with_all_it_had() -> None:
    events = stream(("human", BERN), ("ing", Deleted()))
    one = undo(events, of("ing", events))
    assert one.action == "RESTORE"
    assert content_after(carried_out(events, one)) == content_after(stream(("human", BERN)))


@pytest.mark.parametrize(
    ("later", "metadata"),
    [
        ({"sure": True}, {"k": 1, "sure": True}),
        ({"k": 3}, {"k": 3}),
        ({"k": None}, {}),
    ],
    ids=["another key", "the same key", "a key removed"],
)
def test_what_people_changed_since_is_kept(later: dict[str, Any], metadata: dict[str, Any]) -> None:
    events = stream(
        ("human", BERN),
        ("ing", Updated(text="Ann lives in Rome", metadata={"k": 2})),
        ("human", Updated(metadata=later)),
    )
    one = undo(events, of("ing", events))
    assert one.action == "UPDATE"
    after = project(None, carried_out(events, one))
    assert after
    assert (after.text, after.metadata) == ("Ann lives in Bern", metadata)


def test_undoing_what_people_have_replaced_since_changes_nothing() -> None:
    one = undone("ing", ("human", BERN), ("ing", ROME), ("human", Updated(text="x", traits=TRAITS)))
    assert one.action == "NONE"
    assert one.command() is None


def test_a_memory_that_others_have_built_upon_is_left_alone() -> None:
    one = undone("ing", ("ing", BERN), ("human", Updated(metadata={"sure": True})))
    assert one.action == "CONFLICT"
    assert one.command() is None
    assert one.before.text == BERN.text


def test_an_undone_deletion_that_was_undone_since_is_nothing_to_do() -> None:
    one = undone("ing", ("human", BERN), ("ing", Deleted()), ("human", BERN))
    assert one.action == "NONE"


def test_what_two_causes_deleted_stays_deleted_when_one_of_them_is_undone() -> None:
    one = undone("ing", ("human", BERN), ("ing", Deleted()), ("ing", BERN), ("human", Deleted()))
    assert (one.action, one.command()) == ("NONE", None)


@pytest.mark.parametrize("between", [[], [("human", ROME)]], ids=["as it was", "changed"])
def test_undoing_the_addition_of_what_people_have_deleted_since_changes_nothing(
    between: list[tuple[str, Event]],
) -> None:
    one = undone("ing", ("ing", BERN), *between, ("human", Deleted()))
    assert (one.action, one.after) == ("NONE", None)


def test_a_restored_memory_that_others_have_built_upon_is_left_alone_too() -> None:
    one = undone("revert", ("ing", BERN), ("human", Deleted()), ("revert", BERN), ("human", ROME))
    assert one.action == "CONFLICT"


def test_an_undo_is_refused_once_the_memory_has_changed() -> None:
    events = stream(("human", BERN), ("ing", ROME), ("human", Updated(tags=())))
    command = undo(events[:2], of("ing", events)).command()
    assert command
    with pytest.raises(VersionConflict):
        decide(project(None, events), command, OWNER)


# --- properties -------------------------------------------------------------------------------------

texts = st.sampled_from(["one", "two", "three"])
metadata = st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers(0, 2), max_size=2)
tags = st.sampled_from([(), ("a",), ("a", "b")])
traits = st.sampled_from([Traits(), Traits(type="goal"), TRAITS])
updates = st.builds(
    UpdateMemory,
    text=st.none() | texts,
    metadata=st.none() | metadata,
    tags=st.none() | tags,
    traits=st.none() | traits,
)
additions = st.builds(AddMemory, text=texts, scope=st.just(HERE), metadata=metadata, tags=tags, traits=traits)
causes = st.sampled_from(["ing", "human"])


def lived(steps: list[tuple[str, UpdateMemory | AddMemory | DeleteMemory]]) -> list[Recorded]:
    """The events of a memory after all commands that were not refused."""
    events = stream(("ing", BERN))
    for cause, command in steps:
        try:
            event = decide(project(None, events), command, OWNER)
        except Refused:
            continue
        if event:
            id, version = events[0].originator_id, len(events) + 1
            events.append(record(event, stream_id=id, version=version, context=by(cause)))
    return events


@any_of(st.sets(st.sampled_from(["ing", "human", "eraser"])))
def test_nothing_is_undone_of_an_erased_memory(causes: set[str]) -> None:
    for between in ([], [("human", ROME)], [("human", Deleted())]):
        events = stream(("ing", BERN), *between, ("eraser", Erased()))
        one = undo(events, {id for cause in causes for id in of(cause, events)})
        assert (one.action, one.after, one.command()) == ("NONE", None, None)


lives = st.lists(st.tuples(causes, updates | additions | st.just(DeleteMemory())), max_size=10).map(lived)


@any_of(lives, st.integers(0, 9))
def test_undoing_the_last_events_gives_exactly_the_memory_before_them(events: list[Recorded], n: int) -> None:
    before, last = events[: max(0, len(events) - n)], events[max(0, len(events) - n) :]
    one = undo(events, {recorded.event_id for recorded in last})
    assert one.action != "CONFLICT"
    assert content(one.after) == content_after(before)
    assert content_after(carried_out(events, one)) == content_after(before)


@any_of(lives)
def test_undoing_nothing_changes_nothing(events: list[Recorded]) -> None:
    one = undo(events, set())
    assert (one.action, one.command()) == ("NONE", None)
    assert one.before == project(None, events)


@any_of(lives)
def test_undoing_everything_leaves_nothing(events: list[Recorded]) -> None:
    one = undo(events, {recorded.event_id for recorded in events})
    assert one.action == ("DELETE" if content_after(events) else "NONE")
    assert one.after is None
    assert content_after(carried_out(events, one)) is None


@any_of(lives, causes)
def test_carrying_an_undo_out_gives_the_memory_that_it_promised(events: list[Recorded], cause: str) -> None:
    one = undo(events, of(cause, events))
    then = carried_out(events, one)
    assert (one.memory_id, one.before) == (events[0].originator_id, project(None, events))
    if one.action == "CONFLICT":
        assert then == events
    else:
        assert content_after(then) == content(one.after)
        assert (then == events) == (one.action == "NONE")


@any_of(lives, causes)
def test_undoing_an_undo_gives_the_memory_as_it_was(events: list[Recorded], cause: str) -> None:
    then = carried_out(events, undo(events, of(cause, events)))
    back = carried_out(then, undo(then, of("undo", then)))
    assert content_after(back) == content_after(events)
