"""What every answer tells browsers: nothing here is to be run, framed, sniffed, or told of elsewhere."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.service import KEY, Service

EVERY = {
    "a page": ("GET", "/docs", {}, 200),
    "a document": ("GET", "/openapi.json", {}, 200),
    "a list": ("GET", "/v1/memories", {"X-API-Key": KEY}, 200),
    "no key": ("GET", "/v1/memories", {}, 401),
    "no route": ("GET", "/nowhere", {}, 404),
    "no such method": ("POST", "/docs", {}, 405),
    "another contract": ("GET", "/api/chat/sessions", {}, 401),
    "a preflight": (
        "OPTIONS",
        "/v1/memories",
        {"Origin": "app://obsidian.md", "Access-Control-Request-Method": "POST"},
        204,
    ),
}


def is_sealed(headers: Any) -> None:
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("method, path, headers, status", EVERY.values(), ids=EVERY.keys())
def test_every_answer_tells_it(
    service: Service, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = httpx.request(method, service.url + path, headers=headers)
    assert answer.status_code == status
    is_sealed(answer.headers)


def test_a_refused_websocket_tells_it(service: Service) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(service.url.replace("http", "ws") + "/api/chat/ws"):
        pass
    is_sealed(refused.value.response.headers)


def test_the_page_of_the_api_has_the_style_that_is_let_in_and_nothing_that_runs(service: Service) -> None:
    answer = httpx.get(f"{service.url}/docs")
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    named = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{named}'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<(script|img|link|iframe|form)|\sstyle=|\son\w+=", answer.text)
