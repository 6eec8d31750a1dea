"""What a conversation is called where its user does not say."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from application.asked import Asked
from application.chat.chat import Chat
from application.chat.context import PROMPTS, fenced
from application.chat.conversations import clean
from domain.conversation import MAX_TITLE, Conversation, Spent, Title
from providers.models.chat_model import ChatModel, ModelGarbage, ModelRefused, ModelUnavailable
from providers.models.prices import Prices

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


async def name(chat: Chat, asked: Asked, conversation: Conversation) -> str:
    """Have the model name a conversation, unless its user has; its title, empty where nothing was said."""
    if conversation.title or not conversation.turns:
        return conversation.title or ""
    title, spent = await _made(chat, conversation)
    title = title or first_words(conversation)
    if title:
        await chat.engine.execute(asked, [(conversation.id, Title(title=title, by="model", spent=spent))])
    return title


async def _made(chat: Chat, conversation: Conversation) -> tuple[str, Spent | None]:
    """The title that the model gives, and what it took; empty where there is no model or none in time."""
    if chat.means.titler is None:
        return "", None
    ask = partial(_ask, chat.means.titler, chat.means.prices, _question(conversation))
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(SECONDS):
            made, spent = await loop.run_in_executor(THREADS, ask)
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


def _question(conversation: Conversation) -> str:
    turns = [
        {
            "user": turn.question[:CHARACTERS],
            "assistant": turn.answer.text[:CHARACTERS] if turn.answer else "",
        }
        for turn in conversation.turns[:TURNS]
    ]
    return f"<conversation>{fenced(turns)}</conversation>"


def _ask(model: ChatModel, prices: Prices | None, told: str) -> tuple[str, Spent]:
    named, used = model.structured(PROMPT, told, Named, MAX_TOKENS)
    return named.title, Spent(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost=prices.cost(used.input_tokens, used.output_tokens) if prices else None,
    )
