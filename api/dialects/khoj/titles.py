"""POST /api/chat/title: what a conversation is called where its user does not say (khoj.md, 1.5)."""

from typing import Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import OfConversation, User, Value, combined, conversation_of, required
from application.asked import Asked
from application.chat import titles
from application.chat.chat import Chat
from application.engine import Engine


class TitleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"
    title: str


@post(
    "/api/chat/title",
    operation_id="khojMakeTitle",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Have a conversation named by the chat model, unless the user has named it",
)
async def name(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    chats: NamedDependency[Chat],
    conversation_id: Value = None,
    user_id: User = None,
    data: JSONBody[OfConversation | None] = None,
) -> TitleAnswer:
    said = combined(OfConversation(conversation_id=conversation_id, user_id=user_id), data)
    id = required("conversation_id", said.conversation_id)
    conversation = await conversation_of(asked, engine, id, said.user_id)
    return TitleAnswer(title=await titles.name(chats, asked, conversation))


ROUTES = [name]
