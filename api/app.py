"""The Litestar application, and serving it."""

import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, Request, Router, get
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.response import Response
from litestar.types import ASGIApp

from api import docs, health
from api.errors import to_problem
from api.request import RequestMiddleware, provide_asked, provide_chat, provide_engine
from api.spoken import SPOKEN
from application.chat.chat import Chat
from application.engine import Engine
from application.limits import Limits
from application.usage import Usage
from providers.sandbox.sandbox import Sandbox, available
from providers.web.page import Browser
from runtime.composition import cells_of, embedders_of
from runtime.settings import Settings

VERSION = "0.1.0"
EXPOSED = [
    "ETag", "Location", "Retry-After", "X-Request-Id", "Everlog-Position",
    "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    "X-Quota-Limit", "X-Quota-Used", "X-Quota-Reset",
]  # fmt: skip
"""The headers of answers that a page of another origin may read."""


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    return Response(request.app.openapi_schema.to_schema())


def create_app(
    settings: Settings, browser: Browser | None = None, ready: Callable[[Chat], None] = lambda _: None
) -> ASGIApp:
    """The application on the database that `settings` name. It is open for as long as it is served.

    Chats read pages with `browser`; by default with one that opens none but public addresses. `ready` is
    told of the chats once they can begin.
    """

    @asynccontextmanager
    async def opened(app: Litestar) -> AsyncIterator[None]:
        app.state.engine = engine = Engine(settings, cells_of(settings, "api"), embedders_of(settings))
        app.state.limits = limits = Limits(settings.redis_url)
        app.state.usage = usage = Usage(engine)
        await engine.open()
        app.state.chats = chats = Chat(settings, engine, browser, limits)
        ready(chats)
        usage.open()
        try:
            yield
        finally:
            await chats.close()
            await usage.close()
            await limits.close()
            await engine.close()

    app = Litestar(
        route_handlers=[
            *(route for dialect in SPOKEN.all.values() for route in dialect.routes),
            Router(
                "/",
                route_handlers=[route for dialect in SPOKEN.all.values() for route in dialect.uploads],
                request_max_body_size=settings.max_upload_bytes,
            ),
            *health.ROUTES,
            *docs.ROUTES,
            openapi,
        ],
        state=State({"dialects": SPOKEN}),
        lifespan=[opened],
        middleware=[RequestMiddleware()],
        dependencies={
            "engine": Provide(provide_engine, sync_to_thread=False),
            "chats": Provide(provide_chat, sync_to_thread=False),
            "asked": Provide(provide_asked),
        },
        exception_handlers={HTTPException: to_problem, Exception: to_problem},
        logging_config=None,  # Litestar's own would take over the root logger
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig(
            title="Everlog",
            version=VERSION,
            description="A memory service that keeps every change as an event.",
            components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"key": []}],
            path=None,
            render_plugins=[],
        ),
        cors_config=CORSConfig(
            allow_origins=[origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()],
            allow_credentials="*" not in settings.cors_origins,
            expose_headers=EXPOSED,
        ),
    )
    return SPOKEN.by_key(app)


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=settings.max_upload_bytes,  # what a WebSocket asks may have attachments, too
        timeout_graceful_shutdown=3,
    )


def serve(settings: Settings) -> None:
    """Serve until told to stop by SIGTERM or SIGINT."""
    chats: list[Chat] = []
    config = configured(create_app(settings, ready=chats.append), settings)
    if available():
        Sandbox(Path(settings.data_dir)).warm()  # else the first program waits for it
    # The writer thread hands over to the event loop many times a commit; the default is 5 ms each.
    sys.setswitchinterval(0.0005)
    with _listening(settings) as listener:
        _Server(config, chats).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends the answers that are under way before it waits for their connections."""

    def __init__(self, config: uvicorn.Config, chats: list[Chat]) -> None:
        super().__init__(config)
        self._chats = chats

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in self._chats:
            await each.end_turns()
        await super().shutdown(sockets)


def _listening(settings: Settings) -> socket.socket:
    """A socket on the port, shared evenly with the other API processes of this user."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((settings.host, settings.port))
    return listener
