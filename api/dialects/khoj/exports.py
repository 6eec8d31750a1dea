"""How many conversations there are, and all that was said in them (Khoj's contract for its chat)."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.history import Message, messages_of, timestamp
from api.dialects.khoj.parameters import MAX_MESSAGES, User
from application.asked import Asked
from application.chat import conversations
from application.chat.agents import agent_of
from application.engine import Engine
from domain.conversation import Conversation

PAGE = 10
MAX_PAGE = 100


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    num_conversations: int


class ConversationLog(msgspec.Struct, frozen=True, kw_only=True):
    chat: list[Message]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with all that was said."""

    title: str
    agent: str | None
    created_at: str
    updated_at: str
    conversation_log: ConversationLog
    file_filters: list[str]


@get(
    "/api/chat/stats",
    operation_id="khojCountConversations",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="How many conversations there are",
)
async def stats(
    asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> Stats:
    return Stats(num_conversations=await conversations.count(engine, asked, user_id))


@get(
    "/api/chat/export",
    operation_id="khojExportConversations",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="Conversations with all that was said, page by page, the newest first",
)
async def export(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    offset: Annotated[int, QueryParameter(ge=0, le=MAX_MESSAGES)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = PAGE,
    user_id: User = None,
) -> list[Exported]:
    return [_exported(one) for one in await conversations.page(engine, asked, user_id, limit, offset)]


ROUTES = [stats, export]


def _exported(one: Conversation) -> Exported:
    agent = agent_of(one.agent)
    return Exported(
        title=one.slug,
        agent=agent.name if agent else None,
        created_at=timestamp(one.created_at),
        updated_at=timestamp(one.updated_at),
        conversation_log=ConversationLog(chat=messages_of(one.turns)),
        file_filters=list(one.files),
    )
