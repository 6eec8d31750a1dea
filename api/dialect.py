"""What a dialect declares of itself, and which is spoken where: at paths that two share, the key tells."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from api.errors import Refusal, Shape
from application.asked import Caller
from domain.key import KEY_BEGINNING

SHARED = "/v1/"
"""The paths of the native API, which a dialect may have taken over for its own keys."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One published contract: its routes, and what the doors that all share must know of it."""

    name: str
    """As keys name it."""
    prefixes: Sequence[str]
    """Of its paths."""
    base: str
    """The base URL that its clients are given; HOST is where they reach us."""
    routes: Sequence[ControllerRouterHandler]
    uploads: Sequence[ControllerRouterHandler] = ()
    """Routes whose bodies may be as large as uploads."""
    errors: Mapping[str, Shape] = {}
    """Path prefix → the shape of errors below it; elsewhere they are problems."""
    key_beginning: str = KEY_BEGINNING
    """Of the texts of its keys. With another than usual, its keys find it below SHARED, too."""
    always_limited: bool = False
    """Whether its clients are told of limits that a key does not have."""


class Dialects:
    """All that an application speaks."""

    def __init__(self, all: Sequence[Dialect]) -> None:
        self.all = {dialect.name: dialect for dialect in all}
        self._at = [(prefix, dialect) for dialect in all for prefix in dialect.prefixes]
        self._at.sort(key=lambda at: len(at[0]), reverse=True)
        shapes = [shape for dialect in all for shape in dialect.errors.items()]
        self._shapes = sorted(shapes, key=lambda shape: len(shape[0]), reverse=True)

    def at(self, path: str) -> Dialect | None:
        """The dialect spoken at a path; None where there is none, as at /health."""
        return next((dialect for prefix, dialect in self._at if path.startswith(prefix)), None)

    def shape_at(self, path: str) -> Shape | None:
        """How errors are told at a path; None: as problems."""
        return next((shape for prefix, shape in self._shapes if path.startswith(prefix)), None)

    def key_beginning(self, name: str | None) -> str:
        """How the text of a key begins that is made for a dialect, or for all."""
        return self.all[name].key_beginning if name else KEY_BEGINNING

    def require(self, caller: Caller, path: str, host: str) -> None:
        """Raises Refusal with 403 for a key that was made for another dialect."""
        wanted, spoken = caller.terms.dialect, self.at(path)
        if wanted is None or spoken is None or spoken.name == wanted:
            return
        base = self.all[wanted].base.replace("HOST", host)
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "wrong-dialect",
            f"this key speaks {wanted}, and here is {spoken.name}: its base URL is {base}",
        )

    def by_key(self, app: ASGIApp) -> ASGIApp:
        """Below SHARED, a request with a key that begins as those of a dialect goes to that dialect."""
        homes = {
            dialect.key_beginning.encode(): dialect.prefixes[0].rstrip("/")
            for dialect in self.all.values()
            if dialect.key_beginning != KEY_BEGINNING
        }

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP and scope["path"].startswith(SHARED):
                for key in _keys_of(scope):
                    if home := next((homes[b] for b in homes if key.startswith(b)), None):
                        path = home + scope["path"]
                        scope = cast("Scope", {**scope, "path": path, "raw_path": path.encode()})
                        break
            await app(scope, receive, send)

        return handle


def _keys_of(scope: Scope) -> Iterator[bytes]:
    for name, value in scope["headers"]:
        if name == b"authorization":
            yield value.partition(b" ")[2].strip()
        elif name == b"x-api-key":
            yield value.strip()
