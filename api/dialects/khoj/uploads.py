"""The files of a request, read one by one: what cannot be read is told, and keeps nothing else from it."""

import asyncio
import re
import time
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import ValidationException
from litestar.params import Body as BodyOf

from api.errors import Refusal
from providers.documents.documents import CHILDREN, NOT_SUPPORTED, TOO_LARGE, DocumentRefused, text_of

MAX_FILES = 1_000
"""Of one request."""
MAX_PARTS = 10_000
"""Of one body: enough to say in words that there are too many files."""
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
TOLD_FAULTS = 20
WINDOWS = re.compile(r'filename="((?:[A-Za-z]:\\|\\\\)[^"]*)"')
"""A whole path, which the parser of forms takes for an old browser's mistake and cuts to its end."""
MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
FULL = f"the texts of one request may have {MAX_CHARACTERS:,} characters: send this file in another one"
LATE = "reading the files before it took too long: send this one in another request"
NAMELESS = "the file has no name"
LONG_NAME = f"the name is longer than {MAX_NAME:,} bytes: give the file a shorter one"
CONTROLS = "the name holds control characters: rename the file"


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A form with any number of `files`, each with its path on the user's side as its filename."""

    files: list[UploadFile]


Form = Annotated[
    Upload, BodyOf(media_type=RequestEncodingType.MULTI_PART, multipart_form_part_limit=MAX_PARTS)
]


class RefusedFile(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    reason: str
    """Why, and what to do."""


def _nameless(_: type[UploadFile], part: str) -> UploadFile:
    """A part without a filename, which the parser of forms takes for a field with a text."""
    return UploadFile(content_type="text/plain", filename="", file_data=part.encode())


DECODERS = [(lambda type: type is UploadFile, _nameless)]


async def buffered(request: Request[Any, Any, Any]) -> None:
    """Read the body of a request with an Idempotency-Key ahead of the form, which leaves nothing of it."""
    if "idempotency-key" in request.headers:
        await request.body()


class Read(NamedTuple):
    """A file that was sent."""

    name: str
    text: str
    media_type: str | None
    size: int
    """Bytes as sent; 0: the document of this name is to go."""


async def read_files(files: Sequence[UploadFile]) -> tuple[list[Read], list[RefusedFile]]:
    """The texts of all files that have one; of files of one name the last counts. Raises Refusal."""
    if len(files) > MAX_FILES:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "too-many-files",
            f"{len(files):,} files are too many for one request: send at most {MAX_FILES:,}",
        )
    last = {_name_of(file): file for file in files}
    reader = _Reader()
    outcomes = await asyncio.gather(*(reader.read(name, file) for name, file in last.items()))
    return (
        [outcome for outcome in outcomes if isinstance(outcome, Read)],
        [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)],
    )


class _Reader:
    """Reads the files of one request, a few at a time, as long as there is time, and room for their texts."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._room = MAX_CHARACTERS
        self._until = time.monotonic() + SECONDS

    async def read(self, name: str, file: UploadFile) -> Read | RefusedFile:
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
        return Read(name, text, media_type if MEDIA_TYPE.fullmatch(media_type) else None, len(content))


def _name_of(file: UploadFile) -> str:
    whole = WINDOWS.search(file.headers.get("Content-Disposition", ""))
    return whole[1].replace("%22", '"') if whole else file.filename


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


def require_some(read: Sequence[Read], refused: Sequence[RefusedFile]) -> None:
    """Raises ValidationException where no file could be taken."""
    if read:
        return
    faults = [{"source": "file", "key": one.file, "message": one.reason} for one in refused[:TOLD_FAULTS]]
    raise ValidationException(
        detail="send at least one file, as a part named `files` of multipart/form-data", extra=faults
    )
