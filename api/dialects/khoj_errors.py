"""Errors in the words of Khoj's contract, for its memories and its chat."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from api.errors import SHAPES, Problem

MISSING = "no such memory"
"""What the domain says, too."""


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


PLACES = (
    "/api/memories", "/api/user/", "/api/settings", "/api/v1/user", "/api/chat", "/api/agents",
    "/api/content", "/api/search", "/api/health", "/api/model", "/api/transcribe",
)  # fmt: skip
"""Not all of /api/: MemoryStack's paths begin with it too."""
SHAPES.update(dict.fromkeys(PLACES, shaped))


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(KhojError, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({401, 403, 422, 429, 503, *statuses})
    }
