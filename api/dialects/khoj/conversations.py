"""Conversations: begun, listed, read, named and deleted (Khoj's contract for its chat)."""

from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, QueryParameter

from api.auth import require
from api.dialects.khoj import history
from api.dialects.khoj.errors import NO_AGENT, KhojError, refusals
from api.dialects.khoj.history import HistoryAnswer, timestamp
from api.dialects.khoj.parameters import (
    MISSING,
    Messages,
    OfConversation,
    Parameters,
    User,
    Value,
    combined,
    conversation_of,
    required,
)
from application.asked import Asked
from application.chat import conversations
from application.chat.agents import DEFAULT, agent_of
from application.chat.chat import Chat
from application.engine import Engine
from domain.conversation import Conversation
from domain.errors import NotFound
from projections.conversations import Listed

RECENT = 8
"""Conversations in the web client's side bar."""
NO_MESSAGE = "Message not found"


class Ok(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"


class OfAgent(Parameters, frozen=True, kw_only=True):
    agent_slug: str | None = None


class OfTitle(OfConversation, frozen=True, kw_only=True):
    title: str | None = None


class OfTurn(OfConversation, frozen=True, kw_only=True):
    turn_id: str | None = None


class ToDelete(Parameters, frozen=True, kw_only=True):
    conversation_id: str | msgspec.UnsetType = msgspec.UNSET
    """null is no id: whoever sends it does not mean all conversations."""


class Opinion(Parameters, frozen=True, kw_only=True):
    uquery: str | None = None
    kquery: str | None = None
    sentiment: str | None = None


class SessionStarted(msgspec.Struct, frozen=True, kw_only=True):
    conversation_id: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in the list."""

    conversation_id: str
    slug: str
    """Empty for a fresh one: Obsidian cannot read null."""
    agent_name: str | None
    """None: the agent is gone."""
    created: str
    """`YYYY-MM-DD HH:MM:SS`, UTC."""
    updated: str
    agent_icon: str | None
    agent_color: str | None
    agent_is_hidden: bool


class Cleared(Ok, frozen=True, kw_only=True):
    message: str = "Conversation history cleared"


class Renamed(Ok, frozen=True, kw_only=True):
    success: bool = True


# --- sessions ---------------------------------------------------------------------------------------


@post(
    "/api/chat/sessions",
    operation_id="khojStartConversation",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals() | {400: ResponseSpec(KhojError, generate_examples=False, description=NO_AGENT)},
    status_code=200,
    tags=["Khoj Chat"],
    summary="Begin a conversation",
)
async def start(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    agent_slug: Value = None,
    user_id: User = None,
    data: JSONBody[OfAgent | None] = None,
) -> Response[SessionStarted] | Response[KhojError]:
    said = combined(OfAgent(agent_slug=agent_slug, user_id=user_id), data)
    agent = agent_of(said.agent_slug)
    if agent is None:
        # Not as a Refusal: of those Khoj's shape makes 422, but this one its clients know as 400.
        error = KhojError(error=NO_AGENT, message=NO_AGENT, detail=NO_AGENT)
        return Response(error, status_code=HTTPStatus.BAD_REQUEST)
    begun = await conversations.start(engine, asked, said.user_id, agent)
    return Response(SessionStarted(conversation_id=str(begun.id)), status_code=HTTPStatus.OK)


@get(
    "/api/chat/sessions",
    operation_id="khojListConversations",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="All conversations, the last changed first; with recent, eight of them",
)
async def sessions(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    recent: Annotated[bool, QueryParameter()] = False,
    user_id: User = None,
) -> list[Session]:
    rows = await conversations.listing(engine, asked, user_id, RECENT if recent else None)
    return [_session(row) for row in rows]


def _session(row: Listed) -> Session:
    agent = agent_of(row.agent)
    return Session(
        conversation_id=str(row.conversation_id),
        slug=row.slug,
        agent_name=agent.name if agent else None,
        created=timestamp(row.created_at),
        updated=timestamp(row.updated_at),
        agent_icon=agent.icon if agent else None,
        agent_color=agent.color if agent else None,
        agent_is_hidden=False,
    )


# --- history ----------------------------------------------------------------------------------------


@get(
    "/api/chat/history",
    operation_id="khojGetHistory",
    opt={"scope": "memories:read"},
    responses=history.REFUSALS,
    tags=["Khoj Chat"],
    summary="What was said; without conversation_id in the last changed conversation, or else a new one",
)
async def read_history(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    conversation_id: Value = None,
    n: Messages = None,
    user_id: User = None,
) -> HistoryAnswer:
    if conversation_id:
        missing = f"Conversation: {conversation_id} not found"
        one = await conversation_of(asked, engine, conversation_id, user_id, missing)
    else:
        last = await conversations.latest(engine, asked, user_id)
        one = last or await _first(asked, engine, user_id)
    return history.shown(str(one.id), one.slug, one.agent, one.turns, n, is_owner=True)


@delete(
    "/api/chat/history",
    operation_id="khojDeleteConversations",
    opt={"scope": "memories:write"},
    responses=refusals(409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Delete a conversation; without conversation_id, ALL conversations of the user",
)
async def clear(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    chats: NamedDependency[Chat],
    conversation_id: Value = None,
    user_id: User = None,
    data: JSONBody[ToDelete | None] = None,
) -> Cleared:
    """Deletes what there is of it: an id that is no conversation's deletes nothing, and is no error."""
    user_id = user_id or (data.user_id if data else None)
    named = conversation_id if conversation_id is not None else (data or ToDelete()).conversation_id
    if isinstance(named, msgspec.UnsetType):
        await conversations.delete_all(chats, asked, user_id)
    else:
        await conversations.delete(chats, asked, named, user_id)
    return Cleared()


@delete(
    "/api/chat/conversation/message",
    operation_id="khojDeleteTurn",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Delete a question and its answer",
)
async def remove_turn(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    chats: NamedDependency[Chat],
    conversation_id: Value = None,
    turn_id: Value = None,
    user_id: User = None,
    data: JSONBody[OfTurn | None] = None,
) -> Ok:
    """A turn that is not there is no error, unless there is none at all."""
    query = OfTurn(conversation_id=conversation_id, turn_id=turn_id, user_id=user_id)
    said = combined(query, data)
    id, turn = required("conversation_id", said.conversation_id), required("turn_id", said.turn_id)
    one = await conversation_of(asked, engine, id, said.user_id, NO_MESSAGE)
    if not one.turns:
        raise NotFound(NO_MESSAGE)
    await conversations.remove_turn(chats, asked, one, turn)
    return Ok()


async def _first(asked: Asked, engine: Engine, user_id: str | None) -> Conversation:
    require(asked.caller, "memories:write")
    return await conversations.start(engine, asked, user_id, DEFAULT)


# --- titles -----------------------------------------------------------------------------------------


@patch(
    "/api/chat/title",
    operation_id="khojSetTitle",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404, 409),
    tags=["Khoj Chat"],
    summary="Call a conversation something; an empty title takes that back",
)
async def rename(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    title: Value = None,
    conversation_id: Value = None,
    user_id: User = None,
    data: JSONBody[OfTitle | None] = None,
) -> Renamed:
    """Without conversation_id it is the last changed one, as for Khoj."""
    said = combined(OfTitle(title=title, conversation_id=conversation_id, user_id=user_id), data)
    title = required("title", said.title)
    if said.conversation_id is None:
        one = await conversations.latest(engine, asked, said.user_id)
    else:
        one = await conversation_of(asked, engine, said.conversation_id, said.user_id)
    if one is None:
        raise NotFound(MISSING)
    await conversations.rename(engine, asked, one, title)
    return Renamed()


# --- feedback ---------------------------------------------------------------------------------------


@post(
    "/api/chat/feedback",
    operation_id="khojSendFeedback",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Say what an answer is worth; accepted, and kept nowhere",
)
async def feedback(
    asked: NamedDependency[Asked],
    uquery: Value = None,
    kquery: Value = None,
    sentiment: Value = None,
    user_id: User = None,
    data: JSONBody[Opinion | None] = None,
) -> Response[None]:
    """Nothing is kept: Khoj mails it to those who run its cloud, and here nobody would read it."""
    query = Opinion(uquery=uquery, kquery=kquery, sentiment=sentiment, user_id=user_id)
    said = combined(query, data)
    for name in ("uquery", "kquery", "sentiment"):
        required(name, getattr(said, name))
    return Response(None, media_type="application/json")


ROUTES = [start, sessions, read_history, clear, remove_turn, rename, feedback]
