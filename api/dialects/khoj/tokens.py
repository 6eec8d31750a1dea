"""Keys for further clients, as Khoj's web settings make, list and revoke them (khoj.md, 1.5).

Only for keys that may administer. A key's text is told once, when it is made; a list has its id in place.
"""

import asyncio
import secrets
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.dialects.khoj.conversations import Ok
from api.dialects.khoj.errors import refusals
from api.errors import Refusal
from application import keys
from application.asked import Asked
from application.engine import Engine
from domain.errors import NotFound
from domain.ids import KEY_PREFIX, spell

UNNAMED = "token_name is missing: send it in the query string"
MISSING = "Token not found"

Name = Annotated[str | None, QueryParameter(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str | None, QueryParameter(min_length=1, max_length=255)]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    """The key itself when it is made, its id ever after."""
    name: str


class Listed(Token, frozen=True, kw_only=True):
    last_used_at: datetime | None
    """To the minute; null: never."""


@post(
    "/auth/token",
    operation_id="khojCreateToken",
    opt={"scope": "admin", "bodiless": True},
    responses=refusals(409),
    status_code=200,
    tags=["Khoj"],
    summary="Make a key that reads and writes; its text is told here and never again",
)
async def create(
    request: Request[Any, Any, Any],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    token_name: Name = None,
) -> Response[Token]:
    name = token_name or f"token-{secrets.token_hex(4)}"
    beginning = request.app.state.dialects.key_beginning(asked.caller.terms.dialect)
    made = await asyncio.to_thread(keys.create_below, engine.cells, asked.caller, name, beginning)
    return Response(Token(token=made, name=name), headers={"Cache-Control": "no-store"})


@get(
    "/auth/token",
    operation_id="khojListTokens",
    opt={"scope": "admin"},
    responses=refusals(),
    tags=["Khoj"],
    summary="The names of the keys that can be deleted, and their ids",
)
async def tokens(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> list[Listed]:
    found = await asyncio.to_thread(keys.below, engine.cells, asked.caller)
    used = await asyncio.to_thread(engine.cells.last_uses, asked.caller.owner)
    return [
        Listed(token=spell(KEY_PREFIX, key.id), name=key.name, last_used_at=used.get(key.id)) for key in found
    ]


@delete(
    "/auth/token",
    operation_id="khojRevokeToken",
    opt={"scope": "admin"},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj"],
    summary="Revoke the keys with a name, or the one with an id or a text",
)
async def revoke(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    token_name: Name = None,
    token: Text = None,
) -> Ok:
    """The web client names none, but sends what it was told as `token`."""
    if token_name is None and token is None:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", UNNAMED)
    try:
        await asyncio.to_thread(keys.revoke_below, engine.cells, asked.caller, token_name, token)
    except NotFound:
        raise NotFound(MISSING) from None
    return Ok()


ROUTES: list[Any] = [create, tokens, revoke]
