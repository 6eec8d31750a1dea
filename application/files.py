"""Files that were sent, read one by one: what cannot be read is told, and keeps nothing else from it."""

import asyncio
import re
import time
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from application.refusals import TooMuch
from providers.documents.documents import CHILDREN, NOT_SUPPORTED, TOO_LARGE, DocumentRefused, text_of

MAX_FILES = 1_000
"""Of one request."""
MAX_CHARACTERS = 20_000_000
"""Of the texts of one request: a small PDF can hold a long one."""
MAX_NAME = 1_000
"""Bytes of a name in UTF-8, for it goes into a B-tree together with its user's."""
SHOWN_NAME = 100
AT_ONCE = 2
"""Files of one request that are read at a time, so that other requests get their turn."""
SECONDS = 300.0
"""How long the files of one request are read; those that are left are refused."""
READERS = ThreadPoolExecutor(2 * CHILDREN, thread_name_prefix="documents")
"""Not the engine's threads: a PDF may take half a minute."""
MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
FULL = f"the texts of one request may have {MAX_CHARACTERS:,} characters: send this file in another one"
LATE = "reading the files before it took too long: send this one in another request"
NAMELESS = "the file has no name"
LONG_NAME = f"the name is longer than {MAX_NAME:,} bytes: give the file a shorter one"
CONTROLS = "the name holds control characters: rename the file"


class SentFile(NamedTuple):
    """A file as it comes."""

    name: str
    """Its path on the user's side."""
    content_type: str
    read: Callable[[], Awaitable[bytes]]


class ReadFile(NamedTuple):
    """A file that was sent, as a text."""

    name: str
    text: str
    media_type: str | None
    size: int
    """Bytes as sent; 0: the document of this name is to go."""


class RefusedFile(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    reason: str
    """Why, and what to do."""


async def read_files(files: Sequence[SentFile]) -> tuple[list[ReadFile], list[RefusedFile]]:
    """The texts of all files that have one; of files of one name the last counts. Raises TooMuch."""
    if len(files) > MAX_FILES:
        raise TooMuch(f"{len(files):,} files are too many for one request: send at most {MAX_FILES:,}")
    last = {file.name: file for file in files}
    reader = _Reader()
    outcomes = await asyncio.gather(*map(reader.read, last.values()))
    return (
        [outcome for outcome in outcomes if isinstance(outcome, ReadFile)],
        [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)],
    )


class _Reader:
    """Reads the files of one request, a few at a time, as long as there is time, and room for their texts."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._room = MAX_CHARACTERS
        self._until = time.monotonic() + SECONDS

    async def read(self, file: SentFile) -> ReadFile | RefusedFile:
        name = file.name
        if fault := _fault(name):
            return RefusedFile(file=_shown(name), reason=fault)
        media_type = file.content_type.partition(";")[0].strip().lower()
        async with self._turns:
            if not self._room or time.monotonic() > self._until:
                return RefusedFile(file=name, reason=LATE if self._room else FULL)
            content = await file.read()
            loop = asyncio.get_running_loop()
            try:
                text = await loop.run_in_executor(READERS, text_of, name, content, media_type)
            except DocumentRefused as refused:
                return RefusedFile(file=name, reason=str(refused))
            if len(text) > self._room:
                return RefusedFile(file=name, reason=FULL)
            self._room -= len(text)
        return ReadFile(name, text, media_type if MEDIA_TYPE.fullmatch(media_type) else None, len(content))


def _fault(name: str) -> str | None:
    """What is wrong with the name of a file. It is never a path on this machine, so any may be one."""
    if not name.strip():
        return NAMELESS
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return CONTROLS
    return LONG_NAME if len(name.encode()) > MAX_NAME else None


def _shown(name: str) -> str:
    """A name that was refused, fit to be told."""
    printable = "".join(character if character.isprintable() else "�" for character in name[:SHOWN_NAME])
    return printable + "…" if len(name) > SHOWN_NAME else printable


def supported(refused: Sequence[RefusedFile]) -> list[RefusedFile]:
    """Those that could have been taken: neither of another kind nor too large."""
    return [one for one in refused if one.reason not in (NOT_SUPPORTED, TOO_LARGE)]
