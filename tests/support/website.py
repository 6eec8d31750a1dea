"""A real web server on loopback that answers what a test tells it to, and remembers who asked what."""

import ssl
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec


class Asked(msgspec.Struct, frozen=True):
    method: str
    path: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """`body`: bytes, or pieces that are sent one by one until the other side has enough."""

    body: bytes | Callable[[], Iterable[bytes]] = b""
    status: int = 200
    headers: dict[str, str] = {}


def html(text: str) -> Answer:
    return Answer(text.encode(), headers={"Content-Type": "text/html; charset=utf-8"})


def json(value: Any, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(value), status, {"Content-Type": "application/json"})


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": to})


class Website:
    """Answers `script` one by one, then by path from `pages`, else 404. `hold`: says nothing until closed."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.script: list[Answer] = []
        self.pages: dict[str, Answer] = {}
        self.hold = False
        self._closed = threading.Event()
        website = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                named = {name.lower(): value for name, value in self.headers.items()}
                website.asked.append(Asked(self.command, self.path, named, body))
                if website.hold:
                    website._closed.wait()
                    return
                self._send(website._answer_to(self.path))

            do_POST = do_GET

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if isinstance(answer.body, bytes):
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                try:
                    for piece in [answer.body] if isinstance(answer.body, bytes) else answer.body():
                        self.wfile.write(piece)
                except OSError:  # the other side has enough
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler, tls)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def _answer_to(self, path: str) -> Answer:
        if self.script:
            return self.script.pop(0)
        return self.pages.get(path.partition("?")[0], Answer(b"no such page", 404))

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        super().__init__(address, handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, *_: Any) -> None:
        """A client that goes away, or trusts no certificate of ours, is what some tests want."""
