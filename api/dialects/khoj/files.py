"""The documents that a user has: their names, texts and size (khoj.md, 1.5)."""

import math
from datetime import datetime
from typing import Annotated, get_args

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.kinds import Kind
from api.dialects.khoj.parameters import User
from application import documents
from application.asked import Asked
from application.engine import Engine
from domain.errors import NotFound

PAGE = 10
MAX_PAGES = 2**31 // PAGE
TRUNCATED = 1_000
"""Characters of a document in a list."""
MISSING = "File not found"


class FileAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    file_name: str
    raw_text: str


class FileInList(msgspec.Struct, frozen=True, kw_only=True):
    file_name: str
    raw_text: str
    updated_at: datetime


class FilesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    files: list[FileInList]
    num_pages: int


class Size(msgspec.Struct, frozen=True, kw_only=True):
    indexed_data_size_in_mb: int
    """Of the files as uploaded, rounded up."""


@get(
    "/api/content/{content_source:str}",
    operation_id="khojListContentOfSource",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The names of all documents of a source; they all come from `computer`",
)
async def names(
    content_source: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> list[str]:
    there = await documents.listing(engine, asked, user_id)
    return [one.name for one in there if one.source == content_source]


@get(
    "/api/content/files",
    operation_id="khojListFiles",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The documents with their texts, ten a page, in order of their names",
)
async def files(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    page: Annotated[int, QueryParameter(ge=0, le=MAX_PAGES)] = 0,
    truncated: Annotated[bool, QueryParameter()] = True,
    user_id: User = None,
) -> FilesAnswer:
    one_page = await documents.page(engine, asked, user_id, PAGE, page * PAGE)
    return FilesAnswer(
        files=[
            FileInList(
                file_name=one.name,
                raw_text=one.text[:TRUNCATED] if truncated else one.text,
                updated_at=one.updated_at,
            )
            for one in one_page.documents
        ],
        num_pages=math.ceil(one_page.total / PAGE),
    )


@get(
    "/api/content/file",
    operation_id="khojGetFile",
    opt={"scope": "memories:read"},
    responses=refusals(404),
    tags=["Khoj Chat"],
    summary="A document with its text",
)
async def one_file(
    file_name: Annotated[str, QueryParameter()],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> FileAnswer:
    try:
        found = await documents.get(engine, asked, user_id, file_name)
    except NotFound:
        raise NotFound(MISSING) from None
    return FileAnswer(id=str(found.id), file_name=found.name, raw_text=found.text)


@get(
    "/api/content/size",
    operation_id="khojGetContentSize",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="How large the documents are together",
)
async def size(asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None) -> Size:
    there = await documents.listing(engine, asked, user_id)
    return Size(indexed_data_size_in_mb=math.ceil(sum(one.size for one in there) / 1024**2))


@get(
    "/api/content/types",
    operation_id="khojListContentTypes",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The types of documents that can be sent and searched for",
)
async def types(asked: NamedDependency[Asked]) -> list[str]:
    return ["all", *get_args(Kind)]


ROUTES = [names, files, one_file, size, types]
