"""kill -9 of each part of `serve` in the middle of an answer: the question is kept, and what was said."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.chat import Json
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.processes import KEY, Served
from tests.support.sandboxes import share
from tests.support.service import client_of, eventually

HALVES = ["as far as this", " and then to the end"]


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedChat]:
    scripted = ScriptedChat()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def served(folder: Path, compiled: Path, model: ScriptedChat) -> Iterator[Served]:
    share(compiled, folder / "chatting")
    served = Served(
        folder / "chatting",
        OPENAI_BASE_URL=model.url,
        EVERLOG_CHAT_MODEL="scripted",
        EVERLOG_EXTRACTOR="rules",
    )
    yield served
    served.stop()


class Listener(threading.Thread):
    """Asks one question and listens to its answer, as long as there is somebody who answers."""

    def __init__(self, url: str, **headers: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._headers = headers
        self.lines: list[str] = []
        self.start()

    def run(self) -> None:
        try:
            with (
                client_of(self._url, KEY) as client,
                client.stream("POST", "/api/chat", json={"q": "Talk"}, headers=self._headers) as answer,
            ):
                for line in answer.iter_lines():
                    self.lines.append(line)
        except httpx.TransportError:
            pass

    def heard(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    @property
    def conversation(self) -> str:
        return str(httpx.Response(200, text=self.lines[0]).json()["data"]["conversationId"])


def messages(served: Served, conversation: str) -> list[Json]:
    """What is kept, as soon as somebody can be asked."""
    found: list[Json] = []

    def asked() -> bool:
        try:
            with client_of(served.url, KEY) as client:
                answer = client.get("/api/chat/history", params={"conversation_id": conversation})
        except httpx.TransportError:
            return False
        if answer.status_code == 200:
            found[:] = answer.json()["response"]["chat"]
        return answer.status_code == 200

    eventually(asked, "nobody answers")
    return found


def test_a_killed_api_leaves_the_question(served: Served, model: ScriptedChat) -> None:
    model.reply = Scripted(pieces=HALVES, gate=threading.Event())
    listener = Listener(served.url)
    eventually(lambda: listener.heard(HALVES[0]))
    for pid in served.pids("api"):
        os.kill(pid, signal.SIGKILL)
    listener.join()
    assert [message["message"] for message in messages(served, listener.conversation)] == ["Talk"]


def test_after_a_kill_the_same_idempotency_key_has_the_question_answered(
    served: Served, model: ScriptedChat
) -> None:
    key, body = {"Idempotency-Key": "whatever happens"}, {"q": "Talk"}
    model.reply = Scripted(pieces=HALVES, gate=threading.Event())
    listener = Listener(served.url, **key)
    eventually(lambda: listener.heard(HALVES[0]))
    messages(served, listener.conversation)
    with client_of(served.url, KEY) as client:
        assert client.post("/api/chat", json=body, headers=key).status_code == 409
    for pid in served.pids("api"):
        os.kill(pid, signal.SIGKILL)
    listener.join()
    model.reply = "At last."
    messages(served, listener.conversation)

    def answered() -> bool:
        with client_of(served.url, KEY) as client:
            return client.post("/api/chat", json=body, headers=key).status_code == 200

    eventually(answered)
    kept = messages(served, listener.conversation)
    assert [message["message"] for message in kept] == ["Talk", "At last."]


@pytest.mark.parametrize("part", ["postgres", "valkey", "worker"])
def test_whatever_else_is_killed_the_answer_goes_on_and_is_kept(
    served: Served, model: ScriptedChat, part: str
) -> None:
    gate = threading.Event()
    model.reply = Scripted(pieces=HALVES, gate=gate)
    listener = Listener(served.url)
    eventually(lambda: listener.heard(HALVES[0]))
    (pid,) = served.pids(part)
    os.kill(pid, signal.SIGKILL)
    gate.set()
    listener.join()
    assert listener.heard(HALVES[1])
    assert listener.heard('"end_response"')
    kept = messages(served, listener.conversation)
    assert [message["message"] for message in kept] == ["Talk", "".join(HALVES)]


def test_a_stop_keeps_what_there_is_of_every_answer(served: Served, model: ScriptedChat) -> None:
    model.reply = Scripted(pieces=HALVES, gate=threading.Event())
    listeners = [Listener(served.url) for _ in range(6)]
    for listener in listeners:
        eventually(lambda listener=listener: listener.heard(HALVES[0]))  # type: ignore[misc]
    served.stop()
    for listener in listeners:
        listener.join()
        assert listener.heard("is being stopped")
        assert listener.heard('"end_response"')
    served.start()
    for listener in listeners:
        kept = messages(served, listener.conversation)
        assert [message["message"] for message in kept] == ["Talk", HALVES[0]]
