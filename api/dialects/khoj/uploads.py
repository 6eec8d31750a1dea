"""The files of a request, as a form has them."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import ValidationException
from litestar.params import Body as BodyOf

from application.asked import Asked
from application.engine import Engine
from application.files import ReadFile, RefusedFile, SentFile

MAX_PARTS = 10_000
"""Of one body: enough to say in words that there are too many files."""
TOLD_FAULTS = 20
WINDOWS = re.compile(r'filename="((?:[A-Za-z]:\\|\\\\)[^"]*)"')
"""A whole path, which the parser of forms takes for an old browser's mistake and cuts to its end."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A form with any number of `files`, each with its path on the user's side as its filename."""

    files: list[UploadFile]


Form = Annotated[
    Upload, BodyOf(media_type=RequestEncodingType.MULTI_PART, multipart_form_part_limit=MAX_PARTS)
]


def _nameless(_: type[UploadFile], part: str) -> UploadFile:
    """A part without a filename, which the parser of forms takes for a field with a text."""
    return UploadFile(content_type="text/plain", filename="", file_data=part.encode())


DECODERS = [(lambda type: type is UploadFile, _nameless)]


async def buffered(request: Request[Any, Any, Any]) -> None:
    """Read the body of a request with an Idempotency-Key ahead of the form, which leaves nothing of it."""
    if "idempotency-key" in request.headers:
        await request.body()


async def sent(engine: Engine, asked: Asked, upload: Upload) -> tuple[list[ReadFile], list[RefusedFile]]:
    """Its files, as `Files` reads them. Raises TooMuch, Crowded."""
    files = [SentFile(_name_of(file), file.content_type, file.read) for file in upload.files]
    return await engine.files.read(asked.caller.owner, files)


def _name_of(file: UploadFile) -> str:
    whole = WINDOWS.search(file.headers.get("Content-Disposition", ""))
    return whole[1].replace("%22", '"') if whole else file.filename


def require_some(read: Sequence[ReadFile], refused: Sequence[RefusedFile]) -> None:
    """Raises ValidationException where no file could be taken."""
    if read:
        return
    faults = [{"source": "file", "key": one.file, "message": one.reason} for one in refused[:TOLD_FAULTS]]
    raise ValidationException(
        detail="send at least one file, as a part named `files` of multipart/form-data", extra=faults
    )
