"""What clients ask for at the start: whether chats remember, who is logged in, which model answers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.key import ALL_SCOPES, Terms
from tests.support.chat_model import ScriptedChat
from tests.support.service import Service, client_of, free_port, serving

MODES = ["enabled_default_on", "enabled_default_off", "disabled"]


@pytest.fixture(scope="module")
def services(
    new_database: Callable[[], str], redis_url: str, folder: Path, model: ScriptedChat
) -> Iterator[dict[str, Service]]:
    """One server for each memory mode; the one that is `disabled` has no chat model either."""
    with ExitStack() as running:
        made: dict[str, Service] = {}
        for mode in MODES:
            more: dict[str, Any] = {"openai_base_url": None, "openai_api_key": None}
            settings = model.settings(
                **(more if mode == "disabled" else {}),
                chat_memory=mode, database_url=new_database(), redis_url=redis_url,
                data_dir=str(folder / uuid4().hex), port=free_port(),
            )  # fmt: skip
            made[mode] = running.enter_context(serving(settings))
        yield made


@pytest.fixture(scope="module")
def service(services: dict[str, Service]) -> Service:
    return services["enabled_default_on"]


@pytest.fixture
def without_model(services: dict[str, Service]) -> httpx.Client:
    return services["disabled"].client


def owner_of(service: Service) -> httpx.Client:
    """A client with an owner of its own."""
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "khoj", f"owner-{uuid4().hex}", ALL_SCOPES, Terms(dialect="khoj"))
    return client_of(service.url, secret)


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"status", "error", "message", "detail"}
    return str(answer.json()["error"])


@pytest.mark.parametrize(
    ("mode", "switched", "effective"),
    [
        ("enabled_default_on", None, True),
        ("enabled_default_on", "true", True),
        ("enabled_default_on", "false", False),
        ("enabled_default_off", None, False),
        ("enabled_default_off", "true", True),
        ("enabled_default_off", "false", False),
        ("disabled", None, False),
        ("disabled", "true", False),
        ("disabled", "false", False),
    ],
)
def test_the_servers_mode_and_the_owners_switch_say_whether_chats_remember(
    services: dict[str, Service], mode: str, switched: str | None, effective: bool
) -> None:
    with owner_of(services[mode]) as client:
        if switched:
            answer = client.patch("/api/user/memory", params={"enable_memory": switched})
            assert answer.json() == {"status": "ok", "enable_memory": effective}
        settings = client.get("/api/settings?detailed=true").json()
        assert settings["enable_memory"] is effective
        assert settings["server_memory_mode"] == mode


def test_memories_can_be_managed_whatever_the_mode(services: dict[str, Service]) -> None:
    for service in services.values():
        with owner_of(service) as client:
            made = client.post("/api/memories", json={"raw": "User loves hiking"}).json()
            assert client.get("/api/memories").json() == [made]


def test_health_knows_who_is_logged_in_and_never_fails(service: Service, client: httpx.Client) -> None:
    assert client.get("/api/health").json() == {"email": "default"}
    for headers in ({}, {"Authorization": "Bearer unknown"}, {"Authorization": "Basic x"}):
        answer = httpx.get(f"{service.url}/api/health", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"email": None})


def test_the_configured_chat_model_is_the_one_to_choose(client: httpx.Client) -> None:
    (option,) = client.get("/api/model/chat/options").json()
    assert (option["id"], option["name"]) == (1, "scripted")
    assert client.get("/api/model/chat").json() == {"id": 1, "chat_model": "scripted"}
    assert client.post("/api/model/chat", params={"id": 1}).json() == {"status": "ok"}
    settings = client.get("/api/settings?detailed=true").json()
    assert settings["chat_model_options"] == [option]
    assert settings["selected_chat_model_config"] == option["id"]


@pytest.mark.parametrize("id", ["2", "0", "-1", "x", "", "9" * 5_000])
def test_another_model_is_404(client: httpx.Client, id: str) -> None:
    assert error(client.post("/api/model/chat", params={"id": id}), 404) == "Model not found"


def test_without_a_model_there_is_none_to_choose(without_model: httpx.Client) -> None:
    assert without_model.get("/api/model/chat/options").json() == []
    assert without_model.get("/api/model/chat").json() == {"id": None, "chat_model": None}
    error(without_model.post("/api/model/chat", params={"id": 1}), 404)
    error(without_model.post("/api/model/chat"), 422)
    settings = without_model.get("/api/settings?detailed=true").json()
    assert (settings["chat_model_options"], settings["selected_chat_model_config"]) == ([], None)


def test_transcribing_is_not_offered(client: httpx.Client) -> None:
    recording = {"file": ("speech.webm", b"\x1aE\xdf\xa3", "audio/webm")}
    assert "type the question" in error(client.post("/api/transcribe", files=recording), 501)
    assert error(client.post("/api/transcribe"), 501)


def test_no_model_is_named_by_its_key(client: httpx.Client, service: Service) -> None:
    for path in ("/api/settings?detailed=true", "/api/model/chat/options", "/api/v1/user", "/api/health"):
        assert client.get(path).is_success
        assert str(service.settings.openai_base_url) not in client.get(path).text


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/model/chat"), ("GET", "/model/chat/options"), ("POST", "/model/chat?id=1"),
     ("POST", "/transcribe"), ("GET", "/settings"), ("GET", "/v1/user")],
)  # fmt: skip
def test_without_a_key_all_else_is_401(service: Service, method: str, path: str) -> None:
    answer = httpx.request(method, f"{service.url}/api{path}")
    assert error(answer, 401)
    assert answer.json()["detail"] == "Forbidden"
