"""Projects: what an application wants remembered, and under which categories (Memoid's contract)."""

from datetime import datetime

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.errors import refusals
from api.guidance import NewProjectRequest, ProjectRequest
from api.ids import id_of
from api.position import at_position
from api.request import IdempotencyKey
from application import projects
from application.asked import Asked
from application.engine import Engine
from domain.eventstore.writer import Result
from domain.ids import PROJECT_PREFIX, new_id, spell
from domain.project import ChangeProject, CreateProject, DeleteProject, Guidance, Project


class ProjectAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    custom_instructions: str | None
    custom_categories: list[str | dict[str, str]]
    """As they can be sent: names, or with its description each name that has one."""
    created_at: datetime
    updated_at: datetime


class ProjectsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    projects: list[ProjectAnswer]


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    message: str


@get(
    "/v1/projects",
    operation_id="listProjects",
    opt={"scope": "memories:read"},
    responses=refusals(),
    summary="List projects, oldest first",
)
async def listing(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> ProjectsAnswer:
    found = await engine.run(asked, projects.every, asked.caller.owner)
    return ProjectsAnswer(projects=[_answer(one) for one in found])


@post(
    "/v1/projects",
    operation_id="createProject",
    opt={"scope": "memories:write"},
    responses=refusals(413, 415),
    summary="Make a project; name its id as project_id when adding memories",
)
async def create(
    data: JSONBody[NewProjectRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[ProjectAnswer]:
    guidance = Guidance(
        custom_instructions=data.custom_instructions, custom_categories=data.categories() or {}
    )
    command = CreateProject(name=data.name, guidance=guidance)
    (result,) = await engine.execute(asked, [(new_id(), command)])
    return _response(result, status=201)


@patch(
    "/v1/projects/{project_id:str}",
    operation_id="updateProject",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409, 413, 415),
    summary="Change a project",
)
async def update(
    project_id: FromPath[str],
    data: JSONBody[ProjectRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[ProjectAnswer]:
    command = ChangeProject(
        name=data.name, custom_instructions=data.custom_instructions, custom_categories=data.categories()
    )
    id = id_of(PROJECT_PREFIX, project_id)
    (result,) = await engine.execute(asked, [(id, command)])
    return _response(result)


@delete(
    "/v1/projects/{project_id:str}",
    operation_id="deleteProject",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409),
    status_code=200,
    summary="Delete a project; its memories stay",
)
async def remove(
    project_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[Deletion]:
    id = id_of(PROJECT_PREFIX, project_id)
    (result,) = await engine.execute(asked, [(id, DeleteProject())])
    return Response(Deletion(message="Project deleted"), headers=at_position(result.state.position))


ROUTES = [listing, create, update, remove]


def _response(result: Result[Project], status: int = 200) -> Response[ProjectAnswer]:
    project = result.state
    return Response(_answer(project), status_code=status, headers=at_position(project.position))


def _answer(one: Project) -> ProjectAnswer:
    return ProjectAnswer(
        id=spell(PROJECT_PREFIX, one.id),
        name=one.name,
        custom_instructions=one.guidance.custom_instructions,
        custom_categories=[
            {name: description} if description else name
            for name, description in one.guidance.custom_categories.items()
        ],
        created_at=one.created_at,
        updated_at=one.updated_at,
    )
