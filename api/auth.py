"""Who is calling: the API key behind `Authorization: Bearer`, `Token`, or `X-API-Key`."""

import asyncio
import time
from collections import OrderedDict
from http import HTTPStatus

import msgspec
from litestar.datastructures import Headers

from api.errors import Refusal
from domain.errors import NotFound, Revoked
from domain.eventstore.cells import Cells
from domain.ids import KEY_PREFIX, spell
from domain.key import NO_TERMS, Key, KeyScope, Terms

REMEMBERED_SECONDS = 1.0
"""How long a key is not looked up again, so also how long a revoked one may go on in this process."""
REMEMBERED_KEYS = 10_000
SCHEMES = ("bearer", "token")


class Caller(msgspec.Struct, frozen=True):
    """An authenticated key."""

    owner: str
    actor: str
    scopes: tuple[KeyScope, ...]
    terms: Terms = NO_TERMS


class Authenticator:
    """Turns request headers into a caller."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._remembered: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Key]] = {}

    async def __call__(self, headers: Headers) -> Caller:
        """Raises Refusal with 401 for no key, an unknown one, or two that differ."""
        secret = _secret(headers)
        remembered = self._remembered.get(secret)
        if remembered and remembered[0] > time.monotonic():
            return remembered[1]
        try:
            return self._remember(secret, await self._look_up(secret))
        except NotFound as error:
            self._remembered.pop(secret, None)
            if isinstance(error, Revoked):
                raise _unauthorized("revoked-key", "this API key was revoked") from None
            raise _unauthorized("invalid-key", "this API key is unknown") from None

    async def _look_up(self, secret: str) -> Key:
        """One look-up for all requests that come with the same key meanwhile."""
        looking = self._looking.get(secret)
        if looking is None:
            looking = asyncio.create_task(asyncio.to_thread(self._cells.key_of, secret))
            looking.add_done_callback(lambda _: self._looking.pop(secret, None))
            self._looking[secret] = looking
        return await asyncio.shield(looking)

    def _remember(self, secret: str, key: Key) -> Caller:
        caller = Caller(key.owner, spell(KEY_PREFIX, key.id), key.scopes, key.terms)
        self._remembered[secret] = (time.monotonic() + REMEMBERED_SECONDS, caller)
        self._remembered.move_to_end(secret)
        if len(self._remembered) > REMEMBERED_KEYS:
            self._remembered.popitem(last=False)
        return caller


def require(caller: Caller, scope: KeyScope) -> None:
    """Raises Refusal with 403 unless the key may do this."""
    if scope not in caller.scopes:
        raise Refusal(HTTPStatus.FORBIDDEN, "scope-missing", f"this key lacks the scope {scope!r}")


def _secret(headers: Headers) -> str:
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    given = {credentials.strip()} if scheme.lower() in SCHEMES else set()
    if scheme and not given:
        raise _unauthorized("unknown-scheme", "send the API key as `Authorization: Bearer KEY`")
    if "x-api-key" in headers:
        given.add(headers["x-api-key"].strip())
    given.discard("")
    if not given:
        raise _unauthorized("no-key", "send an API key as `Authorization: Bearer KEY`")
    if len(given) > 1:
        raise _unauthorized("two-keys", "Authorization and X-API-Key name different keys")
    return given.pop()


def _unauthorized(kind: str, detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, kind, detail, {"WWW-Authenticate": 'Bearer realm="everlog"'})
