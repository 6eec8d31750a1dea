"""`everlog doctor` on chats: what answers, what is missing, and the very lines that would change it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from providers.sandbox import sandbox
from runtime.commands.doctor import chats, loopback
from runtime.commands.doctor.examine import examine
from runtime.commands.doctor.finding import Finding
from runtime.settings import Settings
from tests.support.endpoint import Endpoint
from tests.support.gguf_file import model_file
from tests.support.service import Service, free_port

SECRET = "sk-never-to-be-seen"


class Website:
    """Answers each GET with `status` and `body`, once `open` is set."""

    def __init__(self, body: Any, status: int = 200) -> None:
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.open.wait(30)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


Sites = Callable[..., Website]


@pytest.fixture
def site() -> Iterator[Sites]:
    made: list[Website] = []

    def make(body: Any, status: int = 200) -> Website:
        made.append(Website(body, status))
        return made[-1]

    yield make
    for website in made:
        website.close()


@pytest.fixture(autouse=True)
def nothing_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on the machine of the tests is none of their business."""
    monkeypatch.setattr(loopback, "PORTS", {})


@pytest.fixture
def model() -> Iterator[Endpoint]:
    endpoint = Endpoint(lambda body: (200, streamed("hel", "lo")))
    yield endpoint
    endpoint.close()


def streamed(*words: str) -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": word}}]} for word in words]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": len(words)}})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"


def models(*names: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


def finding(name: str, settings: Settings) -> Finding:
    return next(found for found in chats.findings(settings) if found.name == name)


# --- no chat model ----------------------------------------------------------------------------------


def test_each_server_that_runs_on_the_machine_is_named_with_the_line_to_set(
    site: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama, studio = site(models("nomic-embed-text:latest", "llama3.2:latest")), site(models("qwen/qwen3-4b"))
    monkeypatch.setattr(loopback, "PORTS", {ollama.port: "Ollama", studio.port: "LM Studio"})
    found = finding("chat", Settings())
    assert (found.state, found.detail) == ("off", "no chat model: chat answers 503")
    assert found.next
    first = f"OPENAI_BASE_URL=http://127.0.0.1:{ollama.port}/v1 EVERLOG_CHAT_MODEL=llama3.2:latest"
    second = f"OPENAI_BASE_URL=http://127.0.0.1:{studio.port}/v1 EVERLOG_CHAT_MODEL=qwen/qwen3-4b"
    assert found.next.splitlines() == [f"Ollama answers: set {first}", f"LM Studio answers: set {second}"]
    assert found.line().count("\n    → ") == 2
    assert ollama.asked == ["/v1/models"]


def test_what_does_not_answer_with_models_or_not_soon_is_passed_over(
    site: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = site(models("slow"))
    slow.open.clear()
    others = [
        slow, site(b"<html>"), site({"data": "none"}), site(models("of-a-failure"), 500), site(models()),
        site(models("a; rm -rf ~"), 200), site(models("\x1b[31mred")), site(b"[" * 200_000),
    ]  # fmt: skip
    ports = {free_port(): "closed"} | {other.port: "other" for other in others}
    monkeypatch.setattr(loopback, "PORTS", ports)
    found = finding("chat", Settings())
    assert found.next == chats.OF_YOUR_OWN
    assert all(other.asked for other in others)


def test_everlog_is_not_taken_for_a_model_server(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "PORTS", {service.settings.port: "vLLM"})
    assert finding("chat", Settings()).next == chats.OF_YOUR_OWN


def test_with_nothing_found_it_says_how_to_get_a_model() -> None:
    found = finding("chat", Settings())
    assert found.state == "off"
    assert found.next
    for way in ("EVERLOG_LOCAL_MODEL=/path/to/model.gguf", "./everlog install local", "OPENAI_API_KEY"):
        assert way in found.next


def test_a_local_model_that_cannot_be_run_is_a_failure_that_says_what_to_do(tmp_path: Any) -> None:
    found = finding("chat", Settings(local_model="/no/such.gguf"))
    assert (found.state, found.next) == ("fails", None)
    assert "EVERLOG_LOCAL_MODEL: cannot read /no/such.gguf" in found.detail
    both = finding("chat", Settings(local_model=str(model_file(tmp_path)), image_model="a"))
    assert "EVERLOG_IMAGE_MODEL are both set" in both.detail


# --- a chat model -----------------------------------------------------------------------------------


def test_the_configured_model_is_asked_one_short_question(model: Endpoint) -> None:
    url = model.url.replace("://", f"://user:{SECRET}@")
    found = finding("chat", Settings(openai_base_url=url, openai_api_key=SECRET, chat_model="mine"))
    assert found.state == "ok"
    assert found.detail == f"mine at {model.url.removeprefix('http://').removesuffix('/v1')} answers"
    (asked,) = model.asked
    assert asked["stream"]
    assert asked["max_tokens"] <= 200


def test_how_fast_it_speaks_is_told_where_it_counts_and_does_not_come_at_once() -> None:
    assert chats._speed([10.0, 10.5, 12.0], 21) == ", 10 tokens a second"
    assert chats._speed([10.0, 10.001], 200) == ""
    assert chats._speed([10.0, 12.0], 0) == ""
    assert chats._speed([], 5) == ""


def test_a_model_that_only_thinks_within_its_tokens_answers(model: Endpoint) -> None:
    chunks = [
        {"choices": [{"delta": {"reasoning_content": "Let me see"}}]},
        {"choices": [{"delta": {}, "finish_reason": "length"}]},
    ]
    thinking = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"
    model.answers.append((200, thinking))
    assert finding("chat", Settings(openai_base_url=model.url)).state == "ok"


def test_a_model_that_does_not_answer_in_time_fails(model: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats, "ANSWER_SECONDS", 0.1)
    model.delay = 30.0
    found = finding("chat", Settings(openai_base_url=model.url))
    assert (found.state, found.detail) == ("fails", "no answer within 0.1 s")


def test_a_failure_of_the_model_holds_no_secret_and_says_what_to_check(model: Endpoint) -> None:
    model.usual = lambda body: (401, {"error": {"message": f"wrong key {SECRET}"}})
    found = finding("chat", Settings(openai_base_url=model.url, openai_api_key=SECRET))
    assert found.state == "fails"
    assert "401" in found.detail
    assert "OPENAI_API_KEY" in (found.next or "")
    assert SECRET not in found.line()


# --- the tools of chats -----------------------------------------------------------------------------


def test_what_is_not_configured_is_off_and_says_how_to_have_it() -> None:
    for name, way in (("web search", "EVERLOG_WEB_SEARCH"), ("images", "EVERLOG_IMAGE_MODEL")):
        found = finding(name, Settings())
        assert found.state == "off"
        assert way in (found.next or "")


def test_a_configured_web_search_is_asked_once(site: Sites) -> None:
    results = {"results": [{"url": "https://example.org/", "title": "Weather", "content": "Sun."}]}
    searxng = site(results)
    settings = Settings(web_search="searxng", web_search_url=f"http://127.0.0.1:{searxng.port}")
    found = finding("web search", settings)
    assert (found.state, found.detail) == ("ok", "searxng answers, results: 1")
    assert len(searxng.asked) == 1


def test_a_web_search_that_fails_is_a_failure_without_its_key(site: Sites) -> None:
    settings = Settings(
        web_search="brave", web_search_url=f"http://127.0.0.1:{site({}, 401).port}", web_search_key=SECRET
    )
    found = finding("web search", settings)
    assert found.state == "fails"
    assert SECRET not in found.line()


def test_images_and_speech_of_the_endpoint_are_named_and_not_asked(model: Endpoint) -> None:
    settings = Settings(openai_base_url=model.url, image_model="painter", speech_model="speaker")
    found = {found.name: found for found in chats.findings(settings)}
    assert found["images"].detail.startswith("painter;")
    assert found["speech"].detail.startswith("speaker;")
    assert {asked["model"] for asked in model.asked} == {settings.chat_model}


def test_the_sandbox_is_ok_where_it_is_installed() -> None:
    assert finding("code", Settings()).state == ("ok" if sandbox.available() else "off")


# --- all of it --------------------------------------------------------------------------------------


def test_what_chats_can_do_is_told_even_where_no_service_runs(tmp_path: Any) -> None:
    found = {found.name: found.state for found in examine(Settings(data_dir=str(tmp_path)))}
    assert found["service"] == "fails"
    assert {"chat", "web search", "code", "images", "speech"} <= found.keys()


def test_a_healthy_service_without_a_chat_model_fails_nothing(service: Service) -> None:
    assert {found.state for found in examine(service.settings)} <= {"ok", "off"}
