"""What all routes of the MemoryStack dialect share: memories as it tells them, its filters, its errors."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from api.body import IdParameter
from api.errors import Problem, Refusal
from application.asked import Asked
from domain.memory import Memory
from domain.scope import Scope
from projections.conditions import TypeIs
from projections.selection import Selection

DEFAULT_TYPE = "fact"
"""Of a memory that nobody gave a type."""
DEFAULT_CONFIDENCE = 1.0
"""Of a memory that nobody gave one, as Selection.min_confidence has it too."""
SOURCE_TYPE = "text"
"""Of every memory here."""
TAGS = ["MemoryStack"]
NOBODY, EVERYBODY = "self", "all"
"""As a user_id: the memories without a user, and everybody's."""
ORIGIN = ("team_id", "session_id", "conversation_id", "agent_name", "agent_type")
"""What a memory came of, kept in its metadata and filtered by there."""


# --- errors -----------------------------------------------------------------------------------------


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What is wrong with a request, by field; `formErrors` is what concerns no field alone."""

    field_errors: dict[str, list[str]]
    form_errors: list[str] = []


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    error: str
    details: Details | None = None


INVALID = ("invalid", "malformed", "unstorable", "filter-missing")
MISSING = re.compile(r"[Mm]issing required (?:field|query parameter) [`'](\w+)[`']")
"""How msgspec and Litestar name a field that is not there."""


def answers(*statuses: int) -> dict[int, ResponseSpec]:
    """The refusals that the OpenAPI document tells of: those named, and those that any request may get."""
    return {
        status: ResponseSpec(ErrorAnswer, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({400, 401, 403, 429, 503, *statuses})
    }


def wrong(field: str, message: str) -> Refusal:
    """The refusal of one field."""
    return Refusal(
        HTTPStatus.BAD_REQUEST, "invalid", f"{field}: {message}", more={"fieldErrors": {field: [message]}}
    )


def shaped(problem: Problem, more: Mapping[str, Any]) -> tuple[int, ErrorAnswer]:
    """A problem as MemoryStack says it."""
    kind = problem.type.rpartition(":")[2]
    match problem.status:
        case HTTPStatus.UNAUTHORIZED:
            expired = kind == "expired-key"
            return problem.status, ErrorAnswer(error="API key has expired" if expired else "Invalid API key")
        case HTTPStatus.TOO_MANY_REQUESTS:
            monthly = kind == "quota-exceeded"
            return problem.status, ErrorAnswer(
                error="Monthly API limit exceeded" if monthly else "Rate limit exceeded"
            )
        case HTTPStatus.NOT_FOUND if problem.detail == "no such memory":
            return problem.status, ErrorAnswer(error="Memory not found")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return problem.status, ErrorAnswer(
                error="The request is too large: send it as several smaller ones"
            )
    if kind in INVALID:
        details = _details(problem, more)
        return HTTPStatus.BAD_REQUEST, ErrorAnswer(error="Invalid request payload", details=details)
    return problem.status, ErrorAnswer(error=problem.detail[:1].upper() + problem.detail[1:])


def _details(problem: Problem, more: Mapping[str, Any]) -> Details:
    if "fieldErrors" in more:
        return Details(field_errors=more["fieldErrors"])
    fields: dict[str, list[str]] = {}
    whole: list[str] = []
    for entry in problem.errors or []:
        path, message = str(entry.get("key", "body")), str(entry.get("message", "invalid"))
        if missing := MISSING.search(message):
            path, message = f"{path}.{missing[1]}".removeprefix("body."), "Required"
        if path == "body":
            whole.append(message)
            continue
        field, within = re.fullmatch(r"([^.\[]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
        fields.setdefault(field, []).append(f"{within}: {message}" if within else message)
    if not fields and not whole:
        # Litestar names a missing parameter in its text alone.
        if missing := MISSING.search(problem.detail):
            return Details(field_errors={missing[1]: ["Required"]})
        whole.append(problem.detail)
    return Details(field_errors=fields, form_errors=whole)


# --- memories ---------------------------------------------------------------------------------------


class MemoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    owner_clerk_id: str
    end_user_id: str | None
    content: str
    memory_type: str
    confidence: float
    metadata: dict[str, Any]
    source_type: str
    created_at: datetime
    updated_at: datetime
    agent_id: str | msgspec.UnsetType = msgspec.UNSET
    """Only where there is one, like the two below."""
    project_id: str | msgspec.UnsetType = msgspec.UNSET
    embedding: list[float] | msgspec.UnsetType | None = msgspec.UNSET
    """Only if asked for; null until it is computed."""


class FoundAnswer(MemoryAnswer, frozen=True, kw_only=True):
    similarity: float
    """Of meaning alone, 0..1."""
    score: float
    """What it is ranked by, 0..1."""


def flat(memory: Memory) -> dict[str, Any]:
    """The fields of a MemoryAnswer."""
    scope, traits = memory.scope, memory.traits
    return {
        "id": str(memory.id),
        "owner_clerk_id": scope.owner,
        "end_user_id": scope.user_id,
        "content": memory.text,
        "memory_type": traits.type or DEFAULT_TYPE,
        "confidence": DEFAULT_CONFIDENCE if traits.confidence is None else traits.confidence,
        "metadata": memory.metadata,
        "source_type": SOURCE_TYPE,
        "created_at": memory.created_at,
        "updated_at": memory.updated_at,
        "agent_id": scope.agent_id or msgspec.UNSET,
        "project_id": scope.project_id or msgspec.UNSET,
    }


# --- filters ----------------------------------------------------------------------------------------


async def provide_selection(
    asked: NamedDependency[Asked],
    user_id: Annotated[
        str | None,
        QueryParameter(
            min_length=1, max_length=255, description="A user, `self` for no user, or `all` (default)"
        ),
    ] = None,
    agent_id: IdParameter = None,
    project_id: IdParameter = None,
    team_id: IdParameter = None,
    session_id: IdParameter = None,
    conversation_id: IdParameter = None,
    memory_type: Annotated[str | None, QueryParameter(description="An unknown type has no memories")] = None,
    min_confidence: Annotated[float | None, QueryParameter(ge=0, le=1)] = None,
    metadata: Annotated[
        str | None, QueryParameter(description='Pairs that must be there, as JSON: `{"source":"chat"}`')
    ] = None,
) -> Selection:
    """The memories that the parameters of a list or a search name."""
    pairs = {"team_id": team_id, "session_id": session_id, "conversation_id": conversation_id}
    return selected(
        asked,
        user_id,
        agent_id,
        project_id,
        metadata=_pairs(metadata) | {key: value for key, value in pairs.items() if value is not None},
        memory_type=memory_type,
        min_confidence=min_confidence,
    )


SELECTED = {"selection": Provide(provide_selection)}


def selected(
    asked: Asked,
    user_id: str | None = None,
    agent_id: str | None = None,
    project_id: str | None = None,
    *,
    metadata: dict[str, Any] | None = None,
    memory_type: str | None = None,
    min_confidence: float | None = None,
) -> Selection:
    """The owner's memories that fit all that is named."""
    user = None if user_id in (NOBODY, EVERYBODY) else user_id
    scope = Scope(owner=asked.caller.owner, user_id=user, agent_id=agent_id, project_id=project_id)
    return Selection(
        scope=scope,
        without_user=user_id == NOBODY,
        metadata=metadata or {},
        min_confidence=min_confidence,
        conditions=() if memory_type is None else (TypeIs(memory_type, otherwise=DEFAULT_TYPE),),
    )


def _pairs(metadata: str | None) -> dict[str, Any]:
    if not metadata:
        return {}
    try:
        return msgspec.json.decode(metadata, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise wrong("metadata", "Expected a JSON object") from None


# --- cursors ----------------------------------------------------------------------------------------


class Cursor(msgspec.Struct, frozen=True):
    """Where a page ended."""

    id: UUID


def cursor_after(memory: Memory) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(Cursor(memory.id))).decode()


def place_of(cursor: str | None) -> UUID | None:
    """The memory after which a page begins. Raises Refusal for a cursor that is none of ours."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=Cursor).id
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise wrong("cursor", "Not a next_cursor of this server") from None
