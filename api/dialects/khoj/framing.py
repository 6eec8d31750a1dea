"""The three ways to write a stream of events, chosen by who asks (khoj.md, 2.4).

Khoj's clients split at a delimiter, EventSource reads server-sent events, and the seed's own sample reads a
JSON object a line. No stream of bytes could be read by two of them.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from api.dialects.khoj.events import Event, event_of
from application.chat.emission import Emission

DELIMITER = "␃🔚␗"
CLIENTS = frozenset({"web", "obsidian", "desktop", "emacs", "khoj"})
HEARTBEAT_SECONDS = 15.0
"""Proxies close what is silent for a minute, some for 30 s."""

ESCAPED = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in (DELIMITER[0], "\x85", "\u2028", "\u2029")})
"""What JSON may have in its strings, but not a stream: no delimiter, nor what Python's readers of lines take
for the end of one."""


class Framing(NamedTuple):
    """How events are written."""

    media_type: str
    """Without its charset, which Litestar adds."""
    write: Callable[[Event], str]
    heartbeat: str | None = None
    """What keeps a silent connection open and means nothing."""


def as_json(event: Event) -> str:
    return msgspec.json.encode(event).decode().translate(ESCAPED)


def segments(event: Event) -> list[str]:
    """An event as Khoj's clients take it between two delimiters: text as it is, all else as JSON.

    They take a text for an object where it begins and ends as one, so it is cut behind its last brace; and
    one that has the delimiter in it is cut there.
    """
    if event.type != "message":
        return [as_json(event)]
    text: str = event.data.replace(DELIMITER, DELIMITER[0] + DELIMITER + DELIMITER[1:])
    head, brace, tail = text.rpartition("{")
    if brace and "}" in tail:
        text = head + brace + DELIMITER + tail
    return text.split(DELIMITER)


def _delimited(event: Event) -> str:
    return "".join(segment + DELIMITER for segment in segments(event))


KHOJ = Framing("text/plain", _delimited)
EVENTS = Framing("text/event-stream", lambda event: f"data: {as_json(event)}\n\n", ": still here\n\n")
LINES = Framing("application/x-ndjson", lambda event: as_json(event) + "\n")


def framing_for(client: str | None, accept: str) -> Framing:
    """The framing that a client and its Accept header ask for."""
    accept = accept.lower()
    if client in CLIENTS:
        return KHOJ
    if "text/event-stream" in accept:
        return EVENTS
    if "text/plain" in accept and "json" not in accept:  # what names both takes whatever comes, as axios does
        return KHOJ
    return LINES


async def written(emissions: AsyncGenerator[Emission | None, None], framing: Framing) -> AsyncIterator[bytes]:
    """The bytes of a stream; for None, which is a while in which nothing happened, a heartbeat."""
    async with aclosing(emissions):
        async for emission in emissions:
            text = framing.write(event_of(emission)) if emission else framing.heartbeat
            if text:
                yield text.encode()
