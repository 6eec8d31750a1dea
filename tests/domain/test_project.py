"""The Project aggregate: given events, when a command, then an event or a refusal."""

from functools import reduce

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import NotFound
from domain.project import (
    ChangeProject,
    CreateProject,
    DeleteProject,
    Guidance,
    Project,
    ProjectCommand,
    ProjectDeleted,
    ProjectSet,
    evolve,
)
from domain.recorded import Event
from domain.scope import Scope
from tests.support.aggregates import HIKING, OWNER, given, stream

ORDERS = Guidance(custom_instructions="Remember orders", custom_categories={"orders": "what was bought"})
DESK = ProjectSet(owner=OWNER, name="Support desk", guidance=ORDERS)


def test_a_project_is_made_with_its_guidance() -> None:
    given().when(CreateProject(name="Support desk", guidance=ORDERS)).then(DESK)


def test_a_change_says_all_as_it_is_from_now_on() -> None:
    given(DESK).when(ChangeProject(name="Help desk")).then(
        ProjectSet(owner=OWNER, name="Help desk", guidance=ORDERS)
    )
    given(DESK).when(ChangeProject(custom_instructions="Remember complaints")).then(
        ProjectSet(
            owner=OWNER,
            name="Support desk",
            guidance=Guidance(
                custom_instructions="Remember complaints", custom_categories={"orders": "what was bought"}
            ),
        )
    )


def test_categories_are_replaced_as_a_whole_and_can_be_none_at_all() -> None:
    for categories in ({"complaints": ""}, {}):
        given(DESK).when(ChangeProject(custom_categories=categories)).then(
            ProjectSet(
                owner=OWNER,
                name="Support desk",
                guidance=Guidance(custom_instructions="Remember orders", custom_categories=categories),
            )
        )


def test_a_change_that_changes_nothing_makes_no_event() -> None:
    given(DESK).when(ChangeProject()).then_nothing()
    same = ChangeProject(
        name="Support desk",
        custom_instructions="Remember orders",
        custom_categories={"orders": "what was bought"},
    )
    given(DESK).when(same).then_nothing()


def test_a_project_is_deleted_once() -> None:
    given(DESK).when(DeleteProject()).then(ProjectDeleted())
    given(DESK, ProjectDeleted()).when(DeleteProject()).then_refused(NotFound)


@pytest.mark.parametrize("command", [ChangeProject(name="x"), ChangeProject(), DeleteProject()])
def test_what_is_absent_deleted_or_anothers_is_not_found(command: ProjectCommand) -> None:
    given().when(command).then_refused(NotFound)
    given(DESK, ProjectDeleted()).when(command).then_refused(NotFound)
    given(DESK).when(command, owner="another").then_refused(NotFound)


@pytest.mark.parametrize("command", [ChangeProject(name="x"), DeleteProject()])
def test_a_stream_of_another_kind_is_no_project(command: ProjectCommand) -> None:
    given(HIKING).when(command).then_refused(NotFound)


def test_a_deleted_project_is_remembered_as_it_was() -> None:
    gone = given(DESK, ProjectDeleted()).state(Project)
    assert (gone.deleted, gone.name, gone.guidance, gone.version) == (True, "Support desk", ORDERS, 2)


def test_it_belongs_to_its_owner_alone_and_keeps_the_time_it_was_made() -> None:
    events = stream(DESK, ProjectSet(owner=OWNER, name="Help desk", guidance=ORDERS))
    project = reduce(evolve, events, None)
    assert project
    assert project.scope == Scope(owner=OWNER)
    assert (project.created_at, project.updated_at) == (events[0].occurred_at, events[1].occurred_at)


def test_a_deletion_cannot_begin_a_project() -> None:
    with pytest.raises(ValueError, match="cannot follow"):
        given(ProjectDeleted()).state(Project)


texts = st.none() | st.text(max_size=3)
categories = st.none() | st.dictionaries(st.sampled_from("abc"), st.text(max_size=2), max_size=2)


@any_of(
    st.lists(st.builds(ChangeProject, name=texts, custom_instructions=texts, custom_categories=categories))
)
def test_after_any_changes_a_project_is_what_was_said_last_of_each_thing(
    changes: list[ChangeProject],
) -> None:
    events: list[Event] = [DESK]
    name, guidance = DESK.name, [ORDERS.custom_instructions, ORDERS.custom_categories]
    for change in changes:
        events += given(*events).when(change).events
        name = name if change.name is None else change.name
        for n, said in enumerate((change.custom_instructions, change.custom_categories)):
            guidance[n] = guidance[n] if said is None else said
    project = given(*events).state(Project)
    assert (project.name, project.version) == (name, len(events))
    assert [project.guidance.custom_instructions, project.guidance.custom_categories] == guidance
