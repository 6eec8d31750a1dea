"""The memories that a turn is told of: the recent ones, and those that fit the question."""

import asyncio
import time

import msgspec

from application.chat.chat import Chat
from application.engine import Asked
from domain.memory import Memory, Scope
from projections import memories, search
from projections.selection import Selection
from providers.embedding.embedder import EmbedderRefused, EmbedderUnavailable

RECENT = 10
RECENT_CONDITION = "updated_at > now() - interval '7 days'"
"""As Khoj has it: the medium term."""
SIMILAR = 10
LEAST_SCORE = 0.3
"""Below "half related" on purpose: the model is told to ignore what does not matter."""
QUERY_CHARACTERS = 2_000
LEARNING_SECONDS = 2.0
"""How long a turn waits for what earlier conversations teach: the rules take 50 ms, a model its time."""
LOOK_SECONDS = 0.02
LEARNT = """
    SELECT (SELECT count(*) FROM backlog b
            WHERE b.subject_id = s.subject_id AND b.attempts = 0 AND b.outages = 0),
           (SELECT coalesce(max(e.position), 0) FROM events e
            WHERE e.subject_id = s.subject_id AND e.type LIKE 'memory.%%')
    FROM subjects s WHERE s.owner = %s AND s.name_hash = %s"""


async def remembers(chat: Chat, owner: str) -> bool:
    """Whether chats of this owner use and make memories: the server's switch, then the owner's."""
    mode = chat.settings.chat_memory
    if mode == "disabled":
        return False
    state = await asyncio.to_thread(chat.engine.cells.first.log.owner, owner)
    return mode == "enabled_default_on" if state.memory_on is None else state.memory_on


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
    deadline = time.monotonic() + LEARNING_SECONDS
    while True:
        async with chat.engine.connection(owner) as conn:
            row = await (await conn.execute(LEARNT, (owner, name_hash))).fetchone()
        waiting, position = row or (0, 0)
        if not waiting or time.monotonic() > deadline:
            return int(position)
        await asyncio.sleep(LOOK_SECONDS)


async def _look(chat: Chat, asked: Asked, user_id: str | None, question: str) -> list[Memory]:
    scope = Scope(owner=asked.caller.owner, user_id=user_id)
    recent, similar = await asyncio.gather(
        _recent(chat, asked, scope), _similar(chat, asked, scope, question[:QUERY_CHARACTERS])
    )
    return [*recent, *similar]


async def _recent(chat: Chat, asked: Asked, scope: Scope) -> list[Memory]:
    selection = Selection(scope=scope, without_user=scope.user_id is None, also=RECENT_CONDITION)
    async with chat.engine.reading(asked, memories.name) as (conn, build):
        return await memories.listing(conn, build.version, selection, RECENT)


async def _similar(chat: Chat, asked: Asked, scope: Scope, text: str) -> list[Memory]:
    selection = Selection(scope=scope, without_user=scope.user_id is None)
    query = search.Query(selection=selection, text=text, limit=SIMILAR, threshold=LEAST_SCORE)
    try:
        hits, _ = await chat.engine.find(asked, query)
    except (EmbedderUnavailable, EmbedderRefused):  # then by words alone
        hits, _ = await chat.engine.find(asked, msgspec.structs.replace(query, mode="keyword"))
    return [hit.memory for hit in hits]
