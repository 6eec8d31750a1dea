"""Conversing with a chat model behind any OpenAI-compatible endpoint: streamed, with tool calls."""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
import openai
from openai import AsyncAPIResponse

from providers.models.chat_model import (
    RETRIES,
    TIMEOUT_SECONDS,
    ModelRefused,
    ModelUnavailable,
    failure,
    unsendable,
)
from providers.models.circuit import Circuit, CircuitOpen
from providers.models.endpoint import Endpoint
from providers.models.streamed_answer import (
    MISCALLED,
    UNREACHABLE,
    Down,
    Lines,
    Miscalled,
    Passing,
    Piece,
    StreamedAnswer,
    Unreachable,
)

log = logging.getLogger(__name__)

LONGEST_SECONDS = 600.0
"""Of a whole stream: an endpoint that only keeps the connection alive is given up then."""
CONNECT_SECONDS = 10.0
ALIVE_SECONDS = 5.0
"""For a sign of life of an endpoint that did not answer in time."""
REMEMBERED_SECONDS = 600.0
"""Of what an endpoint does not take, and how its model talks: it may be another one by then."""
AFTERWARDS_SECONDS = 5.0
"""For what may follow the end of the answer: the usage, and the stream's own end."""
DRAIN_SECONDS = 0.2
"""For the end of a response: one read to its end leaves its connection to the next."""
FIRST_PAUSE_SECONDS = 0.5
"""Before another try, where the endpoint asks for none; the next one is twice as long."""
LONGEST_PAUSE_SECONDS = 5.0
"""An endpoint that asks for a longer one is left to the caller."""

TOOLS = re.compile(r"\btools?\b|\bfunctions?\b", re.IGNORECASE)
TOOL_CHOICE = re.compile(r"tool[_ ]choice", re.IGNORECASE)
NO_TOOLS = re.compile(
    r"(not|n't|found that) support (for )?(the |any )?(use of )?\W?(tool|function)"
    r"|\b(tool|function)(s|_choice)?\b.{0,40}"
    r"(unsupported|requires? --|(not|n't) (be |yet )?(support|permit|enabl))"
    r"|\btools? param requires"
    r"|\b(unknown|unrecogni[sz]ed|unsupported|unexpected|extra|additional) (\w+ )?"
    r"(argument|parameter|param|field|name|key|keyword|propert|input)\w*\b.{0,60}\b(tool|function)s?\b",
    re.IGNORECASE | re.DOTALL,
)
"""How endpoints say that they take none at all, whatever the status; else a call of the model's failed."""
IMAGES = re.compile(r"image|vision|multi-?modal|mmproj|content.{0,80}(part|string)", re.IGNORECASE)
NOT_LACKING = re.compile(r"context[_ ](length|size|window)|tools[\[.]\d", re.IGNORECASE)
"""What is too long, or has one wrong tool, may pass without tools, which would prove nothing about them."""

NO_CALLS = "tool_choice none"

_Response = AsyncAPIResponse[Any]


class Tool(msgspec.Struct, frozen=True):
    """What the model may call; `parameters` is the JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ImagesRefused(ModelRefused):
    """The model takes no images; it may answer the same without them."""


class _Slow(ModelUnavailable):
    """No answer in time, of an endpoint that may have enough to do with others."""


class _Question(msgspec.Struct, frozen=True):
    messages: Sequence[dict[str, Any]]
    tools: Sequence[Tool]
    force: str | None
    max_tokens: int | None
    may_call: bool

    @property
    def shows_images(self) -> bool:
        contents = [message.get("content") for message in self.messages]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)

    def without_tools(self) -> "_Question":
        return msgspec.structs.replace(self, tools=(), force=None)

    def body(self, model: str, lacking: frozenset[str]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "messages": alternating(self.messages), "stream": True}
        if "stream_options" not in lacking:
            body["stream_options"] = {"include_usage": True}
        if self.max_tokens is not None:
            body["max_completion_tokens" if "max_tokens" in lacking else "max_tokens"] = self.max_tokens
        if self.tools and "tools" not in lacking:
            body |= self._tools(lacking)
        return body

    def _tools(self, lacking: frozenset[str]) -> dict[str, Any]:
        offered = [msgspec.structs.asdict(tool) for tool in self.tools]
        if not self.may_call:
            none = {"tools": _functions(offered), "tool_choice": "none"}
            return {} if lacking & {"tool_choice", NO_CALLS} else none
        if self.force is None:
            return {"tools": _functions(offered)}
        if "named tool_choice" not in lacking:
            named = {"type": "function", "function": {"name": self.force}}
            return {"tools": _functions(offered), "tool_choice": named}
        only = {"tools": _functions([tool for tool in offered if tool["name"] == self.force])}
        return only if "tool_choice" in lacking else {**only, "tool_choice": "required"}


def alternating(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """With neighbouring texts of the user, or of the assistant, as one: many templates want turns.

    What calls tools, or has anything else beside its role and content, stays as it is.
    """
    merged: list[dict[str, Any]] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last and _mergeable(last) and _mergeable(message) and last["role"] == message["role"]:
            merged[-1] = {**last, "content": _both(last["content"], message["content"])}
        else:
            merged.append(message)
    return merged


def _mergeable(message: dict[str, Any]) -> bool:
    said = message.keys() == {"role", "content"} and message["role"] in {"user", "assistant"}
    return said and isinstance(message["content"], str | list)


def _both(first: str | list[Any], second: str | list[Any]) -> str | list[Any]:
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(text for text in (first, second) if text)
    return [*_parts(first), *_parts(second)]


def _parts(content: str | list[Any]) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _functions(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": tool} for tool in tools]


class ConversingModel:
    """Answers piece by piece, or raises ModelUnavailable, ModelRefused or ModelGarbage.

    The texts of the exceptions, and of what a traceback prints with them, hold neither the key nor
    anything of the messages. For one event loop, any number of streams at once.
    """

    def __init__(
        self, endpoint: Endpoint, name: str, patience: float = TIMEOUT_SECONDS, circuit: Circuit | None = None
    ) -> None:
        """`patience`: seconds until the next piece of a stream must have come."""
        self.name = name
        self._patience = patience
        # Time limits and other tries are seen to here.
        self._client = endpoint.async_client(openai.Timeout(LONGEST_SECONDS, connect=CONNECT_SECONDS), 0)
        self._circuit = circuit or Circuit()
        self._lacked: dict[str, float] = {}
        """What the endpoint is known not to take, and until when that is believed."""
        self._talked_until = 0.0

    async def stream(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[Tool] = (),
        force: str | None = None,
        max_tokens: int | None = None,
        may_call: bool = True,
    ) -> AsyncGenerator[Piece, None]:
        """The answer to OpenAI chat `messages`: thoughts and text as they come, calls, what it took.

        `force` names the tool to call; unless it `may_call` the model is told of the tools only because some
        endpoints take no messages of tools without them. A Call may come in any case. An answer that is cut
        off, at `max_tokens` or at LONGEST_CHARACTERS, ends with CutOff. Closing the iterator closes the
        connection.
        """
        question = _Question(messages, tools, force, max_tokens, may_call)
        async with aclosing(self._insistently(question)) as pieces:
            piece = await self._first(pieces)
            if piece is not None:
                yield piece
            async for piece in pieces:
                if piece is not None:
                    yield piece

    @property
    def talks_first(self) -> bool:
        """Whether it has said something before it called a tool, not long ago."""
        return time.monotonic() < self._talked_until

    def note_talk(self) -> None:
        """It said something before it called a tool."""
        self._talked_until = time.monotonic() + REMEMBERED_SECONDS

    async def close(self) -> None:
        await self._client.close()

    async def _first(self, pieces: AsyncIterator[Piece | None]) -> Piece | None:
        """What begins the answer. It is all that the circuit waits for: an answer may take minutes."""
        try:
            with self._circuit.guard(Down):
                return await self._begun(pieces)
        except CircuitOpen as circuit:
            raise ModelUnavailable(
                "the chat endpoint keeps failing and is left alone for a while", circuit.seconds
            ) from None

    async def _begun(self, pieces: AsyncIterator[Piece | None]) -> Piece | None:
        """As anext. Raises Down for an endpoint that is too slow only where it shows no sign of life."""
        try:
            return await anext(pieces)
        except _Slow as slow:
            if await self._is_alive():
                raise
            raise Down(str(slow)) from None

    async def _is_alive(self) -> bool:
        """Whether the endpoint answers anything at all."""
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await self._client.models.with_raw_response.list()
        except openai.APIStatusError:
            return True
        except Exception:  # as for a question
            return False
        return True

    async def _insistently(self, question: _Question) -> AsyncGenerator[Piece | None, None]:
        """Asks a model that fails at its call once more, then without tools."""
        for asked in (question, question):
            begun = False
            try:
                async with aclosing(self._patiently(asked)) as pieces:
                    async for piece in pieces:
                        begun = begun or piece is not None
                        yield piece
            except Miscalled:
                if begun:
                    raise
            else:
                return
        log.info("%s failed at calling a tool: asking without tools", self.name)
        async with aclosing(self._patiently(question.without_tools())) as pieces:
            async for piece in pieces:
                yield piece

    async def _patiently(self, question: _Question) -> AsyncGenerator[Piece | None, None]:
        """Asks again while nothing has been said. None: the model is writing a call."""
        for pause in (*_pauses(), None):
            begun = False
            try:
                async with aclosing(self._answer(question)) as pieces:
                    async for piece in pieces:
                        begun = begun or piece is not None
                        yield piece
            except ModelUnavailable as error:
                if begun:
                    raise ModelUnavailable("the chat model's answer broke off") from None
                asked = error.retry_after or 0.0
                if not isinstance(error, Passing) or pause is None or asked > LONGEST_PAUSE_SECONDS:
                    raise
                await asyncio.sleep(pause if error.retry_after is None else asked)
            else:
                return

    async def _answer(self, question: _Question) -> AsyncGenerator[Piece | None, None]:
        answer = StreamedAnswer({tool.name for tool in question.tools})
        lines = Lines()
        clock = asyncio.get_running_loop().time
        deadline = clock() + LONGEST_SECONDS
        async with AsyncExitStack() as stack:
            chunks = (await self._response(stack, question)).iter_bytes()
            while not (lines.done or answer.full):
                chunk = await self._next(chunks, deadline, answer.finished)
                for data in lines.end() if chunk is None else lines.take(chunk):
                    for piece in answer.take(data):
                        yield piece
                if chunk is None:
                    break
                if answer.calling:
                    yield None
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
                raise _Slow("the chat model did not answer in time") from None
            log.info("an answer broke off: %s", type(error).__name__)
            raise Unreachable("the chat model's answer broke off") from None

    async def _response(self, stack: AsyncExitStack, question: _Question) -> _Response:
        known = lacking = self._lacking()
        while True:
            body = question.body(self.name, lacking)
            try:
                async with asyncio.timeout(self._patience):
                    create = self._client.chat.completions.with_streaming_response.create
                    response: _Response = await stack.enter_async_context(create(**body))
            except openai.APIStatusError as error:
                complaints = _complaints(error, body) - lacking
                if not complaints:
                    raise _failure(error, question, body) from None
                lacking |= complaints
            except UnicodeEncodeError as error:
                raise unsendable(error) from None
            except TimeoutError:
                raise _Slow("the chat endpoint did not answer in time") from None
            except Exception as error:
                log.warning("no answer of the chat endpoint: %s", type(error).__name__)
                raise Unreachable("the chat endpoint cannot be reached") from None
            else:
                self._learn(lacking - known)
                return response

    def _lacking(self) -> frozenset[str]:
        """What the endpoint is known not to take."""
        now = time.monotonic()
        return frozenset(name for name, until in self._lacked.items() if now < until)

    def _learn(self, lacking: Iterable[str]) -> None:
        for name in sorted(lacking):
            log.warning("%s: the endpoint does not take %s", self.name, name)
            self._lacked[name] = time.monotonic() + REMEMBERED_SECONDS


def _pauses() -> Iterator[float]:
    """Seconds before each other try."""
    for tried in range(RETRIES):
        yield FIRST_PAUSE_SECONDS * 2**tried * random.uniform(0.5, 1)  # noqa: S311


def _complaints(error: openai.APIStatusError, body: dict[str, Any]) -> frozenset[str]:
    """What of `body` the endpoint does not take, as far as its error tells."""
    text = str(error.param or error.message)
    if NOT_LACKING.search(error.message) or error.code == MISCALLED:
        return frozenset()
    no_tools = "tools" in body and NO_TOOLS.search(f"{error.message} {error.param or ''}")
    if error.status_code not in {400, 422}:
        return frozenset({"tools"} if no_tools and error.status_code in {404, 500, 501} else ())
    found: set[str] = {name for name in ("max_tokens", "stream_options") if name in body and name in text}
    if "tool_choice" in body and TOOL_CHOICE.search(text):
        found.add(_choice(body["tool_choice"]))
    elif no_tools:
        found.add("tools")
    return frozenset(found)


def _choice(choice: object) -> str:
    """The kind of a `tool_choice`."""
    match choice:
        case "none":
            return NO_CALLS
        case "required":
            return "tool_choice"
        case _:
            return "named tool_choice"


def _failure(error: openai.APIStatusError, question: _Question, body: dict[str, Any]) -> Exception:
    images = error.status_code in {400, 404, 415, 422, 500, 501} and IMAGES.search(error.message)
    if images and question.shows_images:
        return ImagesRefused(f"the chat model takes no images: HTTP {error.status_code}")
    if error.status_code in {400, 422} and "tools" in body and _is_miscall(error):
        return Miscalled(f"the chat model failed at calling a tool: HTTP {error.status_code}")
    failed = failure(error)
    if isinstance(failed, ModelUnavailable) and (error.status_code == 429 or error.status_code >= 500):
        kind = Unreachable if error.status_code in UNREACHABLE else Passing
        return kind(str(failed), failed.retry_after)
    return failed


def _is_miscall(error: openai.APIStatusError) -> bool:
    """Whether it is about a tool, and not about what is sent."""
    return error.code == MISCALLED or bool(
        TOOLS.search(error.message) and not NOT_LACKING.search(error.message)
    )
