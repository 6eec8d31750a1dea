"""What a client sends to be answered (seed 004; khoj.md, 1.3): over HTTP and over a WebSocket alike."""

import re
from typing import Annotated

import msgspec

from api.body import Body
from application.chat.question import NOTES, Question
from application.storable import Id, refuse_nul
from domain.conversation import AttachedFile

MAX_QUESTION = 100_000
"""Characters: more than any model is told at once; longer texts are attached as files."""
MAX_FILES = 20
MAX_FILE = 2_000_000
"""Characters of an attached file."""
MAX_NOTES = 100
FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}


MARK = re.compile(r"\s*/automated_task(?!\S)\s*", re.IGNORECASE)
"""Of Khoj's scheduler on what it asks; it says nothing."""


class TooMuch(ValueError):
    """A question is one, but there is more of it than is taken."""


Short = Annotated[str, msgspec.Meta(max_length=255)]


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A text that is sent along; clients of Khoj name its type and size, the seed does not."""

    name: Short
    content: str
    file_type: str | None = None
    size: int | None = None

    def attached(self) -> AttachedFile:
        return AttachedFile(name=self.name, content=self.content, file_type=self.file_type, size=self.size)


class Asking(Body, frozen=True, kw_only=True):
    """The body of POST /api/chat. Numbers and flags may come as strings, as Khoj's server takes them."""

    q: str
    conversation_id: Short | None = None
    stream: bool | str | None = None
    n: int | str | None = None
    images: list[str] | None = None
    files: list[Attachment] | None = None
    create_new: bool | str | None = None
    title: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    turn_id: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\A[\x21-\x7e]+\Z")] | None
    ) = None
    city: Short | None = None
    region: Short | None = None
    country: Short | None = None
    timezone: Short | None = None
    agent_slug: Short | None = None
    user_id: Id | None = None
    """Whose conversation it is, where one key serves many people; not in Khoj's contract."""

    def __post_init__(self) -> None:
        refuse_nul([self.q, self.title, self.conversation_id, self.turn_id, self.user_id])
        if len(self.q) > MAX_QUESTION:
            raise TooMuch(f"q is longer than {MAX_QUESTION} characters: attach long texts as files")
        if len(self.files or ()) > MAX_FILES:
            raise TooMuch(f"more than {MAX_FILES} files are attached")
        if any(len(file.content) > MAX_FILE for file in self.files or ()):
            raise TooMuch(f"an attached file is longer than {MAX_FILE} characters")
        for name in ("stream", "create_new"):
            if getattr(self, name) is not None:
                msgspec.structs.force_setattr(self, name, _flag(name, getattr(self, name)))
        msgspec.structs.force_setattr(self, "n", _count(self.n))

    def streams(self, client: str | None) -> bool:
        """Whether to answer piece by piece: Emacs sends no `stream` and reads one body."""
        return client != "emacs" if self.stream is None else bool(self.stream)

    def question(self, client: str | None) -> Question:
        """What is asked."""
        conversation_id = None if self.create_new else self.conversation_id or None
        return Question(
            text=unmarked(self.q),
            conversation_id=conversation_id,
            # Emacs never names one: without this, each of its messages would be a conversation of its own.
            goes_on=client == "emacs" and not self.create_new,
            user_id=self.user_id,
            agent=self.agent_slug,
            title=self.title,
            turn_id=self.turn_id,
            images=tuple(self.images or ()),
            files=tuple(file.attached() for file in self.files or ()),
            notes=self.n if isinstance(self.n, int) else NOTES,
            place=", ".join(part for part in (self.city, self.region, self.country) if part),
            timezone=self.timezone,
            streamed=self.stream is not False,
        )


def unmarked(q: str) -> str:
    mark = MARK.match(q)
    return q[mark.end() :] if mark else q


def _flag(name: str, value: bool | str) -> bool:
    if isinstance(value, bool):
        return value
    if value.lower() not in FLAGS:
        raise ValueError(f"{name} is neither true nor false")
    return FLAGS[value.lower()]


def _count(value: int | str | None) -> int | None:
    if isinstance(value, str):
        if not (value.isdecimal() and len(value) < 6):
            raise ValueError("n is not a number")
        value = int(value)
    return value if value is None else min(max(value, 1), MAX_NOTES)
