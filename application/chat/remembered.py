"""The memories that a turn is told of: the recent ones, and those that fit the question."""

import asyncio
from datetime import timedelta

import msgspec

from application import finding
from application.asked import Asked
from application.chat.chat import Chat
from application.waiting import Concern, until
from domain.eventstore import backlog
from domain.memory import Memory
from domain.recorded import now
from domain.scope import Scope
from projections import memories, search
from projections.conditions import TimeIs
from projections.selection import Selection
from providers.embedding.embedder import EmbedderRefused, EmbedderUnavailable

RECENT = 10
RECENT_DAYS = 7
"""The medium term."""
SIMILAR = 10
LEAST_SCORE = 0.3
"""Below "half related" on purpose: the model is told to ignore what does not matter."""
QUERY_CHARACTERS = 2_000
LEARNING_SECONDS = 2.0
"""How long a turn waits for what earlier conversations teach: the rules take 50 ms, a model its time."""


async def remembers(chat: Chat, owner: str) -> bool:
    """Whether chats of this owner use and make memories: the server's switch, then the owner's."""
    mode = chat.options.memory
    if mode == "disabled":
        return False
    on = await asyncio.to_thread(chat.engine.cells.memory_on, owner)
    return mode == "enabled_default_on" if on is None else on


async def switch_memory(chat: Chat, asked: Asked, on: bool) -> bool:
    """Switch it for this owner; whether it is on then. What is remembered stays."""
    await asyncio.to_thread(chat.engine.cells.switch_memory, on, asked.context())
    return await remembers(chat, asked.caller.owner)


async def remembered(chat: Chat, asked: Asked, user_id: str | None, question: str) -> list[Memory]:
    """Of this user alone, each once, the recent first; nothing that was deleted before the question.

    Raises Behind and all that a read raises: what may be deleted already is not shown.
    """
    position = await _learnt(chat, asked.caller.owner, user_id)
    found = await _look(chat, asked._replace(min_position=position), user_id, question)
    return list({memory.id: memory for memory in found}.values())


async def _learnt(chat: Chat, owner: str, user_id: str | None) -> int:
    """The position up to which memories of a user go, once nothing new waits to be learnt from."""
    cell = await chat.engine.cell_of(owner)
    name_hash = cell.subjects.name_hash(owner, user_id)
    last = 0

    async def nothing_waits() -> bool | None:
        nonlocal last
        async with chat.engine.connection(owner) as conn:
            waiting, last = await backlog.learnt(conn, owner, name_hash)
        return not waiting or None

    await until(cell, Concern(backlog.SETTLED), nothing_waits, LEARNING_SECONDS)
    return last


async def _look(chat: Chat, asked: Asked, user_id: str | None, question: str) -> list[Memory]:
    scope = Scope(owner=asked.caller.owner, user_id=user_id)
    recent, similar = await asyncio.gather(
        _recent(chat, asked, scope), _similar(chat, asked, scope, question[:QUERY_CHARACTERS])
    )
    return [*recent, *similar]


async def _recent(chat: Chat, asked: Asked, scope: Scope) -> list[Memory]:
    recent = TimeIs("updated_at", ">", now() - timedelta(days=RECENT_DAYS))
    selection = Selection(scope=scope, without_user=scope.user_id is None, conditions=(recent,))
    async with chat.engine.reading(asked, memories.MEMORIES) as (conn, build):
        return await memories.listing(conn, build, selection, RECENT)


async def _similar(chat: Chat, asked: Asked, scope: Scope, text: str) -> list[Memory]:
    selection = Selection(scope=scope, without_user=scope.user_id is None)
    query = search.Query(selection=selection, text=text, limit=SIMILAR, threshold=LEAST_SCORE)
    try:
        found = await finding.find(chat.engine, asked, query)
    except (EmbedderUnavailable, EmbedderRefused):  # then by words alone
        found = await finding.find(chat.engine, asked, msgspec.structs.replace(query, mode="keyword"))
    return [hit.memory for hit in found.hits]
