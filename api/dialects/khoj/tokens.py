"""Keys for further clients, as Khoj's web settings make, list and revoke them (khoj.md, 1.5).

Only for keys that may administer. What they make is never wider than they are: for the same owner and on the
same terms, to read and write alone. A key's text is told once, when it is made; a list has its id in place.
"""

import secrets
from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.dialects.khoj.conversations import Ok
from api.dialects.khoj.errors import refusals
from api.errors import Refusal
from application.asked import Asked, Caller
from application.engine import Engine
from domain.errors import Contended, NotFound
from domain.eventstore.cells import Cells
from domain.ids import KEY_PREFIX, spell
from domain.key import NO_TERMS, Key, KeyScope, new_secret

MAX_KEYS = 100
"""Of one owner, the revoked ones not counted."""
SCOPES: tuple[KeyScope, ...] = ("read", "write")
LIMITED = "this key has limits, and another one would have as much again: ask who runs this server for it"
FULL = f"there are {MAX_KEYS} keys already: delete some first"
TAKEN = "there is a key with this name already: choose another name, or delete that key first"
OWN = "this is the key that you ask with: delete it with another one"
UNNAMED = "token_name is missing: send it in the query string"
MISSING = "Token not found"

Name = Annotated[str | None, QueryParameter(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str | None, QueryParameter(min_length=1, max_length=255)]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    """The key itself when it is made, its id ever after."""
    name: str


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
    made = await anyio.to_thread.run_sync(_create, engine.cells, asked.caller, name, beginning)
    return Response(made, headers={"Cache-Control": "no-store"})


@get(
    "/auth/token",
    operation_id="khojListTokens",
    opt={"scope": "admin"},
    responses=refusals(),
    tags=["Khoj"],
    summary="The names of the keys that can be deleted, and their ids",
)
async def tokens(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> list[Token]:
    found = await anyio.to_thread.run_sync(_below, engine.cells, asked.caller)
    return [Token(token=spell(KEY_PREFIX, key.id), name=key.name) for key in found]


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
    await anyio.to_thread.run_sync(_revoke, engine.cells, asked.caller, token_name, token)
    return Ok()


ROUTES: list[Any] = [create, tokens, revoke]


def _create(cells: Cells, caller: Caller, name: str, beginning: str) -> Token:
    if caller.terms.per_minute or caller.terms.per_month:
        raise Refusal(HTTPStatus.FORBIDDEN, "limited-key", LIMITED)
    live = [key for key in cells.keys(caller.owner) if key.revoked_at is None]
    if len(live) >= MAX_KEYS:
        raise Contended(FULL)
    if any(key.name == name for key in live):
        raise Contended(TAKEN)
    secret = new_secret(beginning)
    scopes = tuple(scope for scope in SCOPES if scope in caller.scopes)
    cells.create_key(secret, name, caller.owner, scopes, caller.terms, actor=caller.actor)
    return Token(token=secret, name=name)


def _below(cells: Cells, caller: Caller) -> list[Key]:
    """The owner's keys that may no more than the one that asks; it is one of them."""
    return [
        key
        for key in cells.keys(caller.owner)
        if key.revoked_at is None
        and set(key.scopes) <= set(caller.scopes)
        and caller.terms in (NO_TERMS, key.terms)
    ]


def _revoke(cells: Cells, caller: Caller, name: str | None, token: str | None) -> None:
    ids = {token, _id_of(cells, token)} if token else set()
    doomed = [key for key in _below(cells, caller) if key.name == name or spell(KEY_PREFIX, key.id) in ids]
    if not doomed:
        raise NotFound(MISSING)
    if caller.actor in [spell(KEY_PREFIX, key.id) for key in doomed]:
        raise Contended(OWN)
    for key in doomed:
        cells.revoke_key(key.id, actor=caller.actor)


def _id_of(cells: Cells, secret: str) -> str | None:
    """The id of the key with this text, as it is told."""
    try:
        return spell(KEY_PREFIX, cells.key_of(secret).id)
    except NotFound:
        return None
