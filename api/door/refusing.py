"""What is told of a refusal before there is anything that could answer."""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from api import metrics
from api.errors import PROBLEM_JSON, Refusal, problem_of


def answer(refusal: Refusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole HTTP/1.1 response, after which the connection is closed; `headers` are those of all answers."""
    problem = problem_of(refusal)
    body = msgspec.json.encode(problem)
    told = {
        "content-type": PROBLEM_JSON,
        "content-length": str(len(body)),
        "connection": "close",
        **refusal.headers,
    }
    lines = [
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode(),
        *(name + b": " + value for name, value in headers),
        *(f"{name}: {value}".encode() for name, value in told.items()),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def count(refusal: Refusal) -> None:
    metrics.REFUSED.labels(refusal.kind).inc()
