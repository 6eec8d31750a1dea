"""A scripted chat model that streams, behind a real HTTP server, for all that converses with one."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from runtime.settings import Settings
from tests.support.service import WRONG_KEYS_OF_TESTS

Json = dict[str, Any]
PIECE_CHARACTERS = 5
USAGE: Json = {"prompt_tokens": 100, "completion_tokens": 10}


class Scripted(msgspec.Struct, kw_only=True):
    """One answer. `pieces` are the text as it is streamed; without them it is cut every five characters."""

    text: str = ""
    pieces: list[str] | None = None
    thoughts: list[str] = []
    calls: list[tuple[str, Json]] = []
    deltas: list[Json] = []
    """Deltas as they are, behind all others."""
    finish: str | None = None
    """None: `stop`, or `tool_calls` where there are some."""
    usage: Json | None = msgspec.field(default_factory=lambda: dict(USAGE))
    status: int = 200
    error: str | Json = "scripted failure"
    """The message, or the whole error; for another status than 200."""
    headers: dict[str, str] = {}
    gate: threading.Event | None = None
    """What comes behind the first piece waits for it; and for `pause` seconds."""
    pause: float = 0.0
    cut: bool = False
    """Drop the connection in the middle; before the first piece if there is but none."""
    byte_wise: bool = False
    """Every byte in a write of its own."""
    plain: bool = False
    """One JSON completion, whether a stream is asked for or not."""
    raw: bytes | None = None
    """The body of the answer, in place of all above."""

    def deltas_in_order(self) -> list[Json]:
        parts = self.pieces
        if parts is None:
            starts = range(0, len(self.text), PIECE_CHARACTERS)
            parts = [self.text[at : at + PIECE_CHARACTERS] for at in starts]
        thought = [{"reasoning_content": thought} for thought in self.thoughts]
        said = [{"content": part} for part in parts]
        called = [{"tool_calls": [call]} for call in self._calls()]
        return thought + said + called + self.deltas

    def completion(self) -> Json:
        message: Json = {"role": "assistant", "content": self.text or "".join(self.pieces or []) or None}
        if self.calls:
            message["tool_calls"] = self._calls()
        if self.thoughts:
            message["reasoning_content"] = "".join(self.thoughts)
        choice = {"index": 0, "message": message, "finish_reason": self.finished()}
        return {"object": "chat.completion", "choices": [choice], "usage": self.usage}

    def finished(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")

    def _calls(self) -> list[Json]:
        return [
            {
                "index": number,
                "id": f"call-{number}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
            }
            for number, (name, arguments) in enumerate(self.calls)
        ]


Reply = str | Scripted


class ScriptedChat:
    """Answers `answers` one by one, then `reply`, or what it makes of the request's body.

    `asked` has the body of every request, `disconnected` counts those whose client left before the end.
    """

    def __init__(self, reply: Reply | Callable[[Json], Reply] = "Hello") -> None:
        self.reply = reply
        self.answers: list[Reply] = []
        self.asked: list[Json] = []
        self.disconnected = 0
        self.connections: set[tuple[str, int]] = set()
        """Where requests came from."""
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def settings(self, **more: Any) -> Settings:
        """Settings of an Everlog that converses with this model."""
        usual = {"openai_base_url": self.url, "openai_api_key": "none", "chat_model": "scripted"}
        # Tests of chats try wrong keys on every route, all from one address.
        patient = {"extractor": "rules", "max_failed_keys": WRONG_KEYS_OF_TESTS}
        return Settings(**{**usual, **patient, **more})

    def close(self) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: Json, client: tuple[str, int]) -> Scripted:
        with self._lock:
            self.connections.add(client)
            self.asked.append(body)
            reply = self.answers.pop(0) if self.answers else self.reply
        reply = reply(body) if callable(reply) else reply
        return Scripted(text=reply) if isinstance(reply, str) else reply

    def lost(self) -> None:
        with self._lock:
            self.disconnected += 1

    def _handler(self) -> type["_Handler"]:
        return type("Handler", (_Handler,), {"chat": self})


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # many begin at once

    def handle_error(self, *_: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    chat: ScriptedChat

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            self._whole(404, {"error": {"message": "only chat completions are scripted"}}, {})
            return
        answer = self.chat.answer(body, self.client_address)
        try:
            self._answer(answer, stream=bool(body.get("stream")) and not answer.plain)
        except ConnectionError:
            self.chat.lost()
            self.close_connection = True

    def _answer(self, answer: Scripted, stream: bool) -> None:
        if answer.status != 200:
            error = {"message": answer.error} if isinstance(answer.error, str) else answer.error
            self._whole(answer.status, {"error": error}, {"Retry-After-Ms": "1", **answer.headers})
        elif stream or answer.raw is not None:
            self._stream(answer)
        else:
            self._wait(answer)
            self._whole(200, answer.completion(), answer.headers)

    def _whole(self, status: int, body: Json, headers: dict[str, str]) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self._head(
            status, {"Content-Type": "application/json", **headers, "Content-Length": str(len(content))}
        )
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, answer: Scripted) -> None:
        usual = {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"}
        self._head(200, {**usual, **answer.headers})
        events = [answer.raw] if answer.raw is not None else list(_events(answer))
        middle = (len(answer.deltas_in_order()) + 1) // 2
        for number, event in enumerate(events):
            if answer.cut and number == middle:
                self._drop()
                return
            if number == 1:
                self._wait(answer)
            self._write(event, answer.byte_wise)
        # The client leaves at the sight of the end, so all of that is one write.
        end = b"" if answer.raw is not None else _chunked(b"data: [DONE]\n\n")
        self.wfile.write(end + b"0\r\n\r\n")

    def _write(self, event: bytes, byte_wise: bool) -> None:
        if self._left():
            raise ConnectionAbortedError
        for part in (event[at : at + 1] for at in range(len(event))) if byte_wise else [event]:
            self.wfile.write(_chunked(part))

    def _wait(self, answer: Scripted) -> None:
        """For the gate, and for the pause; not when the client leaves or the server closes."""
        until = time.monotonic() + answer.pause
        while (answer.gate and not answer.gate.is_set()) or time.monotonic() < until:
            if self.chat.closed.wait(0.005):
                return
            if self._left():
                raise ConnectionAbortedError

    def _left(self) -> bool:
        """Whether the client closed its side: it says nothing more before its answer has ended."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _drop(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def _events(answer: Scripted) -> Iterator[bytes]:
    for delta in answer.deltas_in_order():
        yield event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finished()}]})
    if answer.usage is not None:
        yield event({"choices": [], "usage": answer.usage})


def event(chunk: Json) -> bytes:
    """One chunk as it is streamed."""
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def _chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
