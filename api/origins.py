"""Whose pages may open a WebSocket: no browser asks before it does, as it does before a request."""

from typing import NamedTuple
from urllib.parse import urlsplit

from api.server import ServerOptions

DEFAULT_PORTS = {"http": 80, "https": 443}
AT_HOME = frozenset({"localhost", "127.0.0.1", "::1"})
"""The machine of who looks at the page: whatever serves pages there is theirs, at any port."""


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None


def is_allowed(origin: str, options: ServerOptions) -> bool:
    """Whether pages of an origin are ours, of those that may call the API, or of the reader's own machine.

    Ours is what the settings call so: what a request says of its host is said by the page, too, once
    somebody's name leads to this machine.
    """
    if "*" in options.cors_origins:
        return True
    asked = _parsed(origin)
    if asked is None:
        return False
    if asked.host in AT_HOME and asked.scheme in DEFAULT_PORTS:
        return True
    host = f"[{options.host}]" if ":" in options.host else options.host
    ours = [f"http://{host}:{options.port}", options.public_url or "", *options.cors_origins]
    return asked in [_parsed(_begun(each)) for each in ours]


def _begun(url: str) -> str:
    """A URL up to its path."""
    return "/".join(url.split("/")[:3])


def _parsed(origin: str) -> Origin | None:
    """None for what is none: `null`, what names a user or a path, what cannot be read."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if not (parts.scheme and parts.hostname) or "@" in parts.netloc:
        return None
    if parts.path or parts.query or parts.fragment:
        return None
    return Origin(parts.scheme, parts.hostname, port or DEFAULT_PORTS.get(parts.scheme))
