"""Conversing with a chat model behind any OpenAI-compatible endpoint: streamed, with tool calls.

The stream's lines are decoded here, for the `openai` client stops at the first of the many small things
in which endpoints differ from OpenAI's own.
"""

import asyncio
import logging
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any
from uuid import uuid4

import msgspec
import openai
from openai import AsyncAPIResponse

from providers.chat_model import (
    REFUSING,
    RETRIES,
    ModelGarbage,
    ModelRefused,
    ModelUnavailable,
    Tokens,
    failure,
    unsendable,
)
from providers.circuit import Circuit, CircuitOpen
from runtime.settings import Settings

log = logging.getLogger(__name__)

LONGEST_SECONDS = 600.0
"""Of a whole stream: an endpoint that only keeps the connection alive is given up then."""
AFTERWARDS_SECONDS = 5.0
"""For what may follow the end of the answer: the usage, and the stream's own end."""
DRAIN_SECONDS = 0.2
"""For the end of a response: one read to its end leaves its connection to the next."""
FIRST_PAUSE_SECONDS = 0.5
"""Before another try, where the endpoint asks for none; the next one is twice as long."""
LONGEST_PAUSE_SECONDS = 5.0
"""An endpoint that asks for a longer one is left to the caller."""
LONGEST_LINE_BYTES = 16_000_000

TOOLS = re.compile(r"\btools?\b|\bfunctions?\b", re.IGNORECASE)
TOOL_CHOICE = re.compile(r"tool[_ ]choice", re.IGNORECASE)
NO_TOOLS = re.compile(r"support (for )?(tool|function)|(tool|function)s?\b.{0,40}\b(support|requires?)", re.I)
"""How endpoints say it whose status says something else: Ollama, OpenRouter, llama.cpp."""
IMAGES = re.compile(r"image|vision|multi-?modal|mmproj|content.{0,80}(part|string)", re.IGNORECASE)
NOT_LACKING = re.compile(r"context[_ ](length|size|window)|tools[\[.]\d", re.IGNORECASE)
"""What is too long, or has one wrong tool, may pass without tools, which would prove nothing about them."""

OPENING, CLOSING = "<think>", "</think>"


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of what the model thinks before it answers."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """One whole call of a tool; `arguments` is the JSON text that the model wrote, right or wrong."""

    id: str
    name: str
    arguments: str


class Used(msgspec.Struct, frozen=True):
    """What the answer took, where the endpoint says so. Thoughts are part of the output, and what was
    read from the endpoint's cache is part of the input."""

    input_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    cache_read_tokens: int = 0


Piece = Text | Thought | Call | Used
_Response = AsyncAPIResponse[Any]


class Tool(msgspec.Struct, frozen=True):
    """What the model may call; `parameters` is the JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ImagesRefused(ModelRefused):
    """The model takes no images; it may answer the same without them."""


class _Passing(ModelUnavailable):
    """Worth another try at once, or after `retry_after` seconds."""


class _Question(msgspec.Struct, frozen=True):
    messages: Sequence[dict[str, Any]]
    tools: Sequence[Tool]
    force: str | None
    max_tokens: int | None

    @property
    def shows_images(self) -> bool:
        contents = [message.get("content") for message in self.messages]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)

    def body(self, model: str, lacking: frozenset[str]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "messages": list(self.messages), "stream": True}
        if "stream_options" not in lacking:
            body["stream_options"] = {"include_usage": True}
        if self.max_tokens is not None:
            body["max_completion_tokens" if "max_tokens" in lacking else "max_tokens"] = self.max_tokens
        if self.tools and "tools" not in lacking:
            body |= self._tools(lacking)
        return body

    def _tools(self, lacking: frozenset[str]) -> dict[str, Any]:
        offered = [msgspec.structs.asdict(tool) for tool in self.tools]
        if self.force is None:
            return {"tools": _functions(offered)}
        if "named tool_choice" not in lacking:
            named = {"type": "function", "function": {"name": self.force}}
            return {"tools": _functions(offered), "tool_choice": named}
        only = {"tools": _functions([tool for tool in offered if tool["name"] == self.force])}
        return only if "tool_choice" in lacking else {**only, "tool_choice": "required"}


def _functions(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": tool} for tool in tools]


class ConversingModel:
    """Answers piece by piece, or raises ModelUnavailable, ModelRefused or ModelGarbage.

    The texts of the exceptions, and of what a traceback prints with them, hold neither the key nor
    anything of the messages. For one event loop, any number of streams at once.
    """

    def __init__(self, settings: Settings, circuit: Circuit | None = None) -> None:
        self.name = settings.chat_model
        self._patience = settings.chat_timeout
        self._client = openai.AsyncOpenAI(
            api_key=settings.openai_api_key or "none",  # local endpoints want none, the client wants some
            base_url=settings.openai_base_url,
            timeout=LONGEST_SECONDS,  # time limits and other tries are seen to here
            max_retries=0,
        )
        self._circuit = circuit or Circuit()
        self._lacking: frozenset[str] = frozenset()
        """What the endpoint is known not to take."""

    async def stream(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Tool] = (),
        force: str | None = None,
        max_tokens: int | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """The answer to OpenAI chat `messages`: thoughts and text as they come, calls, what it took.

        `force` names the tool to call. No Call ever comes of an endpoint that takes no tools. An answer cut
        off at `max_tokens` just ends. Closing the iterator closes the connection.
        """
        question = _Question(messages, tools, force, max_tokens)
        try:
            with self._circuit.guard(ModelUnavailable):
                async with aclosing(self._patiently(question)) as pieces:
                    async for piece in pieces:
                        yield piece
        except CircuitOpen as circuit:
            raise ModelUnavailable(
                "the chat endpoint keeps failing and is left alone for a while", circuit.seconds
            ) from None

    async def close(self) -> None:
        await self._client.close()

    async def _patiently(self, question: _Question) -> AsyncGenerator[Piece, None]:
        """Asks again while nothing has been said."""
        for pause in (*_pauses(), None):
            begun = False
            try:
                async with aclosing(self._answer(question)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except ModelUnavailable as error:
                if begun:
                    raise ModelUnavailable("the chat model's answer broke off") from None
                asked = error.retry_after or 0.0
                if not isinstance(error, _Passing) or pause is None or asked > LONGEST_PAUSE_SECONDS:
                    raise ModelUnavailable(str(error), error.retry_after) from None
                await asyncio.sleep(pause if error.retry_after is None else asked)
            else:
                return

    async def _answer(self, question: _Question) -> AsyncGenerator[Piece, None]:
        answer = _Answer({tool.name for tool in question.tools})
        lines = _Lines()
        clock = asyncio.get_running_loop().time
        deadline = clock() + LONGEST_SECONDS
        async with AsyncExitStack() as stack:
            chunks = (await self._response(stack, question)).iter_bytes()
            while not lines.done:
                chunk = await self._next(chunks, deadline, answer.finished)
                for data in lines.end() if chunk is None else lines.take(chunk):
                    for piece in answer.take(data):
                        yield piece
                if chunk is None:
                    break
            for piece in answer.end(lines.done):
                yield piece
            await self._next(chunks, clock() + DRAIN_SECONDS, finished=True)

    async def _next(self, chunks: AsyncIterator[bytes], deadline: float, finished: bool) -> bytes | None:
        """The next bytes; None at the end, which is also where a finished answer breaks off."""
        left = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(left, AFTERWARDS_SECONDS if finished else self._patience)):
                return await anext(chunks, None)
        except Exception as error:  # whatever the HTTP client of the client raises: nothing of ours runs here
            if finished:
                return None
            if isinstance(error, TimeoutError):
                raise ModelUnavailable("the chat model did not answer in time") from None
            raise _Passing(f"the chat model's answer broke off: {type(error).__name__}") from None

    async def _response(self, stack: AsyncExitStack, question: _Question) -> _Response:
        lacking = self._lacking
        while True:
            body = question.body(self.name, lacking)
            try:
                async with asyncio.timeout(self._patience):
                    create = self._client.chat.completions.with_streaming_response.create
                    response: _Response = await stack.enter_async_context(create(**body))
            except openai.APIStatusError as error:
                complaints = _complaints(error, body) - lacking
                if not complaints:
                    raise _failure(error, question) from None
                lacking |= complaints
            except UnicodeEncodeError as error:
                raise unsendable(error) from None
            except TimeoutError:
                raise ModelUnavailable("the chat endpoint did not answer in time") from None
            except Exception as error:
                raise _Passing(f"no answer of the chat endpoint: {type(error).__name__}") from None
            else:
                if lacking - self._lacking:
                    log.warning("%s: the endpoint does not take %s", self.name, ", ".join(sorted(lacking)))
                    self._lacking |= lacking
                return response


def conversing_model_for(settings: Settings) -> ConversingModel | None:
    """None where no chat model is configured."""
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return None
    return ConversingModel(settings)


def _pauses() -> Iterator[float]:
    """Seconds before each other try."""
    for tried in range(RETRIES):
        yield FIRST_PAUSE_SECONDS * 2**tried * random.uniform(0.5, 1)  # noqa: S311


def _complaints(error: openai.APIStatusError, body: dict[str, Any]) -> frozenset[str]:
    """What of `body` the endpoint does not take, as far as its error tells."""
    text = str(error.param or error.message)
    if NOT_LACKING.search(error.message):
        return frozenset()
    if error.status_code not in {400, 422}:
        unsupported = "tools" in body and error.status_code in {404, 500, 501} and NO_TOOLS.search(text)
        return frozenset({"tools"} if unsupported else ())
    found: set[str] = {name for name in ("max_tokens", "stream_options") if name in body and name in text}
    if "tools" in body and TOOL_CHOICE.search(text):
        match body.get("tool_choice"):
            case None:
                found.add("tools")
            case "required":
                found.add("tool_choice")
            case _:
                found.add("named tool_choice")
    elif "tools" in body and TOOLS.search(text):
        found.add("tools")
    return frozenset(found)


def _failure(error: openai.APIStatusError, question: _Question) -> Exception:
    images = error.status_code in {400, 404, 415, 422, 500, 501} and IMAGES.search(error.message)
    if images and question.shows_images:
        return ImagesRefused(f"the chat model takes no images: HTTP {error.status_code}")
    failed = failure(error)
    if isinstance(failed, ModelUnavailable) and (error.status_code == 429 or error.status_code >= 500):
        return _Passing(str(failed), failed.retry_after)
    return failed


class _Lines:
    """Finds the JSON texts in the bytes of a stream of events, or of one JSON text in its place."""

    def __init__(self) -> None:
        self.done = False
        """Whether the stream said that it is at its end."""
        self._rest = b""
        self._begun = False
        self._plain = False
        """Whether this is no stream: the endpoint takes no notice of `stream`."""

    def take(self, chunk: bytes) -> Iterator[bytes]:
        self._rest += chunk
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise ModelGarbage("the chat endpoint answered a line without end")
        if not self._begun:
            self._rest = self._rest.removeprefix(b"\xef\xbb\xbf").lstrip()
            self._begun = bool(self._rest)
            self._plain = self._rest.startswith(b"{")
        if self._plain or b"\n" not in chunk:
            return
        *lines, self._rest = self._rest.split(b"\n")
        yield from self._data(lines)

    def end(self) -> Iterator[bytes]:
        if self._plain:
            self.done = True
            yield self._rest
        else:
            yield from self._data([self._rest])

    def _data(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            name, _, value = line.partition(b":")
            if name != b"data" or not value.strip() or self.done:
                continue
            self.done = value.strip() == b"[DONE]"
            if not self.done:
                yield value


class _FunctionDelta(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _FunctionDelta | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    """In place of `delta` where the endpoint takes no notice of `stream`."""
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None


class _Answer:
    """Makes pieces of the chunks of one answer."""

    def __init__(self, tools: set[str]) -> None:
        self._tools = tools
        self._thinking = _Thinking()
        self._calls = _Calls(tools)
        self._usage: object = None
        self._finish: str | None = None
        self._refusal = False
        self._heard = False
        self._said = False

    @property
    def finished(self) -> bool:
        return self._finish is not None

    def take(self, data: bytes) -> Iterator[Piece]:
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ModelGarbage("the chat endpoint answered something else than a chat completion") from None
        if chunk.error or chunk.object == "error":
            raise _told(chunk.error)
        self._heard = True
        self._usage = chunk.usage or self._usage
        for choice in (chunk.choices or [])[:1]:
            self._finish = choice.finish_reason or self._finish
            yield from self._spoken(choice.delta or choice.message or _Delta())

    def _spoken(self, delta: _Delta) -> Iterator[Piece]:
        thought = _text(delta.reasoning_content) or _text(delta.reasoning)
        if thought:
            yield Thought(thought)
        yield from self._noted(self._thinking.take(_text(delta.content)))
        self._refusal = self._refusal or bool(_text(delta.refusal))
        for call in delta.tool_calls or []:
            self._calls.take(call)

    def _noted(self, pieces: Iterator[Text | Thought]) -> Iterator[Piece]:
        for piece in pieces:
            self._said = self._said or (isinstance(piece, Text) and bool(piece.text.strip()))
            yield piece

    def end(self, done: bool) -> Iterator[Piece]:
        """What is left; `done`: the stream said that it is at its end."""
        if self._heard and not (done or self.finished):
            raise _Passing("the chat model's answer broke off")
        yield from self._noted(self._thinking.end())
        calls = self._calls.whole() if self._finish == "length" else self._calls.all()
        yield from calls
        if (used := _used(self._usage)) is not None:
            yield used
        if self._said or calls:
            return
        if self._refusal or self._finish == "content_filter":
            raise ModelRefused("the chat model refused to answer")
        if self._finish == "length":
            raise ModelGarbage("the chat model's answer was cut off at its token limit before it began")
        raise ModelGarbage("the chat model answered nothing")


class _Thinking:
    """Tells thoughts from text in content that begins with `<think>`, as local reasoning models write it."""

    def __init__(self) -> None:
        self._held = ""
        self._at: type[Text | Thought] | None = None
        """None: nothing has been said yet."""
        self._trims = False
        """Whether nothing but white space has come since the last tag."""

    def take(self, content: str) -> Iterator[Text | Thought]:
        self._held += content
        if self._at is None:
            begun = self._held.lstrip()
            if OPENING.startswith(begun) and begun != OPENING:
                return
            if begun.startswith(OPENING):
                self._at, self._held, self._trims = Thought, begun.removeprefix(OPENING), True
            else:
                self._at = Text
        if self._at is Thought:
            thought, closed, text = self._held.partition(CLOSING)
            kept = 0 if closed else _overlap(thought, CLOSING)
            yield from self._trimmed(Thought, thought[: len(thought) - kept])
            self._held = text if closed else thought[len(thought) - kept :]
            if not closed:
                return
            self._at, self._trims = Text, True
        text, self._held = self._held, ""
        yield from self._trimmed(Text, text)

    def _trimmed(self, kind: type[Text | Thought], text: str) -> Iterator[Text | Thought]:
        if self._trims:
            text = text.lstrip()
        if text:
            self._trims = False
            yield kind(text)

    def end(self) -> Iterator[Text | Thought]:
        if self._held:
            yield (self._at or Text)(self._held)


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    return next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)


class _Draft(msgspec.Struct):
    id: str | None = None
    name: str = ""
    arguments: str = ""

    @property
    def whole(self) -> bool:
        try:
            return isinstance(msgspec.json.decode(self.arguments or "{}"), dict)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False


class _Calls:
    """Puts calls together from their pieces, which endpoints number, name and cut as they like."""

    def __init__(self, tools: set[str]) -> None:
        self._tools = tools
        self._drafts: list[_Draft] = []
        self._at: dict[int, _Draft] = {}

    def take(self, delta: _CallDelta) -> None:
        function = delta.function or _FunctionDelta()
        draft = self._draft(delta, function.name or "")
        draft.id = draft.id or delta.id
        if function.name and (draft.name not in self._tools or draft.name + function.name in self._tools):
            draft.name += function.name  # else it is said once more
        arguments = function.arguments or ""
        draft.arguments += (
            arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        )

    def all(self) -> list[Call]:
        return [
            Call(draft.id or f"call_{uuid4().hex}", draft.name, draft.arguments or "{}")
            for draft in self._drafts
            if draft.name in self._tools
        ]

    def whole(self) -> list[Call]:
        """Without what was cut off."""
        self._drafts = [draft for draft in self._drafts if draft.whole]
        return self.all()

    def _draft(self, delta: _CallDelta, name: str) -> _Draft:
        """The call that `delta` goes on with, or a new one."""
        if delta.id:
            for draft in self._drafts:
                if draft.id == delta.id:
                    return draft
        last = self._drafts[-1] if self._drafts else None
        known = last if delta.index is None else self._at.get(delta.index)
        if known is None or _starts_another(known, delta, name):
            known = _Draft()
            self._drafts.append(known)
            if delta.index is not None:
                self._at[delta.index] = known
        return known


def _starts_another(draft: _Draft, delta: _CallDelta, name: str) -> bool:
    """Some endpoints number all calls alike, or not at all; then a name behind a whole call tells."""
    if not name or not draft.whole:
        return False
    if delta.id and draft.id:
        return True  # they differ
    return delta.index is None and bool(draft.arguments)


def _text(content: object) -> str:
    """Content as it is, or the text in its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _told(error: object) -> Exception:
    """The exception to raise for an error inside of a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and code in REFUSING:
        return ModelRefused(f"the chat endpoint does not take this request: {code}")
    return _Passing("the chat endpoint failed in its answer")


class _Thoughts(msgspec.Struct):
    reasoning_tokens: Tokens = 0


class _Cached(msgspec.Struct):
    cached_tokens: Tokens = 0


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    completion_tokens_details: _Thoughts | None = None
    prompt_tokens_details: _Cached | None = None


def _used(usage: object) -> Used | None:
    try:
        counted = msgspec.convert(usage, _Usage)
    except msgspec.ValidationError:
        return None
    thoughts, cached = counted.completion_tokens_details, counted.prompt_tokens_details
    return Used(
        counted.prompt_tokens,
        counted.completion_tokens,
        thoughts.reasoning_tokens if thoughts else 0,
        cached.cached_tokens if cached else 0,
    )
