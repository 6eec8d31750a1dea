"""The Khoj contract for memories (seed 000), and what Khoj's web client asks for around them.

A memory's number is the position of its first event in the log: unique, rising, and never another's.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

import anyio.to_thread
import msgspec
from eventsourcing.persistence import IntegrityError
from litestar import delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from api.body import Body, check_text
from api.engine import Asked, Engine
from api.errors import SHAPES, Problem, Refusal
from domain.cells import Cells
from domain.errors import Contended, NotFound
from domain.eventstore.mapper import record
from domain.ids import new_id
from domain.memory import AddMemory, DeleteMemory, Scope, UpdateMemory
from domain.owner import Owner, switch_memory
from domain.recorded import Context
from projections import memories

KHOJ_VERSION = "2.0.0"
"""Of Khoj's API; its clients show this."""
MAX_ID = 2**63 - 1
"""PostgreSQL's bigint: no number above it is a memory's."""
MISSING = "no such memory"
"""What the domain says, too."""


class RawMemory(Body, frozen=True, kw_only=True):
    raw: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(self.raw)


class KhojMemory(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    raw: str
    created_at: datetime


class MemorySwitch(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"
    enable_memory: bool


class KhojUser(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    username: str
    photo: str | None = None
    is_active: bool = True
    """Has what subscribers of Khoj's cloud have, as everybody has on a server of their own."""
    has_documents: bool = False
    khoj_version: str = KHOJ_VERSION


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    computer: bool = False
    github: bool = False
    notion: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What any page of the web client asks for."""

    username: str
    user_photo: str | None = None
    is_active: bool = True
    has_documents: bool = False
    khoj_version: str = KHOJ_VERSION


class DetailedSettings(Settings, frozen=True, kw_only=True):
    """What its settings page asks for: there are no models, documents or bills to choose from here."""

    enable_memory: bool
    server_memory_mode: Literal["disabled", "enabled_default_off", "enabled_default_on"] = (
        "enabled_default_on"
    )
    given_name: str
    phone_number: str = ""
    is_phone_number_verified: bool = False
    enabled_content_source: Synced = Synced()
    notion_token: str | None = None
    search_model_options: list[dict[str, Any]] = []
    selected_search_model_config: int | None = None
    chat_model_options: list[dict[str, Any]] = []
    selected_chat_model_config: int | None = None
    paint_model_options: list[dict[str, Any]] = []
    selected_paint_model_config: int | None = None
    voice_model_options: list[dict[str, Any]] = []
    selected_voice_model_config: int | None = None
    subscription_state: str = "subscribed"
    subscription_renewal_date: str | None = None
    subscription_enabled_trial_at: str | None = None
    khoj_cloud_subscription_url: str | None = None
    billing_enabled: bool = False
    is_eleven_labs_enabled: bool = False
    is_twilio_enabled: bool = False
    anonymous_mode: bool = False
    notion_oauth_url: str = ""
    length_of_free_trial: int = 0
    """Days."""


# --- errors -----------------------------------------------------------------------------------------


class Invalid(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a request, as FastAPI tells it."""

    type: str = "value_error"
    loc: list[str]
    msg: str


class KhojError(msgspec.Struct, frozen=True, kw_only=True):
    """The same words under each key that one of Khoj's pages or clients reads."""

    status: Literal["error"] = "error"
    error: str
    message: str
    detail: str | list[Invalid]


def shaped(problem: Problem, _: Mapping[str, Any]) -> tuple[int, KhojError]:
    """A problem in Khoj's words; whatever is wrong with a request's parts is 422, as FastAPI has it."""
    status = problem.status
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    message = "Memory not found" if problem.detail == MISSING else problem.detail
    detail: str | list[Invalid] = message
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        detail = "Forbidden"  # the word by which the web client knows that nobody is logged in
    elif problem.errors:
        detail = [_invalid(fault) for fault in problem.errors]
    return status, KhojError(error=message, message=message, detail=detail)


def _invalid(fault: Mapping[str, Any]) -> Invalid:
    source, key = str(fault.get("source", "body")), str(fault.get("key", "body"))
    return Invalid(loc=list(dict.fromkeys((source, key))), msg=str(fault.get("message", "")))


# Not all of /api/: MemoryStack's paths begin with it too.
SHAPES.update(dict.fromkeys(("/api/memories", "/api/user/", "/api/settings", "/api/v1/user"), shaped))


def _refusals(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(KhojError, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({401, 403, 422, 429, 503, *statuses})
    }


# --- memories ---------------------------------------------------------------------------------------

NUMBERED = """
    SELECT e.position, m.text, m.created_at
    FROM {table} m JOIN events e ON e.stream_id = m.memory_id AND e.version = 1
    WHERE m.owner = %s ORDER BY e.position"""
STREAM = """
    SELECT stream_id FROM events
    WHERE position = %s AND owner = %s AND version = 1 AND starts_with(type, 'memory.')"""


@get(
    "/api/memories",
    operation_id="khojListMemories",
    opt={"scope": "read"},
    responses=_refusals(),
    tags=["Khoj"],
    summary="All memories, oldest first",
)
async def listing(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> list[KhojMemory]:
    async with engine.reading(asked, memories.name) as (conn, build):
        statement = NUMBERED.format(table=memories.table(build.version))
        rows = await (await conn.execute(statement, (asked.caller.owner,))).fetchall()
    return [KhojMemory(id=position, raw=text, created_at=created) for position, text, created in rows]


@post(
    "/api/memories",
    operation_id="khojAddMemory",
    opt={"scope": "write"},
    responses=_refusals(413),
    tags=["Khoj"],
    summary="Add a memory, word for word",
)
async def add(
    data: JSONBody[RawMemory], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> KhojMemory:
    command = AddMemory(text=data.raw, scope=Scope(owner=asked.caller.owner))
    (result,) = await engine.execute(asked, [(new_id(), command)])
    added = result.memory
    return KhojMemory(id=added.position, raw=added.text, created_at=added.created_at)


@put(
    "/api/memories/{memory_id:str}",
    operation_id="khojUpdateMemory",
    opt={"scope": "write"},
    responses=_refusals(404, 409, 413),
    tags=["Khoj"],
    summary="Change a memory's text; its number stays",
)
async def update(
    memory_id: FromPath[str],
    data: JSONBody[RawMemory],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> KhojMemory:
    number = _number(memory_id)
    stream_id = await _stream(asked, engine, number)
    (result,) = await engine.execute(asked, [(stream_id, UpdateMemory(text=data.raw))])
    return KhojMemory(id=number, raw=result.memory.text, created_at=result.memory.created_at)


@delete(
    "/api/memories/{memory_id:str}",
    operation_id="khojDeleteMemory",
    opt={"scope": "write"},
    responses=_refusals(404, 409),
    tags=["Khoj"],
    summary="Delete a memory; its history stays",
)
async def delete_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> None:
    stream_id = await _stream(asked, engine, _number(memory_id))
    await engine.execute(asked, [(stream_id, DeleteMemory())])


def _number(text: str) -> int:
    """Raises Refusal with 422 for what is no integer, and NotFound for one that is too large."""
    if not re.fullmatch(r"-?[0-9]+", text):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "memory_id is not an integer")
    # Python itself refuses to read thousands of digits.
    number = int(text) if len(text) <= len(str(MAX_ID)) else MAX_ID + 1
    if not 0 < number <= MAX_ID:
        raise NotFound(MISSING)
    return number


async def _stream(asked: Asked, engine: Engine, number: int) -> UUID:
    """The memory with this number, deleted or not. Raises NotFound."""
    owner = asked.caller.owner
    async with engine.connection(owner) as conn:
        row = await (await conn.execute(STREAM, (number, owner))).fetchone()
    if row is None:
        raise NotFound(MISSING)
    stream_id: UUID = row[0]
    return stream_id


# --- settings ---------------------------------------------------------------------------------------


@patch(
    "/api/user/memory",
    operation_id="khojSwitchMemory",
    opt={"scope": "write", "bodiless": True},
    responses=_refusals(409),
    tags=["Khoj"],
    summary="Switch remembering on or off; what is remembered stays",
)
async def switch(
    enable_memory: Annotated[bool, QueryParameter()],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> MemorySwitch:
    await anyio.to_thread.run_sync(_switch, engine.cells, asked, enable_memory)
    return MemorySwitch(enable_memory=enable_memory)


@get(
    "/api/settings",
    operation_id="khojGetSettings",
    opt={"scope": "read"},
    responses=_refusals(),
    tags=["Khoj"],
    summary="What the web client shows of a user's settings",
)
async def settings(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    detailed: Annotated[bool, QueryParameter()] = False,
) -> DetailedSettings | Settings:
    name = asked.caller.owner
    if not detailed:
        return Settings(username=name)
    owner: Owner = await anyio.to_thread.run_sync(engine.cells.first.log.owner, name)
    return DetailedSettings(username=name, given_name=name, enable_memory=owner.memory_on)


@get(
    "/api/v1/user",
    operation_id="khojGetUser",
    opt={"scope": "read"},
    responses=_refusals(),
    tags=["Khoj"],
    summary="Who is logged in: the owner of the key",
)
async def user(asked: NamedDependency[Asked]) -> KhojUser:
    return KhojUser(email=asked.caller.owner, username=asked.caller.owner)


ROUTES = [listing, add, update, delete_one, switch, settings, user]


def _switch(cells: Cells, asked: Asked, on: bool) -> None:
    caller, first = asked.caller, cells.first  # owners live in the first cell
    owner = first.log.owner(caller.owner)
    event = switch_memory(owner, on)
    if event is None:
        return
    context = Context(
        owner=caller.owner, actor=caller.actor, cause=str(new_id()), correlation=asked.request_id
    )
    with first.pool.connection() as conn:
        first.subjects.ensure(conn, [(caller.owner, None)])
    try:
        first.log.save(record(event, stream_id=owner.id, version=owner.version + 1, context=context))
    except IntegrityError:
        raise Contended("memory is being switched by others too; try again") from None
