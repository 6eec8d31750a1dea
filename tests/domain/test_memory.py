"""The Memory aggregate: given events, when a command, then an event or a refusal."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import NotFound, VersionConflict
from domain.eventstore.mapper import record
from domain.ids import new_id
from domain.memory import (
    Added,
    AddMemory,
    Command,
    Deleted,
    DeleteMemory,
    Scope,
    Updated,
    UpdateMemory,
    decide,
    merged,
    project,
)
from domain.recorded import Context, Event, Recorded

OWNER = "acme"
HERE = Scope(owner=OWNER, user_id="ann")
HIKING = Added(text="User loves hiking", scope=HERE, metadata={"sure": True}, tags=("hobby",))


def stream(*events: Event, id: UUID | None = None) -> list[Recorded]:
    context = Context(owner=OWNER, actor="key", cause="command", correlation="request")
    id = id or new_id()
    return [record(e, stream_id=id, version=n, context=context) for n, e in enumerate(events, start=1)]


def when(command: Command, *events: Event, owner: str = OWNER) -> Event | None:
    """The event that follows from `command` after `events`."""
    return decide(project(None, stream(*events)), command, owner)


def test_a_memory_is_added_with_its_scope_metadata_and_tags() -> None:
    command = AddMemory(text="User loves hiking", scope=HERE, metadata={"sure": True}, tags=("hobby",))
    assert when(command) == HIKING


def test_nulls_in_new_metadata_are_keys_that_are_not_there() -> None:
    assert when(AddMemory(text="x", scope=HERE, metadata={"a": None, "b": 1})) == Added(
        text="x", scope=HERE, metadata={"b": 1}
    )


def test_an_update_says_only_what_changed() -> None:
    command = UpdateMemory(text="User loves hiking", metadata={"sure": True, "since": 2020}, tags=("hobby",))
    assert when(command, HIKING) == Updated(metadata={"since": 2020})


def test_a_null_removes_a_key_and_is_no_change_where_there_is_none() -> None:
    assert when(UpdateMemory(metadata={"sure": None, "absent": None}), HIKING) == Updated(
        metadata={"sure": None}
    )


def test_an_update_that_changes_nothing_makes_no_event() -> None:
    assert when(UpdateMemory(text=HIKING.text, metadata={"sure": True}), HIKING) is None


def test_an_expected_version_that_is_not_current_is_a_conflict() -> None:
    with pytest.raises(VersionConflict) as conflict:
        when(UpdateMemory(text="x", expected_version=1), HIKING, Updated(text="y"))
    assert (conflict.value.expected, conflict.value.current) == (1, 2)
    with pytest.raises(VersionConflict):
        when(DeleteMemory(expected_version=7), HIKING)


@pytest.mark.parametrize("command", [UpdateMemory(text="x"), DeleteMemory()])
def test_what_is_absent_deleted_or_anothers_is_not_found(command: Command) -> None:
    with pytest.raises(NotFound):
        when(command)
    with pytest.raises(NotFound):
        when(command, HIKING, Deleted())
    with pytest.raises(NotFound):
        when(command, HIKING, owner="another")


def test_a_memory_cannot_be_added_for_another_owner() -> None:
    with pytest.raises(NotFound):
        when(AddMemory(text="x", scope=Scope(owner="another")))


def test_deleting_one_of_many_that_has_gone_is_no_error() -> None:
    assert when(DeleteMemory(missing_ok=True), HIKING, Deleted()) is None


def test_a_deleted_memory_can_be_added_again_and_its_version_goes_on() -> None:
    command = AddMemory(text="User loves hiking again", scope=HERE)
    again = when(command, HIKING, Deleted())
    assert isinstance(again, Added)
    events = stream(HIKING, Deleted(), again)
    memory = project(None, events)
    assert memory and not memory.deleted
    assert memory.version == 3
    assert memory.created_at == events[0].occurred_at


plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
changes = st.dictionaries(st.sampled_from("abcd"), plain, max_size=4)


@any_of(changes, changes, changes)
def test_writers_of_different_keys_both_win_in_either_order(
    start: dict[str, Any], one: dict[str, Any], two: dict[str, Any]
) -> None:
    two = {key: value for key, value in two.items() if key not in one}
    start = merged({}, start)
    assert merged(merged(start, one), two) == merged(merged(start, two), one)


@any_of(st.lists(st.tuples(st.none() | st.text(max_size=3), changes)))
def test_the_events_of_any_updates_lead_to_the_state_the_updates_ask_for(
    updates: list[tuple[str | None, dict[str, Any]]],
) -> None:
    events: list[Event] = [Added(text="start", scope=HERE)]
    text, metadata = "start", {}
    for new_text, new_metadata in updates:
        event = when(UpdateMemory(text=new_text, metadata=new_metadata), *events)
        events += [event] if event else []
        text, metadata = new_text if new_text is not None else text, merged(metadata, new_metadata)
    memory = project(None, stream(*events))
    assert memory
    assert (memory.text, memory.metadata, memory.version) == (text, metadata, len(events))
