"""Conversations made public, in Khoj's contract. Other than in Khoj, they hold nothing private."""

import re
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, QueryParameter

from api.auth import authenticate
from api.dialects.khoj import history
from api.dialects.khoj.conversations import Ok
from api.dialects.khoj.errors import refusals
from api.dialects.khoj.history import HistoryAnswer
from api.dialects.khoj.parameters import (
    MISSING,
    Messages,
    OfConversation,
    Parameters,
    User,
    Value,
    combined,
    conversation_of,
    required,
)
from api.errors import Refusal
from api.server import ServerOptions, options_of
from application.asked import Asked
from application.chat import sharing
from application.engine import Engine
from domain.errors import NotFound
from domain.share import Share

HEALTH = "../health"
"""From where a share is withdrawn: it answers 200 to all, also behind a proxy that adds a path."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)
LOCAL = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
"""Names that no certificate is given for."""
SAFE_BITS = 53
"""Of a number that JavaScript reads as it is."""

Slug = Annotated[str, QueryParameter()]


class OfShare(Parameters, frozen=True, kw_only=True):
    public_conversation_slug: str | None = None


class Shared(Ok, frozen=True, kw_only=True):
    url: str
    """Whose last part is the slug."""


class Forked(Ok, frozen=True, kw_only=True):
    next_url: Literal["/chat"] = "/chat"
    conversation_id: str


@post(
    "/api/chat/share",
    operation_id="khojShareConversation",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Make a copy of a conversation that all can read who know its address",
)
async def share(
    request: Request[Any, Any, Any],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    conversation_id: Value = None,
    user_id: User = None,
    data: JSONBody[OfConversation | None] = None,
) -> Shared:
    """What is said later is no part of it; shared again, it is another copy."""
    said = combined(OfConversation(conversation_id=conversation_id, user_id=user_id), data)
    id = required("conversation_id", said.conversation_id)
    one = await conversation_of(asked, engine, id, said.user_id)
    shared = await sharing.share(engine, asked, one)
    place = quote(shared.published.slug)
    return Shared(url=f"{address_of(request, options_of(request))}/share/chat/{place}/")


@get(
    "/api/chat/share/history",
    operation_id="khojGetSharedHistory",
    responses={404: history.REFUSALS[404], 422: history.REFUSALS[422], 503: history.REFUSALS[503]},
    security=[{}],
    tags=["Khoj Chat"],
    summary="What was said in a shared conversation; without a key, too",
)
async def read_shared(
    request: Request[Any, Any, Any],
    engine: NamedDependency[Engine],
    public_conversation_slug: Slug,
    n: Messages = None,
) -> HistoryAnswer:
    missing = f"Conversation: {public_conversation_slug} not found"
    found = await _shared(engine, public_conversation_slug, missing)
    return history.shown(
        found.id.int >> (128 - SAFE_BITS),
        sharing.title_of(found.published),
        found.published.agent,
        found.published.turns,
        n,
        is_owner=await _is_owner(request, found),
    )


@post(
    "/api/chat/share/fork",
    operation_id="khojForkConversation",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Go on with a copy of one's own of a shared conversation",
)
async def fork(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    public_conversation_slug: Value = None,
    user_id: User = None,
    data: JSONBody[OfShare | None] = None,
) -> Forked:
    said = combined(OfShare(public_conversation_slug=public_conversation_slug, user_id=user_id), data)
    found = await _shared(engine, required("public_conversation_slug", said.public_conversation_slug))
    forked = await sharing.fork(engine, asked, found, said.user_id)
    return Forked(conversation_id=str(forked.id))


@delete(
    "/api/chat/share",
    operation_id="khojUnshareConversation",
    opt={"scope": "memories:write"},
    responses=refusals(404)
    | {303: ResponseSpec(None, generate_examples=False, description="Done; for browsers")},
    status_code=200,
    tags=["Khoj Chat"],
    summary="Let nobody read a shared conversation any more; copies stay",
)
async def unshare(
    request: Request[Any, Any, Any],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    public_conversation_slug: Value = None,
    client: Value = None,
    user_id: User = None,
    data: JSONBody[OfShare | None] = None,
) -> Response[Ok | None]:
    said = combined(OfShare(public_conversation_slug=public_conversation_slug, user_id=user_id), data)
    slug = required("public_conversation_slug", said.public_conversation_slug)
    found = await _shared(engine, slug)
    try:
        await sharing.withdraw(engine, asked, found, said.user_id)
    except NotFound:
        raise NotFound(MISSING) from None
    if client or _is_browser(request):
        # The web client takes only a redirect for success. By 303 it goes on with GET, by 301 with DELETE.
        return Response(None, status_code=HTTPStatus.SEE_OTHER, headers={"Location": HEALTH})
    return Response(Ok(), status_code=HTTPStatus.OK)


ROUTES = [share, read_shared, fork, unshare]


def address_of(request: Request[Any, Any, Any], options: ServerOptions) -> str:
    """Where the client reaches this server, without a slash at the end.

    Without a setting for it that is what the client says itself. It is told to nobody else, and only as far
    as it is a host; the scheme is what a proxy says, else https unless the host is one of a local network.
    """
    if options.public_url:
        return options.public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not HOST.fullmatch(host):
        host = f"{options.host}:{options.port}"
    scheme = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if scheme not in ("http", "https"):
        scheme = request.url.scheme if _is_local(host) else "https"
    return f"{scheme}://{host}"


def _is_local(host: str) -> bool:
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    try:
        return not ip_address(name).is_global
    except ValueError:
        return "." not in name or name.endswith(LOCAL)


def _is_browser(request: Request[Any, Any, Any]) -> bool:
    """By what no page can leave out or make up; programs send no Sec-Fetch-Site."""
    return "sec-fetch-site" in request.headers or "text/html" in request.headers.get("accept", "")


async def _shared(engine: Engine, slug: str, missing: str = MISSING) -> Share:
    """The share with this slug, of whatever owner. Raises NotFound with the text `missing`."""
    try:
        # Slugs in other scripts are percent-encoded in the address that they are taken from.
        return await sharing.get(engine, unquote(slug))
    except NotFound:
        raise NotFound(missing) from None


async def _is_owner(request: Request[Any, Any, Any], found: Share) -> bool:
    """Whether the request comes with the owner's key; one without a key, or with a wrong one, does not."""
    try:
        return (await authenticate(request.scope, request.headers)).owner == found.scope.owner
    except Refusal:
        return False
