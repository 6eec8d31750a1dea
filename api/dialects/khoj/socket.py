"""The WebSocket of chats (khoj.md, 2.5): each frame asks or interrupts, one turn at a time."""

import asyncio
import time
from collections import Counter
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import WebSocket, websocket
from litestar.datastructures import Headers
from litestar.exceptions import WebSocketDisconnect

from api.auth import authenticate, require
from api.dialect import Dialects
from api.dialects.khoj.errors import words_of
from api.dialects.khoj.events import event_of
from api.dialects.khoj.framing import DELIMITER, segments
from api.dialects.khoj.question import MAX_QUESTION, Asking, TooMuch
from api.dialects.khoj.turns import greeting
from api.errors import Refusal, problem_of
from api.limits import admit
from api.origins import is_allowed
from api.server import options_of
from application.asked import Asked, Caller
from application.chat import turns
from application.chat.answering import Answering
from application.chat.chat import Chat
from application.chat.emission import Emission, Text, Thought
from application.chat.question import Question
from application.chat.turns import Emissions
from application.limits import Limits
from domain.ids import new_id

FLUSH_SECONDS = 0.1
FLUSH_CHARACTERS = 512
Joined = Text | Thought
"""What comes in pieces."""
PROTOCOL = "everlog"
KEY_PROTOCOL = "everlog.key."
"""Pages cannot send a header with a WebSocket; a key may come as one of the protocols they offer."""
NOT_ALLOWED = (
    "a WebSocket is for pages: send an Origin, with its scheme and port, that is in EVERLOG_CORS_ORIGINS,"
    " that of EVERLOG_PUBLIC_URL, or one of localhost"
)
MAX_SOCKETS = 100
"""Of one owner, a process."""
INVALID_FRAME = 1011
MISSING_Q = "Missing required field 'q' in chat message"
MAX_REASON = 120
"""Bytes; the WebSocket has room for 123."""
FULL = "this answer takes no more instructions: wait for its end, and ask anew"
TOO_LONG = f"the instruction is longer than {MAX_QUESTION} characters: ask anew and attach it as a file"


class Frame(msgspec.Struct):
    """What tells the kinds of frames apart."""

    type: str | None = None
    query: str | None = None
    q: Any = None


@websocket("/api/chat/ws", opt={"scope": None})
async def chat_socket(socket: "WebSocket[Any, Any, Any]") -> None:
    chats: Chat = socket.app.state.chats
    try:
        caller = await _admitted(socket)
    except Refusal as refused:
        await _refuse(socket, refused)
        return
    connections = _open(socket)
    connections[caller.owner] += 1
    try:
        await socket.accept(subprotocols=PROTOCOL if PROTOCOL in _offered(socket.headers) else None)
        await _Socket(socket, chats).serve()
    finally:
        connections[caller.owner] -= 1


ROUTES = [chat_socket]


class _Socket:
    """One connection; at most one turn of it is under way."""

    def __init__(self, socket: "WebSocket[Any, Any, Any]", chats: Chat) -> None:
        self._socket = socket
        self._chats = chats
        self._client = socket.query_params.get("client")
        self._sending = asyncio.Lock()
        self._answering: Answering | None = None
        self._speaking: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Until the client goes, or sends what is no frame."""
        try:
            with suppress(WebSocketDisconnect):
                while await self._take(await self._socket.receive_text()):
                    pass
        finally:
            await self._silence()

    async def _take(self, text: str) -> bool:
        """One frame; False when it is none."""
        try:
            frame = msgspec.json.decode(text, type=Frame)
            if frame.type == "interrupt":
                await self._interrupt((frame.query or "").strip())
            elif frame.q is None:
                await self._control({"error": MISSING_Q})
            else:
                asking = msgspec.json.decode(text, type=Asking)
                await self._ask(asking.question(self._client))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            if not isinstance(error.__cause__, TooMuch):
                await self._socket.close(INVALID_FRAME, _reason(error))
                return False
            await self._control({"error": str(error.__cause__)})
        return True

    async def _ask(self, question: Question) -> None:
        """Answer the question, in place of what is under way unless it is refused."""
        try:
            asked = Asked(caller=await self._allowed(), request_id=str(new_id()))
            if turns.is_blank(question):
                await self._silence()
                spoken = greeting()
            else:
                spoken = await self._answer(asked, question)
        except Exception as error:
            await self._control({"error": words_of(problem_of(error))})
            return
        self._speaking = asyncio.create_task(self._speak(spoken))

    async def _answer(self, asked: Asked, question: Question) -> Emissions:
        ready = await turns.check(self._chats, asked, question)
        await self._silence()  # what there is of the answer before is kept before the question
        kept = await turns.keep(self._chats, asked, ready)
        self._answering = turns.answer(self._chats, asked, kept)
        return self._answering.emissions(FLUSH_SECONDS)

    async def _interrupt(self, text: str) -> None:
        if text and self._answering and self._speaking and not self._speaking.done():
            await self._instruct(self._answering, text)
            return
        await self._silence()
        await self._control({"type": "interrupt_acknowledged"})

    async def _instruct(self, answering: Answering, text: str) -> None:
        try:
            if len(text) > MAX_QUESTION:
                raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", TOO_LONG)
            caller = await self._allowed()  # the model is asked again for it
            await self._chats.plans.take_message(caller)
        except Exception as error:
            await self._control({"error": words_of(problem_of(error))})
            return
        if answering.instruct(text):
            await self._control({"type": "interrupt_message_acknowledged"})
            return
        await self._chats.plans.give_back_message(caller)
        await self._control({"error": FULL})

    async def _allowed(self) -> Caller:
        """Who asks, whose key may have been revoked since they connected. Raises Refusal."""
        caller = await _caller(self._socket)
        limits: Limits = self._socket.app.state.limits
        await admit(limits, caller, always=False)
        return caller

    async def _silence(self) -> None:
        """Stop the turn that is under way; it is kept as far as it came."""
        if self._answering:
            self._answering.stop()
        if self._speaking:
            with suppress(WebSocketDisconnect):
                await self._speaking
        self._answering = self._speaking = None

    async def _speak(self, emissions: Emissions) -> None:
        """Send what is told; pieces of text are joined for a moment, as each is a frame."""
        pending: Joined | None = None
        since = 0.0
        async with aclosing(emissions):
            async for emission in emissions:
                if pending and type(emission) is type(pending):
                    pending = type(pending)(pending.text + emission.text)
                elif isinstance(emission, Joined):
                    await self._send(pending)
                    pending, since = emission, time.monotonic()
                else:
                    await self._send(pending)
                    await self._send(emission)
                    pending = None
                if pending and _due(pending, since):
                    await self._send(pending)
                    pending = None
        await self._send(pending)

    async def _send(self, emission: Emission | None) -> None:
        if emission:
            async with self._sending:  # nothing comes between an event and its delimiter
                for segment in segments(event_of(emission)):
                    await self._socket.send_text(segment)
                    await self._socket.send_text(DELIMITER)

    async def _control(self, frame: dict[str, str]) -> None:
        async with self._sending:
            await self._socket.send_text(msgspec.json.encode(frame).decode())


def _reason(error: Exception) -> str:
    """Why a frame is none, as far as there is room for it."""
    words = str(error) if isinstance(error, msgspec.DecodeError) else "the frame is no JSON"
    return words.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")


def _due(pending: Joined, since: float) -> bool:
    return len(pending.text) >= FLUSH_CHARACTERS or time.monotonic() - since >= FLUSH_SECONDS


async def _refuse(socket: "WebSocket[Any, Any, Any]", refused: Refusal) -> None:
    """Answer the handshake, in words where the server can (ASGI's websocket.http.response).

    403 whatever it is, but for what is over after a while.
    """
    if "websocket.http.response" not in (socket.scope.get("extensions") or {}):
        await socket.close()
        return
    words = str(refused)
    body = msgspec.json.encode({"status": "error", "error": words, "message": words, "detail": words})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    status = HTTPStatus.FORBIDDEN
    if wait := refused.headers.get("Retry-After"):
        status = refused.status
        headers.append((b"retry-after", wait.encode()))
    start: Any = {"type": "websocket.http.response.start", "status": status.value, "headers": headers}
    end: Any = {"type": "websocket.http.response.body", "body": body}
    await socket.send(start)
    await socket.send(end)


async def _admitted(socket: "WebSocket[Any, Any, Any]") -> Caller:
    """Who connects. Raises Refusal."""
    if not is_allowed(socket.headers.get("origin", ""), options_of(socket)):
        raise Refusal(HTTPStatus.FORBIDDEN, "origin", NOT_ALLOWED)
    caller = await _caller(socket)
    if _open(socket)[caller.owner] >= MAX_SOCKETS:
        raise Refusal(
            HTTPStatus.TOO_MANY_REQUESTS, "too-many-sockets", f"more than {MAX_SOCKETS} connections are open"
        )
    return caller


def _open(socket: "WebSocket[Any, Any, Any]") -> Counter[str]:
    """Owner → connections that are open in this process."""
    counted: Counter[str] = socket.app.state.setdefault("sockets", Counter())
    return counted


async def _caller(socket: "WebSocket[Any, Any, Any]") -> Caller:
    """Whose key it is, if it may ask. Raises Refusal."""
    caller = await authenticate(socket.scope, _with_key(socket.headers))
    require(caller, "memories:write")
    dialects: Dialects = socket.app.state.dialects
    dialects.require(caller, socket.url.path, f"http://{socket.headers.get('host', 'HOST')}")
    return caller


def _with_key(headers: Headers) -> Headers:
    """The headers, with the key that came as a protocol where one may be expected."""
    keys = [part.removeprefix(KEY_PROTOCOL) for part in _offered(headers) if part.startswith(KEY_PROTOCOL)]
    if not keys or "authorization" in headers:
        return headers
    return Headers({**dict(headers.items()), "authorization": f"Bearer {keys[0]}"})


def _offered(headers: Headers) -> list[str]:
    """The protocols that the client offers to speak."""
    return [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
