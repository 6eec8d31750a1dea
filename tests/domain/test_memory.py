"""The Memory aggregate: given events, when a command, then an event or a refusal."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import NotFound, VersionConflict
from domain.eventstore.mapper import record
from domain.ids import new_id
from domain.memory import (
    Added,
    AddMemory,
    Deleted,
    DeleteMemory,
    Entity,
    Erased,
    EraseMemory,
    Memory,
    MemoryCommand,
    Relation,
    RestoreMemory,
    Scope,
    Traits,
    Updated,
    UpdateMemory,
    decide,
    merged,
    project,
    redacted,
)
from domain.recorded import Context, Event, Recorded, now

OWNER = "acme"
HERE = Scope(owner=OWNER, user_id="ann")
HIKING = Added(text="User loves hiking", scope=HERE, metadata={"sure": True}, tags=("hobby",))
TRAITS = Traits(
    type="experience",
    confidence=0.75,
    categories=("work",),
    happened_on=date(2024, 5, 17),
    entities=(Entity("Ann", "person"), Entity("Google")),
    relations=(Relation("Ann", "works_at", "Google"),),
)
GOOGLE = Added(text="Ann joined Google", scope=HERE, extractor="rules-1", traits=TRAITS)


def stream(*events: Event, id: UUID | None = None) -> list[Recorded]:
    context = Context(owner=OWNER, actor="key", cause="command", correlation="request")
    id = id or new_id()
    return [record(e, stream_id=id, version=n, context=context) for n, e in enumerate(events, start=1)]


def when(command: MemoryCommand, *events: Event, owner: str = OWNER) -> Event | None:
    """The event that follows from `command` after `events`."""
    return decide(project(None, stream(*events)), command, owner)


def test_a_memory_is_added_with_its_scope_metadata_and_tags() -> None:
    command = AddMemory(text="User loves hiking", scope=HERE, metadata={"sure": True}, tags=("hobby",))
    assert when(command) == HIKING


NULL = Added(text="x", scope=HERE, metadata={"a": None, "b": 1})


def test_nulls_in_new_metadata_are_kept_as_they_were_sent() -> None:
    assert when(AddMemory(text="x", scope=HERE, metadata={"a": None, "b": 1})) == NULL
    assert memory_after(NULL, Updated(metadata={"b": 2})).metadata == {"a": None, "b": 2}


def test_a_null_that_was_there_is_removed_by_a_null_as_any_other_value() -> None:
    removed = when(UpdateMemory(metadata={"a": None}), NULL)
    assert removed == Updated(metadata={"a": None})
    assert memory_after(NULL, removed).metadata == {"b": 1}


@pytest.mark.parametrize("value", [None, 5])
def test_a_null_that_was_changed_or_removed_is_restored(value: int | None) -> None:
    changed = Updated(metadata={"a": value, "c": 3})
    restored = when(RestoreMemory(to=memory_after(NULL), expected_version=2), NULL, changed)
    assert restored == Updated(metadata={"c": None}, nulls=("a",))
    assert memory_after(NULL, changed, restored).metadata == NULL.metadata


def test_a_memory_that_came_to_be_elsewhere_keeps_its_time_and_its_events_tell_theirs() -> None:
    long_ago = datetime(2024, 3, 1, tzinfo=UTC)
    added = when(AddMemory(text="x", scope=HERE, created_at=long_ago))
    assert added == Added(text="x", scope=HERE, created_at=long_ago)
    events = stream(added)
    memory = project(None, events)
    assert memory
    assert (memory.created_at, memory.updated_at) == (long_ago, events[0].occurred_at)
    again = memory_after(added, Deleted(), Added(text="x", scope=HERE, created_at=now()))
    assert again.created_at == long_ago
    back = when(RestoreMemory(to=memory, expected_version=2), added, Deleted())
    assert isinstance(back, Added)
    assert memory_after(added, Deleted(), back).created_at == long_ago


def test_a_memory_that_has_expired_can_only_go() -> None:
    today = now().date()
    expired = Added(text="x", scope=HERE, traits=Traits(expires_on=today))
    for command in (UpdateMemory(text="y"), UpdateMemory(expires_on=None), UpdateMemory(expected_version=7)):
        with pytest.raises(NotFound):
            when(command, expired)
    assert when(DeleteMemory(), expired) == Deleted()
    assert when(EraseMemory(), expired) == Erased()
    tomorrow = Added(text="x", scope=HERE, traits=Traits(expires_on=today + timedelta(days=1)))
    assert when(UpdateMemory(tags=("t",)), tomorrow) == Updated(tags=("t",))


def test_an_update_says_only_what_changed() -> None:
    command = UpdateMemory(text="User loves hiking", metadata={"sure": True, "since": 2020}, tags=("hobby",))
    assert when(command, HIKING) == Updated(metadata={"since": 2020})


def test_a_null_removes_a_key_and_is_no_change_where_there_is_none() -> None:
    assert when(UpdateMemory(metadata={"sure": None, "absent": None}), HIKING) == Updated(
        metadata={"sure": None}
    )


def test_an_update_that_changes_nothing_makes_no_event() -> None:
    assert when(UpdateMemory(text=HIKING.text, metadata={"sure": True}), HIKING) is None


def test_true_and_one_are_different_values() -> None:
    assert when(UpdateMemory(metadata={"sure": 1}), HIKING) == Updated(metadata={"sure": 1})


def test_an_expected_version_that_is_not_current_is_a_conflict() -> None:
    with pytest.raises(VersionConflict) as conflict:
        when(UpdateMemory(text="x", expected_version=1), HIKING, Updated(text="y"))
    assert (conflict.value.expected, conflict.value.current) == (1, 2)
    with pytest.raises(VersionConflict):
        when(DeleteMemory(expected_version=7), HIKING)


@pytest.mark.parametrize("command", [UpdateMemory(text="x"), DeleteMemory()])
def test_what_is_absent_deleted_or_anothers_is_not_found(command: MemoryCommand) -> None:
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


# --- what extraction found ---------------------------------------------------------------------------


def test_a_distilled_memory_names_its_extractor_and_has_traits() -> None:
    command = AddMemory(text="Ann joined Google", scope=HERE, extractor="rules-1", traits=TRAITS)
    assert when(command) == GOOGLE
    memory = project(None, stream(GOOGLE))
    assert memory
    assert memory.traits == TRAITS


def test_words_changed_by_hand_lose_what_was_found_in_the_old_ones_but_not_their_kind() -> None:
    event = when(UpdateMemory(text="Ann joined Apple"), GOOGLE)
    assert event == Updated(
        text="Ann joined Apple", traits=Traits(type="experience", confidence=0.75, categories=("work",))
    )


@pytest.mark.parametrize(
    "command",
    [UpdateMemory(metadata={"a": 1}), UpdateMemory(tags=("t",)), UpdateMemory(text=GOOGLE.text, tags=("t",))],
)
def test_while_the_words_stay_so_do_the_traits(command: MemoryCommand) -> None:
    event = when(command, GOOGLE)
    assert isinstance(event, Updated)
    assert event.traits is None
    memory = project(None, stream(GOOGLE, event))
    assert memory
    assert memory.traits == TRAITS


def test_words_changed_by_hand_where_nothing_was_found_change_only_the_words() -> None:
    assert when(UpdateMemory(text="User hates hiking"), HIKING) == Updated(text="User hates hiking")


def test_an_extractor_that_changes_words_brings_the_traits_of_the_new_ones() -> None:
    traits = Traits(type="fact", entities=(Entity("Apple"),))
    command = UpdateMemory(text="Ann joined Apple", traits=traits, extractor="rules-1")
    assert when(command, GOOGLE) == Updated(text="Ann joined Apple", traits=traits, extractor="rules-1")


def test_traits_can_change_alone_and_an_extractor_that_changes_nothing_makes_no_event() -> None:
    traits = msgspec.structs.replace(TRAITS, type="fact")
    assert when(UpdateMemory(traits=traits, extractor="rules-1"), GOOGLE) == Updated(
        traits=traits, extractor="rules-1"
    )
    assert when(UpdateMemory(text=GOOGLE.text, traits=TRAITS, extractor="rules-2"), GOOGLE) is None


def test_a_deletion_names_the_extractor_that_found_the_memory_wrong() -> None:
    assert when(DeleteMemory(extractor="rules-1", expected_version=1), GOOGLE) == Deleted(extractor="rules-1")


# --- restoring ----------------------------------------------------------------------------------------


def memory_after(*events: Event) -> Memory:
    memory = project(None, stream(*events))
    assert memory
    return memory


def test_a_deleted_memory_is_restored_with_all_it_had() -> None:
    to = memory_after(GOOGLE, Updated(metadata={"a": 1}, tags=("t",)))
    assert when(RestoreMemory(to=to, expected_version=2), GOOGLE, Deleted()) == Added(
        text="Ann joined Google", scope=HERE, metadata={"a": 1}, tags=("t",), traits=TRAITS
    )


def test_a_changed_memory_is_restored_by_the_change_back() -> None:
    changed = Updated(text="Ann left Google", metadata={"sure": False, "new": 1}, tags=(), traits=Traits())
    restored = when(RestoreMemory(to=memory_after(HIKING), expected_version=2), HIKING, changed)
    assert restored == Updated(
        text="User loves hiking", metadata={"sure": True, "new": None}, tags=("hobby",)
    )
    traits_back = when(RestoreMemory(to=memory_after(GOOGLE), expected_version=2), GOOGLE, changed)
    assert isinstance(traits_back, Updated)
    assert traits_back.traits == TRAITS


def test_restoring_what_is_as_it_was_makes_no_event() -> None:
    there_and_back = (Updated(tags=("t",)), Updated(tags=HIKING.tags))
    assert when(RestoreMemory(to=memory_after(HIKING), expected_version=3), HIKING, *there_and_back) is None


def test_only_a_memory_of_ones_own_that_nobody_has_changed_meanwhile_is_restored() -> None:
    command = RestoreMemory(to=memory_after(HIKING), expected_version=2)
    with pytest.raises(NotFound):
        when(command)
    with pytest.raises(NotFound):
        when(command, HIKING, Deleted(), owner="another")
    with pytest.raises(VersionConflict):
        when(command, HIKING)
    with pytest.raises(VersionConflict):
        when(command, HIKING, Deleted(), HIKING)


# --- scopes -------------------------------------------------------------------------------------------

ids = st.none() | st.sampled_from("ab")
scopes = st.builds(Scope, owner=st.sampled_from("ab"), user_id=ids, agent_id=ids, run_id=ids, project_id=ids)


@any_of(scopes, scopes)
def test_a_scope_holds_those_that_have_all_ids_it_names(wide: Scope, narrow: Scope) -> None:
    named = {name: id for name, id in msgspec.structs.asdict(wide).items() if id is not None}
    assert wide.holds(narrow) == (named.items() <= msgspec.structs.asdict(narrow).items())
    assert wide.holds(wide)
    assert Scope(owner=wide.owner).holds(wide)


# --- properties ---------------------------------------------------------------------------------------


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


# --- erasure ------------------------------------------------------------------------------------------


def test_a_memory_is_erased_deleted_or_not() -> None:
    assert when(EraseMemory(), HIKING) == Erased()
    assert when(EraseMemory(), HIKING, Deleted()) == Erased()
    assert when(EraseMemory(expected_version=2), HIKING, Deleted()) == Erased()
    with pytest.raises(VersionConflict):
        when(EraseMemory(expected_version=1), HIKING, Deleted())


def test_an_erased_memory_has_no_words_left() -> None:
    memory = project(None, stream(GOOGLE, Updated(metadata={"a": 1}, tags=("t",)), Erased()))
    assert memory
    assert (memory.text, memory.metadata, memory.tags, memory.traits) == ("", {}, (), Traits())
    assert (memory.deleted, memory.erased, memory.version, memory.scope) == (True, True, 3, HERE)


@pytest.mark.parametrize(
    "command",
    [
        EraseMemory(),
        DeleteMemory(),
        UpdateMemory(text="x"),
        AddMemory(text="x", scope=HERE),
        RestoreMemory(to=project(None, stream(HIKING)), expected_version=2),  # type: ignore[arg-type]
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_more_happens_to_an_erased_memory(command: MemoryCommand) -> None:
    with pytest.raises(NotFound):
        when(command, HIKING, Erased())


def test_erasing_of_many_passes_over_what_is_gone_or_anothers() -> None:
    command = EraseMemory(missing_ok=True)
    assert when(command) is None
    assert when(command, HIKING, Erased()) is None
    assert when(command, HIKING, owner="another") is None
    with pytest.raises(NotFound):
        when(EraseMemory(), HIKING, owner="another")


def test_no_event_follows_an_erasure() -> None:
    for event in (HIKING, Updated(text="x")):
        with pytest.raises(ValueError, match="cannot follow"):
            project(None, stream(HIKING, Erased(), event))


def test_what_is_left_of_an_event_tells_that_it_happened() -> None:
    assert redacted(GOOGLE) == Added(text="", scope=HERE, extractor="rules-1")
    assert redacted(msgspec.structs.replace(HIKING, role="user")) == Added(text="", scope=HERE, role="user")
    assert redacted(Updated(text="x", extractor="rules-1")) == Updated(text="", extractor="rules-1")
    whole = Updated(text="x", metadata={"a": None}, tags=("t",), traits=TRAITS, nulls=("b",))
    assert redacted(whole) == Updated(text="", metadata={}, tags=(), traits=Traits())
    for event in (Updated(), Deleted(extractor="rules-1"), Erased()):
        assert redacted(event) == event
