"""The user's documents: sent by Khoj's clients, searched by chats (khoj.md, 1.5)."""

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Literal, get_args
from uuid import UUID, uuid5

import msgspec
from litestar import delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api.body import Body
from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import User
from api.dialects.khoj.uploads import (
    DECODERS,
    Form,
    Read,
    RefusedFile,
    buffered,
    read_files,
    require_some,
    supported,
)
from application import finding
from application.asked import Asked
from application.chat.query_filters import filtered
from application.chat.tools.notes import chosen
from application.engine import Engine
from domain.aggregate import Command, Commands
from domain.document import Document, DocumentIndexed, IndexDocument, RemoveDocument, id_of
from domain.errors import Contended, NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.reading import head_now
from domain.eventstore.states import states_of
from domain.ids import new_id
from domain.scope import Scope
from projections import documents
from projections.documents import Listed
from projections.passages import Passage

BATCH = 200
"""Commands that are done in one step."""
TRIES = 3
PAGE = 10
MAX_PAGES = 2**31 // PAGE
ALL = 2**31 - 1
TRUNCATED = 1_000
"""Characters of a document in a list."""
MAX_FOUND = 100
QUERY_CHARACTERS = 2_000
COMPUTER = "computer"
"""Where all documents come from: the clients of a user's."""

QUERY = (
    'Also with `file:"…"`, `-file:"…"`, `+"word"`, `-"word"`, and `dt:"…"`, `dt>="…"`, `dt<"…"` and the like '
    "for the days that a passage mentions, as `2024-01-31` or `last week`."
)
MISSING = "File not found"
Kind = Literal["markdown", "org", "pdf", "html", "plaintext"]
Wanted = Literal["all", Kind, "docx", "image", "github", "notion"]
"""What clients may look for; of the last four nothing is ever there."""
KINDS: dict[str, Kind] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    "text/markdown": "markdown",
    ".org": "org",
    "text/org": "org",
    "text/x-org": "org",
    ".pdf": "pdf",
    "application/pdf": "pdf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    "text/html": "html",
    "application/xhtml+xml": "html",
}


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


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """A file as a text, as it can be attached to a question."""

    name: str
    content: str
    file_type: Kind
    size: int
    """Bytes of the text in UTF-8."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    source: str = COMPUTER
    file: str
    uri: str
    query: str
    compiled: str


class Found(msgspec.Struct, frozen=True, kw_only=True, rename={"corpus_id": "corpus-id"}):
    """A passage of a document."""

    entry: str
    score: float
    """0..1, higher is better."""
    additional: Place
    corpus_id: str


# --- sending ----------------------------------------------------------------------------------------


@put(
    "/api/content",
    operation_id="khojReplaceContent",
    before_request=buffered,
    type_decoders=DECODERS,
    opt={"scope": "write", "bodiless": True},
    responses=refusals(409, 413),
    tags=["Khoj Chat"],
    summary="Make these files the user's documents; all others are removed",
)
async def replace(
    data: Form, asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> Indexed:
    """The earlier version of a file that cannot be read now stays: it was sent, so it is not meant to go."""
    read, refused = await read_files(data.files)
    kept = {one.name for one in read if one.size} | {one.file for one in refused}
    return await _keep(
        asked, engine, user_id, read, refused, lambda one: one.source == COMPUTER and one.name not in kept
    )


@patch(
    "/api/content",
    operation_id="khojAddContent",
    before_request=buffered,
    type_decoders=DECODERS,
    opt={"scope": "write", "bodiless": True},
    responses=refusals(409, 413),
    tags=["Khoj Chat"],
    summary="Index these files beside the user's documents; an empty file removes the one of its name",
)
async def update(
    data: Form, asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> Indexed:
    read, refused = await read_files(data.files)
    gone = {one.name for one in read if not one.size}
    return await _keep(
        asked, engine, user_id, read, refused, (lambda one: one.name in gone) if gone else None
    )


@post(
    "/api/content/convert",
    operation_id="khojConvertContent",
    before_request=buffered,
    type_decoders=DECODERS,
    opt={"scope": "read", "bodiless": True},
    responses=refusals(413),
    status_code=200,
    tags=["Khoj Chat"],
    summary="The texts of files, to be attached to a question; nothing is kept",
)
async def convert(data: Form, asked: NamedDependency[Asked]) -> list[Converted]:
    """Kinds that are not supported are passed over; a broken file is told where there is no other."""
    read, refused = await read_files(data.files)
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
    opt={"scope": "write"},
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
    opt={"scope": "write"},
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
    opt={"scope": "write"},
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
    opt={"scope": "write"},
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


# --- looking ----------------------------------------------------------------------------------------


@get(
    "/api/content/{content_source:str}",
    operation_id="khojListContentOfSource",
    opt={"scope": "read"},
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
    return [one.name for one in await _listed(asked, engine, user_id) if one.source == content_source]


@get(
    "/api/content/files",
    operation_id="khojListFiles",
    opt={"scope": "read"},
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
    owner = asked.caller.owner
    async with engine.reading(asked, documents.DOCUMENTS) as (conn, build):
        listed = await documents.listing(conn, build, owner, user_id, PAGE, page * PAGE)
        counted = await documents.count(conn, build, owner, user_id)
    cell = await engine.cell_of(owner)
    found = await asyncio.to_thread(_states, cell, [id_of(owner, user_id, one.name) for one in listed])
    return FilesAnswer(
        files=[
            FileInList(
                file_name=one.name,
                raw_text=one.text[:TRUNCATED] if truncated else one.text,
                updated_at=one.updated_at,
            )
            for one in found
        ],
        num_pages=math.ceil(counted / PAGE),
    )


@get(
    "/api/content/file",
    operation_id="khojGetFile",
    opt={"scope": "read"},
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
    owner = asked.caller.owner
    cell = await engine.cell_of(owner)
    id = id_of(owner, user_id, file_name)
    found = await asyncio.to_thread(_states, cell, [id])
    if not found or found[0].scope.owner != owner:
        raise NotFound(MISSING)
    return FileAnswer(id=str(id), file_name=found[0].name, raw_text=found[0].text)


@get(
    "/api/content/size",
    operation_id="khojGetContentSize",
    opt={"scope": "read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="How large the documents are together",
)
async def size(asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None) -> Size:
    there = await _listed(asked, engine, user_id)
    return Size(indexed_data_size_in_mb=math.ceil(sum(one.size for one in there) / 1024**2))


@get(
    "/api/content/types",
    operation_id="khojListContentTypes",
    opt={"scope": "read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The types of documents that can be sent and searched for",
)
async def types(asked: NamedDependency[Asked]) -> list[str]:
    return ["all", *get_args(Kind)]


@get(
    "/api/search",
    operation_id="khojSearch",
    opt={"scope": "read", "search": True},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="Passages of the documents that fit a query best, best first",
)
async def search(
    q: Annotated[str, QueryParameter(description=QUERY)],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    n: Annotated[int, QueryParameter(ge=1, le=MAX_FOUND)] = 5,
    t: Annotated[Wanted, QueryParameter(description="Only documents of this type.")] = "all",
    dedupe: Annotated[bool, QueryParameter(description="Tell the same text once.")] = True,
    user_id: User = None,
) -> list[Found]:
    wanted = filtered(q)
    query = wanted.text[:QUERY_CHARACTERS]
    among: list[str] | None = None
    if t != "all" or wanted.files or wanted.not_files:
        there = await _listed(asked, engine, user_id)
        fitting = [one.name for one in there if t in ("all", kind_of(one.name, one.media_type))]
        among = chosen(fitting, (), q)
    if not query or among == []:
        return []
    passages = await finding.find_passages(
        engine, asked, query, user_id=user_id, names=among, mentions=wanted.mentions, limit=n
    )
    if dedupe:
        passages = list({passage.text: passage for passage in reversed(passages)}.values())[::-1]
    return [_found(passage, q, id_of(asked.caller.owner, user_id, passage.name)) for passage in passages]


UPLOADS = [replace, update, convert]
"""Their bodies may be larger than those of others."""
ROUTES = [
    remove_one, remove_many, remove_type, remove_source, names, files, one_file, size, types, search,
]  # fmt: skip


def kind_of(name: str, media_type: str | None) -> Kind:
    """What clients call this type of document, told by its name, else by its media type."""
    return KINDS.get(PurePath(name).suffix.lower()) or KINDS.get(media_type or "", "plaintext")


async def has_documents(asked: Asked, engine: Engine, user_id: str | None) -> bool:
    async with engine.reading(asked, documents.DOCUMENTS) as (conn, build):
        return await documents.count(conn, build, asked.caller.owner, user_id) > 0


def _found(passage: Passage, q: str, document: UUID) -> Found:
    place = Place(file=passage.name, uri=f"file://{passage.name}", query=q, compiled=passage.text)
    id = str(uuid5(document, str(passage.number)))
    return Found(entry=passage.text, score=passage.score, additional=place, corpus_id=id)


async def _listed(asked: Asked, engine: Engine, user_id: str | None, at_least: int = 0) -> list[Listed]:
    async with engine.reading(asked, documents.DOCUMENTS, at_least) as (conn, build):
        return await documents.listing(conn, build, asked.caller.owner, user_id, ALL)


def _states(cell: Cell, ids: list[UUID]) -> list[Document]:
    """The documents with these ids that are there, in their order."""
    with cell.pool.connection() as conn:
        states = states_of(conn, cell.log.mapper, Document, ids)
    return [one for id in ids if (one := states.get(id)) and not one.deleted]


# --- keeping ----------------------------------------------------------------------------------------

Doomed = Callable[[Listed], bool]


async def _keep(
    asked: Asked,
    engine: Engine,
    user_id: str | None,
    read: list[Read],
    refused: list[RefusedFile],
    doomed: Doomed | None,
) -> Indexed:
    require_some(read, refused)
    taken = [one for one in read if one.size]
    removed = await _change(asked, engine, user_id, taken, doomed)
    return Indexed(indexed=[one.name for one in taken], removed=removed, refused=refused)


async def _remove(asked: Asked, engine: Engine, user_id: str | None, doomed: Doomed) -> Removed:
    return Removed(deleted_count=len(await _change(asked, engine, user_id, [], doomed)))


async def _change(
    asked: Asked, engine: Engine, user_id: str | None, read: Iterable[Read], doomed: Doomed | None
) -> list[str]:
    """Index what was read and remove what is doomed, in one step; the names that were removed."""
    scope = Scope(owner=asked.caller.owner, user_id=user_id)
    index: list[tuple[UUID, Command[Document]]] = [
        (id_of(scope.owner, user_id, one.name), IndexDocument(indexed=_indexed(scope, one))) for one in read
    ]
    for _ in range(TRIES):
        gone = await _doomed(asked, engine, user_id, doomed) if doomed else []
        remove = [(id_of(scope.owner, user_id, name), RemoveDocument()) for name in gone]
        try:
            states = await _execute(asked, engine, [*index, *remove])
        except NotFound:
            continue  # somebody else has just removed one of them
        return [one.name for one in states if one.deleted]
    raise Contended("these documents are being removed by others too; try again")


def _indexed(scope: Scope, read: Read) -> DocumentIndexed:
    return DocumentIndexed(
        scope=scope, name=read.name, text=read.text, media_type=read.media_type, size=read.size
    )


async def _doomed(asked: Asked, engine: Engine, user_id: str | None, doomed: Doomed) -> list[str]:
    """Looked for among all documents that were added until now, by whomever."""
    async with engine.connection(asked.caller.owner) as conn:
        last = await head_now(conn)
    return [one.name for one in await _listed(asked, engine, user_id, last) if doomed(one)]


async def _execute(asked: Asked, engine: Engine, commands: Commands[Document]) -> list[Document]:
    """All in one step, or where there are very many in several; the documents as they are then."""
    batches = [commands[at : at + BATCH] for at in range(0, len(commands), BATCH)]
    if not batches and asked.receipt:
        batches = [commands]  # what an earlier request with this key has done is to be answered
    if len(batches) > 1:
        # A receipt stands for one step; sent again, all of these come to the same.
        asked = asked._replace(receipt=None)
    cause = str(new_id())
    results = [result for batch in batches for result in await engine.execute(asked, batch, cause=cause)]
    return [result.state for result in results]
