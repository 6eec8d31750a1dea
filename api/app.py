"""The Litestar application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from api import docs, health
from api.addresses import Proxies
from api.errors import to_problem
from api.failures import Failures
from api.request import RequestMiddleware, provide_asked, provide_chat, provide_engine
from api.server import ServerOptions
from api.spoken import SPOKEN
from application.chat.chat import Chat
from application.engine import Engine
from application.limits import Limits
from application.usage import Usage

VERSION = "0.1.0"
EXPOSED = [
    "ETag", "Location", "Retry-After", "X-Request-Id", "Everlog-Position",
    "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    "X-Quota-Limit", "X-Quota-Used", "X-Quota-Reset",
]  # fmt: skip
"""The headers of answers that a page of another origin may read."""


def create_app(engine: Engine, chats: Chat, limits: Limits, options: ServerOptions) -> ASGIApp:
    """The application. What it stands on is open for as long as it is served, and closed then."""
    usage = Usage(engine)

    @asynccontextmanager
    async def opened(app: Litestar) -> AsyncIterator[None]:
        await engine.open()
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
                request_max_body_size=options.max_upload_bytes,
            ),
            *health.ROUTES,
            *docs.ROUTES,
        ],
        state=State(
            {
                "engine": engine,
                "chats": chats,
                "limits": limits,
                "usage": usage,
                "dialects": SPOKEN,
                "scraped": health.Scraped(),
                "failures": Failures(options.max_failed_keys),
                "proxies": Proxies(options.trusted_proxies),
                "options": options,
            }
        ),
        lifespan=[opened],
        middleware=[RequestMiddleware()],
        dependencies={
            "engine": Provide(provide_engine, sync_to_thread=False),
            "chats": Provide(provide_chat, sync_to_thread=False),
            "asked": Provide(provide_asked),
        },
        exception_handlers={HTTPException: to_problem, Exception: to_problem},
        logging_config=None,  # Litestar's own would take over the root logger
        request_max_body_size=options.max_body_bytes,
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
            allow_origins=list(options.cors_origins),
            allow_credentials="*" not in options.cors_origins,
            expose_headers=EXPOSED,
        ),
    )
    return SPOKEN.by_key(app)
