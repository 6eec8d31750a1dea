"""The Memory aggregate: given events, when a command, then an event or a refusal."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import NotFound, VersionConflict
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
    Traits,
    Updated,
    UpdateMemory,
    merged,
    project,
    redacted,
)
from domain.recorded import Event, now
from domain.scope import Scope
from tests.support.aggregates import HERE, HIKING, given, stream

TRAITS = Traits(
    type="experience",
    confidence=0.75,
    categories=("work",),
    happened_on=date(2024, 5, 17),
    entities=(Entity("Ann", "person"), Entity("Google")),
    relations=(Relation("Ann", "works_at", "Google"),),
)
GOOGLE = Added(text="Ann joined Google", scope=HERE, extractor="rules-1", traits=TRAITS)


def test_a_memory_is_added_with_its_scope_metadata_and_tags() -> None:
    command = AddMemory(text="User loves hiking", scope=HERE, metadata={"sure": True}, tags=("hobby",))
    given().when(command).then(HIKING)


NULL = Added(text="x", scope=HERE, metadata={"a": None, "b": 1})


def test_nulls_in_new_metadata_are_kept_as_they_were_sent() -> None:
    given().when(AddMemory(text="x", scope=HERE, metadata={"a": None, "b": 1})).then(NULL)
    assert given(NULL, Updated(metadata={"b": 2})).state(Memory).metadata == {"a": None, "b": 2}


def test_a_null_that_was_there_is_removed_by_a_null_as_any_other_value() -> None:
    removed = Updated(metadata={"a": None})
    given(NULL).when(UpdateMemory(metadata={"a": None})).then(removed)
    assert given(NULL, removed).state(Memory).metadata == {"b": 1}


@pytest.mark.parametrize("value", [None, 5])
def test_a_null_that_was_changed_or_removed_is_restored(value: int | None) -> None:
    changed = Updated(metadata={"a": value, "c": 3})
    restored = Updated(metadata={"c": None}, nulls=("a",))
    command = RestoreMemory(to=given(NULL).state(Memory), expected_version=2)
    given(NULL, changed).when(command).then(restored)
    assert given(NULL, changed, restored).state(Memory).metadata == NULL.metadata


def test_a_memory_that_came_to_be_elsewhere_keeps_its_time_and_its_events_tell_theirs() -> None:
    long_ago = datetime(2024, 3, 1, tzinfo=UTC)
    added = Added(text="x", scope=HERE, created_at=long_ago)
    given().when(AddMemory(text="x", scope=HERE, created_at=long_ago)).then(added)
    events = stream(added)
    memory = project(None, events)
    assert memory
    assert (memory.created_at, memory.updated_at) == (long_ago, events[0].occurred_at)
    again = given(added, Deleted(), Added(text="x", scope=HERE, created_at=now())).state(Memory)
    assert again.created_at == long_ago
    (back,) = given(added, Deleted()).when(RestoreMemory(to=memory, expected_version=2)).events
    assert isinstance(back, Added)
    assert given(added, Deleted(), back).state(Memory).created_at == long_ago


def test_a_memory_that_has_expired_can_only_go() -> None:
    today = now().date()
    expired = Added(text="x", scope=HERE, traits=Traits(expires_on=today))
    for command in (UpdateMemory(text="y"), UpdateMemory(expires_on=None), UpdateMemory(expected_version=7)):
        given(expired).when(command).then_refused(NotFound)
    given(expired).when(DeleteMemory()).then(Deleted())
    given(expired).when(EraseMemory()).then(Erased())
    tomorrow = Added(text="x", scope=HERE, traits=Traits(expires_on=today + timedelta(days=1)))
    given(tomorrow).when(UpdateMemory(tags=("t",))).then(Updated(tags=("t",)))


def test_an_update_says_only_what_changed() -> None:
    command = UpdateMemory(text="User loves hiking", metadata={"sure": True, "since": 2020}, tags=("hobby",))
    given(HIKING).when(command).then(Updated(metadata={"since": 2020}))


def test_a_null_removes_a_key_and_is_no_change_where_there_is_none() -> None:
    given(HIKING).when(UpdateMemory(metadata={"sure": None, "absent": None})).then(
        Updated(metadata={"sure": None})
    )


def test_an_update_that_changes_nothing_makes_no_event() -> None:
    given(HIKING).when(UpdateMemory(text=HIKING.text, metadata={"sure": True})).then_nothing()


def test_true_and_one_are_different_values() -> None:
    given(HIKING).when(UpdateMemory(metadata={"sure": 1})).then(Updated(metadata={"sure": 1}))


def test_an_expected_version_that_is_not_current_is_a_conflict() -> None:
    late = UpdateMemory(text="x", expected_version=1)
    conflict = given(HIKING, Updated(text="y")).when(late).then_refused(VersionConflict)
    assert (conflict.expected, conflict.current) == (1, 2)
    given(HIKING).when(DeleteMemory(expected_version=7)).then_refused(VersionConflict)


@pytest.mark.parametrize("command", [UpdateMemory(text="x"), DeleteMemory()])
def test_what_is_absent_deleted_or_anothers_is_not_found(command: MemoryCommand) -> None:
    given().when(command).then_refused(NotFound)
    given(HIKING, Deleted()).when(command).then_refused(NotFound)
    given(HIKING).when(command, owner="another").then_refused(NotFound)


def test_a_memory_cannot_be_added_for_another_owner() -> None:
    given().when(AddMemory(text="x", scope=Scope(owner="another"))).then_refused(NotFound)


def test_deleting_one_of_many_that_has_gone_is_no_error() -> None:
    given(HIKING, Deleted()).when(DeleteMemory(missing_ok=True)).then_nothing()


def test_a_deleted_memory_can_be_added_again_and_its_version_goes_on() -> None:
    command = AddMemory(text="User loves hiking again", scope=HERE)
    (again,) = given(HIKING, Deleted()).when(command).events
    assert isinstance(again, Added)
    events = stream(HIKING, Deleted(), again)
    memory = project(None, events)
    assert memory and not memory.deleted
    assert memory.version == 3
    assert memory.created_at == events[0].occurred_at


# --- what extraction found ---------------------------------------------------------------------------


def test_a_distilled_memory_names_its_extractor_and_has_traits() -> None:
    command = AddMemory(text="Ann joined Google", scope=HERE, extractor="rules-1", traits=TRAITS)
    given().when(command).then(GOOGLE)
    assert given(GOOGLE).state(Memory).traits == TRAITS


def test_words_changed_by_hand_lose_what_was_found_in_the_old_ones_but_not_their_kind() -> None:
    left = Traits(type="experience", confidence=0.75, categories=("work",))
    given(GOOGLE).when(UpdateMemory(text="Ann joined Apple")).then(
        Updated(text="Ann joined Apple", traits=left)
    )


@pytest.mark.parametrize(
    "command",
    [UpdateMemory(metadata={"a": 1}), UpdateMemory(tags=("t",)), UpdateMemory(text=GOOGLE.text, tags=("t",))],
)
def test_while_the_words_stay_so_do_the_traits(command: MemoryCommand) -> None:
    (event,) = given(GOOGLE).when(command).events
    assert isinstance(event, Updated)
    assert event.traits is None
    assert given(GOOGLE, event).state(Memory).traits == TRAITS


def test_words_changed_by_hand_where_nothing_was_found_change_only_the_words() -> None:
    given(HIKING).when(UpdateMemory(text="User hates hiking")).then(Updated(text="User hates hiking"))


def test_an_extractor_that_changes_words_brings_the_traits_of_the_new_ones() -> None:
    traits = Traits(type="fact", entities=(Entity("Apple"),))
    command = UpdateMemory(text="Ann joined Apple", traits=traits, extractor="rules-1")
    given(GOOGLE).when(command).then(Updated(text="Ann joined Apple", traits=traits, extractor="rules-1"))


def test_traits_can_change_alone_and_an_extractor_that_changes_nothing_makes_no_event() -> None:
    traits = msgspec.structs.replace(TRAITS, type="fact")
    given(GOOGLE).when(UpdateMemory(traits=traits, extractor="rules-1")).then(
        Updated(traits=traits, extractor="rules-1")
    )
    given(GOOGLE).when(UpdateMemory(text=GOOGLE.text, traits=TRAITS, extractor="rules-2")).then_nothing()


def test_a_deletion_names_the_extractor_that_found_the_memory_wrong() -> None:
    command = DeleteMemory(extractor="rules-1", expected_version=1)
    given(GOOGLE).when(command).then(Deleted(extractor="rules-1"))


# --- restoring ----------------------------------------------------------------------------------------


def test_a_deleted_memory_is_restored_with_all_it_had() -> None:
    to = given(GOOGLE, Updated(metadata={"a": 1}, tags=("t",))).state(Memory)
    given(GOOGLE, Deleted()).when(RestoreMemory(to=to, expected_version=2)).then(
        Added(text="Ann joined Google", scope=HERE, metadata={"a": 1}, tags=("t",), traits=TRAITS)
    )


def test_a_changed_memory_is_restored_by_the_change_back() -> None:
    changed = Updated(text="Ann left Google", metadata={"sure": False, "new": 1}, tags=(), traits=Traits())
    back = RestoreMemory(to=given(HIKING).state(Memory), expected_version=2)
    given(HIKING, changed).when(back).then(
        Updated(text="User loves hiking", metadata={"sure": True, "new": None}, tags=("hobby",))
    )
    back = RestoreMemory(to=given(GOOGLE).state(Memory), expected_version=2)
    (traits_back,) = given(GOOGLE, changed).when(back).events
    assert isinstance(traits_back, Updated)
    assert traits_back.traits == TRAITS


def test_restoring_what_is_as_it_was_makes_no_event() -> None:
    there_and_back = (Updated(tags=("t",)), Updated(tags=HIKING.tags))
    command = RestoreMemory(to=given(HIKING).state(Memory), expected_version=3)
    given(HIKING, *there_and_back).when(command).then_nothing()


def test_only_a_memory_of_ones_own_that_nobody_has_changed_meanwhile_is_restored() -> None:
    command = RestoreMemory(to=given(HIKING).state(Memory), expected_version=2)
    given().when(command).then_refused(NotFound)
    given(HIKING, Deleted()).when(command, owner="another").then_refused(NotFound)
    given(HIKING).when(command).then_refused(VersionConflict)
    given(HIKING, Deleted(), HIKING).when(command).then_refused(VersionConflict)


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
    text, metadata = "start", dict[str, Any]()
    for new_text, new_metadata in updates:
        events += given(*events).when(UpdateMemory(text=new_text, metadata=new_metadata)).events
        text, metadata = new_text if new_text is not None else text, merged(metadata, new_metadata)
    memory = given(*events).state(Memory)
    assert (memory.text, memory.metadata, memory.version) == (text, metadata, len(events))


# --- erasure ------------------------------------------------------------------------------------------


def test_a_memory_is_erased_deleted_or_not() -> None:
    given(HIKING).when(EraseMemory()).then(Erased())
    given(HIKING, Deleted()).when(EraseMemory()).then(Erased())
    given(HIKING, Deleted()).when(EraseMemory(expected_version=2)).then(Erased())
    given(HIKING, Deleted()).when(EraseMemory(expected_version=1)).then_refused(VersionConflict)


def test_an_erased_memory_has_no_words_left() -> None:
    memory = given(GOOGLE, Updated(metadata={"a": 1}, tags=("t",)), Erased()).state(Memory)
    assert (memory.text, memory.metadata, memory.tags, memory.traits) == ("", {}, (), Traits())
    assert (memory.deleted, memory.erased, memory.version, memory.scope) == (True, True, 3, HERE)


@pytest.mark.parametrize(
    "command",
    [
        EraseMemory(),
        DeleteMemory(),
        UpdateMemory(text="x"),
        AddMemory(text="x", scope=HERE),
        RestoreMemory(to=given(HIKING).state(Memory), expected_version=2),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_more_happens_to_an_erased_memory(command: MemoryCommand) -> None:
    given(HIKING, Erased()).when(command).then_refused(NotFound)


def test_erasing_of_many_passes_over_what_is_gone_or_anothers() -> None:
    command = EraseMemory(missing_ok=True)
    given().when(command).then_nothing()
    given(HIKING, Erased()).when(command).then_nothing()
    given(HIKING).when(command, owner="another").then_nothing()
    given(HIKING).when(EraseMemory(), owner="another").then_refused(NotFound)


def test_no_event_follows_an_erasure() -> None:
    for event in (HIKING, Updated(text="x")):
        with pytest.raises(ValueError, match="cannot follow"):
            given(HIKING, Erased(), event).state(Memory)


def test_what_is_left_of_an_event_tells_that_it_happened() -> None:
    assert redacted(GOOGLE) == Added(text="", scope=HERE, extractor="rules-1")
    assert redacted(msgspec.structs.replace(HIKING, role="user")) == Added(text="", scope=HERE, role="user")
    assert redacted(Updated(text="x", extractor="rules-1")) == Updated(text="", extractor="rules-1")
    whole = Updated(text="x", metadata={"a": None}, tags=("t",), traits=TRAITS, nulls=("b",))
    assert redacted(whole) == Updated(text="", metadata={}, tags=(), traits=Traits())
    for event in (Updated(), Deleted(extractor="rules-1"), Erased()):
        assert redacted(event) == event
