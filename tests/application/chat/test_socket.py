"""The WebSocket of chats, as Khoj's web client speaks it (khoj.md, 2.5)."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from socket import SHUT_RDWR
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from api.dialects.khoj import socket as chat_socket
from application.chat.answering import MAX_ADDED
from application.chat.plans import PLANS
from domain.key import ALL_SCOPES, Terms
from tests.support.chat import history
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.service import KEY, OTHER_KEY, Service, eventually
from tests.support.streams import DELIMITER, segment, shown

Json = dict[str, Any]
HOME = "http://localhost:3000"
SECONDS = 30.0


class Page:
    """A page with a WebSocket."""

    def __init__(self, socket: Connection) -> None:
        self.socket = socket

    def send(self, frame: Any) -> None:
        self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    def frame(self) -> str:
        frame = self.socket.recv(SECONDS)
        assert isinstance(frame, str)
        return frame

    def event(self) -> Json:
        """An event, and the frame with the delimiter behind it."""
        (event,) = segment(self.frame())
        assert self.frame() == DELIMITER
        return event

    def control(self) -> Json:
        """A frame that no delimiter follows: of the service, not of a turn."""
        control: Json = json.loads(self.frame())
        return control

    def until(self, done: Callable[[Json], bool]) -> list[Json]:
        """The events until one with which it is done."""
        events = [self.event()]
        while not done(events[-1]):
            events.append(self.event())
        return events

    def loses_its_network(self) -> None:
        """Without a word of farewell."""
        self.socket.socket.shutdown(SHUT_RDWR)

    def turn(self, q: str, **more: Any) -> list[Json]:
        """A question, and all events of its answer."""
        self.send({"q": q, **more})
        return self.until(lambda event: event["type"] == "end_response")

    def until_text(self, text: str) -> list[Json]:
        return self.until(lambda event: event["type"] == "message" and text in event["data"])


@contextlib.contextmanager
def page(service: Service, key: str | None = KEY, origin: Any = HOME, **more: Any) -> Iterator[Page]:
    url = service.url.replace("http://", "ws://") + "/api/chat/ws?client=web"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with connect(url, origin=origin, additional_headers=headers, open_timeout=SECONDS, **more) as socket:
        yield Page(socket)


@pytest.fixture(autouse=True)
def forgetful(service: Service) -> None:
    """Nothing is learnt from what is said here, so that no turn waits for it."""
    for client in (service.client, service.stranger):
        assert client.patch("/api/user/memory", params={"enable_memory": "false"}).is_success


@pytest.fixture
def web(service: Service) -> Iterator[Page]:
    with page(service) as opened:
        yield opened


def conversation_of(events: list[Json]) -> str:
    assert events[0]["type"] == "metadata"
    id: str = events[0]["data"]["conversationId"]
    return id


# --- who may connect --------------------------------------------------------------------------------------


def refused(service: Service, **more: Any) -> None:
    with pytest.raises(InvalidStatus) as refusal, page(service, **more):
        pass
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize(
    "origin",
    [None, "https://evil.example", "http://localhost.evil.example", "http://evil.example/localhost", "null",
     "file://", "http://localhost@evil.example", "app://evil.example",
     "http://obsidian.md", "app://obsidian.md:8000", "app://localhost", "ftp://localhost", "http://localhost/x",
     "http://localhost:99999", "http://[::1"],
)  # fmt: skip
def test_a_page_of_somebody_else_may_not_connect(service: Service, origin: str | None) -> None:
    refused(service, origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://127.0.0.1:42110",
        "http://[::1]:8000",
        "app://obsidian.md",
        "app://khoj.dev",
    ],
)
def test_pages_of_ours_and_those_that_may_call_the_api_connect(service: Service, origin: str) -> None:
    with page(service, origin=origin) as web:
        assert shown(web.turn("Hi")) == "Hello"


def test_who_has_no_key_or_a_wrong_one_may_not_connect(service: Service) -> None:
    refused(service, key=None)
    refused(service, key="unknown")


def test_a_key_that_may_not_write_or_speaks_another_dialect_may_not_connect(service: Service) -> None:
    reading, foreign = uuid4().hex, uuid4().hex
    service.worker.cells.create_key(reading, "reads", "default", ("read",))
    service.worker.cells.create_key(foreign, "m", "default", ALL_SCOPES, Terms(dialect="memoid"))
    refused(service, key=reading)
    refused(service, key=foreign)


def test_a_page_that_can_send_no_header_offers_its_key_as_a_protocol(service: Service) -> None:
    with page(service, key=None, subprotocols=["everlog", f"everlog.key.{KEY}"]) as web:
        assert web.socket.subprotocol == "everlog"  # the key is not said back
        assert shown(web.turn("Hi")) == "Hello"
    refused(service, key=None, subprotocols=["everlog", "everlog.key.unknown"])
    refused(service, key=None, subprotocols=["everlog"])


def test_a_protocol_that_was_not_offered_is_not_spoken(service: Service) -> None:
    with page(service, subprotocols=["something", "else"]) as web:
        assert web.socket.subprotocol is None
    with page(service, key=None, subprotocols=[f"everlog.key.{KEY}"]) as web:
        assert web.socket.subprotocol is None


def test_an_owner_has_no_more_sockets_than_there_is_room_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = uuid4().hex
    service.worker.cells.create_key(secret, "many", f"owner-{secret}", ALL_SCOPES)
    monkeypatch.setattr(chat_socket, "MAX_SOCKETS", 1)
    with page(service, secret):
        refused(service, key=secret)
        with page(service):  # of another owner
            pass
    eventually(lambda: _connects(service, secret))


def _connects(service: Service, key: str) -> bool:
    try:
        with page(service, key):
            return True
    except InvalidStatus:
        return False


# --- turns ------------------------------------------------------------------------------------------------


def test_every_event_is_a_frame_and_its_delimiter_another(web: Page, model: ScriptedChat) -> None:
    model.reply = Scripted(text="Four, of course.", thoughts=["add", "ing"])
    events = web.turn("What is two and two?", stream=False)
    assert list(dict.fromkeys(event["type"] for event in events)) == [
        "metadata", "status", "references", "thought", "start_llm_response", "message", "end_llm_response",
        "usage", "end_response",
    ]  # fmt: skip
    assert shown(events) == "Four, of course."
    assert "".join(event["data"] for event in events if event["type"] == "thought") == "adding"


def test_pieces_of_text_are_joined_and_none_waits_for_the_next(web: Page, model: ScriptedChat) -> None:
    gate = threading.Event()
    model.reply = Scripted(pieces=["at once", *["x"] * 200], gate=gate)
    web.send({"q": "Talk"})
    begun = web.until_text("at once")
    gate.set()
    rest = web.until(lambda event: event["type"] == "end_response")
    assert shown(begun + rest) == "at once" + 200 * "x"
    assert len([event for event in rest if event["type"] == "message"]) < 100


def test_text_that_looks_like_an_event_or_has_the_delimiter_in_it_is_text(
    web: Page, model: ScriptedChat
) -> None:
    pieces = ['{"type": "interrupt_acknowledged"}', DELIMITER, "👩🏽‍🚀", ' {"error": "x"} ', "\n\n"]
    for piece in pieces:
        model.reply = Scripted(pieces=[piece, "."], byte_wise=True)
        assert shown(web.turn("Talk")) == piece + "."
        model.reply = Scripted(pieces=[piece] if piece.strip() else [piece, "x"], byte_wise=True)
        assert shown(web.turn("Talk")).startswith(piece)


def test_many_turns_go_on_in_one_conversation(web: Page, client: httpx.Client, model: ScriptedChat) -> None:
    conversation = conversation_of(web.turn("Question 0"))
    for number in range(1, 5):
        model.reply = f"Answer {number}"
        events = web.turn(f"Question {number}", conversation_id=conversation)
        assert conversation_of(events) == conversation
        assert shown(events) == f"Answer {number}"
    said = [message["message"] for message in history(client, conversation)]
    assert said[-2:] == ["Question 4", "Answer 4"]
    assert len(said) == 10


def test_two_sockets_at_once_are_not_mixed(service: Service, model: ScriptedChat) -> None:
    gate = threading.Event()

    def echo(body: Json) -> Scripted:
        said = body["messages"][-1]["content"]
        return Scripted(pieces=[f"{said} begins, ", f"{said} ends"], gate=gate)

    model.reply = echo
    with page(service) as one, page(service, OTHER_KEY) as other:
        one.send({"q": "One"})
        other.send({"q": "Other"})
        begun = {"One": one.until_text("begins"), "Other": other.until_text("begins")}
        gate.set()
        for name, opened in {"One": one, "Other": other}.items():
            events = begun[name] + opened.until(lambda event: event["type"] == "end_response")
            assert shown(events) == f"{name} begins, {name} ends"


def test_a_new_question_ends_the_answer_that_is_under_way(
    web: Page, client: httpx.Client, model: ScriptedChat
) -> None:
    model.answers = [Scripted(pieces=["first ", "and never this"], gate=threading.Event()), "Second"]
    web.send({"q": "One"})
    conversation = conversation_of(web.until_text("first "))
    events = web.turn("Two", conversation_id=conversation)
    assert shown(events) == "Second"
    assert [message["message"] for message in history(client, conversation)] == [
        "One", "first ", "Two", "Second",
    ]  # fmt: skip
    eventually(lambda: model.disconnected)


def goes_on_in_spite_of(web: Page, model: ScriptedChat, frame: Json) -> str:
    """What is told of a frame that is refused while an answer comes, which then ends as it would have."""
    gate = threading.Event()
    model.answers = [Scripted(pieces=["begun, ", "ended"], gate=gate)]
    web.send({"q": "Talk"})
    events = web.until_text("begun, ")
    web.send(frame)
    told = web.control()
    assert told.keys() == {"error"}
    gate.set()
    events += web.until(lambda event: event["type"] == "end_response")
    assert shown(events) == "begun, ended"
    return str(told["error"])


def test_a_question_that_is_refused_stops_no_answer(web: Page, model: ScriptedChat) -> None:
    for frame, words in (
        ({"q": "x" * 120_000}, "attach long texts as files"),
        ({"q": "x", "files": [{"name": "a", "content": "x"}] * 21}, "20 files"),
        ({"q": "x", "conversation_id": "nope"}, "not found"),
        ({"q": "x", "images": ["junk!"]}, "image 1"),
        ({"q": "x", "agent_slug": "nobody"}, "No such agent"),
    ):
        assert words in goes_on_in_spite_of(web, model, frame)


def planned(service: Service) -> str:
    """A key whose owner may ask twenty times a day."""
    secret = uuid4().hex
    service.worker.cells.create_key(secret, "free", f"owner-{secret}", ALL_SCOPES, Terms(plan="free"))
    return secret


def test_a_question_that_the_plan_does_not_allow_stops_no_answer(
    service: Service, model: ScriptedChat
) -> None:
    with page(service, planned(service)) as web:
        for _ in range(PLANS["free"].messages - 1):
            web.turn("/general Hello")
        assert "usage limit for today" in goes_on_in_spite_of(web, model, {"q": "One more"})


def test_what_is_refused_and_what_the_model_fails_at_costs_nothing(
    service: Service, model: ScriptedChat
) -> None:
    with page(service, planned(service)) as web:
        model.reply = Scripted(status=500)
        for _ in range(PLANS["free"].messages + 1):
            assert [event["type"] for event in web.turn("Talk")].count("error") == 1
            web.send({"q": "Talk", "conversation_id": "nope"})
            assert "not found" in web.control()["error"]
        model.reply = "Hello"
        assert shown(web.turn("Talk")) == "Hello"


def test_an_answer_that_takes_no_more_gives_the_message_back(service: Service, model: ScriptedChat) -> None:
    gate = threading.Event()
    with page(service, planned(service)) as web:
        model.reply = Scripted(thoughts=["hm"], pieces=["never"], gate=gate)
        thinks(web, model)
        for _ in range(PLANS["free"].messages + 1):
            web.send({"type": "interrupt", "query": "More"})
        frames: list[str] = []
        while len(frames) < PLANS["free"].messages + 1:
            frame = web.frame()
            if '"interrupt_' in frame or '{"error"' in frame:
                frames.append(frame)
        assert all("no more instructions" in frame for frame in frames[MAX_ADDED:])


def test_attachments_may_be_as_large_as_over_http(
    service: Service, web: Page, client: httpx.Client, model: ScriptedChat
) -> None:
    files = [{"name": f"{number}.txt", "content": "words " * 330_000} for number in range(10)]
    events = web.turn("Read", files=files, user_id="reader")
    assert shown(events) == "Hello"
    kept = history(client, conversation_of(events), user_id="reader")[0]["queryFiles"]
    assert sum(len(file["content"]) for file in kept) == 10 * 6 * 330_000


def test_a_frame_over_the_limit_closes_the_socket_as_the_protocol_has_it(service: Service, web: Page) -> None:
    web.socket.send("x" * (service.settings.max_upload_bytes + 1))
    with pytest.raises(ConnectionClosed) as closed:
        web.socket.recv(SECONDS)
    assert closed.value.rcvd and closed.value.rcvd.code == 1009


def test_a_model_that_dies_is_told_and_the_socket_lives_on(web: Page, model: ScriptedChat) -> None:
    model.reply = Scripted(pieces=["half ", "of it"], cut=True)
    events = web.turn("Talk")
    (error,) = (event["data"]["message"] for event in events if event["type"] == "error")
    assert shown(events).startswith("half ")
    assert shown(events).endswith(error)
    model.reply = "Again"
    assert shown(web.turn("Talk")) == "Again"


# --- interrupts -------------------------------------------------------------------------------------------


def thinks(web: Page, model: ScriptedChat) -> str:
    """The conversation of a question that the model was asked, and says nothing to yet."""
    web.send({"q": "Talk"})
    metadata = web.event()
    eventually(lambda: model.asked)
    return conversation_of([metadata])


def test_an_interrupt_ends_the_stream_and_what_came_is_kept(
    web: Page, client: httpx.Client, model: ScriptedChat
) -> None:
    model.answers = [Scripted(pieces=["as far as this", " and no further"], gate=threading.Event())]
    web.send({"q": "Talk"})
    conversation = conversation_of(web.until_text("as far as this"))
    web.send({"type": "interrupt", "query": ""})
    assert web.control() == {"type": "interrupt_acknowledged"}  # so nothing came in between
    assert [message["message"] for message in history(client, conversation)] == ["Talk", "as far as this"]
    eventually(lambda: model.disconnected)
    events = web.turn("Go on", conversation_id=conversation)
    assert events[0]["type"] == "metadata"
    assert "as far as this" in str(model.asked[-1]["messages"])


def test_an_interrupt_before_the_first_word_keeps_the_question(
    web: Page, client: httpx.Client, model: ScriptedChat
) -> None:
    model.reply = Scripted(thoughts=["hm"], pieces=["never"], gate=threading.Event())
    conversation = thinks(web, model)
    web.send({"type": "interrupt"})
    assert web.control() == {"type": "interrupt_acknowledged"}
    assert history(client, conversation)[0]["message"] == "Talk"


def test_an_instruction_on_the_way_is_considered_too(
    web: Page, client: httpx.Client, model: ScriptedChat
) -> None:
    gate = threading.Event()
    model.answers = [Scripted(pieces=["It rains. ", "Much."], gate=gate), "Es regnet."]
    web.send({"q": "What is the weather?"})
    events = web.until_text("It rains. ")
    web.send({"type": "interrupt", "query": "In German, please"})
    controls: list[Json] = []
    while len(controls) < 1 or events[-1]["type"] != "status":
        frame = web.frame()
        if "interrupt" in frame and not controls:
            controls.append(json.loads(frame))
        elif frame != DELIMITER:
            events += segment(frame)
    assert controls == [{"type": "interrupt_message_acknowledged"}]
    assert events[-1]["data"] == "**Incorporate New Instruction**: In German, please"
    gate.set()
    while events[-1]["type"] != "end_response":
        frame = web.frame()
        if frame != DELIMITER:
            events += segment(frame)
    told = [(m["role"], m["content"]) for m in model.asked[-1]["messages"][-2:]]
    assert told == [("assistant", "It rains. Much."), ("user", "In German, please")]
    assert shown(events).startswith("It rains. Much.")
    assert shown(events).endswith("Es regnet.")
    question, answer = history(client, conversation_of(events))
    assert answer["message"] == shown(events)
    assert question["message"] == "What is the weather?\n\nIn German, please"
    assert web.frame() == DELIMITER
    web.send({"q": "And tomorrow?", "conversation_id": conversation_of(events)})
    web.until(lambda event: event["type"] == "end_response")
    assert "In German, please" in str(model.asked[-1]["messages"])


def test_an_answer_takes_only_so_many_instructions(web: Page, model: ScriptedChat) -> None:
    model.reply = Scripted(thoughts=["hm"], pieces=["never"], gate=threading.Event())
    thinks(web, model)
    for _ in range(MAX_ADDED + 1):
        web.send({"type": "interrupt", "query": "More"})
    controls: list[Json] = []
    while len(controls) < MAX_ADDED + 1:
        frame = web.frame()
        if '"interrupt_' in frame or '{"error"' in frame:
            controls.append(json.loads(frame))
    *taken, refused = controls
    assert taken == [{"type": "interrupt_message_acknowledged"}] * MAX_ADDED
    assert "no more instructions" in refused["error"]  # and not that the answer was stopped
    web.send({"type": "interrupt", "query": ""})
    while "interrupt_acknowledged" not in web.frame():
        pass


def test_a_question_that_is_interrupted_at_once_is_kept_as_interrupted(
    web: Page, client: httpx.Client, model: ScriptedChat
) -> None:
    """Before the answer has even begun."""
    for _ in range(5):
        web.send({"q": "Talk", "user_id": "hasty"})
        web.send({"type": "interrupt"})
        frames = [web.frame()]
        while "interrupt_acknowledged" not in frames[-1]:
            frames.append(web.frame())
    sessions = client.get("/api/chat/sessions", params={"user_id": "hasty"}).json()
    assert len(sessions) == 5
    for session in sessions:
        assert [m["by"] for m in history(client, session["conversation_id"])] == ["you", "khoj"]


@pytest.mark.parametrize("query", ["", "faster", None])
def test_an_interrupt_of_nothing_is_acknowledged(web: Page, query: str | None) -> None:
    web.send({"type": "interrupt", "query": query})
    assert web.control() == {"type": "interrupt_acknowledged"}
    web.turn("Talk")
    web.send({"type": "interrupt", "query": query})
    assert web.control() == {"type": "interrupt_acknowledged"}


# --- what is no question ----------------------------------------------------------------------------------


def test_a_frame_without_a_question_is_told_so_and_the_socket_lives_on(web: Page) -> None:
    for frame in ({}, {"query": "What?"}, {"q": None}, {"type": "something"}):
        web.send(frame)
        assert web.control() == {"error": "Missing required field 'q' in chat message"}
    assert shown(web.turn("Talk")) == "Hello"


@pytest.mark.parametrize("q", ["", " \n", "/general", 'file:"x.md"'])
def test_an_empty_question_is_greeted_and_kept_nowhere(web: Page, client: httpx.Client, q: str) -> None:
    before = client.get("/api/chat/sessions").json()
    events = web.turn(q)
    assert [event["type"] for event in events] == [
        "start_llm_response", "message", "end_llm_response", "end_response",
    ]  # fmt: skip
    assert shown(events) == "Please ask your query to get started."
    assert client.get("/api/chat/sessions").json() == before


@pytest.mark.parametrize(
    "frame",
    ["", "Hello", "{", "[]", "null", '"q"', '{"q": 5}', '{"q": "x", "n": 5.5}', '{"q": "x", "files": [5]}',
     '{"q": "a\\u0000"}', '{"q": "\\ud83d"}', '{"q":' * 10_000, b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_frame_closes_the_socket(service: Service, frame: str | bytes) -> None:
    with page(service) as web:
        web.socket.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            web.socket.recv(SECONDS)
        assert closed.value.rcvd and closed.value.rcvd.code == 1011
        assert closed.value.rcvd.reason


@pytest.mark.parametrize("id", ["nowhere", str(UUID(int=0)), "a" * 255, "%00"])
def test_an_unknown_conversation_is_told_and_the_socket_lives_on(web: Page, id: str) -> None:
    web.send({"q": "Talk", "conversation_id": id})
    error = web.control()
    assert error.keys() == {"error"}
    assert "not found" in error["error"]
    assert shown(web.turn("Talk")) == "Hello"


def test_somebody_elses_conversation_is_unknown(service: Service, web: Page) -> None:
    conversation = conversation_of(web.turn("My secret"))
    with page(service, OTHER_KEY) as other:
        other.send({"q": "What was said?", "conversation_id": conversation})
        assert other.control() == {"error": f"Conversation {conversation} not found"}
    assert len(history(service.client, conversation)) == 2


def test_junk_images_are_told_and_the_socket_lives_on(web: Page) -> None:
    web.send({"q": "Look", "images": ["junk!"]})
    assert "image 1" in web.control()["error"]
    web.send({"q": "Look", "images": ["junk!"] * 11})
    assert web.control()["error"].startswith("Those are way too many images for me!")
    assert shown(web.turn("Talk")) == "Hello"


# --- ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("politely", [True, False])
def test_a_socket_that_is_lost_keeps_the_turn_as_far_as_it_came(
    service: Service,
    client: httpx.Client,
    model: ScriptedChat,
    politely: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = model.disconnected
    model.reply = Scripted(pieces=["as far as this", " and no further"], gate=threading.Event())
    with page(service) as web:
        web.send({"q": "Talk"})
        conversation = conversation_of(web.until_text("as far as this"))
        if not politely:
            web.loses_its_network()
    eventually(lambda: len(history(client, conversation)) == 2)
    eventually(lambda: history(client, conversation)[1]["message"] == "as far as this")
    eventually(lambda: model.disconnected > before)
    assert not errors(caplog)


def test_a_socket_that_is_lost_while_much_is_said_harms_nobody(
    service: Service, client: httpx.Client, model: ScriptedChat, caplog: pytest.LogCaptureFixture
) -> None:
    model.reply = Scripted(pieces=["word " * 100] * 500)
    for _ in range(5):
        with page(service) as web:
            web.send({"q": "Talk much"})
            web.until_text("word")
            web.loses_its_network()
    model.reply = "Still here"
    with page(service) as web:
        assert shown(web.turn("Talk")) == "Still here"
    assert not errors(caplog)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the service has logged; the page's own library complains about the network that it lost."""
    service = [record for record in caplog.records if record.name != "websockets.client"]
    return [record.getMessage() for record in service if record.levelno >= logging.ERROR]


def test_a_key_with_a_limit_is_told_of_it(service: Service) -> None:
    secret = uuid4().hex
    service.worker.cells.create_key(secret, "slow", f"owner-{secret}", ALL_SCOPES, Terms(per_minute=1))
    with page(service, secret) as web:
        assert shown(web.turn("Talk")) == "Hello"
        web.send({"q": "Talk"})
        assert "1 requests a minute" in web.control()["error"]


def test_a_key_that_is_revoked_asks_nothing_more(service: Service, model: ScriptedChat) -> None:
    secret = uuid4().hex
    key = service.worker.cells.create_key(secret, "lost", f"owner-{secret}", ALL_SCOPES)
    with page(service, secret) as web:
        assert shown(web.turn("Talk")) == "Hello"
        service.worker.cells.revoke_key(key.id)
        eventually(lambda: _is_refused(service, secret))
        asked = len(model.asked)
        web.send({"q": "Talk"})
        assert web.control() == {"error": "this API key was revoked"}
        assert len(model.asked) == asked


def _is_refused(service: Service, secret: str) -> bool:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.get(f"{service.url}/api/chat/sessions", headers=headers).status_code == 401


def test_an_instruction_of_a_megabyte_is_refused_and_the_answer_goes_on(
    web: Page, model: ScriptedChat
) -> None:
    gate = threading.Event()
    model.reply = Scripted(pieces=["begun, ", "ended"], gate=gate)
    web.send({"q": "Talk"})
    events = web.until_text("begun, ")
    web.send({"type": "interrupt", "query": "x" * 1_000_000})
    assert "longer than" in web.control()["error"]
    gate.set()
    events += web.until(lambda event: event["type"] == "end_response")
    assert shown(events) == "begun, ended"
