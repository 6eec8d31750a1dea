"""The answer of a chat model as it streams in: bytes to lines, lines to chunks, chunks to pieces.

Decoded here, for the `openai` client stops at the first of the many small things in which endpoints differ
from OpenAI's own.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec

from providers.models.chat_model import REFUSING, ModelGarbage, ModelRefused, ModelUnavailable, Tokens

LONGEST_LINE_BYTES = 16_000_000
LONGEST_CHARACTERS = 400_000
"""Of one answer: its text, thoughts and calls. A model that goes on beyond repeats itself."""
OPENING, CLOSING = "<think>", "</think>"
HALF = re.compile(r"[\ud800-\udfff]")
FIRST_HALF = re.compile(r"[\ud800-\udbff]\Z")
"""Of a character beyond 16 bits: some endpoints escape its halves in two chunks, for it was two tokens."""
UNREACHABLE = {502, 503, 504}
"""Statuses that say nothing about the request: with any other, the input or its owner may be what fails."""
MISCALLED = "tool_use_failed"
"""Groq's code for an answer in which the model wrote a call that is none."""


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of what the model thinks before it answers."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """One whole call of a tool; `name` and `arguments`, a JSON text, are as the model wrote them, right or
    wrong: it may call what nobody offered."""

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


class CutOff(msgspec.Struct, frozen=True):
    """The answer ends here for its length, not because it is whole."""


Piece = Text | Thought | Call | Used | CutOff


class Passing(ModelUnavailable):
    """Worth another try at once, or after `retry_after` seconds."""


class Down(ModelUnavailable):
    """The endpoint itself fails, whatever it is asked."""


class Unreachable(Passing, Down):
    """No connection to the endpoint, or one that has too much to do."""


class Miscalled(ModelRefused):
    """The model failed at a call of a tool: it may do better in another try, or without tools."""


class Lines:
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


class StreamedAnswer:
    """Makes pieces of the chunks of one answer."""

    def __init__(self, tools: set[str]) -> None:
        self._thinking = _Thinking()
        self._calls = _Calls(tools)
        self._usage: object = None
        self._finish: str | None = None
        self._refusal = False
        self._heard = False
        self._said = False
        self._room = LONGEST_CHARACTERS
        self._thoughts, self._texts = _Halves(), _Halves()
        self.full = False
        """Whether it is cut off here, for its length; what comes later is dropped."""

    @property
    def finished(self) -> bool:
        return self.full or self._finish is not None

    @property
    def calling(self) -> bool:
        """Whether a call has begun; it comes as a piece only at the end."""
        return self._calls.begun

    def take(self, data: bytes) -> Iterator[Piece]:
        if self.full:
            return
        chunk = _chunk(data)
        if chunk.error or chunk.object == "error":
            raise _error(chunk.error)
        self._heard = True
        self._usage = chunk.usage or self._usage
        for choice in (chunk.choices or [])[:1]:
            self._finish = choice.finish_reason or self._finish
            yield from self._spoken(choice.delta or choice.message or _Delta())

    def _spoken(self, delta: _Delta) -> Iterator[Piece]:
        thought = self._thoughts.take(_text(delta.reasoning_content) or _text(delta.reasoning))
        text = self._texts.take(_text(delta.content))
        if text:
            thought += self._thoughts.end()
        if thought := self._fitting(thought):
            yield Thought(thought)
        yield from self._noted(self._thinking.take(self._fitting(text)))
        self._refusal = self._refusal or bool(_text(delta.refusal))
        for call in delta.tool_calls or []:
            if not self.full:
                self._call(call)

    def _call(self, delta: _CallDelta) -> None:
        function = delta.function or _FunctionDelta()
        name, arguments = self._fitting(function.name or ""), self._fitting(_arguments(function))
        self._calls.take(delta, name, arguments, cut_off=self.full)

    def _fitting(self, text: str) -> str:
        """As much of it as there is room for."""
        fitting = text[: self._room]
        self._room -= len(fitting)
        self.full = self.full or len(fitting) < len(text)
        return fitting

    def _noted(self, pieces: Iterator[Text | Thought]) -> Iterator[Piece]:
        for piece in pieces:
            self._said = self._said or (isinstance(piece, Text) and bool(piece.text.strip()))
            yield piece

    def end(self, done: bool) -> Iterator[Piece]:
        """What is left; `done`: the stream said that it is at its end."""
        if self._heard and not (done or self.finished):
            raise Passing("the chat model's answer broke off")
        if thought := self._thoughts.end():
            yield Thought(thought)
        yield from self._noted(self._thinking.take(self._texts.end()))
        yield from self._noted(self._thinking.end())
        cut_off = self.full or self._finish == "length"
        calls = self._calls.whole() if cut_off else self._calls.all()
        yield from calls
        if cut_off and (self._said or calls):
            yield CutOff()
        if (used := _used(self._usage)) is not None:
            yield used
        if self._said or calls:
            return
        if self._refusal or self._finish == "content_filter":
            raise ModelRefused("the chat model refused to answer")
        if cut_off:
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


class _Halves:
    """Joins the halves of characters over the borders of chunks; a lone one becomes U+FFFD."""

    def __init__(self) -> None:
        self._held = ""

    def take(self, text: str) -> str:
        if not text:
            return ""
        text = self._held + text
        half = FIRST_HALF.search(text)
        self._held = half.group() if half else ""
        return _joined(text.removesuffix(self._held))

    def end(self) -> str:
        held, self._held = self._held, ""
        return _joined(held)


def _joined(text: str) -> str:
    if not HALF.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Draft(msgspec.Struct):
    id: str | None = None
    name: str = ""
    arguments: str = ""
    cut_off: bool = False
    """Then even no arguments are not all of them."""

    @property
    def whole(self) -> bool:
        try:
            arguments = msgspec.json.decode(_joined(self.arguments) or "{}")
            return isinstance(arguments, dict) and not self.cut_off
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False


class _Calls:
    """Puts calls together from their pieces, which endpoints number, name and cut as they like."""

    def __init__(self, tools: set[str]) -> None:
        self._tools = tools
        self._drafts: list[_Draft] = []
        self._at: dict[int, _Draft] = {}

    @property
    def begun(self) -> bool:
        return bool(self._drafts)

    def take(self, delta: _CallDelta, name: str, arguments: str, cut_off: bool) -> None:
        draft = self._draft(delta, name)
        draft.id = draft.id or delta.id
        if name and (draft.name not in self._tools or draft.name + name in self._tools):
            draft.name += name  # else it is said once more
        draft.arguments += arguments
        draft.cut_off = cut_off

    def all(self) -> list[Call]:
        return [
            Call(
                _joined(draft.id or f"call_{uuid4().hex}"),
                _joined(draft.name),
                _joined(draft.arguments) or "{}",
            )
            for draft in self._drafts
            if draft.name
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


def _arguments(function: _FunctionDelta) -> str:
    arguments = function.arguments or ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _chunk(data: bytes) -> _Chunk:
    try:
        try:
            return msgspec.json.decode(data, type=_Chunk)
        except msgspec.DecodeError:
            if b"\\ud" not in data.lower():
                raise
            return msgspec.convert(json.loads(data.decode()), _Chunk)  # msgspec reads no halves
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise ModelGarbage("the chat endpoint answered something else than a chat completion") from None


def _text(content: object) -> str:
    """Content as it is, or the text in its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _error(error: object) -> Exception:
    """The exception to raise for an error inside of a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    if code == MISCALLED:
        return Miscalled("the chat model failed at calling a tool")
    if isinstance(code, int) and code in REFUSING:
        return ModelRefused(f"the chat endpoint does not take this request: {code}")
    kind = Unreachable if isinstance(code, int) and code in UNREACHABLE else Passing
    return kind("the chat endpoint failed in its answer")


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
