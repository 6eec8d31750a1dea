"""Every refusal as a problem (RFC 9457), in one place. Dialects give the same refusals their own shape."""

import logging
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from psycopg_pool import PoolTimeout

from application import refusals as of_application
from domain import errors
from domain.eventstore.cells import READ_SECONDS
from projections.catalogue import NotBuilt
from providers.embedding.embedder import EmbedderUnavailable

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = "1"


Shape = Callable[["Problem", Mapping[str, Any]], tuple[int, Any]]
"""A problem, and what more is known of it, as a dialect says it: status and body."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every native error."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
    """What is wrong where, when it is in the request.

    Each with `source` (body, query, path, header), `key`, which is the name there, and `message`.
    """


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
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.headers = headers or {}
        self.more = more or {}
        """What some dialects tell beside the text."""
        self.errors = errors
        """As Problem.errors."""


KINDS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.NotFound: (HTTPStatus.NOT_FOUND, "not-found"),
    errors.VersionConflict: (HTTPStatus.PRECONDITION_FAILED, "version-conflict"),
    errors.Contended: (HTTPStatus.CONFLICT, "contended"),
    errors.IdempotencyMismatch: (HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
    errors.Damaged: (HTTPStatus.INTERNAL_SERVER_ERROR, "damaged"),
    errors.NotWaiting: (HTTPStatus.CONFLICT, "not-waiting"),
    errors.Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    EmbedderUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "embedder-unavailable"),
    NotBuilt: (HTTPStatus.SERVICE_UNAVAILABLE, "not-built"),
    of_application.AboveHead: (HTTPStatus.BAD_REQUEST, "above-head"),
    of_application.Behind: (HTTPStatus.SERVICE_UNAVAILABLE, "behind"),
    of_application.TooMuch: (HTTPStatus.UNPROCESSABLE_ENTITY, "too-much"),
    of_application.StaleProposal: (HTTPStatus.CONFLICT, "stale-proposal"),
    of_application.NoModel: (HTTPStatus.UNPROCESSABLE_ENTITY, "no-model"),
    of_application.NoChatModel: (HTTPStatus.SERVICE_UNAVAILABLE, "no-chat-model"),
    of_application.KeyLimited: (HTTPStatus.FORBIDDEN, "limited-key"),
    of_application.NoAgent: (HTTPStatus.BAD_REQUEST, "no-agent"),
    of_application.BadImages: (HTTPStatus.UNPROCESSABLE_ENTITY, "images"),
    of_application.TooManyImages: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-images"),
    of_application.NoAnswer: (HTTPStatus.SERVICE_UNAVAILABLE, "no-answer"),
    of_application.Unspeakable: (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid"),
    of_application.NoVoice: (HTTPStatus.SERVICE_UNAVAILABLE, "no-voice"),
    of_application.SpeechFailed: (HTTPStatus.SERVICE_UNAVAILABLE, "no-speech"),
    of_application.UsedUp: (HTTPStatus.TOO_MANY_REQUESTS, "plan"),
    of_application.Crowded: (HTTPStatus.TOO_MANY_REQUESTS, "crowded"),
    psycopg.DataError: (HTTPStatus.UNPROCESSABLE_ENTITY, "unstorable"),
    psycopg.errors.QueryCanceled: (HTTPStatus.SERVICE_UNAVAILABLE, "too-slow"),
    psycopg.OperationalError: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    PoolTimeout: (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
    RecursionError: (HTTPStatus.BAD_REQUEST, "malformed"),
    UnicodeDecodeError: (HTTPStatus.BAD_REQUEST, "malformed"),
}
WORDS: dict[str, str] = {
    "malformed": "the body is not valid UTF-8 JSON, or is nested too deeply",
    "unstorable": "a value of the request cannot be stored",
    "too-slow": f"the database was not done with it after {READ_SECONDS:.0f} seconds; ask for less at once",
    "unavailable": "the database cannot be reached; try again in a second",
}
"""What the caller reads where the exception's own text is not meant for them."""
REQUIRED = "Required"
"""The message of a fault that is the absence of what it names."""
TRUNCATED = "Input data was truncated"
"""What msgspec says of JSON that ends too early."""
CUT_OFF = "the JSON of the body is cut off"
MISSING = re.compile(r"Missing required (\w+) parameter '([^']+)'")
"""How Litestar names a parameter that is not there."""
NO_NUL = (r"'\\A[^\\x00]*\\Z'", r"'^[^\\x00]*$'")
"""How msgspec's message ends where a text has that character (body.Id)."""
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
"""Python's name of a type, which msgspec tells → JSON's."""


def to_problem(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The answer to a request that ended in `error`. No stack trace and no inner text leaves the server."""
    handler = request.scope.get("route_handler")
    if handler and isinstance(error, ValidationException) and _lacks_body(error):
        error = without_body(handler)
    problem, headers = _problem(error, handler)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE and not problem.type.endswith("no-chat-model"):
        headers["Retry-After"] = RETRY_SECONDS
    shape = request.app.state.dialects.shape_at(request.url.path)
    if shape is None:
        return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)
    sent = {"query": request.query_params, "path": request.scope.get("path_params", {})}
    status, body = shape(problem, {**sent, **getattr(error, "more", {})})
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def problem_of(error: Exception) -> Problem:
    """What there is to tell of `error` where there is no response to shape."""
    problem, _ = _problem(error, None)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", exc_info=error)
    return problem


def of_body(message: str) -> dict[str, Any]:
    """A fault of a body as a whole."""
    return {"key": "body", "source": "body", "message": message}


def without_body(handler: BaseRouteHandler) -> Refusal:
    """The refusal of a request that lacks the body which its handler reads."""
    more = {"fieldErrors": {name: [REQUIRED] for name in _required(handler)}}
    return Refusal(
        HTTPStatus.BAD_REQUEST,
        "malformed",
        "a JSON body is missing",
        more=more if more["fieldErrors"] else None,
        errors=[of_body(REQUIRED)],
    )


def _required(handler: BaseRouteHandler) -> list[str]:
    """The fields that a handler's body must have."""
    body = handler.parsed_fn_signature.parameters.get("data")
    if body is None or not (
        isinstance(body.annotation, type) and issubclass(body.annotation, msgspec.Struct)
    ):
        return []
    return [field.encode_name for field in msgspec.structs.fields(body.annotation) if field.required]


def _lacks_body(error: ValidationException) -> bool:
    """Litestar tells of a handler's argument that nothing was sent for by the KeyError that it got."""
    return any(
        isinstance(entry, dict) and (entry.get("key"), entry.get("message")) == ("data", "'data'")
        for entry in error.extra or []
    )


def _problem(error: Exception, handler: BaseRouteHandler | None) -> tuple[Problem, dict[str, str]]:
    if isinstance(error, Refusal):
        return _made(error.status, error.kind, str(error), error.errors), error.headers
    if isinstance(error, ValidationException):
        return _invalid(error, handler), {}
    if isinstance(error, HTTPException):
        return _of_litestar(error), dict(error.headers or {})
    if isinstance(error, of_application.UsedUp | of_application.Crowded):
        return _of_ours(error), {"Retry-After": str(error.retry_after)}
    return _of_ours(error), {}


def _of_litestar(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.BAD_REQUEST:
        return _malformed(CUT_OFF if error.detail == TRUNCATED else error.detail)
    return _made(status, status.phrase.lower().replace(" ", "-"), error.detail)


def _of_ours(error: Exception) -> Problem:
    for known, (status, kind) in KINDS.items():
        if isinstance(error, known):
            own = isinstance(error, errors.Refused | EmbedderUnavailable | NotBuilt)
            told = str(error) if own else WORDS[kind]
            faults = [_of_position(told)] if isinstance(error, of_application.AboveHead) else None
            return _malformed(told) if kind == "malformed" else _made(status, kind, told, faults)
    return _made(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "something went wrong on the server")


def _of_position(message: str) -> dict[str, Any]:
    """A fault of the one header by which a position is demanded."""
    return {"key": "Everlog-Min-Position", "source": "header", "message": message}


def _malformed(detail: str) -> Problem:
    """Of a body that cannot be read at all."""
    return _made(HTTPStatus.BAD_REQUEST, "malformed", detail, [of_body(detail)])


def _invalid(error: ValidationException, handler: BaseRouteHandler | None) -> Problem:
    found = [_fault(entry, handler) for entry in error.extra or [] if isinstance(entry, dict)]
    if missing := MISSING.search(error.detail):
        found.append({"message": REQUIRED, "key": missing[2], "source": missing[1]})
    in_body = any(fault.get("source") == "body" for fault in found)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if in_body else HTTPStatus.BAD_REQUEST
    detail = "; ".join(
        f"{fault.get('key', 'body')}: {fault['message']}" for fault in found if "message" in fault
    )
    return _made(status, "invalid", detail or "the request is not valid", found)


def _fault(entry: dict[str, Any], handler: BaseRouteHandler | None) -> dict[str, Any]:
    """What Litestar and msgspec say of one fault, in the words of the wire."""
    told = {**entry, "message": _in_json(str(entry.get("message", "")))}
    source = entry.get("source")
    if isinstance(source, ParamType):
        told["source"] = source.value
    if entry.get("key") == "data":  # the handler's name for the whole body
        told["key"] = "body"
    elif handler and source != "body" and "key" in entry:
        told["key"] = _sent_as(handler, entry["key"])
    return told


def _sent_as(handler: BaseRouteHandler, name: str) -> str:
    """The wire's name of a handler's parameter."""
    parameter = handler.parsed_fn_signature.parameters.get(name)
    definition = parameter and parameter.kwarg_definition
    return getattr(definition, "name", None) or name


def _in_json(message: str) -> str:
    """What msgspec says of a type, with JSON's names of types; what was sent is not repeated."""
    if message.startswith("Invalid enum value"):
        return "not one of the values that are allowed"
    if message.endswith(NO_NUL):
        return "the character U+0000 cannot be stored"
    if not message.startswith("Expected `"):
        return message
    return re.sub(
        r"`[a-z |]+`", lambda types: re.sub(r"\w+", lambda t: TYPES.get(t[0], t[0]), types[0]), message
    )


def _made(status: HTTPStatus, kind: str, detail: str, faults: list[dict[str, Any]] | None = None) -> Problem:
    return Problem(
        type=f"urn:everlog:problem:{kind}",
        title=status.phrase,
        status=status,
        detail=detail,
        errors=faults,
    )
