"""Which dialect is spoken where. Two share their paths: there the key tells them apart."""

from http import HTTPStatus
from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from api.errors import Refusal
from application.asked import Caller
from domain.key import Dialect

MEMOKIT_KEY = "mk_"
PLACES: list[tuple[str, Dialect, str]] = [
    ("/memokit/", "memokit", "HOST/memokit, or HOST with a key that begins with mk_"),
    ("/mem0/", "mem0", "HOST/mem0"),
    ("/api/v1/user", "khoj", "HOST"),
    ("/api/v1/", "memorystack", "HOST"),
    ("/api/", "khoj", "HOST"),
    ("/v1/", "memoid", "HOST"),
]
"""(path prefix, dialect, base URL that its clients are given), the first that fits counts."""


def dialect_of(path: str) -> Dialect | None:
    """The dialect spoken at a path; None where there is none, as at /health."""
    return next((dialect for prefix, dialect, _ in PLACES if path.startswith(prefix)), None)


def require_dialect(caller: Caller, path: str, host: str) -> None:
    """Raises Refusal with 403 for a key that was made for another dialect."""
    wanted, spoken = caller.terms.dialect, dialect_of(path)
    if wanted is None or spoken in (None, wanted):
        return
    base = next(base for _, dialect, base in PLACES if dialect == wanted)
    raise Refusal(
        HTTPStatus.FORBIDDEN,
        "wrong-dialect",
        f"this key speaks {wanted}, and here is {spoken}: its base URL is {base.replace('HOST', host)}",
    )


def by_key(app: ASGIApp) -> ASGIApp:
    """MemoKit's paths are Memoid's: a request below /v1 with one of its keys goes to MemoKit."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith("/v1/") and _has_memokit_key(scope):
            path = "/memokit" + scope["path"]
            scope = cast("Scope", {**scope, "path": path, "raw_path": path.encode()})
        await app(scope, receive, send)

    return handle


def _has_memokit_key(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"authorization" and value.partition(b" ")[2].strip().startswith(MEMOKIT_KEY.encode()):
            return True
        if name == b"x-api-key" and value.strip().startswith(MEMOKIT_KEY.encode()):
            return True
    return False
