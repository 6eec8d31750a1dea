"""What is read from a request before any handler: its id, its key, its idempotency key, its media type."""

import hashlib
import re
import time
from http import HTTPStatus
from typing import Annotated, Any

from litestar import Request
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.params import HeaderParameter
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.auth import authenticate, require
from api.dialect import Dialects
from api.errors import Refusal, of_body, to_problem, without_body
from api.limits import admit
from application.asked import Asked, Caller
from application.chat.chat import Chat
from application.engine import Engine
from application.limits import Limits
from application.usage import Usage
from domain.eventstore.receipts import Receipt
from domain.ids import new_id
from domain.key import KeyScope

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""Printable ASCII: it goes into headers, logs and the event."""
MAX_DIGITS = 18
"""Of a bigint."""
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")

IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description='The version to change, as its ETag: `"3"`. Else 412.'),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="A repeated request with the same key is done once and answered alike.",
    ),
]
Prefer = Annotated[
    str | None,
    HeaderParameter(
        name="Prefer",
        description="`respond-async`: answer 202 at once; `wait=5`: wait at most so many seconds (RFC 7240).",
    ),
]
MinPosition = Annotated[
    int | None,
    HeaderParameter(
        name="Everlog-Min-Position",
        ge=0,
        description="Wait until the answer covers this position of the log.",
    ),
]


class RequestMiddleware(ASGIMiddleware):
    """Gives every request an id, answers it in a header, counts it, and lets in only who may."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        started = time.perf_counter()
        headers = Headers.from_scope(scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else str(new_id())
        scope["state"]["request_id"] = request_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableScopeHeaders(message)
                told["X-Request-Id"] = request_id
                for name, value in scope["state"].get("standing", {}).items():
                    told[name] = value
                _count(scope, message["status"], time.perf_counter() - started)
            await send(message)

        try:
            await _admit(scope, headers)
        except Exception as error:
            request: Request[Any, Any, Any] = Request(scope)
            refused = to_problem(request, error).to_asgi_response(app=None, request=request)
            await refused(scope, receive, answer)
        else:
            await next_app(scope, receive, answer)


def _count(scope: Scope, status: int, seconds: float) -> None:
    metrics.count(scope, status, seconds)
    if caller := scope.get("auth"):
        usage: Usage = scope["litestar_app"].state.usage
        usage.count(caller.owner, seconds, search=bool(scope["route_handler"].opt.get("search")))


async def _admit(scope: Scope, headers: Headers) -> None:
    """Who calls, and whether their key may. Before any body is read; open routes name no scope.

    No Litestar guard: it copies the route handler for each request, which took 7 % of an append.
    """
    needed: KeyScope | tuple[KeyScope, ...] | None = scope["route_handler"].opt.get("scope")
    if needed is None:
        return
    caller = await authenticate(scope, headers)
    scope["auth"] = caller
    require(caller, *((needed,) if isinstance(needed, str) else needed))
    dialects: Dialects = scope["litestar_app"].state.dialects
    dialects.require(caller, scope["path"], f"http://{headers.get('host', 'HOST')}")
    limits: Limits = scope["litestar_app"].state.limits
    spoken = dialects.at(scope["path"])
    always = spoken is not None and spoken.always_limited
    scope["state"]["standing"] = await admit(limits, caller, always)
    if _reads_json(scope):
        _require_json(headers, scope["route_handler"])


def provide_engine(request: Request[Any, Any, Any]) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def provide_chat(request: Request[Any, Any, Any]) -> Chat:
    chats: Chat = request.app.state.chats
    return chats


async def provide_asked(request: Request[Any, Caller, Any], engine: NamedDependency[Engine]) -> Asked:
    """Who asks, and on what terms.

    `engine` is named so that it is resolved before this: Litestar starts a task group for two at once.
    """
    caller = request.auth
    minimum = request.headers.get("everlog-min-position", "")
    return Asked(
        caller=caller,
        request_id=request.state.request_id,
        receipt=await _receipt(request, engine, caller),
        min_position=_number(minimum) if minimum.isdecimal() else None,
    )


def patience(engine: Engine, prefer: str | None) -> float:
    """Seconds that a request waits for an extraction: none, or fewer than usual, if it prefers so."""
    preferences = [part.strip().lower() for part in (prefer or "").split(",")]
    if "respond-async" in preferences:
        return 0.0
    asked = [part[5:] for part in preferences if part.startswith("wait=") and part[5:].isdecimal()]
    return min([engine.ingestion_wait, *(float(seconds) for seconds in asked[:1])])


def expected_version(if_match: str | None) -> int | None:
    """The version that an If-Match names; `*` and no header name none."""
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip().removeprefix("W/").strip('"')
    if not tag.isdecimal():
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "malformed", f'If-Match must be a version such as "3", not {if_match!r}'
        )
    return _number(tag)


def _number(digits: str) -> int:
    """Raises Refusal for what no version and no position can be."""
    if len(digits) > MAX_DIGITS:
        raise Refusal(HTTPStatus.BAD_REQUEST, "malformed", f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _reads_json(scope: Scope) -> bool:
    """Whether a request must have a body: few of those that delete do."""
    handler = scope["route_handler"]
    if scope.get("method") in ("POST", "PUT", "PATCH"):
        return not handler.opt.get("bodiless", False)
    body = handler.parsed_fn_signature.parameters.get("data")
    return body is not None and not body.is_optional


def _require_json(headers: Headers, handler: BaseRouteHandler) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        detail = f"send JSON with `Content-Type: application/json`, not {media_type}"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json", detail, errors=[of_body(detail)])
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        raise without_body(handler)


async def _receipt(request: Request[Any, Any, Any], engine: Engine, caller: Caller) -> Receipt | None:
    key = request.headers.get("idempotency-key")
    if key is None or request.method == "GET":
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "malformed", "an Idempotency-Key is 1 to 255 printable characters"
        )
    # The path as it was sent: decoded, that of a user `x/` would be that of `x`.
    path, query = request.scope["raw_path"], request.scope["query_string"]
    whole = hashlib.sha256(b"%s %s?%s\n" % (request.method.encode(), path, query))
    whole.update(await request.body())
    # Clients put into it what they like, words of the request too: it is kept as a hash.
    secrets = (await engine.cell_of(caller.owner)).secrets
    return Receipt(
        owner=caller.owner, actor=caller.actor, key=secrets.hashed(key), fingerprint=whole.digest(), text=key
    )
