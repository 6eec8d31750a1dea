"""Who is calling: the API key behind `Authorization: Bearer`, `Token`, or `X-API-Key`."""

from http import HTTPStatus

from litestar.datastructures import Headers

from api.errors import Refusal
from application.asked import Caller
from application.callers import Callers
from domain.errors import Expired, NotFound, Revoked
from domain.key import KeyScope, opened

SCHEMES = ("bearer", "token")


async def authenticate(callers: Callers, headers: Headers) -> Caller:
    """Raises Refusal with 401 for no key, an unknown, revoked or expired one, or two that differ."""
    secret = _secret(headers)
    try:
        return await callers.of(secret)
    except Revoked:
        raise _unauthorized("revoked-key", "this API key was revoked") from None
    except Expired:
        raise _unauthorized("expired-key", "this API key has expired: another one is needed") from None
    except NotFound:
        raise _unauthorized("invalid-key", "this API key is unknown") from None


def require(caller: Caller, *scopes: KeyScope) -> None:
    """Raises Refusal with 403 unless one of these scopes is the key's, or included in those that are."""
    if opened(caller.scopes).isdisjoint(scopes):
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "scope-missing",
            f"this key lacks the scope {' or '.join(map(repr, scopes))}",
        )


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
