"""A stream in each framing, as it is read by those who ask for it: whole, in order, and while it is made."""

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.dialects.khoj import turns
from api.dialects.khoj.framing import CLIENTS, DELIMITER, EVENTS, KHOJ, LINES, Framing, framing_for, written
from application.chat.emission import Began, Emission, Text, Thought, TurnEnds
from domain.ids import new_id
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.service import Service
from tests.support.streams import KHOJS, Way, cut

WAYS = [
    *(pytest.param(Way({"client": client}, {}, KHOJS), id=client) for client in sorted(CLIENTS)),
    pytest.param(Way({}, {"Accept": "text/plain"}, KHOJS), id="text/plain"),
    pytest.param(Way({}, {"Accept": "text/event-stream"}, "text/event-stream"), id="text/event-stream"),
    pytest.param(Way({}, {}, "application/x-ndjson"), id="curl"),
]
HARD = [
    "Grüße, 世界 👩🏽‍🚀", " e\u0301", "\u2028\u2029\x85\ufeff", "🔚", "␃", "🔚␗", "␃🔚", DELIMITER,
    f"a{DELIMITER}b",
    '{"a": 1}', "{", "{}", "{not json}", ' {"b": {"c": "}"}} \n', '{"type": "end_response"}', "{{}}", "}{",
    '{"type":"message","data":"x"}', f'{{"a": "{DELIMITER}"}}', "\n\n", "\r\n", "data: x\n\n",
    ": no comment\n",
    "event: y\n", "\t", " ", "[DONE]", "\\u0041", '"', "null", "{\n}", "\xa0{z}\xa0", "\x1c\x1f\x7f",
]  # fmt: skip
"""Pieces of an answer, each of which might be taken for something else."""
ORDER = [
    "metadata", "status", "references", "thought", "start_llm_response", "message", "end_llm_response",
    "usage", "end_response",
]  # fmt: skip


@pytest.fixture
def client(service: Service) -> httpx.Client:
    """One for whom nothing is learnt from what is said, so that no turn waits for it."""
    client = service.client
    assert client.patch("/api/user/memory", params={"enable_memory": "false"}).is_success
    return client


# --- any text at all --------------------------------------------------------------------------------------


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('{}"␃🔚␗\r\n: \u2028'), min_size=1)
PIECES = st.lists(TEXTS | st.sampled_from(HARD), max_size=8)
CUTS = st.lists(st.integers(1, 12), max_size=40)


@given(PIECES, CUTS)
@example(HARD, [1] * 2000)
@pytest.mark.parametrize("framing", [KHOJ, EVENTS, LINES], ids=["khoj", "sse", "lines"])
def test_any_text_survives_and_no_piece_of_it_is_taken_for_an_event(
    framing: Framing, pieces: list[str], sizes: list[int]
) -> None:
    emissions: list[Emission] = [
        Began(new_id(), "t"),
        *(Thought(piece) for piece in pieces),
        *(Text(piece) for piece in pieces),
        TurnEnds(),
    ]
    way = Way({}, {}, framing.media_type)
    events = way.read(cut(b"".join(_written(emissions, framing)), sizes))
    assert way.answer(events) == "".join(pieces)
    assert [event["data"] for event in events if event["type"] == "thought"] == pieces
    assert set(types(events)) <= {"metadata", "thought", "message", "end_response"}
    assert [events[0]["type"], events[-1]["type"]] == ["metadata", "end_response"]


def _written(emissions: list[Emission], framing: Framing) -> Iterator[bytes]:
    async def source() -> AsyncGenerator[Emission | None, None]:
        for emission in emissions:
            yield emission
            yield None

    async def all_of_it() -> list[bytes]:
        return [chunk async for chunk in written(source(), framing)]

    return iter(asyncio.run(all_of_it()))


# --- a live service ---------------------------------------------------------------------------------------


def opened(client: httpx.Client, way: Way, **more: Any) -> Any:
    body = {"q": "Talk", "stream": True, **more}
    return client.stream("POST", "/api/chat", json=body, params=way.params, headers=way.headers)


def told(client: httpx.Client, way: Way, **more: Any) -> list[dict[str, Any]]:
    with opened(client, way, **more) as answer:
        assert answer.status_code == 200
        return way.read(cut(answer.read(), itertools.cycle([1, 2, 3, 7])))


def types(events: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(event["type"] for event in events))


# --- the same answer in each way --------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_same_answer_comes_out_whole_and_in_order(
    client: httpx.Client, model: ScriptedChat, way: Way
) -> None:
    model.reply = Scripted(pieces=HARD, thoughts=[f"hm {DELIMITER}", "{hm}"], byte_wise=True)
    events = told(client, way)
    assert types(events) == ORDER
    assert way.answer(events) == "".join(HARD)
    assert "".join(e["data"] for e in events if e["type"] == "thought") == f"hm {DELIMITER}{{hm}}"
    assert events[0]["data"].keys() == {"conversationId", "turnId"}
    assert events[-1] == {"type": "end_response", "data": ""}


@pytest.mark.parametrize("way", WAYS)
def test_the_headers_say_what_it_is_and_keep_proxies_from_holding_it_back(
    client: httpx.Client, way: Way
) -> None:
    with opened(client, way) as answer:
        charset = "; charset=utf-8" if way.media_type.startswith("text/") else ""
        assert answer.headers["content-type"] == way.media_type + charset
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("way", WAYS)
def test_the_first_text_is_there_before_the_model_has_finished(
    client: httpx.Client, model: ScriptedChat, way: Way
) -> None:
    gate = threading.Event()
    model.reply = Scripted(pieces=["erste Grüße, ", "zweite 👋"], gate=gate)
    arrived = b""
    with opened(client, way) as answer:
        chunks = answer.iter_raw()
        while "erste Grüße, ".encode() not in arrived:
            arrived += next(chunks)
        assert b"zweite" not in arrived
        assert not gate.is_set()
        gate.set()
        arrived += b"".join(chunks)
    assert way.answer(way.read([arrived])) == "erste Grüße, zweite 👋"


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_breaks_off_ends_with_an_error_that_people_can_read(
    client: httpx.Client, model: ScriptedChat, way: Way
) -> None:
    model.reply = Scripted(pieces=["half ", "of it"], cut=True)
    events = told(client, way)
    assert [event["type"] for event in events][-4:] == [
        "message", "end_llm_response", "usage", "end_response",
    ]  # fmt: skip
    (error,) = (event["data"] for event in events if event["type"] == "error")
    assert way.answer(events).startswith("half ")
    assert way.answer(events).endswith(error["message"])
    assert "ask again" in error["message"]
    model.reply = "The next one is whole."
    assert way.answer(told(client, way)) == "The next one is whole."


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_never_answers_is_told_in_the_stream(
    client: httpx.Client, model: ScriptedChat, way: Way
) -> None:
    model.reply = Scripted(status=401, error="the key sk-secret is wrong")
    events = told(client, way)
    assert types(events) == [
        "metadata", "error", "references", "status", "start_llm_response", "message", "end_llm_response",
        "usage", "end_response",
    ]  # fmt: skip
    (error,) = (event["data"] for event in events if event["type"] == "error")
    assert way.answer(events) == error["message"]
    assert "sk-secret" not in str(events)
    model.reply = "Now it is right."
    assert way.answer(told(client, way)) == "Now it is right."


@pytest.mark.parametrize("origin", ["app://obsidian.md", "app://khoj.dev", "http://localhost"])
def test_pages_of_khojs_clients_may_ask_and_read_the_stream(client: httpx.Client, origin: str) -> None:
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization, content-type"
    assert httpx.options(f"{client.base_url}/api/chat", headers=asks).is_success
    with opened(client, Way({"client": "obsidian"}, {"Origin": origin}, KHOJS)) as answer:
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_refused_before_the_stream_begins_is_no_stream(client: httpx.Client, way: Way) -> None:
    with opened(client, way, conversation_id="nowhere") as answer:
        answer.read()
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["status"] == "error"


def test_emacs_which_does_not_ask_for_a_stream_reads_one_object(
    client: httpx.Client, model: ScriptedChat
) -> None:
    model.reply = Scripted(pieces=HARD)
    answer = client.post("/api/chat", params={"client": "emacs"}, json={"q": "Talk"})
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert body["response"] == "".join(HARD)
    # `:null` is true in its code.
    assert body.get("context", []) is not None
    assert body.get("onlineContext", {}) is not None


def test_emacs_which_names_no_conversation_goes_on_with_its_last_one(client: httpx.Client) -> None:
    first, second = (
        client.post("/api/chat", params={"client": "emacs"}, json={"q": "Talk"}).json() for _ in range(2)
    )
    assert first["conversationId"] == second["conversationId"]


# --- heartbeats -------------------------------------------------------------------------------------------


def test_while_nothing_happens_server_sent_events_have_a_heartbeat(
    client: httpx.Client, model: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "HEARTBEAT_SECONDS", 0.02)
    gate = threading.Event()
    model.reply = Scripted(pieces=["slow", "ly"], gate=gate)
    way = Way({}, {"Accept": "text/event-stream"}, "text/event-stream")
    arrived = b""
    with opened(client, way) as answer:
        chunks = answer.iter_raw()
        while arrived.count(b": still here\n\n") < 3:
            arrived += next(chunks)
        gate.set()
        arrived += b"".join(chunks)
    assert way.answer(way.read([arrived])) == "slowly"


@pytest.mark.parametrize("way", [way for way in WAYS if way.id != "text/event-stream"])
def test_where_there_are_no_comments_silence_is_silent(
    client: httpx.Client, model: ScriptedChat, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    monkeypatch.setattr(turns, "HEARTBEAT_SECONDS", 0.02)
    model.reply = Scripted(pieces=["slow", "ly"], pause=0.2)
    with opened(client, way) as answer:
        whole = answer.read()
    assert b"still here" not in whole
    assert DELIMITER.encode() * 2 not in whole
    assert b"\n\n" not in whole
    assert way.answer(way.read([whole])) == "slowly"


# --- who gets which ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client_name", "accept", "framing"),
    [
        ("web", "*/*", KHOJ),
        ("obsidian", "", KHOJ),
        ("emacs", "application/json", KHOJ),
        (None, "", LINES),
        (None, "*/*", LINES),
        (None, "application/json, text/plain, */*", LINES),  # axios
        (None, "application/x-ndjson", LINES),
        (None, "text/plain", KHOJ),
        (None, "text/event-stream", EVENTS),
        (None, "text/event-stream, */*", EVENTS),
        (None, "Text/Event-Stream", EVENTS),
        ("somebody", "text/event-stream", EVENTS),
        ("somebody", "*/*", LINES),
    ],
)
def test_who_asks_decides_how_it_is_written(client_name: str | None, accept: str, framing: Framing) -> None:
    assert framing_for(client_name, accept) is framing
