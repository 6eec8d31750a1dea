"""What a conversation is called where its user does not say: POST /api/chat/title (khoj.md, 1.5)."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import OfConversation, User, Value, combined, conversation_of, required
from application.asked import Asked
from application.chat.chat import Chat
from application.chat.context import PROMPTS, fenced
from application.chat.conversations import clean
from application.engine import Engine
from domain.conversation import MAX_TITLE, Conversation, Spent, Title
from providers.models.chat_model import ChatModel, ModelGarbage, ModelRefused, ModelUnavailable
from runtime.composition import chat_model_of, prices_of
from runtime.settings import Settings

log = logging.getLogger(__name__)

PROMPT = (PROMPTS / "title-1.md").read_text(encoding="utf-8")
TURNS = 6
CHARACTERS = 1_000
"""Of each text: a title wants no more."""
SECONDS = 15.0
"""How long a title is waited for; the first words do as well."""
MAX_TOKENS = 1_000
"""Of the answer, with what a reasoning model thinks before it."""
FIRST_WORDS = 60
"""Characters of a question that is a title."""
THREADS = ThreadPoolExecutor(4, thread_name_prefix="titles")
"""Not the engine's: a model may be slow, or hang."""


class Named(msgspec.Struct, frozen=True):
    title: str


class TitleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"
    title: str


@post(
    "/api/chat/title",
    operation_id="khojMakeTitle",
    opt={"scope": "write", "bodiless": True},
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
    if conversation.title or not conversation.turns:
        return TitleAnswer(title=conversation.title or "")
    title, spent = await _made(chats, conversation)
    title = title or first_words(conversation)
    if title:
        await engine.execute(asked, [(conversation.id, Title(title=title, by="model", spent=spent))])
    return TitleAnswer(title=title)


ROUTES = [name]


async def _made(chats: Chat, conversation: Conversation) -> tuple[str, Spent | None]:
    """The title that the model gives, and what it took; empty where there is no model or none in time."""
    if chats.model is None:
        return "", None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SECONDS):
            made, spent = await loop.run_in_executor(THREADS, _ask, chats.settings, _told(conversation))
    except (TimeoutError, ModelUnavailable, ModelRefused, ModelGarbage) as error:
        log.info("no title: %s", error or "the chat model took too long")
        return "", None
    return clean(made).strip(" \"'“”")[:MAX_TITLE], spent


def first_words(conversation: Conversation) -> str:
    """The first question that has words, cut between two of them."""
    questions = (clean(turn.question) for turn in conversation.turns)
    question = next((question for question in questions if question), "")
    if len(question) <= FIRST_WORDS:
        return question
    cut = question[:FIRST_WORDS]
    return (cut[: cut.rfind(" ")] if " " in cut else cut).rstrip(" ,;:.-") + "…"


def _told(conversation: Conversation) -> str:
    turns = [
        {
            "user": turn.question[:CHARACTERS],
            "assistant": turn.answer.text[:CHARACTERS] if turn.answer else "",
        }
        for turn in conversation.turns[:TURNS]
    ]
    return f"<conversation>{fenced(turns)}</conversation>"


def _ask(settings: Settings, told: str) -> tuple[str, Spent]:
    named, used = _model(settings).structured(PROMPT, told, Named, MAX_TOKENS)
    prices = prices_of(settings)
    return named.title, Spent(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost=prices.cost(used.input_tokens, used.output_tokens) if prices else None,
    )


@lru_cache(maxsize=4)
def _model(settings: Settings) -> ChatModel:
    """One for all titles, so that it learns what the endpoint takes and when to leave it alone."""
    return chat_model_of(settings, SECONDS)
