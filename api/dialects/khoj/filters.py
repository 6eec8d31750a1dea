"""The documents that a conversation's notes are looked for in (Khoj's file filters)."""

from typing import Annotated

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import OfConversation, User, Value, combined, conversation_of, required
from application.asked import Asked
from application.chat import conversations
from application.engine import Engine
from domain.conversation import Conversation

Names = Annotated[list[str] | None, QueryParameter()]


class OfFile(OfConversation, frozen=True, kw_only=True):
    filename: str | None = None


class OfFiles(OfConversation, frozen=True, kw_only=True):
    filenames: list[str] | None = None


@get(
    "/api/chat/conversation/file-filters/{conversation_id:str}",
    operation_id="khojListFileFilters",
    opt={"scope": "memories:read"},
    responses=refusals(404),
    tags=["Khoj Chat"],
    summary="The documents that a conversation is limited to; none: it may use all",
)
async def listing(
    conversation_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> list[str]:
    conversation = await conversation_of(asked, engine, conversation_id, user_id)
    return await conversations.files_of(engine, asked, conversation)


@post(
    "/api/chat/conversation/file-filters",
    operation_id="khojAddFileFilter",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Limit a conversation to a document, beside those it is limited to",
)
async def add(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    conversation_id: Value = None,
    filename: Value = None,
    user_id: User = None,
    data: JSONBody[OfFile | None] = None,
) -> list[str]:
    said = combined(OfFile(conversation_id=conversation_id, filename=filename, user_id=user_id), data)
    names = [required("filename", said.filename)]
    return await conversations.add_files(engine, asked, await _named(asked, engine, said), names)


@delete(
    "/api/chat/conversation/file-filters",
    operation_id="khojRemoveFileFilter",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="No longer limit a conversation to a document",
)
async def remove(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    conversation_id: Value = None,
    filename: Value = None,
    user_id: User = None,
    data: JSONBody[OfFile | None] = None,
) -> list[str]:
    said = combined(OfFile(conversation_id=conversation_id, filename=filename, user_id=user_id), data)
    names = [required("filename", said.filename)]
    return await conversations.remove_files(engine, asked, await _named(asked, engine, said), names)


@post(
    "/api/chat/conversation/file-filters/bulk",
    operation_id="khojAddFileFilters",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Limit a conversation to documents, beside those it is limited to",
)
async def add_many(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    conversation_id: Value = None,
    filenames: Names = None,
    user_id: User = None,
    data: JSONBody[OfFiles | None] = None,
) -> list[str]:
    said = combined(OfFiles(conversation_id=conversation_id, filenames=filenames, user_id=user_id), data)
    names = required("filenames", said.filenames)
    return await conversations.add_files(engine, asked, await _named(asked, engine, said), names)


@delete(
    "/api/chat/conversation/file-filters/bulk",
    operation_id="khojRemoveFileFilters",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="No longer limit a conversation to documents",
)
async def remove_many(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    conversation_id: Value = None,
    filenames: Names = None,
    user_id: User = None,
    data: JSONBody[OfFiles | None] = None,
) -> list[str]:
    said = combined(OfFiles(conversation_id=conversation_id, filenames=filenames, user_id=user_id), data)
    names = required("filenames", said.filenames)
    return await conversations.remove_files(engine, asked, await _named(asked, engine, said), names)


ROUTES = [listing, add, remove, add_many, remove_many]


async def _named(asked: Asked, engine: Engine, said: OfConversation) -> Conversation:
    id = required("conversation_id", said.conversation_id)
    return await conversation_of(asked, engine, id, said.user_id)
