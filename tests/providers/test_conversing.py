"""Conversing with the chat model, against a real HTTP server that streams what it is told."""

import asyncio
import json
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providers.models import conversing
from providers.models.chat_model import ModelGarbage, ModelRefused, ModelUnavailable
from providers.models.circuit import Circuit
from providers.models.conversing import (
    ConversingModel,
    ImagesRefused,
    Tool,
    alternating,
)
from providers.models.streamed_answer import LONGEST_CHARACTERS, Call, CutOff, Piece, Text, Thought, Used
from runtime.composition import conversing_model_of, endpoint_of
from runtime.settings import Settings
from tests.support.chat_model import Json, Scripted, ScriptedChat, event
from tests.support.service import eventually

KEY = "sk-very-secret"
SAID = "Ada told me her address"
MESSAGES: list[Json] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": SAID}]
WITH_IMAGE: list[Json] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": SAID},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
    }
]
WEATHER = Tool(
    "weather", "The weather of a town", {"type": "object", "properties": {"town": {"type": "string"}}}
)
NOTES = Tool("notes", "Search notes", {"type": "object", "properties": {"query": {"type": "string"}}})
TOOLS = (WEATHER, NOTES)
USED = Used(input_tokens=100, output_tokens=10)

T = TypeVar("T")


@pytest.fixture(autouse=True, scope="module")
def impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversing, "FIRST_PAUSE_SECONDS", 0.001)
        yield


@pytest.fixture
def chat() -> Iterator[ScriptedChat]:
    chat = ScriptedChat()
    yield chat
    chat.close()


def configured(settings: Settings, circuit: Circuit) -> ConversingModel:
    return ConversingModel(endpoint_of(settings), settings.chat_model, settings.chat_timeout, circuit)


@asynccontextmanager
async def model_of(chat: ScriptedChat, **more: Any) -> AsyncIterator[ConversingModel]:
    model = configured(chat.settings(**{"openai_api_key": KEY, **more}), Circuit(failures=1_000_000))
    yield model
    await model.close()


async def listen(
    model: ConversingModel, messages: Sequence[Json] = MESSAGES, tools: Sequence[Tool] = (), **more: Any
) -> list[Piece]:
    return [piece async for piece in model.stream(messages, tools, **more)]


def ask(
    chat: ScriptedChat,
    messages: Sequence[Json] = MESSAGES,
    tools: Sequence[Tool] = (),
    force: str | None = None,
    max_tokens: int | None = None,
    may_call: bool = True,
    **more: Any,
) -> list[Piece]:
    async def asking() -> list[Piece]:
        async with model_of(chat, **more) as model:
            given = {"force": force, "max_tokens": max_tokens, "may_call": may_call}
            return await listen(model, messages, tools, **given)

    return asyncio.run(asking())


def ask_twice(chat: ScriptedChat, **more: Any) -> tuple[list[Piece], list[Piece]]:
    async def asking() -> tuple[list[Piece], list[Piece]]:
        async with model_of(chat) as model:
            return await listen(model, **more), await listen(model, **more)

    return asyncio.run(asking())


def heard(pieces: Sequence[Piece], kind: type[Text] | type[Thought] = Text) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, kind))


def called(pieces: Sequence[Piece]) -> list[tuple[str, Json]]:
    return [(piece.name, json.loads(piece.arguments)) for piece in pieces if isinstance(piece, Call)]


def deltas(*given: Json, finish: str = "tool_calls") -> Scripted:
    return Scripted(deltas=list(given), finish=finish)


def call_delta(**more: Any) -> Json:
    return {"tool_calls": [more]}


# What is asked and what comes


def test_an_answer_comes_in_the_pieces_of_the_model_and_then_what_it_took(chat: ScriptedChat) -> None:
    chat.reply = Scripted(thoughts=["Hm, ", "a cat."], pieces=["Your ", "cat ", "is Zorblax."])
    assert ask(chat) == [
        Thought("Hm, "),
        Thought("a cat."),
        Text("Your "),
        Text("cat "),
        Text("is Zorblax."),
        USED,
    ]


def test_the_request_carries_messages_tools_and_what_is_wanted(chat: ScriptedChat) -> None:
    ask(chat, WITH_IMAGE, [WEATHER], max_tokens=77)
    assert chat.asked == [
        {
            "model": "scripted",
            "messages": WITH_IMAGE,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 77,
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "description": "The weather of a town",
                        "parameters": WEATHER.parameters,
                    },
                }
            ],
        }
    ]


def test_the_first_piece_is_there_before_the_model_has_finished(chat: ScriptedChat) -> None:
    gate = threading.Event()
    chat.reply = Scripted(pieces=["first ", "rest"], gate=gate)

    async def asking() -> list[Piece]:
        async with model_of(chat) as model:
            pieces = model.stream(MESSAGES)
            first = await anext(pieces)
            assert not gate.is_set()
            gate.set()
            return [first, *[piece async for piece in pieces]]

    assert asyncio.run(asking()) == [Text("first "), Text("rest"), USED]


def test_fifty_streams_at_once_do_not_mix(chat: ScriptedChat) -> None:
    chat.reply = lambda body: f"Answer to {body['messages'][0]['content']}"

    async def asking() -> list[list[Piece]]:
        async with model_of(chat) as model:
            questions = ([{"role": "user", "content": f"question {number}"}] for number in range(50))
            return await asyncio.gather(*(listen(model, question) for question in questions))

    answers = asyncio.run(asking())
    assert [heard(answer) for answer in answers] == [f"Answer to question {number}" for number in range(50)]


def test_one_connection_serves_one_answer_after_the_other(chat: ScriptedChat) -> None:
    ask_twice(chat)
    assert len(chat.connections) == 1
    assert chat.disconnected == 0


def test_text_of_many_bytes_a_letter_survives_any_cut(chat: ScriptedChat) -> None:
    chat.reply = Scripted(text="Zürich 猫 🐈‍⬛ naïve", byte_wise=True)
    assert heard(ask(chat)) == "Zürich 猫 🐈‍⬛ naïve"


def escaped(*given: Json) -> Scripted:
    """Deltas as endpoints write them that escape all but ASCII."""
    chunks = [{"choices": [{"delta": delta}]} for delta in given]
    events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return Scripted(raw=b"".join(events) + b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["a \ud83d", "\ude00 b"], "a 😀 b"),
        (["\ud83d", "", "\ude00\ud83d", "\ude00"], "😀😀"),
        (["a \ud83d", "b"], "a \ufffdb"),
        (["a", "\ude00b"], "a\ufffdb"),
        (["a", "\ud83d"], "a\ufffd"),
    ],
    ids=["two halves", "twice", "no second", "no first", "at the end"],
)
def test_characters_that_come_in_halves_are_joined_and_lone_halves_replaced(
    chat: ScriptedChat, parts: list[str], whole: str
) -> None:
    thoughts = [{"reasoning": part} for part in parts]
    chat.reply = escaped(*thoughts, *({"content": part} for part in parts))
    pieces = ask(chat)
    assert heard(pieces, Thought) == heard(pieces) == whole
    assert [type(piece) for piece in pieces] == sorted((type(p) for p in pieces), key=[Thought, Text].index)


def test_characters_in_the_arguments_of_calls_may_come_in_halves_too(chat: ScriptedChat) -> None:
    chat.reply = escaped(
        call_delta(function={"name": "notes", "arguments": '{"query": "\ud83d'}),
        call_delta(function={"arguments": '\ude00"}'}),
        call_delta(id="\ud83d", function={"name": "weather", "arguments": {"town": "\ude00"}}),
    )
    pieces = ask(chat, tools=TOOLS)
    assert called(pieces) == [("notes", {"query": "😀"}), ("weather", {"town": "\ufffd"})]
    assert msgspec.json.encode(pieces)


@pytest.mark.parametrize("plain", [False, True])
def test_an_answer_that_is_too_long_ends_and_says_why(chat: ScriptedChat, plain: bool) -> None:
    chat.reply = Scripted(thoughts=["hm" * 500], pieces=["ha" * 25_000] * 20, plain=plain)
    pieces = ask(chat)
    assert len(heard(pieces, Thought) + heard(pieces)) == LONGEST_CHARACTERS
    assert CutOff() in pieces
    chat.reply = Scripted(thoughts=["hm" * 25_000] * 20, pieces=["Yes"], plain=plain)
    with pytest.raises(ModelGarbage, match="cut off"):
        ask(chat)


@pytest.mark.parametrize("plain", [False, True])
def test_of_an_answer_that_is_too_long_the_whole_calls_are_left(chat: ScriptedChat, plain: bool) -> None:
    town: Json = {"town": "Bonn"}
    endless = {"query": "ha" * LONGEST_CHARACTERS}
    chat.reply = Scripted(calls=[("weather", town), ("notes", endless), ("weather", town)], plain=plain)
    assert called(ask(chat, tools=TOOLS)) == [("weather", town)]


def test_a_call_whose_arguments_no_longer_fit_is_not_one_without_arguments(chat: ScriptedChat) -> None:
    filling = "h" * (LONGEST_CHARACTERS - len("weather"))
    chat.reply = Scripted(pieces=[filling], calls=[("weather", {"town": "Bonn"})])
    assert called(ask(chat, tools=TOOLS)) == []


def test_a_model_that_calls_without_end_is_stopped(chat: ScriptedChat) -> None:
    calls = [
        {"index": number, "function": {"name": "weather"}} for number in range(LONGEST_CHARACTERS // 7 + 9)
    ]
    chat.reply = deltas({"tool_calls": calls})
    assert len(called(ask(chat, tools=TOOLS))) == LONGEST_CHARACTERS // 7


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 3},
                "prompt_tokens_details": {"cached_tokens": 2},
            },
            [Used(7, 5, 3, 2)],
        ),
        ({"prompt_tokens": 7, "completion_tokens_details": None}, [Used(7)]),
        ({"prompt_tokens": "many"}, []),
        (None, []),
    ],
)
def test_what_an_answer_took_is_told_if_the_endpoint_does(
    chat: ScriptedChat, usage: Any, used: list[Piece]
) -> None:
    chat.reply = Scripted(pieces=["Hello"], usage=usage)
    assert ask(chat) == [Text("Hello"), *used]


def test_an_endpoint_that_streams_nothing_is_understood(chat: ScriptedChat) -> None:
    chat.reply = Scripted(
        text="Hello Ada", thoughts=["Hm"], calls=[("weather", {"town": "Köln"})], plain=True
    )
    pieces = ask(chat, tools=TOOLS)
    assert pieces == [
        Thought("Hm"),
        Text("Hello Ada"),
        Call("call-0", "weather", '{"town": "Köln"}'),
        USED,
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b'data:{"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}',
        b'\xef\xbb\xbfdata: {"choices":[{"delta":{"content":"Hello"}}]}\r\n\r\ndata: [DONE]\r\n\r\n',
        b': waiting\n\nevent: message\ndata: {"choices":[{"delta":{"content":"Hello"}}]}\n\ndata:[DONE]',
        b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"Hello"}]}}]}\ndata: [DONE]\ndata: no',
        b'\n {\n "choices": [\n {"message": {"content": "Hello"}}]\n}\n',
    ],
)
def test_streams_are_understood_as_endpoints_write_them(chat: ScriptedChat, raw: bytes) -> None:
    chat.reply = Scripted(raw=raw)
    assert ask(chat) == [Text("Hello")]


def test_an_answer_at_its_token_limit_ends_and_says_why(chat: ScriptedChat) -> None:
    chat.reply = Scripted(pieces=["Hello A"], finish="length")
    assert ask(chat) == [Text("Hello A"), CutOff(), USED]


def test_nothing_is_made_without_a_key_and_an_endpoint() -> None:
    assert conversing_model_of(Settings()) is None
    assert conversing_model_of(Settings(openai_api_key=KEY)) is not None
    local = conversing_model_of(Settings(openai_base_url="http://127.0.0.1:9/v1", chat_model="local"))
    assert local is not None
    assert local.name == "local"


# Whose turn it is


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> Json:
    return {"role": "assistant", "content": content, **more}


IMAGE: Json = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SYSTEM: Json = {"role": "system", "content": "Be kind."}
FOUND: Json = {"role": "tool", "tool_call_id": "a", "content": "Rain"}
CALLING = assistant(None, tool_calls=[{"id": "a", "function": {"name": "weather", "arguments": "{}"}}])


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([], []),
        ([user("a"), user("b"), user("c")], [user("a\n\nb\n\nc")]),
        ([user("a"), assistant("b"), assistant("c"), user("d")], [user("a"), assistant("b\n\nc"), user("d")]),
        ([user(""), user("a"), user("")], [user("a")]),
        ([user("a"), user([IMAGE])], [user([{"type": "text", "text": "a"}, IMAGE])]),
        ([user([IMAGE]), user("a")], [user([IMAGE, {"type": "text", "text": "a"}])]),
        ([user([IMAGE]), user([IMAGE])], [user([IMAGE, IMAGE])]),
    ],
)
def test_neighbouring_texts_of_one_side_are_sent_as_one(messages: list[Json], sent: list[Json]) -> None:
    given = msgspec.json.encode(messages)
    assert alternating(messages) == sent
    assert msgspec.json.encode(messages) == given


@pytest.mark.parametrize(
    "messages",
    [
        [SYSTEM, SYSTEM, user("a"), assistant("b"), user("c")],
        [user("a"), assistant("b"), CALLING, FOUND, FOUND, assistant("c")],
        [CALLING, FOUND, CALLING, FOUND],
        [CALLING, CALLING],
        [{**user("a"), "name": "ada"}, {**user("b"), "name": "bob"}],
    ],
)
def test_calls_their_results_and_what_has_more_than_a_text_stay_as_they_are(messages: list[Json]) -> None:
    assert alternating(messages) == messages


def test_what_is_sent_takes_turns(chat: ScriptedChat) -> None:
    ask(chat, [SYSTEM, user("a"), user("b")])
    assert chat.asked[0]["messages"] == [SYSTEM, user("a\n\nb")]


# Thoughts between tags


@pytest.mark.parametrize(
    ("content", "thought", "text"),
    [
        ("<think>Hm, a < b.</think>\n\nIt is < c.", "Hm, a < b.", "It is < c."),
        ("\n<think>\nHm</think>Yes </think> no", "Hm", "Yes </think> no"),
        ("<think>\n\n</think>\n\nYes", "", "Yes"),
        ("<thinking>", "", "<thinking>"),
        ("<thi", "", "<thi"),
        (" A <think>no tag</think>", "", " A <think>no tag</think>"),
        ("<think>Hm </thin </think>Yes", "Hm </thin ", "Yes"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_stands_between_think_tags_is_thought_wherever_it_is_cut(
    chat: ScriptedChat, content: str, thought: str, text: str, size: int
) -> None:
    chat.reply = Scripted(pieces=[content[at : at + size] for at in range(0, len(content), size)])
    pieces = ask(chat)
    assert (heard(pieces, Thought), heard(pieces)) == (thought, text)


def test_thoughts_alone_are_no_answer(chat: ScriptedChat) -> None:
    chat.reply = "<think>I wonder"
    with pytest.raises(ModelGarbage):
        ask(chat)


# Calls of tools


def test_calls_come_whole_behind_the_text(chat: ScriptedChat) -> None:
    chat.reply = Scripted(
        pieces=["Let me see."], calls=[("weather", {"town": "Zürich"}), ("notes", {"query": "cat"})]
    )
    assert ask(chat, tools=TOOLS) == [
        Text("Let me see."),
        Call("call-0", "weather", '{"town": "Zürich"}'),
        Call("call-1", "notes", '{"query": "cat"}'),
        USED,
    ]


IN_PIECES = [
    call_delta(index=0, id="a", function={"name": "weather", "arguments": ""}),
    call_delta(index=0, function={"arguments": '{"town": '}),
    call_delta(index=1, id="b", function={"name": "notes", "arguments": '{"que'}),
    call_delta(index=0, function={"arguments": '"Bonn"}'}),
    call_delta(index=1, function={"arguments": 'ry": "cat"}'}),
]
NAME_REPEATED = [
    call_delta(index=0, id="a", function={"name": "weather", "arguments": '{"town":'}),
    call_delta(index=0, id="a", function={"name": "weather", "arguments": '"Bonn"}'}),
    call_delta(index=1, id="b", function={"name": "no"}),
    call_delta(index=1, function={"name": "tes", "arguments": '{"query": "cat"}'}),
]
ALL_OF_ONE_NUMBER = [
    {
        "tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"town": "Bonn"}'}},
            {"index": 0, "id": "b", "function": {"name": "notes", "arguments": '{"query": "cat"}'}},
        ]
    }
]
WITHOUT_NUMBERS_AND_IDS = [
    call_delta(function={"name": "weather", "arguments": '{"town":'}),
    call_delta(function={"arguments": '"Bonn"}'}),
    call_delta(function={"name": "notes", "arguments": '{"query": "cat"}'}),
]
WITH_OBJECTS = [
    call_delta(id="a", function={"name": "weather", "arguments": {"town": "Bonn"}}),
    call_delta(id="b", function={"name": "notes", "arguments": {"query": "cat"}}),
]
IDS_LATE = [
    call_delta(index=3, function={"name": "weather"}),
    call_delta(index=3, id="a", function={"arguments": '{"town": "Bonn"}'}),
    call_delta(index=5, id="", type="function", function={"name": "notes"}),
    call_delta(index=5, id="b", function={"name": None, "arguments": '{"query": "cat"}'}),
]


@pytest.mark.parametrize(
    "given",
    [IN_PIECES, NAME_REPEATED, ALL_OF_ONE_NUMBER, WITHOUT_NUMBERS_AND_IDS, WITH_OBJECTS, IDS_LATE],
    ids=["pieces", "name repeated", "one number", "no numbers", "objects", "ids late"],
)
def test_calls_are_put_together_however_they_are_cut(chat: ScriptedChat, given: list[Json]) -> None:
    chat.reply = deltas(*given)
    pieces = ask(chat, tools=TOOLS)
    assert called(pieces) == [("weather", {"town": "Bonn"}), ("notes", {"query": "cat"})]
    ids = [piece.id for piece in pieces if isinstance(piece, Call)]
    assert all(ids)
    assert len(set(ids)) == 2


def test_a_call_without_arguments_has_none(chat: ScriptedChat) -> None:
    chat.reply = deltas(call_delta(index=0, id="a", function={"name": "weather"}))
    assert ask(chat, tools=TOOLS) == [Call("a", "weather", "{}"), USED]


def test_a_call_of_what_nobody_offered_is_told_for_somebody_has_to_answer_it(chat: ScriptedChat) -> None:
    chat.reply = Scripted(calls=[("shell", {"command": "rm"}), ("notes", {"query": "cat"})])
    assert called(ask(chat, tools=TOOLS)) == [("shell", {"command": "rm"}), ("notes", {"query": "cat"})]
    chat.reply = Scripted(text="It rains.", calls=[("weather", {})])
    assert ask(chat) == [Text("It ra"), Text("ins."), Call("call-0", "weather", "{}"), USED]


def test_a_model_that_may_not_call_is_told_so_and_still_told_of_the_tools(chat: ScriptedChat) -> None:
    ask(chat, tools=TOOLS, may_call=False)
    assert chat.asked[0]["tool_choice"] == "none"
    assert [tool["function"]["name"] for tool in chat.asked[0]["tools"]] == ["weather", "notes"]
    chat.reply = refusing(lambda body: "tool_choice" in body, "tool_choice must be auto or required")
    assert heard(ask(chat, tools=TOOLS, may_call=False)) == "Hello"
    assert "tools" not in chat.asked[-1]
    ask(chat, may_call=False)
    assert "tool_choice" not in chat.asked[-1]


def test_a_call_that_was_cut_off_is_none(chat: ScriptedChat) -> None:
    chat.reply = deltas(*IN_PIECES[:-1], finish="length")
    assert called(ask(chat, tools=TOOLS)) == [("weather", {"town": "Bonn"})]


def test_a_tool_can_be_forced(chat: ScriptedChat) -> None:
    chat.reply = Scripted(calls=[("notes", {"query": "cat"})])
    assert called(ask(chat, tools=TOOLS, force="notes")) == [("notes", {"query": "cat"})]
    assert chat.asked[0]["tool_choice"] == {"type": "function", "function": {"name": "notes"}}


# What endpoints do not take


def refusing(
    refuses: Callable[[Json], bool],
    message: str,
    status: int = 400,
    then: str | Scripted = "Hello",
    **more: Any,
) -> Callable[[Json], Scripted]:
    """An endpoint that answers `then` to what it does not refuse."""
    answer = Scripted(text=then) if isinstance(then, str) else then
    error = {"message": message, **more}
    return lambda body: Scripted(status=status, error=error) if refuses(body) else answer


def test_an_endpoint_that_takes_no_named_tool_is_offered_only_that_and_told_to_call_one(
    chat: ScriptedChat,
) -> None:
    chat.reply = refusing(
        lambda body: isinstance(body.get("tool_choice"), dict),
        "tool_choice must be one of none, auto, required",
        then=Scripted(calls=[("notes", {"query": "cat"})]),
    )
    first, second = ask_twice(chat, tools=TOOLS, force="notes")
    assert called(first) == called(second) == [("notes", {"query": "cat"})]
    assert [body["tool_choice"] for body in chat.asked[1:]] == ["required", "required"]
    assert [tool["function"]["name"] for tool in chat.asked[2]["tools"]] == ["notes"]


def test_an_endpoint_that_can_be_told_to_call_nothing_still_has_its_tools(chat: ScriptedChat) -> None:
    chat.reply = refusing(lambda body: "tool_choice" in body, "unknown field", param="tool_choice")
    ask_twice(chat, tools=TOOLS, force="notes")
    assert ["tool_choice" in body for body in chat.asked] == [True, True, False, False]
    assert all("tools" in body for body in chat.asked)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        (404, "No endpoints found that support tool use. Try disabling this."),
        (422, "extra fields not permitted: body.tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (400, "this model does not support Function Calling"),
        (500, "tools param requires --jinja flag"),
        (501, "functions are not supported"),
        (400, "Unrecognized request argument supplied: tools"),
        (400, "Unsupported parameter: 'tools' is not supported with this model."),
        (400, 'Invalid JSON payload received. Unknown name "tools": Cannot find field.'),
        (
            422,
            "{'type': 'extra_forbidden', 'loc': ['body', 'tools'], 'msg': 'Extra inputs are not permitted'}",
        ),
    ],
)
def test_an_endpoint_that_takes_no_tools_is_asked_without_from_then_on(
    chat: ScriptedChat, status: int, message: str
) -> None:
    chat.reply = refusing(lambda body: "tools" in body, message, status)
    first, second = ask_twice(chat, tools=TOOLS)
    assert heard(first) == heard(second) == "Hello"
    assert ["tools" in body for body in chat.asked] == [True, False, False]


def test_what_an_endpoint_does_not_take_is_offered_again_after_a_while(
    chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversing, "REMEMBERED_SECONDS", 0.0)
    chat.reply = refusing(lambda body: "tools" in body, "this model does not support tools")
    ask_twice(chat, tools=TOOLS)
    assert ["tools" in body for body in chat.asked] == [True, False, True, False]


MISCALLS = [
    {"message": "Failed to call a function. Please adjust your prompt.", "code": "tool_use_failed"},
    {"message": "tool call validation failed: attempted to call tool 'x' which was not in request.tools"},
    {"message": "Tool choice is required, but model did not call a tool", "code": "tool_use_failed"},
    {"message": "model produced an unknown function: 'shell'"},
]


@pytest.mark.parametrize("error", MISCALLS, ids=lambda error: error["message"][:20])
def test_a_model_that_fails_at_a_call_is_asked_again_and_the_next_question_has_its_tools(
    chat: ScriptedChat, error: Json
) -> None:
    chat.answers = [Scripted(status=400, error=error)]
    first, second = ask_twice(chat, tools=TOOLS)
    assert heard(first) == heard(second) == "Hello"
    assert ["tools" in body for body in chat.asked] == [True, True, True]


@pytest.mark.parametrize("error", MISCALLS, ids=lambda error: error["message"][:20])
def test_a_model_that_fails_at_a_call_twice_is_asked_without_tools_this_once(
    chat: ScriptedChat, error: Json
) -> None:
    chat.answers = [Scripted(status=400, error=error)] * 2
    first, second = ask_twice(chat, tools=TOOLS, force="notes")
    assert heard(first) == heard(second) == "Hello"
    assert ["tools" in body for body in chat.asked] == [True, True, False, True]


def test_a_model_that_fails_at_a_call_inside_of_its_stream_is_asked_again(chat: ScriptedChat) -> None:
    chat.answers = [Scripted(raw=event({"error": MISCALLS[0]}))] * 2
    assert heard(ask(chat, tools=TOOLS)) == "Hello"
    assert ["tools" in body for body in chat.asked] == [True, True, False]


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. Reduce the messages or functions.",
        "Invalid schema for function 'weather' at tools[0].function.parameters",
    ],
)
def test_tools_are_not_given_up_for_what_is_wrong_with_one_request(chat: ScriptedChat, message: str) -> None:
    chat.reply = refusing(lambda body: "tools" in body, message)
    with pytest.raises(ModelRefused):
        ask(chat, tools=TOOLS)
    assert len(chat.asked) == 1


def test_an_endpoint_that_does_not_tell_what_it_took_is_not_asked_for_it_again(chat: ScriptedChat) -> None:
    chat.reply = refusing(lambda body: "stream_options" in body, "Unrecognized argument: stream_options")
    ask_twice(chat)
    assert ["stream_options" in body for body in chat.asked] == [True, False, False]


def test_newer_models_are_given_their_limit_in_their_words(chat: ScriptedChat) -> None:
    chat.reply = refusing(
        lambda body: "max_tokens" in body,
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        param="max_tokens",
    )
    ask_twice(chat, max_tokens=5)
    assert [body.get("max_completion_tokens") for body in chat.asked] == [None, 5, 5]
    assert ["max_tokens" in body for body in chat.asked] == [True, False, False]


def test_what_helped_nothing_is_not_remembered(chat: ScriptedChat) -> None:
    no_tools = Scripted(status=400, error="tools are not supported")
    chat.answers = [no_tools, Scripted(status=400, error="something else")]

    async def asking() -> list[Piece]:
        async with model_of(chat) as model:
            with pytest.raises(ModelRefused):
                await listen(model, tools=TOOLS)
            return await listen(model, tools=TOOLS)

    assert heard(asyncio.run(asking())) == "Hello"
    assert ["tools" in body for body in chat.asked] == [True, False, True]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid content type. image_url is only supported by certain models."),
        (404, "No endpoints found that support image input"),
        (422, "messages.0.content: multimodal input is not supported"),
        (422, "body.messages.0.content: Input should be a valid string"),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
    ],
)
def test_a_model_without_eyes_says_so(chat: ScriptedChat, status: int, message: str) -> None:
    chat.reply = Scripted(status=status, error=message)
    with pytest.raises(ImagesRefused):
        ask(chat, WITH_IMAGE)
    assert len(chat.asked) == 1
    with pytest.raises((ModelRefused, ModelUnavailable)) as caught:
        ask(chat)
    assert not isinstance(caught.value, ImagesRefused)


# What goes wrong


@pytest.mark.parametrize(
    "passing",
    [
        Scripted(status=500),
        Scripted(status=503),
        Scripted(status=429),
        Scripted(cut=True),
        Scripted(raw=event({"error": {"message": "overloaded", "code": 502}})),
    ],
    ids=["500", "503", "429", "cut", "error inside"],
)
def test_what_passes_is_tried_again_before_the_first_piece(chat: ScriptedChat, passing: Scripted) -> None:
    chat.answers = [passing, passing]
    assert heard(ask(chat)) == "Hello"
    assert len(chat.asked) == 3
    chat.answers = [passing] * 3
    with pytest.raises(ModelUnavailable):
        ask(chat)
    assert len(chat.asked) == 6


@pytest.mark.parametrize(
    "breaking",
    [
        Scripted(pieces=["Hel", "lo"], cut=True),
        Scripted(raw=event({"choices": [{"delta": {"content": "Hel"}}]})),
        Scripted(pieces=["Hel"], deltas=[], raw=None, cut=True),
        Scripted(raw=event({"choices": [{"delta": {"content": "Hel"}}]}) + event({"error": "overloaded"})),
    ],
    ids=["cut", "no end", "cut behind one", "error inside"],
)
def test_an_answer_that_breaks_off_is_not_tried_again(chat: ScriptedChat, breaking: Scripted) -> None:
    chat.reply = breaking
    told: list[Piece] = []

    async def asking() -> None:
        async with model_of(chat) as model:
            async for piece in model.stream(MESSAGES):
                told.append(piece)  # noqa: PERF401 (what came before the exception is wanted)

    with pytest.raises(ModelUnavailable, match="the chat model's answer broke off"):
        asyncio.run(asking())
    assert told == [Text("Hel")]
    assert len(chat.asked) == 1


def test_who_asks_to_wait_long_is_left_to_the_caller(chat: ScriptedChat) -> None:
    chat.reply = Scripted(status=429, headers={"Retry-After-Ms": "30000"})
    with pytest.raises(ModelUnavailable) as caught:
        ask(chat)
    assert caught.value.retry_after == 30
    assert len(chat.asked) == 1


@pytest.mark.parametrize("pieces", [[""], ["Hel"]], ids=["before the first piece", "behind it"])
def test_a_model_that_falls_silent_is_given_up(chat: ScriptedChat, pieces: list[str]) -> None:
    chat.reply = Scripted(pieces=[*pieces, "lo"], gate=threading.Event())
    with pytest.raises(ModelUnavailable):
        ask(chat, chat_timeout=0.2)
    assert len(chat.asked) == 1
    eventually(lambda: chat.disconnected == 1)


def test_an_endpoint_that_never_begins_is_given_up(chat: ScriptedChat) -> None:
    chat.reply = Scripted(text="late", plain=True, gate=threading.Event())
    with pytest.raises(ModelUnavailable, match="in time"):
        ask(chat, chat_timeout=0.2)


def test_a_finished_answer_needs_no_end(chat: ScriptedChat) -> None:
    finished = event({"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]})
    chat.reply = Scripted(raw=finished)
    assert ask(chat) == [Text("Hello")]


@pytest.mark.parametrize(
    ("status", "code", "raised"),
    [
        (401, "invalid_api_key", ModelUnavailable),
        (403, None, ModelUnavailable),
        (404, "model_not_found", ModelUnavailable),
        (400, "content_policy", ModelRefused),
        (413, None, ModelRefused),
    ],
)
def test_what_does_not_pass_is_told_at_once(
    chat: ScriptedChat, status: int, code: str | None, raised: type[Exception]
) -> None:
    chat.reply = Scripted(status=status, error={"message": "no", "code": code})
    with pytest.raises(raised, match=f"HTTP {status}" + (f", {code}" if code else "")):
        ask(chat)
    assert len(chat.asked) == 1


def test_an_endpoint_that_is_not_there_is_unavailable(chat: ScriptedChat) -> None:
    with pytest.raises(ModelUnavailable):
        ask(chat, openai_base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "refusal",
    [
        Scripted(finish="content_filter"),
        deltas({"refusal": "I will "}, {"refusal": "not"}, finish="stop"),
        Scripted(raw=event({"error": {"code": 400, "message": "no"}})),
    ],
)
def test_a_refusal_is_told_as_such(chat: ScriptedChat, refusal: Scripted) -> None:
    chat.reply = refusal
    with pytest.raises(ModelRefused):
        ask(chat)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>Welcome to the proxy</html>",
        b"data: no JSON\n\n",
        b'data: {"choices": 4}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b"{} {}",
        b"data: [DONE]\n\n",
        event({"choices": [{"delta": {"content": " "}, "finish_reason": "stop"}]}),
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_is_no_answer_is_garbage(chat: ScriptedChat, raw: bytes) -> None:
    chat.reply = Scripted(raw=raw)
    with pytest.raises(ModelGarbage):
        ask(chat)


# Leaving the endpoint alone


def test_after_some_failures_the_endpoint_is_left_alone(chat: ScriptedChat) -> None:
    chat.reply = Scripted(status=503)

    async def asking() -> None:
        model = configured(chat.settings(), Circuit(failures=2))
        for _ in range(3):
            with pytest.raises(ModelUnavailable) as caught:
                await listen(model)
        assert caught.value.retry_after is not None
        await model.close()

    asyncio.run(asking())
    assert len(chat.asked) == 2 * 3


def is_left_alone(chat: ScriptedChat, reply: Scripted, **more: Any) -> bool:
    """Whether `reply`, once, is enough of a failure that the next question is not sent."""
    chat.reply = reply

    async def asking() -> bool:
        model = configured(chat.settings(**more), Circuit(failures=1))
        with pytest.raises((ModelUnavailable, ModelRefused, ModelGarbage)):
            await listen(model)
        with pytest.raises((ModelUnavailable, ModelRefused, ModelGarbage)) as caught:
            await listen(model)
        await model.close()
        return "left alone" in str(caught.value)

    return asyncio.run(asking())


def error_inside(code: int) -> Scripted:
    return Scripted(raw=event({"error": {"message": "no", "code": code}}))


@pytest.mark.parametrize(
    "reply",
    [
        *(Scripted(status=status) for status in (502, 503, 504)),
        Scripted(cut=True),
        error_inside(503),
    ],
    ids=["502", "503", "504", "cut", "503 inside"],
)
def test_what_fails_whatever_it_is_asked_is_left_alone(chat: ScriptedChat, reply: Scripted) -> None:
    assert is_left_alone(chat, reply, chat_timeout=0.2)


def test_an_endpoint_that_is_not_there_is_left_alone(chat: ScriptedChat) -> None:
    assert is_left_alone(chat, Scripted(), openai_base_url="http://127.0.0.1:9/v1")


def test_an_endpoint_that_takes_connections_and_answers_nothing_at_all_is_left_alone(
    chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversing, "ALIVE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}/v1"
        assert is_left_alone(chat, Scripted(), openai_base_url=url, chat_timeout=0.2)


@pytest.mark.parametrize(
    "reply",
    [
        Scripted(pieces=["", "lo"], gate=threading.Event()),
        Scripted(text="late", plain=True, gate=threading.Event()),
        Scripted(status=429),
        Scripted(status=429, headers={"Retry-After-Ms": "30000"}),
        error_inside(429),
    ],
    ids=["slow", "slow to begin", "429", "429 for long", "429 inside"],
)
def test_what_is_slow_or_too_much_for_one_question_closes_the_endpoint_to_no_other(
    chat: ScriptedChat, reply: Scripted
) -> None:
    assert not is_left_alone(chat, reply, chat_timeout=0.2)


@pytest.mark.parametrize(
    "reply",
    [
        *(Scripted(status=status) for status in (400, 401, 403, 404, 500, 501)),
        error_inside(500),
        Scripted(raw=b"data: no JSON\n\n"),
        Scripted(pieces=["Hel", "lo"], cut=True),
    ],
    ids=["400", "401", "403", "404", "500", "501", "500 inside", "garbage", "broken off"],
)
def test_what_one_question_may_have_brought_about_is_not_held_against_the_endpoint(
    chat: ScriptedChat, reply: Scripted
) -> None:
    assert not is_left_alone(chat, reply)


@pytest.mark.parametrize(
    "answer",
    [Scripted(pieces=["Hel", "lo"]), Scripted(thoughts=["H", "m"], text="Hello"), deltas(*IN_PIECES)],
    ids=["text", "thoughts", "calls"],
)
def test_others_are_answered_from_the_moment_that_the_answer_on_trial_begins(
    chat: ScriptedChat, answer: Scripted
) -> None:
    gate, now = threading.Event(), 0.0
    chat.answers = [*[Scripted(status=503)] * 3, msgspec.structs.replace(answer, gate=gate)]

    async def asking() -> None:
        nonlocal now
        model = configured(chat.settings(), Circuit(failures=1, seconds=10, clock=lambda: now))
        with pytest.raises(ModelUnavailable, match="HTTP 503"):
            await listen(model)
        now = 10
        trial = asyncio.create_task(listen(model, tools=TOOLS))
        async with asyncio.timeout(5):
            assert heard(await as_soon_as_it_may(model)) == "Hello"
        assert not trial.done()
        gate.set()
        assert await trial
        await model.close()

    asyncio.run(asking())


async def as_soon_as_it_may(model: ConversingModel) -> list[Piece]:
    while True:
        await asyncio.sleep(0.005)  # behind the trial
        with suppress(ModelUnavailable):
            return await listen(model)


# Leaving


def leaves_early(chat: ScriptedChat, leave: Callable[[ConversingModel], Coroutine[Any, Any, None]]) -> None:
    chat.reply = Scripted(pieces=["Hel", "lo"], gate=threading.Event())

    async def asking() -> None:
        async with model_of(chat) as model:
            await leave(model)
            # Before the client closes: that closes every connection.
            await asyncio.to_thread(eventually, lambda: chat.disconnected == 1)

    asyncio.run(asking())


def test_closing_the_iterator_closes_the_connection(chat: ScriptedChat) -> None:
    async def leave(model: ConversingModel) -> None:
        async with aclosing(model.stream(MESSAGES)) as pieces:
            assert await anext(pieces) == Text("Hel")

    leaves_early(chat, leave)


def test_cancelling_the_task_closes_the_connection(chat: ScriptedChat) -> None:
    async def leave(model: ConversingModel) -> None:
        first = asyncio.Event()

        async def listening() -> None:
            async for _ in model.stream(MESSAGES):
                first.set()

        task = asyncio.create_task(listening())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    leaves_early(chat, leave)


# What is told


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(status=401, error={"message": f"Incorrect API key provided: {KEY}", "code": KEY}),
        Scripted(status=400, error={"message": f"cannot take: {SAID}", "code": SAID}),
        Scripted(status=503, error=f"{KEY} {SAID}"),
        Scripted(raw=f"data: {KEY} {SAID}\n\n".encode()),
        Scripted(raw=f'data: {{"choices": "{KEY} {SAID}"}}\n\n'.encode()),
        Scripted(raw=event({"error": {"message": f"{KEY} {SAID}", "code": SAID}})),
        deltas({"refusal": SAID}, finish="stop"),
        Scripted(pieces=[SAID, SAID], cut=True),
        Scripted(status=400, error=f"no image: {SAID}"),
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_no_exception_tells_the_key_or_the_messages_not_even_in_its_traceback(
    chat: ScriptedChat, answer: Scripted
) -> None:
    chat.reply = answer
    with pytest.raises((ModelUnavailable, ModelRefused, ModelGarbage)) as caught:
        ask(chat, WITH_IMAGE)
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    assert SAID not in told


def test_what_cannot_be_sent_is_refused(chat: ScriptedChat) -> None:
    with pytest.raises(ModelRefused):
        ask(chat, [{"role": "user", "content": "\ud800"}])
    with pytest.raises(ModelUnavailable, match="not ASCII"):
        ask(chat, openai_api_key="schlüssel")
    assert chat.asked == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
near_calls = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | st.none(),
        "id": st.sampled_from(["a", "b", ""]) | st.none(),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["weather", "notes", "no", "tes"]) | st.none(),
                "arguments": st.sampled_from(['{"', "{}", 'a":1}', ""]) | anything,
            },
        ),
    },
)
near_deltas = st.fixed_dictionaries(
    {},
    optional={
        "content": st.sampled_from(["<th", "ink>", "</", "think>", "Hello"]) | anything,
        "reasoning": anything,
        "tool_calls": st.lists(near_calls, max_size=3) | anything,
    },
)
near_chunks = st.builds(
    lambda delta, finish, usage: {"choices": [{"delta": delta, "finish_reason": finish}], "usage": usage},
    near_deltas | anything,
    st.sampled_from([None, "stop", "length", "content_filter"]),
    anything,
)
any_chunks: st.SearchStrategy[Any] = near_chunks | anything
near_streams = st.lists(any_chunks.map(event), max_size=4).map(b"".join)


@pytest.fixture(scope="module")
def garbling() -> Iterator[tuple[ScriptedChat, asyncio.Runner, ConversingModel]]:
    chat = ScriptedChat()
    model = configured(chat.settings(), Circuit(failures=1_000_000))
    with asyncio.Runner() as runner:
        yield chat, runner, model
        runner.run(model.close())
    chat.close()


@settings(max_examples=150, deadline=None)
@given(body=(st.binary() | near_streams | near_streams.map(lambda stream: stream + b"data: [DONE]\n\n")))
@example(body=event({"choices": [{"delta": {"tool_calls": [{}]}, "finish_reason": "stop"}]}))
@example(body=b'{"error": 4}')
def test_whatever_the_endpoint_streams_there_are_only_three_exceptions(
    garbling: tuple[ScriptedChat, asyncio.Runner, ConversingModel], body: bytes
) -> None:
    chat, runner, model = garbling
    tries = iter([Scripted(raw=body)])
    chat.reply = lambda _: next(tries, Scripted(status=401))  # else what passes would be waited for
    try:
        pieces = runner.run(listen(model, tools=TOOLS))
    except (ModelUnavailable, ModelRefused, ModelGarbage):
        return
    assert all(call.name for call in pieces if isinstance(call, Call))
    assert heard(pieces) or called_anything(pieces)


def called_anything(pieces: Sequence[Piece]) -> bool:
    return any(isinstance(piece, Call) for piece in pieces)
