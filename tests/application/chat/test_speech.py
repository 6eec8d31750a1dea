"""Texts read aloud over HTTP: by a real speech endpoint, and what is said where there is no voice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from providers.speech import speech
from providers.speech.markdown import MAX_MARKDOWN
from providers.speech.speech import MAX_TEXT
from runtime.settings import Settings
from tests.support.endpoint import Answer, Endpoint
from tests.support.service import Service, free_port, serving

FRAME = b"\xff\xf3\x84\xc4" + bytes(413)
SECRET = "sk-secret-of-speech"
Serve = Callable[..., AbstractContextManager[Service]]


def mp3(_: dict[str, Any]) -> Answer:
    return 200, FRAME, {"Content-Type": "audio/mpeg"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(mp3)
    yield endpoint
    endpoint.close()


@pytest.fixture(scope="module")
def serve(new_database: Callable[[], str], redis_url: str, folder: Path) -> Serve:
    """Starts a service of its own with these settings."""

    @contextmanager
    def start(**more: Any) -> Iterator[Service]:
        settings = Settings(
            database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex),
            port=free_port(), **more,
        )  # fmt: skip
        with serving(settings) as running:
            yield running

    return start


@pytest.fixture(scope="module")
def service(serve: Serve, endpoint: Endpoint) -> Iterator[Service]:
    with serve(openai_base_url=endpoint.url, openai_api_key=SECRET, speech_model="tts-1") as running:
        yield running


def said(endpoint: Endpoint) -> str:
    return str(endpoint.asked[-1]["input"])


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"status", "error", "message", "detail"}
    assert SECRET not in answer.text
    return str(body["error"])


def test_a_text_is_mp3_by_json_body_and_by_query(client: httpx.Client, endpoint: Endpoint) -> None:
    for body, query in (({"text": "Hello, how can I help you today?"}, {}), (None, {"text": "Bonjour"})):
        answer = client.post("/api/chat/speech", json=body, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.content == FRAME
    assert said(endpoint) == "Bonjour"


def test_the_web_client_sends_an_empty_json_body(client: httpx.Client, endpoint: Endpoint) -> None:
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/chat/speech?text=Gr%C3%BC%C3%9Fe", headers=headers).content == FRAME
    assert said(endpoint) == "Grüße"


def test_markdown_is_not_spoken(client: httpx.Client, endpoint: Endpoint) -> None:
    text = "# Plan\n\n**Feed** the [cat](https://cats.example/a?b) ```twice```.\n\n```py\nx = 1\n```\n"
    assert client.post("/api/chat/speech", json={"text": text}).is_success
    assert said(endpoint).split() == ["Plan", "Feed", "the", "cat", "twice."]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "```\ncode\n```",
        "![](x.png)",
        "\x01\x02",
        "x" * (MAX_TEXT + 1),
        "x" + "![](x.png)" * (MAX_MARKDOWN // 10),
    ],
)
def test_nothing_to_speak_and_too_much_are_422(client: httpx.Client, endpoint: Endpoint, text: str) -> None:
    before = len(endpoint.asked)
    refused(client.post("/api/chat/speech", json={"text": text}), 422)
    assert len(endpoint.asked) == before


def test_no_text_at_all_and_no_text_of_words_are_422(client: httpx.Client) -> None:
    refused(client.post("/api/chat/speech"), 422)
    refused(client.post("/api/chat/speech", json={}), 422)
    refused(client.post("/api/chat/speech", json={"text": 5}), 422)
    refused(client.post("/api/chat/speech", json=[]), 422)
    refused(client.post("/api/chat/speech", content=b"{"), 422)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_failing_endpoint_is_503_without_its_words(
    client: httpx.Client, endpoint: Endpoint, status: int
) -> None:
    endpoint.usual = lambda _: (status, {"error": {"message": SECRET}}, {"Retry-After-Ms": "1"})
    try:
        words = refused(client.post("/api/chat/speech", json={"text": "Hello"}), 503)
    finally:
        endpoint.usual = mp3
    assert "speech endpoint" in words


def test_without_a_key_nothing_is_spoken(service: Service) -> None:
    assert httpx.post(f"{service.url}/api/chat/speech", params={"text": "x"}).status_code == 401


def test_without_a_voice_it_is_said_what_to_configure(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "NEEDS", {})  # a local voice may be installed here
    with serve() as running:
        words = refused(running.client.post("/api/chat/speech", json={"text": "Hello"}), 503)
        assert "EVERLOG_SPEECH_MODEL" in words and "./everlog install speech" in words
        refused(running.client.post("/api/chat/speech", json={"text": ""}), 422)
        detailed = running.client.get("/api/settings?detailed=true").json()
        assert detailed["is_eleven_labs_enabled"] is False
