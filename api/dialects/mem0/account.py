"""mem0's account: its errors, who calls, its entities and its projects; and what it has that is not here."""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes, urlencode
from uuid import UUID

import msgspec
from litestar import HttpMethod, Request, delete, get, patch, post, route
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from api.errors import Problem, Refusal
from api.guidance import NewProjectRequest, ProjectRequest
from api.ids import id_of
from application import memories, projects
from application.asked import Asked
from application.engine import Engine
from domain.errors import NotFound
from domain.ids import PROJECT_PREFIX, named_id, new_id, spell
from domain.memory import DeleteMemory
from domain.project import ChangeProject, CreateProject, DeleteProject, Guidance
from domain.scope import Scope
from projections.memories import Holder
from projections.selection import Selection

TAGS = ["mem0"]
MAX_ENTITIES = 10_000

EntityType = Literal["user", "agent", "app", "run"]
COLUMNS: dict[EntityType, str] = {
    "user": "user_id", "agent": "agent_id", "app": "project_id", "run": "run_id",
}  # fmt: skip
TYPES = {column: type for type, column in COLUMNS.items()}


NAMED = re.compile(rb"/entities/+[^/]+/(?P<name>.+?)/?\Z", re.DOTALL)
"""The end of an entity's path: its type and its name, in which no slash that is not quoted ends it."""


# --- errors -----------------------------------------------------------------------------------------


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error; the client shows `detail`."""

    detail: str
    type: str


STATUSES = {
    "version-conflict": HTTPStatus.CONFLICT,
    "quota-exceeded": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not-json": HTTPStatus.BAD_REQUEST,
}
"""Kinds of refusal for which mem0's client knows another status than HTTP does."""


def shape(problem: Problem, more: Mapping[str, Any]) -> tuple[int, Fault]:
    status = STATUSES.get(problem.type.rpartition(":")[2], problem.status)
    return int(status), Fault(detail=problem.detail, type=problem.type)


def faults(*statuses: int) -> dict[int, ResponseSpec]:
    """What the OpenAPI document says of refusals: those named, and those that any request may get."""
    return {
        status: ResponseSpec(Fault, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({400, 401, 403, 413, 422, 429, 503, *statuses})
    }


# --- who calls --------------------------------------------------------------------------------------


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    org_id: str
    project_id: str
    user_email: str | None


def org_of(asked: Asked) -> UUID:
    return named_id("mem0.org", asked.caller.owner)


def project_of(asked: Asked) -> UUID:
    """The project that a key belongs to, whether it was ever set up or not: all of its owner's memories."""
    return named_id("mem0.project", asked.caller.owner)


@get(
    "/mem0/v1/ping",
    operation_id="mem0Ping",
    opt={"scope": "memories:read"},
    responses=faults(),
    tags=TAGS,
    summary="Whether the key is good, and whose it is",
)
async def ping(asked: NamedDependency[Asked]) -> Pong:
    return Pong(status="ok", org_id=str(org_of(asked)), project_id=str(project_of(asked)), user_email=None)


# --- entities ---------------------------------------------------------------------------------------


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """A user, agent, app or run that memories belong to."""

    id: str
    name: str
    type: EntityType
    created_at: datetime
    """Of its first memory."""
    updated_at: datetime
    total_memories: int
    owner: str
    organization: str
    metadata: dict[str, Any]


class EntitiesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    next: str | None
    previous: str | None
    results: list[Entity]


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    message: str


@get(
    "/mem0/v1/entities",
    operation_id="mem0ListEntities",
    opt={"scope": "memories:read"},
    responses=faults(),
    tags=TAGS,
    summary="All users, agents, apps and runs that have memories",
)
async def entities(
    request: Request[Any, Any, Any],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    page: Annotated[int, QueryParameter(ge=1, le=2**31)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=MAX_ENTITIES)] = MAX_ENTITIES,
) -> EntitiesAnswer:
    holders, total = await memories.holders(engine, asked, page_size, (page - 1) * page_size)
    results = [_entity(asked, TYPES[holder.column], holder) for holder in holders]
    return EntitiesAnswer(count=total, results=results, **neighbours(request, page, page_size, total))


def _entity(asked: Asked, type: EntityType, holder: Holder) -> Entity:
    owner = asked.caller.owner
    return Entity(
        id=str(named_id(f"mem0.{type}", f"{owner}:{holder.id}")),
        name=holder.id,
        type=type,
        created_at=holder.first,
        updated_at=holder.last,
        total_memories=holder.memories,
        owner=owner,
        organization=str(org_of(asked)),
        metadata={},
    )


def neighbours(request: Request[Any, Any, Any], page: int, size: int, total: int) -> dict[str, str | None]:
    """The addresses of the pages before and after this one."""

    def at(number: int) -> str:
        query = urlencode({"page": number, "page_size": size})
        return str(request.url.with_replacements(path=request.url.path.rstrip("/") + "/", query=query))

    return {
        "next": at(page + 1) if page * size < total else None,
        "previous": at(page - 1) if page > 1 else None,
    }


@delete(
    "/mem0/v2/entities/{entity_type:str}/{rest:path}",
    operation_id="mem0DeleteEntity",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    status_code=200,
    tags=TAGS,
    summary="Delete all memories of a user, agent, app or run",
)
async def delete_entity(
    request: Request[Any, Any, Any],
    entity_type: FromPath[str],
    rest: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> Deletion:
    """One without memories is no error: the client's `reset` deletes a memory's user, then its agent."""
    return await _forget(request, entity_type, asked, engine)


@delete(
    "/mem0/v2/entities/{entity_type:str}",
    opt={"scope": "memories:write"},
    include_in_schema=False,
    status_code=200,
)
async def delete_slashes(
    request: Request[Any, Any, Any],
    entity_type: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> Deletion:
    """One whose name is slashes alone: nothing is left of it in the path as it is routed."""
    return await _forget(request, entity_type, asked, engine)


async def _forget(
    request: Request[Any, Any, Any], entity_type: str, asked: Asked, engine: Engine
) -> Deletion:
    scope = Scope(owner=asked.caller.owner, **{_column(entity_type): _name(request)})
    ids = await memories.ids_in(engine, asked, Selection(scope=scope))
    await engine.execute(asked, [(id, DeleteMemory(missing_ok=True)) for id in ids])
    return Deletion(message="Entity deleted successfully!")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    profile: dict[str, Any] | None
    status: str
    entity_type: str
    entity_id: str
    updated_at: datetime | None
    generation_count: int


@get(
    "/mem0/v2/entities/{entity_type:str}/{rest:path}",
    operation_id="mem0GetProfile",
    opt={"scope": "memories:read"},
    responses=faults(404),
    tags=TAGS,
    summary="A user's profile: none is ever made",
)
async def profile(
    request: Request[Any, Any, Any], entity_type: FromPath[str], rest: FromPath[str]
) -> Profile:
    name = _name(request)
    if entity_type != "user" or not name.endswith("/profile"):
        raise NotFound("there is nothing at this path")
    return Profile(
        profile=None,
        status="not_enabled",
        entity_type="user",
        entity_id=name.removesuffix("/profile"),
        updated_at=None,
        generation_count=0,
    )


def _column(entity_type: str) -> str:
    for known, column in COLUMNS.items():
        if entity_type == known:
            return column
    told = ", ".join(COLUMNS)
    raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", f"{entity_type!r} is no type of entity: {told}")


def _name(request: Request[Any, Any, Any]) -> str:
    """The name at the end of the path, as the client quoted it.

    `rest` is unquoted and has lost slashes, so that it may well be the name of another.
    """
    named = NAMED.search(request.scope["raw_path"])
    if named is None:
        raise NotFound("there is nothing at this path")
    try:
        return unquote_to_bytes(named["name"]).decode()
    except UnicodeDecodeError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "malformed", "the name in the path is not UTF-8") from None


# --- projects ---------------------------------------------------------------------------------------

PROJECTS = "/mem0/api/v1/orgs/organizations/{org_id:str}/projects"
SETTINGS = ("id", "name", "custom_instructions", "custom_categories", "created_at", "updated_at")


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A project; of its fields those that were asked for."""

    id: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET
    custom_instructions: str | msgspec.UnsetType | None = msgspec.UNSET
    custom_categories: list[dict[str, str]] | msgspec.UnsetType = msgspec.UNSET
    created_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    updated_at: datetime | msgspec.UnsetType | None = msgspec.UNSET


class SettingsRequest(ProjectRequest, frozen=True, kw_only=True):
    """What can be set of a project, and what mem0 has beside it: that is refused, not passed over."""

    agent_custom_instructions: Any = None
    multilingual: Any = None
    decay: Any = None
    memory_depth: Any = None
    usecase_setting: Any = None


OFFERED = "name, custom_instructions and custom_categories"
NOT_OFFERED = [
    name for name in SettingsRequest.__struct_fields__ if name not in ProjectRequest.__struct_fields__
]


class ProjectCreated(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    project_id: str


@post(
    PROJECTS,
    operation_id="mem0CreateProject",
    opt={"scope": "memories:write"},
    responses=faults(404),
    tags=TAGS,
    summary="Make a project; name its id as app_id when adding memories",
)
async def create_project(
    org_id: FromPath[str],
    data: JSONBody[NewProjectRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> ProjectCreated:
    _require_own(asked, org_id)
    guidance = Guidance(
        custom_instructions=data.custom_instructions, custom_categories=data.categories() or {}
    )
    command = CreateProject(name=data.name, guidance=guidance)
    (result,) = await engine.execute(asked, [(new_id(), command)])
    return ProjectCreated(message="Project created successfully.", project_id=str(result.state.id))


@get(
    PROJECTS + "/{project_id:str}",
    operation_id="mem0GetProject",
    opt={"scope": "memories:read"},
    responses=faults(404),
    tags=TAGS,
    summary="What a project wants remembered",
)
async def get_project(
    org_id: FromPath[str],
    project_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    fields: Annotated[list[str] | None, QueryParameter()] = None,
) -> Settings:
    id = _project_id(asked, org_id, project_id)
    found = await projects.find(engine, asked, id)
    if found is None and id != project_of(asked):
        raise NotFound("no such project")
    guidance = found.guidance if found else Guidance()
    told: dict[str, Any] = {
        "id": str(id),
        "name": found.name if found else "default",
        "custom_instructions": guidance.custom_instructions,
        "custom_categories": [{name: words} for name, words in guidance.custom_categories.items()],
        "created_at": found and found.created_at,
        "updated_at": found and found.updated_at,
    }
    return Settings(**{name: told[name] for name in SETTINGS if not fields or name in fields})


@patch(
    PROJECTS + "/{project_id:str}",
    operation_id="mem0UpdateProject",
    opt={"scope": "memories:write"},
    responses=faults(404, 501),
    tags=TAGS,
    summary="Change what a project wants remembered",
)
async def update_project(
    org_id: FromPath[str],
    project_id: FromPath[str],
    data: JSONBody[SettingsRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> Deletion:
    id = _project_id(asked, org_id, project_id)
    if refused := [name for name in NOT_OFFERED if getattr(data, name) is not None]:
        raise _not_offered(f"{' and '.join(refused)} cannot be set here, only {OFFERED}; nothing was changed")
    if data.name is None and data.custom_instructions is None and data.custom_categories is None:
        raise _not_offered(f"of a project only {OFFERED} can be set")
    change = ChangeProject(
        name=data.name, custom_instructions=data.custom_instructions, custom_categories=data.categories()
    )
    if id == project_of(asked) and await projects.find(engine, asked, id) is None:
        first = CreateProject(name=data.name or "default", guidance=Guidance())
        await engine.execute(asked, [(id, first), (id, change)])
    else:
        await engine.execute(asked, [(id, change)])
    return Deletion(message="Project updated successfully.")


@delete(
    PROJECTS + "/{project_id:str}",
    operation_id="mem0DeleteProject",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    status_code=200,
    tags=TAGS,
    summary="Delete a project; its memories stay",
)
async def delete_project(
    org_id: FromPath[str],
    project_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> Deletion:
    id = _project_id(asked, org_id, project_id)
    if id == project_of(asked):
        raise Refusal(
            HTTPStatus.CONFLICT, "not-offered", "this is the project of the key itself: delete its entities"
        )
    await engine.execute(asked, [(id, DeleteProject())])
    return Deletion(message="Project deleted; its memories stay.")


async def guidance(asked: Asked, engine: Engine, app_id: str | None) -> Guidance:
    """What extraction is told: by the app, where it is a project, and else by the key's own project."""
    by_app = await projects.guidance_of(engine, asked, app_id)
    by_key = await projects.guidance_of(engine, asked, spell(PROJECT_PREFIX, project_of(asked)))
    return Guidance(
        custom_instructions=by_app.custom_instructions or by_key.custom_instructions,
        custom_categories=by_app.custom_categories or by_key.custom_categories,
    )


def _project_id(asked: Asked, org_id: str, project_id: str) -> UUID:
    _require_own(asked, org_id)
    return id_of(PROJECT_PREFIX, project_id)


def _require_own(asked: Asked, org_id: str) -> None:
    if org_id != str(org_of(asked)):
        raise NotFound("no such organization")


# --- what is not here -------------------------------------------------------------------------------


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True):
    enabled: bool
    capabilities: dict[str, Any]
    entities: dict[str, Any]


@get(
    "/mem0/v2/profiles/settings",
    operation_id="mem0GetProfileSettings",
    opt={"scope": "memories:read"},
    responses=faults(),
    tags=TAGS,
    summary="That no profiles are made",
)
async def profile_settings(asked: NamedDependency[Asked]) -> ProfileSettings:
    return ProfileSettings(enabled=False, capabilities={}, entities={})


@post(
    "/mem0/v2/profiles/settings", opt={"scope": "memories:write", "bodiless": True}, include_in_schema=False
)
async def set_profile_settings(asked: NamedDependency[Asked]) -> None:
    raise _not_offered("no profiles are made here")


@route(
    [
        "/mem0/v1/summary",
        "/mem0/v2/profiles/jobs",
        "/mem0/v2/profiles/jobs/{job_id:str}",
        "/mem0/api/v1/webhooks/{webhook_id:str}",
        "/mem0/api/v1/webhooks/projects/{project_id:str}",
        PROJECTS + "/{project_id:str}/members",
    ],
    http_method=[HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE],
    opt={"scope": "memories:read", "bodiless": True},
    include_in_schema=False,
    status_code=200,
)
async def elsewhere(asked: NamedDependency[Asked]) -> None:
    raise _not_offered("summaries, profiles, webhooks and members of projects are not offered here")


def _not_offered(detail: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_IMPLEMENTED, "not-offered", detail)


ROUTES = [
    ping, entities, delete_entity, delete_slashes, profile, create_project, get_project, update_project,
    delete_project, profile_settings, set_profile_settings, elsewhere,
]  # fmt: skip
