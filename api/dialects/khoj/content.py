"""The user's documents: sent and removed by Khoj's clients, searched by chats (khoj.md, 1.5)."""

from typing import Annotated, Literal

import msgspec
from litestar import delete, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api.body import Body
from api.dialects.khoj.errors import refusals
from api.dialects.khoj.kinds import COMPUTER, Kind, kind_of
from api.dialects.khoj.parameters import User
from api.dialects.khoj.uploads import DECODERS, Form, buffered, require_some, sent
from application import documents
from application.asked import Asked
from application.documents import Which
from application.engine import Engine
from application.files import ReadFile, RefusedFile, supported


class Names(Body, frozen=True, kw_only=True):
    files: list[str]


class Indexed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the files that were sent."""

    status: Literal["ok"] = "ok"
    indexed: list[str]
    """Also those that are indexed already, just as they are."""
    removed: list[str]
    refused: list[RefusedFile]


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"
    deleted_count: int


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """A file as a text, as it can be attached to a question."""

    name: str
    content: str
    file_type: Kind
    size: int
    """Bytes of the text in UTF-8."""


# --- sending ----------------------------------------------------------------------------------------


@put(
    "/api/content",
    operation_id="khojReplaceContent",
    before_request=buffered,
    type_decoders=DECODERS,
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(409, 413),
    tags=["Khoj Chat"],
    summary="Make these files the user's documents; all others are removed",
)
async def replace(
    data: Form, asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> Indexed:
    """The earlier version of a file that cannot be read now stays: it was sent, so it is not meant to go."""
    read, refused = await sent(engine, asked, data)
    kept = {one.name for one in read if one.size} | {one.file for one in refused}
    return await _keep(
        asked, engine, user_id, read, refused, lambda one: one.source == COMPUTER and one.name not in kept
    )


@patch(
    "/api/content",
    operation_id="khojAddContent",
    before_request=buffered,
    type_decoders=DECODERS,
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(409, 413),
    tags=["Khoj Chat"],
    summary="Index these files beside the user's documents; an empty file removes the one of its name",
)
async def update(
    data: Form, asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> Indexed:
    read, refused = await sent(engine, asked, data)
    gone = {one.name for one in read if not one.size}
    return await _keep(
        asked, engine, user_id, read, refused, (lambda one: one.name in gone) if gone else None
    )


@post(
    "/api/content/convert",
    operation_id="khojConvertContent",
    before_request=buffered,
    type_decoders=DECODERS,
    opt={"scope": "memories:read", "bodiless": True},
    responses=refusals(413),
    status_code=200,
    tags=["Khoj Chat"],
    summary="The texts of files, to be attached to a question; nothing is kept",
)
async def convert(
    data: Form, asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> list[Converted]:
    """Kinds that are not supported are passed over; a broken file is told where there is no other."""
    read, refused = await sent(engine, asked, data)
    if broken := supported(refused):
        require_some(read, broken)
    return [
        Converted(
            name=one.name,
            content=one.text,
            file_type=kind_of(one.name, one.media_type),
            size=len(one.text.encode()),
        )
        for one in read
    ]


# --- removing ---------------------------------------------------------------------------------------


@delete(
    "/api/content/file",
    operation_id="khojRemoveFile",
    opt={"scope": "memories:write"},
    responses=refusals(409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Remove a document; one that is not there is no error",
)
async def remove_one(
    filename: Annotated[str, QueryParameter()],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> Removed:
    return await _remove(asked, engine, user_id, lambda one: one.name == filename)


@delete(
    "/api/content/files",
    operation_id="khojRemoveFiles",
    opt={"scope": "memories:write"},
    responses=refusals(409, 413),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Remove the documents that are named; those that are not there are passed over",
)
async def remove_many(
    data: JSONBody[Names],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> Removed:
    doomed = set(data.files)
    return await _remove(asked, engine, user_id, lambda one: one.name in doomed)


@delete(
    "/api/content/type/{content_type:str}",
    operation_id="khojRemoveContentOfType",
    opt={"scope": "memories:write"},
    responses=refusals(409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Remove all documents of a type, such as `markdown`",
)
async def remove_type(
    content_type: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> Removed:
    return await _remove(
        asked, engine, user_id, lambda one: kind_of(one.name, one.media_type) == content_type
    )


@delete(
    "/api/content/{content_source:str}",
    operation_id="khojRemoveContentOfSource",
    opt={"scope": "memories:write"},
    responses=refusals(409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Remove all documents of a source; they all come from `computer`",
)
async def remove_source(
    content_source: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> Removed:
    return await _remove(asked, engine, user_id, lambda one: one.source == content_source)


UPLOADS = [replace, update, convert]
"""Their bodies may be larger than those of others."""
ROUTES = [remove_one, remove_many, remove_type, remove_source]


async def _keep(
    asked: Asked,
    engine: Engine,
    user_id: str | None,
    read: list[ReadFile],
    refused: list[RefusedFile],
    doomed: Which | None,
) -> Indexed:
    require_some(read, refused)
    taken = [one for one in read if one.size]
    removed = await documents.keep(engine, asked, user_id, taken, doomed)
    return Indexed(indexed=[one.name for one in taken], removed=removed, refused=refused)


async def _remove(asked: Asked, engine: Engine, user_id: str | None, doomed: Which) -> Removed:
    return Removed(deleted_count=len(await documents.remove(engine, asked, user_id, doomed)))
