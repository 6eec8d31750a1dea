"""Errors in the words of Khoj's contract, for its memories and its chat."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from api.errors import REQUIRED, Problem

MISSING = "no such memory"
"""What the domain says, too."""
NO_AGENT = "No such agent currently exists."
WORDS = {
    "no-agent": NO_AGENT,
    "plan": "I'm glad you're enjoying interacting with me! You've unfortunately exceeded your usage limit for"
    " today. Please come back tomorrow.",
}
"""Kind of a problem → what Khoj says of it in words of its own."""
STATUSES = {"too-many-images": HTTPStatus.TOO_MANY_REQUESTS}
"""Kind of a problem → the status that Khoj has for it."""


class Invalid(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a request, as FastAPI tells it."""

    type: str = "value_error"
    loc: list[str | int]
    msg: str
    input: str | None = None
    """What was sent, of a parameter; what a body says is not repeated."""


class KhojError(msgspec.Struct, frozen=True, kw_only=True):
    """The same words under each key that one of Khoj's pages or clients reads."""

    status: Literal["error"] = "error"
    error: str
    message: str
    detail: str | list[Invalid]


VALIDATION = ("invalid", "malformed", "unstorable", "not-json")
"""Kinds of a problem that FastAPI tells as a list of faults; any other as a text."""


def shaped(problem: Problem, more: Mapping[str, Any]) -> tuple[int, KhojError]:
    """A problem in Khoj's words; whatever is wrong with a request's parts is 422, as FastAPI has it."""
    kind = _kind(problem)
    status = STATUSES.get(kind, problem.status)
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    message = words_of(problem)
    detail: str | list[Invalid] = message
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        detail = "Forbidden"  # the word by which the web client knows that nobody is logged in
    elif kind in VALIDATION:
        faults = problem.errors or [{"source": "request", "message": message}]
        detail = [_invalid(kind, fault, more) for fault in faults]
    return status, KhojError(error=message, message=message, detail=detail)


def words_of(problem: Problem) -> str:
    """What a person is told."""
    if problem.detail == MISSING:
        return "Memory not found"
    return WORDS.get(_kind(problem), problem.detail)


def _kind(problem: Problem) -> str:
    return problem.type.rpartition(":")[2]


# --- as FastAPI tells it ----------------------------------------------------------------------------

OF_KIND = {
    "malformed": ("json_invalid", "JSON decode error"),
    "not-json": (
        "model_attributes_type",
        "Input should be a valid dictionary or object to extract fields from",
    ),
}
"""Kind of a problem with a whole body → FastAPI's type and words."""
OF_TYPE = {
    "string": ("string_type", "Input should be a valid string"),
    "integer": ("int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
    "number": ("float_parsing", "Input should be a valid number, unable to parse string as a number"),
    "boolean": ("bool_parsing", "Input should be a valid boolean, unable to interpret input"),
    "array": ("list_type", "Input should be a valid list"),
    "object": OF_KIND["not-json"],
}
"""The type that was expected → FastAPI's type and words."""
ABSENT = re.compile(r"Object missing required field `(\w+)`")
EXPECTED = re.compile(r"Expected `(\w+)(?: \| null)?`, got ")


def _invalid(kind: str, fault: Mapping[str, Any], more: Mapping[str, Any]) -> Invalid:
    source, message = str(fault.get("source", "body")), str(fault.get("message", ""))
    key = str(fault.get("key", source))
    loc: list[str | int] = [source, *(_steps(key) if key != source else [])]
    if source == "file":  # a part of the body, with a name that has dots
        loc = ["body", key]
    value = more.get(source, {}).get(key)
    if absent := ABSENT.fullmatch(message):
        return Invalid(type="missing", loc=[*loc, absent[1]], msg="Field required")
    if message == REQUIRED:
        return Invalid(type="missing", loc=loc, msg="Field required")
    type, words = "value_error", message
    if kind in OF_KIND and "JSON" in message:  # else it is of a form
        type, words = OF_KIND[kind]
    elif expected := EXPECTED.match(message):
        type, words = OF_TYPE.get(expected[1], (type, words))
    return Invalid(type=type, loc=loc, msg=words, input=value)


def _steps(key: str) -> list[str | int]:
    """`files[0].name` as the way to it: files, 0, name."""
    return [int(step) if step.isdecimal() else step for step in re.findall(r"[^.\[\]]+", key)]


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(KhojError, generate_examples=False, description=HTTPStatus(status).phrase)
        for status in sorted({401, 403, 422, 429, 503, *statuses})
    }
