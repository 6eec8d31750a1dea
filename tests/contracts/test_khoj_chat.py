"""The Khoj contract for chat: every request of seed 004 as it prints it, against a live server.

The commands run in a shell with `curl`, the samples as Python files with `requests`; only host, key and ids
are put in. What the page prints as answers must come with every key and of the printed types.
"""

import base64
import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image

from domain.key import ALL_SCOPES, Terms
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.service import Service, client_of, eventually, free_port, serving

Json = dict[str, Any]
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" * 100
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
ID = "550e8400-e29b-41d4-a716-446655440000"
IDS = (ID, "660e8400-e29b-41d4-a716-446655440001")
"""As the page prints them."""
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


# --- the page ---------------------------------------------------------------------------------------------

CHAT = """\
curl -X POST https://app.khoj.dev/api/chat \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "q": "What are the main points from my meeting notes?",
    "stream": false
  }'
"""
CHAT_PYTHON = """\
import requests

headers = {"Authorization": "Bearer YOUR_API_TOKEN"}
data = {
    "q": "What are the main points from my meeting notes?",
    "stream": False
}

response = requests.post(
    "https://app.khoj.dev/api/chat",
    headers=headers,
    json=data
)
result = response.json()
"""
CHAT_RESPONSE = """\
{
  "response": "Based on your meeting notes, the main points were:\\n1. Q4 roadmap priorities\\n2. New feature launches\\n3. Team expansion plans",
  "conversationId": "550e8400-e29b-41d4-a716-446655440000",
  "turnId": "660e8400-e29b-41d4-a716-446655440001"
}
"""  # noqa: E501
STREAM_PYTHON = """\
import requests
import json

headers = {"Authorization": "Bearer YOUR_API_TOKEN"}
data = {"q": "Explain quantum computing", "stream": True}

response = requests.post(
    "https://app.khoj.dev/api/chat",
    headers=headers,
    json=data,
    stream=True
)

for line in response.iter_lines():
    if line:
        event_data = json.loads(line.decode('utf-8'))
        if event_data.get('type') == 'message':
            print(event_data['data'], end='', flush=True)
"""
HISTORY = """\
curl "https://app.khoj.dev/api/chat/history?conversation_id=CONV_ID" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
HISTORY_RESPONSE = """\
{
  "status": "ok",
  "response": {
    "conversation_id": "550e8400-e29b-41d4-a716-446655440000",
    "slug": "meeting-notes-discussion",
    "agent": {
      "slug": "khoj",
      "name": "Khoj",
      "color": "#7C3AED",
      "icon": "🦾"
    },
    "chat": [
      {
        "message": "What were the key points?",
        "by": "you",
        "created": "2024-03-05 10:30:00"
      },
      {
        "message": "The key points were...",
        "by": "khoj",
        "created": "2024-03-05 10:30:15"
      }
    ]
  }
}
"""
SESSIONS = """\
curl "https://app.khoj.dev/api/chat/sessions" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
SESSIONS_RESPONSE = """\
[
  {
    "conversation_id": "550e8400-e29b-41d4-a716-446655440000",
    "slug": "meeting-notes-discussion",
    "agent_name": "Khoj",
    "created": "2024-03-05 10:30:00",
    "updated": "2024-03-05 15:45:00"
  }
]
"""
NEW_SESSION = """\
curl -X POST "https://app.khoj.dev/api/chat/sessions" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"agent_slug": "khoj"}'
"""
DELETE = """\
curl -X DELETE "https://app.khoj.dev/api/chat/history?conversation_id=CONV_ID" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
TITLE = """\
curl -X PATCH "https://app.khoj.dev/api/chat/title" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "conversation_id": "CONV_ID",
    "title": "Project Planning Discussion"
  }'
"""
IMAGE_PYTHON = """\
import base64

with open("screenshot.png", "rb") as f:
    image_data = base64.b64encode(f.read()).decode()

data = {
    "q": "What's in this image?",
    "images": [f"data:image/png;base64,{image_data}"]
}
"""
FILE_PYTHON = """\
data = {
    "q": "Summarize this document",
    "files": [
        {
            "name": "report.txt",
            "content": "File content here..."
        }
    ]
}
"""
COMMAND = """\
curl -X POST https://app.khoj.dev/api/chat \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "q": "/online What are the latest AI developments?"
  }'
"""
OPTIONS = """\
curl "https://app.khoj.dev/api/chat/options" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
STARTERS = """\
curl "https://app.khoj.dev/api/chat/starters" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
SPEECH = """\
curl -X POST "https://app.khoj.dev/api/chat/speech" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"text": "Hello, how can I help you today?"}' \\
  --output speech.mp3
"""
SHARE = """\
curl -X POST "https://app.khoj.dev/api/chat/share" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"conversation_id": "CONV_ID"}'
"""
SHARE_RESPONSE = """\
{
  "status": "ok",
  "url": "https://app.khoj.dev/share/abc123xyz"
}
"""
FORK = """\
curl -X POST "https://app.khoj.dev/api/chat/share/fork" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"public_conversation_slug": "abc123xyz"}'
"""
UNSHARE = """\
curl -X DELETE "https://app.khoj.dev/api/chat/share?public_conversation_slug=abc123xyz" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
FILTERS = """\
curl "https://app.khoj.dev/api/chat/conversation/file-filters/CONV_ID" \\
  -H "Authorization: Bearer YOUR_API_TOKEN"
"""
ADD_FILTER = """\
curl -X POST "https://app.khoj.dev/api/chat/conversation/file-filters" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "conversation_id": "CONV_ID",
    "filename": "important-doc.md"
  }'
"""
REMOVE_FILTER = """\
curl -X DELETE "https://app.khoj.dev/api/chat/conversation/file-filters" \\
  -H "Authorization: Bearer YOUR_API_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{
    "conversation_id": "CONV_ID",
    "filename": "important-doc.md"
  }'
"""


# --- the reader of the page -------------------------------------------------------------------------------


class Speaking(ScriptedChat):
    """A chat model at an endpoint that speaks, too."""

    def _handler(self) -> Any:
        usual = super()._handler()

        def post(handler: Any) -> None:
            if not handler.path.endswith("/audio/speech"):
                usual.do_POST(handler)
                return
            self.spoken = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
            handler._head(200, {"Content-Type": "audio/mpeg", "Content-Length": str(len(MP3))})
            handler.wfile.write(MP3)

        return type("Handler", (usual,), {"do_POST": post})


@pytest.fixture(scope="module")
def model() -> Iterator[Speaking]:
    speaking = Speaking()
    yield speaking
    speaking.close()


@pytest.fixture(scope="module")
def service(
    new_database: Callable[[], str], redis_url: str, folder: Path, model: Speaking
) -> Iterator[Service]:
    settings = model.settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex),
        port=free_port(), speech_model="tts-1",
    )  # fmt: skip
    with serving(settings) as running:
        yield running


class Reader:
    """Somebody with a key who does what the page says, in a folder of their own."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.folder = folder
        self.key = f"kk-{uuid4().hex}"
        service.worker.cells.create_key(
            self.key, "khoj", f"owner-{uuid4().hex}", ALL_SCOPES, Terms(dialect="khoj")
        )

    def curl(self, command: str, **named: str) -> Any:
        """What a command of the page prints, as JSON where it is; with these in place of what it names."""
        done = subprocess.run(
            ["/bin/sh", "-c", self._ours(command, named)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    def runs(self, sample: str) -> Json:
        """The variables of a Python sample when it has run."""
        path = self.folder / "sample.py"
        path.write_text(self._ours(sample, {}))
        return runpy.run_path(str(path))

    def asks(self, **body: Any) -> Json:
        with client_of(self.service.url, self.key) as client:
            answer = client.post("/api/chat", json={"stream": False, **body})
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def _ours(self, text: str, named: dict[str, str]) -> str:
        texts = {"https://app.khoj.dev": self.service.url, "YOUR_API_TOKEN": self.key, **named}
        for theirs, ours in texts.items():
            assert theirs in text or theirs not in named
            text = text.replace(theirs, ours)
        return text


@pytest.fixture
def reader(service: Service, model: Speaking, tmp_path: Path) -> Reader:
    model.reply, model.answers = "Based on your meeting notes, the main points were:\n1. Q4", []
    model.asked.clear()
    return Reader(service, tmp_path)


@pytest.fixture
def client(service: Service, reader: Reader) -> Iterator[httpx.Client]:
    with client_of(service.url, reader.key) as opened:
        yield opened


def assert_as_printed(answer: Any, printed: Any) -> None:
    """`answer` has all that is printed, in the printed types; ids and times as they are printed too."""
    assert type(answer) is type(printed), (answer, printed)
    if isinstance(printed, dict):
        for key, value in printed.items():
            assert key in answer
            assert_as_printed(answer[key], value)
    elif isinstance(printed, list):
        assert len(answer) >= len(printed)
        for one, like in zip(answer, printed, strict=False):
            assert_as_printed(one, like)
    elif isinstance(printed, str) and TIME.fullmatch(printed):
        assert TIME.fullmatch(answer)
    elif printed in IDS:
        UUID(answer)


# --- start a chat -----------------------------------------------------------------------------------------


@needs_curl
def test_start_a_chat_with_curl(reader: Reader, model: Speaking) -> None:
    answer = reader.curl(CHAT)
    assert_as_printed(answer, json.loads(CHAT_RESPONSE))
    assert answer["response"] == model.reply
    assert answer["status"] == "ok"
    assert model.asked[-1]["messages"][-1]["content"] == "What are the main points from my meeting notes?"


def test_start_a_chat_with_python(reader: Reader, model: Speaking) -> None:
    result = reader.runs(CHAT_PYTHON)["result"]
    assert_as_printed(result, json.loads(CHAT_RESPONSE))
    assert result["response"] == model.reply


def test_every_field_of_the_request_is_taken(reader: Reader, model: Speaking) -> None:
    first = reader.asks(q="Hello", title="Of a name", create_new=False, n=5)
    told = reader.asks(
        q="Where am I?", conversation_id=first["conversationId"], n=5, images=[], files=[], create_new=False,
        city="Berlin", region="Berlin", country="Germany", timezone="Europe/Berlin",
    )  # fmt: skip
    assert told["conversationId"] == first["conversationId"]
    system = model.asked[-1]["messages"][0]["content"]
    assert "Berlin" in system
    assert re.search(r"CES?T", system)
    other = reader.asks(q="Anew", conversation_id=first["conversationId"], create_new=True)
    assert other["conversationId"] != first["conversationId"]


def test_without_a_conversation_each_question_begins_one(reader: Reader) -> None:
    assert reader.asks(q="One")["conversationId"] != reader.asks(q="Two")["conversationId"]


def test_the_path_is_served_with_a_trailing_slash_too(client: httpx.Client) -> None:
    assert client.post("/api/chat/", json={"q": "Hi", "stream": False}).status_code == 200


# --- streaming --------------------------------------------------------------------------------------------


def test_the_streaming_sample_prints_the_answer(
    reader: Reader, model: Speaking, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'Superposition: |ψ⟩ = α|0⟩ + β|1⟩ 🌀\nIn JSON: {"a": 1}, data: x\u2028'
    model.reply = Scripted(text=text, thoughts=["hm"], byte_wise=True)
    response = reader.runs(STREAM_PYTHON)["response"]
    assert capsys.readouterr().out == text
    assert response.status_code == 200


def test_the_stream_has_each_event_type_of_the_page(client: httpx.Client, model: Speaking) -> None:
    model.reply = Scripted(text="It is quantum.", thoughts=["hm"])
    with client.stream("POST", "/api/chat", json={"q": "Explain quantum computing"}) as answer:
        events = [json.loads(line) for line in answer.iter_lines()]
    told = {event["type"]: event["data"] for event in events}
    printed = {"metadata": {}, "status": "", "thought": "", "references": {}, "message": "", "usage": {}}
    assert_as_printed(told, printed)
    assert events[0]["type"] == "metadata"
    assert_as_printed(events[0]["data"], {"conversationId": ID, "turnId": ID})


# --- conversations ----------------------------------------------------------------------------------------


@needs_curl
def test_get_conversation_history(reader: Reader, client: httpx.Client) -> None:
    id = reader.asks(q="What were the key points?")["conversationId"]
    answer = reader.curl(HISTORY, CONV_ID=id)
    assert_as_printed(answer, json.loads(HISTORY_RESPONSE))
    response = answer["response"]
    assert response["conversation_id"] == id
    assert (response["agent"]["slug"], response["agent"]["name"]) == ("khoj", "Khoj")
    assert [message["by"] for message in response["chat"]] == ["you", "khoj"]
    assert response["chat"][0]["message"] == "What were the key points?"
    assert client.get("/api/chat/history").json() == answer  # the most recent one


def test_history_is_limited_from_both_ends(reader: Reader, client: httpx.Client) -> None:
    id = reader.asks(q="One")["conversationId"]
    reader.asks(q="Two", conversation_id=id)

    def said(n: int) -> list[str]:
        answer = client.get("/api/chat/history", params={"conversation_id": id, "n": n})
        return [message["message"] for message in answer.json()["response"]["chat"]]

    whole = said(0)
    assert len(whole) == 4
    assert said(3) == whole[-3:]
    assert said(-3) == whole[:-3]


@needs_curl
def test_list_conversation_sessions(reader: Reader, client: httpx.Client) -> None:
    ids = [reader.asks(q=f"Question {number}")["conversationId"] for number in range(9)]
    answer = reader.curl(SESSIONS)
    assert_as_printed(answer, json.loads(SESSIONS_RESPONSE))
    assert [session["conversation_id"] for session in answer] == ids[::-1]
    assert {session["agent_name"] for session in answer} == {"Khoj"}
    recent = client.get("/api/chat/sessions", params={"recent": "true"}).json()
    assert recent == answer[:8]


@needs_curl
def test_create_a_new_conversation_and_go_on_in_it(reader: Reader) -> None:
    answer = reader.curl(NEW_SESSION)
    assert_as_printed(answer, {"conversation_id": ID})
    told = reader.asks(q="Hello", conversation_id=answer["conversation_id"])
    assert told["conversationId"] == answer["conversation_id"]


@needs_curl
def test_delete_a_conversation(reader: Reader) -> None:
    kept, gone = (reader.asks(q=q)["conversationId"] for q in ("Stay", "Go"))
    assert reader.curl(DELETE, CONV_ID=gone)["status"] == "ok"
    assert [session["conversation_id"] for session in reader.curl(SESSIONS)] == [kept]
    assert reader.curl(HISTORY, CONV_ID=gone)["status"] == "error"


@needs_curl
def test_set_a_conversations_title(reader: Reader) -> None:
    id = reader.asks(q="Hello")["conversationId"]
    assert_as_printed(reader.curl(TITLE, CONV_ID=id), {"status": "ok", "success": True})
    assert reader.curl(SESSIONS)[0]["slug"] == "Project Planning Discussion"
    assert reader.curl(HISTORY, CONV_ID=id)["response"]["slug"] == "Project Planning Discussion"


# --- advanced features ------------------------------------------------------------------------------------


def test_images_are_sent_as_the_page_has_it(
    reader: Reader, model: Speaking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4), "red").save("screenshot.png")
    reader.asks(**reader.runs(IMAGE_PYTHON)["data"])
    text, image = model.asked[-1]["messages"][-1]["content"]
    assert text["text"] == "What's in this image?"
    head, _, content = image["image_url"]["url"].partition(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(content).startswith(b"RIFF")


def test_files_are_sent_as_the_page_has_it(reader: Reader, model: Speaking) -> None:
    reader.asks(**reader.runs(FILE_PYTHON)["data"])
    told = model.asked[-1]["messages"][-1]["content"]
    file, question = told.split("</file>")
    assert question.strip() == "Summarize this document"
    assert "report.txt" in file
    assert "File content here..." in file


@needs_curl
def test_a_command_streams_unless_it_is_told_not_to(reader: Reader, model: Speaking) -> None:
    printed = reader.curl(COMMAND)
    events = [json.loads(line) for line in printed.splitlines()]
    said = "".join(event["data"] for event in events if event["type"] == "message")
    assert said.startswith("No web search is configured"), "who asks for it is told so"
    assert isinstance(model.reply, str) and said.endswith(model.reply)
    assert "/online" not in str(model.asked[-1]["messages"][-1])


@pytest.mark.parametrize(
    "command", ["/notes", "/online", "/code", "/image", "/diagram", "/research", "/general", "/webpage"]
)
def test_every_command_is_answered(reader: Reader, model: Speaking, command: str) -> None:
    answer = reader.asks(q=f"{command} What is it?")
    assert answer["response"]
    assert not any(command in str(message["content"]) for message in model.asked[-1]["messages"][1:])


@needs_curl
def test_get_chat_options(reader: Reader) -> None:
    options = reader.curl(OPTIONS)
    assert_as_printed(
        options, dict.fromkeys(("notes", "online", "code", "image", "diagram", "research"), "…")
    )
    assert all(options.values())


@needs_curl
def test_get_starter_questions(reader: Reader, client: httpx.Client) -> None:
    assert reader.curl(STARTERS) == []
    reader.asks(q="I love hiking")
    eventually(lambda: client.get("/api/memories").json())
    starters = reader.curl(STARTERS)
    assert 1 <= len(starters) <= 3
    assert all(isinstance(question, str) and question for question in starters)


@needs_curl
def test_text_to_speech_writes_an_mp3(reader: Reader, model: Speaking) -> None:
    reader.curl(SPEECH)
    assert (reader.folder / "speech.mp3").read_bytes() == MP3
    assert model.spoken["input"] == "Hello, how can I help you today?"


# --- sharing ----------------------------------------------------------------------------------------------


@needs_curl
def test_share_fork_and_unshare(reader: Reader, service: Service, tmp_path: Path) -> None:
    id = reader.asks(q="What is public?")["conversationId"]
    shared = reader.curl(SHARE, CONV_ID=id)
    assert_as_printed(shared, json.loads(SHARE_RESPONSE))
    slug = [part for part in urlsplit(shared["url"]).path.split("/") if part][-1]

    somebody = Reader(service, tmp_path)
    forked = somebody.curl(FORK, abc123xyz=slug)
    assert_as_printed(forked, {"status": "ok", "conversation_id": ID})
    chat = somebody.curl(HISTORY, CONV_ID=forked["conversation_id"])["response"]["chat"]
    assert chat[0]["message"] == "What is public?"

    assert somebody.curl(UNSHARE, abc123xyz=slug)["status"] == "error"  # it is not theirs
    assert somebody.curl(FORK, abc123xyz=slug)["status"] == "ok"
    assert reader.curl(UNSHARE, abc123xyz=slug)["status"] == "ok"
    assert somebody.curl(FORK, abc123xyz=slug)["status"] == "error"


# --- file filters -----------------------------------------------------------------------------------------


@needs_curl
def test_file_filters(reader: Reader, client: httpx.Client) -> None:
    id = reader.curl(NEW_SESSION)["conversation_id"]
    document = {"files": ("important-doc.md", b"# Important\n\nThe code is 4711.", "text/markdown")}
    assert client.patch("/api/content", files=document).is_success
    assert reader.curl(FILTERS, CONV_ID=id) == []
    assert reader.curl(ADD_FILTER, CONV_ID=id) == ["important-doc.md"]
    assert reader.curl(FILTERS, CONV_ID=id) == ["important-doc.md"]
    assert reader.curl(REMOVE_FILTER, CONV_ID=id) == []
    assert reader.curl(FILTERS, CONV_ID=id) == []


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plan", "messages"), [("free", 20), ("premium", 75)])
def test_a_plan_has_the_pages_number_of_messages_a_day(
    service: Service, model: Speaking, plan: Any, messages: int
) -> None:
    secret = uuid4().hex
    terms = Terms(dialect="khoj", plan=plan)
    service.worker.cells.create_key(secret, plan, f"owner-{secret}", ALL_SCOPES, terms)
    with client_of(service.url, secret) as client:
        client.patch("/api/user/memory", params={"enable_memory": "false"})
        for _ in range(messages):
            answer = client.post("/api/chat", json={"q": "Hi", "stream": False})
            assert answer.status_code == 200, answer.text
        refused = client.post("/api/chat", json={"q": "Hi"})
    assert refused.status_code == 429
    assert refused.json()["status"] == "error"
    assert int(refused.headers["Retry-After"]) <= 86_401


# --- without a key ----------------------------------------------------------------------------------------


@needs_curl
@pytest.mark.parametrize(
    "command", [CHAT, HISTORY, SESSIONS, NEW_SESSION, DELETE, TITLE, STARTERS, SHARE, FORK]
)
def test_without_a_key_it_is_an_error(reader: Reader, command: str) -> None:
    answer = reader.curl(command.replace("YOUR_API_TOKEN", "unknown"))
    assert answer["status"] == "error"
    assert isinstance(answer["error"], str)
