"""The Project aggregate: what an application wants remembered, and under which categories. Pure."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound
from domain.recorded import Event, Recorded, register
from domain.scope import Scope


class Guidance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a project tells extraction."""

    custom_instructions: str | None = None
    custom_categories: dict[str, str] = msgspec.field(default_factory=dict)
    """Name → description, which may be empty."""


@register
class ProjectSet(Event, frozen=True, kw_only=True):
    """A project was made, or changed: all of it, as it is from now on."""

    TYPE: ClassVar[str] = "project.set.v1"
    owner: str
    name: str
    guidance: Guidance


@register
class ProjectDeleted(Event, frozen=True, kw_only=True):
    """The project is gone; memories that name it stay."""

    TYPE: ClassVar[str] = "project.deleted.v1"


class Project(State, frozen=True, kw_only=True):
    scope: Scope
    """The owner alone."""
    name: str
    guidance: Guidance
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


def evolve(project: Project | None, recorded: Recorded) -> Project:
    """The project after one more of its events."""
    event: Any = recorded.event
    if isinstance(event, ProjectSet):
        return Project(
            id=recorded.originator_id,
            version=recorded.originator_version,
            position=recorded.position,
            scope=Scope(owner=event.owner),
            name=event.name,
            guidance=event.guidance,
            created_at=project.created_at if project else recorded.occurred_at,
            updated_at=recorded.occurred_at,
        )
    if project is None or not isinstance(event, ProjectDeleted):
        raise ValueError(f"{type(event).__name__} cannot follow in stream {recorded.originator_id}")
    return msgspec.structs.replace(
        project,
        version=recorded.originator_version,
        position=recorded.position,
        updated_at=recorded.occurred_at,
        deleted=True,
    )


class CreateProject(Command[Project], frozen=True, kw_only=True):
    name: str
    guidance: Guidance


class ChangeProject(Command[Project], frozen=True, kw_only=True):
    """None leaves as it is."""

    name: str | None = None
    custom_instructions: str | None = None
    custom_categories: dict[str, str] | None = None


class DeleteProject(Command[Project], frozen=True, kw_only=True):
    pass


ProjectCommand = CreateProject | ChangeProject | DeleteProject


def decide(project: Project | None, command: ProjectCommand, owner: str) -> Event | None:
    """The event that `command` makes of this state. Raises NotFound."""
    if isinstance(command, CreateProject):
        if project is not None:
            raise NotFound("no such project")
        return ProjectSet(owner=owner, name=command.name, guidance=command.guidance)
    if project is None or project.deleted or project.scope.owner != owner:
        raise NotFound("no such project")
    if isinstance(command, DeleteProject):
        return ProjectDeleted()
    now, given = project.guidance, command
    guidance = Guidance(
        custom_instructions=now.custom_instructions
        if given.custom_instructions is None
        else given.custom_instructions,
        custom_categories=now.custom_categories
        if given.custom_categories is None
        else given.custom_categories,
    )
    name = project.name if given.name is None else given.name
    if (name, guidance) == (project.name, now):
        return None
    return ProjectSet(owner=owner, name=name, guidance=guidance)


AGGREGATE = Aggregate(
    name="project",
    state=Project,
    commands=ProjectCommand,
    begun_by=CreateProject,
    decide=decide,
    evolve=evolve,
)
