"""Who is let in, who has to go, and the clock by which they are told to."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

import msgspec
import uvicorn

from api import metrics
from api.addresses import UNKNOWN, Proxies, network_of
from api.errors import Refusal

SWEEP_SECONDS = 0.25
"""How often all connections are looked at, so also how exact deadlines are."""
SHARE_OF_ADDRESS = 4
"""One address has at most a quarter of the connections, so that no single one keeps out all others."""
MAX_LINGERING = 100
"""Connections beyond the cap that are still being told so; more are cut without a word."""
LINGER_SECONDS = 2.0
"""How long a connection that was closed may take what was said last: cut at once, it would be lost."""
STALL_SECONDS = 60.0
"""How long a client may take nothing of what is sent to it."""
LEAST_RATE = 1_000
"""Bytes a second: the slowest that a body, or a frame of a WebSocket, may come on average."""
RETRY_SECONDS = "5"


class DoorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What those who set up the server may set."""

    head_timeout: float
    """Seconds until request line and headers are complete."""
    body_timeout: float
    """Seconds between two pieces of a body."""
    max_connections: int
    """Of this process."""


class Guest(Protocol):
    """A connection, as the door sees it."""

    transport: asyncio.Transport

    def look(self) -> None:
        """Whether its time is over, by the clock of the door."""


class Door:
    """All connections of a process. Those that wait for a request to come leave first when it gets full."""

    def __init__(self, limits: DoorLimits, proxies: Proxies) -> None:
        self.limits = limits
        self.now = 0.0
        """Seconds, counted in sweeps: they stand still while the event loop does, so nobody pays for that."""
        self._proxies = proxies
        self._max_of_address = max(1, limits.max_connections // SHARE_OF_ADDRESS)
        self._inside: dict[Guest, str] = {}
        self._of: Counter[str] = Counter()
        self._waiting: dict[Guest, None] = {}
        """Those who send no request at the moment, or half of one; who has longest, first."""
        self._lingering: set[Guest] = set()
        self._sweeping = False

    def admit(self, guest: Guest, host: str) -> Refusal | None:
        """Let it in, or say why not."""
        address = network_of(host)
        if host not in self._proxies and self._of[address] >= self._max_of_address:
            if not self._make_room(guest for guest in self._waiting if self._inside[guest] == address):
                return _full(f"one address has at most {self._max_of_address} connections", self.limits)
        elif len(self._inside) >= self.limits.max_connections and not self._make_room(self._waiting):
            return _full(f"there are {self.limits.max_connections} connections already", self.limits)
        self.enter(guest, host)
        return None

    def enter(self, guest: Guest, host: str) -> None:
        """Count it without asking, as it takes over from one that was counted."""
        address = network_of(host)
        self._inside[guest] = address
        self._of[address] += 1
        metrics.OPEN.set(len(self._inside))
        self._sweep_from_now_on()

    def leave(self, guest: Guest) -> None:
        self._lingering.discard(guest)
        self._waiting.pop(guest, None)
        address = self._inside.pop(guest, None)
        if address is None:
            return
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address]
        metrics.OPEN.set(len(self._inside))

    def wait(self, guest: Guest) -> None:
        """It has nothing under way."""
        self._waiting[guest] = None

    def serve(self, guest: Guest) -> None:
        """It has sent a request."""
        self._waiting.pop(guest, None)

    def linger(self, guest: Guest) -> bool:
        """Whether there is time to tell one that was not let in why."""
        if len(self._lingering) >= MAX_LINGERING:
            return False
        self._lingering.add(guest)
        self._sweep_from_now_on()
        return True

    def _make_room(self, waiting: Iterable[Guest]) -> bool:
        """Cut the first of those who wait, if there is one that has all that was sent to it."""
        gone = next((guest for guest in waiting if not guest.transport.get_write_buffer_size()), None)
        if gone is None:
            return False
        self.leave(gone)
        gone.transport.abort()
        return True

    def _sweep_from_now_on(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self.now += SWEEP_SECONDS
        for guest in [*self._inside, *self._lingering]:
            guest.look()
        self._sweeping = False
        if self._inside or self._lingering:
            self._sweep_from_now_on()


class GuardedConfig(uvicorn.Config):
    """uvicorn's configuration, by which its protocols come to the door."""

    door: Door


def door_of(config: uvicorn.Config) -> Door:
    assert isinstance(config, GuardedConfig)  # noqa: S101 - nothing else is served
    return config.door


def host_of(client: tuple[str, int] | None) -> str:
    return client[0] if client else UNKNOWN


def _full(words: str, limits: DoorLimits) -> Refusal:
    detail = f"{words} (EVERLOG_MAX_CONNECTIONS is {limits.max_connections}); try again in {RETRY_SECONDS} s"
    headers = {"Retry-After": RETRY_SECONDS}
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-connections", detail, headers)
