"""Who is calling: the API key behind `Authorization: Bearer`, `Token`, or `X-API-Key`."""

from http import HTTPStatus

from litestar.datastructures import Headers
from litestar.types import Scope

from api import metrics
from api.addresses import Proxies
from api.errors import Refusal
from api.failures import Failures
from application.asked import Caller
from application.engine import Engine
from domain.errors import Expired, NotFound, Revoked
from domain.key import KeyScope, opened

SCHEMES = ("bearer", "token")


async def authenticate(scope: Scope, headers: Headers) -> Caller:
    """The caller whose key is in `headers`, which are those of `scope` or say the same in another way.

    Raises Refusal: 401 for no key, an unknown, revoked or expired one, or two that differ; 429 for a wrong
    one where too many were. A good key is let in whatever others have tried at its address.
    """
    state = scope["litestar_app"].state
    engine: Engine = state.engine
    failures: Failures = state.failures
    proxies: Proxies = state.proxies
    secret, address = _secret(headers), proxies.client_of(scope)
    if (wait := failures.wait(address, secret)) and not await engine.callers.may_know(secret):
        raise _too_many_failures(wait)
    try:
        return await engine.callers.of(secret)
    except NotFound as unknown:
        failures.count(address, secret)
        if isinstance(unknown, Revoked):
            raise _unauthorized("revoked-key", "this API key was revoked") from None
        if isinstance(unknown, Expired):
            raise _unauthorized("expired-key", "this API key has expired: another one is needed") from None
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


def _too_many_failures(wait: int) -> Refusal:
    metrics.REFUSED.labels("too-many-failures").inc()
    detail = (
        f"too many wrong API keys came from this address, or began like this one; try again in {wait} s"
        " (EVERLOG_MAX_FAILED_KEYS a minute)"
    )
    more = {"retryAfter": wait}
    headers = {"Retry-After": str(wait)}
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too-many-failures", detail, headers, more)


def _unauthorized(kind: str, detail: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, kind, detail, {"WWW-Authenticate": 'Bearer realm="everlog"'})
