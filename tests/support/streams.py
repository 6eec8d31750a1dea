"""Streams of answers as they are really read: by Khoj's clients, by EventSource, by readers of lines."""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]
DELIMITER = "␃🔚␗"
KHOJS = "text/plain"
JAVASCRIPT_SPACE = " \t\n\v\f\r\xa0\ufeff\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What `trim` takes away."""


class Way(NamedTuple):
    """How somebody asks for a stream, and how they read it."""

    params: dict[str, str]
    headers: dict[str, str]
    media_type: str

    def read(self, chunks: Iterable[bytes]) -> list[Json]:
        """The events of a stream that arrives in these pieces."""
        return list(READERS[self.media_type](chunks))

    def answer(self, events: Iterable[Json]) -> str:
        """The text of the answer as it is shown to whom it is for."""
        return shown(events) if self.media_type == KHOJS else text_of(events)


# --- Khoj's web, Obsidian and desktop clients -------------------------------------------------------------


def delimited(chunks: Iterable[bytes]) -> Iterator[Json]:
    """As `chatFunctions.ts` has it: what is left at the end is a segment too, and an empty one is none."""
    buffer = ""
    for text in decoded(chunks):
        buffer += text
        while (end := buffer.find(DELIMITER)) != -1:
            yield from segment(buffer[:end])
            buffer = buffer[end + len(DELIMITER) :]
    yield from segment(buffer)


def segment(text: str) -> Iterator[Json]:
    """`convertMessageChunkToJson`."""
    if text.startswith("{") and text.endswith("}"):
        try:
            value = json.loads(text)
        except ValueError:
            yield {"type": "message", "data": text}
        else:
            yield value if value.get("type") else {"type": "message", "data": value}
    elif text:
        yield {"type": "message", "data": text}


def shown(events: Iterable[Json]) -> str:
    """The text as Khoj's clients show it: `processMessageChunk`, with its second look for an object."""
    text = ""
    for event in events:
        if event["type"] != "message":
            continue
        data = event["data"]
        trimmed = data.strip(JAVASCRIPT_SPACE) if isinstance(data, str) else ""
        if isinstance(data, str) and not (trimmed.startswith("{") and trimmed.endswith("}")):
            text += data
            continue
        try:
            value = json.loads(trimmed) if isinstance(data, str) else data
        except ValueError:
            text += json.dumps(data)
        else:
            text = value.get("response") or text  # it takes the place of what was there
    return text


# --- everybody else ---------------------------------------------------------------------------------------


def server_sent(chunks: Iterable[bytes]) -> Iterator[Json]:
    """As the HTML standard has it: comments mean nothing, and a blank line ends an event."""
    data: list[str] = []
    for line in _lines(decoded(chunks)):
        name, _, value = line.partition(":")
        if line == "" and data:
            yield json.loads("\n".join(data))
            data = []
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif name:
            raise AssertionError(f"a field that says nothing to us: {line!r}")


def _lines(texts: Iterable[str]) -> Iterator[str]:
    buffer = ""
    for text in texts:
        buffer += text
        *whole, buffer = buffer.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        yield from whole


def lines(chunks: Iterable[bytes]) -> Iterator[Json]:
    """A JSON object a line, whatever a reader takes for the end of one: as httpx and `requests` do."""
    for line in "".join(decoded(chunks)).splitlines():
        if line:
            yield json.loads(line)


def text_of(events: Iterable[Json]) -> str:
    """All text that a stream tells."""
    return "".join(event["data"] for event in events if event["type"] == "message")


READERS = {
    KHOJS: delimited,
    "text/event-stream": server_sent,
    "application/x-ndjson": lines,
}


def decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    """As `TextDecoder` with `stream: true`: a character may be cut anywhere."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def cut(content: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """`content` as a network might bring it, in pieces of these sizes and a rest."""
    for size in sizes:
        if not content:
            return
        yield content[:size]
        content = content[size:]
    yield content
