"""Every refusal as a problem (RFC 9457), in one place. Dialects give the same refusals their own shape."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from psycopg_pool import PoolTimeout

from domain import errors
from projections.catalogue import NotBuilt
from providers.embedder import EmbedderUnavailable

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = "1"


Shape = Callable[["Problem", Mapping[str, Any]], tuple[int, Any]]
"""A problem, and what more is known of it, as a dialect says it: status and body."""
SHAPES: dict[str, Shape] = {}
"""Path prefix → the shape of errors below it; a dialect enters its own. All else gets problems."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every native error."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
    """What is wrong where, when it is in the request."""


def refusals(*statuses: HTTPStatus | int) -> dict[int, ResponseSpec]:
    """What the OpenAPI document says of refusals: those named, and those that any keyed request may get."""
    usual = (400, 401, 403, 422, 429, 503)
    return {
        int(status): ResponseSpec(
            Problem,
            generate_examples=False,
            media_type=PROBLEM_JSON,
            description=HTTPStatus(status).phrase,
        )
        for status in sorted({*usual, *statuses})
    }


class Refusal(Exception):
    """A request that the API itself refuses, before any command."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = headers or {}
        self.more = more or {}
        """What some dialects tell beside the text."""


class Behind(Exception):
    """A projection did not reach the position that the reader asked for in time."""


KINDS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.NotFound: (HTTPStatus.NOT_FOUND, "not-found"),
    errors.VersionConflict: (HTTPStatus.PRECONDITION_FAILED, "version-conflict"),
    errors.Contended: (HTTPStatus.CONFLICT, "contended"),
    errors.IdempotencyMismatch: (HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
    errors.NotWaiting: (HTTPStatus.CONFLICT, "not-waiting"),
    errors.Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    EmbedderUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "embedder-unavailable"),
    NotBuilt: (HTTPStatus.SERVICE_UNAVAILABLE, "not-built"),
    Behind: (HTTPStatus.SERVICE_UNAVAILABLE, "behind"),
    psycopg.DataError: (HTTPStatus.UNPROCESSABLE_ENTITY, "unstorable"),
    psycopg.OperationalError: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    PoolTimeout: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    RecursionError: (HTTPStatus.BAD_REQUEST, "malformed"),
    UnicodeDecodeError: (HTTPStatus.BAD_REQUEST, "malformed"),
}
WORDS: dict[str, str] = {
    "malformed": "the body is not valid UTF-8 JSON, or is nested too deeply",
    "unstorable": "a value of the request cannot be stored",
    "unavailable": "the database cannot be reached; try again in a second",
}
"""What the caller reads where the exception's own text is not meant for them."""


def to_problem(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The answer to a request that ended in `error`. No stack trace and no inner text leaves the server."""
    problem, headers = _problem(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE and not problem.type.endswith("no-chat-model"):
        headers["Retry-After"] = RETRY_SECONDS
    prefixes = [prefix for prefix in SHAPES if request.url.path.startswith(prefix)]
    shape = SHAPES[max(prefixes, key=len)] if prefixes else None
    if shape is None:
        return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)
    status, body = shape(problem, getattr(error, "more", {}))
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def to_words(error: Exception) -> str:
    """What the client is told of `error` where there is no response to shape."""
    problem, _ = _problem(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", exc_info=error)
    return problem.detail


def _problem(error: Exception) -> tuple[Problem, dict[str, str]]:
    if isinstance(error, Refusal):
        return _made(error.status, error.kind, str(error)), error.headers
    if isinstance(error, ValidationException):
        return _invalid(error), {}
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        kind = "malformed" if status == HTTPStatus.BAD_REQUEST else status.phrase.lower().replace(" ", "-")
        return _made(status, kind, error.detail), dict(error.headers or {})
    for known, (status, kind) in KINDS.items():
        if isinstance(error, known):
            own = isinstance(error, errors.Refused | EmbedderUnavailable | NotBuilt | Behind)
            return _made(status, kind, str(error) if own else WORDS[kind]), {}
    return _made(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "something went wrong on the server"), {}


def _invalid(error: ValidationException) -> Problem:
    found = [entry for entry in error.extra or [] if isinstance(entry, dict)]
    in_body = any(entry.get("source") == "body" for entry in found)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if in_body else HTTPStatus.BAD_REQUEST
    for entry in found:
        if entry.get("key") == "data":  # the handler's name for the whole body
            entry["key"] = "body"
    detail = "; ".join(
        f"{entry.get('key', 'body')}: {entry['message']}" for entry in found if "message" in entry
    )
    problem = _made(status, "invalid", detail or error.detail)
    return msgspec.structs.replace(problem, errors=found)


def _made(status: HTTPStatus, kind: str, detail: str) -> Problem:
    return Problem(type=f"urn:everlog:problem:{kind}", title=status.phrase, status=status, detail=detail)
