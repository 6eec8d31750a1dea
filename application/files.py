"""Files that were sent, read one by one: what cannot be read is told, and keeps nothing else from it."""

import asyncio
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from application.refusals import Crowded, TooMuch
from providers.documents.documents import NOT_SUPPORTED, TOO_LARGE, DocumentRefused, text_of
from providers.turns import Turns

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
PLACES = 3
"""Files that a process reads at once: at most 3 GB, if all are as bad as they may be, and at low priority."""
OF_ONE_OWNER = 2
"""So that who comes next finds a place."""
MAX_REQUESTS = 10
"""Of one owner, whose files are read or wait for it; their bodies wait with them."""
BUSY_SECONDS = 60.0
"""How long a file waits for its turn: twice what another may take."""
RETRY_SECONDS = 10
READERS = ThreadPoolExecutor(PLACES, thread_name_prefix="documents")
"""Not the engine's threads: a PDF may take half a minute."""
MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
FULL = f"the texts of one request may have {MAX_CHARACTERS:,} characters: send this file in another one"
BUSY = "the server is reading other documents: upload this one again in a minute"
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


class Files:
    """Reads the files of the requests of one process; owners take turns."""

    def __init__(self) -> None:
        self._turns = Turns(PLACES, OF_ONE_OWNER)
        self._requests: Counter[str] = Counter()

    async def read(self, owner: str, files: Sequence[SentFile]) -> tuple[list[ReadFile], list[RefusedFile]]:
        """The texts of all files that have one; of files of one name the last counts.

        Raises TooMuch, and Crowded.
        """
        if len(files) > MAX_FILES:
            raise TooMuch(f"{len(files):,} files are too many for one request: send at most {MAX_FILES:,}")
        if self._requests[owner] >= MAX_REQUESTS:
            words = f"the files of {MAX_REQUESTS} other requests of yours are being read: try again then"
            raise Crowded(words, RETRY_SECONDS)
        self._requests[owner] += 1
        try:
            return await self._read(owner, files)
        finally:
            self._requests[owner] -= 1
            if not self._requests[owner]:
                del self._requests[owner]

    async def _read(self, owner: str, files: Sequence[SentFile]) -> tuple[list[ReadFile], list[RefusedFile]]:
        last = {file.name: file for file in files}
        reader = _Reader(self._turns, owner)
        outcomes = await asyncio.gather(*map(reader.read, last.values()))
        return (
            [outcome for outcome in outcomes if isinstance(outcome, ReadFile)],
            [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)],
        )


class _Reader:
    """Reads the files of one request, a few at a time, as long as there is time, and room for their texts."""

    def __init__(self, turns: Turns, owner: str) -> None:
        self._turns, self._owner = turns, owner
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._room = MAX_CHARACTERS
        self._until = time.monotonic() + SECONDS

    async def read(self, file: SentFile) -> ReadFile | RefusedFile:
        name = file.name
        if fault := _fault(name):
            return RefusedFile(file=_shown(name), reason=fault)
        media_type = file.content_type.partition(";")[0].strip().lower()
        async with self._at_once:
            if not self._room or time.monotonic() > self._until:
                return RefusedFile(file=name, reason=LATE if self._room else FULL)
            try:
                text, size = await self._text(file, media_type)
            except TimeoutError:
                return RefusedFile(file=name, reason=BUSY)
            except DocumentRefused as refused:
                return RefusedFile(file=name, reason=str(refused))
            if len(text) > self._room:
                return RefusedFile(file=name, reason=FULL)
            self._room -= len(text)
        return ReadFile(name, text, media_type if MEDIA_TYPE.fullmatch(media_type) else None, size)

    async def _text(self, file: SentFile, media_type: str) -> tuple[str, int]:
        """Its text, once it is the owner's turn, and its size. Raises TimeoutError, DocumentRefused."""
        with await self._turns.take(self._owner, BUSY_SECONDS) as turn:
            content = await file.read()
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(READERS, text_of, file.name, content, media_type)
            held = turn.pop_all()  # until nothing reads any more, whoever has gone meanwhile
            reading.add_done_callback(lambda _: held.close())
        return await asyncio.shield(reading), len(content)


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
