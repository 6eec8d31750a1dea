"""A connection that speaks WebSocket: bounded in how long its handshake, a frame or a silence may take."""

import asyncio
import math
from asyncio.transports import BaseTransport
from collections.abc import Generator
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode

from api.door import refusing
from api.door.door import LEAST_RATE, LINGER_SECONDS, STALL_SECONDS, SWEEP_SECONDS, door_of, host_of
from api.door.http import NO_HTTP
from api.errors import Refusal

HANDSHAKE_SECONDS = 30.0
"""Within which we answer a handshake: the look-up of a key, which waits for a connection of the pool."""
LATE = partial(
    Refusal,
    HTTPStatus.SERVICE_UNAVAILABLE,
    "unavailable",
    f"the handshake was not answered within {HANDSHAKE_SECONDS:g} s",
    {"Retry-After": "5"},
)


class SocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's protocol behind the door. Who is silent is pinged by uvicorn, and may be so for ever."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door_of(config)
        self._handshake_due = self._door.now + HANDSHAKE_SECONDS
        self._stalled_at = math.inf
        self._closing_until = math.inf
        self._in_frame = False
        self._watch_frames()
        self._silent = self._took = 0.0
        """Seconds that we have waited for the rest of a frame: since the last bytes, and in all."""
        self._got = 0

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._door.enter(self, host_of(self.client))

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._silent = 0.0
        self._got += len(data)
        super().data_received(data)

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:  # it was the handshake that could not be read
            self._refuse(NO_HTTP())
        else:
            super().handle_parser_exception()

    def _watch_frames(self) -> None:
        """Know whether one has begun: before each, the parser asks whether that was the end of all."""
        at_eof = self.conn.reader.at_eof

        def between_frames() -> Generator[None, None, bool]:
            self._in_frame = False
            ended = yield from at_eof()
            self._in_frame = True
            return ended

        self.conn.reader.at_eof = between_frames  # type: ignore[method-assign]

    # --- what is sent faster than it is taken: pings are answered, too

    def pause_writing(self) -> None:
        self._stalled_at = self._door.now + STALL_SECONDS
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._stalled_at = math.inf
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.http.response.start":  # uvicorn leaves out what all answers have
            headers = [*self.default_headers, *message.get("headers", [])]
            message = {**message, "headers": headers}
        await super().send(message)

    # --- time

    def look(self) -> None:
        now = self._door.now
        if now >= self._stalled_at:
            self.transport.abort()
        elif self.transport.is_closing():
            self._closing_until = min(self._closing_until, now + LINGER_SECONDS)
            if now >= self._closing_until:
                self.transport.abort()
        elif not self.handshake_complete:
            if now >= self._handshake_due:
                self._refuse(LATE())
        elif not self.close_sent:
            self._look_at_frame()

    def _look_at_frame(self) -> None:
        """Whether the client has let us wait too long for the rest of a frame, or of a message of several."""
        if not (self._in_frame or self.frames):
            self._silent = self._took = 0.0
            self._got = 0
            return
        if self.read_paused or not self.writable.is_set():
            return
        self._silent += SWEEP_SECONDS
        self._took += SWEEP_SECONDS
        longest = self._door.limits.body_timeout
        if self._silent >= longest:
            self._fail(f"nothing of the frame came for {longest:g} s")
        elif self._took >= longest and self._got < self._took * LEAST_RATE:
            self._fail(f"the frame came slower than {LEAST_RATE} bytes a second")

    # --- refusing

    def _fail(self, words: str) -> None:
        self.stop_keepalive()
        self.conn.fail(CloseCode.POLICY_VIOLATION, words)
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": CloseCode.POLICY_VIOLATION, "reason": words}
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer the handshake so."""
        refusing.count(refusal)
        self.transport.write(refusing.answer(refusal, self.default_headers))
        self.transport.close()
