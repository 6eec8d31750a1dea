"""Conversations: begun, found, listed, named, limited to documents, and deleted."""

import unicodedata
from collections.abc import Iterable, Sequence
from uuid import UUID

from application import documents
from application.asked import Asked
from application.chat.agents import Agent
from application.chat.chat import Chat
from application.engine import Engine
from domain.conversation import (
    AddFiles,
    Conversation,
    DeleteConversation,
    RemoveFiles,
    RemoveTurn,
    Start,
    Started,
    Title,
)
from domain.errors import NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.reading import head_now
from domain.eventstore.states import states_of
from domain.ids import new_id, parse
from domain.scope import Scope
from projections import conversations
from projections.conversations import Listed

# --- finding ----------------------------------------------------------------------------------------


async def get(engine: Engine, asked: Asked, conversation_id: str, user_id: str | None) -> Conversation:
    """The caller's conversation with this id; where a user is named, only one of theirs. Raises NotFound."""
    id = parse("", conversation_id)
    if id is None:
        raise NotFound("no such conversation")
    conversation = await engine.state(asked, Conversation, id)
    wanted = Scope(owner=asked.caller.owner, user_id=user_id)
    if conversation.deleted or not wanted.holds(conversation.scope):
        raise NotFound("no such conversation")
    return conversation


async def latest(engine: Engine, asked: Asked, user_id: str | None) -> Conversation | None:
    """The conversation that the user last changed."""
    async with engine.reading(asked, conversations.CONVERSATIONS) as (conn, build):
        id = await conversations.latest(conn, build, _of(asked, user_id))
    if id is None:
        return None
    try:
        return await get(engine, asked, str(id), user_id)
    except NotFound:  # deleted by somebody else a moment ago
        return None


async def listing(
    engine: Engine, asked: Asked, user_id: str | None, limit: int | None = None
) -> list[Listed]:
    """The user's conversations, the last changed first."""
    async with engine.reading(asked, conversations.CONVERSATIONS) as (conn, build):
        return await conversations.listing(conn, build, _of(asked, user_id), limit)


async def page(
    engine: Engine, asked: Asked, user_id: str | None, limit: int, offset: int
) -> list[Conversation]:
    """Some of the user's conversations with all that was said, the newest first."""
    async with engine.reading(asked, conversations.CONVERSATIONS) as (conn, build):
        rows = await conversations.page(conn, build, _of(asked, user_id), limit, offset)
    found = await engine.run(asked, _states, [row.conversation_id for row in rows])
    return [one for one in found if not one.deleted]


async def count(engine: Engine, asked: Asked, user_id: str | None) -> int:
    """How many conversations the user has."""
    async with engine.reading(asked, conversations.CONVERSATIONS) as (conn, build):
        return await conversations.count(conn, build, _of(asked, user_id))


def _states(cell: Cell, ids: list[UUID]) -> list[Conversation]:
    with cell.pool.connection() as conn:
        states = states_of(conn, cell.log.mapper, Conversation, ids)
    return [states[id] for id in ids if id in states]


def _of(asked: Asked, user_id: str | None) -> Scope:
    """Whose conversations it is about: a named user's, or those of no user."""
    return Scope(owner=asked.caller.owner, user_id=user_id)


# --- beginning and naming ---------------------------------------------------------------------------


async def start(engine: Engine, asked: Asked, user_id: str | None, agent: Agent) -> Conversation:
    """A new conversation of the user's, with nothing in it."""
    started = Started(scope=_of(asked, user_id), agent=agent.slug)
    (result,) = await engine.execute(asked, [(new_id(), Start(started=started))])
    return result.state


async def rename(engine: Engine, asked: Asked, conversation: Conversation, title: str) -> None:
    """Call it something; an empty title takes back the one that the user gave."""
    await engine.execute(asked, [(conversation.id, Title(title=clean(title)))])


def clean(title: str) -> str:
    """On one line and without control characters. Markup stays: it is text, which clients escape."""
    line = " ".join(title.split())
    return "".join(character for character in line if unicodedata.category(character) != "Cc")


# --- the documents that notes are looked for in -----------------------------------------------------


async def files_of(engine: Engine, asked: Asked, conversation: Conversation) -> list[str]:
    """The documents that a conversation is limited to, without those that are gone; none: it may use all."""
    return _there(conversation, await _documents(engine, asked, conversation))


async def add_files(
    engine: Engine, asked: Asked, conversation: Conversation, names: Iterable[str]
) -> list[str]:
    """Limit a conversation to these documents, beside those it is limited to; all of them.

    Names that are no document of the user's are dropped: they may be a client's, of files not sent yet.
    """
    known = set(await _documents(engine, asked, conversation))
    command = AddFiles(files=tuple(name for name in names if name in known))
    return await _limit(engine, asked, conversation, command)


async def remove_files(
    engine: Engine, asked: Asked, conversation: Conversation, names: Iterable[str]
) -> list[str]:
    """No longer limit a conversation to these documents; those that are left."""
    return await _limit(engine, asked, conversation, RemoveFiles(files=tuple(names)))


async def _limit(
    engine: Engine, asked: Asked, conversation: Conversation, command: AddFiles | RemoveFiles
) -> list[str]:
    (result,) = await engine.execute(asked, [(conversation.id, command)])
    return _there(result.state, await _documents(engine, asked, conversation))


async def _documents(engine: Engine, asked: Asked, conversation: Conversation) -> list[str]:
    return await documents.names(engine, asked, conversation.scope.user_id)


def _there(conversation: Conversation, names: Iterable[str]) -> list[str]:
    known = set(names)
    return [name for name in conversation.files if name in known]


# --- deleting ---------------------------------------------------------------------------------------


async def delete_all(chat: Chat, asked: Asked, user_id: str | None) -> None:
    """Delete all of the user's conversations, those of other keys included that were begun until now."""
    engine = chat.engine
    async with engine.connection(asked.caller.owner) as conn:
        last = await head_now(conn)
    async with engine.reading(asked, conversations.CONVERSATIONS, last) as (conn, build):
        ids = await conversations.ids(conn, build, _of(asked, user_id))
    await _delete(chat, asked, ids)


async def delete(chat: Chat, asked: Asked, conversation_id: str, user_id: str | None) -> None:
    """Delete what there is of a conversation: an id that is no conversation's is no error."""
    try:
        one = await get(chat.engine, asked, conversation_id, user_id)
    except NotFound:
        return
    await _delete(chat, asked, [one.id])


async def remove_turn(chat: Chat, asked: Asked, conversation: Conversation, turn_id: str) -> None:
    """Delete a question and its answer. A turn that is not there is no error."""
    await chat.engine.execute(asked, [(conversation.id, RemoveTurn(turn_id=turn_id))])
    chat.stop(conversation.id, turn_id)


async def _delete(chat: Chat, asked: Asked, ids: Sequence[UUID]) -> None:
    if ids:
        await chat.engine.execute(asked, [(id, DeleteConversation(missing_ok=True)) for id in ids])
    for id in ids:
        chat.stop(id)
