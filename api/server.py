"""Serving the API."""

import resource
import socket
import sys
from typing import Any

import msgspec
import uvicorn
from litestar.connection import ASGIConnection
from litestar.types import ASGIApp

from api.addresses import Proxies
from api.docs import STYLE_HASH
from api.door.door import Door, DoorLimits, GuardedConfig
from api.door.http import HttpConnection
from api.door.websocket import SocketConnection
from application.chat.chat import Chat

OTHER_FILES = 512
"""Files of an API process that are no connections of clients: those to the database, pipes, models."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": f"default-src 'none'; style-src '{STYLE_HASH}';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
"""Of every answer. No page of ours loads or runs anything; the style of /docs is named by its hash."""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API is served, to whom, and how much it takes at once."""

    host: str
    port: int
    public_url: str | None
    """Where clients reach it, `https://…`; None: as they asked for."""
    cors_origins: tuple[str, ...]
    """Whose pages may call it with credentials; `*` allows any without."""
    max_body_bytes: int
    max_upload_bytes: int
    """Of a chat with attachments, or of an upload of documents."""
    head_timeout: float
    """Seconds until request line and headers are complete."""
    body_timeout: float
    """Seconds between two pieces of a body."""
    max_connections: int
    """Of this process."""
    trusted_proxies: tuple[str, ...]
    """Addresses and networks whose `X-Forwarded-For` is believed."""
    max_failed_keys: int
    """Failed authentications a minute of one address."""


def options_of(connection: ASGIConnection[Any, Any, Any, Any]) -> ServerOptions:
    options: ServerOptions = connection.app.state.options
    return options


def configured(app: ASGIApp, options: ServerOptions) -> uvicorn.Config:
    config = GuardedConfig(
        app,
        http=HttpConnection,
        ws=SocketConnection,
        headers=list(SECURITY_HEADERS.items()),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=options.max_upload_bytes,  # what a WebSocket asks may have attachments, too
        timeout_graceful_shutdown=3,
    )
    limits = DoorLimits(
        head_timeout=options.head_timeout,
        body_timeout=options.body_timeout,
        max_connections=options.max_connections,
    )
    config.door = Door(limits, Proxies(options.trusted_proxies))
    return config


def serve(app: ASGIApp, options: ServerOptions, chats: Chat) -> None:
    """Serve until told to stop by SIGTERM or SIGINT."""
    if chats.means.sandbox:
        chats.means.sandbox.warm()  # else the first program waits for it
    # The writer thread hands over to the event loop many times a commit; the default is 5 ms each.
    sys.setswitchinterval(0.0005)
    _make_room(options.max_connections)
    with _listening(options) as listener:
        _Server(configured(app, options), chats).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends the answers that are under way before it waits for their connections."""

    def __init__(self, config: uvicorn.Config, chats: Chat) -> None:
        super().__init__(config)
        self._chats = chats

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._chats.end_turns()
        await super().shutdown(sockets)


def _make_room(connections: int) -> None:
    """Let this process have as many files open as that takes, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _listening(options: ServerOptions) -> socket.socket:
    """A socket on the port, shared evenly with the other API processes of this user."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((options.host, options.port))
    return listener
