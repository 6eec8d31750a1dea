"""What is remembered of the user, for research: other turns have the memories that fit in their prompt."""

import asyncio
from typing import Annotated

import msgspec

from application import finding
from application.chat.chat import Chat
from application.chat.lookups import LOOK_UP_SECONDS, UNREACHABLE
from application.chat.remembered import remembers
from application.chat.tools.notes import CANNOT_SEARCH
from application.chat.tools.telling import as_json, listed, phrases
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from application.query_filters import without_filters
from domain.conversation import References, UsedMemory
from domain.memory import Memory
from domain.scope import Scope
from projections.search import Query
from projections.selection import Selection

LIMIT = 10


class Recalling(msgspec.Struct, frozen=True):
    query: Annotated[str, msgspec.Meta(description="What to look for, as a short phrase.")]


class Memories(Tool):
    command = "memories"
    order = 70
    description = (
        "Searches what is remembered of the user from earlier conversations: facts, preferences, plans, "
        "people. Use it when the answer depends on who the user is."
    )
    arguments: type[msgspec.Struct] = Recalling

    def available(self, chat: Chat) -> bool:
        return chat.options.memory != "disabled"

    async def useful(self, desk: Desk) -> bool:
        """Whether the user lets chats remember."""
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await remembers(desk.chat, desk.asked.caller.owner)
        except UNREACHABLE:
            return False

    def missing(self) -> str:
        return "Chats use no memories on this server: EVERLOG_CHAT_MEMORY is `disabled`."

    def guess(self, question: str) -> Recalling:
        return Recalling(without_filters(question))

    async def run(self, desk: Desk, arguments: Recalling) -> Outcome:
        queries = phrases([arguments.query])
        if not queries:
            raise ToolFailed("The search in the memories needs a query.")
        desk.say(f"**Searching Memories for:** {listed(queries)}")
        try:
            found = await _recalled(desk, queries[0])
        except CANNOT_SEARCH:
            raise ToolFailed("The memories cannot be searched at the moment: try again soon.") from None
        desk.say(f"**Found {len(found)} Memories**")
        return Outcome(
            told=as_json([{"text": one.text, "since": one.created_at.date().isoformat()} for one in found]),
            references=References(memories=tuple(UsedMemory(id=one.id, text=one.text) for one in found)),
        )


async def _recalled(desk: Desk, text: str) -> list[Memory]:
    selection = Selection(
        scope=Scope(owner=desk.asked.caller.owner, user_id=desk.user_id), without_user=desk.user_id is None
    )
    query = Query(selection=selection, text=text, limit=LIMIT)
    found = await finding.find(desk.chat.engine, desk.asked, query)
    return [hit.memory for hit in found.hits]


MEMORIES = Memories()
