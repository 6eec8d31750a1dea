"""A connection that speaks HTTP: bounded in what it sends before that is a request, and in its time."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.door import refusing
from api.door.door import LEAST_RATE, LINGER_SECONDS, STALL_SECONDS, SWEEP_SECONDS, door_of, host_of
from api.errors import Refusal

MAX_HEAD_BYTES = 65_536
"""Of request line and headers, and of what stands between the pieces of a body."""
MAX_HEADERS = 100
MAX_PIPELINED = 16
"""Requests that wait for the answer to an earlier one of their connection."""
MAX_THROWN_AWAY = 1_000_000
"""Bytes that are taken of somebody who was refused, as they may read no answer before all is sent."""
MAX_SOCKET_LINE = 8_000
"""Characters of a line of a WebSocket's handshake: what `websockets` reads, and something off."""

HEAD_TOO_LARGE = partial(
    Refusal,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head-too-large",
    f"the request line and the headers are larger than {MAX_HEAD_BYTES} bytes",
)
TOO_MANY_HEADERS = partial(
    Refusal,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "too-many-headers",
    f"there are more than {MAX_HEADERS} headers",
)
LINE_TOO_LONG = partial(
    Refusal,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head-too-large",
    f"a line of the handshake is longer than {MAX_SOCKET_LINE} characters",
)
TOO_MANY_PIPELINED = partial(
    Refusal,
    HTTPStatus.TOO_MANY_REQUESTS,
    "too-many-pipelined",
    f"more than {MAX_PIPELINED} requests wait for an answer on this connection",
)
NO_HTTP = partial(Refusal, HTTPStatus.BAD_REQUEST, "malformed", "this is not HTTP/1.1, or is cut off")
Why = Callable[[], Refusal]
"""Made anew each time: an exception that is raised keeps what raised it."""


class _Stopped(Exception):
    """The parser knows no other way to be told."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol behind the door.

    Where a request has reached its route and its body does not come, receiving it raises the refusal, so that
    it is told in the words of the route's contract.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door_of(config)
        self._served = self.app
        self.app = self._serve
        self._due = math.inf
        """When its time is over, by the door's clock."""
        self._stalled_at = math.inf
        self._closing = False
        self._refused = False
        """What comes further is thrown away."""
        self._thrown_away = 0
        self._wrong: Why | None = None
        """Why the parser was stopped, where it was not the parser's own doing."""
        self._cut: tuple[RequestResponseCycle, Refusal] | None = None
        self._unparsed = 0
        """Bytes since the parser had something to tell."""
        self._in_head = True
        self._head_bytes = 0
        self._headers = 0
        self._silent = self._took = 0.0
        """Seconds that the client has let us wait for its body: since the last piece, and in all."""
        self._got = 0

    # --- coming and going

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        refusal = self._door.admit(self, host_of(self.client))
        if refusal is None:
            self._await_head(0.0)
        elif self._door.linger(self):
            self._refuse(refusal)
        else:
            self._refused = True
            refusing.count(refusal)
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        super().connection_lost(exc)

    def _await_head(self, idle: float) -> None:
        """The next request is to be there in time, after so many seconds in which none has to begin."""
        self._due = self._door.now + idle + self._door.limits.head_timeout
        self._door.wait(self)

    # --- what comes

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._throw_away(data)
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self._refuse((self._wrong or NO_HTTP)())
        else:
            if self._unparsed > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE())

    def _throw_away(self, data: bytes) -> None:
        """Who still sends may read why that is for nothing; but not send for ever."""
        self._thrown_away += len(data)
        if self._thrown_away > MAX_THROWN_AWAY:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()
            else:
                self.transport.pause_reading()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = self._headers = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MAX_HEADERS:
            self._stop(TOO_MANY_HEADERS)
        self._count(len(name) + len(value) + len(": \r\n"))
        if self._in_head:  # those that follow a body would be headers of a request that was let in already
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(TOO_MANY_PIPELINED)
        self._in_head = False
        self._unparsed = 0
        self._silent = self._took = 0.0
        self._got = 0
        self._due = math.inf
        self._door.serve(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._silent = 0.0
        self._got += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        cycle = self.cycle
        if cycle and cycle.response_complete and cycle.more_body:  # it was answered before its body was there
            cycle.more_body = False
            self._await_head(0.0)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        cycle = self.cycle
        if not cycle.response_complete or self.transport.is_closing():
            return
        if self._refused:
            self._unset_keepalive_if_required()
            self.transport.resume_reading()
            self._end()
        elif cycle.more_body:  # which nobody reads any more
            self._due = self._door.now + self._door.limits.body_timeout
        else:
            self._await_head(self.timeout_keep_alive)

    def handle_websocket_upgrade(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self._refuse(NO_HTTP())
        elif self._longest_line() > MAX_SOCKET_LINE:
            self._refuse(LINE_TOO_LONG())
        else:
            self._door.leave(self)
            self._refused = True
            super().handle_websocket_upgrade()

    def _longest_line(self) -> int:
        return max(len(self.url), *(len(name) + len(value) for name, value in self.headers), 0)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop(HEAD_TOO_LARGE)

    def _stop(self, why: Why) -> None:
        self._wrong = why
        raise _Stopped

    # --- what goes

    def pause_writing(self) -> None:
        self._stalled_at = self._door.now + STALL_SECONDS
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_at = math.inf
        super().resume_writing()

    # --- time

    def look(self) -> None:
        now = self._door.now
        if now >= self._stalled_at:
            self.transport.abort()
        elif self.transport.is_closing():
            self._look_at_closing(now)
        elif now >= self._due:
            self._overdue()
        else:
            self._look_at_body()

    def _look_at_closing(self, now: float) -> None:
        if not self._closing:
            self._closing = True
            self._due = now + LINGER_SECONDS
        elif now >= self._due:
            self.transport.abort()

    def _overdue(self) -> None:
        if self._refused:
            self.transport.abort()
        elif self._in_head and (self._unparsed or self._head_bytes):
            seconds = self._door.limits.head_timeout
            detail = f"request line and headers were not complete within {seconds:g} s (EVERLOG_HEAD_TIMEOUT)"
            self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, "head-too-slow", detail))
        else:
            self.transport.close()

    def _look_at_body(self) -> None:
        """Whether the client has let us wait too long for its body; not while it waits for us."""
        cycle = self.cycle
        if cycle is None or not cycle.more_body or cycle.response_complete or self.flow.read_paused:
            return
        self._silent += SWEEP_SECONDS
        self._took += SWEEP_SECONDS
        longest = self._door.limits.body_timeout
        if self._silent >= longest:
            words = f"nothing of the body came for {longest:g} s (EVERLOG_BODY_TIMEOUT)"
        elif self._took >= longest and self._got < self._took * LEAST_RATE:
            words = f"the body came slower than {LEAST_RATE} bytes a second"
        else:
            return
        self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", words))

    # --- refusing

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            message = await receive()
            if self._cut is None or self._cut[0].scope is not scope:
                return message
            cycle, refusal = self._cut
            if cycle.response_started or not cycle.more_body:
                return {"type": "http.disconnect"}
            cycle.more_body = False  # it is told once
            raise refusal

        await self._served(scope, received, send)

    def _refuse(self, refusal: Refusal) -> None:
        """Tell it, and take nothing more."""
        self._refused = True
        refusing.count(refusal)
        self._door.serve(self)
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.write(refusing.answer(refusal, self.server_state.default_headers))
            self._end()
            return
        self._due = math.inf
        if cycle.more_body and not cycle.response_started:
            self._cut = cycle, refusal
            cycle.message_event.set()
        else:
            cycle.keep_alive = False  # so it ends with the answers that are under way

    def _end(self) -> None:
        """Say no more, and give who still sends time to read what was said."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._due = self._door.now + LINGER_SECONDS
