"""The way of a question: checked, kept in the log, answered; and asked again, answered as it was before."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from application.asked import Asked
from application.chat import conversations
from application.chat.agents import agent_of
from application.chat.answering import Answering
from application.chat.chat import Chat
from application.chat.commands import parse
from application.chat.conversations import clean
from application.chat.emission import (
    Accounted,
    AnswerBegins,
    AnswerEnds,
    Began,
    Drawn,
    Emission,
    Failed,
    Found,
    Painted,
    Text,
    TurnEnds,
)
from application.chat.leases import is_leased
from application.chat.question import Question
from application.query_filters import without_filters
from application.refusals import BadImages, NoAgent, NoAnswer, TooManyImages
from domain.aggregate import Command
from domain.conversation import (
    MAX_TITLE,
    Ask,
    Conversation,
    References,
    Spent,
    Start,
    Started,
    Turn,
    TurnIdUsed,
)
from domain.conversation import Asked as AskedEvent
from domain.errors import NotFound, NotWaiting
from domain.ids import new_id
from domain.recorded import now
from domain.scope import Scope
from providers.pictures import PictureRefused, pictures_of

BEGINNING = timedelta(seconds=5)
"""From a question in the log to the lease of who answers it: milliseconds, if nothing is in the way."""
STILL_ANSWERED = "this question is still being answered: look into its conversation, or try again"

Emissions = AsyncGenerator[Emission | None, None]
"""What a turn tells; None is a while in which nothing happened."""


class Ready(NamedTuple):
    """A question that may be asked."""

    conversation: UUID
    started: Started | None
    """None: the conversation is there."""
    turn: Turn
    question: Question


class Kept(NamedTuple):
    """A question that is in the log now, in its conversation."""

    conversation: Conversation
    turn: Turn
    question: Question
    before: bool
    """An earlier request with the same Idempotency-Key has asked it, and got its answer."""


async def begin(chat: Chat, asked: Asked, question: Question, patience: float | None = None) -> Emissions:
    """Keep the question and start to answer it; `patience` as Answering.emissions has it.

    Raises what `check` and `keep` raise, before anything is told.
    """
    kept = await keep(chat, asked, await check(chat, asked, question))
    return again(kept) if kept.before else answer(chat, asked, kept).emissions(patience)


def is_blank(question: Question) -> bool:
    """Whether nothing is asked: neither a word, beside commands and filters, nor about any attachment."""
    _, text = parse(question.text)
    return not (without_filters(text).strip() or question.images or question.files)


# --- what is asked ------------------------------------------------------------------------------------


async def check(chat: Chat, asked: Asked, question: Question) -> Ready:
    """Whether this can be asked, which then counts as a message.

    Raises NoChatModel, BadImages, TooManyImages, NotFound, NoAgent and UsedUp.
    """
    chat.talker()  # without one there is nothing to begin
    turn = await _turn(question)
    conversation = await _conversation(chat, asked, question)
    started = None if conversation else _started(asked, question)
    if conversation and conversation.turn(turn.id):
        turn = _renamed(turn)
    await chat.plans.take_message(asked.caller)  # what is refused for other reasons costs nothing
    return Ready(conversation.id if conversation else new_id(), started, turn, question)


async def _turn(question: Question) -> Turn:
    command, text = parse(question.text)
    try:
        images = await asyncio.to_thread(pictures_of, question.images)
    except PictureRefused as refused:
        refusal = BadImages if refused.kind == "invalid" else TooManyImages
        raise refusal(str(refused)) from None
    return Turn(
        id=question.turn_id or str(new_id()),
        question=text,
        asked_at=now(),
        command=command,
        images=tuple(images),
        files=question.files,
    )


async def _conversation(chat: Chat, asked: Asked, question: Question) -> Conversation | None:
    """The conversation to go on with; None: a new one is to be started. Raises NotFound."""
    id, user_id = question.conversation_id, question.user_id
    if id is None:
        return await conversations.latest(chat.engine, asked, user_id) if question.goes_on else None
    try:
        return await conversations.get(chat.engine, asked, id, user_id)
    except NotFound:
        raise NotFound(f"Conversation {id} not found") from None


def _started(asked: Asked, question: Question) -> Started:
    scope = Scope(owner=asked.caller.owner, user_id=question.user_id)
    agent = agent_of(question.agent)
    if agent is None:
        raise NoAgent("there is no such agent")
    return Started(scope=scope, agent=agent.slug, title=clean(question.title or "")[:MAX_TITLE] or None)


def _renamed(turn: Turn) -> Turn:
    """The turn with a new id: the one that the client chose for it is another's."""
    return msgspec.structs.replace(turn, id=str(new_id()))


# --- what is kept -------------------------------------------------------------------------------------


async def keep(chat: Chat, asked: Asked, ready: Ready) -> Kept:
    """Store the question, in a conversation of its own where none is to be gone on with.

    Whoever asks with the id of another question at the same moment asks with a new one. Raises NotFound for
    a conversation that was deleted meanwhile, and NotWaiting for a question that was asked before and is
    being answered, or was removed.
    """
    try:
        kept = await _keep(chat, asked, ready)
    except TurnIdUsed:
        return await keep(chat, asked, ready._replace(turn=_renamed(ready.turn)))
    except Exception:
        await chat.plans.give_back_message(asked.caller)
        raise
    if kept.before:
        await chat.plans.give_back_message(asked.caller)
    return kept


async def _keep(chat: Chat, asked: Asked, ready: Ready) -> Kept:
    id, started, turn, question = ready
    commands: list[tuple[UUID, Command[Conversation]]] = [(id, Start(started=started))] if started else []
    commands.append((id, Ask(asked=_asked(turn))))
    *_, result = await chat.engine.execute(asked, commands, cause=turn.id)
    stored = result.state
    kept = stored.turn(turn.id) if stored.id == id else None
    if kept:
        return Kept(stored, kept, question, before=False)
    return await _kept_before(chat, asked, stored, question)


def _asked(turn: Turn) -> AskedEvent:
    return AskedEvent(
        turn_id=turn.id, question=turn.question, command=turn.command, images=turn.images, files=turn.files
    )


async def _kept_before(chat: Chat, asked: Asked, then: Conversation, question: Question) -> Kept:
    """The question of an earlier request; one that has no whole answer is answered anew.

    Raises NotWaiting while it is being answered, and for one that was removed.
    """
    current = await chat.engine.state(asked, Conversation, then.id)
    turn = current.turn(then.turns[-1].id)
    if turn is None:
        raise NotWaiting("this question was asked before, and was removed from its conversation")
    beginning = turn.answer is None and now() - turn.asked_at < BEGINNING
    async with chat.engine.connection(asked.caller.owner) as conn:
        if beginning or await is_leased(conn, (current.id, turn.id)):
            raise NotWaiting(STILL_ANSWERED)
    return Kept(current, turn, question, before=not turn.open)


# --- what is answered ---------------------------------------------------------------------------------


def answer(chat: Chat, asked: Asked, kept: Kept) -> Answering:
    """Answer a question; what comes of it is kept, whether anybody listens or not."""
    return Answering(chat, asked, kept.conversation, kept.turn, kept.question)


async def again(kept: Kept) -> Emissions:
    """The answer that was given before."""
    told = kept.turn.answer
    assert told  # noqa: S101 - the caller has looked
    yield Began(kept.conversation.id, kept.turn.id)
    yield Found(told.references)
    if told.images:
        yield Painted(told.images)
    if told.diagram:
        yield Drawn(told.diagram)
    yield AnswerBegins()
    yield Text(told.text)
    yield AnswerEnds()
    yield Accounted(told.spent)
    yield TurnEnds()


class Whole(msgspec.Struct, kw_only=True):
    """All that a turn has told."""

    text: str = ""
    began: Began | None = None
    """None: nothing was asked, so nothing is kept."""
    references: References = References()
    images: tuple[str, ...] = ()
    diagram: str | None = None
    spent: Spent | None = None


async def whole(emissions: Emissions) -> Whole:
    """The answer at once. Raises NoAnswer when there is none."""
    told = Whole()
    text: list[str] = []
    async with aclosing(emissions):
        async for emission in emissions:
            match emission:
                case Text():
                    text.append(emission.text)
                case Failed():
                    raise NoAnswer(emission.message)
                case Began():
                    told.began = emission
                case Found():
                    told.references = emission.references
                case Painted():
                    told.images = emission.images
                case Drawn():
                    told.diagram = emission.diagram
                case Accounted():
                    told.spent = emission.spent
    told.text = "".join(text)
    return told
