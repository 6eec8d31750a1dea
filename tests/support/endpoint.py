"""A real HTTP server that answers what a test tells it to."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, body (bytes as they are, else as JSON), and headers if they are not the usual ones."""
RETRY_AT_ONCE = {"Retry-After-Ms": "1"}


class Endpoint:
    """A scripted endpoint: `answers` are used up one by one, then `usual` answers; each after `delay`."""

    def __init__(self, usual: Callable[[dict[str, Any]], Answer]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Answer] = []
        self.usual = usual
        self.delay = 0.0
        self._closed = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append(body)
                answer = endpoint.answers.pop(0) if endpoint.answers else endpoint.usual(body)
                endpoint._closed.wait(endpoint.delay)
                content = answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode()
                headers = answer[2] if len(answer) == 3 else RETRY_AT_ONCE
                self.send_response(answer[0])
                for name, value in ({"Content-Type": "application/json"} | headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self) -> None:
        self._closed.set()
        self.server.shutdown()
        self.server.server_close()
